"""Which frame an event's picture is of, and how the picture gets into its event.

While a vehicle passes, the cuts of its best reads are kept in memory: the reads that the event's
text may be made of. Choosing and keeping them belongs to the inference thread; encoding and writing
to the thread of the pictures. A picture is made only of an event that the policy lets pass.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from alprd.config import Settings
from alprd.core.events import format_time
from alprd.core.geometry import Quad, box_quad
from alprd.core.observe import Observation
from alprd.core.tracking import Track
from alprd.core.types import PLATE_LABEL, Detection, EventImage, Frame, PlateEvent
from alprd.core.vehicles import VehicleSeen, VehicleTrack
from alprd.core.voting import read_weight
from alprd.images.jpeg import Cut, cut_out
from alprd.images.worker import ImageThread, Order
from alprd.onlookers import PICTURES, Onlookers
from alprd.policy.sink import Policy
from alprd.ports import EventSink
from alprd.publish.message import Message

MEMORY_BYTES: Final = 256 * 1024**2
"""What the cuts of all cameras may take: about forty frames of full HD, or some hundred cars."""

TEXTS: Final = 2
"""Of so many texts that were read on a plate the best read is kept."""

WAITING: Final = 64
"""Cuts of events that wait for a disk that refuses them; of the others the oldest go without."""

REMEMBERED: Final = 25_000
EXPIRY_S: Final = 60
JPEG: Final = "image/jpeg"
HIDING: Final = ("shown", "own", "covered")
"""Which plates of a picture can be read, all of them first."""


Seen = Observation | VehicleSeen
Passing = Track | VehicleTrack


def picture_message(
    topic: str, data: bytes, *, captured_at: str, user: Mapping[str, str] | None = None
) -> Message:
    """A JPEG on its way to a camera's snapshot topic."""
    return Message(
        topic=topic,
        payload=data,
        qos=0,
        content_type=JPEG,
        is_text=False,
        user={"captured_at": captured_at, **(user or {})},
        expiry_s=EXPIRY_S,
    )


