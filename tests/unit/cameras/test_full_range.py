"""What a stream says of its colours, from its parameters: H.264 and H.265.

Those of H.264 and those named `x265` are as x264 and x265 wrote them; the others hold what cameras
send and x265 does not, and FFmpeg reads them in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from alprd.cameras import h264, h265

START = b"\0\0\0\1"


@dataclass(frozen=True, kw_only=True)
class Codec:
    is_full_range: Callable[[bytes], bool | None]
    before: bytes
    """What comes before the parameters."""

    picture: bytes
    parameters_type: bytes
    needed: int
    """So many bytes of any parameters are too few."""

    video_range: Mapping[str, str]
    full_range: Mapping[str, str]

    def packet(self, parameters: str) -> bytes:
        return self.before + START + bytes.fromhex(parameters) + self.picture


H264 = Codec(
    is_full_range=h264.is_full_range,
    before=START + b"\x09\xf0",
    picture=START + b"\x65\x88\x84\0\x33\xff",
    parameters_type=b"\x67",
    needed=12,
    video_range={
        "high": "6764000dacd94141fb011000000300100000030320f1429960",
        "baseline": "6742c00dd90150878888c044000003000400000300c83c50a920",
        "interlaced": "674d4015eca0a087e5c044000003000400000300c87c50a658",
        "odd aspect": "6764000dacd94150878888ffc0fa00f9c4000003000400000300c83c50a658",
    },
    full_range={
        "high": "6764000dacd94141fb016c800000030080000019078a14cb",
        "with overscan": "6764000dacd94150878888c3a99000000300100000030320f1429960",
        "odd aspect": "6764000dacd94150878888ffc0fa00f9db20000003002000000641e28532c0",
    },
)
H265 = Codec(
    is_full_range=h265.is_full_range,
    before=START + b"\x40\x01\x0c\x01\xff\xff",
    picture=START + b"\x26\x01\xaf\x0a\0\x42\x01",
    parameters_type=b"\x42\x01",
    needed=24,
    video_range={
        "x265": (
            "42010101600000030090000003000003003ca00b080f16595952930bc05a020000030002000003001410"
        ),
        "x265, layers": (
            "42010101600000030090000003000003003ca00b080f1659589924caf0168080000003008000000504"
        ),
        "reference sets": (
            "42010101600000030090000003000003003ca00b080f165097bb4985facbb74f3b7972f3ceaae68010"
        ),
        "long-term, layers": (
            "42010101600000030090000003000003003ca00b080f162e25eed26326aab3dedcbbfbd002"
        ),
    },
    full_range={
        "x265": (
            "42010101600000030090000003000003003ca00b080f16595952930bc05b020000030002000003001410"
        ),
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
    },
)
CODECS = {"h264": H264, "h265": H265}
VIDEO_RANGE = {
    f"{name}, {kind}": (codec, parameters)
    for name, codec in CODECS.items()
    for kind, parameters in codec.video_range.items()
}
FULL_RANGE = {
    f"{name}, {kind}": (codec, parameters)
    for name, codec in CODECS.items()
    for kind, parameters in codec.full_range.items()
}


@pytest.mark.parametrize(("codec", "parameters"), VIDEO_RANGE.values(), ids=VIDEO_RANGE.keys())
def test_a_stream_of_video_range_is_known(codec: Codec, parameters: str) -> None:
    assert codec.is_full_range(codec.packet(parameters)) is False


@pytest.mark.parametrize(("codec", "parameters"), FULL_RANGE.values(), ids=FULL_RANGE.keys())
def test_a_stream_of_full_range_is_known(codec: Codec, parameters: str) -> None:
    assert codec.is_full_range(codec.packet(parameters)) is True


@pytest.mark.parametrize(("codec", "parameters"), FULL_RANGE.values(), ids=FULL_RANGE.keys())
def test_parameters_that_are_cut_off_are_no_fault(codec: Codec, parameters: str) -> None:
    unit = START + bytes.fromhex(parameters)
    for length in range(len(unit)):
        assert codec.is_full_range(unit[:length]) in (False, True, None)
    assert codec.is_full_range(unit[: codec.needed]) is None
    assert codec.is_full_range(codec.picture + unit) is None, "pictures come last"


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
def test_no_parameters_and_garbage_are_no_fault(codec: Codec) -> None:
    assert codec.is_full_range(b"") is None
    assert codec.is_full_range(codec.before + codec.picture) is None
    begun = START + codec.parameters_type
    assert codec.is_full_range(begun + bytes(200)) is None
    assert codec.is_full_range(begun + b"\xff" * 200) in (False, True, None)
