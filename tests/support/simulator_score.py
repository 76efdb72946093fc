"""How right a pipeline is about a simulated camera: passes, identities, directions, in and out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise

import numpy as np

from alprd.core.counting import Places
from alprd.core.types import PlateEvent, PointPx
from alprd.pipeline import CameraPipeline
from support.replay import Recording, Rules, make_pipeline, to_detection, to_frame
from support.simulator import PinholeCamera, SimVehicle
from support.simulator_scene import READABLE_PX, SimFrame, Truth, observe
from support.simulator_traffic import SimCamera

CLEAR_READS = 4
"""A vehicle whose plate was read rightly so often must have its event."""

CLEAR_SIDE = 2
"""A plate must be seen so often on either side of a line to have crossed it beyond doubt."""

NEAR_WIDTHS = 0.2
"""A plate that was seen last so near to the line, in its widths, may be on either side."""

UNDECIDED_DEG = 5.0


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What really happened.

    Attributes:
        vehicle: it.
        seen_s: first and last true time at which its plate was to be seen.
        reads: how often it was read rightly.
        seen: the frames in which its plate was to be seen, found or not.
    """

    vehicle: SimVehicle
    seen_s: tuple[float, float]
    reads: int
    seen: tuple[tuple[SimFrame, Truth], ...]

    @property
    def gaps(self) -> int:
        """How often its plate was not found for longer than a pass may be interrupted."""
        times_s = [f.recorded.t_s for f, truth in self.seen if truth.found is not None]
        return sum(b - a > Rules().merge_s for a, b in pairwise(times_s))

    def label(self, camera: PinholeCamera, until: datetime) -> str | None:
        """Where it went until then, as seen by the camera; None when that is a matter of taste."""
        times_s = [frame.true_t_s for frame, _ in self._seen(until)]
        if len(times_s) < CLEAR_READS:
            return None
        trip = self.vehicle.trip
        (x0, y0), (x1, y1) = trip.place_m(times_s[0]), trip.place_m(times_s[-1])
        if math.dist((x0, y0), (x1, y1)) < 1.0:
            return None
        return seen_direction(camera, x1 - x0, y1 - y0)

    def zone(self, camera: SimCamera, until: datetime) -> str | None:
        """In, out or "" for a line that it had not crossed then; None where that is doubtful."""
        return _zone(camera, [truth for _, truth in self._seen(until)])

    def _seen(self, until: datetime) -> list[tuple[SimFrame, Truth]]:
        return [(frame, truth) for frame, truth in self.seen if frame.recorded.at <= until]


class SimLine:
    """The camera's counting line, as the pipeline wants it."""

    def __init__(self, camera: SimCamera) -> None:
        self.name = "line"
        self.points: tuple[PointPx, PointPx] = camera.line
        self.inwards = camera.inwards
        self.allowed = "both"


@dataclass
class Score:
    """Figures of one or more cameras; add them up with `+`."""

    vehicles: int = 0
    expected: int = 0
    lost: int = 0
    doubled: int = 0
    foreign: int = 0
    switches: int = 0
    labels: int = 0
    wrong_labels: int = 0
    zones: int = 0
    wrong_zones: int = 0
    remarks: list[str] = field(default_factory=list)
    pairs: list[tuple[PlateEvent, Pass]] = field(default_factory=list)

    def __add__(self, other: Score) -> Score:
        return Score(**{k: v + getattr(other, k) for k, v in vars(self).items()})

    def __str__(self) -> str:
        def of(part: int, whole: int) -> str:
            return f"{part}/{whole} ({100.0 * part / max(1, whole):.2f} %)"

        return (
            f"vehicles {self.vehicles}, passes {self.expected}: switches "
            f"{of(self.switches, self.expected)}, lost {of(self.lost, self.expected)}, doubled "
            f"{of(self.doubled, self.expected)}, foreign {self.foreign}, labels wrong "
            f"{of(self.wrong_labels, self.labels)}, in/out wrong "
            f"{of(self.wrong_zones, self.zones)}"
        )


