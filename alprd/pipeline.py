"""From a camera's detections and reads to events: one per vehicle pass.

No I/O and no clock: time comes with the frames (`t_s`) or from `tick`. A pipeline belongs to one
camera and one thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from alprd.core.counting import NOWHERE, LineCount, Places
from alprd.core.dedup import (
    PassRules,
    by_first_read,
    enough,
    is_due,
    is_settled,
    may_be_settled,
    next_vote_t_s,
    poll,
    remembered,
    same_pass,
)
from alprd.core.fleet import Fleet, carriers_of, hidden_plates
from alprd.core.following import advance
from alprd.core.geometry import Quad
from alprd.core.ledger import Ledger
from alprd.core.observe import Observation, Plate, observed, plausible_plates
from alprd.core.passes import make_event, make_unread_event
from alprd.core.resting import rests
from alprd.core.selection import Selections
from alprd.core.short_plates import is_doubtful
from alprd.core.speed import SpeedMeter
from alprd.core.splitting import conclude, undisputed
from alprd.core.tracking import Track
from alprd.core.types import Detection, Frame, PlateEvent, PlateRead, PointPx
from alprd.core.vehicles import VehicleTrack, could_be_read, has_left
from alprd.core.voting import Vote

RESTART_S = 1.0
"""Time that goes back by more than this is a stream that began anew (a clip played again)."""

BLIND_S = 30.0
"""No longer than this without frames a plate that was in the newest ones is taken to be there."""

NamePass = Callable[[Track | VehicleTrack, datetime], str]
"""Gives the pass of a plate, or of a vehicle without one, its event id."""


class CameraPipeline:
    """Follows the plates of one camera.

    Args:
        camera_id: copied into the events.
        settings: `[tracking]`, or anything with the same fields.
        roi: polygon in fractions of the frame; plates whose centre lies outside are ignored.
        new_event_id: gives an event its id, from the wall time of the pass's first read.
        name_pass: the same, for whoever names a pass before it is an event.
        speed: measures how fast vehicles drive; None where that is not calibrated.
        places: counting lines and zones.
    """

    def __init__(
        self,
        camera_id: str,
        settings: PassRules,
        roi: Sequence[PointPx] | None,
        *,
        new_event_id: Callable[[datetime], str],
        speed: SpeedMeter | None = None,
        places: Places = NOWHERE,
        name_pass: NamePass | None = None,
    ) -> None:
        self._camera_id = camera_id
        self._ledger = Ledger()
        self._frame_t_s = self._frame_before_t_s = -math.inf
        self._places = places
        self.retune(settings, roi, speed=speed, places=places)
        self._new_event_id = new_event_id
        self._name_pass = name_pass or (lambda _, at: new_event_id(at))
        self._tracks: tuple[Track, ...] = ()
        self._fleet = Fleet()
        # Ended passes with a verdict, as long as a track lives that may turn out to be the same.
        self._ended: tuple[Track, ...] = ()
        self._next_id = 1
        self._selections = Selections()

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The plates that are followed now."""
        return self._tracks

    @property
    def passes_kept(self) -> int:
        """Ended passes that are remembered, so that none is published twice."""
        return len(self._ended)

    @property
    def vehicles(self) -> tuple[VehicleTrack, ...]:
        """The vehicles that are followed now."""
        return self._fleet.tracks

    @property
    def has_lines(self) -> bool:
        """Whether there is anything to count by."""
        return bool(self._places.lines)

    def line_counts(self) -> dict[str, LineCount]:
        """Passes over each line; callable from any thread."""
        counts = self._ledger.counts
        return {line.name: counts.get(line.name, LineCount()) for line in self._places.lines}

    def retune(
        self,
        settings: PassRules,
        roi: Sequence[PointPx] | None,
        *,
        speed: SpeedMeter | None = None,
        places: Places = NOWHERE,
    ) -> None:
        """Go by other settings, and see by new lines, from the next frame on; follow on."""
        self._rules = settings
        self._speed = speed
        self._ledger.begin({x.name for x in places.lines if x not in self._places.lines})
        self._places = places.instead_of(self._places, self._frame_t_s)
        self._roi = None if roi is None else tuple(roi)

    def select(self, frame: Frame, detections: Sequence[Detection]) -> list[Detection]:
        """The plates worth reading, best score first; `step` expects one read for each of them.

        A vehicle that stands and has its event is left out of most frames. Several frames may be
        selected before the first of them is stepped.

        Args:
            frame: the frame that the detections are of.
            detections: all of the frame, in any order.
        """
        if not detections:
            return []
        plates = self._plates(frame, detections)
        resting = frozenset([p.quad for p in plates if rests(self._tracks, p, frame.t_s)])
        self._selections.remember(frame, (detections, plates, resting))
        return [p.detection for p in plates if self._is_readable(p, resting)]

    def step(
        self, frame: Frame, detections: Sequence[Detection], reads: Sequence[PlateRead]
    ) -> list[PlateEvent]:
        """Follow the frame's plates; the events that became ripe.

        A frame without a finite time is ignored. Time that goes back by more than RESTART_S ends
        all tracks first; a smaller step back counts as no time.

        Args:
            frame: in the order of its camera; frames may be missing.
            detections: all of the frame, in any order.
            reads: one per plate that `select` gave, in that order.
        """
        of, plates, resting = self._selections.recall(frame)
        if of is not detections:
            plates = self._plates(frame, detections) if detections else ()
        readable = [self._is_readable(plate, resting) for plate in plates]
        expected = sum(readable)
        if len(reads) != expected:
            raise ValueError(
                f"{len(reads)} reads for {expected} selected plates of {self._camera_id}; "
                "pass one read per plate that select() gave, in its order"
            )
        if not math.isfinite(frame.t_s):
            return []
        restarted = self.finish() if frame.t_s < self._frame_t_s - RESTART_S else []
        t_s = max(frame.t_s, self._frame_t_s)
        if not (detections or self._tracks or self._ended or self._fleet.tracks):
            # Most frames of most cameras show nothing, and there only the time goes on.
            self._frame_t_s, self._frame_before_t_s = t_s, self._frame_t_s
            return restarted
        left = iter(reads)
        tried = [
            (p, next(left) if is_readable else None)
            for p, is_readable in zip(plates, readable, strict=True)
        ]
        seen = self._observe(frame, t_s, tried, detections)
        over = self._end_lost(t_s)
        self._know_plates()
        self._frame_t_s, self._frame_before_t_s = t_s, self._frame_t_s
        self._tracks, self._next_id = advance(
            self._tracks, seen, next_id=self._next_id, rules=self._rules
        )
        # What only this frame tells to be gone; before it no frame came in which to miss it.
        over += self._end_lost(t_s)
        over += self._note_crossings([t for t in self._tracks if t.last.t_s == t_s])
        return [*restarted, *over, *self._publish_due(t_s)]

    def tick(self, t_s: float) -> list[PlateEvent]:
        """Time passes without a frame: what is lost long enough ends, what is due is published.

        A plate that was in sight when the frames ended is published like one that is lost, but
        followed on: nobody saw it leave.

        Args:
            t_s: on the same axis as the frames' `t_s`; for live cameras, whose axis goes on.
        """
        if not math.isfinite(t_s) or t_s < self._frame_t_s:
            return []
        return [*self._end_lost(t_s), *self._publish_due(t_s)]

    def finish(self) -> list[PlateEvent]:
        """The stream has ended: all tracks end now. The pipeline can be used again afterwards."""
        events = self._end(self._tracks)
        events += self._leave(self._fleet.tracks)
        self._tracks, self._ended, self._places = (), (), self._places.anew()
        self._ledger.keep(())
        self._frame_t_s = self._frame_before_t_s = -math.inf
        return events

    def _plates(self, frame: Frame, detections: Sequence[Detection]) -> list[Plate]:
        return plausible_plates(detections, frame_size=frame.size, roi=self._roi)

    def _is_readable(self, plate: Plate, resting: Collection[Quad]) -> bool:
        return plate.width_px >= self._rules.min_plate_width_px and plate.quad not in resting

    def _observe(
        self,
        frame: Frame,
        t_s: float,
        plates: Sequence[tuple[Plate, PlateRead | None]],
        detections: Sequence[Detection],
    ) -> list[Observation]:
        vehicles = self._fleet.see(
            detections, t_s=t_s, captured_at=frame.captured_at, frame_size=frame.size
        )
        since_s, expected = t_s - self._frame_t_s, self._rules.regions
        return [
            observed(plate, read, frame, vehicles, t_s=t_s, since_s=since_s, expected=expected)
            for plate, read in plates
        ]

    def _end_lost(self, t_s: float) -> list[PlateEvent]:
        """End the tracks whose plate, and vehicle, have been away for too long."""
        events: list[PlateEvent] = []
        merge_s, vehicles = self._rules.merge_s, self._fleet.tracks
        away = [t for t in self._tracks if t_s - t.last.t_s > merge_s and self._is_lost(t, t_s)]
        gone = [v for v in vehicles if t_s - v.last.t_s > merge_s and self._is_lost(v, t_s)]
        if away:
            # A plate that is hidden belongs to its vehicle as long as that is in sight.
            left = {vehicle.id for vehicle in gone}
            hidden = hidden_plates(away, [v for v in vehicles if v.id not in left])
            events += self._end([track for track in away if track.id not in hidden])
        if gone:
            # A plate that outlasts its vehicle's box by some frames may still get a verdict.
            unsure = carriers_of(t for t in self._tracks if t.verdict is None and t.first_read)
            patience_s = self._rules.hold_s + self._rules.merge_s
            events += self._leave(
                [v for v in gone if v.id not in unsure or t_s - v.last.t_s > patience_s]
            )
        self._forget(t_s)
        return events

    def _is_lost(self, track: Track | VehicleTrack, t_s: float) -> bool:
        """Whether what was away for longer than a pass may be interrupted is lost.

        It must be in neither of the two newest frames, for one may have missed it.
        """
        return track.last.t_s < self._frame_before_t_s or t_s - track.last.t_s > BLIND_S

    def _leave(self, vehicles: Sequence[VehicleTrack]) -> list[PlateEvent]:
        """Take vehicles out; the events of those whose plate nobody could read."""
        self._know_plates()
        events = []
        for vehicle in self._fleet.dismiss(vehicles):
            if not self._rules.publish_unread or not could_be_read(
                vehicle, self._rules.min_plate_width_px
            ):
                continue
            event = make_unread_event(
                vehicle,
                camera_id=self._camera_id,
                places=self._places,
                new_event_id=partial(self._name_pass, vehicle),
            )
            # What never moved is no pass, and what is only hidden may still be read.
            if event.direction is not None and has_left(vehicle, event.direction.label):
                self._ledger.enter(-vehicle.id, event.crossings)
                events.append(event)
        return events

    def _end(self, tracks: Sequence[Track]) -> list[PlateEvent]:
        """Take the tracks out and publish what they have to say."""
        events: list[PlateEvent] = []
        for track in sorted(tracks, key=by_first_read):
            result = conclude(track, next_id=self._next_id, rules=self._rules)
            self._tracks = tuple(t for t in self._tracks if t.id != track.id)
            for part in (result.track, result.newer):
                if part is None:
                    continue
                if part is result.newer:
                    self._next_id += 1
                judged, event = self._judge(part)
                if judged.verdict is not None:
                    self._ended = (*self._ended, judged)
                    self._fleet.have_plates(carriers_of([judged]))
                if event is not None:
                    events.append(event)
                events += self._note_crossings([judged])
        return events

    def _know_plates(self) -> None:
        """Tell the fleet whose plate is known, before tracks forget who carried them."""
        # Also of those that took a plate over after its verdict, or for the end of its way only.
        known = [track for track in self._tracks if track.verdict is not None]
        if known and self._fleet.tracks:
            self._fleet.have_plates(carriers_of(known))

    def _note_crossings(self, tracks: Sequence[Track]) -> list[PlateEvent]:
        """Count the lines that passes crossed since; events of those on the wrong way by now."""
        if not self._places.lines:
            return []
        events = []
        for track in tracks:
            found, sure = track.verdict, undisputed(track)
            is_new = found is not None and self._ledger.enter_track(sure, self._places)
            if found is not None and is_new and track.event_id is not None:
                events.append(self._event_of(sure, found, continues=track.event_id))
        return events

    def _publish_due(self, t_s: float) -> list[PlateEvent]:
        """Publish the vehicles that stay."""
        events: list[PlateEvent] = []
        waiting = [track for track in self._tracks if track.verdict is None]
        for track in sorted(waiting, key=by_first_read):
            due = is_due(track, t_s, self._rules)
            if not due and not may_be_settled(track, t_s):
                continue
            judged, event = self._judge(track, early=not due)
            if judged.verdict is None:
                again_t_s = next_vote_t_s(track, t_s, self._rules)
                judged = replace(judged, next_vote_t_s=again_t_s)
            self._tracks = tuple(judged if t.id == track.id else t for t in self._tracks)
            if event is not None:
                events.append(event)
        return events

    def _judge(self, track: Track, *, early: bool = False) -> tuple[Track, PlateEvent | None]:
        """The track with its verdict, if it is good enough, and its event, if it has none yet.

        A verdict that is `early`, while its vehicle stays, must be a sure one.
        """
        if track.verdict is not None:
            return track, None
        sure = undisputed(track)
        found = poll(sure)
        if early and (found is None or not is_settled(sure, found)):
            return track, None
        if found is None or not enough(
            sure, found, self._rules, sees_vehicles=self._fleet.ever_seen
        ):
            return track, None
        others = [*self._ended, *self._tracks]
        if is_doubtful(sure, found, others):
            return track, None
        published = [t for t in others if t.verdict is not None]
        judged = replace(track, verdict=found)
        self._fleet.have_plates(track.bound_to)
        same = same_pass(published, others, sure, found, self._rules)
        if same is not None:
            return replace(judged, same_as=same.pass_id, event_id=same.event_id), None
        event = self._event_of(sure, found)
        self._ledger.enter(track.pass_id, event.crossings)
        return replace(judged, event_id=event.event_id), event

    def _event_of(self, track: Track, found: Vote, *, continues: str | None = None) -> PlateEvent:
        meter, last = self._speed, track.last
        return make_event(
            track,
            found,
            camera_id=self._camera_id,
            new_event_id=partial(self._name_pass, track)
            if continues is None
            else self._new_event_id,
            places=self._places,
            speed=None
            if meter is None
            else meter.speed_of(track.path, last.frame_size, found.region_seen),
            continues=continues,
        )

    def _forget(self, t_s: float) -> None:
        """Drop the ended passes that no unpublished track can be part of any more."""
        if self._ended:
            self._ended = remembered(self._ended, self._tracks, t_s, self._rules)
        if self._ledger.remembers:
            self._ledger.keep({t.pass_id for t in (*self._ended, *self._tracks)})
