"""Disks that are full, read-only or damaged under the outbox, and bounds that are reached."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from alprd.ports import OutboxError
from support.broker import Broker
from support.device import DEVICE_ID, Device, utc_now
from support.judge import Verdict, judge
from support.outboxes import HandClock, open_outbox, rows, waiting
from support.payloads import gap_problems
from support.plate_events import plate_event
from support.subscriber import Received, Subscriber

pytestmark = pytest.mark.once

TOPICS = ("alpr/+/plates", "alpr/devices/+/gaps")
MakeBroker = Callable[..., Broker]
Tell = Callable[[str], None]


def ids(*numbers: int) -> list[str]:
    return [plate_event(number).event_id for number in numbers]


def announced(messages: list[Received]) -> list[tuple[int, int, str]]:
    found = [json.loads(m.payload) for m in messages if m.topic.endswith("/gaps")]
    assert [problem for gap in found for problem in gap_problems(gap)] == []
    return [(gap["from_seq"], gap["to_seq"], gap["reason"]) for gap in found]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes; for root, who may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_takes_no_event_and_delivers_those_that_it_has(
    make_broker: MakeBroker, small_disk: Path, tell: Tell
) -> None:
    broker = make_broker()
    device = Device(small_disk, broker.url)
    added: list[int] = []
    with pytest.raises(OutboxError, match="the disk is full; free space, or set outbox"):  # noqa: PT012
        while True:
            device.add(len(added) + 1)
            added.append(len(added) + 1)
    device.close()
    device = Device(small_disk, broker.url)  # a new start on the full disk
    broker.start()
    with Subscriber(broker, *TOPICS) as subscriber, device:
        subscriber.wait_until(lambda seen: len({m.payload for m in seen}) >= len(added), 30.0)
        device.wait_until(lambda stats: stats.published >= len(added))
        device.wait_until(lambda stats: stats.pending == 0 and stats.outbox_error is None, 30.0)
        device.add(len(added) + 1)  # there is room again
        added.append(len(added) + 1)
        subscriber.wait_until(lambda seen: len({m.payload for m in seen}) >= len(added))
    verdict = judge(subscriber.messages, ids(*added))
    tell(f"injected: a disk of 3 MB filled by {len(added)} events; counted: {verdict}")
    assert (verdict.lost, verdict.doubled, verdict.announced) == (0, 0, {})
    assert verdict.proven
    assert not device.failures


@pytest.mark.parametrize("reserve", [True, False])
@pytest.mark.parametrize(
    ("how", "padding"),
    [
        ("acknowledged", 600),
        ("acknowledged", 20_000),
        ("one by one", 20_000),
        ("refused", 20_000),
        ("too old", 20_000),
    ],
)
def test_a_disk_that_the_outbox_has_filled_is_drained_whatever_the_size_of_its_events(
    small_disk: Path, *, how: str, reserve: bool, padding: int
) -> None:
    clock, path = HandClock(), small_disk / "outbox.sqlite"
    with open_outbox(path, max_events=1_000_000, max_age_s=100.0, boot_s=clock) as outbox:
        if not reserve:  # there was no room for it
            path.with_name("outbox.sqlite.reserve").unlink()
        with pytest.raises(OutboxError, match="the disk is full"):  # noqa: PT012
            while True:
                outbox.add(rows(1, padding=padding))
        everything = waiting(outbox)
        assert len(everything) > 50
        if how == "acknowledged":
            outbox.delete(everything)
        elif how == "one by one":
            for seq in everything:
                outbox.delete([seq])
        elif how == "refused":
            outbox.park([(seq, "Not authorized", False) for seq in everything])
            assert outbox.counts().parked == len(everything)
        else:
            clock.seconds += 1000.0
            assert sum(iter(outbox.drop_aged, 0)) == len(everything)
        assert outbox.counts().pending == 0
        if how != "refused":  # those are kept
            assert outbox.add(rows(1)) == [everything[-1] + 1]


def test_an_outbox_that_becomes_read_only_delivers_everything_once_and_recovers(
    make_broker: MakeBroker, folder: Path, tell: Tell
) -> None:
    broker = make_broker()
    broker.start()
    with (
        Subscriber(broker, *TOPICS) as subscriber,
        Device(folder, broker.url) as device,
    ):
        device.wait_until(lambda stats: stats.connected)
        broker.stop()
        device.add(*range(1, 41))
        # No mount can be made read-only under open files; SQLite answers in the same words.
        assert device.outbox.store.db is not None
        device.outbox.store.db.execute("PRAGMA query_only = ON")
        with pytest.raises(OutboxError, match="read-only; remount the disk writable"):
            device.add(99)
        broker.start()
        subscriber.wait_until(lambda seen: len({m.payload for m in seen}) == 40)
        stats = device.wait_until(lambda stats: stats.outbox_error)
        assert "read-only" in str(stats.outbox_error)
        broker.restart()
        device.wait_until(lambda stats: stats.connects == 3)
        device.outbox.store.db.execute("PRAGMA query_only = OFF")
        device.wait_until(lambda stats: stats.outbox_error is None and stats.pending == 0)
        device.add(41)
        subscriber.wait_until(lambda seen: len({m.payload for m in seen}) == 41)
        verdict = judge(subscriber.messages, ids(*range(1, 42)))
        assert not device.failures
    tell(
        "injected: an outbox that became read-only with 40 waiting, the broker restarted meanwhile;"
        f" counted: {verdict}"
    )
    assert (verdict.lost, verdict.doubled) == (0, 0)
    assert verdict.proven


def test_a_start_on_a_read_only_disk_is_refused_with_the_remedy(small_disk: Path) -> None:
    with open_outbox(small_disk / "outbox.sqlite") as outbox:
        outbox.add(rows(3))
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)
    with pytest.raises(OutboxError, match="read-only; remount the disk writable"):
        open_outbox(small_disk / "outbox.sqlite")
    subprocess.run([*remount[:-2], "remount,rw", remount[-1]], check=True)
    with open_outbox(small_disk / "outbox.sqlite") as outbox:
        assert waiting(outbox) == [1, 2, 3]


LIMITED = """
import resource, sys
from pathlib import Path
from alprd.ports import OutboxError
from support.outboxes import open_outbox, rows, waiting

