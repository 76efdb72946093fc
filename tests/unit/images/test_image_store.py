"""The folder of the pictures: whole files, bounds, ages, and what is not ours."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from alprd.images.store import ImageBounds, ImageStore, NotKeptError
from alprd.ports import ImageStoreError

NOW = datetime(2026, 11, 21, 9, 0, 0, tzinfo=timezone.utc)
WIDE = ImageBounds(max_files=1000, max_bytes=10**9, max_age_s=1000.0, min_free_bytes=0)


class World:
    """A folder, and clocks that go when they are told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "images"
        self.t_s = 0.0
        self.now = NOW

    def store(self, bounds: ImageBounds = WIDE, *, writable: bool = True) -> ImageStore:
        """As after a start of the process."""
        store = ImageStore(self.folder, bounds, clock=lambda: self.t_s, now=lambda: self.now)
        store.open(writable=writable)
        while store._finding is not None:
            store.maintain()
        return store

    def keep(self, store: ImageStore, number: int, data: bytes = b"jpeg") -> str:
        return store.write("gate", picture_id(number), self.now, data)

    @property
    def files(self) -> list[str]:
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*.jpg"))

    def age(self, name: str, at: datetime) -> None:
        os.utime(self.folder / name, (at.timestamp(), at.timestamp()))


def picture_id(number: int) -> str:
    return f"0193a000-0000-7000-8000-{number:012d}"


def maintain(store: ImageStore) -> float:
    while (pause_s := store.maintain()) == 0.0:
        pass
    return pause_s


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_picture_is_written_whole_under_its_camera_and_day(world: World) -> None:
    store = world.store()
    name = world.keep(store, 1, b"all of it")
    assert name == f"gate/2026-11-21/{picture_id(1)}.jpg"
    assert (world.folder / name).read_bytes() == b"all of it"
    assert (world.folder / name).stat().st_mode & 0o077 == 0o040
    assert (store.files, store.bytes) == (1, 9)
    assert [p.name for p in (world.folder / name).parent.iterdir()] == [Path(name).name]


def test_the_oldest_make_room_by_number_and_by_bytes(world: World) -> None:
    store = world.store(replace(WIDE, max_files=3))
    names = [world.keep(store, number) for number in range(5)]
    assert world.files == names[2:]
    store.bounds = replace(WIDE, max_bytes=10)
    maintain(store)
    assert world.files == names[3:]
    world.keep(store, 9, b"x" * 10)
    assert store.bytes == 10
    with pytest.raises(NotKeptError) as refused:
        world.keep(store, 10, b"x" * 11)
    assert refused.value.reason == "too_large"
    assert store.files == 1


def test_what_is_older_than_the_retention_goes_and_its_empty_folders_too(world: World) -> None:
    store = world.store()
    world.keep(store, 1)
    world.t_s = 600.0
    world.keep(store, 2)
    assert maintain(store) == pytest.approx(60.0)
    world.t_s = 999.0
    assert maintain(store) == pytest.approx(1.0)
    world.t_s = 1000.0
    maintain(store)
    assert len(world.files) == 1
    world.t_s = 1600.0
    maintain(store)
    assert list(world.folder.iterdir()) == []
    assert store.deleted == 2


def test_ages_go_on_over_a_restart_also_for_cameras_that_are_no_more(world: World) -> None:
    name = world.keep(world.store(), 1)
    world.age(name, NOW)
    world.now = NOW + timedelta(seconds=900)
    store = world.store(writable=False)
    maintain(store)
    assert len(world.files) == 1
    world.t_s = 101.0
    maintain(store)
    assert world.files == []


@pytest.mark.parametrize("step", [timedelta(days=400), timedelta(days=-400)])
def test_a_step_of_the_wall_clock_deletes_and_keeps_nothing(world: World, step: timedelta) -> None:
    store = world.store()
    world.keep(store, 1)
    world.now += step
    maintain(store)
    assert len(world.files) == 1
    world.t_s = 1001.0
    maintain(store)
    assert world.files == []


@pytest.mark.parametrize(
    "dated",
    [
        datetime(1970, 1, 2, tzinfo=timezone.utc),  # by a clock that was not set yet
        NOW + timedelta(days=400),  # by one that was wrong
    ],
)
def test_a_date_that_tells_nothing_counts_from_the_start(world: World, dated: datetime) -> None:
    name = world.keep(world.store(), 1)
    world.age(name, dated)
    store = world.store()
    world.t_s = 999.0
    maintain(store)
    assert len(world.files) == 1
    # The next start knows how long it has been there.
    world.now, world.t_s = NOW + timedelta(seconds=1001), 0.0
    maintain(world.store())
    assert world.files == []


def test_a_clock_that_was_not_set_deletes_nothing_at_the_start(world: World) -> None:
    name = world.keep(world.store(), 1)
    world.age(name, NOW)
    world.now = datetime(1970, 1, 1, tzinfo=timezone.utc)
    maintain(world.store())
    assert len(world.files) == 1
    world.now = NOW + timedelta(seconds=1001)
    maintain(world.store())
    assert world.files == [], "its own date was left alone"


