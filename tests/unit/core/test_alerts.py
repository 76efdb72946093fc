"""A bad state that lasts is an alert, a good one that lasts ends it; ten kinds, each both ways."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from alprd.core.alerts import KINDS, SENSOR_GONE_S, AlertBook, Finding
from alprd.core.judging import Limits, findings, machine_findings

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
LIMITS = Limits(
    temperature_c=90.0,
    memory_free_share=0.05,
    disk_free_share=0.05,
    outbox_wait_s=300.0,
    min_fps={"gate": 10.0},
)
WELL: dict[str, Any] = {
    "temperatures": [{"name": "cpu", "c": 50.0, "max_c": None}],
    "throttling": {"active": False, "reasons": []},
    "memory": {"used_kb": 500, "total_kb": 1000},
    "disk": {"free_bytes": 500, "total_bytes": 1000},
    "clock": {"synchronised": True, "max_error_s": 0.01},
    "pipeline": {
        "models": {"mismatch": None},
        "outbox": {"pending": 0, "oldest_age_s": None},
        "cameras": [
            {
                "id": "gate",
                "state": "online",
                "processed_fps": 12.0,
                "last_frame_age_s": 0.1,
                "picture": "clear",
                "last_error": None,
            }
        ],
    },
}

Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> dict[str, Any]:
    sample = copy.deepcopy(WELL)
    change(sample)
    return sample


def camera(**values: object) -> Change:
    return lambda sample: sample["pipeline"]["cameras"][0].update(values)


TROUBLES: list[tuple[str, Change, str]] = [
    ("over_temperature", lambda s: s["temperatures"][0].update(c=90.0), "clean the fan"),
    (
        "throttled",
        lambda s: s.update(throttling={"active": True, "reasons": ["over-current oc3"]}),
        "over-current oc3",
    ),
    ("low_memory", lambda s: s["memory"].update(used_kb=951), "4.9 %"),
    ("disk_nearly_full", lambda s: s["disk"].update(free_bytes=49), "4.9 %"),
    ("camera_stalled", camera(state="stalled", last_error="no frame for 10 s"), "no frame"),
    ("camera_stalled", camera(state="offline"), "no picture has come yet"),
    ("camera_blind", camera(picture="black"), "a cap on the lens"),
    ("camera_blind", camera(picture="covered"), "clean the lens"),
    ("camera_blind", camera(picture="blurred"), "focus it"),
    ("camera_blind", camera(picture="frozen"), "restart the camera"),
    (
        "clock_not_synchronised",
        lambda s: s["clock"].update(synchronised=False),
        "timedatectl set-ntp true",
    ),
    (
        "outbox_growing",
        lambda s: s["pipeline"]["outbox"].update(pending=7, oldest_age_s=301.0),
        "7 events wait",
    ),
    ("fps_below_target", camera(processed_fps=8.9), "8.9 times per second"),
    (
        "engine_mismatch",
        lambda s: s["pipeline"]["models"].update(mismatch="not what runs; restart"),
        "not what runs",
    ),
]


def note(book: AlertBook, now_s: float, sample: dict[str, Any]) -> frozenset[str]:
    return book.note(
        now_s,
        NOON + timedelta(seconds=now_s),
        findings(sample, LIMITS),
        raise_after_s=30.0,
        clear_after_s=20.0,
    )


@pytest.mark.parametrize(("kind", "change", "words"), TROUBLES)
def test_every_kind_is_raised_when_it_lasts_and_cleared_when_it_is_over(
    kind: str, change: Change, words: str
) -> None:
    book = AlertBook()
    bad = changed(change)
    assert note(book, 0.0, WELL) == frozenset()
    assert note(book, 10.0, bad) == frozenset()
    assert note(book, 39.9, bad) == frozenset()
    assert book.raised() == []
    assert note(book, 40.0, bad) == {kind}
    (alert,) = book.raised()
    assert (alert["kind"], alert["since"]) == (kind, "2026-11-21T12:00:40.000Z")
    assert words in alert["message"]
    payload = book.payload(kind)
    assert payload is not None
    assert payload["alerts"] == [alert]
    assert note(book, 45.0, WELL) == frozenset()
    assert note(book, 64.9, WELL) == frozenset()
    assert note(book, 65.0, WELL) == {kind}
    assert (book.raised(), book.payload(kind)) == ([], None)


def test_all_ten_kinds_are_tried() -> None:
    assert {kind for kind, _, _ in TROUBLES} == set(KINDS)
    assert len(KINDS) == 10


def test_what_lasts_is_taken_back_as_slowly_as_it_came() -> None:
    book = AlertBook()
    bad = changed(camera(state="stalled"))
    note(book, 0.0, bad)
    note(book, 20.0, WELL)
    assert note(book, 40.0, bad) == frozenset()
    assert note(book, 70.0, bad) == {"camera_stalled"}
    note(book, 80.0, WELL)
    note(book, 90.0, bad)
    assert note(book, 105.0, WELL) == frozenset()
    assert [alert["subject"] for alert in book.raised()] == ["gate"]


@pytest.mark.parametrize(
    ("kind", "between"),
    [
        ("over_temperature", lambda s: s["temperatures"][0].update(c=86.0)),
        ("low_memory", lambda s: s["memory"].update(used_kb=940)),
        ("disk_nearly_full", lambda s: s["disk"].update(free_bytes=55)),
        (
            "outbox_growing",
            lambda s: s["pipeline"]["outbox"].update(pending=3, oldest_age_s=200.0),
        ),
        ("fps_below_target", camera(processed_fps=9.4)),
        ("over_temperature", lambda s: s["temperatures"][0].update(c=None)),
        ("low_memory", lambda s: s.update(memory=None)),
        ("disk_nearly_full", lambda s: s.update(disk=None)),
        ("throttled", lambda s: s.update(throttling=None)),
        ("clock_not_synchronised", lambda s: s.update(clock=None)),
        ("camera_blind", camera(picture=None)),
        ("camera_stalled", camera(state=None)),
        ("fps_below_target", camera(processed_fps=None)),
        (
            "outbox_growing",
            lambda s: s["pipeline"]["outbox"].update(pending=3, oldest_age_s=None),
        ),
    ],
)
def test_between_the_limits_and_while_unknown_everything_stays_as_it_is(
    kind: str, between: Change
) -> None:
    trouble = next(change for name, change, _ in TROUBLES if name == kind)
    middle = changed(between)
    book = AlertBook()
    for now_s in (0.0, 100.0):
        assert note(book, now_s, middle) == frozenset()
    note(book, 200.0, changed(trouble))
    note(book, 230.0, changed(trouble))
    for now_s in (240.0, 500.0):
        assert note(book, now_s, middle) == frozenset()
    assert [alert["kind"] for alert in book.raised()] == [kind]


def test_an_alert_goes_on_saying_what_was_bad_while_it_waits_to_end() -> None:
    book = AlertBook()
    bad = changed(lambda s: s["temperatures"][0].update(c=99.0))
    note(book, 0.0, bad)
    note(book, 30.0, bad)
    note(book, 31.0, WELL)
    assert [alert["value"] for alert in book.raised()] == [99.0]


def test_a_camera_that_is_gone_or_switched_off_has_no_alert() -> None:
    for change in (
        lambda s: s["pipeline"]["cameras"].clear(),
        camera(state="disabled"),
        camera(state="ended"),
    ):
        book = AlertBook()
        bad = changed(camera(state="stalled"))
        note(book, 0.0, bad)
        note(book, 30.0, bad)
        assert note(book, 31.0, changed(change)) == {"camera_stalled"}
        assert book.raised() == []


def test_a_stalled_camera_is_not_blind_or_slow_as_well() -> None:
    book = AlertBook()
    bad = changed(camera(state="stalled", picture="black", processed_fps=0.0))
    note(book, 0.0, bad)
    note(book, 30.0, bad)
    assert [alert["kind"] for alert in book.raised()] == ["camera_stalled"]


def test_sensors_of_one_name_are_judged_by_the_hottest() -> None:
    sample = changed(
        lambda s: s.update(
            temperatures=[
                {"name": "nvme", "c": None, "max_c": None},
                {"name": "nvme", "c": 91.0, "max_c": None},
                {"name": "nvme", "c": 40.0, "max_c": None},
            ]
        )
    )
    found = [f for f in findings(sample, LIMITS) if f.kind == "over_temperature"]
    assert [(f.subject, f.bad, f.value) for f in found] == [("nvme", True, 91.0)]


def test_several_cameras_share_the_message_of_their_kind() -> None:
    book = AlertBook()
    for now_s in (0.0, 30.0):
        book.note(
            now_s,
            NOON,
            [
                Finding(kind="camera_blind", subject=name, bad=True, message="m")
                for name in ("b", "a")
            ],
            raise_after_s=30.0,
            clear_after_s=0.0,
        )
    payload = book.payload("camera_blind")
    assert payload is not None
    assert [alert["subject"] for alert in payload["alerts"]] == ["a", "b"]


def test_a_limit_of_nothing_never_raises() -> None:
    limits = Limits(
        temperature_c=90.0, memory_free_share=0.0, disk_free_share=0.0, outbox_wait_s=1.0
    )
    sample = changed(lambda s: s["memory"].update(used_kb=1000))
    sample["disk"]["free_bytes"] = 0
    found = {f.kind: f.bad for f in findings(sample, limits)}
    assert (found["low_memory"], found["disk_nearly_full"]) == (False, False)
    assert "fps_below_target" not in found


def counted_fps(seconds: int, fps_at: Callable[[int], float]) -> list[tuple[float, float]]:
    """(time, frames per second) as health counts them, every 5 s: whole frames."""
    looks, shown, due = [], 0, 0.0
    for now_s in range(5, seconds, 5):
        due += 5.0 * fps_at(now_s)
        count = int(due + (0.5 if now_s % 10 else -0.5))  # a frame comes just before or after
        looks.append((float(now_s), round((count - shown) / 5.0, 2)))
        shown = count
    return looks


def test_a_camera_that_keeps_to_its_target_again_is_no_longer_too_slow() -> None:
    book, told = AlertBook(), []
    for now_s, fps in counted_fps(300, lambda s: 5.0 if s <= 60 else 9.99):
        if note(book, now_s, changed(camera(processed_fps=fps))):
            told.append((now_s, bool(book.raised())))
    assert told == [(35.0, True), (85.0, False)]


def test_one_look_between_the_limits_or_past_one_does_not_put_the_end_off_for_long() -> None:
    book = AlertBook()
    slow = changed(camera(processed_fps=5.0))
    for now_s in (0.0, 30.0):
        note(book, now_s, slow)
    assert note(book, 35.0, WELL) == frozenset()
    note(book, 45.0, changed(camera(processed_fps=9.2)))  # 10 s were good
    note(book, 50.0, WELL)
    assert note(book, 59.9, WELL) == frozenset()
    assert note(book, 60.0, WELL) == {"fps_below_target"}


def test_a_camera_that_comes_back_for_a_moment_now_and_then_is_stalled() -> None:
    book = AlertBook()
    told = []
    for now_s in range(0, 300, 5):
        state = "online" if now_s % 30 == 25 else "stalled"
        told.append(note(book, float(now_s), changed(camera(state=state))))
    assert [kinds for kinds in told if kinds] == [{"camera_stalled"}]
    assert [alert["kind"] for alert in book.raised()] == ["camera_stalled"]


def test_a_sensor_that_is_missing_for_a_while_keeps_its_alert() -> None:
    book = AlertBook()
    hot = changed(lambda s: s["temperatures"][0].update(c=96.0))
    note(book, 0.0, hot)
    note(book, 30.0, hot)
    for now_s in (35.0, 300.0):
        assert note(book, now_s, changed(lambda s: s.update(temperatures=None))) == frozenset()
    assert [alert["subject"] for alert in book.raised()] == ["cpu"]
    assert note(book, 305.0, hot) == frozenset()
    gone_s = 305.0 + SENSOR_GONE_S
    assert note(book, gone_s - 1.0, changed(lambda s: s.update(temperatures=None))) == frozenset()
    assert note(book, gone_s, changed(lambda s: s.update(temperatures=None))) == {
        "over_temperature"
    }


@pytest.mark.parametrize("share", [0.05, 0.8, 0.9])
def test_every_share_of_free_room_that_can_be_asked_for_can_be_reached_again(share: float) -> None:
    limits = Limits(
        temperature_c=90.0, memory_free_share=share, disk_free_share=share, outbox_wait_s=1.0
    )
    for used, bad in ((0, False), (1000 * (1 - share) - 1, None), (1000 * (1 - share) + 1, True)):
        sample = changed(lambda s, used=used: s["memory"].update(used_kb=used))  # type: ignore[misc]
        sample["disk"]["free_bytes"] = 1000 - used
        found = {f.kind: f.bad for f in machine_findings(sample, limits)}
        assert (found["low_memory"], found["disk_nearly_full"]) == (bad, bad)
