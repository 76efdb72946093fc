"""Pictures and clips with what was seen drawn into them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from alprd.ports import ImageU8

# H.264 plays everywhere, but OpenCV's own wheels cannot encode it; MPEG-4 plays in every player
# (not in browsers) and every OpenCV can write it.
_CODECS = ("avc1", "mp4v")

_COLOURS_BGR = (
    (80, 220, 60),
    (60, 170, 255),
    (255, 160, 60),
    (220, 90, 255),
    (60, 230, 230),
    (255, 220, 60),
)
_MAX_CLIP_SIDE_PX = 8190
"""MPEG-4 has room for no more."""

_CLIP_FPS = (0.01, 1000.0)
_VEHICLE_BGR = (200, 200, 200)
_JPEG_QUALITY = 92


class AnnotateError(Exception):
    """The annotated file cannot be written; the message names it and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something to draw.

    Attributes:
        corners: its outline, full-frame pixels.
        label: written beside it; empty for nothing.
        colour: index of its colour, the same for one vehicle over time; None for a quiet grey.
    """

    corners: Sequence[tuple[float, float]]
    label: str = ""
    colour: int | None = None


def draw(image: ImageU8, marks: Sequence[Mark]) -> ImageU8:
    """A copy of the picture with the marks drawn; labels lie above everything else."""
    drawn: ImageU8 = np.array(image, np.uint8)
    # Lines and letters as large as the picture is, so that they can be seen when it is scaled.
    unit = max(1, round(min(image.shape[:2]) / 360))
    for mark in marks:
        outline = np.array(mark.corners, np.float64).round().astype(np.int32)
        thickness = unit if mark.colour is None else 2 * unit
        cv2.polylines(drawn, [outline], True, _bgr(mark), thickness, cv2.LINE_AA)
    for mark in marks:
        if mark.label:
            _write_label(drawn, mark, unit)
    return drawn


class OutputFolder:
    """Names annotated files after their sources, never over a source, each name once per run."""

    def __init__(self, path: Path, sources: Iterable[Path] = ()) -> None:
        """Create the folder.

        Args:
            path: where annotated files go; may be a folder that sources lie in.
            sources: the files that are looked at in this run.

        Raises:
            AnnotateError: the folder cannot be created.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AnnotateError(
                f"{path}: cannot create the folder ({error.strerror}); choose another with "
                "--annotate"
            ) from error
        self._path = path
        # Resolved: the same file has many names, and an output's name may be a link to a source.
        self._sources = {source.resolve() for source in sources}
        self._taken: set[str] = set()

    def picture_path(self, source: Path) -> Path:
        """Where the annotated picture goes."""
        return self._free(source.stem, ".png" if source.suffix.lower() == ".png" else ".jpg")

    def clip_path(self, source: Path) -> Path:
        """Where the annotated clip goes."""
        return self._free(source.stem, ".mp4")

    def _free(self, stem: str, suffix: str) -> Path:
        name, number = f"{stem}-annotated{suffix}", 2
        while name in self._taken or (self._path / name).resolve() in self._sources:
            name, number = f"{stem}-annotated-{number}{suffix}", number + 1
        self._taken.add(name)
        return self._path / name


def write_picture(path: Path, image: ImageU8) -> None:
    """Encode by the path's suffix and write. Raises AnnotateError."""
    try:
        fine, data = cv2.imencode(path.suffix, image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if fine:
            path.write_bytes(data.tobytes())
            return
    except cv2.error as error:
        raise AnnotateError(f"{path}: cannot encode the picture ({error.err})") from error
    except OSError as error:
        raise AnnotateError(_cannot_write(path, error.strerror)) from error
    height, width = image.shape[:2]
    raise AnnotateError(
        f"{path}: a picture of {width} x {height} pixels cannot be encoded; JPEG ends at 65,535 a "
        "side: convert the source to PNG, or leave out --annotate"
    )


class ClipWriter:
    """An MP4 file that grows frame by frame; `codec` says how it is encoded."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        """Create the file.

        Args:
            path: ends in .mp4.
            size: (width, height) of the frames; the clip is smaller where no codec takes that.
            fps: frames per second.

        Raises:
            AnnotateError: the file cannot be created, or no codec can write it.
        """
        self.path = path
        self._size = _clip_size(size)
        fps = _clip_fps(fps)
        try:
            path.write_bytes(b"")
        except OSError as error:
            raise AnnotateError(_cannot_write(path, error.strerror)) from error
        for codec in _CODECS:
            self.codec = codec
            self._writer = cv2.VideoWriter(
                str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, self._size
            )
            if self._writer.isOpened():
                return
            self._writer.release()
        path.unlink(missing_ok=True)
        width, height = self._size
        raise AnnotateError(
            f"{path}: this OpenCV encodes no clip of {width} x {height} pixels at {fps:g} frames/s "
            f"(tried {', '.join(_CODECS)}); leave out --annotate, or install an OpenCV with FFmpeg"
        )

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.release()

    def write(self, image: ImageU8) -> None:
        """Add a frame; one of another size is scaled, because a clip has one size."""
        if (image.shape[1], image.shape[0]) != self._size:
            image = np.asarray(cv2.resize(image, self._size), np.uint8)
        self._writer.write(image)


def _clip_size(size: tuple[int, int]) -> tuple[int, int]:
    """The nearest size that codecs take: even, and no longer than they have room for."""
    scale = min(1.0, _MAX_CLIP_SIDE_PX / max(size))
    width, height = (max(2, int(side * scale) // 2 * 2) for side in size)
    return width, height


def _clip_fps(fps: float) -> float:
    """The nearest rate that MPEG-4 can count in: its clock has no more than 65,535 ticks/s."""
    low, high = _CLIP_FPS
    return round(min(high, max(low, fps)), 2 if fps < 600.0 else 0)


def _write_label(drawn: ImageU8, mark: Mark, unit: int) -> None:
    font, scale, thickness = cv2.FONT_HERSHEY_SIMPLEX, 0.6 * unit, max(1, round(1.5 * unit))
    (width, height), below = cv2.getTextSize(mark.label, font, scale, thickness)
    pad = 3 * unit
    left = min(x for x, _ in mark.corners)
    top = min(y for _, y in mark.corners) - height - below - 3 * pad
    # Inside the picture, whatever it covers.
    x = int(np.clip(left, 0, max(0, drawn.shape[1] - width - 2 * pad)))
    y = int(np.clip(top, 0, max(0, drawn.shape[0] - height - below - 2 * pad)))
    corner = (x + width + 2 * pad, y + height + below + 2 * pad)
    cv2.rectangle(drawn, (x, y), corner, _bgr(mark), cv2.FILLED)
    origin = (x + pad, y + pad + height)
    cv2.putText(drawn, mark.label, origin, font, scale, (0, 0, 0), thickness, cv2.LINE_AA)


def _bgr(mark: Mark) -> tuple[int, int, int]:
    return _VEHICLE_BGR if mark.colour is None else _COLOURS_BGR[mark.colour % len(_COLOURS_BGR)]


def _cannot_write(path: Path, reason: str | None) -> str:
    return f"{path}: cannot be written ({reason}); check the folder's rights and the free space"
