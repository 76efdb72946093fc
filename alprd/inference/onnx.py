"""ONNX Runtime: the backend that runs on every machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort  # type: ignore[import-untyped,unused-ignore]
from numpy.typing import NDArray
from onnxruntime.capi import (  # type: ignore[import-untyped,unused-ignore]
    onnxruntime_pybind11_state as ort_state,
)

from alprd.inference.manifest import InputSpec
from alprd.inference.network import Outputs, Shape, describe_shape, of_first, shape_problem
from alprd.ports import EngineError, EngineUnavailable

# ONNX Runtime's exceptions have no common base of their own.
ORT_ERRORS: tuple[type[Exception], ...] = (
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NoSuchFile,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
    ort_state.EPFail,
)
# What memory, threads or a device failed at; the model itself may be sound.
_RUN_TIME_ERRORS: tuple[type[Exception], ...] = (ort_state.RuntimeException, ort_state.EPFail)
_ERRORS_ONLY = 3
_NUMBERS = ("float", "float16", "double", "int64", "int32", "uint8")
_TYPES = {"float32": "float", "float16": "float16", "uint8": "uint8"}


class OnnxNetwork:
    """One ONNX model in a session on the CPU; used by one thread."""

    def __init__(
        self,
        onnx: bytes,
        *,
        path: Path,
        spec: InputSpec,
        outputs: Mapping[str, Shape],
        max_batch: int,
        threads: int,
    ) -> None:
        """Load the model and check it against its manifest.

        Args:
            onnx: the model file's content.
            path: where it came from, for messages.
            spec: the input that the manifest promises.
            outputs: shape of every output that the decoder needs.
            max_batch: rows in one call, unless the model's own batch is fixed.
            threads: CPU threads; 0: one per core that this process may use.

        Raises:
            EngineError: the model cannot be loaded or contradicts its manifest.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.inter_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _ERRORS_ONLY
        # Spinning threads would keep the cores busy between frames.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        self._path = path
        try:
            self._session: Any = ort.InferenceSession(
                onnx, sess_options=options, providers=["CPUExecutionProvider"]
            )
        except _RUN_TIME_ERRORS as error:
            raise EngineUnavailable(
                f"{path} was not loaded by ONNX Runtime {ort.__version__}: {first_line(error)}; "
                "check the memory that is free"
            ) from error
        except ORT_ERRORS as error:
            raise EngineError(
                f"{path} cannot be loaded by ONNX Runtime {ort.__version__}: {first_line(error)}; "
                "export it again with a supported opset, weights inside the file"
            ) from error
        fixed = self._check_input(spec)
        self._fixed_batch = fixed is not None
        self.max_batch = fixed or max_batch
        self._input = spec.name
        self._outputs = dict(outputs)
        self._check_outputs(outputs)

    def run(self, rows: NDArray[Any], count: int) -> Outputs:
        """Outputs of the first `count` rows. Raises EngineError."""
        batch = rows if self._fixed_batch else rows[:count]
        try:
            results: list[NDArray[Any]] = self._session.run(
                list(self._outputs), {self._input: batch}
            )
        except ORT_ERRORS as error:
            kind = EngineUnavailable if isinstance(error, _RUN_TIME_ERRORS) else EngineError
            raise kind(
                f"{self._path} failed in ONNX Runtime {ort.__version__}: {first_line(error)}; "
                "lower max_batch in [inference] if memory is short, or export the model again"
            ) from error
        return {
            name: of_first(result, shape, count)
            for (name, shape), result in zip(self._outputs.items(), results, strict=True)
        }

    def _check_input(self, spec: InputSpec) -> int | None:
        """The model's batch size if it is fixed. Raises EngineError."""
        inputs = {each.name: each for each in self._session.get_inputs()}
        if list(inputs) != [spec.name]:
            raise EngineError(
                f"{self._path} has the inputs {sorted(inputs)}, its manifest names {spec.name!r}; "
                "correct input.name, or export the model with that one input"
            )
        found = inputs[spec.name]
        problem = shape_problem((None, *spec.shape), tuple(found.shape))
        if problem is not None:
            raise EngineError(
                f"{self._path}: input {spec.name!r} {problem}; correct layout, width, height or "
                "colour in [input] of the manifest"
            )
        if found.type != f"tensor({_TYPES[spec.type]})":
            taken = {f"tensor({theirs})": ours for ours, theirs in _TYPES.items()}.get(found.type)
            raise EngineError(
                f"{self._path}: input {spec.name!r} takes {found.type}, its manifest says "
                f"{spec.type}; "
                + (f'set type = "{taken}" in [input]' if taken else "export it with float32 input")
            )
        batch = found.shape[0]
        return batch if isinstance(batch, int) and batch > 0 else None

    def _check_outputs(self, wanted: Mapping[str, Shape]) -> None:
        found = {each.name: each for each in self._session.get_outputs()}
        for name, shape in wanted.items():
            if name not in found:
                raise EngineError(
                    f"{self._path} has no output {name!r}; it has "
                    + ", ".join(
                        f"{each.name!r} {describe_shape(tuple(each.shape))}"
                        for each in found.values()
                    )
                    + "; correct decoder.outputs in the manifest"
                )
            problem = shape_problem(shape, tuple(found[name].shape))
            if problem is not None:
                raise EngineError(
                    f"{self._path}: output {name!r} {problem}; correct [decoder] in the manifest"
                )
            if found[name].type not in {f"tensor({kind})" for kind in _NUMBERS}:
                raise EngineError(
                    f"{self._path}: output {name!r} is {found[name].type}; export the model with "
                    "float32 outputs"
                )


def first_line(error: Exception) -> str:
    """What an error says, without the rest."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
