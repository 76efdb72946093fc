"""Speeds of simulated passes before cameras calibrated with errors: as sure as they say."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import pytest

from alprd.core.speed import Refused, SpeedMeter, SpeedRules
from support.speed_trials import KMH, calibrated, random_pass, random_site

pytestmark = pytest.mark.once

SITES, PASSES = 100, 4


@dataclass(frozen=True, kw_only=True)
class Score:
    refused: float
    errors: np.ndarray
    """Relative, of the passes that were measured."""

    in_stderrs: np.ndarray
    shares: np.ndarray
    """Standard errors, relative."""


def score(
    *,
    click_px: float = 1.0,
    tape_m: float = 0.02,
    plate_error_m: float = 0.05,
    rows: int = 4,
    stretch_m: float = 28.0,
    seed: int = 1,
) -> Score:
    rng = random.Random(seed)  # noqa: S311 - the same in every run
    errors, in_stderrs, shares, tried = [], [], [], 0
    for _ in range(SITES):
        site = random_site(rng, rows=rows, stretch_m=stretch_m)
        made = calibrated(site, rng, click_px=click_px, tape_m=tape_m, plate_error_m=plate_error_m)
        meter = SpeedMeter(made, SpeedRules())
        for _ in range(PASSES):
            tried += 1
            drive = random_pass(site, rng, plate_error_m=plate_error_m)
            try:
                found = meter.measured(drive.path, site.camera.size)
            except Refused:
                continue
            true_m_s = drive.true_kmh(found.first_t_s, found.last_t_s) / KMH
            errors.append(abs(found.speed_m_s - true_m_s) / true_m_s)
            in_stderrs.append((found.speed_m_s - true_m_s) / found.stderr_m_s)
            shares.append(found.stderr_m_s / found.speed_m_s)
    return Score(
        refused=1.0 - len(errors) / tried,
        errors=np.array(errors),
        in_stderrs=np.array(in_stderrs),
        shares=np.array(shares),
    )


@pytest.fixture(scope="module")
def usual() -> Score:
    return score()


def test_speeds_are_right_within_a_few_per_cent(usual: Score) -> None:
    assert np.median(usual.errors) <= 0.015
    assert np.quantile(usual.errors, 0.95) <= 0.04
    assert usual.refused <= 0.1


def test_the_true_speed_lies_within_two_standard_errors_as_often_as_it_should(usual: Score) -> None:
    # 400 passes before 100 cameras: the share itself is known to about one in a hundred.
    assert 0.93 <= np.mean(np.abs(usual.in_stderrs) <= 2.0) <= 0.97 + 0.01


@pytest.mark.parametrize(
    ("errors", "times"),
    [({"click_px": 2.0}, 1.5), ({"tape_m": 0.05}, 1.1), ({"click_px": 4.0}, 3.0)],
)
def test_a_worse_calibration_says_so(errors: dict[str, float], times: float) -> None:
    """Four corners of 7 by 12 m, which leave more open than many points far apart."""
    exact = {"click_px": 0.1, "tape_m": 0.001, "plate_error_m": 0.01, "rows": 2, "stretch_m": 12.0}
    sure, worse = score(**exact), score(**{**exact, **errors})  # type: ignore[arg-type]
    assert np.median(worse.shares) > times * np.median(sure.shares)
    assert 0.91 <= np.mean(np.abs(worse.in_stderrs) <= 2.0) <= 0.99
