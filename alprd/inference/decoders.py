"""[decoder] of a manifest: what a network's outputs mean, for our own nets and for foreign ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from alprd.core.box_forms import BoxForm, Units
from alprd.core.decode_yolo import ANGLE, BATCH, CLASS, COLUMNS, CORNERS, CXCYWH, SCORE, SKIP, XYXY
from alprd.core.types import ALPHABET, PLATE_LABEL
from alprd.inference.section import Fraction, Section

IGNORED: Final = "ignore"
BACKGROUND: Final = "background"
VEHICLES: Final = ("car", "motorcycle", "bus", "truck", "van", "bicycle")
_NEVER: Final = 2.0  # no probability reaches it


class Detecting(Section):
    """What the decoders of all detectors share.

    `labels` are the model's own names, one per class in its order; `rename` says what each is
    called here, or "ignore". A class "background" counts for nothing.
    """

    labels: tuple[str, ...] = Field(min_length=1)
    rename: Mapping[str, str] = Field(default_factory=dict)
    score_threshold: Fraction = 0.4
    scores: Mapping[str, Fraction] = Field(default_factory=dict)
    nms_iou: Fraction = 0.5
    max_detections: int = Field(default=100, ge=1, le=1000)

    @model_validator(mode="after")
    def _labels(self) -> Detecting:
        for label in self.rename:
            if label not in self.labels:
                raise ValueError(f"rename.{label}: no such label; choose from {list(self.labels)}")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels holds a name twice; every class needs a name of its own")
        if PLATE_LABEL not in self.names:
            raise ValueError(
                f"labels must hold {PLATE_LABEL!r}: without plates nothing is read; if the model "
                f'has another name for them, add rename = {{ NAME = "{PLATE_LABEL}" }}'
            )
        known = (PLATE_LABEL, *VEHICLES)
        foreign = sorted({name for name in self.names if name is not None} - set(known))
        if foreign:
            raise ValueError(
                f"{foreign} are neither plates nor vehicles; say with rename which of "
                f'{list(known)} they are, or "{IGNORED}"'
            )
        for label in self.scores:
            if label not in self.names:
                choice = sorted({name for name in self.names if name is not None})
                raise ValueError(f"scores.{label}: no such label; choose from {choice}")
        return self

    @property
    def names(self) -> tuple[str | None, ...]:
        """What each class is called here; None for one that is left out."""
        told = (self.rename.get(label, label) for label in self.labels)
        return tuple(None if name in (IGNORED, BACKGROUND) else name for name in told)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The least score of each class, in the order of `labels`.

        One that is ignored still wins a cell that is its own; the background never does.
        """
        return tuple(
            _NEVER
            if self.rename.get(label, label) == BACKGROUND
            else self.scores.get(name or "", self.score_threshold)
            for label, name in zip(self.labels, self.names, strict=True)
        )


class DetectorOutputs(Section):
    """Names of the detector's output tensors; without corners a plate's box gives them."""

    boxes: str
    scores: str
    corners: str | None = None


class DetectorDecoder(Detecting):
    """Of a detector whose graph ends in boxes, scores and plate corners, in input pixels."""

    type: Literal["alprd-detector"]
    outputs: DetectorOutputs


class HeadOutputs(Section):
    """The name of a raw head's output."""

    predictions: str


class YoloDecoder(Detecting):
    """Of a raw YOLO head: one output with box and classes of every cell (`core.decode_yolo`).

    `layout` is NCA for (N, 4 + classes, A) and NAC for (N, A, 4 + classes).
    """

    type: Literal["yolo"]
    outputs: HeadOutputs
    layout: Literal["NCA", "NAC"] = "NCA"
    boxes: BoxForm = "cxcywh"
    units: Units = "pixels"
    objectness: bool = False
    activation: Literal["none", "sigmoid"] = "none"
    corners: Literal["none", "keypoints", "keypoints-visibility", "angle"] = "none"
    corner_order: tuple[int, int, int, int] = (0, 1, 2, 3)

    @model_validator(mode="after")
    def _ordered(self) -> YoloDecoder:
        if sorted(self.corner_order) != [0, 1, 2, 3]:
            raise ValueError(
                "corner_order must hold 0, 1, 2 and 3: which key point is the plate's top left, "
                "top right, bottom right and bottom left"
            )
        return self


class RowOutputs(Section):
    """The name of the output that holds the rows."""

    rows: str


class RowsDecoder(Detecting):
    """Of a YOLO whose graph suppresses duplicates itself: one row per object.

    `columns` says what each value of a row is; with a column "batch" the rows of all images stand
    together.
    """

    type: Literal["yolo-end-to-end"]
    outputs: RowOutputs
    columns: tuple[str, ...]
    units: Units = "pixels"
    nms_iou: Fraction = 1.0

    @model_validator(mode="after")
    def _columned(self) -> RowsDecoder:
        told = [column for column in self.columns if column != SKIP]
        foreign = sorted(set(told) - set(COLUMNS))
        if foreign:
            raise ValueError(f"columns: there is no {foreign}; choose from {list(COLUMNS)}")
        if len(set(told)) != len(told):
            raise ValueError(f'columns holds a name twice; what does not matter is "{SKIP}"')
        boxes = [form for form in (XYXY, CXCYWH) if set(form) <= set(told)]
        given = {*XYXY, *CXCYWH} & set(told)
        if len(boxes) != 1 or given != set(boxes[0]):
            raise ValueError(f"columns must hold all of {list(XYXY)}, or all of {list(CXCYWH)}")
        if SCORE not in told:
            raise ValueError(f'columns must hold "{SCORE}"')
        if CLASS not in told and len(self.labels) > 1:
            raise ValueError(f'columns must hold "{CLASS}": there are {len(self.labels)} labels')
        corners = set(CORNERS) & set(told)
        if corners and corners != set(CORNERS):
            raise ValueError(f"columns must hold all of {list(CORNERS)}, or none of them")
        if corners and ANGLE in told:
            raise ValueError(f'columns holds corners and "{ANGLE}"; either gives the corners')
        return self

    @property
    def together(self) -> bool:
        """Whether the rows of all images stand together."""
        return BATCH in self.columns


