"""What an ONNX file is, and what a manifest for it still has to say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped,unused-ignore]
from numpy.typing import NDArray

from alprd.inference.guessing import Guess, Size, Tensor, guess, input_layout
from alprd.inference.network import describe_shape
from alprd.inference.onnx import ORT_ERRORS, first_line
from alprd.inference.onnx_file import OnnxFacts, onnx_facts
from alprd.ports import EngineError

_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
_OPSET_EVERYWHERE = 17  # what the parser of TensorRT 8.5 knows, the oldest that alprd runs on
_OPSET_NEWEST = 25  # TensorRT 11.5
_OPSET_OLDEST = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found.

    Attributes:
        facts: what the file says of itself.
        sha256: of the file.
        inputs, outputs: as ONNX Runtime sees them.
        layout: of the input: "NCHW" or "NHWC", channels, width, height; None if it takes no
            pictures.
        guess: the decoder that may fit; None if none does.
        notes: for people: what TensorRT makes of it, and what to export otherwise.
        problems: why alprd cannot run it as it is.
    """

    facts: OnnxFacts
    sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    layout: tuple[str, int, Size, Size] | None
    guess: Guess | None
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def inspect_model(onnx: bytes, path: Path, task: str | None = None) -> Inspection:
    """Look at a model file.

    Args:
        onnx: its content.
        path: where it came from, for messages.
        task: "detect" or "read", if it is known.

    Raises:
        EngineError: it is no ONNX file, or ONNX Runtime cannot load it.
    """
    facts = onnx_facts(onnx, str(path))
    session = _session(onnx, path, facts)
    inputs = tuple(_tensor(each) for each in session.get_inputs())
    outputs = tuple(_tensor(each) for each in session.get_outputs())
    layout = input_layout(inputs[0].shape) if len(inputs) == 1 else None
    problems = tuple(_problems(inputs, layout))
    found = None
    if layout is not None and not problems:
        found = guess(_measured(session, inputs[0], outputs), (layout[2], layout[3]), task)
    if found is not None:
        _probe(session, inputs[0], found)
    return Inspection(
        facts=facts,
        sha256=hashlib.sha256(onnx).hexdigest(),
        inputs=inputs,
        outputs=outputs,
        layout=layout,
        guess=found,
        notes=tuple(_notes(facts, inputs, outputs)),
        problems=problems,
    )


def _session(onnx: bytes, path: Path, facts: OnnxFacts) -> Any:  # noqa: ANN401 -- it has no types
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(onnx, sess_options=options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        remedy = "export it again with a supported opset, weights inside the file"
        if facts.foreign:
            remedy = (
                f"its operators {', '.join(facts.foreign)} are not ONNX's own: export it without "
                "them (of TensorRT's own suppression of duplicates: export the raw head, alprd "
                "suppresses them itself)"
            )
        raise EngineError(
            f"{path} cannot be loaded by ONNX Runtime {ort.__version__}: {first_line(error)}; "
            f"{remedy}"
        ) from error


def _tensor(found: Any) -> Tensor:  # noqa: ANN401 -- ONNX Runtime has no types
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in found.shape)
    return Tensor(name=found.name, type=found.type, shape=shape)


def _problems(inputs: Sequence[Tensor], layout: tuple[str, int, Size, Size] | None) -> list[str]:
    """Why alprd cannot run it as it is, each with the remedy."""
    if len(inputs) != 1:
        names = ", ".join(repr(each.name) for each in inputs)
        return [f"it has {len(inputs)} inputs ({names}); export it with one, the pictures"]
    told = inputs[0]
    if layout is None:
        return [
            f"its input {told.name!r} has shape {describe_shape(told.shape)}, alprd gives (N, 1 or "
            "3, height, width) or (N, height, width, 1 or 3); export it with an axis for the batch "
            "(torchvision's detectors need a wrapper: see engines/README.md)"
        ]
    if told.type not in _TYPES:
        return [
            f"its input {told.name!r} takes {told.type}; export it with float32, float16 or uint8"
        ]
    return []


def input_type(told: Tensor) -> str:
    """As [input] calls it."""
    return _TYPES.get(told.type, "float32")


