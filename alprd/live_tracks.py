"""Live tracks: tells what is read while a vehicle is in view, and how its track ended.

Everything here belongs to the inference thread. A message is built only when it is due, passes the
same policy as events, and is handed to a lane that drops it rather than let an event wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, get_args

from alprd.config import Settings
from alprd.core.dedup import poll
from alprd.core.live import SCHEMA, UNCHANGED, Kind, bare_end, track_payload
from alprd.core.observe import Observation
from alprd.core.passes import make_event
from alprd.core.tracking import Track
from alprd.core.types import PlateEvent
from alprd.policy.sink import Policy
from alprd.publish.message import Message
from alprd.publish.sink import encode

EXPIRY_S: Final = 30
STILL: Final = 10
"""A track that tells nothing new is told only every so many intervals: it is still there."""

STILL_PX: Final = 2.0
"""Corners that moved by less have not moved."""

AWAITED: Final = 1000
"""Ends that wait for their event's number; the oldest are told without."""


Describe = Callable[[PlateEvent], PlateEvent]
"""Gives the event with what is known of its vehicle."""


class Send(Protocol):
    """Takes messages; must not block."""

    def __call__(
        self, message: Message, *, replaces: str | None = None, outdates: Sequence[str] = ()
    ) -> None:
        """Send it if there is room; of those with the same key the newest is enough.

        Args:
            message: with QoS 0.
            replaces: its key.
            outdates: keys of those that must not go any more.
        """


@dataclass(slots=True)
class _Live:
    """A track that is followed; changed in place, by the inference thread alone.

    `said` is what was told last, None while nothing was; `event` is the pass once it is one.
    """

    event_id: str
    camera_id: str
    track: Track
    told_of: Observation | None = None
    looked_at_s: float = -math.inf
    told_at_s: float = -math.inf
    said: Mapping[str, Any] | None = None
    event: PlateEvent | None = None
    seq: int | None = None


class TrackNews:
    """The tracks of all cameras.

    Args:
        settings: in force.
        policy: gives the one that events go by.
        send: takes messages.
        describe: adds what is known of an event's vehicle by now.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        policy: Callable[[], Policy],
        send: Send,
        describe: Describe = lambda event: event,
    ) -> None:
        self._policy = policy
        self._describe = describe
        self._send = send
        self._stored_as: dict[str, _Live] = {}
        self._awaited: dict[str, _Live] = {}
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Go by other settings from the next frame on; callable from any thread."""
        self._cameras = frozenset(c.id for c in settings.cameras if settings.tracks_of(c))
        self._interval_s = settings.tracks.interval_s
        self._device_id = settings.device_id
        self._prefix = settings.mqtt.prefix

    def camera(self, camera_id: str) -> CameraNews:
        """The tracks of one camera."""
        return CameraNews(self, camera_id)

    def stored(self, event_id: str, seq: int) -> None:
        """The event is durable and has its number."""
        live = self._stored_as.get(event_id)
        if live is not None:
            live.seq = seq

    def settle(self, event_ids: Sequence[str]) -> None:
        """What becomes of these events is known as far as it can be: tell the ends that waited."""
        for event_id in event_ids:
            live = self._awaited.pop(event_id, None)
            if live is not None:
                self._tell_end(live)

    def wants(self, camera_id: str) -> bool:
        """Whether this camera's tracks are told."""
        return camera_id in self._cameras

    def follow(self, live: _Live) -> None:
        """A track has begun."""
        self._stored_as[live.event_id] = live

    def go_on(self, live: _Live) -> None:
        """It was seen again: tell so, if that is due and allowed."""
        seen = live.track.last
        if seen is live.told_of:
            return
        if seen.t_s - live.looked_at_s < self._interval_s:
            return
        live.told_of, live.looked_at_s = seen, seen.t_s
        event = self._allowed(live)
        if event is None:
            if live.said is not None:
                self._put(live, bare_end(live.event_id, **self._names(live)))
                live.said = None
            return
        kind: Kind = "new" if live.said is None else "update"
        payload = self._payload(kind, live, event)
        still = live.said is not None and _is_still(live.said, payload)
        if still and seen.t_s - live.told_at_s < STILL * self._interval_s:
            return
        live.told_at_s, live.said = seen.t_s, payload
        self._put(live, payload)

    def end(self, live: _Live) -> None:
        """It is over. What it ended with is told when it is known."""
        if live.event is None or live.seq is not None:
            self._tell_end(live)
            return
        self._awaited[live.event_id] = live
        if len(self._awaited) > AWAITED:
            self.settle([next(iter(self._awaited))])

    def _tell_end(self, live: _Live) -> None:
        self._stored_as.pop(live.event_id, None)
        if live.said is None:
            return
        event = self._allowed(live)
        if event is None:
            self._put(live, bare_end(live.event_id, **self._names(live)))
        else:
            self._put(live, self._payload("end", live, event))

    def _names(self, live: _Live) -> dict[str, str]:
        return {"device_id": self._device_id, "camera_id": live.camera_id}

    def _payload(self, kind: Kind, live: _Live, event: PlateEvent) -> dict[str, Any]:
        return track_payload(
            kind,
            event,
            device_id=self._device_id,
            published=live.event is not None,
            seq=live.seq,
        )

    def _allowed(self, live: _Live) -> PlateEvent | None:
        """The pass as it stands and as it may be told; None for nothing."""
        policy, track = self._policy(), live.track
        event = live.event
        if event is None and policy.drops:
            # What is read may be a part or a misread of a plate that is dropped, which tells as
            # much as the plate. What has an event has been judged.
            return None
        # A car that stays goes on after its event; one that left is what its event says.
        if event is None or track.verdict is not None:
            found = track.verdict or poll(track)
            if found is None:
                return None
            event = make_event(
                track, found, camera_id=live.camera_id, new_event_id=lambda _: live.event_id
            )
        return policy.apply(_as_seen_last(self._describe(event), track))

    def _put(self, live: _Live, payload: Mapping[str, Any]) -> None:
        kind = payload["kind"]
        self._send(
            Message(
                topic=f"{self._prefix}/{live.camera_id}/tracks",
                payload=encode(payload),
                qos=0,
                user={"schema": SCHEMA},
                expiry_s=EXPIRY_S,
            ),
            replaces=_key(live, kind),
            # Said after the end they would bring it back; and of a plate that is dropped after
            # all, they would tell it.
            outdates=[_key(live, each) for each in get_args(Kind)] if kind == "end" else (),
        )


