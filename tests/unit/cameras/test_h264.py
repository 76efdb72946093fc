"""What an H.264 stream says of its colours, from the parameters of streams that x264 wrote."""

from __future__ import annotations

import pytest

from alprd.cameras.h264 import is_full_range

START = b"\0\0\0\1"
DELIMITER, PICTURE = START + b"\x09\xf0", START + b"\x65\x88\x84\0\x33\xff"

VIDEO_RANGE = {
    "high": "6764000dacd94141fb011000000300100000030320f1429960",
    "baseline": "6742c00dd90150878888c044000003000400000300c83c50a920",
    "interlaced": "674d4015eca0a087e5c044000003000400000300c87c50a658",
    "odd aspect": "6764000dacd94150878888ffc0fa00f9c4000003000400000300c83c50a658",
}
FULL_RANGE = {
    "high": "6764000dacd94141fb016c800000030080000019078a14cb",
    "with overscan": "6764000dacd94150878888c3a99000000300100000030320f1429960",
    "odd aspect": "6764000dacd94150878888ffc0fa00f9db20000003002000000641e28532c0",
}


def packet(parameters: str) -> bytes:
    return DELIMITER + START + bytes.fromhex(parameters) + PICTURE


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
    assert is_full_range(unit[:12]) is None
    assert is_full_range(PICTURE) is None
    assert is_full_range(PICTURE + unit) is None, "pictures come last"
    assert is_full_range(b"") is None
    assert is_full_range(START + b"\x67" + bytes(200)) is None
    garbage = is_full_range(START + b"\x67" + b"\xff" * 200)
    assert garbage in (False, True, None), "garbage raises nothing"