class Album:
    """The pictures of all cameras on their way into events.

    Args:
        settings: in force.
        worker: makes and keeps them.
        policy: gives the one that events go by.
        send: hands a picture over to be sent.
    """

    def __init__(
        self,
        settings: Settings,
        worker: ImageThread,
        *,
        policy: Callable[[], Policy],
        send: Callable[[Message], None],
    ) -> None:
        self._worker = worker
        self._policy = policy
        self._send = send
        self._memory_bytes = 0
        # Plates in one frame of which all is shown share its memory: id of an image -> its cuts.
        self._cuts_of: Counter[int] = Counter()
        self._held: OrderedDict[Seen, CameraAlbum] = OrderedDict()
        self._chosen: OrderedDict[str, Cut] = OrderedDict()
        # What an event that the disk has not taken yet has; by its id.
        self._made: OrderedDict[str, EventImage | None] = OrderedDict()
        self._lately: OrderedDict[str, EventImage] = OrderedDict()
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Go by other settings from the next frame on; callable from any thread."""
        self._cameras = frozenset(c.id for c in settings.cameras if settings.images_of(c))
        self._unread = frozenset(
            c.id for c in settings.cameras if settings.tracking_of(c).publish_unread
        )
        self._settings = settings.images
        self._prefix = settings.mqtt.prefix

    def camera(self, camera_id: str) -> CameraAlbum:
        """The pictures of one camera."""
        return CameraAlbum(self, camera_id)

    def guard(self, sink: EventSink, onlookers: Onlookers) -> EventSink:
        """Behind the policy: gives the events that it lets pass their pictures."""
        return _PictureSink(self, sink, onlookers)

    def wants(self, camera_id: str) -> bool:
        """Whether this camera's events have pictures."""
        return camera_id in self._cameras

    def wants_unread(self, camera_id: str) -> bool:
        """Whether vehicles without a plate have events."""
        return camera_id in self._unread

    def cut(self, frame: Frame, seen: Seen, plates: Sequence[Quad]) -> Cut:
        """The picture that a sight of a pass gives."""
        plate = None if isinstance(seen, VehicleSeen) else seen.quad
        vehicle = seen.detection if isinstance(seen, VehicleSeen) else seen.vehicle
        return cut_out(
            frame,
            self._settings.crop,
            plate=plate,
            vehicle=None if vehicle is None else vehicle.box,
            plates=plates,
        )

    def hold(self, seen: Seen, cut: Cut, owner: CameraAlbum) -> None:
        """A cut is kept. Where memory is short the oldest make room: signs are there for hours."""
        self._cuts_of[id(cut.image)] += 1
        if self._cuts_of[id(cut.image)] == 1:
            self._memory_bytes += cut.image.nbytes
        self._held[seen] = owner
        while self._memory_bytes > MEMORY_BYTES and self._held:
            oldest, its_owner = next(iter(self._held.items()))
            self.let_go(its_owner.take(oldest))

    def release(self, seen: Seen) -> None:
        """The owner has taken a cut out; its memory goes with `let_go`."""
        del self._held[seen]

    def let_go(self, cut: Cut) -> None:
        """A cut is not kept any more."""
        self._cuts_of[id(cut.image)] -= 1
        if not self._cuts_of[id(cut.image)]:
            del self._cuts_of[id(cut.image)]
            self._memory_bytes -= cut.image.nbytes

    def choose(self, event_id: str, cut: Cut) -> None:
        """This one is the event's; the album lets go of it."""
        self._chosen[event_id] = cut
        if len(self._chosen) > WAITING:
            self.let_go(self._chosen.popitem(last=False)[1])

    def with_pictures(
        self, events: Sequence[PlateEvent]
    ) -> tuple[list[PlateEvent], dict[str, bytes]]:
        """The events with their pictures, and those that were just made, by their events' ids."""
        for event in events:
            before = self._made.get(event.event_id)
            if before is not None and not self._may_show(before):
                self._made[event.event_id] = None  # made before a reload, and shows too much
                self._worker.delete(before.file)
                self._worker.miss("privacy")
        data = self._make([event for event in events if event.event_id not in self._made])
        done = [replace(event, image=self._made[event.event_id]) for event in events]
        while len(self._made) > max(REMEMBERED, len(events)):
            self._made.popitem(last=False)
        return done, data

    def stored(self, events: Iterable[PlateEvent], data: Mapping[str, bytes]) -> None:
        """They are durable: send their pictures, if that is wanted."""
        for event in events:
            self._made.pop(event.event_id, None)
            image = event.image
            if image is None:
                continue
            self._lately[event.event_id] = image
            if len(self._lately) > WAITING * len(self._cameras or "x"):
                self._lately.popitem(last=False)
            if image.topic is not None and event.event_id in data:
                self._send(
                    picture_message(
                        image.topic,
                        data[event.event_id],
                        captured_at=format_time(image.captured_at),
                        user={"event_id": event.event_id, "sha256": image.sha256},
                    )
                )

    def settle(self, event_ids: Iterable[str]) -> None:
        """Nothing more comes of these events: what is left of them was dropped by the policy."""
        for event_id in event_ids:
            cut = self._chosen.pop(event_id, None)
            if cut is not None:
                self.let_go(cut)
            image = self._made.pop(event_id, None)
            if image is not None:  # the policy changed while it waited for the disk
                self._worker.delete(image.file)

    def _plates(self) -> str:
        """Which plates can be read on a picture that is made now: never more than in events."""
        settings, policy = self._settings, self._policy()
        if policy.key is not None and not settings.show_hidden_plates:
            return "covered"
        return "own" if settings.plates == "shown" and policy.drops else settings.plates

    def _may_show(self, image: EventImage) -> bool:
        """Whether one that was made before hides as much as one that is made now."""
        return HIDING.index(image.plates) >= HIDING.index(self._plates())

    def _make(self, events: Sequence[PlateEvent]) -> dict[str, bytes]:
        settings, plates = self._settings, self._plates()
        orders = []
        for event in events:
            self._made[event.event_id] = None
            cut = self._chosen.pop(event.event_id, None)
            if cut is None:
                before = self._lately.get(event.continues or "")
                if before is not None and self._may_show(before):  # the same pass
                    self._made[event.event_id] = replace(before, topic=None)
                elif self.wants(event.camera_id):
                    self._worker.miss("no_frame")
                continue
            self.let_go(cut)
            orders.append(
                Order(
                    event_id=event.event_id,
                    camera_id=event.camera_id,
                    cut=cut,
                    crop=settings.crop,
                    plates=plates,
                    max_width_px=settings.max_width_px,
                    quality=settings.quality,
                )
            )
        if not orders:
            return {}
        kept = self._worker.keep(orders)
        for order in orders:
            picture = kept.get(order.event_id)
            if picture is not None:
                topic = f"{self._prefix}/{order.camera_id}/snapshot" if settings.publish else None
                self._made[order.event_id] = replace(picture.image, topic=topic)
        return {event_id: picture.data for event_id, picture in kept.items()}