def test_what_is_not_ours_is_never_touched(world: World, tmp_path: Path) -> None:
    store = world.store()
    name = world.keep(store, 1)
    day = (world.folder / name).parent
    outside = tmp_path / "outside" / "2026-11-20"
    outside.mkdir(parents=True)
    foreign = [
        day / "holiday.jpg",
        world.folder / "notes.txt",
        world.folder / "gate" / "2026-11-21.txt",
        world.folder / f"{picture_id(3)}.jpg",
        outside / f"{picture_id(4)}.jpg",
    ]
    for path in foreign:
        path.write_bytes(b"somebody's")
    (world.folder / "link").symlink_to(outside.parent)
    (day / f"{picture_id(5)}.jpg").symlink_to(foreign[0])
    half = day / f".{picture_id(2)}.tmp"
    half.write_bytes(b"half of")
    world.t_s = -10_000.0  # everything that is found is old
    store = world.store(replace(WIDE, max_age_s=1.0))
    world.t_s = 0.0
    maintain(store)
    assert all(path.read_bytes() == b"somebody's" for path in foreign)
    assert (day / f"{picture_id(5)}.jpg").is_symlink()
    assert not half.exists(), "of a run that was cut short"
    assert not (world.folder / name).exists()


def test_a_file_that_vanished_is_let_go(world: World) -> None:
    store = world.store(replace(WIDE, max_files=2))
    names = [world.keep(store, number) for number in range(2)]
    (world.folder / names[0]).unlink()
    world.keep(store, 2)
    assert (store.files, store.bytes) == (2, 8)


def test_a_disk_without_the_room_that_must_stay_free_is_full(world: World) -> None:
    store = world.store(replace(WIDE, min_free_bytes=2**60))
    with pytest.raises(NotKeptError, match="min_free_bytes") as refused:
        world.keep(store, 1)
    assert refused.value.reason == "disk_full"
    assert world.files == []


def test_where_the_folder_is_gone_nothing_is_made_in_its_place(world: World) -> None:
    store = world.store()
    world.folder.rename(world.folder.with_name("elsewhere"))
    with pytest.raises(NotKeptError) as refused:
        world.keep(store, 1)
    assert refused.value.reason == "folder"
    assert not world.folder.exists()


def test_a_write_that_fails_leaves_no_half_file(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = world.store()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(NotKeptError) as refused:
            world.keep(store, 1)
    assert refused.value.reason == "disk_full"
    assert [p for p in world.folder.rglob("*") if p.is_file()] == []
    assert (store.files, store.bytes) == (0, 0)
    world.keep(store, 1)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: folder.write_text("a file in its place"),
        lambda folder: folder.symlink_to("/dev/null"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_with_its_remedy(
    world: World, spoil: Callable[[Path], object]
) -> None:
    spoil(world.folder)
    with pytest.raises(ImageStoreError, match=r"images\.path.*images\.enabled = false"):
        world.store()


def test_a_folder_above_it_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ImageStoreError, match="No such file"):
        World(tmp_path / "not mounted").store()


def test_nothing_is_made_where_no_pictures_are_wanted(world: World) -> None:
    assert maintain(world.store(writable=False)) == 60.0
    assert not world.folder.exists()


def test_one_that_cannot_be_deleted_keeps_no_other_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = world.store(replace(WIDE, max_files=6))
    names = [world.keep(store, number) for number in range(5)]
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == Path(names[0]).name:
            raise PermissionError(1, "Operation not permitted")
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", refuse)
        world.t_s = 1001.0
        maintain(store)
        assert world.files == names[:1]
        assert (store.files, store.undeletable, store.deleted) == (1, 1, 4)
        later = [world.keep(store, number) for number in range(10, 20)]
        assert world.files == sorted([names[0], *later[-5:]]), "it counts, and others make room"
    world.t_s += 599.0
    maintain(store)
    assert store.undeletable == 1
    world.t_s += 2.0
    maintain(store)
    assert (world.files, store.undeletable) == (sorted(later[-5:]), 0)


def test_where_nothing_can_be_deleted_the_bound_holds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = world.store(replace(WIDE, max_files=3))
    for number in range(3):
        world.keep(store, number)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", refuse)
        for number in range(3, 6):
            with pytest.raises(NotKeptError) as refused:
                world.keep(store, number)
            assert refused.value.reason == "folder"
    assert len(world.files) == store.files == 3


def test_a_new_folder_lasts_before_its_first_picture_counts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    store = world.store()
    folders = [world.folder / "gate" / "2026-11-21", world.folder / "gate", world.folder]
    world.keep(store, 1)
    assert [path for path in synced if path.is_dir()] == folders
    synced.clear()
    world.keep(store, 2)
    assert [path for path in synced if path.is_dir()] == folders[:1], "the others last already"
    shutil.rmtree(world.folder / "gate")
    for number in (3, 4):
        synced.clear()
        world.keep(store, number)
        assert [path for path in synced if path.is_dir()] == folders
        world.t_s += 1001.0
        maintain(store)  # the empty folders go


def test_what_is_there_is_found_a_part_at_a_time_while_new_ones_are_written(world: World) -> None:
    before = world.store()
    for number in range(450):
        world.keep(before, number)
    store = ImageStore(world.folder, WIDE, clock=lambda: world.t_s, now=lambda: world.now)
    store.open(writable=True)
    turns = 0
    while store.files < 450:
        assert store.maintain() == 0.0
        world.keep(store, 1000 + turns)
        turns += 1
    maintain(store)
    assert turns == 3
    assert store.files == len(world.files) == 450 + turns
    assert store.bytes == 4 * store.files
