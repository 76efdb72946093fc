"""Where surfaces lie, and for how long."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

from alprd.cameras import surfaces
from alprd.cameras.surfaces import SurfaceMemory
from alprd.core.types import DeviceSurface
from support.fake_nvdec import FakeDriver


def decoded(
    memory: SurfaceMemory, width: int, height: int, grey: int = 90, *, full_range: bool = False
) -> DeviceSurface:
    """A surface of a grey picture as a decoder leaves it, with padding that must not show."""
    rows, row_bytes = height + height % 2, width + width % 2
    planes = np.full((rows * 3 // 2, row_bytes + 6), 255, np.uint8)
    planes[:height, :width] = grey
    planes[rows:, :row_bytes] = 128
    start = int(planes.ctypes.data)
    pitch = planes.strides[0]
    return memory.nv12(
        (start, pitch),
        (start + rows * pitch, pitch),
        (width, height),
        full_range=full_range,
        stream=7,
    )


@pytest.mark.parametrize("size", [(64, 48), (63, 47), (1280, 720), (2, 2)])
def test_a_picture_of_every_size_comes_back_as_it_is(size: tuple[int, int]) -> None:
    surface = decoded(SurfaceMemory(FakeDriver()), *size)
    assert surface.pitch % surfaces.PITCH_BYTES == 0
    assert surface.pointers[1] - surface.pointers[0] >= surface.pitch * size[1]
    image = surface.to_host()
    assert image.shape == (size[1], size[0], 3)
    assert image.min() == image.max() == round((90 - 16) * 255 / 219)


@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
def test_a_picture_of_full_range_keeps_its_brightness(size: tuple[int, int]) -> None:
    surface = decoded(SurfaceMemory(FakeDriver()), *size, full_range=True)
    assert surface.format == "nv12-full"
    image = surface.to_host()
    assert image.shape == (size[1], size[0], 3)
    assert image.min() == image.max() == 90


def test_memory_comes_back_when_the_last_one_lets_go_of_it_in_whatever_thread() -> None:
    driver = FakeDriver()
    memory = SurfaceMemory(driver)
    surface = decoded(memory, 64, 48)
    owner, first = surface.owner, surface.pointers
    del surface
    held = [decoded(memory, 64, 48)]
    assert held[0].pointers != first, "the owner still holds it"
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    del owner
    gc.collect()
    again = [decoded(memory, 64, 48), decoded(memory, 64, 48)]
    assert driver.allocated == 2
    assert first in [each.pointers for each in again]


def test_what_nobody_asks_for_any_more_is_freed_once_it_is_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = FakeDriver()
    memory = SurfaceMemory(driver)
    monkeypatch.setattr(surfaces, "SPARE_BYTES", 100_000)
    for width in range(256, 8192, 256):  # a stream whose resolution changes again and again
        decoded(memory, width, 16)
    gc.collect()
    assert driver.held_bytes <= 2 * (100_000 + 8192 * 24)
