"""The thread that owns the pictures' folder: nobody waits long for it, whatever the disk does."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alprd.images.jpeg import Cut
from alprd.images.store import ImageBounds, ImageStore
from alprd.images.worker import ImageThread, Order
from alprd.ports import ImageStoreError
from support.plates_in_frames import START

WIDE = ImageBounds(max_files=1000, max_bytes=10**9, max_age_s=1e6, min_free_bytes=0)


def order(
    number: int, *, image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None = None
) -> Order:
    plain = np.full((40, 60, 3), number, np.uint8)
    return Order(
        event_id=f"0193a000-0000-7000-8000-{number:012d}",
        camera_id="gate",
        cut=Cut(
            image=plain if image is None else image,
            origin=(0, 0),
            own=None,
            plates=(),
            captured_at=START,
        ),
        crop="frame",
        plates="shown",
        max_width_px=1000,
        quality=80,
    )


class Disk:
    """Lets a test hold up what goes to the disk."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.works = threading.Event()
        self.works.set()
        sync = os.fsync

        def wait_and_sync(descriptor: int) -> None:
            self.works.wait(20.0)
            sync(descriptor)

        patch.setattr(os, "fsync", wait_and_sync)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    hung = Disk(monkeypatch)
    yield hung
    hung.works.set()


class Clock:
    """Time that goes when it is told to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def thread(
    folder: Path,
    bounds: ImageBounds = WIDE,
    *,
    wait_s: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
) -> ImageThread:
    store = ImageStore(folder / "images", bounds, clock=time.monotonic, now=lambda: START)
    return ImageThread(store, writable=True, clock=clock, wait_s=wait_s)


def test_a_picture_that_is_kept_is_described_as_it_is(tmp_path: Path) -> None:
    with thread(tmp_path) as worker:
        kept = worker.keep([order(1), order(2)])
    assert [p.image.captured_at for p in kept.values()] == [START, START]
    for event_id, picture in kept.items():
        data = (tmp_path / "images" / picture.image.file).read_bytes()
        assert data == picture.data
        assert hashlib.sha256(data).hexdigest() == picture.image.sha256
        assert len(data) == picture.image.size_bytes
        assert (picture.image.width_px, picture.image.height_px) == (60, 40)
        assert event_id in picture.image.file
    assert worker.figures()["files"] == 2


def test_a_disk_that_hangs_costs_one_wait_and_no_picture_stays_that_no_event_names(
    tmp_path: Path, disk: Disk
) -> None:
    clock = Clock()
    with thread(tmp_path, wait_s=1.0, clock=clock) as worker:
        disk.works.clear()
        began_s = time.monotonic()
        assert worker.keep([order(1)]) == {}
        assert time.monotonic() - began_s < 5.0
        began_s = time.monotonic()
        for number in range(2, 50):
            assert worker.keep([order(number)]) == {}
        assert time.monotonic() - began_s < 0.2, "only the first one waits"
        assert worker.figures()["missing"] == {"late": 49}
        disk.works.set()
        assert worker._newest is not None
        assert worker._newest.done.wait(10.0)
        assert worker.keep([order(98)]) == {}, "it may only crawl"
        clock.now_s += 11.0
        later = worker.keep([order(99)])
    assert list(later) == [order(99).event_id]
    names = [path.stem for path in (tmp_path / "images").rglob("*.jpg")]
    assert names == [order(99).event_id]


def test_a_disk_that_crawls_costs_a_share_of_the_time_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    write = ImageStore.write

    def crawl(*order: Any) -> str:
        clock.now_s += 0.8
        return write(*order)

    monkeypatch.setattr(ImageStore, "write", crawl)
    with thread(tmp_path, wait_s=1.0, clock=clock) as worker:
        kept = [len(worker.keep([order(number)])) for number in range(16)]
        assert kept == [1, 1, *[0] * 14], "sixteen cameras at once"
        assert clock.now_s == pytest.approx(101.6)
        for number in range(100, 200):
            clock.now_s += 1.0
            worker.keep([order(number)])
        waited_s = clock.now_s - 201.6
        assert 10.0 < waited_s < 30.0
        assert worker.figures()["missing"]["late"] > 50


def test_a_disk_that_is_quick_costs_no_picture_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()

    def write(*order: Any) -> str:
        clock.now_s += 0.01
        return str(order[2])

    monkeypatch.setattr(ImageStore, "write", write)
    with thread(tmp_path, wait_s=1.0, clock=clock) as worker:
        for number in range(300):  # fifteen a second
            clock.now_s += 1 / 15
            assert len(worker.keep([order(number % 250)])) == 1


def test_a_folder_that_hangs_at_the_start_keeps_nobody_waiting_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = threading.Event()
    begin = ImageStore.open

    def hang(store: ImageStore, *, writable: bool) -> None:
        works.wait(20.0)
        begin(store, writable=writable)

    monkeypatch.setattr(ImageStore, "open", hang)
    for writable in (True, False):
        store = ImageStore(tmp_path / "images", WIDE, clock=time.monotonic, now=lambda: START)
        worker = ImageThread(
            store, writable=writable, clock=time.monotonic, wait_s=0.05, open_s=0.05
        )
        began_s = time.monotonic()
        with worker:
            assert time.monotonic() - began_s < 5.0
            assert worker.keep([order(1)]) == {}
            assert worker.figures()["missing"] == {"late": 1}
            works.set()
        works.clear()


def test_a_folder_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ImageStoreError, match=r"images\.path"), thread(tmp_path / "not mounted"):
        pass
    assert [each.name for each in threading.enumerate() if each.name == "images"] == []


def test_a_picture_that_cannot_be_made_costs_no_other_one(tmp_path: Path) -> None:
    empty = np.zeros((0, 5, 3), np.uint8)
    with thread(tmp_path) as worker:
        kept = worker.keep([order(1, image=empty), order(2)])
        figures = worker.figures()
    assert list(kept) == [order(2).event_id]
    assert figures["missing"] == {"encoding": 1}


def test_a_surprise_ends_neither_the_thread_nor_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with thread(tmp_path) as worker:
        with monkeypatch.context() as broken:
            write = ImageStore.write
            broken.setattr(
                ImageStore,
                "write",
                lambda *of: write(*of) if of[2] == order(3).event_id else 1 // 0,
            )
            began_s = time.monotonic()
            kept = worker.keep([order(number) for number in (1, 2, 3)])
            assert list(kept) == [order(3).event_id], "nor the rest of its batch"
            assert time.monotonic() - began_s < 5.0
        assert list(worker.keep([order(4)])) == [order(4).event_id]
        assert worker.figures()["missing"] == {"failed": 2}


def test_other_bounds_hold_at_once_and_without_a_new_picture(tmp_path: Path) -> None:
    with thread(tmp_path) as worker:
        worker.keep([order(number) for number in range(20)])
        worker.use(
            ImageBounds(max_files=10, max_bytes=10**9, max_age_s=1e6, min_free_bytes=0),
            writable=True,
        )
        give_up_at_s = time.monotonic() + 10.0
        while worker.figures()["files"] > 10 and time.monotonic() < give_up_at_s:
            threading.Event().wait(0.01)
        assert worker.figures()["files"] == 10
        assert worker.figures()["deleted"] == 10


def test_pictures_that_are_wanted_later_find_their_folder(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images", WIDE, clock=time.monotonic, now=lambda: START)
    with ImageThread(store, writable=False, clock=time.monotonic) as worker:
        assert not (tmp_path / "images").exists()
        worker.use(WIDE, writable=True)
        assert len(worker.keep([order(1)])) == 1
