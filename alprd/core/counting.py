"""Counting lines and zones: what a path crosses, which way, and how long it stays.

Lines and zones are given in fractions of the picture, paths in its pixels; a path is the way of a
plate's centre (or of the middle of a vehicle's box, where no plate was read).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Final, Protocol

from alprd.core.geometry import in_polygon
from alprd.core.tracking import PathPoint
from alprd.core.types import Crossing, PointPx, ZoneVisit

INWARDS: Final[Mapping[str, PointPx]] = {
    "up": (0.0, -1.0),
    "down": (0.0, 1.0),
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
}
"""The directions in which a line may be crossed to count as "in"; y grows downwards."""

CLEAR_WIDTHS: Final = 0.1
"""What is nearer to a line than this, in plate widths, may be on either side: corners tremble."""

CLEAR_PX: Final = 3.0
SWIFT: Final = 4.0
"""Who moves so many times farther than that in the first or last picture does not tremble: of a
fast vehicle there may be no other point on that side."""


class LineRules(Protocol):
    """A counting line; `[[cameras.lines]]` has these fields."""

    @property
    def name(self) -> str:
        """Its name in events."""

    @property
    def points(self) -> Sequence[PointPx]:
        """Its two ends, in fractions of the picture."""

    @property
    def inwards(self) -> str:
        """Up, down, left or right: who crosses the line that way comes in."""

    @property
    def allowed(self) -> str:
        """In, out or both; who goes the other way is on the wrong one."""


class ZoneRules(Protocol):
    """A zone; `[[cameras.zones]]` has these fields."""

    @property
    def name(self) -> str:
        """Its name in events."""

    @property
    def polygon(self) -> Sequence[PointPx]:
        """Its corners, in fractions of the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What a camera counts by; any of it may be missing."""

    lines: tuple[LineRules, ...] = ()
    zones: tuple[ZoneRules, ...] = ()
    since: Mapping[str, float] = field(default_factory=dict)
    """When lines came that were not there from the start: what was before does not count."""

    def instead_of(self, old: Places, t_s: float) -> Places:
        """These from then on; lines that are new or not as they were begin to count then."""
        since = {
            line.name: old.since.get(line.name, -math.inf) if line in old.lines else t_s
            for line in self.lines
        }
        return replace(self, since=since)

    def anew(self) -> Places:
        """The same for a stream that begins: its time may be another."""
        return replace(self, since={})

    def crossed(
        self, path: Sequence[PathPoint], frame_size: tuple[int, int]
    ) -> tuple[Crossing, ...]:
        """Where the path went over the lines while they were there, see `crossings`."""
        return crossings(path, self.lines, frame_size, since=self.since)


NOWHERE: Final = Places()


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCount:
    """Passes over one line, since the camera's pipeline began."""

    inward: int = 0
    outward: int = 0
    wrong_way: int = 0


def crossings(
    path: Sequence[PathPoint],
    lines: Iterable[LineRules],
    frame_size: tuple[int, int],
    *,
    since: Mapping[str, float] = MappingProxyType({}),
) -> tuple[Crossing, ...]:
    """Where the path went over lines, oldest first.

    A path that trembles on a line, or comes up to it and goes back, has not crossed it.

    Args:
        path: oldest first.
        lines: in any order; of two that are crossed at once the first one comes first.
        frame_size: (width, height), pixels.
        since: by name, from when on a line sees anything; a whole path goes over the others.
    """
    corners = _corners(path)
    found = [
        crossing
        for line in lines
        if _divides(line, corners, frame_size)
        for crossing in _over(_from(path, since.get(line.name, -math.inf)), line, frame_size)
    ]
    return tuple(sorted(found, key=lambda crossing: crossing.t_s))


def visits(
    path: Sequence[PathPoint], zones: Iterable[ZoneRules], frame_size: tuple[int, int]
) -> tuple[ZoneVisit, ...]:
    """The zones that the path was in, in their order."""
    found = []
    for zone in zones:
        inside = [in_polygon(_fractions(point, frame_size), zone.polygon) for point in path]
        if any(inside):
            found.append(
                ZoneVisit(
                    zone=zone.name,
                    dwell_s=sum(
                        q.t_s - p.t_s
                        for (p, q), (a, b) in zip(pairwise(path), pairwise(inside), strict=True)
                        if a and b
                    ),
                    entered=not inside[0],
                    left=not inside[-1],
                )
            )
    return tuple(found)


def in_or_out(crossed: Sequence[Crossing], visited: Sequence[ZoneVisit]) -> str | None:
    """What the last line says; without lines what the zones say, if they agree."""
    if crossed:
        return crossed[-1].label
    told = {("in" if v.entered else "out") for v in visited if v.entered != v.left}
    return told.pop() if len(told) == 1 else None


