"""A frame's picture, in memory or on a GPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alprd.core.observe import size_of
from support.plates_in_frames import make_frame
from support.surfaces import surface_of

PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def test_a_picture_in_memory_is_its_own_host_image() -> None:
    frame = replace(make_frame(), image=PICTURE)
    assert frame.host_image() is PICTURE
    assert frame.size == size_of(frame) == (6, 4)


def test_the_size_of_a_surface_is_known_without_asking_the_gpu_for_it() -> None:
    asked: list[int] = []
    frame = replace(make_frame(), image=surface_of(PICTURE, asked=lambda: asked.append(1)))
    assert frame.size == size_of(frame) == (6, 4)
    assert asked == []
    assert frame.host_image() is PICTURE
    assert asked == [1]