class CameraAlbum:
    """The cuts of one camera; belongs to its pipeline."""

    def __init__(self, album: Album, camera_id: str) -> None:
        self._album = album
        self._camera_id = camera_id
        self._cuts: dict[Seen, Cut] = {}

    def look(
        self,
        frame: Frame | None,
        detections: Sequence[Detection],
        *,
        tracks: Sequence[Track],
        vehicles: Sequence[VehicleTrack],
        events: Sequence[tuple[PlateEvent, Passing]],
    ) -> None:
        """After a step: keep what may become a picture, choose those of the events.

        Args:
            frame: the step's; None when only time went by.
            detections: of that frame.
            tracks: the plates that are followed now.
            vehicles: the vehicles that are followed now.
            events: those of this step, with what they were made of.
        """
        wanted = self._album.wants(self._camera_id)
        if not wanted and not self._cuts:
            return
        open_tracks = [track for track in tracks if track.verdict is None] if wanted else []
        unread = vehicles if wanted and self._album.wants_unread(self._camera_id) else ()
        made = [passing for _, passing in events]
        needed: dict[Seen, None] = {}
        for passing in (*open_tracks, *unread, *made):
            needed.update(dict.fromkeys(_worth_keeping(passing)))
        if frame is not None and wanted:
            self._cut(frame, detections, needed)
        for event, passing in events:
            self._choose(event, passing)
        for passing in made:
            for seen in _worth_keeping(passing):
                needed.pop(seen, None)
        for seen in [seen for seen in self._cuts if seen not in needed]:
            self._album.let_go(self.take(seen))

    def take(self, seen: Seen) -> Cut:
        """Take a cut out."""
        self._album.release(seen)
        return self._cuts.pop(seen)

    def _cut(self, frame: Frame, detections: Sequence[Detection], needed: Iterable[Seen]) -> None:
        # The frame's own time, not an equal one: another frame may bear the same date.
        new = [s for s in needed if s.captured_at is frame.captured_at and s not in self._cuts]
        if not new:
            return
        plates = [plate_quad(found) for found in detections if found.label == PLATE_LABEL]
        for seen in new:
            self._cuts[seen] = cut = self._album.cut(frame, seen, plates)
            self._album.hold(seen, cut, self)

    def _choose(self, event: PlateEvent, passing: Passing) -> None:
        kept = [seen for seen in _worth_keeping(passing) if seen in self._cuts]
        if not kept:
            return
        best = max(kept, key=lambda seen: _fits(seen, event))
        self._album.choose(event.event_id, self.take(best))


def _worth_keeping(passing: Passing) -> list[Seen]:
    """The sights that a pass's picture may be of: the best read of its likeliest texts."""
    if isinstance(passing, VehicleTrack):
        return [passing.shown]
    best: dict[str, Observation] = {}
    weight: dict[str, float] = {}
    for seen in (*passing.reads, *passing.challengers):
        if seen.read is None:
            continue
        text = seen.read.text
        weight[text] = weight.get(text, 0.0) + read_weight(seen.read, seen.width_px)
        if text not in best or _shows(seen) > _shows(best[text]):
            best[text] = seen
    likeliest = sorted(best, key=lambda text: (-weight[text], text))
    return [best[text] for text in likeliest[:TEXTS]]


def _shows(seen: Observation) -> tuple[bool, float, float]:
    """How well a picture shows the pass; of equals the earlier. As `core.passes` has it."""
    weight = 0.0 if seen.read is None else read_weight(seen.read, seen.width_px)
    return seen.vehicle is not None, weight, -seen.t_s


def _fits(seen: Seen, event: PlateEvent) -> tuple[bool, bool, float]:
    """How well a sight goes with the event: the same picture, the same text, the best one."""
    same = seen.captured_at == event.captured_at
    if isinstance(seen, VehicleSeen) or seen.read is None:
        return same, False, 0.0
    return same, seen.read.text == event.plate, read_weight(seen.read, seen.width_px)


def plate_quad(found: Detection) -> Quad:
    """Its corners, those of its box where it has none."""
    if found.quad is None or found.quad.shape != (4, 2):
        return box_quad(found.box)
    a, b, c, d = ((float(x), float(y)) for x, y in found.quad)
    return a, b, c, d


class _PictureSink:
    """An `EventSink` behind the policy."""

    def __init__(self, album: Album, sink: EventSink, onlookers: Onlookers) -> None:
        self._album = album
        self._sink = sink
        self._onlookers = onlookers

    def add(self, events: Sequence[PlateEvent]) -> None:
        """As the sink behind it, which gets the events with their pictures."""
        done, data = list(events), dict[str, bytes]()
        with self._onlookers.look(PICTURES):
            done, data = self._album.with_pictures(events)
        self._sink.add(done)
        with self._onlookers.look(PICTURES):
            self._album.stored(done, data)

    def add_lost(self, count: int) -> None:
        """As the sink behind it."""
        self._sink.add_lost(count)