def count(known: Mapping[str, LineCount], crossed: Iterable[Crossing]) -> dict[str, LineCount]:
    """The counts with these crossings."""
    counts = dict(known)
    for crossing in crossed:
        before = counts.get(crossing.line, LineCount())
        counts[crossing.line] = LineCount(
            inward=before.inward + (crossing.label == "in"),
            outward=before.outward + (crossing.label == "out"),
            wrong_way=before.wrong_way + crossing.wrong_way,
        )
    return counts


def _corners(path: Sequence[PathPoint]) -> tuple[PointPx, ...]:
    """Of the upright box around a path."""
    xs, ys = [p.x_px for p in path], [p.y_px for p in path]
    return tuple((x, y) for x in (min(xs), max(xs)) for y in (min(ys), max(ys))) if path else ()


def _divides(line: LineRules, corners: Iterable[PointPx], frame_size: tuple[int, int]) -> bool:
    """Whether a path with these corners may have been on both sides: few need a closer look."""
    (ax, ay), (bx, by) = (_pixels(point, frame_size) for point in line.points)
    sides = [(bx - ax) * (y - ay) - (by - ay) * (x - ax) for x, y in corners]
    return any(side >= 0.0 for side in sides) and any(side <= 0.0 for side in sides)


def _from(path: Sequence[PathPoint], t_s: float) -> Sequence[PathPoint]:
    if not path or path[0].t_s >= t_s:
        return path
    return [point for point in path if point.t_s >= t_s]


def _over(
    path: Sequence[PathPoint], line: LineRules, frame_size: tuple[int, int]
) -> list[Crossing]:
    """The path's crossings of one line."""
    a, b = (_pixels(point, frame_size) for point in line.points)
    length_px = math.dist(a, b)
    inwards = INWARDS.get(line.inwards)
    if inwards is None or not length_px > 0.0 or not math.isfinite(length_px):
        return []
    normal = ((a[1] - b[1]) / length_px, (b[0] - a[0]) / length_px)
    if normal[0] * inwards[0] + normal[1] * inwards[1] < 0.0:
        normal = (-normal[0], -normal[1])
    offs_px = [normal[0] * (p.x_px - a[0]) + normal[1] * (p.y_px - a[1]) for p in path]
    found: list[Crossing] = []
    clear: tuple[PathPoint, float] | None = None
    # The one beside an end of the path.
    beside = {0: offs_px[1:2], len(path) - 1: offs_px[-2:-1]}
    for i, (point, off_px) in enumerate(zip(path, offs_px, strict=True)):
        if not _is_clear(point, off_px, beside.get(i, ())):
            continue
        if clear is not None and (clear[1] > 0.0) != (off_px > 0.0):
            share = clear[1] / (clear[1] - off_px)
            if _meets(a, b, clear[0], point, share):
                label = "in" if off_px > 0.0 else "out"
                found.append(
                    Crossing(
                        line=line.name,
                        label=label,
                        wrong_way=line.allowed not in (label, "both"),
                        checked=line.allowed != "both",
                        t_s=clear[0].t_s + share * (point.t_s - clear[0].t_s),
                    )
                )
        clear = (point, off_px)
    return found


def _is_clear(point: PathPoint, off_px: float, beside_px: Sequence[float]) -> bool:
    """Whether a point is on its side of a line for sure.

    Args:
        point: it.
        off_px: its distance from the line.
        beside_px: at an end of the path that of the point next to it.
    """
    doubtful_px = max(CLEAR_PX, CLEAR_WIDTHS * point.width_px)
    if abs(off_px) >= doubtful_px:
        return True
    swift = any(abs(off_px - other) >= SWIFT * doubtful_px for other in beside_px)
    return swift and abs(off_px) >= CLEAR_PX


def _meets(a: PointPx, b: PointPx, p: PathPoint, q: PathPoint, share: float) -> bool:
    """Whether the way from p to q, which meets the line's course at a share of it, meets a-b."""
    x, y = p.x_px + share * (q.x_px - p.x_px), p.y_px + share * (q.y_px - p.y_px)
    along = (x - a[0]) * (b[0] - a[0]) + (y - a[1]) * (b[1] - a[1])
    return 0.0 <= along <= (b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2


def _pixels(point: PointPx, frame_size: tuple[int, int]) -> PointPx:
    return point[0] * frame_size[0], point[1] * frame_size[1]


def _fractions(point: PathPoint, frame_size: tuple[int, int]) -> PointPx:
    return point.x_px / frame_size[0], point.y_px / frame_size[1]