class SsdOutputs(Section):
    """Names of an SSD's outputs; `scores` are per class unless `classes` says which one it is."""

    boxes: str
    scores: str
    classes: str | None = None
    count: str | None = None


class SsdDecoder(Detecting):
    """Of SSD and SSDLite: boxes and scores (and classes) apart (`core.decode_ssd`).

    `labels` counts from the model's class 0, so a background class stands in it, too. `batched` is
    false where the outputs have no axis for the images (torchvision); then each is run by itself.
    """

    type: Literal["ssd"]
    outputs: SsdOutputs
    boxes: BoxForm = "xyxy"
    units: Units = "pixels"
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    batched: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> SsdDecoder:
        if self.outputs.classes is not None and self.activation == "softmax":
            raise ValueError(
                'activation "softmax" needs the scores of all classes; with outputs.classes there '
                'is one: use "none" or "sigmoid"'
            )
        return self


class ReaderOutputs(Section):
    """Names of the reader's output tensors; all but the characters are optional.

    Corners are x0 y0 .. x3 y3, clockwise from the plate's own top left, in parts of the crop's
    width and height from its top left; they may lie outside.
    """

    chars: str
    region: str | None = None
    quality: str | None = None
    corners: str | None = None


class Reading(Section):
    """What the decoders of all readers share.

    `alphabet` holds the characters of the classes in the model's order. The blank is either its
    index, where it is none of them, or the one of them that stands for it. Characters that no plate
    here has are declared: `rename` says which one they count as, `ignore` holds those that are left
    out of the text, and with `upper_case` small letters are capital ones. `margin_x` and `margin_y`
    are the fractions of the crop that lie outside the plate's corners on each side.
    """

    outputs: ReaderOutputs
    alphabet: str = ALPHABET
    blank: int | str = len(ALPHABET)
    ignore: str = ""
    rename: Mapping[str, str] = Field(default_factory=dict)
    upper_case: bool = False
    activation: Literal["none", "softmax", "log"] = "none"
    margin_x: float = Field(default=0.0, ge=0.0, lt=0.4)
    margin_y: float = Field(default=0.0, ge=0.0, lt=0.4)
    regions: tuple[str, ...] = ()
    min_quality: Fraction = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Reading:
        if not self.alphabet or len(set(self.alphabet)) != len(self.alphabet):
            raise ValueError("alphabet: every character must be there exactly once")
        if isinstance(self.blank, str) and (
            len(self.blank) != 1 or self.blank not in self.alphabet
        ):
            raise ValueError(
                f"blank = {self.blank!r} is no character of the alphabet; give one of it, or the "
                "index of a class that has no character"
            )
        absent = sorted({*self.ignore, *self.rename} - set(self.alphabet))
        if absent:
            raise ValueError(f"ignore or rename: {absent} are not in the alphabet; leave them out")
        foreign = sorted({name for name in self.meanings if name is not None} - set(ALPHABET))
        if foreign:
            raise ValueError(
                f"alphabet: {foreign} are not plate characters; a plate's text is made of A-Z and "
                "0-9. Say with rename which of them they count as, with ignore that they are left "
                "out, with upper_case = true that small letters count as capital ones (the blank "
                "needs no character: its index is the key blank)"
            )
        if isinstance(self.blank, int) and not 0 <= self.blank <= len(self.alphabet):
            raise ValueError(
                f"blank = {self.blank} lies outside the {len(self.alphabet) + 1} classes"
            )
        if (self.outputs.region is None) != (not self.regions):
            raise ValueError("outputs.region and regions belong together: give both or neither")
        return self

    @property
    def blank_class(self) -> int:
        """The blank's class."""
        return self.alphabet.index(self.blank) if isinstance(self.blank, str) else self.blank

    @property
    def meanings(self) -> tuple[str | None, ...]:
        """What each class counts as in a text; None for the blank and for what is left out."""
        told = [*map(self._meaning, self.alphabet)]
        if isinstance(self.blank, int):
            told.insert(self.blank, None)
        return tuple(told)

    def _meaning(self, char: str) -> str | None:
        if char == self.blank or char in self.ignore:
            return None
        told = self.rename.get(char, char)
        return told.upper() if self.upper_case else told


class SlotsDecoder(Reading):
    """Of a reader with one posterior per character position, left aligned.

    `slots` is needed only where the output is flat, (N, slots * classes).
    """

    type: Literal["slots"]
    slots: int | None = Field(default=None, ge=1, le=64)


class CtcDecoder(Reading):
    """Of a reader trained with CTC; `layout` names the axes of its output (`core.decode_ctc`)."""

    type: Literal["ctc"]
    layout: Literal["NCT", "NTC", "TNC"]
    blank: int | str


AnyDetectorDecoder = Annotated[
    DetectorDecoder | YoloDecoder | RowsDecoder | SsdDecoder, Field(discriminator="type")
]
AnyReaderDecoder = Annotated[SlotsDecoder | CtcDecoder, Field(discriminator="type")]
