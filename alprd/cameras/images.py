"""Single pictures: every depth, channel count and orientation becomes upright 8-bit BGR."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.cameras.imagesize import declared_size, may_have_alpha
from alprd.ports import CameraError, ImageU8

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
MAX_PIXELS = 200_000_000
"""Beyond it a picture is refused: decoded it would take more than 600 MB."""

MAX_SIDE_PX = 100_000


def is_picture(path: Path) -> bool:
    """Whether the name says that this is a picture; hidden files never are."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def list_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder (not of its subfolders) in natural order: 2.jpg before 10.jpg.

    Raises:
        CameraError: the folder cannot be listed.
    """
    try:
        found = [path for path in folder.iterdir() if is_picture(path) and path.is_file()]
    except OSError as error:
        raise CameraError(
            f"{folder}: cannot list the folder ({error.strerror}); check the path and its rights"
        ) from error
    return sorted(found, key=lambda path: natural_key(path.name))


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """A sort key: digits compare as numbers, and come before letters; the name breaks ties."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    ranked = tuple((0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in parts)
    return ranked, name


def load_image(path: Path) -> ImageU8:
    """Read a picture file as upright (H, W, 3) uint8 BGR.

    16-bit pictures are scaled to 8 bits, transparent ones are laid on white, grey ones become
    three equal channels, and the EXIF orientation is applied.

    Raises:
        CameraError: one line that names the file and the remedy.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CameraError(
            f"{path}: cannot read the file ({error.strerror}); check the path and its rights"
        ) from error
    if not data:
        raise CameraError(f"{path}: the file is empty (0 bytes); copy the picture again")
    size = declared_size(data)
    if size is not None:
        width, height = size
        if width * height > MAX_PIXELS or max(size) > MAX_SIDE_PX:
            raise CameraError(
                f"{path}: {width} x {height} pixels are too many "
                f"(at most {MAX_PIXELS // 1_000_000} million, {MAX_SIDE_PX} a side); scale it down"
            )
    image = _decode(data)
    if image is None:
        raise CameraError(
            f"{path}: not a picture that can be read, or it is cut off or damaged; "
            "save it again as JPEG or PNG"
        )
    return as_bgr_u8(image)


def _decode(data: bytes) -> NDArray[Any] | None:
    """(H, W), (H, W, 3) or (H, W, 4) of the file's own depth, upright; None if unreadable."""
    encoded = np.frombuffer(data, np.uint8)
    try:
        if may_have_alpha(data):
            raw = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
            if raw is not None and raw.ndim == 3 and raw.shape[2] == 4:
                return raw
        # Only without IMREAD_UNCHANGED does OpenCV turn the picture as its EXIF data says.
        return cv2.imdecode(encoded, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    except cv2.error:  # what OpenCV raises for sizes beyond its own limits
        return None


def as_bgr_u8(image: NDArray[Any]) -> ImageU8:
    """Any decoded picture as (H, W, 3) uint8 BGR.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); unsigned 8 or 16 bit over their full
            range, or floating point from 0 to 1.
    """
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise CameraError(
            f"a picture of shape {image.shape} cannot be used; "
            "deliver grey, BGR or BGR with transparency"
        )
    depth = _to_u8(image)
    channels = depth.shape[2]
    if channels == 4:
        return _on_white(depth)
    if channels == 1:
        return np.repeat(depth, 3, axis=2)
    return depth


def _to_u8(image: NDArray[Any]) -> ImageU8:
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    if image.dtype == np.uint16:
        scaled_u8: ImageU8 = cv2.convertScaleAbs(image, alpha=255.0 / 65535.0).astype(np.uint8)
        return scaled_u8.reshape(image.shape)
    if np.issubdtype(image.dtype, np.floating):
        scaled = np.nan_to_num(image, nan=0.0, posinf=1.0, neginf=0.0)
        return np.asarray(np.clip(scaled, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    raise CameraError(
        f"a picture of {image.dtype} values cannot be used; deliver 8 or 16 bit unsigned"
    )


def _on_white(image: ImageU8) -> ImageU8:
    alpha = image[:, :, 3:4]
    if bool((alpha == 255).all()):
        return np.ascontiguousarray(image[:, :, :3])
    weight = alpha.astype(np.uint16)
    blended = (image[:, :, :3].astype(np.uint16) * weight + 255 * (255 - weight) + 127) // 255
    return blended.astype(np.uint8)
