"""One run of the benchmark: pictures, models and the GPU's own figures, taken and given back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from alprd.bench.gpu import GpuLimits, asking_gpu
from alprd.bench.limits import TimedNetwork
from alprd.bench.pictures import load_pictures
from alprd.bench.runner import Bench, Effort, Progress, cases, machine, run_bench
from alprd.bench.streams import run_streams
from alprd.bench.usage import MIB, AskGpu, rss_bytes
from alprd.config import InferenceSettings
from alprd.inference.cuda import Cuda
from alprd.inference.manifest import load_detector_manifest
from alprd.inference.models import Models, load_models
from alprd.inference.network import Network
from alprd.ports import SubmittingDetector


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """Models, and what they took."""

    models: Models
    timed: dict[str, TimedNetwork]
    ask_gpu: AskGpu | None
    memory: dict[str, float | None]


def measure_pictures(
    settings: InferenceSettings,
    *,
    positive: Path | None,
    negative: Path | None,
    rates: Sequence[float],
    batches: Sequence[int],
    cameras: Sequence[int],
    modes: Sequence[bool],
    rounds: int,
    seconds: float,
    loops: int | None,
    progress: Progress,
) -> dict[str, Any]:
    """Frames from memory; the figures as plain values.

    Raises:
        CameraError: a picture cannot be read.
        EngineError: the models cannot be used.
    """
    with ExitStack() as stack:
        progress("loading")
        pictures = load_pictures(positive, negative)
        shape = load_detector_manifest(settings.detector, settings.models_dir)[0].input.shape
        loaded = _load(settings, stack)
        models = loaded.models
        bench = Bench(
            models=models,
            input_shape=shape,
            pictures=pictures,
            timed=loaded.timed,
            ask_gpu=loaded.ask_gpu,
            gpu=None if models.gpu is None else GpuLimits(models.gpu),
            memory=loaded.memory,
        )
        # A detector that cannot work by itself does the same either way.
        overlaps = isinstance(models.detector, SubmittingDetector)
        chosen = cases(rates, batches, cameras, modes if overlaps else [False])
        return run_bench(
            bench, chosen, Effort(rounds=rounds, seconds=seconds, loops=loops), progress
        )


def measure_streams(
    settings: InferenceSettings,
    *,
    source: Path,
    cameras: Sequence[int],
    decoders: Sequence[str],
    rounds: int,
    progress: Progress,
) -> dict[str, Any]:
    """Whole streams of a clip, decoding included; the figures as plain values.

    Raises:
        CameraError: the clip cannot be read.
        EngineError: the models cannot be used.
    """
    with ExitStack() as stack:
        progress("loading")
        loaded = _load(settings, stack)
        report = run_streams(
            loaded.models,
            source=source,
            cameras=cameras,
            decoders=decoders,
            rounds=rounds,
            max_batch=settings.max_batch,
            ask_gpu=loaded.ask_gpu,
            progress=progress,
        )
        report["machine"] = machine()
        report["memory"] |= loaded.memory
        return report


def _load(settings: InferenceSettings, stack: ExitStack) -> _Loaded:
    timed: dict[str, TimedNetwork] = {}

    def watch(task: str, network: Network) -> Network:
        timed[task] = TimedNetwork(network)
        return timed[task]

    ask_gpu = stack.enter_context(asking_gpu())
    before = None if ask_gpu is None else ask_gpu().used_bytes
    bare = None
    if ask_gpu is not None and before is not None and settings.backend == "tensorrt":
        # What CUDA takes for a process that does nothing is not the models'.
        stack.callback(Cuda().close)
        used = ask_gpu().used_bytes
        bare = None if used is None else used - before
    rss_before, started_s = rss_bytes(), perf_counter()
    models = stack.enter_context(load_models(settings, watch=watch))
    load_s = perf_counter() - started_s
    used = None if ask_gpu is None or models.gpu is None else ask_gpu().used_bytes
    return _Loaded(
        models=models,
        timed=timed,
        ask_gpu=ask_gpu,
        memory={
            "load_s": round(load_s, 2),
            "models_rss_mib": round((rss_bytes() - rss_before) / MIB, 1),
            "gpu_context_mib": None if bare is None else round(bare / MIB, 1),
            "gpu_models_mib": (
                None
                if used is None or before is None
                else round((used - before - (bare or 0)) / MIB, 1)
            ),
        },
    )