class CameraNews:
    """The tracks of one camera; belongs to its pipeline."""

    def __init__(self, news: TrackNews, camera_id: str) -> None:
        self._news = news
        self._camera_id = camera_id
        self._live: dict[int, _Live] = {}

    def look(
        self,
        tracks: Sequence[Track],
        id_of: Callable[[Track], str],
        events: Mapping[int, PlateEvent],
    ) -> None:
        """After a step: tell what is new.

        Args:
            tracks: those that are followed now.
            id_of: gives the id of the event that a track may become.
            events: id of a track -> the event that it became in this step.
        """
        if not self._live and not self._news.wants(self._camera_id):
            return
        for track_id, event in events.items():
            if track_id in self._live:
                self._live[track_id].event = event
        wanted = self._news.wants(self._camera_id)
        followed = {track.id for track in tracks} if wanted else set()
        for track_id in [known for known in self._live if known not in followed]:
            self._news.end(self._live.pop(track_id))
        for track in tracks if wanted else ():
            if track.first_read is None:
                continue
            live = self._live.get(track.id)
            if live is None:
                live = self._live[track.id] = _Live(id_of(track), self._camera_id, track)
                live.event = events.get(track.id)
                self._news.follow(live)
            live.track = track
            self._news.go_on(live)


def _key(live: _Live, kind: Kind) -> str:
    return f"{live.event_id} {kind}"


def _as_seen_last(event: PlateEvent, track: Track) -> PlateEvent:
    """The pass with the plate, and the vehicle around it, where they were seen last."""
    last = track.last
    vehicle = event.vehicle
    if vehicle is not None and last.vehicle is not None:
        vehicle = replace(vehicle, box=last.vehicle.box)
    return replace(event, vehicle=vehicle, quad=last.quad, frame_size=last.frame_size)


def _is_still(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether only what grows by itself has changed."""
    return all(_near(before[name], now[name]) for name in now if name not in ("kind", *UNCHANGED))


def _near(a: object, b: object) -> bool:
    """Equal, numbers within STILL_PX."""
    if isinstance(a, bool) or isinstance(b, bool):  # which Python takes for numbers
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return abs(a - b) < STILL_PX
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_near, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_near(a[key], b[key]) for key in a)
    return a == b
