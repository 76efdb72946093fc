"""What an H.264 stream says of its colours, which NVDEC keeps to itself."""

from __future__ import annotations

from typing import Final

from alprd.cameras.bits import Bits, units, usability_says_full_range

_PICTURES: Final = range(1, 6)
_SPS: Final = 7
_HIGH_PROFILES: Final = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244))
_MOST_REFERENCES: Final = 255


def is_full_range(packet: bytes) -> bool | None:
    """Whether the stream's luma goes from 0 to 255, as from many cameras, and not from 16 to 235.

    Args:
        packet: units behind start codes; None when the stream's parameters are not among them.
    """
    for unit in units(packet):
        kind = unit[0] & 0x1F
        if kind == _SPS:
            try:
                return _says_full_range(Bits(unit[1:]))
            except (IndexError, ValueError):
                return None  # cut off: the decoder will have its say
        if kind in _PICTURES:
            return None  # parameters come before what they are about
    return None


def _says_full_range(sps: Bits) -> bool:
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
        for _ in range(sps.number(_MOST_REFERENCES)):
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
    return sps.flag() and usability_says_full_range(sps)


def _skip_high_profile(sps: Bits) -> None:
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