def score(camera: SimCamera, pipeline: CameraPipeline | None = None) -> Score:
    """Run a pipeline on what the camera's detector reports, and compare with the truth."""
    scene = camera.scene
    recording = Recording(camera_id="gate", frame_size=scene.camera.size)
    pipeline = pipeline or make_pipeline(recording, Places(lines=(SimLine(camera),)))
    owners_of: dict[int, Counter[int]] = {}
    follows: dict[tuple[int, str], tuple[int, float]] = {}
    switches: list[str] = []
    frames: list[SimFrame] = []
    events: list[PlateEvent] = []
    for seq, frame in enumerate(observe(scene)):
        frames.append(frame)
        events += _step(pipeline, recording, frame, seq)
        for (vehicle, face), track in _followed(pipeline, frame).items():
            before, since_s = follows.get((vehicle, face), (track, frame.recorded.t_s))
            # A plate that was away for longer than a pass may be interrupted begins another one.
            if before != track and frame.recorded.t_s - since_s <= Rules().merge_s:
                switches.append(
                    f"{camera.name} at {frame.true_t_s:.2f} s: vehicle {vehicle} from track "
                    f"{before} to {track}"
                )
            follows[vehicle, face] = (track, frame.recorded.t_s)
            owners_of.setdefault(track, Counter())[vehicle] += 1
    events += pipeline.finish()
    return _compare(camera, frames, events, switches)


def passes(camera: SimCamera, frames: Sequence[SimFrame]) -> list[Pass]:
    """What really happened before the camera, of every vehicle whose plate was to be seen."""
    seen: dict[int, list[tuple[SimFrame, Truth]]] = {}
    for frame in frames:
        for truth in frame.plates:
            if not truth.hidden:
                seen.setdefault(truth.vehicle, []).append((frame, truth))
    return [
        Pass(
            vehicle=vehicle,
            seen_s=(seen[vehicle.id][0][0].true_t_s, seen[vehicle.id][-1][0].true_t_s),
            reads=sum(_is_read(frame, truth, vehicle.plate) for frame, truth in seen[vehicle.id]),
            seen=tuple(seen[vehicle.id]),
        )
        for vehicle in camera.scene.vehicles
        if vehicle.id in seen
    ]


def _step(
    pipeline: CameraPipeline, recording: Recording, frame: SimFrame, seq: int
) -> list[PlateEvent]:
    shown = to_frame(recording, frame.recorded, seq)
    pairs = [to_detection(o, frame.recorded.t_s) for o in frame.recorded.objects]
    selected = pipeline.select(shown, [detection for detection, _ in pairs])
    reads = [next(read for d, read in pairs if d is plate) for plate in selected]
    return pipeline.step(shown, [detection for detection, _ in pairs], reads)


def _followed(pipeline: CameraPipeline, frame: SimFrame) -> dict[tuple[int, str], int]:
    """(vehicle, face) -> the track that took its plate in this frame."""
    key_of = {
        truth.found: (truth.vehicle, truth.face)
        for truth in frame.plates
        if truth.found is not None
    }
    by_quad = {
        tuple(map(tuple, np.array(o.quad, np.float32).astype(float).tolist())): key_of[i]
        for i, o in enumerate(frame.recorded.objects)
        if o.quad is not None
    }
    return {
        by_quad[track.last.quad]: track.id
        for track in pipeline.tracks
        if track.last.quad in by_quad
    }


