"""What the kernels are told: the structures of kernels.cu, packed by numpy."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from alprd.core.decode import Placement
from alprd.core.types import DeviceSurface
from alprd.inference.cuda import Address
from alprd.inference.manifest import InputSpec
from alprd.inference.preprocess import ImageError

PICTURE: Final = np.dtype(
    [
        ("plane", "<u8"),
        ("chroma", "<u8"),
        ("pitch", "<i4"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("format", "<i4"),
    ]
)
FIT: Final = np.dtype(
    [
        ("source", PICTURE),
        ("half", PICTURE, (2,)),
        ("x", "<i4"),
        ("y", "<i4"),
        ("width", "<i4"),
        ("height", "<i4"),
    ]
)
CUT: Final = np.dtype(
    [
        ("source", PICTURE),
        ("matrix", "<f8", (9,)),
        ("left", "<i4"),
        ("top", "<i4"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("times_x", "<i4"),
        ("times_y", "<i4"),
    ]
)
TARGET: Final = np.dtype(
    [
        ("width", "<i4"),
        ("height", "<i4"),
        ("order", "<i4"),
        ("layout", "<i4"),
        ("pad", "<i4"),
        ("scale", "<f4", (3,)),
        ("shift", "<f4", (3,)),
    ]
)

_FORMATS: Final = {"bgr": 0, "rgb": 1, "nv12": 2, "nv12-full": 3}
_ORDERS: Final = {"RGB": 0, "BGR": 1, "GRAY": 2}
_LAYOUTS: Final = {"NCHW": 0, "NHWC": 1}

Row = tuple[int, int, int, int, int, int]
"""A `PICTURE`."""

BLOCK: Final = (32, 8, 1)
"""Threads that share a tile of a picture."""


def bgr(address: Address, width: int, height: int) -> Row:
    """A BGR picture without gaps between its rows."""
    return (address, 0, 3 * width, width, height, _FORMATS["bgr"])


def of_surface(surface: DeviceSurface) -> Row:
    """A picture that a decoder left on the GPU. Raises ImageError for an unknown format."""
    planes = 2 if surface.format.startswith("nv12") else 1
    if surface.format not in _FORMATS or len(surface.pointers) != planes:
        raise ImageError(
            f"a surface of format {surface.format!r} with {len(surface.pointers)} planes cannot be "
            f"processed; formats are {', '.join(_FORMATS)}"
        )
    if surface.width < 1 or surface.height < 1:
        raise ImageError(f"a surface of {surface.width} x {surface.height} pixels is no picture")
    luma, chroma = (*surface.pointers, 0)[:2]
    return (
        luma,
        chroma,
        surface.pitch,
        surface.width,
        surface.height,
        _FORMATS[surface.format],
    )


def target(spec: InputSpec) -> NDArray[np.void]:
    """(1,) a network's float32 input as the kernels see it."""
    packed = np.zeros(1, TARGET)
    row = packed[0]
    row["width"], row["height"], row["pad"] = spec.width, spec.height, spec.pad_value
    row["order"], row["layout"] = _ORDERS[spec.colour], _LAYOUTS[spec.layout]
    # The same roundings as on the CPU: single precision, the division first.
    std = np.asarray(spec.std, np.float32)
    row["scale"][: spec.channels] = np.float32(spec.scale) / std
    row["shift"][: spec.channels] = np.asarray(spec.mean, np.float32) / std
    return packed


def halvings(width: int, height: int, placed: Placement) -> int:
    """How often a frame is halved before bilinear sampling sees every pixel of it."""
    count = 0
    while min(width / placed.width, height / placed.height) > 2.0:
        width, height = width // 2, height // 2
        count += 1
    return count


def tiles(width: int, height: int, depth: int) -> tuple[int, int, int]:
    """The grid of blocks over `depth` pictures."""
    return (-(-width // BLOCK[0]), -(-height // BLOCK[1]), depth)
