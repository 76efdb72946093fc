"""The thread that owns the folder of the pictures: encodes, writes, deletes.

Inference waits for a picture, because its event names the file and its sha256 and is made durable
with them; but never for longer than WAIT_S, whatever the disk does, and not at all for a while
after one was late. So a disk that hangs or crawls costs pictures, and neither events nor the
watchdog's keepalive: this thread has no heartbeat. In inference itself the same work would take the
same time, and a hung disk would hang it for good.
"""

from __future__ import annotations

import hashlib
import math
import queue
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import structlog

from alprd.core.types import EventImage
from alprd.images.jpeg import Cut, Jpeg, JpegError, encode_cut
from alprd.images.store import ImageBounds, ImageStore, NotKeptError
from alprd.ports import Clock, ImageStoreError

WAIT_S: Final = 1.0
JOIN_S: Final = 2.0
RECOVER_S: Final = 10.0
"""After a picture that was late nobody waits for another one for so long."""

COMPLAINT_INTERVAL_S: Final = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A picture that is wanted."""

    event_id: str
    camera_id: str
    cut: Cut
    crop: str
    plates: str
    max_width_px: int
    quality: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One that is kept, and its bytes."""

    image: EventImage
    data: bytes


class _Batch:
    """What one caller waits for."""

    def __init__(self, orders: Sequence[Order]) -> None:
        self.orders = tuple(orders)
        self.done = threading.Event()
        self._lock = threading.Lock()
        self._abandoned = False
        self._pictures: dict[str, Picture] = {}

    def deliver(self, event_id: str, picture: Picture) -> bool:
        """Whether somebody still waits for it."""
        with self._lock:
            if not self._abandoned:
                self._pictures[event_id] = picture
            return not self._abandoned

    def close(self) -> dict[str, Picture]:
        """Nobody waits any more; what has come."""
        with self._lock:
            self._abandoned = True
            return dict(self._pictures)

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits any more."""
        with self._lock:
            return self._abandoned


class ImageThread:
    """A context manager: entering finds what is kept and starts the thread, leaving ends it.

    Args:
        store: the folder; this thread's own from then on.
        writable: whether pictures will be written.
        clock: monotonic seconds.
        wait_s: how long a caller waits at most.
    """

    def __init__(
        self, store: ImageStore, *, writable: bool, clock: Clock, wait_s: float = WAIT_S
    ) -> None:
        self._store = store
        self._writable = writable
        self._clock = clock
        self._wait_s = wait_s
        self._waiting: queue.Queue[_Batch | str | None] = queue.Queue()
        self._newest: _Batch | None = None
        self._wait_again_at_s = -math.inf
        self._stop = threading.Event()
        self._missing: Counter[str] = Counter()
        self._missing_lock = threading.Lock()
        self._complained_at_s: dict[str, float] = {}
        self._written = 0
        # A write into a hung disk must not keep the process alive: a daemon thread.
        self._thread = threading.Thread(target=self._run, name="images", daemon=True)

    def __enter__(self) -> ImageThread:
        """Raises ImageStoreError."""
        self._store.open(writable=self._writable)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._waiting.put(None)
        self._thread.join(JOIN_S)

    def use(self, bounds: ImageBounds, *, writable: bool) -> None:
        """Go by other bounds."""
        self._store.bounds = bounds
        if writable and not self._writable:
            self._writable = True
            self._waiting.put("")
        else:
            self._waiting.put(None)

    def keep(self, orders: Sequence[Order]) -> Mapping[str, Picture]:
        """Event id -> its picture, of those that are on the disk within the time; blocks so long.

        Never raises for a picture that could not be kept: that is counted.
        """
        stuck = self._newest is not None and not self._newest.done.is_set()
        if stuck or self._clock() < self._wait_again_at_s:
            self.miss("late", len(orders))
            return {}
        self._newest = batch = _Batch(orders)
        self._waiting.put(batch)
        batch.done.wait(self._wait_s)
        found = batch.close()
        late = 0 if batch.done.is_set() else len(orders) - len(found)
        if late:
            self.miss("late", late)
            self._wait_again_at_s = self._clock() + RECOVER_S
        return found

    def delete(self, name: str) -> None:
        """A picture is not wanted after all; soon."""
        self._waiting.put(name)

    def miss(self, reason: str, count: int = 1) -> None:
        """Events have no picture, for this reason; callable from any thread."""
        with self._missing_lock:
            self._missing[reason] += count

    def figures(self) -> dict[str, Any]:
        """For health; callable from any thread."""
        with self._missing_lock:
            missing = dict(self._missing)
        return {
            "files": self._store.files,
            "bytes": self._store.bytes,
            "written": self._written,
            "deleted": self._store.deleted,
            "missing": missing,
        }

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stop.is_set():
            try:
                job = self._waiting.get(timeout=pause_s) if pause_s else self._waiting.get_nowait()
            except queue.Empty:
                job = None
            try:
                if isinstance(job, _Batch):
                    self._serve(job)
                elif job is not None:
                    self._prepare_or_delete(job)
                pause_s = self._store.maintain()
            except Exception:  # a surprise in one picture must not end the retention of all
                log.error("images.failed", exc_info=True)
                self.miss("failed")
                pause_s = 1.0
        self._drain()

    def _drain(self) -> None:
        while True:
            try:
                job = self._waiting.get_nowait()
            except queue.Empty:
                return
            if isinstance(job, _Batch):
                job.done.set()

    def _prepare_or_delete(self, name: str) -> None:
        if name:
            self._store.delete(name)
            return
        try:
            self._store.open(writable=True)
        except ImageStoreError as error:
            log.error("images.unusable", error=str(error))

    def _serve(self, batch: _Batch) -> None:
        try:
            for order in batch.orders:
                if batch.is_abandoned:
                    break
                picture = self._make(order)
                if picture is not None and not batch.deliver(order.event_id, picture):
                    self._store.delete(picture.image.file)  # its event went without it
        finally:
            batch.done.set()

    def _make(self, order: Order) -> Picture | None:
        try:
            jpeg = encode_cut(
                order.cut,
                plates=order.plates,
                max_width_px=order.max_width_px,
                quality=order.quality,
            )
            name = self._store.write(
                order.camera_id, order.event_id, order.cut.captured_at, jpeg.data
            )
        except (NotKeptError, JpegError) as error:
            reason = error.reason if isinstance(error, NotKeptError) else "encoding"
            self.miss(reason)
            self._complain(reason, error)
            return None
        self._written += 1
        return _picture(order, jpeg, name)

    def _complain(self, reason: str, error: Exception) -> None:
        now_s = self._clock()
        last_s = self._complained_at_s.get(reason)
        if last_s is None or now_s - last_s >= COMPLAINT_INTERVAL_S:
            self._complained_at_s[reason] = now_s
            log.error("image.not_kept", reason=reason, error=str(error), its_event="goes without")


def _picture(order: Order, jpeg: Jpeg, name: str) -> Picture:
    image = EventImage(
        file=name,
        sha256=hashlib.sha256(jpeg.data).hexdigest(),
        size_bytes=len(jpeg.data),
        width_px=jpeg.width_px,
        height_px=jpeg.height_px,
        crop=order.crop,
        plates=order.plates,
        captured_at=order.cut.captured_at,
    )
    return Picture(image=image, data=jpeg.data)
