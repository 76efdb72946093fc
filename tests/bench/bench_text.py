"""Prints what `alprd bench --json` gave (standard input) as `alprd bench` itself would."""

from __future__ import annotations

import json
import sys

from alprd.bench import report, stream_report


def main() -> None:
    """One report."""
    found = json.load(sys.stdin)
    for line in (stream_report if "source" in found else report).lines(found):
        print(line)


if __name__ == "__main__":
    main()
