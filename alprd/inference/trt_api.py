"""The one place that knows how TensorRT's releases differ, from 8.5 to 11.

What a release can do is asked of the module itself where the module tells (a flag that is gone is
no attribute any more); the version decides only about what is there but deprecated.

| | 8.5, 8.6 | 10.0 .. 10.11 | 10.12 .. 10.x | 11 |
|---|---|---|---|---|
| network flags | EXPLICIT_BATCH | none | STRONGLY_TYPED | none: always strongly typed |
| half precision | builder flag | builder flag | FP16 ONNX, else the flag | FP16 ONNX |
| progress | elapsed time | IProgressMonitor | IProgressMonitor | IProgressMonitor |
| contexts of one profile | one | any number | any number | any number |
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

from alprd.inference.identity import Precision
from alprd.ports import EngineError, EngineUnavailable

OLDEST = (8, 5)
PROFILES_SHARED = (10, 0)
SCRATCH_LENT_UNTIL = (11, 0)
WEAK_TYPING_DEPRECATED = (10, 12)
EXPLICIT_BATCH_DEPRECATED = (10, 0)

Source = Literal["model", "fp16", "int8"]
"""The ONNX file that a plan is built from: the model itself or a variant of it."""

_EXTERNAL_TACTICS = ("CUBLAS", "CUBLAS_LT", "CUDNN")
_KEPT_MESSAGES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Typing:
    """How a precision is asked for.

    Attributes:
        source: the ONNX file that is taken.
        strongly_typed: the ONNX file alone decides about precision.
        flags: names of builder flags to set.
    """

    source: Source
    strongly_typed: bool
    flags: tuple[str, ...] = ()


class TensorRT:
    """An imported TensorRT; everything that differs between releases is asked here.

    Args:
        module: the `tensorrt` module (or `tensorrt_rtx`, which speaks the same language).
    """

    def __init__(self, module: Any) -> None:  # noqa: ANN401 -- a module without types
        self.module = module
        self.version: str = module.__version__
        # TensorRT-RTX counts its releases anew, is strongly typed as TensorRT 11 is, and times no
        # kernels before it runs.
        rtx = module.__name__.startswith("tensorrt_rtx")
        self._numbers = (11, 0) if rtx else _numbers(self.version)
        self.has_timing_cache = not rtx
        self.has_precision_flags = hasattr(module.BuilderFlag, "FP16")
        self.has_progress_monitor = hasattr(module, "IProgressMonitor")
        # Elsewhere a second context of an engine gets no profile, and so takes no shape.
        self.shares_profiles = self._numbers >= PROFILES_SHARED
        # From 11 on another way is the only one, which has not been tried on a GPU.
        self.lends_scratch = self._numbers < SCRATCH_LENT_UNTIL

    def typing(self, precision: Precision, variants: Collection[str]) -> Typing:
        """How to build in this precision: with a builder flag, or from an ONNX file that says it.

        Args:
            precision: wanted.
            variants: of the model, "fp16" and "int8" at most.

        Raises:
            EngineError: this release needs a variant that the model does not have.
        """
        strongly = not self.has_precision_flags or self._numbers >= WEAK_TYPING_DEPRECATED
        if precision == "int8":
            if "int8" not in variants:
                raise EngineError(
                    "INT8 needs an ONNX file with Q/DQ nodes and the manifest has none: add "
                    "[variants.int8] with file and sha256, or build with another precision"
                )
            flags = () if strongly else ("INT8", "FP16")
            return Typing(source="int8", strongly_typed=strongly, flags=flags)
        if precision == "fp32":
            return Typing(source="model", strongly_typed=strongly)
        if strongly and "fp16" in variants:
            return Typing(source="fp16", strongly_typed=True)
        if self.has_precision_flags:
            return Typing(source="model", strongly_typed=False, flags=("FP16",))
        raise EngineError(
            f"TensorRT {self.version} takes the precision from the ONNX file, and this model's "
            "manifest names no half-precision one: add [variants.fp16] with file and sha256 "
            "(`python -m engines.training.halve FOLDER` makes both), or build with precision fp32"
        )

    def network_flags(self, *, strongly_typed: bool) -> int:
        """For `create_network`."""
        names = self.module.NetworkDefinitionCreationFlag
        flags = 0
        if self._numbers < EXPLICIT_BATCH_DEPRECATED:
            flags |= 1 << int(names.EXPLICIT_BATCH)
        # Where no weak typing is left the flag changes nothing and will go some day.
        if strongly_typed and self.has_precision_flags:
            flags |= 1 << int(names.STRONGLY_TYPED)
        return flags

    def configure(
        self,
        config: Any,  # noqa: ANN401
        typing: Typing,
        *,
        workspace_mib: int,
    ) -> None:
        """Set a builder configuration's flags, memory and tactic sources."""
        trt = self.module
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
        if typing.source == "model":
            # Whoever asks for fp32 wants all of its bits; in fp16 its kernels need not be timed.
            config.clear_flag(trt.BuilderFlag.TF32)
        for name in typing.flags:
            config.set_flag(getattr(trt.BuilderFlag, name))
        heuristic = getattr(trt.BuilderFlag, "ENABLE_TACTIC_HEURISTIC", None)
        if heuristic is not None and not hasattr(config, "builder_optimization_level"):
            # 8.5 times every kernel there is; later releases know which ones are worth it.
            config.set_flag(heuristic)
        wanted = os.environ.get("ALPRD_TRT_TACTIC_SOURCES", "")
        if wanted == "none":
            # Without cuBLAS and cuDNN, which a small installation leaves out.
            mask = config.get_tactic_sources()
            for name in _EXTERNAL_TACTICS:
                if hasattr(trt.TacticSource, name):
                    mask &= ~(1 << int(getattr(trt.TacticSource, name)))
            config.set_tactic_sources(mask)
        elif wanted:
            raise EngineError(
                f"ALPRD_TRT_TACTIC_SOURCES is {wanted!r}; it can be none, or be unset"
            )

    def set_precisions(self, network: Any, config: Any, *, half: bool) -> None:  # noqa: ANN401
        """Say which layers are float32, and which FP16, where builder flags allow both.

        What comes behind the last convolution or matrix product stays float32: near a pixel
        position of 600 FP16 has steps of half a pixel. The FP16 files say the same.

        Args:
            network: parsed.
            config: of the builder.
            half: everything before that is FP16. Left open, TensorRT times each layer in both (and
                in a network with Q/DQ nodes it must be, for those say what is INT8).
        """
        trt = self.module
        kinds = trt.LayerType
        heavy = {
            getattr(kinds, name)
            for name in ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "FULLY_CONNECTED")
            if hasattr(kinds, name)
        }
        feeds_heavy: set[str] = set()
        for index in reversed(range(network.num_layers)):
            layer = network.get_layer(index)
            outputs = [layer.get_output(each) for each in range(layer.num_outputs)]
            inputs = [layer.get_input(each) for each in range(layer.num_inputs)]
            # Data in, data out; what else comes in (shapes, indices) is not counted in floats.
            of_floats = bool(inputs) and all(
                each is not None and each.dtype == trt.float32 for each in (inputs[0], *outputs)
            )
            if layer.type in heavy or any(each.name in feeds_heavy for each in outputs):
                inner = all(each.name in feeds_heavy for each in outputs)
                feeds_heavy.update(each.name for each in inputs if each is not None)
                if half and of_floats:
                    layer.precision = trt.float16
                    if inner:  # what the decoding takes may come as float32
                        for each in range(layer.num_outputs):
                            layer.set_output_type(each, trt.float16)
            elif of_floats:
                layer.precision = trt.float32
                for each in range(layer.num_outputs):
                    layer.set_output_type(each, trt.float32)
        # Where TensorRT has no such kernel it takes another one, rather than none.
        config.set_flag(trt.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)

    def logger(
        self,
        log: Callable[[str, str], None] | None = None,
        kernel_timed: Callable[[], None] | None = None,
    ) -> Any:  # noqa: ANN401
        """A logger that remembers what went wrong, in `.errors`, the first ones first.

        Args:
            log: also gets every warning and error, as (severity, text).
            kernel_timed: is called for every kernel that a build reports to have timed.
        """
        trt = self.module

        class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.errors: list[str] = []

            def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
                # The driver's refusal is a warning to TensorRT, and the reason to us.
                name = str(severity).rpartition(".")[2]
                if name in ("ERROR", "INTERNAL_ERROR") or "CUDA initialization" in message:
                    self.errors.append(_without_place(message))
                    del self.errors[_KEPT_MESSAGES:]
                # "Tactic: 0x00000000000003e8 Time: 0.0384723", and later the fastest one again.
                if kernel_timed is not None and " Time: " in message:
                    kernel_timed()
                if log is not None and name in ("WARNING", "ERROR", "INTERNAL_ERROR"):
                    log(name.lower(), message)

        return Logger()

    def progress_monitor(self, monitor: object) -> Any:  # noqa: ANN401
        """TensorRT's own IProgressMonitor around phase_start, step_complete and phase_finish."""
        trt = self.module

        class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)

            def phase_start(
                self, phase_name: str, parent_phase: str | None, num_steps: int
            ) -> None:
                monitor.phase_start(phase_name, parent_phase, num_steps)  # type: ignore[attr-defined]

            def step_complete(self, phase_name: str, step: int) -> bool:
                return bool(monitor.step_complete(phase_name, step))  # type: ignore[attr-defined]

            def phase_finish(self, phase_name: str) -> None:
                monitor.phase_finish(phase_name)  # type: ignore[attr-defined]

        return Monitor()

    def builder(self, logger: Any) -> Any:  # noqa: ANN401
        """A builder. Raises EngineUnavailable when CUDA cannot be used."""
        return self._start(self.module.Builder, logger)

    def runtime(self, logger: Any) -> Any:  # noqa: ANN401
        """A runtime. Raises EngineUnavailable when CUDA cannot be used."""
        return self._start(self.module.Runtime, logger)

    def scratch_size(self, engine: Any) -> int:  # noqa: ANN401
        """Bytes that a context of `context_in` works in."""
        size = getattr(engine, "device_memory_size_v2", None)
        return int(engine.device_memory_size if size is None else size)

    def context_in(self, engine: Any, scratch: int) -> Any:  # noqa: ANN401
        """An execution context that works in memory which others may use at other times.

        Args:
            engine: whose.
            scratch: address of `scratch_size` bytes.

        Returns:
            None where TensorRT made none.
        """
        strategies = getattr(self.module, "ExecutionContextAllocationStrategy", None)
        context = (
            engine.create_execution_context_without_device_memory()
            if strategies is None
            else engine.create_execution_context(strategies.USER_MANAGED)
        )
        if context is None:
            return None
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(scratch, self.scratch_size(engine))
        else:
            context.device_memory = scratch
        return context

    def _start(self, kind: Callable[[Any], Any], logger: Any) -> Any:  # noqa: ANN401
        try:
            return kind(logger)
        except (TypeError, RuntimeError) as error:  # "factory function returned nullptr"
            reason = logger.errors[0] if logger.errors else str(error)
            raise EngineUnavailable(
                f"TensorRT {self.version} cannot use the GPU: {reason}"
                + (
                    " (the NVIDIA driver is missing, or too old for this TensorRT: update it)"
                    if "error: 35" in reason
                    else "; look at nvidia-smi and at the memory that is free"
                )
            ) from error


