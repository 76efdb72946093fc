"""A process that adds events and publishes them until it is killed, once it is connected.

Usage: adding_child.py FOLDER URL PREFIX FIRST_NUMBER. Prints each number once its event is durable.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from support.device import Device


def main(folder: str, url: str, prefix: str, first: str) -> None:
    """Never returns by itself."""
    with Device(Path(folder), url, prefix=prefix) as device:
        device.wait_until(lambda stats: stats.connected)
        for number in itertools.count(int(first)):
            device.add(number)
            print(number, flush=True)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main(*sys.argv[1:])
