"""From an ONNX file to a serialised plan, with progress; one code path for TensorRT 8.5 to 11."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alprd.inference.identity import BuildSettings
from alprd.inference.manifest import InputSpec
from alprd.inference.network import describe_shape, shape_problem
from alprd.inference.onnx_file import with_float_pixels
from alprd.inference.trt_api import TensorRT, Typing
from alprd.ports import EngineError, EngineUnavailable

RECIPE = 2
"""Part of every plan's identity. Raise it when a plan would come out otherwise from the same file
and settings: by what is done here, in `TensorRT.configure` or in `set_precisions`."""

TUNED_BATCH = 16
"""Kernels are chosen for the largest batch, but for no larger one than this: a reader could take 64
plates, and rarely sees a dozen."""

Progress = Callable[[float | None, str], None]
"""Called from any thread with the share done (None where TensorRT does not tell) and the phase."""


@dataclass(slots=True)
class BuildProgress:
    """What TensorRT reports of its phases, as one figure; called from TensorRT's threads.

    Attributes:
        report: gets share and phase.
    """

    report: Progress
    _kernels: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _phases: dict[str, tuple[str | None, int, int]] = field(default_factory=dict)
    _furthest: float = 0.0

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """A phase of so many steps begins, perhaps inside another one's step."""
        with self._lock:
            self._phases[phase_name] = (parent_phase, max(1, num_steps), 0)
        self._tell(phase_name)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """A step is done; the answer says whether to go on."""
        with self._lock:
            if phase_name in self._phases:
                parent, steps, _ = self._phases[phase_name]
                self._phases[phase_name] = (parent, steps, min(steps, step + 1))
        self._tell(phase_name)
        return True

    def phase_finish(self, phase_name: str) -> None:
        """A phase is over."""
        with self._lock:
            self._phases.pop(phase_name, None)

    def kernel_timed(self) -> None:
        """A kernel was timed: all that releases without a progress monitor let one know."""
        with self._lock:
            self._kernels += 1
            kernels = self._kernels
        self.report(None, f"building, {kernels} kernels timed")

    def _tell(self, phase_name: str) -> None:
        with self._lock:
            share, scale, name = 0.0, 1.0, phase_name
            chain = []
            while name in self._phases and name not in chain:
                chain.append(name)
                name = self._phases[name][0] or ""
            for each in reversed(chain):
                _, steps, done = self._phases[each]
                share += scale * done / steps
                scale /= steps
            # Phases follow each other at the top, each from 0 again; people want no bar that jumps.
            self._furthest = max(self._furthest, min(share, 1.0))
            furthest = self._furthest
        self.report(furthest, phase_name)


def build_plan(
    onnx: bytes,
    spec: InputSpec,
    settings: BuildSettings,
    *,
    tensorrt: TensorRT,
    typing: Typing,
    path: Path,
    timing_cache: bytes,
    progress: BuildProgress,
    log: Callable[[str, str], None] | None = None,
    prepare: Callable[[Any], None] | None = None,
) -> tuple[bytes, bytes]:
    """The plan and the grown timing cache. Takes seconds to many minutes.

    Args:
        onnx: the file's content.
        spec: the input that the manifest promises.
        settings: of the build.
        tensorrt: the library.
        typing: how the precision is asked for.
        path: where the ONNX file came from, for messages.
        timing_cache: what an earlier build gave, or nothing.
        progress: is told how far it is.
        log: gets TensorRT's warnings and errors.
        prepare: may change the builder's configuration last.

    Raises:
        EngineError: TensorRT does not take the model.
        EngineUnavailable: there is no GPU, or not enough of its memory.
    """
    trt = tensorrt.module
    monitored = tensorrt.has_progress_monitor
    logger = tensorrt.logger(log, None if monitored else progress.kernel_timed)
    builder = tensorrt.builder(logger)
    network = builder.create_network(tensorrt.network_flags(strongly_typed=typing.strongly_typed))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(with_float_pixels(onnx, spec.name) if spec.type == "uint8" else onnx):
        reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise EngineError(
            f"{path} is not taken by TensorRT {tensorrt.version}: "
            f"{'; '.join(reasons) or _reason(logger)}; export it again with a lower opset or "
            'plainer operators, or run it with inference.backend = "onnxruntime"'
        )
    _prepare_input(network, spec, path, trt, strongly_typed=typing.strongly_typed)
    config = builder.create_builder_config()
    tensorrt.configure(config, typing, workspace_mib=settings.workspace_mib)
    if "FP16" in typing.flags:
        tensorrt.set_precisions(network, config, half="INT8" not in typing.flags)
    if prepare is not None:
        prepare(config)
    _add_profile(builder, config, network.get_input(0), spec, settings.max_batch)
    # Held until the build is over, as whatever else the configuration only points at.
    cache = _timing_cache(config, timing_cache) if tensorrt.has_timing_cache else None
    monitor = None
    if monitored:
        # It must live as long as the configuration.
        monitor = tensorrt.progress_monitor(progress)
        config.progress_monitor = monitor
    else:
        progress.report(None, "building")
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failure(logger, path, tensorrt)
    return bytes(plan), b"" if cache is None else bytes(config.get_timing_cache().serialize())


