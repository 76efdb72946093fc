"""The vehicles in sight of one camera, and which of them have shown their plate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from alprd.core.observe import Carrier, sane_vehicles
from alprd.core.tracking import BOUND_SIGHTINGS, Track, seat_in
from alprd.core.types import Detection
from alprd.core.vehicles import VehicleSeen, VehicleTrack, distinct_vehicles, follow_vehicles

SEAT_RANGE: Final = 0.35
"""A vehicle's own plate moves by less than this in its box, in its sides, however that turns; the
plate of one that drives past before it moves all the way across."""

MAX_HIDDEN: Final = 4
"""Plates out of sight that are kept of one vehicle."""


class Fleet:
    """Follows the vehicles; belongs to one pipeline and its thread."""

    def __init__(self) -> None:
        self.tracks: tuple[VehicleTrack, ...] = ()
        """Those that are followed now."""
        self.ever_seen = False
        """Whether this camera's detector reports vehicles at all."""
        self._next_id = 1
        self._plated: frozenset[int] = frozenset()

    def see(
        self,
        detections: Sequence[Detection],
        *,
        t_s: float,
        captured_at: datetime,
        frame_size: tuple[int, int],
    ) -> list[Carrier]:
        """Give one frame's vehicles to their tracks.

        Args:
            detections: all of the frame; what is no vehicle is left out.
            t_s: the frame's time.
            captured_at: its wall time.
            frame_size: (width, height), pixels.
        """
        found = distinct_vehicles(sane_vehicles(detections)) if detections else []
        if not found:
            return []
        self.ever_seen = True
        seen = [
            VehicleSeen(t_s=t_s, captured_at=captured_at, frame_size=frame_size, detection=vehicle)
            for vehicle in found
        ]
        self.tracks, ids, self._next_id = follow_vehicles(self.tracks, seen, self._next_id)
        return [
            Carrier(id=known, detection=vehicle) for known, vehicle in zip(ids, found, strict=True)
        ]

    def have_plates(self, vehicles: Iterable[int]) -> None:
        """The plates of these vehicles are known; those that are followed no more do not count."""
        self._plated |= set(vehicles) & {track.id for track in self.tracks}

    def dismiss(self, vehicles: Sequence[VehicleTrack]) -> list[VehicleTrack]:
        """Follow these no more; returns those whose plate nobody knows, oldest first."""
        if not vehicles:
            return []
        gone = {vehicle.id for vehicle in vehicles}
        self.tracks = tuple(track for track in self.tracks if track.id not in gone)
        unknown = [vehicle for vehicle in vehicles if vehicle.id not in self._plated]
        self._plated -= gone
        return sorted(unknown, key=lambda vehicle: (vehicle.first.t_s, vehicle.id))


def hidden_plates(plates: Sequence[Track], vehicles: Sequence[VehicleTrack]) -> frozenset[int]:
    """Which of the plates that are out of sight belong to one of these vehicles: their ids.

    Args:
        plates: tracks that would be over by now if they were on no vehicle.
        vehicles: those that are in sight.
    """
    if not plates:
        return frozenset()
    in_sight = {vehicle.id: vehicle for vehicle in vehicles}
    count: Counter[int] = Counter()
    hidden = set()
    for plate in sorted(plates, key=lambda track: (-track.last.t_s, -track.id)):
        vehicle = in_sight.get(plate.last.vehicle_id or 0)
        if plate.challengers or vehicle is None or vehicle.id not in plate.bound_to:
            continue
        if count[vehicle.id] < MAX_HIDDEN and _sits_still(plate, vehicle):
            count[vehicle.id] += 1
            hidden.add(plate.id)
    return frozenset(hidden)


def carriers_of(plates: Iterable[Track]) -> frozenset[int]:
    """All vehicles that carried one of the plates more often than by chance."""
    return frozenset(
        vehicle for plate in plates for vehicle, n in plate.carriers if n >= BOUND_SIGHTINGS
    )


def _sits_still(plate: Track, vehicle: VehicleTrack) -> bool:
    """Whether the plate stayed in its place on the vehicle, in the frames that both paths hold.

    A path that is thinned holds fewer of them, so what was found to sit still stays so.
    """
    at = {point.t_s: point for point in vehicle.path}
    seats = [
        seat_in((v.x_px, v.y_px, v.x_px + v.width_px, v.y_px + v.height_px), (p.x_px, p.y_px))
        for p in plate.path
        if (v := at.get(p.t_s)) is not None
    ]
    return all(max(side) - min(side) <= SEAT_RANGE for side in zip(*seats, strict=True))
