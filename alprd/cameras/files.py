"""Recorded cameras: video files and folders of pictures. No frame is lost."""

from __future__ import annotations

import math
import stat
import threading
from pathlib import Path

import cv2
import structlog

from alprd.cameras.capture import Capture, Decoded
from alprd.cameras.frames import FrameMaker
from alprd.cameras.images import list_pictures, load_image
from alprd.cameras.pacing import FileAxis
from alprd.config.models import CameraSettings
from alprd.core.types import Frame
from alprd.ports import CameraError

MAX_FAILED_GRABS = 200
"""Damaged packets to skip in a row; at the real end each attempt costs microseconds."""

FALLBACK_FPS = 25.0
COMPLETE = 0.95
"""Containers miscount a few frames; a file that gives less than this part of them is cut off."""

log = structlog.get_logger()


class VideoFileSource:
    """A video file, decoded as fast as it is read; looped if configured.

    The steady time is the stream's presentation time, continued across loops.
    """

    def __init__(
        self,
        settings: CameraSettings,
        maker: FrameMaker,
        axis: FileAxis,
        path: Path,
        capture: Decoded | None = None,
    ) -> None:
        self._settings = settings
        self._maker = maker
        self._axis = axis
        self._path = path
        self._capture: Decoded = Capture() if capture is None else capture
        self._grabbed = 0
        self._declared = 0
        self._usable = False
        self.warning: str | None = None

    @property
    def live(self) -> bool:
        """True when the file plays at its own speed, as a camera would."""
        return self._settings.realtime

    def open(self) -> None:
        """Open the file. Raises CameraError."""
        self._maker.start()
        self._rewind()

    def read(self) -> Frame | None:
        """The next frame that the frame-rate limit admits; None at the end of an unlooped file.

        What a damaged file still holds is delivered; `warning` then says that it was cut off.

        Raises:
            CameraError: the file holds no frame that can be decoded, or cannot be opened again.
        """
        while True:
            position_s = self._grab()
            if position_s is None:
                self._end_of_pass()
                if not self._settings.loop:
                    return None
                self._rewind()
                continue
            self._maker.taken()
            t_s = self._axis.place(position_s)
            if not self._maker.admits(t_s):
                self._usable = True  # not looked at: a loop goes on
                continue
            image = self._capture.retrieve()
            if image is not None:
                self._usable = True
                return self._maker.frame(image, t_s=t_s, captured_at=self._axis.wall_time(t_s))

    def close(self) -> None:
        """Release the file; from another thread it takes effect when the running call returns."""
        self._capture.close()

    def _rewind(self) -> None:
        check_regular_file(self._path)
        if not self._capture.open(str(self._path.absolute()), cv2.CAP_FFMPEG):
            raise CameraError(
                f"{self._path}: not a video that can be read, or cut off before its index; "
                "copy it again or convert it: ffmpeg -i FILE -c:v libx264 out.mp4"
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        if not (math.isfinite(fps) and 0.0 < fps <= 1000.0):
            fps = FALLBACK_FPS
        declared = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._declared = int(declared) if math.isfinite(declared) and declared > 0 else 0
        self._grabbed = 0
        self._usable = False
        self._axis.restart(self._maker.now(), period_s=1.0 / fps)

    def _grab(self) -> float | None:
        """The position of the next frame in the file, seconds; None at its end."""
        for _ in range(MAX_FAILED_GRABS):
            if self._capture.grab():
                self._grabbed += 1
                return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
            if 0 < self._declared <= self._grabbed:
                break
        return None

    def _end_of_pass(self) -> None:
        if self._grabbed == 0 or not self._usable:
            raise CameraError(
                f"{self._path}: no frame can be decoded; convert it: "
                "ffmpeg -i FILE -c:v libx264 out.mp4"
            )
        if self._grabbed < COMPLETE * self._declared - 1:
            self.warning = (
                f"{self._path}: ended after {self._grabbed} of {self._declared} frames; "
                "the file is cut off or damaged, copy it again"
            )
            log.warning("camera.file_damaged", camera=self._settings.id, error=self.warning)


class FolderSource:
    """The pictures of a folder in natural order, `folder_fps` per second; or a single picture.

    A picture that cannot be read is skipped, logged and counted in `unreadable`; it keeps its place
    in time. The folder is listed again at every loop.
    """

    def __init__(
        self, settings: CameraSettings, maker: FrameMaker, axis: FileAxis, path: Path
    ) -> None:
        self._settings = settings
        self._maker = maker
        self._axis = axis
        self._path = path
        self._pictures: list[Path] = []
        self._next = 0
        self._usable = False
        self._closed = threading.Event()
        self.unreadable = 0
        self.warning: str | None = None

    @property
    def live(self) -> bool:
        """True when the pictures come at their own speed, as from a camera."""
        return self._settings.realtime

    def open(self) -> None:
        """List the folder. Raises CameraError."""
        self._maker.start()
        self._rewind()

    def read(self) -> Frame | None:
        """The next readable picture; None after the last one of an unlooped folder.

        Raises:
            CameraError: no picture of the folder could be read.
        """
        while not self._closed.is_set():
            if self._next >= len(self._pictures):
                if not self._usable:
                    raise CameraError(f"{self._path}: not one picture can be read; {self.warning}")
                if not self._settings.loop:
                    return None
                self._rewind()
                continue
            self._maker.taken()
            path = self._pictures[self._next]
            t_s = self._axis.place(self._next / self._settings.folder_fps)
            self._next += 1
            if not self._maker.admits(t_s):
                self._usable = True  # not looked at: a loop goes on
                continue
            try:
                image = load_image(path)
            except CameraError as error:
                self._skip(error)
                continue
            self._usable = True
            return self._maker.frame(image, t_s=t_s, captured_at=self._axis.wall_time(t_s))
        raise CameraError("the camera was closed")

    def close(self) -> None:
        """The next `read` raises CameraError; nothing is held open between two pictures."""
        self._closed.set()

    def _rewind(self) -> None:
        if self._path.is_dir():
            pictures = list_pictures(self._path)
        else:
            check_regular_file(self._path)
            pictures = [self._path]
        if not pictures:
            raise CameraError(
                f"{self._path}: the folder holds no picture (jpg, png, bmp, webp, tiff); "
                "check the path: subfolders are not searched"
            )
        self._pictures = pictures
        self._next = 0
        self._usable = False
        self._axis.restart(self._maker.now(), period_s=1.0 / self._settings.folder_fps)

    def _skip(self, error: CameraError) -> None:
        self.unreadable += 1
        self.warning = f"{self.unreadable} unreadable, last: {error}"
        log.warning(
            "camera.picture_skipped",
            camera=self._settings.id,
            error=str(error),
            unreadable=self.unreadable,
        )


def check_regular_file(path: Path) -> None:
    """Refuse what is not a file that can be read.

    Raises:
        CameraError: with the reason and the remedy.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                empty = not file.read(1)
    except FileNotFoundError as error:
        raise CameraError(
            f"{path}: no such file or folder; check the path in source "
            "(a camera is rtsp://..., /dev/videoN or a GStreamer pipeline)"
        ) from error
    except OSError as error:
        raise CameraError(
            f"{path}: cannot be read ({error.strerror}); check the path and its rights"
        ) from error
    if not stat.S_ISREG(mode):
        raise CameraError(f"{path}: not a regular file; use a video file, a folder or /dev/videoN")
    if empty:
        raise CameraError(f"{path}: the file is empty (0 bytes); copy it again")
