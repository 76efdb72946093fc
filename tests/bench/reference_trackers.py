"""Trackers to compare with, behind one face: boxes of a frame in, one identity each out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

import numpy as np

from alprd.core.following import advance
from alprd.core.geometry import box_quad
from alprd.core.observe import Observation
from alprd.core.tracking import Track
from alprd.core.types import Detection
from alprd.core.vehicles import VehicleSeen, VehicleTrack, follow_vehicles
from support.replay import Rules
from support.simulator_scene import START

Box = tuple[float, float, float, float]
Size = tuple[int, int]
SIZE = (1920, 1080)
LOST_S = 2.0
"""Everybody may keep what is out of sight for so long."""


class Follower(Protocol):
    def update(self, t_s: float, boxes: Sequence[Box]) -> list[int | None]:
        """The identity of each box; None for one that the tracker does not tell (yet)."""


class Plates:
    """alprd's tracker of plates, by their places alone: nothing is read, no vehicle is seen."""

    def __init__(self, fps: float, size: Size = SIZE) -> None:
        self._size = size
        self._tracks: tuple[Track, ...] = ()
        self._next_id, self._rules, self._before_s = 1, Rules(), -np.inf

    def update(self, t_s: float, boxes: Sequence[Box]) -> list[int | None]:
        seen = [
            Observation(
                t_s=t_s,
                captured_at=START + timedelta(seconds=t_s),
                frame_size=self._size,
                quad=box_quad(box),
                x_px=(box[0] + box[2]) / 2,
                y_px=(box[1] + box[3]) / 2,
                width_px=box[2] - box[0],
                height_px=box[3] - box[1],
                score=0.9,
            )
            for box in boxes
        ]
        kept = tuple(t for t in self._tracks if t_s - t.last.t_s <= LOST_S)
        self._tracks, self._next_id = advance(kept, seen, next_id=self._next_id, rules=self._rules)
        taken = {id(t.last): t.id for t in self._tracks}
        return [taken.get(id(observation)) for observation in seen]


class Vehicles:
    """alprd's tracker of vehicles."""

    def __init__(self, fps: float, size: Size = SIZE) -> None:
        self._size = size
        self._tracks: tuple[VehicleTrack, ...] = ()
        self._next_id = 1

    def update(self, t_s: float, boxes: Sequence[Box]) -> list[int | None]:
        at = START + timedelta(seconds=t_s)
        seen = [
            VehicleSeen(
                t_s=t_s,
                captured_at=at,
                frame_size=self._size,
                detection=Detection(label="car", score=0.9, box=box),
            )
            for box in boxes
        ]
        kept = [t for t in self._tracks if t_s - t.last.t_s <= LOST_S]
        self._tracks, ids, self._next_id = follow_vehicles(kept, seen, self._next_id)
        return list(ids)


class Tutorial:
    """The widely copied centroid tracker: no gate, and new objects only when there are more."""

    def __init__(self, fps: float, size: Size = SIZE) -> None:
        self._places: dict[int, np.ndarray] = {}
        self._gone: dict[int, int] = {}
        self._next_id, self._max_gone = 0, round(LOST_S * fps)

    def update(self, t_s: float, boxes: Sequence[Box]) -> list[int | None]:
        centres = np.array([((x1 + x2) / 2, (y1 + y2) / 2) for x1, y1, x2, y2 in boxes])
        told: list[int | None] = [None] * len(boxes)
        if not self._places:
            for j in range(len(boxes)):
                told[j] = self._register(centres[j])
            return told
        ids = list(self._places)
        if not boxes:
            self._miss(ids)
            return told
        known = np.array([self._places[i] for i in ids])
        far = np.linalg.norm(known[:, None] - centres[None], axis=2)
        rows = far.min(axis=1).argsort()
        columns = far.argmin(axis=1)[rows]
        used_rows, used_columns = set(), set()
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if row in used_rows or column in used_columns:
                continue
            self._places[ids[row]], self._gone[ids[row]] = centres[column], 0
            told[column] = ids[row]
            used_rows.add(row)
            used_columns.add(column)
        if len(ids) >= len(boxes):
            self._miss([ids[row] for row in range(len(ids)) if row not in used_rows])
        else:
            for column in range(len(boxes)):
                if column not in used_columns:
                    told[column] = self._register(centres[column])
        return told

    def _register(self, centre: np.ndarray) -> int:
        self._places[self._next_id], self._gone[self._next_id] = centre, 0
        self._next_id += 1
        return self._next_id - 1

    def _miss(self, ids: Sequence[int]) -> None:
        for i in ids:
            self._gone[i] += 1
            if self._gone[i] > self._max_gone:
                del self._places[i], self._gone[i]


class Norfair:
    """norfair by centroids, at once initialised."""

    def __init__(self, fps: float, threshold_px: float) -> None:
        import norfair  # noqa: PLC0415 - only the benchmark has it

        self._make = norfair.Detection
        self._tracker = norfair.Tracker(
            distance_function="euclidean",
            distance_threshold=threshold_px,
            hit_counter_max=round(LOST_S * fps),
            initialization_delay=0,
        )

    def update(self, t_s: float, boxes: Sequence[Box]) -> list[int | None]:
        seen = [
            self._make(points=np.array([[(x1 + x2) / 2, (y1 + y2) / 2]]), data=j)
            for j, (x1, y1, x2, y2) in enumerate(boxes)
        ]
        tracked = self._tracker.update(detections=seen)
        told: list[int | None] = [None] * len(boxes)
        now = {id(each) for each in seen}
        for each in tracked:
            if id(each.last_detection) in now:
                told[each.last_detection.data] = each.id
        return told


class ByteTrack:
    """supervision's ByteTrack."""

    def __init__(self, fps: float, size: Size = SIZE) -> None:
        import supervision  # noqa: PLC0415 - only the benchmark has it

        self._detections = supervision.Detections
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it recommends a successor
            # lost_track_buffer counts frames of a stream of 30 a second.
            self._tracker = supervision.ByteTrack(
                frame_rate=max(1, round(fps)),
                lost_track_buffer=round(30 * LOST_S),
                minimum_consecutive_frames=1,
            )

    def update(self, t_s: float, boxes: Sequence[Box]) -> list[int | None]:
        told: list[int | None] = [None] * len(boxes)
        seen = self._detections(
            xyxy=np.array(boxes, float).reshape(-1, 4),
            confidence=np.full(len(boxes), 0.9),
            class_id=np.zeros(len(boxes), int),
            data={"place": np.arange(len(boxes))},
        )
        if not boxes:
            seen = self._detections.empty()
        tracked = self._tracker.update_with_detections(seen)
        for k, j in enumerate(tracked.data.get("place", ())):
            told[int(j)] = int(tracked.tracker_id[k])
        return told


OTHERS: dict[str, Callable[..., Follower]] = {
    "tutorial": Tutorial,
    "norfair, 50 px": lambda fps, _size=SIZE: Norfair(fps, 50.0),
    "norfair, 100 px": lambda fps, _size=SIZE: Norfair(fps, 100.0),
    "norfair, 200 px": lambda fps, _size=SIZE: Norfair(fps, 200.0),
    "ByteTrack": ByteTrack,
}
