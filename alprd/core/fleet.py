"""The vehicles in sight of one camera, and which of them have shown their plate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from alprd.core.observe import Carrier, sane_vehicles
from alprd.core.types import Detection
from alprd.core.vehicles import VehicleSeen, VehicleTrack, distinct_vehicles, follow_vehicles


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
        found = distinct_vehicles(sane_vehicles(detections))
        self.ever_seen = self.ever_seen or bool(found)
        seen = [
            VehicleSeen(t_s=t_s, captured_at=captured_at, frame_size=frame_size, detection=vehicle)
            for vehicle in found
        ]
        self.tracks, ids, self._next_id = follow_vehicles(self.tracks, seen, self._next_id)
        return [
            Carrier(id=known, detection=vehicle) for known, vehicle in zip(ids, found, strict=True)
        ]

    def lost(self, is_lost: Callable[[float], bool]) -> list[VehicleTrack]:
        """Those that are gone by the time at which they were seen last."""
        return [track for track in self.tracks if is_lost(track.last.t_s)]

    def have_plates(self, vehicles: Iterable[int]) -> None:
        """The plates of these vehicles are known."""
        self._plated |= set(vehicles)

    def dismiss(self, vehicles: Sequence[VehicleTrack]) -> list[VehicleTrack]:
        """Follow these no more; returns those whose plate nobody knows, oldest first."""
        gone = {vehicle.id for vehicle in vehicles}
        self.tracks = tuple(track for track in self.tracks if track.id not in gone)
        unknown = [vehicle for vehicle in vehicles if vehicle.id not in self._plated]
        self._plated -= gone
        return sorted(unknown, key=lambda vehicle: (vehicle.first.t_s, vehicle.id))
