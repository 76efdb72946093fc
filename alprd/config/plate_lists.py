"""Reads the files that [[lists]] names."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alprd.core.lists import PlateListError, parse_plates

MAX_BYTES: Final = 64 * 1024 * 1024


def read_plates(file: Path) -> frozenset[str]:
    """The plates in a list's file. Raises PlateListError, `problem; remedy`."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise PlateListError(unreadable(error)) from error
    if len(content) > MAX_BYTES:
        raise PlateListError(f"is longer than {MAX_BYTES} bytes; name a list of plates")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PlateListError(f"is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    return parse_plates(text)


def unreadable(error: OSError) -> str:
    """Why a file could not be read, and the remedy."""
    return f"cannot be read ({error.strerror}); restore it, readable by the daemon's user"
