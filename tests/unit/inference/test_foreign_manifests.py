"""[decoder] of a foreign model is complete and right, or refused with the key and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from alprd.inference.decoders import AnyDetectorDecoder, AnyReaderDecoder
from alprd.inference.manifest import InputSpec

DETECTORS: TypeAdapter[Any] = TypeAdapter(AnyDetectorDecoder)
READERS: TypeAdapter[Any] = TypeAdapter(AnyReaderDecoder)
YOLO = {"type": "yolo", "outputs": {"predictions": "o"}, "labels": ["plate"]}
ROWS = {
    "type": "yolo-end-to-end",
    "outputs": {"rows": "o"},
    "columns": ["x1", "y1", "x2", "y2", "score", "class"],
    "labels": ["plate"],
}
SSD = {"type": "ssd", "outputs": {"boxes": "b", "scores": "s"}, "labels": ["background", "plate"]}
CTC = {"type": "ctc", "outputs": {"chars": "c"}, "layout": "NCT", "alphabet": "AB1-", "blank": "-"}
SLOTS = {"type": "slots", "outputs": {"chars": "c"}, "alphabet": "AB1_", "blank": "_"}


def refusal(kind: TypeAdapter[Any], decoder: Mapping[str, Any]) -> str:
    with pytest.raises(ValidationError) as refused:
        kind.validate_python(decoder)
    return str(refused.value)


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        ({**YOLO, "labels": ["licence"]}, 'add rename = { NAME = "plate" }'),
        ({**YOLO, "labels": ["plate", "person"]}, "['person'] are neither plates nor vehicles"),
        ({**YOLO, "rename": {"Plate": "plate"}}, "rename.Plate: no such label"),
        ({**YOLO, "corner_order": [0, 1, 2, 2]}, "corner_order must hold 0, 1, 2 and 3"),
        ({**YOLO, "layout": "NHWC"}, "Input should be 'NCA' or 'NAC'"),
        ({**YOLO, "activation": "softmax"}, "Input should be 'none' or 'sigmoid'"),
        ({**ROWS, "columns": ["x1", "y1", "x2", "score"]}, "columns must hold all of"),
        ({**ROWS, "columns": ["x1", "y1", "x2", "y2"]}, 'columns must hold "score"'),
        ({**ROWS, "columns": ["x1", "y1", "x2", "y2", "conf"]}, "there is no ['conf']"),
        ({**ROWS, "columns": [*ROWS["columns"], "w"]}, "columns must hold all of"),
        ({**ROWS, "columns": [*ROWS["columns"], "score"]}, "columns holds a name twice"),
        ({**ROWS, "columns": [*ROWS["columns"], "x_tl"]}, "or none of them"),
        (
            {**ROWS, "columns": ROWS["columns"][:5], "labels": ["plate", "car"]},
            'columns must hold "class": there are 2 labels',
        ),
        (
            {
                **SSD,
                "outputs": {"boxes": "b", "scores": "s", "classes": "c"},
                "activation": "softmax",
            },
            'activation "softmax" needs the scores of all classes',
        ),
    ],
)
def test_a_wrong_decoder_of_a_detector_is_refused(decoder: dict[str, Any], message: str) -> None:
    assert message in refusal(DETECTORS, decoder)


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        ({k: v for k, v in CTC.items() if k != "blank"}, "blank\n  Field required"),
        ({**CTC, "blank": "_"}, "blank = '_' is no character of the alphabet"),
        ({**CTC, "blank": "-1"}, "blank = '-1' is no character of the alphabet"),
        ({**CTC, "alphabet": "AB1", "blank": 9}, "blank = 9 lies outside the 4 classes"),
        ({**CTC, "alphabet": "ABab-"}, "with upper_case = true that small letters"),
        ({**CTC, "alphabet": "AB·-"}, "['·'] are not plate characters"),
        ({**CTC, "ignore": "."}, "['.'] are not in the alphabet"),
        ({**CTC, "rename": {"A": "AB"}}, "['AB'] are not plate characters"),
        ({**CTC, "rename": {"A": ""}}, "[''] are not plate characters"),
        ({**SLOTS, "slots": 0}, "greater than or equal to 1"),
        ({**SLOTS, "layout": "NCT"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_decoder_of_a_reader_is_refused(decoder: dict[str, Any], message: str) -> None:
    assert message in refusal(READERS, decoder)


def test_labels_are_called_what_rename_says_and_the_background_never_counts() -> None:
    decoder = DETECTORS.validate_python(
        {
            **SSD,
            "labels": ["background", "vehicle registration plate", "lorry", "person"],
            "rename": {
                "vehicle registration plate": "plate",
                "lorry": "truck",
                "person": "ignore",
            },
            "scores": {"truck": 0.7},
        }
    )
    assert decoder.names == (None, "plate", "truck", None)
    assert decoder.thresholds[0] > 1.0  # no probability reaches it
    assert decoder.thresholds[1:] == (0.4, 0.7, 0.4)


def test_characters_count_as_declared() -> None:
    decoder = READERS.validate_python(
        {**CTC, "alphabet": "aÄ-·1", "ignore": "·", "rename": {"Ä": "A"}, "upper_case": True}
    )
    assert decoder.meanings == ("A", "A", None, None, "1")
    assert decoder.blank_class == 2


def test_a_network_for_pixels_as_they_are_may_not_be_normalised() -> None:
    plain = {"name": "x", "type": "uint8", "layout": "NHWC", "colour": "RGB"}
    size = {"width": 140, "height": 70, "mean": [0, 0, 0], "std": [1, 1, 1]}
    assert InputSpec.model_validate({**plain, **size, "scale": 1.0}).type == "uint8"
    with pytest.raises(ValidationError, match=r"normalises by itself: set scale = 1.0"):
        InputSpec.model_validate({**plain, **size, "scale": 1 / 255})