def _timing_cache(config: Any, known: bytes) -> Any:  # noqa: ANN401
    """Begin with what earlier builds measured; without it, when it is of another GPU or release."""
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _prepare_input(
    network: Any,  # noqa: ANN401
    spec: InputSpec,
    path: Path,
    trt: Any,  # noqa: ANN401
    *,
    strongly_typed: bool,
) -> None:
    """Check the network's input against the manifest, and let it be float32. Raises EngineError."""
    names = [network.get_input(index).name for index in range(network.num_inputs)]
    if names != [spec.name]:
        raise EngineError(
            f"{path} has the inputs {sorted(names)}, its manifest names {spec.name!r}; "
            "correct input.name, or export the model with that one input"
        )
    tensor = network.get_input(0)
    found = tuple(None if size < 0 else size for size in tensor.shape)
    problem = shape_problem((None, *spec.shape), found)
    if problem is not None:
        raise EngineError(
            f"{path}: input {spec.name!r} {problem}; correct layout, width, height or colour in "
            "[input] of the manifest"
        )
    # Our kernels write float32. What the file does with other types begins with a cast, which
    # float32 passes as well; only FP16 in a strongly typed network is past changing.
    if tensor.dtype != trt.float32:
        if tensor.dtype == trt.float16 and strongly_typed:
            raise EngineError(
                f"{path}: input {spec.name!r} takes {tensor.dtype}; export the model with a "
                "float32 input"
            )
        tensor.dtype = trt.float32


def _add_profile(
    builder: Any,  # noqa: ANN401
    config: Any,  # noqa: ANN401
    tensor: Any,  # noqa: ANN401
    spec: InputSpec,
    max_batch: int,
) -> None:
    shape = tuple(tensor.shape)
    if all(size >= 0 for size in shape):
        return  # fixed: nothing is left to choose
    fixed = shape[0] if shape[0] >= 0 else None
    least, tuned, most = (
        (fixed if fixed is not None else batch, *spec.shape)
        for batch in (1, min(max_batch, TUNED_BATCH), max_batch)
    )
    profile = builder.create_optimization_profile()
    profile.set_shape(spec.name, least, tuned, most)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(
            f"TensorRT refuses the shapes {describe_shape(least)} to {describe_shape(most)}; "
            "lower inference.max_batch"
        )


def _failure(logger: Any, path: Path, tensorrt: TensorRT) -> EngineError:  # noqa: ANN401
    reason = _reason(logger)
    text = f"{path}: TensorRT {tensorrt.version} could not build the engine: {reason}"
    if any(word in reason.lower() for word in ("memory", "could not find any implementation")):
        return EngineUnavailable(
            f"{text}; free memory on the GPU (stop what else runs on it, alprd too), lower "
            "inference.max_batch, or give layers more with inference.workspace_mib"
        )
    return EngineError(f"{text}; export the model again with plainer operators")


def _reason(logger: Any) -> str:  # noqa: ANN401
    """What explains a failure: memory if it was that, else the first complaint; later ones follow.

    The last one is always that there is no engine.
    """
    errors: list[str] = logger.errors
    memory = next((each for each in errors if "memory" in each.lower()), None)
    return memory or (errors[0] if errors else "it gives no reason")
