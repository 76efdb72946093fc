"""Looks at a picture of every camera now and then: does it show anything?"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future

import cv2
import numpy as np
import structlog

from alprd.cameras.tap import FrameTap
from alprd.core.blindness import LONG_SIDE_PX, GreyU8, Picture, Watch
from alprd.core.light import Light, LightWatch
from alprd.core.types import Frame
from alprd.ports import CameraError, ImageU8

log = structlog.get_logger()


class PictureWatch:
    """Used by one thread, which it never delays: it asks for a frame and judges it a look later.

    Args:
        tap: where frames come by.
        frozen_s: as `Watch`.
    """

    def __init__(self, tap: FrameTap, *, frozen_s: float) -> None:
        self._tap = tap
        self._frozen_s = frozen_s
        self._watches: dict[str, Watch] = {}
        self._lights: dict[str, LightWatch] = {}
        self._asked: dict[str, Future[Frame]] = {}

    def look(self, camera_ids: Iterable[str], now_s: float) -> dict[str, Picture | None]:
        """The newest verdict on every camera; None before its first picture.

        Args:
            camera_ids: of those that are open; others are forgotten.
            now_s: monotonic seconds.
        """
        wanted = set(camera_ids)
        for gone in self._asked.keys() - wanted:
            self._asked.pop(gone).cancel()
        self._watches = {
            camera_id: self._watches.get(camera_id) or Watch(self._frozen_s) for camera_id in wanted
        }
        self._lights = {
            camera_id: self._lights.get(camera_id) or LightWatch() for camera_id in wanted
        }
        for camera_id, watch in self._watches.items():
            asked = self._asked.get(camera_id)
            if asked is not None and asked.done():
                _see(watch, self._lights[camera_id], asked.result(), now_s)
                asked = None
            if asked is None:
                self._asked[camera_id] = self._tap.ask(camera_id)
        return {camera_id: watch.verdict for camera_id, watch in self._watches.items()}

    def lights(self) -> dict[str, Light | None]:
        """By what light every camera saw, as of the newest look; None before its first picture."""
        return {camera_id: watch.light for camera_id, watch in self._lights.items()}

    def close(self) -> None:
        """Ask for nothing more."""
        self.look((), 0.0)


def _see(watch: Watch, light: LightWatch, frame: Frame, now_s: float) -> None:
    try:
        image = frame.host_image()
    except CameraError as error:  # the next one may come through
        log.debug("camera.picture_not_seen", camera=frame.camera_id, error=str(error))
        return
    watch.see(now_s, grey_of(image))
    light.see(image)


def grey_of(image: ImageU8) -> GreyU8:
    """The picture's brightness, made so small that it can be judged."""
    height, width = image.shape[:2]
    scale = LONG_SIDE_PX / max(height, width)
    if scale < 1.0:
        # Reduced first: turning a large picture grey costs more.
        size = max(round(width * scale), 16), max(round(height * scale), 16)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
