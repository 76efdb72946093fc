"""A camera's pipeline, and those who look on: live tracks and pictures.

They see what the pipeline follows after every step, in its own thread. A pass that they tell of has
its event's id before it is an event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from alprd.core.counting import LineCount
from alprd.core.tracking import Track
from alprd.core.types import Detection, Frame, PlateEvent, PlateRead
from alprd.core.vehicles import VehicleTrack
from alprd.live_tracks import CameraNews
from alprd.onlookers import PICTURES, TRACKS, Onlookers
from alprd.pictures import CameraAlbum, Passing
from alprd.pipeline import CameraPipeline, NamePass


class ObservedPipeline:
    """As the pipeline itself; belongs to the same thread.

    Args:
        build: makes the pipeline, given what names its passes.
        new_event_id: gives a pass its id, from the wall time of its first read.
        news: tells of its tracks.
        album: keeps what may become a picture.
        onlookers: how those two do.
    """

    def __init__(
        self,
        build: Callable[[NamePass], CameraPipeline],
        *,
        new_event_id: Callable[[datetime], str],
        news: CameraNews,
        album: CameraAlbum,
        onlookers: Onlookers,
    ) -> None:
        self.line = build(self._name)
        """The pipeline."""
        self._new_event_id = new_event_id
        self._news = news
        self._album = album
        self._onlookers = onlookers
        # Ids of the tracks that are told of and have no event, and what became an event just now.
        self._ids: dict[int, str] = {}
        self._made: dict[str, Passing] = {}

    @property
    def has_lines(self) -> bool:
        """As the pipeline."""
        return self.line.has_lines

    @property
    def vehicles(self) -> tuple[VehicleTrack, ...]:
        """As the pipeline."""
        return self.line.vehicles

    def line_counts(self) -> dict[str, LineCount]:
        """As the pipeline."""
        return self.line.line_counts()

    def select(self, frame: Frame, detections: Sequence[Detection]) -> list[Detection]:
        """As the pipeline."""
        return self.line.select(frame, detections)

    def step(
        self, frame: Frame, detections: Sequence[Detection], reads: Sequence[PlateRead]
    ) -> list[PlateEvent]:
        """As the pipeline."""
        return self._seen(self.line.step(frame, detections, reads), frame, detections)

    def tick(self, t_s: float) -> list[PlateEvent]:
        """As the pipeline."""
        return self._seen(self.line.tick(t_s))

    def finish(self) -> list[PlateEvent]:
        """As the pipeline."""
        return self._seen(self.line.finish())

    def _seen(
        self,
        events: list[PlateEvent],
        frame: Frame | None = None,
        detections: Sequence[Detection] = (),
    ) -> list[PlateEvent]:
        """Let the others look on; the events."""
        made = [(e, self._made[e.event_id]) for e in events if e.event_id in self._made]
        self._made.clear()
        tracks = self.line.tracks
        vehicles = self.line.vehicles
        with self._onlookers.look(PICTURES):
            self._album.look(frame, detections, tracks=tracks, vehicles=vehicles, events=made)
        became = {
            passing.id: event
            for event, passing in made
            if isinstance(passing, Track) and event.continues is None
        }
        with self._onlookers.look(TRACKS):
            self._news.look(tracks, self._id_of, became)
        followed = {track.id for track in tracks}
        self._ids = {known: name for known, name in self._ids.items() if known in followed}
        return events

    def _id_of(self, track: Track) -> str:
        """The id of the event that the track may become."""
        if track.id not in self._ids:
            first = track.first_read or track.first
            self._ids[track.id] = self._new_event_id(first.captured_at)
        return self._ids[track.id]

    def _name(self, passing: Passing, at: datetime) -> str:
        """The id of a pass that becomes an event."""
        told = self._ids.get(passing.id) if isinstance(passing, Track) else None
        event_id = told or self._new_event_id(at)
        self._made[event_id] = passing
        return event_id
