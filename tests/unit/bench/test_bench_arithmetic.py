"""The benchmark's own arithmetic: which frames, which medians, which ratios."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alprd.bench.feed import STEP_S, frames, is_positive, swinging
from alprd.bench.limits import Limits, TimedNetwork
from alprd.bench.measure import Case, Round
from alprd.bench.pictures import Pictures
from alprd.bench.report import lines, table
from alprd.bench.runner import cases
from alprd.bench.summary import case_summary, spread

CASE = Case(rate=1.0, batch=4, cameras=4, parallel=True)


def pictures() -> Pictures:
    return Pictures(
        positive=[np.full((2, 3, 3), 200 + n, np.uint8) for n in range(2)],
        negative=[np.full((2, 3, 3), n, np.uint8) for n in range(2)],
        origin="a test",
    )


def one_round(*, fps: float, **changes: Any) -> Round:
    figures = {
        "frames": 100,
        "calls": 25,
        "wall_s": 100 / fps,
        "cpu_s": 2.0,
        "plates": 100,
        "events": 4,
        "stages": {
            stage: {"median_ms": 1000 / fps, "p95_ms": 2000 / fps}
            for stage in ("detect", "read", "track", "cut", "attributes", "store")
        },
        "gpu_percent": None,
        "gpu_peak_bytes": None,
    }
    return Round(**{**figures, **changes})


@pytest.mark.parametrize(
    ("rate", "wanted"),
    [(0.0, 0), (0.2, 20), (0.5, 50), (0.7, 70), (1.0, 100), (1 / 3, 33)],
)
def test_the_rate_is_the_share_of_pictures_with_plates(rate: float, wanted: int) -> None:
    assert sum(is_positive(number, rate) for number in range(100)) == wanted


def test_pictures_with_plates_are_spread_evenly() -> None:
    shown = "".join("x" if is_positive(number, 0.5) else "." for number in range(8))
    assert shown in ("x.x.x.x.", ".x.x.x.x")


def test_cameras_take_turns_and_each_has_a_time_axis_of_its_own() -> None:
    found = list(frames(pictures(), rate=0.5, cameras=2, count=5))

    assert [frame.camera_id for frame in found] == [
        "camera-0",
        "camera-1",
        "camera-0",
        "camera-1",
        "camera-0",
    ]
    assert [frame.seq for frame in found] == [0, 0, 1, 1, 2]
    assert [frame.t_s for frame in found] == [0.0, 0.0, STEP_S, STEP_S, 2 * STEP_S]
    assert sum(int(frame.image[0, 0, 0]) >= 200 for frame in found) == 2


def test_no_camera_sees_nothing_but_plates() -> None:
    for rate, cameras in ((0.5, 8), (0.2, 5), (0.7, 10)):
        seen: dict[str, set[bool]] = {}
        for frame in frames(pictures(), rate=rate, cameras=cameras, count=20 * cameras):
            seen.setdefault(frame.camera_id, set()).add(bool(frame.image[0, 0, 0] >= 200))
        assert all(kinds == {True, False} for kinds in seen.values())


def test_a_vehicle_comes_and_goes_and_never_jumps() -> None:
    assert [swinging(step, 4) for step in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert [swinging(step, 1) for step in range(3)] == [0, 0, 0]


def test_no_two_frames_are_one_object_though_they_share_their_pixels() -> None:
    found = list(frames(pictures(), rate=1.0, cameras=1, count=10))

    assert len({id(frame.image) for frame in found}) == 10
    assert np.shares_memory(found[0].image, found[2].image)


def test_every_combination_is_measured_and_cameras_fill_a_batch_unless_told() -> None:
    chosen = cases([0.0, 1.0], [1, 8], [], [True, False])

    assert len(chosen) == 8
    assert {(case.batch, case.cameras) for case in chosen} == {(1, 1), (8, 8)}
    assert {case.cameras for case in cases([1.0], [8], [1, 64], [True])} == {1, 64}


def test_the_median_of_the_rounds_counts_and_the_others_show_the_noise() -> None:
    assert spread([3.0, 100.0, 1.0]) == {"median": 3.0, "min": 1.0, "max": 100.0}

    summary = case_summary(
        CASE,
        [one_round(fps=fps) for fps in (50.0, 100.0, 80.0)],
        [{}, {}, {}],
        Limits(batch=4, detector_s=0.02, upload_s=None),
    )

    assert summary["fps"] == {"median": 80.0, "min": 50.0, "max": 100.0}
    assert summary["ms_per_frame"] == 12.5
    assert summary["mean_batch"] == 4.0
    assert summary["stages_ms"]["detect"] == {"median": 12.5, "p95": 25.0}
    assert summary["networks"] is None
    assert summary["limit"]["fps"] == 200.0
    assert summary["limit"]["reached"] == 0.4


def test_the_lower_of_engine_and_upload_is_the_limit() -> None:
    assert Limits(batch=8, detector_s=0.004, upload_s=0.001).fps == 1000.0
    assert Limits(batch=8, detector_s=0.016, upload_s=0.001).fps == 500.0
    assert Limits(batch=8, detector_s=0.016, upload_s=None).fps == 500.0


def test_the_whole_is_compared_with_the_networks_own_time() -> None:
    own = {
        "detect_s": 0.8,
        "detect_cpu_s": 0.7,
        "detect_rows": 100.0,
        "read_s": 0.2,
        "read_cpu_s": 0.3,
        "read_rows": 125.0,
    }

    found = case_summary(
        CASE,
        [one_round(fps=80.0, cpu_s=1.1)],
        [own],
        Limits(batch=4, detector_s=0.02, upload_s=None),
    )["networks"]

    assert found == {
        "detect_ms": 8.0,
        "read_ms": 2.0,
        "read_rows_per_frame": 1.25,
        "whole_to_own": 1.25,
        "cpu_whole_to_own": 1.1,
    }


def test_a_timed_network_adds_up_its_calls_and_forgets_them_when_told() -> None:
    class Network:
        max_batch = 3

        def run(self, rows: np.ndarray, count: int) -> dict[str, np.ndarray]:
            return {"out": rows[:count]}

    timed = TimedNetwork(Network())
    rows = np.zeros((3, 2), np.float32)
    assert len(timed.run(rows, 2)["out"]) == 2
    timed.run(rows, 3)

    assert (timed.max_batch, timed.rows) == (3, 5)
    assert timed.seconds > 0.0
    timed.reset()
    assert (timed.seconds, timed.cpu_s, timed.rows) == (0.0, 0.0, 0)


def test_the_text_shows_every_run_and_what_rate_and_overlap_do() -> None:
    limits = Limits(batch=4, detector_s=0.02, upload_s=0.001)
    runs = [
        case_summary(
            Case(rate=rate, batch=4, cameras=4, parallel=parallel),
            [one_round(fps=fps, gpu_percent=40.0, gpu_peak_bytes=1 << 30)],
            [{}],
            limits,
        )
        for rate, parallel, fps in (
            (0.0, True, 100.0),
            (1.0, True, 90.0),
            (1.0, False, 45.0),
        )
    ]
    text = "\n".join(
        lines(
            {
                "software": "alprd",
                "backend": {"name": "tensorrt", "reason": "it was asked for"},
                "machine": {
                    "processor": "P",
                    "cores": 2,
                    "load": 0.5,
                    "python": "3",
                    "numpy": "2",
                    "opencv": "4",
                },
                "pictures": {"origin": "rendered", "size": [1280, 720], "mib": 42.2},
                "memory": {
                    "peak_rss_mib": 300.0,
                    "gpu_models_mib": 120.0,
                    "gpu_context_mib": 510.5,
                },
                "runs": runs,
            }
        )
    )

    assert "on the GPU 120 MiB and 510.5 of CUDA itself" in text
    assert "4 cameras, parallel: rate 1 keeps 0.90 of the frames/s of rate 0" in text
    assert "rate 1: parallel is 2.00 times sequential" in text
    assert "on the GPU 120 MiB" in text
    assert text.count("parallel") >= 3


def test_columns_are_aligned() -> None:
    assert list(table([("a", "bbb"), ("cc", "d")])) == [" a  bbb", "cc    d"]
