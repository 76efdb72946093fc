"""What H.264 and H.265 streams have in common: units behind start codes, and fields of bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_EXTENDED_ASPECT: Final = 255
_MOST_ZEROS: Final = 32


def units(packet: bytes) -> Iterator[bytes]:
    """The units of a packet in its order, none of them empty."""
    for unit in packet.split(b"\0\0\1")[1:]:
        if unit:
            yield unit


class Bits:
    """Reads bits, the most significant one of a byte first; IndexError at the end.

    Args:
        data: of a unit, with the bytes that keep start codes out of it.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data.replace(b"\0\0\3", b"\0\0")
        self._at = 0

    def bits(self, count: int) -> int:
        """A whole number of so many bits."""
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1
            self._at += 1
        return value

    def flag(self) -> bool:
        """One bit."""
        return self.bits(1) == 1

    def number(self, most: int | None = None) -> int:
        """An Exp-Golomb code. Raises ValueError when it is garbage, or more than may be."""
        zeros = 0
        while not self.flag():
            zeros += 1
            if zeros > _MOST_ZEROS:
                raise ValueError
        value = (1 << zeros) - 1 + self.bits(zeros)
        if most is not None and value > most:
            raise ValueError
        return value

    def signed(self) -> int:
        """The same with a sign."""
        code = self.number()
        return (code + 1) // 2 if code % 2 else -code // 2


def usability_says_full_range(parameters: Bits) -> bool:
    """Reads the beginning of the video usability information, annex E of both standards."""
    if parameters.flag() and parameters.bits(8) == _EXTENDED_ASPECT:
        parameters.bits(32)
    if parameters.flag():
        parameters.bits(1)
    if not parameters.flag():
        return False
    parameters.bits(3)
    return parameters.flag()
