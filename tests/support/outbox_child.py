"""A process that fills and empties an outbox until it is killed or stopped.

python outbox_child.py FOLDER PADDING_BYTES. It prints "added SEQ WAL_BYTES" after each `add` and
"deleting SEQ" before each `delete`.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from support.outboxes import open_outbox, row


def main(folder: str, padding: str) -> None:
    """Never returns by itself."""
    path = Path(folder) / "outbox.sqlite"
    wal = Path(f"{path}-wal")
    with open_outbox(path, max_events=1_000_000) as outbox:
        for number in itertools.count():
            seqs = outbox.add([row(f"id-{number}", padding=int(padding))])
            print("added", seqs[-1], wal.stat().st_size, flush=True)  # noqa: T201
            if number % 3 == 2:
                (first, *_) = outbox.claim(0, 1)
                print("deleting", first.seq, flush=True)  # noqa: T201
                outbox.delete([first.seq])


if __name__ == "__main__":
    main(*sys.argv[1:])