def _notes(facts: OnnxFacts, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[str]:
    notes = []
    if facts.opset > _OPSET_NEWEST or facts.opset < _OPSET_OLDEST:
        notes.append(
            f"TensorRT reads opsets {_OPSET_OLDEST} to {_OPSET_NEWEST} at most: export with opset "
            f"{_OPSET_EVERYWHERE}"
        )
    elif facts.opset > _OPSET_EVERYWHERE:
        notes.append(
            f"TensorRT 8.5 (JetPack 5) reads opsets up to {_OPSET_EVERYWHERE}; for it export with "
            f"opset {_OPSET_EVERYWHERE}"
        )
    else:
        notes.append(f"opset {facts.opset} is read by every TensorRT that alprd runs on (8.5 on)")
    if facts.foreign:
        notes.append(
            f"operators that are not ONNX's own ({', '.join(facts.foreign)}): TensorRT builds it "
            "only where it has a plugin of that name"
        )
    if "NonMaxSuppression" in facts.operators:
        notes.append(
            "NonMaxSuppression: TensorRT runs it, but how many rows come out shows only then, "
            "which costs a wait; TensorRT-RTX has none. The raw head (without it) is faster: alprd "
            "suppresses duplicates itself"
        )
    if {"QuantizeLinear", "DequantizeLinear"} & set(facts.operators):
        notes.append(
            "Q/DQ nodes: name the file in [variants.int8] too, for engines of precision int8"
        )
    if any("int64" in each.type for each in outputs):
        notes.append("int64 outputs: TensorRT before 10 gives int32 instead; alprd takes both")
    if any("uint8" in each.type for each in inputs):
        notes.append("uint8 input: for TensorRT it becomes float32, which its own cast passes")
    if any("float16" in each.type for each in inputs):
        notes.append(
            "float16 input: TensorRT from 10.12 on needs a float32 one (half precision comes from "
            "[variants.fp16])"
        )
    for each in inputs:
        if each.shape and each.shape[0] is not None:
            notes.append(
                f"its batch is fixed at {each.shape[0]}: larger ones are split; with a dynamic "
                "batch axis several cameras share one call"
            )
        if any(size is None for size in each.shape[1:]):
            notes.append(
                "the size of its input is not fixed: alprd runs it at the one that [input] says; "
                "an export with a fixed size is faster"
            )
    return notes


def _measured(
    session: Any,  # noqa: ANN401 -- ONNX Runtime has no types
    told: Tensor,
    outputs: Sequence[Tensor],
) -> list[Tensor]:
    """The outputs with the sizes that two batches show; exports often leave all of them open."""
    if all(None not in each.shape[1:] for each in outputs):
        return list(outputs)
    one, other = _run(session, told, 1), _run(session, told, 2)
    if not one or not other:
        return list(outputs)
    return [
        Tensor(name=each.name, type=each.type, shape=_common(one[each.name], other[each.name]))
        for each in outputs
    ]


def _common(one: NDArray[Any], other: NDArray[Any]) -> tuple[Size, ...]:
    """Sizes that two results share; None where they differ, and where there is nothing."""
    return tuple(
        first if first == second and first > 0 else None
        for first, second in zip(one.shape, other.shape, strict=True)
    )


def _run(
    session: Any,  # noqa: ANN401 -- ONNX Runtime has no types
    told: Tensor,
    batch: int,
) -> Mapping[str, NDArray[Any]]:
    """The outputs for so many pictures of noise; none where that cannot be run."""
    if None in told.shape[1:]:
        return {}
    shape = [told.shape[0] or batch, *(size or 1 for size in told.shape[1:])]
    noise = np.random.default_rng(batch).random(shape)
    if input_type(told) == "uint8":
        noise = noise * 255
    names = [each.name for each in session.get_outputs()]
    try:
        results = session.run(names, {told.name: noise.astype(input_type(told))})
    except ORT_ERRORS:
        return {}  # the self-test will tell
    return dict(zip(names, (np.asarray(result) for result in results), strict=True))


def _probe(session: Any, told: Tensor, found: Guess) -> None:  # noqa: ANN401 -- as above
    """Run the network on noise, and see from its values what they are."""
    values = _run(session, told, 1)
    outputs = found.decoder["outputs"]
    if values and isinstance(outputs, Mapping):
        _tell(found, {key: values[name] for key, name in outputs.items()})


def _tell(found: Guess, values: Mapping[str, NDArray[Any]]) -> None:
    """Put what values on noise show into the guess."""
    if "chars" in values:
        layout = found.decoder.get("layout")
        chars = values["chars"].astype(np.float64)
        if layout == "NCT":
            chars = chars.swapaxes(1, 2)
        number = found.decoder.get("slots")
        if isinstance(number, int):
            chars = chars.reshape(len(chars), number, -1)
        found.decoder["activation"] = _activation(chars)
    elif "predictions" in values:
        head = values["predictions"].astype(np.float64)
        cells = head.swapaxes(1, 2) if found.decoder.get("layout") == "NCA" else head
        found.decoder["activation"] = "none" if _within(cells[..., 4:]) else "sigmoid"
        found.decoder["units"] = _units(cells[..., :4])
    elif found.decoder["type"] == "ssd":
        scores = values["scores"].astype(np.float64)
        if "classes" not in values:
            found.decoder["activation"] = "none" if _within(scores) else "softmax"
        boxes = values["boxes"]
        if boxes.size:
            found.unknown.pop("units", None)
            found.decoder["units"] = _units(boxes)


def _activation(chars: NDArray[np.float64]) -> str:
    if _within(chars) and bool((abs(chars.sum(axis=-1) - 1.0) < 0.02).all()):
        return "none"
    logarithms = bool((chars <= 0.02).all())
    if logarithms and bool((abs(np.exp(chars).sum(axis=-1) - 1.0) < 0.02).all()):
        return "log"
    return "softmax"


def _within(values: NDArray[Any]) -> bool:
    return bool(values.size) and bool(((values >= -0.02) & (values <= 1.02)).all())


def _units(boxes: NDArray[Any]) -> str:
    # A box of a network that counts in pixels ends beyond the second one somewhere.
    return "fraction" if boxes.size and float(np.nanmax(np.abs(boxes))) <= 2.0 else "pixels"
