"""What an H.265 stream says of its colours, which NVDEC keeps to itself."""

from __future__ import annotations

from typing import Final

from alprd.cameras.bits import Bits, units, usability_says_full_range

_PICTURES: Final = range(32)
_SPS: Final = 33
_HEADER_BYTES: Final = 2
_MOST_SETS: Final = 64
_MOST_REFERENCES: Final = 16
_MOST_LONG_TERM: Final = 32


def is_full_range(packet: bytes) -> bool | None:
    """Whether the stream's luma goes from 0 to 255, and not from 16 to 235.

    Args:
        packet: units behind start codes; None when the stream's parameters are not among them.
    """
    for unit in units(packet):
        kind = unit[0] >> 1 & 0x3F
        if kind == _SPS:
            try:
                return _says_full_range(Bits(unit[_HEADER_BYTES:]))
            except (IndexError, ValueError):
                return None  # cut off: the decoder will have its say
        if kind in _PICTURES:
            return None  # parameters come before what they are about
    return None


def _says_full_range(sps: Bits) -> bool:
    """Reads the sequence parameter set (ITU-T H.265, 7.3.2.2.1) up to the flag in question."""
    sps.bits(4)
    layers = sps.bits(3)
    sps.bits(1)
    _skip_profile(sps, layers)
    sps.number()
    if sps.number() == 3:  # colours of full size
        sps.bits(1)
    sps.number()
    sps.number()
    if sps.flag():  # cropped
        for _ in range(4):
            sps.number()
    sps.number()
    sps.number()
    order_bits = sps.number(12) + 4
    for _ in range(layers + 1 if sps.flag() else 1):
        for _ in range(3):
            sps.number()
    for _ in range(6):
        sps.number()
    if sps.flag() and sps.flag():
        _skip_scaling_lists(sps)
    sps.bits(2)
    if sps.flag():  # pulse code modulation
        sps.bits(8)
        sps.number()
        sps.number()
        sps.bits(1)
    _skip_reference_sets(sps)
    if sps.flag():
        for _ in range(sps.number(_MOST_LONG_TERM)):
            sps.bits(order_bits + 1)
    sps.bits(2)
    return sps.flag() and usability_says_full_range(sps)


def _skip_profile(sps: Bits, layers: int) -> None:
    """Reads profile_tier_level."""
    sps.bits(96)
    there = [(sps.flag(), sps.flag()) for _ in range(layers)]
    if layers:
        sps.bits(2 * (8 - layers))
    for profile, level in there:
        sps.bits(88 * profile + 8 * level)


def _skip_scaling_lists(sps: Bits) -> None:
    for size in range(4):
        for _ in range(2 if size == 3 else 6):
            if not sps.flag():
                sps.number()
                continue
            for _ in range(min(64, 16 << 2 * size) + (size > 1)):
                sps.signed()


def _skip_reference_sets(sps: Bits) -> None:
    """Reads the short-term reference picture sets; how long one is depends on the one before."""
    before: list[int] = []
    for index in range(sps.number(_MOST_SETS)):
        if index and sps.flag():
            sign = -1 if sps.flag() else 1
            step = sign * (sps.number() + 1)
            # Of each picture of the set before, and of the picture that it was for: is it kept?
            kept = [each + step for each in (*before, 0) if sps.flag() or sps.flag()]
        else:
            counts = sps.number(_MOST_REFERENCES), sps.number(_MOST_REFERENCES)
            kept = []
            for sign, count in zip((-1, 1), counts, strict=True):
                distance = 0
                for _ in range(count):
                    distance += sign * (sps.number() + 1)
                    kept.append(distance)
                    sps.bits(1)
        kept = [each for each in kept if each]
        # The nearest first, those before in time first, as the next set counts them.
        before = sorted((each for each in kept if each < 0), reverse=True)
        before += sorted(each for each in kept if each > 0)
        if len(before) > _MOST_REFERENCES:
            raise ValueError
