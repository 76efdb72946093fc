"""One picture of a configured camera, upright as the daemon sees it."""

from __future__ import annotations

from alprd.cameras.sources import open_source
from alprd.config import CameraSettings
from alprd.ports import CameraError, ImageU8

SETTLING_FRAMES = 10
"""A camera's first pictures may be grey, or from before; a recording may be shorter."""


def snapshot(camera: CameraSettings) -> ImageU8:
    """A picture from the camera.

    Raises:
        CameraError: there is none; one line without credentials.
    """
    source = open_source(camera)
    try:
        source.open()
        image = None
        for _ in range(SETTLING_FRAMES):
            frame = source.read()
            if frame is None:
                break
            image = frame.host_image()
    finally:
        source.close()
    if image is None:
        raise CameraError(f"{camera.id}: the source holds no picture; check it")
    return image
