"""Which decoder fits a network, from the names, types and shapes of its inputs and outputs.

A guess says what it rests on; what shapes cannot show (normalisation, alphabet, labels) is never
guessed but listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from alprd.core.types import ALPHABET

Size = int | None
"""None where it is not fixed."""

_READER_MAX = (400, 160)
"""Inputs of detectors are larger than this (width, height)."""
_SLOTS_MAX = 16
_ROWS_MAX = 1000
_CLASSES = len(ALPHABET) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output as ONNX Runtime sees it."""

    name: str
    type: str
    shape: tuple[Size, ...]


@dataclass(slots=True, kw_only=True)
class Guess:
    """A decoder that may fit.

    Attributes:
        task: "detect" or "read".
        reason: what the guess rests on.
        decoder: keys of [decoder] that follow from the shapes.
        unknown: keys that do not, each with what it is about and an example in TOML.
    """

    task: str
    reason: str
    decoder: dict[str, object]
    unknown: dict[str, tuple[str, str]] = field(default_factory=dict)


def input_layout(shape: Sequence[Size]) -> tuple[str, int, Size, Size] | None:
    """Layout, channels, width and height of a (N, ...) input; None if it is no picture's."""
    if len(shape) != 4:
        return None
    for layout, channel, height, width in (("NCHW", 1, 2, 3), ("NHWC", 3, 1, 2)):
        channels = shape[channel]
        if channels in (1, 3):
            return layout, channels, shape[width], shape[height]
    return None


def guess(
    outputs: Sequence[Tensor], size: tuple[Size, Size], task: str | None = None
) -> Guess | None:
    """The decoder that fits best, or None.

    Args:
        outputs: of the network.
        size: (width, height) of its input.
        task: "detect" or "read", if it is known.
    """
    width, height = size
    if task is None:
        small = (
            width is not None
            and height is not None
            and width <= _READER_MAX[0]
            and height <= _READER_MAX[1]
        )
        task = "read" if small else "detect"
    return _reader(outputs) if task == "read" else _detector(outputs)


def _detector(outputs: Sequence[Tensor]) -> Guess | None:
    # TensorFlow's detection API also gives what its suppression was given, under such names.
    outputs = [each for each in outputs if not each.name.startswith("raw_")] or outputs
    boxes = [each for each in outputs if each.shape and each.shape[-1] == 4]
    corners = [each for each in outputs if each.shape and each.shape[-1] == 8]
    if len(boxes) == 1 and len(outputs) > 1:
        others = [each for each in outputs if each is not boxes[0]]
        if corners and len(others) == 2:
            scores = next(each for each in others if each is not corners[0])
            return _own(boxes[0], scores, corners[0])
        return _ssd(boxes[0], others)
    if len(outputs) == 1:
        return _yolo(outputs[0])
    # Ultralytics' segmentation heads and old exports add outputs that nothing here needs.
    heads = [each for each in outputs if len(each.shape) == 3]
    return _yolo(heads[0]) if len(heads) == 1 else None


def _labels(count: Size) -> tuple[str, str]:
    if count is None:
        return "names of the classes, in the model's order", 'labels = ["plate"]'
    names = ", ".join(['"plate"'] + [f'"class{k}"' for k in range(1, min(count, 3))])
    more = ", ..." if count > 3 else ""
    return (
        f"names of the {count} classes, in the model's order; with rename say which is a plate",
        f"labels = [{names}{more}]",
    )


def _own(boxes: Tensor, scores: Tensor, corners: Tensor) -> Guess:
    return Guess(
        task="detect",
        reason="boxes, scores and corners of cells as outputs of their own",
        decoder={
            "type": "alprd-detector",
            "outputs": {"boxes": boxes.name, "scores": scores.name, "corners": corners.name},
        },
        unknown={"labels": _labels(scores.shape[-1] if len(scores.shape) == 3 else None)},
    )


def _yolo(output: Tensor) -> Guess | None:
    shape = output.shape
    if len(shape) == 2 and shape[1] in (6, 7):
        columns = ["batch", "x1", "y1", "x2", "y2", "class", "score"]
        known = shape[1] == 7
        found = Guess(
            task="detect",
            reason=f"rows of {shape[1]} values, as many as there are objects: duplicates are "
            "suppressed inside",
            decoder={"type": "yolo-end-to-end", "outputs": {"rows": output.name}},
            unknown={"labels": _labels(None)},
        )
        found.unknown["columns"] = (
            "what each value of a row is; check the order of class and score",
            f"columns = {_toml(columns if known else columns[1:])}",
        )
        return found
    if len(shape) != 3:
        return None
    _, first, second = shape
    few = second is not None and 6 <= second <= 15
    if few and (first is None or first <= _ROWS_MAX) and first != second:
        return _fixed_rows(output, second or 0)
    if first is None or second is None or first == second:
        # One of them grows with the input: the other one holds the values.
        values, last = (first, True) if second is None else (second, False)
        if values is None:
            return None
    else:
        values, last = (first, True) if first < second else (second, False)
    if values < 5:
        return None
    decoder: dict[str, object] = {
        "type": "yolo",
        "outputs": {"predictions": output.name},
        "layout": "NCA" if last else "NAC",
    }
    found = Guess(
        task="detect",
        reason=f"{values} values of many cells: a raw YOLO head"
        + (
            f" (4 for the box, {values - 4} classes)"
            if last
            else (
                f" (4 for the box, then {values - 5} classes after an objectness, as YOLO v5 has "
                f"it, or {values - 4} without)"
            )
        ),
        decoder=decoder,
    )
    if last:
        found.unknown["labels"] = _labels(values - 4)
        if values >= 13:
            found.unknown["corners"] = (
                'only if the head gives four key points or an angle: then it has fewer classes ("'
                'keypoints" takes 8 of the values, "keypoints-visibility" 12, "angle" 1)',
                'corners = "keypoints-visibility"',
            )
    else:
        found.unknown["objectness"] = (
            "whether the fifth value weighs all classes (YOLO v5, v7)",
            "objectness = true",
        )
        found.unknown["labels"] = _labels(values - 5)
    return found


