"""From a decoded picture to a `Frame`: rate limit, depth, rotation, numbering."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd.cameras.images import as_bgr_u8
from alprd.cameras.pacing import FrameLimiter
from alprd.config.models import CameraSettings
from alprd.core.types import DeviceSurface, Frame

OnGrab = Callable[[], None]
"""Called for every frame taken from the source, before the rate limit; may raise to stop a read."""

_ROTATIONS = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}


def ignore_grab() -> None:
    """An `OnGrab` for callers that do not watch the source."""


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(timezone.utc)


class FrameMaker:
    """Turns the pictures of one camera into frames; owned by the reading thread."""

    def __init__(
        self, settings: CameraSettings, *, now: Callable[[], datetime], on_grab: OnGrab
    ) -> None:
        self._camera_id = settings.id
        self._rotation = _ROTATIONS.get(settings.rotate_deg)
        self._limiter = FrameLimiter(settings.max_fps)
        self._on_grab = on_grab
        self._seq = 0
        self.now = now

    def start(self) -> None:
        """The source is opened: frames count from 0 again."""
        self._seq = 0

    def taken(self) -> None:
        """A frame was taken from the source; raises what `on_grab` raises."""
        self._on_grab()

    def admits(self, t_s: float) -> bool:
        """Whether a frame of this time is to be handed on."""
        return self._limiter.admits(t_s)

    def frame(
        self, image: NDArray[Any] | DeviceSurface, *, t_s: float, captured_at: datetime
    ) -> Frame:
        """The frame, upright as configured and read-only.

        Raises:
            CameraError: the picture has a shape or depth that cannot be used.
        """
        if isinstance(image, DeviceSurface) and self._rotation is not None:
            image = image.to_host()
        frame = Frame(
            camera_id=self._camera_id,
            seq=self._seq,
            captured_at=captured_at,
            t_s=t_s,
            image=image if isinstance(image, DeviceSurface) else self._upright(image),
        )
        self._seq += 1
        return frame

    def _upright(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        upright = as_bgr_u8(image)
        if self._rotation is not None:
            upright = cv2.rotate(upright, self._rotation).astype("uint8", copy=False)
        upright.setflags(write=False)
        return upright
