"""From rounds to figures: medians of the rounds, and how far apart those were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from alprd.bench.limits import Limits
from alprd.bench.measure import Case, Round
from alprd.bench.usage import MIB
from alprd.inference.figures import STAGES


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {
        "median": rounded(median(values)),
        "min": rounded(min(values)),
        "max": rounded(max(values)),
    }


def case_summary(
    case: Case, rounds: Sequence[Round], own: Sequence[Mapping[str, float]], limits: Limits
) -> dict[str, Any]:
    """All that a case gave.

    Args:
        case: what was measured.
        rounds: one after the other.
        own: of each round, the networks' own seconds and rows by task; empty where unknown.
        limits: what bounds it.
    """
    fps = spread([each.fps for each in rounds])
    peaks = [each.gpu_peak_bytes for each in rounds if each.gpu_peak_bytes is not None]
    percents = [each.gpu_percent for each in rounds if each.gpu_percent is not None]
    return {
        "rate": case.rate,
        "batch": case.batch,
        "cameras": case.cameras,
        "mode": "parallel" if case.parallel else "sequential",
        "rounds": len(rounds),
        "frames": rounds[0].frames,
        "fps": fps,
        "ms_per_frame": rounded(1e3 / fps["median"]),
        "mean_batch": rounded(median(each.frames / max(1, each.calls) for each in rounds)),
        "plates_per_frame": rounded(median(each.plates / each.frames for each in rounds)),
        "events": rounds[0].events,
        "stages_ms": stages_ms([each.stages for each in rounds]),
        "cpu_ms_per_frame": rounded(median(each.cpu_s * 1e3 / each.frames for each in rounds)),
        "cpu_cores": rounded(median(each.cpu_s / each.wall_s for each in rounds)),
        "gpu_percent": median(percents) if percents else None,
        "gpu_peak_mib": round(max(peaks) / MIB, 1) if peaks else None,
        "networks": networks(rounds, own),
        "limit": {
            "detector_ms": rounded(limits.detector_s * 1e3),
            "detector_fps": rounded(limits.detector_fps),
            "upload_fps": None if limits.upload_s is None else rounded(1.0 / limits.upload_s),
            "fps": rounded(limits.fps),
            "reached": rounded(fps["median"] / limits.fps),
        },
    }


def stages_ms(rounds: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float] | None]:
    """Median of the rounds' medians and 95th percentiles, by stage; None where it had no work."""
    figures: dict[str, dict[str, float] | None] = {}
    for stage in STAGES:
        told = [each[stage] for each in rounds if each[stage] is not None]
        figures[stage] = (
            {
                "median": rounded(median(each["median_ms"] for each in told)),
                "p95": rounded(median(each["p95_ms"] for each in told)),
            }
            if told
            else None
        )
    return figures


def networks(
    rounds: Sequence[Round], own: Sequence[Mapping[str, float]]
) -> dict[str, float] | None:
    """The networks' own time a frame and how many times that the whole takes; None if unknown.

    Reads of a second look are counted, with their time: they are the networks' work. The ratio of
    processor times is the one to trust where others use the machine too; it is right when the
    networks run in one thread.
    """
    if not all(own):
        return None
    pairs = list(zip(rounds, own, strict=True))
    return {
        "detect_ms": rounded(median(o["detect_s"] * 1e3 / r.frames for r, o in pairs)),
        "read_ms": rounded(median(o["read_s"] * 1e3 / r.frames for r, o in pairs)),
        "read_rows_per_frame": rounded(median(o["read_rows"] / r.frames for r, o in pairs)),
        "whole_to_own": rounded(median(r.wall_s / (o["detect_s"] + o["read_s"]) for r, o in pairs)),
        "cpu_whole_to_own": rounded(
            median(r.cpu_s / (o["detect_cpu_s"] + o["read_cpu_s"]) for r, o in pairs)
        ),
    }


def rounded(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")