def _fixed_rows(output: Tensor, values: int) -> Guess:
    columns = ["x1", "y1", "x2", "y2", "score", "class"] + ["skip"] * (values - 6)
    if values == 7:
        columns[6] = "angle"
    return Guess(
        task="detect",
        reason=f"a table of rows of {values} values for each image: duplicates are suppressed "
        "inside, or there are none",
        decoder={"type": "yolo-end-to-end", "outputs": {"rows": output.name}},
        unknown={
            "columns": (
                "what each value of a row is; check the order of class and score",
                f"columns = {_toml(columns)}",
            ),
            "labels": _labels(None),
        },
    )


def _ssd(boxes: Tensor, others: Sequence[Tensor]) -> Guess | None:
    lead = boxes.shape[:-1]
    if len(lead) == 3 and lead[2] == 1:  # one box for all classes, of a converted Darknet model
        lead = lead[:2]
    batched = len(lead) == 2
    per_class = [each for each in others if len(each.shape) == len(lead) + 1]
    single = [each for each in others if len(each.shape) == len(lead)]
    names = {"boxes": boxes.name}
    classes: Size = None
    counts = [each for each in others if "num" in each.name.lower()]
    single = [each for each in single if each not in counts]
    told = [
        each
        for each in single
        if "int" in each.type or any(part in each.name.lower() for part in ("class", "label"))
    ]
    # TensorFlow's detection API also says which anchors they came from.
    scores = [
        each for each in single if each not in told and not each.name.lower().endswith("indices")
    ]
    if told and scores:
        names["scores"], names["classes"] = scores[0].name, told[0].name
        if counts:
            names["count"] = counts[0].name
        reason = "boxes, scores and classes of objects: an SSD (or another detector) that is whole"
    elif per_class:
        names["scores"] = per_class[0].name
        classes = per_class[0].shape[-1]
        reason = "boxes and scores per class as outputs of their own: an SSD"
    else:
        return None
    decoder: dict[str, object] = {"type": "ssd", "outputs": names}
    if not batched:
        decoder["batched"] = False
    return Guess(
        task="detect",
        reason=reason,
        decoder=decoder,
        unknown={
            "labels": (
                'names of all classes from 0 on; most SSDs have "background" first',
                'labels = ["background", "plate"]'
                if classes in (None, 2)
                else f'labels = ["background", "plate", ...]   # {classes} names',
            ),
            "boxes": (
                'order of a box: "xyxy" (PyTorch), "yxyx" (TensorFlow), "cxcywh", "xywh"',
                'boxes = "xyxy"',
            ),
            "units": (
                'of boxes: "pixels" of the input, or "fraction" of it (TensorFlow, pytorch-ssd)',
                'units = "pixels"',
            ),
        },
    )


def _reader(outputs: Sequence[Tensor]) -> Guess | None:
    found: list[Guess] = []
    for output in outputs:
        one = _chars(output)
        if one is not None:
            found.append(one)
    # The characters have more values than a region or a quality beside them.
    return max(found, key=lambda each: "slots" not in each.decoder, default=None)


def _chars(output: Tensor) -> Guess | None:
    shape = output.shape
    decoder: dict[str, object] = {"outputs": {"chars": output.name}}
    if len(shape) == 2 and shape[1] is not None:
        number, rest = divmod(shape[1], _CLASSES)
        if rest or not 4 <= number <= _SLOTS_MAX:
            return None
        decoder.update(type="slots", slots=number)
        return _alphabet(f"{shape[1]} values are {number} slots", decoder, _CLASSES)
    if len(shape) != 3:
        return None
    batch, first, second = shape
    if first == 1 or (first is None and batch is not None and batch > 1):
        decoder.update(type="ctc", layout="TNC")
        reason = f"{batch} columns first, then the batch: a CTC reader such as CRNN"
        classes = second
    elif first is not None and second is not None and first > second:
        decoder.update(type="ctc", layout="NCT")
        reason = f"{second} columns, the classes before them: a CTC reader such as LPRNet"
        classes = first
    elif first is not None and first <= _SLOTS_MAX:
        decoder.update(type="slots")
        reason, classes = f"{first} slots", second
    else:
        decoder.update(type="ctc", layout="NTC")
        reason, classes = f"{first or 'many'} columns: a CTC reader", second
    return _alphabet(reason, decoder, classes)


def _alphabet(reason: str, decoder: dict[str, object], classes: Size) -> Guess:
    number = "the" if classes is None else f"the {classes}"
    return Guess(
        task="read",
        reason=reason if classes is None else f"{reason}, {classes} classes",
        decoder=decoder,
        unknown={
            "alphabet": (
                f"characters of {number} classes in the model's order (the blank is one of them, "
                "or its index is the key blank)",
                f'alphabet = "{ALPHABET}_"',
            ),
            "blank": (
                "the character or the index that stands for nothing; LPRNet has it last, CRNN "
                "first",
                'blank = "_"',
            ),
        },
    )


def _toml(values: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"
