"""Plates in pictures, folders and clips, without broker, configuration or daemon.

A picture is a stream of one frame and a clip is a stream of many: both go through the same
pipeline as a camera's frames, so what is printed here is what the daemon would publish.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2

from alprd import __version__
from alprd.annotate import ClipWriter, Mark, OutputFolder, draw, write_picture
from alprd.cameras.capture import Capture
from alprd.cameras.files import VideoFileSource
from alprd.cameras.frames import FrameMaker, ignore_grab
from alprd.cameras.images import is_picture, load_image, natural_key
from alprd.cameras.pacing import FileAxis
from alprd.config import CameraSettings, TrackingSettings
from alprd.config.models import default_device_id
from alprd.core.attributes import TYPE
from alprd.core.events import RANDOM_BYTES, to_payload, uuid7
from alprd.core.tiles import in_picture, merge, tiles
from alprd.core.tracking import Track
from alprd.core.types import Attribute, Detection, Frame, PlateEvent
from alprd.core.vehicles import VehicleTrack
from alprd.inference.attributes import AttributeStage
from alprd.inference.models import Models
from alprd.inference.preprocess import ImageError
from alprd.pipeline import CameraPipeline
from alprd.ports import CameraError, ImageU8

CAMERA_ID = "recognize"
CLIP_BATCH = 4
"""Frames looked at together; more only delays the first result."""

PICTURE_PLATE_WIDTH_PX = 16.0
"""Narrower plates of a picture are not read: there is no second frame to confirm a guess."""

FALLBACK_FPS = 25.0

# fmt: off
CLIP_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg",
    ".3gp", ".flv", ".wmv", ".gif", ".mjpg", ".mjpeg", ".h264", ".264", ".h265", ".hevc",
))
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the work is.

    Attributes:
        source: the file that is being looked at.
        files_done: files before it.
        files: files in all.
        fraction: of this file, 0..1; None when its length is not known.
    """

    source: str
    files_done: int
    files: int
    fraction: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What all files share."""

    models: Models
    min_confidence: float
    output: OutputFolder | None
    on_error: Callable[[str], None]


def recognize(
    paths: Sequence[Path],
    models: Models,
    *,
    on_error: Callable[[str], None],
    on_progress: Callable[[Progress], None] | None = None,
    annotate_dir: Path | None = None,
    min_confidence: float = 0.5,
) -> Iterator[dict[str, Any]]:
    """One result per plate of a picture (best first) and per vehicle pass of a clip.

    A result is the event's fields with `source`, the file, before them; `seq` is None. Times count
    from the file's modification time. A file that cannot be used is reported and the others go on.

    Args:
        paths: pictures, clips, and folders, whose pictures and clips are looked at with those of
            their subfolders, in natural order.
        models: used from the calling thread.
        on_error: called with one line per file that cannot be used or is damaged.
        on_progress: called often.
        annotate_dir: where annotated pictures and clips are written; created if need be.
        min_confidence: plates below it are left out, 0..1.

    Raises:
        AnnotateError: an annotated file cannot be written.
        EngineError: a model failed.
    """
    files = list(_files(paths, on_error))
    output = None if annotate_dir is None else OutputFolder(annotate_dir, files)
    job = _Job(models=models, min_confidence=min_confidence, output=output, on_error=on_error)

    def report(done: int, path: Path, fraction: float | None) -> None:
        if on_progress is not None:
            on_progress(
                Progress(source=str(path), files_done=done, files=len(files), fraction=fraction)
            )

    for done, path in enumerate(files):
        report(done, path, 0.0)
        try:
            for event in (
                _of_picture(path, job)
                if _is_picture(path)
                else _of_clip(path, job, partial(report, done, path))
            ):
                payload = to_payload(
                    event,
                    seq=None,
                    device_id=default_device_id(),
                    software=f"alprd {__version__}",
                    models=models.hashes,
                )
                yield {"source": str(path), **payload}
        except (CameraError, ImageError) as error:
            text = str(error)
            on_error(text if text.startswith(str(path)) else f"{path}: {text}")
        report(done, path, 1.0)


def _files(paths: Sequence[Path], on_error: Callable[[str], None]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(_media(path), key=lambda file: [natural_key(part) for part in file.parts])
        if not found:
            on_error(f"{path}: the folder holds no picture and no clip; check the path")
        yield from found


def _media(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = Path(parent, name)
            if is_picture(file) or (
                file.suffix.lower() in CLIP_SUFFIXES and not name.startswith(".")
            ):
                yield file


def _is_picture(path: Path) -> bool:
    """By the name; by the content when the name does not tell."""
    if is_picture(path):
        return True
    return path.suffix.lower() not in CLIP_SUFFIXES and cv2.haveImageReader(str(path))


# --- pictures


def _of_picture(path: Path, job: _Job) -> list[PlateEvent]:
    image = load_image(path)
    frame = Frame(camera_id=CAMERA_ID, seq=0, captured_at=_modified_at(path), t_s=0.0, image=image)
    pipeline = _pipeline(
        TrackingSettings(
            min_reads=1,
            min_confidence=job.min_confidence,
            min_plate_width_px=PICTURE_PLATE_WIDTH_PX,
        )
    )
    detections = _look_closely(image, job.models)
    plates = pipeline.select(frame, detections)
    reads = job.models.reader.read([(image, plate, 0.0) for plate in plates])
    stage = _new_stage(job.models)
    events = pipeline.step(frame, detections, reads)
    stage.see(frame, pipeline.vehicles)
    vehicles = _vehicle_marks(pipeline.vehicles, frame, stage) if job.output else []
    events = stage.completed([*events, *pipeline.finish()])
    events.sort(key=lambda event: -(event.confidence or 0.0))
    if job.output is not None:
        marks = vehicles + [
            Mark(corners=event.quad, label=f"{event.plate} {event.confidence:.0%}", colour=number)
            for number, event in enumerate(events)
        ]
        write_picture(job.output.picture_path(path), draw(image, marks))
    return events


def _look_closely(image: ImageU8, models: Models) -> list[Detection]:
    """What is in the picture as a whole and in the parts of a large one."""
    size = (image.shape[1], image.shape[0])
    parts = [(0, 0, *size), *tiles(size, models.input_size)]
    looks = models.detector.detect([image[y1:y2, x1:x2] for x1, y1, x2, y2 in parts])
    return merge(
        [
            found
            for part, detections in zip(parts, looks, strict=True)
            for found in in_picture(detections, part, size)
        ]
    )


# --- clips


def _of_clip(
    path: Path, job: _Job, on_progress: Callable[[float | None], None]
) -> Iterator[PlateEvent]:
    frames_in_all, fps = _length(path)
    modified_at = _modified_at(path)
    settings = CameraSettings(id=CAMERA_ID, source=str(path))
    maker = FrameMaker(settings, now=lambda: modified_at, on_grab=ignore_grab)
    source = VideoFileSource(settings, maker, FileAxis(), path)
    pipeline = _pipeline(TrackingSettings(min_confidence=job.min_confidence))
    stage = _new_stage(job.models)
    with ExitStack() as stack:
        stack.callback(source.close)
        source.open()
        writer: ClipWriter | None = None
        seen = 0
        while frames := list(islice(iter(source.read, None), CLIP_BATCH)):
            if job.output is not None and writer is None:
                writer = stack.enter_context(
                    ClipWriter(job.output.clip_path(path), frames[0].size, fps)
                )
            for frame, events in _steps(frames, pipeline, job.models):
                stage.see(frame, pipeline.vehicles)
                if writer is not None:
                    marks = _vehicle_marks(pipeline.vehicles, frame, stage)
                    marks += _track_marks(pipeline.tracks, frame)
                    writer.write(draw(frame.host_image(), marks))
                yield from stage.completed(events)
            seen += len(frames)
            on_progress(min(1.0, seen / frames_in_all) if frames_in_all else None)
        yield from stage.completed(pipeline.finish())
        if source.warning is not None:
            job.on_error(source.warning)


def _steps(
    frames: Sequence[Frame], pipeline: CameraPipeline, models: Models
) -> Iterator[tuple[Frame, list[PlateEvent]]]:
    """Each frame, stepped, with the events that it completes."""
    found = models.detector.detect([frame.image for frame in frames])
    chosen = [
        pipeline.select(frame, detections) for frame, detections in zip(frames, found, strict=True)
    ]
    reads = iter(
        models.reader.read(
            [
                (frame.image, plate, frame.t_s)
                for frame, plates in zip(frames, chosen, strict=True)
                for plate in plates
            ]
        )
    )
    for frame, detections, plates in zip(frames, found, chosen, strict=True):
        yield frame, pipeline.step(frame, detections, [next(reads) for _ in plates])


def _length(path: Path) -> tuple[int, float]:
    """Frames as the file declares them (0: unknown) and frames per second."""
    capture = Capture()
    try:
        if not capture.open(str(path.absolute()), cv2.CAP_FFMPEG):
            return 0, FALLBACK_FPS
        frames, fps = (
            capture.get(cv2.CAP_PROP_FRAME_COUNT),
            capture.get(cv2.CAP_PROP_FPS),
        )
    finally:
        capture.close()
    return max(0, int(frames)), fps if 0.0 < fps <= 1000.0 else FALLBACK_FPS


# --- common


def _pipeline(settings: TrackingSettings) -> CameraPipeline:
    return CameraPipeline(
        CAMERA_ID, settings, None, new_event_id=lambda at: uuid7(at, os.urandom(RANDOM_BYTES))
    )


def _modified_at(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    except OSError as error:
        raise CameraError(f"{path}: {error.strerror}; check the path and its rights") from error


def _new_stage(models: Models) -> AttributeStage:
    """What says what vehicles are, with no vehicle of another file in mind."""
    if models.attributes is None:
        return AttributeStage((), most=1, only_events=True)
    models.attributes.forget(CAMERA_ID)
    return models.attributes


def _vehicle_marks(
    vehicles: Sequence[VehicleTrack], frame: Frame, stage: AttributeStage
) -> list[Mark]:
    """The vehicles of this frame: the detector's type, or what classifiers say so far."""
    return [
        Mark(
            corners=((x1, y1), (x2, y1), (x2, y2), (x1, y2)),
            label=_vehicle_label(vehicle, stage.known(frame.camera_id, vehicle.id)),
        )
        for vehicle in vehicles
        if vehicle.last.captured_at == frame.captured_at
        for x1, y1, x2, y2 in [vehicle.last.detection.box]
    ]


def _vehicle_label(vehicle: VehicleTrack, attributes: Sequence[Attribute]) -> str:
    known = {a.name: a.value for a in attributes if a.value is not None}
    return " ".join([known.pop(TYPE, vehicle.last.detection.label), *known.values()])


def _track_marks(tracks: Sequence[Track], frame: Frame) -> list[Mark]:
    """The plates followed in this frame: text, how many reads agree, and the track's number."""
    return [
        Mark(
            corners=track.last.quad,
            label="" if track.text is None else _track_label(track, track.text),
            colour=track.id,
        )
        for track in tracks
        if track.last.t_s >= frame.t_s
    ]


def _track_label(track: Track, text: str) -> str:
    return f"{text} {track.count_of(text)}/{track.reads_count} #{track.id}"
