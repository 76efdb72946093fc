"""One engine, from its ONNX file to a checked plan in the folder; and the check alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from alprd.inference.cuda import Cuda
from alprd.inference.engine_check import Check, check_engine, fp32_network, network_outputs
from alprd.inference.engines import Device, Engine, load_plan
from alprd.inference.plans import PlanStore
from alprd.inference.timing_cache import load_timing_cache, save_timing_cache
from alprd.inference.trt_api import TensorRT
from alprd.inference.trt_build import BuildProgress, build_plan
from alprd.inference.trt_engine import TensorRTNetwork
from alprd.ports import Clock, EngineError, EngineUnavailable

_MIB = 1 << 20
_ROOM = 3
"""A plan of FP32 is about as large as its ONNX file; the old one stays meanwhile, and the timing
cache grows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build gave.

    Attributes:
        path: of the plan.
        size: of the plan, bytes.
        seconds: that the build took, without the check.
        check: figures of the check that it passed.
    """

    path: Path
    size: int
    seconds: float
    check: Check


def build_engine(
    wanted: Engine,
    device: Device,
    store: PlanStore,
    *,
    progress: BuildProgress,
    log: Callable[[str, str], None],
    clock: Clock,
    now: Callable[[], datetime],
) -> Built:
    """Build, check, and only then put in the old plan's place.

    Args:
        wanted: which engine.
        device: where it is built, and for which it is.
        store: whose `building` is entered.
        progress: is told how far TensorRT is.
        log: gets TensorRT's warnings and errors as (severity, text).
        clock: monotonic seconds.
        now: wall time, aware.

    Raises:
        EngineError: the model cannot be built, or the plan failed its check. The old plan stays.
        EngineUnavailable: the GPU, its memory or the disk is short.
    """
    identity = wanted.identity(device)
    onnx, path = wanted.onnx(device.tensorrt)
    _check_room(store.folder, _ROOM * len(onnx))
    begun_s = clock()
    try:
        plan, cache = build_plan(
            onnx,
            wanted.manifest.input,
            wanted.settings,
            tensorrt=device.tensorrt,
            typing=wanted.typing(device.tensorrt),
            path=path,
            timing_cache=load_timing_cache(store, device),
            progress=progress,
            log=log,
        )
    except MemoryError as error:
        raise EngineUnavailable(
            f"{path}: this machine has too little memory left to build the engine; stop what else "
            "runs (alprd, too), or add swap"
        ) from error
    except (RuntimeError, TypeError) as error:  # how TensorRT's own bindings fail
        raise EngineError(
            f"{path}: TensorRT {device.tensorrt.version} could not build the engine: {error}; "
            'run the model with inference.backend = "onnxruntime", and report it'
        ) from error
    seconds = clock() - begun_s
    save_timing_cache(store, device, cache)
    progress.report(None, "checking")
    check = check_plan(wanted, plan, path, tensorrt=device.tensorrt, clock=clock)
    if check.problem is not None:
        raise EngineError(
            f"{path}: the engine was built but not kept, because {check.problem}; what was there "
            "is untouched; build it with --precision fp32, or export the model again"
        )
    figures = {**check.figures, "build_s": round(seconds, 1)}
    saved = store.save(wanted.name, identity, plan, figures=figures, built_at=now())
    return Built(path=saved, size=len(plan), seconds=seconds, check=check)


def verify_engine(wanted: Engine, device: Device, store: PlanStore, *, clock: Clock) -> Check:
    """Check the plan that is there once more. Raises EngineError when none fits or runs."""
    plan = load_plan(wanted, device, store)
    path = store.path(wanted.name, wanted.settings.precision)
    return check_plan(wanted, plan, path, tensorrt=device.tensorrt, clock=clock)


def check_plan(
    wanted: Engine, plan: bytes, path: Path, *, tensorrt: TensorRT, clock: Clock
) -> Check:
    """Run a plan on the GPU and its model in ONNX Runtime. Raises EngineError."""
    reference = fp32_network(wanted)
    cuda = Cuda()
    try:
        network = TensorRTNetwork(
            plan,
            path=path,
            spec=wanted.served.input,
            outputs=network_outputs(wanted.manifest),
            max_batch=wanted.settings.max_batch,
            tensorrt=tensorrt,
            cuda=cuda,
        )
        try:
            return check_engine(wanted, network, reference, clock)
        finally:
            network.close()
    finally:
        cuda.close()


def _check_room(folder: Path, wanted: int) -> None:
    """Refuse at once what would fail after minutes. Raises EngineUnavailable."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise EngineUnavailable(
            f"{folder} has {free / _MIB:.1f} MiB left, and building needs about "
            f"{wanted / _MIB:.0f} MiB there; free some space, or give another folder "
            "(inference.engines_dir, or --dir)"
        )
