"""Whatever becomes of a picture or of a live track, events are as they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from alprd.inference.unsaved import UnsavedEvents
from support.line import show
from support.observed import Gate
from support.plates_in_frames import make_plate, make_read
from support.simulation import times

ON: dict[str, Any] = {"tracks": {"enabled": True, "interval_s": 1.0}, "images": {"enabled": True}}
Spoil = Callable[[Gate, Callable[..., Any]], None]


def spoil_tracks(gate: Gate, with_what: Callable[..., Any]) -> None:
    gate.news._send = with_what


def spoil_choosing(gate: Gate, with_what: Callable[..., Any]) -> None:
    gate.album.cut = with_what  # type: ignore[method-assign]


def spoil_making(gate: Gate, with_what: Callable[..., Any]) -> None:
    gate.album.with_pictures = with_what  # type: ignore[method-assign]


def spoil_sending(gate: Gate, with_what: Callable[..., Any]) -> None:
    gate.album.stored = with_what  # type: ignore[method-assign]


def spoil_settling(gate: Gate, with_what: Callable[..., Any]) -> None:
    gate.album.settle = with_what  # type: ignore[method-assign]


def broken(*_: object, **__: object) -> Any:
    raise ValueError("Out of range float values are not JSON compliant")


def drive(gate: Gate) -> None:
    """A pass, as the inference thread has it."""
    unsaved = UnsavedEvents(gate.sink, lambda: 0.0)
    for t in times(0.0, 6.0, 10.0):
        seen = [(make_plate(400 + 60 * t, 300), make_read())] if t < 2.0 else []
        unsaved.add(show(gate.line, t, seen))  # type: ignore[arg-type]
    assert unsaved.flush() is None


@pytest.mark.parametrize(
    "spoil", [spoil_tracks, spoil_choosing, spoil_making, spoil_sending, spoil_settling]
)
def test_a_surprise_in_a_looker_on_costs_no_event_and_doubles_none(
    tmp_path: Path, spoil: Spoil
) -> None:
    healthy, spoilt = Gate(tmp_path / "a", ON), Gate(tmp_path / "b", ON)
    spoil(spoilt, broken)
    with capture_logs() as logs, healthy.worker, spoilt.worker:
        drive(healthy)
        drive(spoilt)
    assert healthy.onlookers.failed == 0
    assert spoilt.onlookers.failed > 0
    assert [each["event"] for each in logs].count("extras.failed") == spoilt.onlookers.failed
    ours, theirs = ([asdict(e) for e in gate.disk.events] for gate in (spoilt, healthy))
    for event in (*ours, *theirs):
        event.pop("image")
    assert len(ours) == 1
    assert ours == theirs
