"""Pictures that pretend to be in a GPU's memory, for tests without one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from alprd.core.types import DeviceSurface
from alprd.ports import CameraError


def surface_of(
    image: NDArray[np.uint8], *, asked: Callable[[], None] = lambda: None
) -> DeviceSurface:
    """A surface that gives this picture; `asked` is called whenever somebody wants it on the host.

    Its pointers lead nowhere: who follows them crashes.
    """

    def to_host() -> NDArray[np.uint8]:
        asked()
        return image

    return _surface(image.shape[1], image.shape[0], to_host)


def lost_surface(size: tuple[int, int] = (1280, 720)) -> DeviceSurface:
    """A surface that the GPU does not give."""

    def to_host() -> NDArray[np.uint8]:
        raise CameraError("the GPU does not give the frame; see dmesg")

    return _surface(*size, to_host)


def _surface(width: int, height: int, to_host: Callable[[], NDArray[np.uint8]]) -> DeviceSurface:
    return DeviceSurface(
        format="nv12",
        width=width,
        height=height,
        pointers=(0, 0),
        pitch=width,
        owner=None,
        to_host=to_host,
    )