def _compare(
    camera: SimCamera,
    frames: Sequence[SimFrame],
    events: Sequence[PlateEvent],
    switches: Sequence[str],
) -> Score:
    total = Score(vehicles=len(camera.scene.vehicles), switches=len(switches))
    total.remarks += switches
    found = Counter(event.plate for event in events)
    known = {vehicle.plate for vehicle in camera.scene.vehicles}
    for event in events:
        if event.plate not in known:
            total.foreign += 1
            total.remarks.append(f"{camera.name}: nobody has {event.plate}")
    for real in passes(camera, frames):
        plate = real.vehicle.plate
        if found[plate] > 1 + real.gaps:
            total.doubled += 1
            total.remarks.append(f"{camera.name}: {plate} published {found[plate]} times")
        if real.reads >= CLEAR_READS:
            total.expected += 1
            if not found[plate]:
                total.lost += 1
                total.remarks.append(
                    f"{camera.name}: {plate} lost, {real.reads} reads, {real.seen_s}"
                )
        event = next((e for e in events if e.plate == plate), None)
        if event is not None:
            total.pairs.append((event, real))
            total = _judge(total, camera, event, real)
    return total


def _judge(total: Score, camera: SimCamera, event: PlateEvent, real: Pass) -> Score:
    """The score with what the event says of the time until it was made."""
    name, got = camera.name, event.direction
    label = real.label(camera.scene.camera, event.last_seen)
    if label is not None:
        wrong = got is None or got.label != label
        total = replace(total, labels=total.labels + 1, wrong_labels=total.wrong_labels + wrong)
        if wrong:
            total.remarks.append(f"{name}: {event.plate} went {label}, told {got}")
    zone = real.zone(camera, event.last_seen)
    if zone is not None:
        told = "" if got is None or got.zone is None else got.zone
        wrong = told != zone
        total = replace(total, zones=total.zones + 1, wrong_zones=total.wrong_zones + wrong)
        if wrong:
            total.remarks.append(f"{name}: {event.plate} in/out {zone!r}, told {told!r}")
    return total


def _is_read(frame: SimFrame, truth: Truth, plate: str) -> bool:
    if truth.found is None or truth.width_px < READABLE_PX:
        return False
    read = frame.recorded.objects[truth.found].read
    return read is not None and read.text == plate


def seen_direction(camera: PinholeCamera, dx_m: float, dy_m: float) -> str | None:
    """What a way on the road looks like; None near the diagonals."""
    yaw = math.radians(camera.yaw_deg)
    ahead = math.sin(yaw) * dx_m + math.cos(yaw) * dy_m
    right = math.cos(yaw) * dx_m - math.sin(yaw) * dy_m
    if abs(abs(math.degrees(math.atan2(ahead, right))) % 90.0 - 45.0) < UNDECIDED_DEG:
        return None
    if abs(ahead) > abs(right):
        return "receding" if ahead > 0.0 else "approaching"
    return "right" if right > 0.0 else "left"


def _zone(camera: SimCamera, truths: Sequence[Truth]) -> str | None:
    """Which way the plate's centre crossed the line; the line reaches across the whole picture."""
    width, height = camera.scene.camera.size
    (x1, y1), (x2, y2) = camera.line
    down = {"down": (0.0, 1.0), "right": (1.0, 0.0)}[camera.inwards]
    normal = (y1 - y2, x2 - x1)
    if normal[0] * down[0] + normal[1] * down[1] < 0.0:
        normal = (-normal[0], -normal[1])
    offs = [
        normal[0] * (t.centre_px[0] / width - x1) + normal[1] * (t.centre_px[1] / height - y1)
        for t in truths
    ]
    sides = [off > 0.0 for off in offs]
    side_px = math.hypot(normal[0] * height, normal[1] * width)
    if truths and abs(offs[-1]) * width * height / side_px < NEAR_WIDTHS * truths[-1].width_px:
        return None
    inside, outside = sum(sides), len(sides) - sum(sides)
    if inside == 0 or outside == 0:
        return None if len(sides) < CLEAR_READS else ""
    if min(inside, outside) < CLEAR_SIDE or sides[0] == sides[-1]:
        return None
    return "in" if sides[-1] else "out"
