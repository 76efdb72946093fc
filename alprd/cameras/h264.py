"""What an H.264 stream says of its colours, which NVDEC keeps to itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_SPS: Final = 7
_HIGH_PROFILES: Final = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244))
_EXTENDED_ASPECT: Final = 255
_MOST_ZEROS: Final = 32
_MOST_REFERENCES: Final = 255


def is_full_range(packet: bytes) -> bool:
    """Whether the stream's luma goes from 0 to 255, as from many cameras, and not from 16 to 235.

    Args:
        packet: units behind start codes, one of them the stream's parameters; False without them.
    """
    for unit in _units(packet):
        if unit[0] & 0x1F == _SPS:
            try:
                return _says_full_range(_Bits(unit[1:].replace(b"\0\0\3", b"\0\0")))
            except (IndexError, ValueError):
                return False  # cut off: the decoder will have its say
    return False


def _units(packet: bytes) -> Iterator[bytes]:
    for unit in packet.split(b"\0\0\1")[1:]:
        if unit:
            yield unit


class _Bits:
    """Reads bits, the most significant one of a byte first; IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def bits(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1
            self._at += 1
        return value

    def flag(self) -> bool:
        return self.bits(1) == 1

    def number(self) -> int:
        """An Exp-Golomb code."""
        zeros = 0
        while not self.flag():
            zeros += 1
            if zeros > _MOST_ZEROS:
                raise ValueError
        return (1 << zeros) - 1 + self.bits(zeros)

    def signed(self) -> int:
        """The same with a sign."""
        code = self.number()
        return (code + 1) // 2 if code % 2 else -code // 2


def _says_full_range(sps: _Bits) -> bool:
    """Reads the sequence parameter set (ITU-T H.264, 7.3.2.1.1) up to the flag in question."""
    profile = sps.bits(8)
    sps.bits(16)
    sps.number()
    if profile in _HIGH_PROFILES:
        _skip_high_profile(sps)
    sps.number()
    order = sps.number()
    if order == 0:
        sps.number()
    elif order == 1:
        sps.bits(1)
        sps.signed()
        sps.signed()
        count = sps.number()
        if count > _MOST_REFERENCES:
            raise ValueError
        for _ in range(count):
            sps.signed()
    sps.number()
    sps.bits(1)
    sps.number()
    sps.number()
    if not sps.flag():  # fields
        sps.bits(1)
    sps.bits(1)
    if sps.flag():  # cropped
        for _ in range(4):
            sps.number()
    return sps.flag() and _usability_says_full_range(sps)


def _skip_high_profile(sps: _Bits) -> None:
    chroma = sps.number()
    if chroma == 3:
        sps.bits(1)
    sps.number()
    sps.number()
    sps.bits(1)
    if not sps.flag():
        return
    for index in range(8 if chroma != 3 else 12):
        if not sps.flag():
            continue
        last = scale = 8
        for _ in range(16 if index < 6 else 64):
            if scale:
                scale = (last + sps.signed()) % 256
            last = scale or last


def _usability_says_full_range(sps: _Bits) -> bool:
    """Reads the video usability information (annex E)."""
    if sps.flag() and sps.bits(8) == _EXTENDED_ASPECT:
        sps.bits(32)
    if sps.flag():
        sps.bits(1)
    if not sps.flag():
        return False
    sps.bits(3)
    return sps.flag()
