"""The thread that owns the folder of the pictures: encodes, writes, deletes.

Inference waits for a picture, because its event names the file and its sha256 and is made durable
with them; but never for longer than WAIT_S, whatever the disk does, for all pictures together no
more than a share of the time, and not at all for a while after one was late. So a disk that hangs
or crawls costs pictures, and neither events nor the watchdog's keepalive: this thread has no
heartbeat. In inference itself the same work would take the same time, and a hung disk would hang it
for good.
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
WAIT_SHARE: Final = 0.2
"""Of all time no more is spent waiting, WAIT_S at once: a slow disk is paid for by every event."""

WORTHWHILE: Final = 0.1
"""Of WAIT_S; with less left nobody begins to wait."""

JOIN_S: Final = 2.0
RECOVER_S: Final = 10.0
"""After a picture that was late nobody waits for another one for so long."""

OPEN_S: Final = 10.0
"""For so long the start waits for the folder; a disk that hangs keeps no plate from being read."""

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
    """A context manager: entering makes sure of the folder and starts the thread, leaving ends it.

    Args:
        store: the folder; this thread's own from then on.
        writable: whether pictures will be written.
        clock: monotonic seconds.
        wait_s: how long a caller waits at most.
        open_s: how long entering waits for the folder.
    """

    def __init__(
        self,
        store: ImageStore,
        *,
        writable: bool,
        clock: Clock,
        wait_s: float = WAIT_S,
        open_s: float = OPEN_S,
    ) -> None:
        self._store = store
        self._writable = writable
        self._clock = clock
        self._wait_s = wait_s
        self._open_s = open_s
        self._waiting: queue.Queue[_Batch | str | None] = queue.Queue()
        self._newest: _Batch | None = None
        self._wait_again_at_s = -math.inf
        self._left_s = wait_s  # may be waited still
        self._left_at_s = clock()
        self._opened = threading.Event()
        self._refused: ImageStoreError | None = None
        self._goes_without = False
        self._stop = threading.Event()
        self._missing: Counter[str] = Counter()
        self._missing_lock = threading.Lock()
        self._complained_at_s: dict[str, float] = {}
        self._written = 0
        # A write into a hung disk must not keep the process alive: a daemon thread.
        self._thread = threading.Thread(target=self._run, name="images", daemon=True)

    def __enter__(self) -> ImageThread:
        """Raises ImageStoreError: pictures are to be written and cannot be."""
        self._thread.start()
        if not self._writable:
            return self
        if not self._opened.wait(self._open_s):
            self._goes_without = True
            log.error(
                "images.folder_hangs", waited_s=self._open_s, remedy="check the disk of images.path"
            )
        elif self._refused is not None:
            self.__exit__(None, None, None)
            raise self._refused
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
        began_s = self._clock()
        saved_s = WAIT_SHARE * (began_s - self._left_at_s)
        self._left_s, self._left_at_s = min(self._wait_s, self._left_s + saved_s), began_s
        stuck = self._newest is not None and not self._newest.done.is_set()
        spent = self._left_s < WORTHWHILE * self._wait_s
        if stuck or spent or began_s < self._wait_again_at_s:
            self.miss("late", len(orders))
            return {}
        self._newest = batch = _Batch(orders)
        self._waiting.put(batch)
        batch.done.wait(self._left_s)
        found = batch.close()
        self._left_s -= self._clock() - began_s
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
            "undeletable": self._store.undeletable,
            "missing": missing,
        }

    def _run(self) -> None:
        pause_s = 0.0
        self._open()
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
            except Exception:  # a surprise must not end the retention for ever
                log.error("images.failed", exc_info=True)
                pause_s = 1.0
        self._drain()

    def _open(self) -> None:
        """Here and not at the start: a folder on a disk that hangs may take for ever."""
        try:
            self._store.open(writable=self._writable)
        except ImageStoreError as error:
            self._refused = error
            if self._goes_without:  # else the start says so
                log.error("images.unusable", error=str(error))
        except Exception:  # as for a single picture
            log.error("images.failed", exc_info=True)
        finally:
            self._opened.set()

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
        for order in batch.orders:
            if batch.is_abandoned:
                break
            try:
                picture = self._make(order)
                if picture is not None and not batch.deliver(order.event_id, picture):
                    self._store.delete(picture.image.file)  # its event went without it
            except Exception:  # a surprise in one picture must not cost the others
                log.error("images.failed", exc_info=True)
                self.miss("failed")
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
