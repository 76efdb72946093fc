"""Recorded detections and reads: a JSON Lines format, and a pipeline run over a recording.

A recording's first line holds the camera's settings, every further line one frame:

    {"camera_id": "gate", "frame_size": [1280, 720], "roi": null, "tracking": {"hold_s": 5.0, ...}}
    {"t_s": 0.1, "at": "2026-11-21T09:12:03.100Z", "detections": [
        {"label": "plate", "score": 0.9, "quad": [[x, y], ...], "read": {"text": "LS15EBC", ...}},
        {"label": "car", "score": 0.8, "box": [x1, y1, x2, y2]}]}

`read.probs` holds, per character, the probabilities that matter; what is left to 1 is spread evenly
over the other characters and the blank.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from alprd.core.counting import NOWHERE, Places
from alprd.core.events import format_time, uuid7
from alprd.core.geometry import quad_box
from alprd.core.types import ALPHABET, BLANK, Detection, Frame, PlateEvent, PlateRead
from alprd.pipeline import CameraPipeline

SYMBOLS = ALPHABET + "-"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """[tracking] without the configuration's machinery; the defaults are the daemon's."""

    hold_s: float = 5.0
    merge_s: float = 2.0
    min_reads: int = 2
    min_confidence: float = 0.5
    min_plate_width_px: float = 24.0
    publish_unread: bool = False
    regions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RecordedRead:
    text: str
    probs: tuple[Mapping[str, float], ...]
    quality: float | None
    regions: tuple[tuple[str, float], ...] = ()
    sharpness: float = 100.0


@dataclass(frozen=True, kw_only=True)
class RecordedObject:
    label: str
    score: float
    box: tuple[float, ...] | None = None
    quad: tuple[tuple[float, float], ...] | None = None
    read: RecordedRead | None = None


@dataclass(frozen=True, kw_only=True)
class RecordedFrame:
    t_s: float
    at: datetime
    objects: tuple[RecordedObject, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recording:
    camera_id: str = "gate"
    frame_size: tuple[int, int] = (1280, 720)
    roi: tuple[tuple[float, float], ...] | None = None
    rules: Rules = field(default_factory=Rules)
    frames: tuple[RecordedFrame, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Published:
    """An event, and the frame time at which the pipeline gave it (inf: at the end)."""

    t_s: float
    event: PlateEvent


def save(recording: Recording, path: Path) -> None:
    head = {
        "camera_id": recording.camera_id,
        "frame_size": list(recording.frame_size),
        "roi": recording.roi,
        "tracking": vars(recording.rules),
    }
    lines = [head, *(_frame_to_json(frame) for frame in recording.frames)]
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


def load(path: Path) -> Recording:
    head, *frames = (json.loads(line) for line in path.read_text().splitlines())
    return Recording(
        camera_id=head["camera_id"],
        frame_size=tuple(head["frame_size"]),
        roi=None if head["roi"] is None else tuple((x, y) for x, y in head["roi"]),
        rules=Rules(**head["tracking"]),
        frames=tuple(_frame_from_json(frame) for frame in frames),
    )


def event_ids() -> Iterator[bytes]:
    """Different bytes every time, the same in every run."""
    number = 0
    while True:
        number += 1
        yield number.to_bytes(10, "big")


def make_pipeline(recording: Recording, places: Places = NOWHERE) -> CameraPipeline:
    noise = event_ids()
    return CameraPipeline(
        recording.camera_id,
        recording.rules,
        recording.roi,
        new_event_id=lambda at: uuid7(at, next(noise)),
        places=places,
    )


def replay(recording: Recording, pipeline: CameraPipeline | None = None) -> list[Published]:
    """Everything that a pipeline publishes for the recording, including its end."""
    pipeline = pipeline or make_pipeline(recording)
    published: list[Published] = []
    for seq, recorded in enumerate(recording.frames):
        frame = to_frame(recording, recorded, seq)
        pairs = [to_detection(o, recorded.t_s) for o in recorded.objects]
        selected = pipeline.select(frame, [detection for detection, _ in pairs])
        reads = [next(read for d, read in pairs if d is plate) for plate in selected]
        events = pipeline.step(frame, [detection for detection, _ in pairs], reads)
        published += [Published(t_s=recorded.t_s, event=event) for event in events]
    published += [Published(t_s=float("inf"), event=event) for event in pipeline.finish()]
    return published


def to_frame(recording: Recording, recorded: RecordedFrame, seq: int) -> Frame:
    width, height = recording.frame_size
    image = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (height, width, 3))
    return Frame(
        camera_id=recording.camera_id,
        seq=seq,
        captured_at=recorded.at,
        t_s=recorded.t_s,
        image=image,
    )


def to_detection(recorded: RecordedObject, t_s: float) -> tuple[Detection, PlateRead]:
    """The detection and what would be read on it."""
    if recorded.quad is None:
        box = recorded.box
        quad = None
    else:
        box = quad_box(recorded.quad)
        quad = np.array(recorded.quad, np.float32)
    detection = Detection(label=recorded.label, score=recorded.score, box=box, quad=quad)
    read = recorded.read or RecordedRead(text="", probs=(), quality=0.0)
    return detection, PlateRead(
        text=read.text,
        char_probs=_posteriors(read.probs),
        quad=np.zeros((4, 2), np.float32) if quad is None else quad,
        t_s=t_s,
        score=recorded.score,
        quality=read.quality,
        regions=read.regions,
        sharpness=read.sharpness,
    )


def _posteriors(probs: Sequence[Mapping[str, float]]) -> np.ndarray:
    rows = np.zeros((len(probs), BLANK + 1), np.float32)
    for row, known in zip(rows, probs, strict=True):
        rest = max(0.0, 1.0 - sum(known.values()))
        row[:] = rest / (BLANK + 1 - len(known))
        for character, probability in known.items():
            row[SYMBOLS.index(character)] = probability
    return rows


def _frame_to_json(frame: RecordedFrame) -> dict[str, Any]:
    return {
        "t_s": frame.t_s,
        "at": format_time(frame.at),
        "detections": [_object_to_json(o) for o in frame.objects],
    }


def _object_to_json(recorded: RecordedObject) -> dict[str, Any]:
    found = {k: v for k, v in vars(recorded).items() if v is not None}
    if recorded.read is not None:
        found["read"] = vars(recorded.read)
    return found


def _frame_from_json(line: Mapping[str, Any]) -> RecordedFrame:
    return RecordedFrame(
        t_s=line["t_s"],
        at=datetime.fromisoformat(line["at"].replace("Z", "+00:00")),
        objects=tuple(_object_from_json(found) for found in line["detections"]),
    )


def _object_from_json(found: Mapping[str, Any]) -> RecordedObject:
    read = found.get("read")
    return RecordedObject(
        label=found["label"],
        score=found["score"],
        box=tuple(found["box"]) if "box" in found else None,
        quad=tuple((x, y) for x, y in found["quad"]) if "quad" in found else None,
        read=None
        if read is None
        else RecordedRead(
            text=read["text"],
            probs=tuple(read["probs"]),
            quality=read["quality"],
            regions=tuple((code, p) for code, p in read["regions"]),
            sharpness=read["sharpness"],
        ),
    )
