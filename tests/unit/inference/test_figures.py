"""Stage times: per item, over the last batches, readable while they are written."""

from __future__ import annotations

from alprd.inference.figures import StageFigures
from support.inference import FakeClock


def test_a_stages_time_is_shared_by_the_items_of_its_batch() -> None:
    clock = FakeClock()
    figures = StageFigures(clock)

    for seconds in (0.4, 0.8, 1.2):
        with figures.timed("detect", 4):
            clock.advance(seconds)

    assert figures.snapshot()["stages"]["detect"] == {"median_ms": 200.0, "p95_ms": 290.0}


def test_a_stage_that_had_no_work_has_no_figure() -> None:
    figures = StageFigures(FakeClock())

    with figures.timed("read", 0):
        pass

    assert figures.snapshot()["stages"]["read"] is None


def test_counters_add_up() -> None:
    figures = StageFigures(FakeClock())

    figures.count("frames", 3)
    figures.count("frames", 2)

    assert figures.snapshot()["frames"] == 5