with open_outbox(Path(sys.argv[1]) / "outbox.sqlite") as outbox:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    added = 0
    try:
        while True:
            outbox.add(rows(1, start=added, padding=600))
            added += 1
    except OutboxError as error:
        print(added, error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert waiting(outbox) == list(range(1, added + 1))
    assert outbox.add(rows(1)) == [added + 1]
    assert outbox.set_aside is None
"""


def test_a_file_that_may_not_grow_is_an_error_and_no_damage(tmp_path: Path, tell: Tell) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2])])},
    )
    assert done.returncode == 0, done.stderr
    count = done.stdout.splitlines()[-1].split()[0]
    tell(f"injected: files of at most 100 kB; counted: {count} events, all there")
    assert "check the disk" in done.stdout or "the disk is full" in done.stdout


def waiting_device(folder: Path, url: str, count: int, **settings: int) -> Device:
    """A device with events that nobody has fetched, all of them in the file itself."""
    device = Device(folder, url, **settings)  # type: ignore[arg-type]
    device.add(*range(1, count + 1))
    assert device.outbox.store.db is not None
    device.outbox.store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return device


def deliver(broker: Broker, device: Device, durable: list[str]) -> tuple[Verdict, list[Received]]:
    broker.start()
    with Subscriber(broker, *TOPICS) as subscriber, device:
        device.wait_until(lambda stats: stats.connected and stats.pending == 0, 60.0)
        device.wait_until(lambda _: device.outbox.counts().gaps == 0, 60.0)
        device.add(10_000)
        subscriber.wait_until(lambda seen: any(b"000000010000" in m.payload for m in seen), 60.0)
        messages = subscriber.messages
    return judge(messages, durable), messages


@pytest.mark.parametrize("how", ["noise", "truncated"])
@pytest.mark.parametrize("running", [True, False])
def test_a_damaged_file_costs_only_what_is_announced(
    make_broker: MakeBroker, folder: Path, tell: Tell, *, how: str, running: bool
) -> None:
    broker = make_broker()
    count = 300
    device = waiting_device(folder, broker.url, count)
    if running:
        # SQLite would not look at a file that it has in memory.
        assert device.outbox.store.db is not None
        device.outbox.store.db.execute("PRAGMA cache_size = 2")
        device.outbox.store.db.execute("PRAGMA shrink_memory")
    else:
        device.close()
    size = device.path.stat().st_size
    if how == "truncated":
        os.truncate(device.path, size // 2)
    else:
        with device.path.open("r+b") as file:
            file.seek(size // 2)
            file.write(b"\xa5" * 16384)
    if not running:
        device = Device(folder, broker.url)
    verdict, messages = deliver(broker, device, ids(*range(1, count + 1)))
    stats = device.publisher.stats()
    tell(
        f"injected: the outbox file {how} {'while in use' if running else 'before the start'},"
        f" {count} waiting; counted: {verdict}"
    )
    assert verdict.lost == 0
    assert verdict.proven
    assert verdict.distinct + sum(verdict.announced.values()) == count + 1
    assert set(verdict.announced) == {"damaged"}
    assert {reason for _, _, reason in announced(messages)} == {"damaged"}
    assert stats.set_aside is not None
    assert Path(stats.set_aside).exists()
    # One that was under way to the broker at that moment counts as lost and arrives all the same.
    assert stats.lost >= verdict.announced["damaged"]


def test_the_bound_by_bytes_announces_exactly_what_it_cost(
    make_broker: MakeBroker, folder: Path, tell: Tell
) -> None:
    broker = make_broker()
    device = waiting_device(folder, broker.url, 200, max_bytes=50_000)
    verdict, messages = deliver(broker, device, ids(*range(1, 201)))
    ((first, last, reason),) = announced(messages)
    tell(f"injected: 200 events into 50,000 bytes; counted: {verdict}")
    assert (first, reason) == (1, "bytes")
    assert verdict.announced == {"bytes": last}
    assert verdict.distinct == 201 - last
    assert 100 < last < 190
    assert verdict.proven
    assert verdict.lost == 0
    assert device.publisher.stats().dropped == last


def test_the_bound_by_age_announces_exactly_what_it_cost(
    make_broker: MakeBroker, folder: Path, tell: Tell
) -> None:
    broker, clock = make_broker(), HandClock()
    device = Device(folder, broker.url, boot_s=clock, max_age_s=3600.0)
    device.add(*range(1, 41))
    clock.seconds += 3000.0
    device.add(*range(41, 101))
    clock.seconds += 700.0
    with device.publisher:
        device.wait_until(lambda stats: stats.dropped == 40)  # without a broker, too
    verdict, messages = deliver(broker, reopened(device, folder, broker, clock), ids())
    tell(f"injected: 40 of 100 events older than max_age_s; counted: {verdict}")
    assert announced(messages) == [(1, 40, "age")]
    assert verdict.announced == {"age": 40}
    assert verdict.distinct == 61
    assert verdict.proven


def reopened(device: Device, folder: Path, broker: Broker, clock: HandClock) -> Device:
    device.close()
    return Device(folder, broker.url, boot_s=clock, max_age_s=3600.0)


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(days=1)])
def test_a_step_of_the_clock_drops_nothing_and_makes_nothing_old(
    make_broker: MakeBroker, folder: Path, tell: Tell, step: timedelta
) -> None:
    broker, offset = make_broker(), [timedelta()]
    device = Device(folder, broker.url, now=lambda: utc_now() + offset[0], max_age_s=3600.0)
    device.add(*range(1, 51))
    offset[0] = step
    device.add(*range(51, 101))
    broker.start()
    with Subscriber(broker, *TOPICS) as subscriber, device:
        device.wait_until(lambda stats: stats.connected and stats.pending == 0)
        offset[0] = timedelta()
        device.add(*range(101, 151))
        messages = subscriber.wait_until(lambda seen: len(seen) >= 150)
        device.wait_until(lambda stats: stats.pending == 0)
    verdict = judge(messages, ids(*range(1, 151)))
    tell(f"injected: the clock steps by {step} and back; counted: {verdict}")
    assert (verdict.lost, verdict.doubled, verdict.announced) == (0, 0, {})
    assert [json.loads(m.payload)["seq"] for m in messages] == list(range(1, 151))
    assert not any("historical" in m.user for m in messages)
    assert DEVICE_ID in messages[0].payload.decode()
