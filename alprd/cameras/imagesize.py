"""The size that a picture file declares, read from its header without decoding it.

A picture of a few kilobytes may declare gigabytes of pixels; the decoder would allocate them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

SizePx = tuple[int, int]
"""Width, height."""

_JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257


def declared_size(data: bytes) -> SizePx | None:
    """Width and height as the header of a PNG, JPEG, BMP, WebP or TIFF says; None if unknown."""
    try:
        for magic, read in _READERS:
            if data.startswith(magic):
                return read(data)
    except struct.error:  # the header itself is cut off
        return None
    return None


def may_have_alpha(data: bytes) -> bool:
    """Whether the picture may have a transparency channel (JPEG and BMP never count as such)."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        # Colour types 4 and 6 have alpha; the others may have a tRNS chunk, before the data.
        return data[25:26] in (b"\x04", b"\x06") or b"tRNS" in data[:4096]
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return data[12:16] != b"VP8 "
    return data[:4] in (b"II*\0", b"MM\0*")


def _png(data: bytes) -> SizePx:
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _bmp(data: bytes) -> SizePx:
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)  # a negative height means: stored top down


def _jpeg(data: bytes) -> SizePx | None:
    offset = 2
    while True:
        marker, kind, length = struct.unpack_from(">BBH", data, offset)
        if marker != 0xFF:
            return None
        if kind == 0xFF:  # fill byte
            offset += 1
            continue
        if kind in _JPEG_FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", data, offset + 5)
            return width, height
        offset += 2 + length


def _webp(data: bytes) -> SizePx | None:
    chunk = data[12:16]
    if chunk == b"VP8X":
        low_w, high_w, low_h, high_h = struct.unpack_from("<HBHB", data, 24)
        return 1 + low_w + (high_w << 16), 1 + low_h + (high_h << 16)
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF)
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _tiff(data: bytes) -> SizePx | None:
    order = "<" if data.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, directory)
    found: dict[int, int] = {}
    for index in range(entries):
        at = directory + 2 + 12 * index
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
            (found[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, at + 8)
    if len(found) < 2:
        return None
    return found[_TIFF_WIDTH], found[_TIFF_HEIGHT]


_READERS: tuple[tuple[bytes, Callable[[bytes], SizePx | None]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8", _jpeg),
    (b"BM", _bmp),
    (b"RIFF", _webp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
)
