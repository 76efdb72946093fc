"""The whole benchmark: every case in turn, round after round, so that all see the same machine."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from alprd import __version__
from alprd.bench.gpu import GpuLimits
from alprd.bench.limits import Limits, TimedNetwork, bare_s, random_rows
from alprd.bench.measure import Case, Round, run_round
from alprd.bench.pictures import Pictures
from alprd.bench.summary import case_summary, spread
from alprd.bench.usage import MIB, AskGpu, peak_rss_bytes
from alprd.inference.models import Models

SCHEMA = "alprd.bench/1"
WARM_UP_BATCHES = 6
_BARE_S = 0.15
"""How long the bare engine runs in every round."""

_BARE_RUNS = 5
"""At least so often."""

Progress = Callable[[str], None]
"""Told what is measured next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What one benchmark needs.

    Attributes:
        models: loaded.
        input_shape: of the detector, without the batch.
        pictures: to look at.
        timed: the networks whose own time in the pipeline is known, by task.
        ask_gpu: gives a sample of the GPU; None where there is none.
        gpu: measures what the GPU alone takes; None where the models do not run on one.
        memory: what loading the models took, MiB.
    """

    models: Models
    input_shape: tuple[int, ...]
    pictures: Pictures
    timed: Mapping[str, TimedNetwork]
    ask_gpu: AskGpu | None = None
    gpu: GpuLimits | None = None
    memory: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: each case is measured so often.
        seconds: of one case in one round, about.
        loops: frames of one case in one round; None: as many as `seconds` allows.
    """

    rounds: int
    seconds: float
    loops: int | None = None


def cases(
    rates: Sequence[float], batches: Sequence[int], cameras: Sequence[int], modes: Sequence[bool]
) -> list[Case]:
    """All combinations; no cameras: as many as a batch holds."""
    return [
        Case(rate=rate, batch=batch, cameras=number, parallel=parallel)
        for batch in batches
        for number in cameras or [batch]
        for rate in rates
        for parallel in modes
    ]


def run_bench(
    bench: Bench, chosen: Sequence[Case], effort: Effort, progress: Progress
) -> dict[str, Any]:
    """Measure everything; plain values for JSON.

    Raises:
        EngineError: a model failed.
    """
    counts: dict[Case, int] = {}
    for case in chosen:
        progress(f"warming up: {describe(case)}")
        counts[case] = _warm_up(bench, case, effort)
    rounds: dict[Case, list[Round]] = {case: [] for case in chosen}
    own: dict[Case, list[dict[str, float]]] = {case: [] for case in chosen}
    bare: dict[int, list[float]] = {case.batch: [] for case in chosen}
    uploads: list[float] = []
    rows = random_rows(bench.input_shape, bench.models.networks["detect"].max_batch)
    for number in range(effort.rounds):
        for batch, seconds in bare.items():
            seconds.append(_bare(bench, rows, batch))
        if bench.gpu is not None:
            upload_s = bench.gpu.upload_s(bench.pictures.frame_bytes)
            uploads += [] if upload_s is None else [upload_s]
        # Every other round goes backwards: a machine that slows down favours nobody.
        for case in chosen if number % 2 == 0 else reversed(chosen):
            progress(f"round {number + 1} of {effort.rounds}: {describe(case)}")
            for network in bench.timed.values():
                network.reset()
            rounds[case].append(_run(bench, case, counts[case]))
            own[case].append(_own(bench.timed))
    return {
        "schema": SCHEMA,
        "software": f"alprd {__version__}",
        "machine": machine(),
        "backend": {
            "name": bench.models.backend,
            "reason": bench.models.reason,
            **bench.models.details,
        },
        "models": dict(bench.models.hashes),
        "pictures": {
            "origin": bench.pictures.origin,
            "size": list(bench.pictures.size),
            "mib": round(bench.pictures.all_bytes / MIB, 1),
        },
        "memory": {"peak_rss_mib": round(peak_rss_bytes() / MIB, 1), **bench.memory},
        "upload_us": None if not uploads else spread([each * 1e6 for each in uploads]),
        "runs": [
            case_summary(
                case,
                rounds[case],
                own[case],
                Limits(
                    batch=case.batch,
                    detector_s=median(bare[case.batch]),
                    upload_s=median(uploads) if uploads else None,
                ),
            )
            for case in chosen
        ],
    }


def describe(case: Case) -> str:
    """One line for people."""
    mode = "parallel" if case.parallel else "sequential"
    return f"rate {case.rate:g}, batch {case.batch}, {_count(case.cameras, 'camera')}, {mode}"


def machine() -> dict[str, Any]:
    """What it is measured on."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }


def _warm_up(bench: Bench, case: Case, effort: Effort) -> int:
    """Run the case until nothing is new to it; how many frames a measurement takes."""
    few = WARM_UP_BATCHES * max(case.batch, case.cameras)
    if effort.loops is not None:
        _run(bench, case, min(few, effort.loops))
        return effort.loops
    _run(bench, case, max(case.batch, case.cameras))
    started_s = time.perf_counter()
    _run(bench, case, few)
    per_frame_s = (time.perf_counter() - started_s) / few
    # Whole turns of all cameras, so that every batch but the first may be full.
    return case.cameras * max(2, math.ceil(effort.seconds / per_frame_s / case.cameras))


def _run(bench: Bench, case: Case, count: int) -> Round:
    return run_round(bench.models, bench.pictures, case, count, ask_gpu=bench.ask_gpu)


def _bare(bench: Bench, rows: NDArray[np.float32], batch: int) -> float:
    network = bench.models.networks["detect"]
    count = min(batch, network.max_batch)
    if bench.gpu is not None:
        return bench.gpu.bare_s(network, count, _BARE_S) * batch / count
    bare_s(network, rows, count)
    times: list[float] = []
    until_s = time.perf_counter() + _BARE_S
    while len(times) < _BARE_RUNS or time.perf_counter() < until_s:
        times.append(bare_s(network, rows, count))
    return median(times) * batch / count


def _own(timed: Mapping[str, TimedNetwork]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for task, network in timed.items():
        figures[f"{task}_s"] = network.seconds
        figures[f"{task}_cpu_s"] = network.cpu_s
        figures[f"{task}_rows"] = float(network.rows)
    return figures


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return _named(file) or platform.machine()
    except OSError:
        return platform.machine()


def _named(lines: Iterable[str]) -> str | None:
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return None


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
