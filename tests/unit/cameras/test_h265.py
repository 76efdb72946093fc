"""What an H.265 stream says of its colours, from parameters that FFmpeg reads in the same way.

Those of `x265` are as it wrote them; the others hold what cameras send and x265 does not.
"""

from __future__ import annotations

import pytest

from alprd.cameras.h265 import is_full_range

START = b"\0\0\0\1"
VIDEO = START + b"\x40\x01\x0c\x01\xff\xff"
PICTURE = START + b"\x26\x01\xaf\x0a\0\x42\x01"

VIDEO_RANGE = {
    "x265": "42010101600000030090000003000003003ca00b080f16595952930bc05a020000030002000003001410",
    "x265, layers": (
        "42010101600000030090000003000003003ca00b080f1659589924caf0168080000003008000000504"
    ),
    "reference sets": (
        "42010101600000030090000003000003003ca00b080f165097bb4985facbb74f3b7972f3ceaae68010"
    ),
    "long-term, layers": (
        "42010101600000030090000003000003003ca00b080f162e25eed26326aab3dedcbbfbd002"
    ),
}
FULL_RANGE = {
    "x265": "42010101600000030090000003000003003ca00b080f16595952930bc05b020000030002000003001410",
    "x265, scaling lists": (
        "42010101600000030090000003000003003ca00b080f165959529385e02d810000030001000003000a08"
    ),
    "reference sets": (
        "42010101600000030090000003000003003ca00b080f165097bb4985facbb74f3b7972f3ceaae6c010"
    ),
    "layers with profiles": (
        "42010501600000030090000003000003003c0000a00b080f165097bb49afff0021000b6c01"
    ),
    "pulse code, long-term, cropped": (
        "42010101600000030090000003000003003ca00b080f1d326825eed2777f9677ff0fbd8020"
    ),
    "scaling lists of its own": (
        "42010101600000030090000003000003003ca00b080f165897bb4b4a09c2e350741205014821091c5182c180a1"
        "0a2a50d942e180c868341661204e08410890b98138240c8e18140420983e140a8a090c0f0c048180498f123c60"
        "a18151009c30190442c100d0441d04a8c094130b12382e31161630d2025289098447829048880981306460260e"
        "0274080100e0e43c5042c3a2048230e864381a1208428100483878d2078201104a858401187040682624220a41"
        "0298829aebc07d8020"
    ),
}


def packet(parameters: str) -> bytes:
    return VIDEO + START + bytes.fromhex(parameters) + PICTURE


@pytest.mark.parametrize("parameters", VIDEO_RANGE.values(), ids=VIDEO_RANGE.keys())
def test_a_stream_of_video_range_is_known(parameters: str) -> None:
    assert is_full_range(packet(parameters)) is False


@pytest.mark.parametrize("parameters", FULL_RANGE.values(), ids=FULL_RANGE.keys())
def test_a_stream_of_full_range_is_known(parameters: str) -> None:
    assert is_full_range(packet(parameters)) is True


@pytest.mark.parametrize("parameters", FULL_RANGE.values(), ids=FULL_RANGE.keys())
def test_parameters_that_are_cut_off_or_missing_are_no_fault(parameters: str) -> None:
    unit = START + bytes.fromhex(parameters)
    for length in range(len(unit)):
        assert is_full_range(unit[:length]) in (False, True, None)
    assert is_full_range(unit[:24]) is None
    assert is_full_range(VIDEO + PICTURE) is None
    assert is_full_range(PICTURE + unit) is None, "pictures come last"
    assert is_full_range(b"") is None
    assert is_full_range(START + b"\x42\x01" + bytes(200)) is None
    assert is_full_range(START + b"\x42\x01" + b"\xff" * 200) in (False, True, None)