def import_tensorrt() -> TensorRT:
    """TensorRT, if it is installed and new enough. Raises EngineError."""
    try:
        module = importlib.import_module("tensorrt")
    except ModuleNotFoundError as error:
        raise EngineError(
            "the Python module tensorrt is not installed; install it (JetPack: "
            'apt install python3-libnvinfer), or set inference.backend = "onnxruntime"'
        ) from error
    except (ImportError, OSError, AttributeError) as error:
        # A library is missing, or numpy is newer than an old TensorRT can bear.
        raise EngineError(
            f"the Python module tensorrt cannot be loaded ({error}); install TensorRT's libraries "
            'of the same version, or set inference.backend = "onnxruntime"'
        ) from error
    version = getattr(module, "__version__", None)
    if version is None:
        # An empty folder is a package as well: what a removal leaves that could not delete all.
        where = ", ".join(getattr(module, "__path__", ())) or "tensorrt"
        raise EngineError(
            f"{where} is not TensorRT, or what is left of it; delete it or install TensorRT again, "
            'or set inference.backend = "onnxruntime"'
        )
    if _numbers(version) < OLDEST:
        raise EngineError(
            f"TensorRT {version} is too old; alprd needs {OLDEST[0]}.{OLDEST[1]} or later"
        )
    return TensorRT(module)


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _without_place(message: str) -> str:
    """TensorRT begins with "1: [builder.cpp::build::620] Error Code 1: ..."."""
    place, bracket, rest = message.partition("] ")
    return rest.strip() if bracket and "[" in place and rest.strip() else message.strip()
