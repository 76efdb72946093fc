"""How long events have waited, over restarts of the machine and clocks that are set."""

from __future__ import annotations

import pytest

from alprd.publish.age import AWAY_MAX_S, AgeAxis, Anchor

BEFORE = Anchor(boot_id="first", boot_s=500.0, wall_s=1_735_689_600.0, aged_s=2000.0)


@pytest.mark.parametrize(
    ("away_s", "added_s"),
    [
        (3600.0, 3600.0),
        (-3600.0, 0.0),  # the clock was set back: nothing becomes younger
        (689 * 86_400.0, AWAY_MAX_S),  # the clock was wrong before, or is wrong now
    ],
)
def test_a_restart_of_the_machine_adds_what_the_wall_clock_says_but_never_more_than_a_day(
    away_s: float, added_s: float
) -> None:
    axis = AgeAxis(
        BEFORE, boot_id="second", boot_s=lambda: 20.0, wall_s=lambda: BEFORE.wall_s + away_s
    )
    assert axis.now_s() == BEFORE.aged_s + added_s
    assert AWAY_MAX_S == 86_400.0


def test_within_one_run_of_the_machine_the_wall_clock_adds_nothing() -> None:
    axis = AgeAxis(
        BEFORE, boot_id="first", boot_s=lambda: 560.0, wall_s=lambda: BEFORE.wall_s + 1e9
    )
    assert axis.now_s() == BEFORE.aged_s + 60.0
