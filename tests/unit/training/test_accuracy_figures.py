"""What the accuracy table counts, and how."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is needed to look at pictures")
from alprd.core.types import Detection

BOXES = "image,split,class,x,y,w,h,text,lines,quality,region,script\n"
PLATE, AWAY = (100.0, 100.0, 160.0, 120.0), (300.0, 300.0, 360.0, 320.0)


def module(name: str) -> ModuleType:
    return importlib.import_module(f"engines.training.accuracy_{name}")


def detection(box: tuple[float, float, float, float], label: str = "plate") -> Detection:
    return Detection(label=label, score=0.9, box=box)


def plate(**given: Any) -> Any:
    values = {"box": PLATE, "text": "B123ABC", "quality": "good", "script": "latin"}
    return module("data").Plate(**{**values, **given})


def said(text: str, confidence: float = 0.9, region: str = "") -> Any:
    return module("models").Published(
        text=text,
        confidence=confidence,
        region=region,
        region_confidence=confidence if region else 0.0,
        guess=region,
    )


def sighting(*boxes: Any, texts: tuple[str, ...] = (), **picture: Any) -> Any:
    values = {"path": "plates-ro/a.jpg", "set_name": "plates-ro", "plates": [plate()]}
    return module("detect").Sighting(
        picture=module("data").Picture(**{**values, **picture}),
        plates=[detection(box) for box in boxes],
        vehicles=[],
        said=[said(text) for text in texts],
    )


def reading(seen: Any, *, near: bool = True, **of: Any) -> Any:
    nothing = module("models").Published()
    return module("read").Reading(
        set_name="plates-ro", path="plates-ro/a.jpg", plate=plate(**of), seen=seen, near=near,
        crop=seen or nothing, plain="", box=nothing,
    )  # fmt: skip


# --- data


def test_only_val_pictures_are_read_with_their_judged_places(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text(
        BOXES
        + "plates-ro/a.jpg,val,plate,100,100,60,20,B123ABC,1,good,RO,latin\n"
        + "plates-ro/a.jpg,val,notplate,5,6,7,8,,,,,\n"
        + "vehicles-street/c.jpg,val,taxi,1,2,3,4,,,,,\n"
        + "plates-ro/b.jpg,train,plate,100,100,60,20,B123ABC,1,good,RO,latin\n"
    )
    judged = tmp_path / "judged.csv"
    judged.write_text(
        "image,split,x1,y1,x2,y2,verdict\nplates-ro/a.jpg,val,1,2,3,4,unsure\n"
        "plates-ro/b.jpg,train,1,2,3,4,plate\n"
    )
    first, second = module("data").read_pictures(tmp_path, [judged])
    assert (first.path, second.path) == ("plates-ro/a.jpg", "vehicles-street/c.jpg")
    assert first.plates[0].box == PLATE
    assert first.plates[0].readable
    assert first.judged == [("notplate", (5, 6, 12, 14)), ("unsure", (1, 2, 3, 4))]
    assert second.vehicles == [("taxi", (1, 2, 4, 6))]


def test_missing_photographs_are_an_error_that_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(module("data").DataMissingError, match="--data"):
        module("data").read_pictures(tmp_path)


@pytest.mark.parametrize(
    "unknown", [{"text": "B12?ABC"}, {"quality": "partial"}, {"script": "other"}]
)
def test_a_plate_that_nobody_could_read_whole_is_not_read(unknown: dict[str, str]) -> None:
    assert not plate(**unknown).readable


# --- the detector's figures


def test_a_plate_counts_as_found_from_half_an_overlap_on() -> None:
    half, less = (100.0, 100.0, 130.0, 120.0), (100.0, 100.0, 129.0, 120.0)
    assert module("detect").recall([sighting(half)], vetoed=False) == (1, 1)
    assert module("detect").recall([sighting(less)], vetoed=False) == (0, 1)


def test_a_plate_narrower_than_forty_pixels_is_not_wanted() -> None:
    small = plate(box=(100.0, 100.0, 139.9, 120.0))
    assert module("detect").recall([sighting(plates=[small])], vetoed=False) == (0, 0)


def test_a_plate_that_the_reader_refuses_is_not_found_after_the_veto() -> None:
    refused = sighting(PLATE, texts=("",))
    assert module("detect").recall([refused], vetoed=True) == (0, 1)
    assert module("detect").recall([refused], vetoed=False) == (1, 1)


def test_a_detection_on_a_judged_or_doubtful_plate_is_not_false() -> None:
    for verdict in ("plate", "unsure"):
        assert not list(module("detect").false_plates([sighting(AWAY, judged=[(verdict, AWAY)])]))


def test_a_false_plate_says_whether_somebody_looked_there() -> None:
    judged = [("notplate", AWAY)]
    (looked_at,) = module("detect").false_plates([sighting(PLATE, AWAY, judged=judged)])
    (unseen,) = module("detect").false_plates([sighting(PLATE, AWAY)])
    assert looked_at.looked_at
    assert not unseen.looked_at


def test_the_readers_veto_takes_false_plates_away() -> None:
    figures = module("detect").plate_figures([sighting(PLATE, AWAY, texts=("B123ABC", ""))], "d")
    values = {figure.key: figure.value for figure in figures}
    assert values["d/false/all"] == 1.0
    assert values["d/vetoed false/all"] == 0.0
    assert values["d/recall/all"] == values["d/vetoed recall/all"] == 1.0


def test_vehicles_are_counted_by_class_and_without_it() -> None:
    picture = module("data").Picture(
        path="vehicles-street/a.jpg", set_name="vehicles-street", vehicles=[("taxi", AWAY)]
    )
    seen = module("detect").Sighting(
        picture=picture, plates=[], vehicles=[detection(AWAY, "truck")]
    )
    values = {f.key: f.value for f in module("detect").vehicle_figures([seen], "d")}
    assert values["d/AP50 car/vehicles-street"] == 0.0
    assert values["d/AP50 any class/vehicles-street"] == 1.0


# --- the reader's figures


def test_o_and_zero_i_and_one_count_as_equal_only_in_the_second_figure() -> None:
    values = {f.key: f.value for f in module("read").read_figures([reading(said("BI23A8C"))])}
    assert module("read").same_text("BI23ABC", "B123ABC")
    assert values["exact good/plates-ro"] == values["equal good/plates-ro"] == 0.0
    values = {f.key: f.value for f in module("read").read_figures([reading(said("BI23ABC"))])}
    assert values["exact good/plates-ro"] == 0.0
    assert values["equal good/plates-ro"] == 1.0


def test_end_to_end_wants_the_detection_and_the_text_of_plates_wide_enough() -> None:
    wide = (0.0, 0.0, 64.0, 20.0)
    readings = [
        reading(said("B123ABC"), box=wide),
        reading(None, box=wide),
        reading(said("B123ABC"), box=(0.0, 0.0, 63.9, 20.0)),
    ]
    figures = {figure.key: figure for figure in module("read").end_to_end_figures(readings)}
    assert (figures["end to end/all"].value, figures["end to end/all"].cases) == (0.5, 2)


def test_what_is_published_wrong_is_counted_from_the_daemons_least_confidence_on() -> None:
    readings = [reading(said("WRONG", 0.5)), reading(said("WRONG", 0.49)), reading(None)]
    readings.append(reading(said("B123ABC", 0.5)))
    values = {figure.key: figure.value for figure in module("read").end_to_end_figures(readings)}
    assert values["published right/all"] == values["published wrong/all"] == 0.25


@pytest.mark.parametrize(
    ("seen", "near", "kind"),
    [
        (None, False, "missed by the detector"),
        (None, True, "box too far off (IoU < 0.5)"),
        ("", True, "refused by the reader"),
        ("B123AB", True, "wrong length"),
        ("8I23ABC", True, "look-alike characters only"),
        ("X123ABC", True, "other characters, blurred, dark or small"),
        ("B123ABC", True, ""),
    ],
)
def test_every_error_has_one_kind(seen: str | None, near: bool, kind: str) -> None:
    given = None if seen is None else said(seen)
    assert module("read").kind_of_error(reading(given, near=near)) == kind


def test_calibration_error_is_the_mean_gap_between_what_is_said_and_what_is_right() -> None:
    readings = [reading(said("B123ABC", 0.95)), reading(said("WRONG", 0.95))]
    figure = module("read").confidence_figures(readings)[0]
    assert figure.value == pytest.approx(0.45)
    assert module("read").confidence_table(readings) == [(0.9, 1.0, 2, pytest.approx(0.95), 0.5)]


@pytest.mark.parametrize(
    ("found", "label", "right"),
    [
        ("RO", "RO", True),
        ("US-OH", "US-CA", False),
        ("US", "US-CA", False),
        ("US-OH", "US", True),
        ("US", "US-AK", True),
        ("US-OH", "US-AK", True),
        ("unknown", "KW", True),
        ("", "KW", True),
        ("RO", "KW", False),
    ],
)
def test_a_region_is_right_as_far_as_label_and_label_set_go(
    found: str, label: str, right: bool
) -> None:
    known = frozenset(("RO", "US", "US-CA", "US-OH", "unknown"))
    assert module("read").region_right(found, label, known) == right


def test_regions_are_judged_as_they_are_published_and_by_how_sure_they_are() -> None:
    readings = [
        reading(said("A", confidence=0.95, region="US-CA"), region="US-CA"),
        reading(said("B", confidence=0.85, region="US"), region="US-CA"),  # true, but no state
        reading(said("C", confidence=0.75, region="GB"), region="RO"),
        reading(said("D"), region="RO"),  # silent
        reading(said("E", region="RO")),  # not labelled
    ]
    known = frozenset(("RO", "GB", "US", "US-CA", "unknown"))
    figures = {f.key: f.value for f in module("read").region_figures(readings, known)}
    assert figures["region/real crops"] == 0.25
    assert figures["region country/real crops"] == 0.5
    assert figures["region state/real crops"] == 0.5
    assert figures["region wrong/real crops"] == 0.25
    gaps = (1 - 0.95) + (1 - 0.85) + 0.75
    assert figures["region calibration error"] == pytest.approx(gaps / 3)


def test_a_single_read_is_published_as_the_daemon_does_it() -> None:
    types, models = importlib.import_module("alprd.core.types"), module("models")
    probs = np.full((7, 37), 0.01 / 36, np.float32)
    for row, character in enumerate("B123ABC"):
        probs[row, types.ALPHABET.index(character)] = 0.99
    quad = np.array([[0, 0], [90, 0], [90, 20], [0, 20]], np.float32)
    read = types.PlateRead(
        text="B123ABC", char_probs=probs, quad=quad, t_s=0.0,
        score=0.9, quality=0.8, regions=(("RO", 0.9),),
    )  # fmt: skip
    published = models.publish(read)
    assert (published.text, published.region, published.guess) == ("B123ABC", "RO", "RO")
    assert 0.0 < published.confidence <= 0.8
    refused = types.PlateRead(text="", char_probs=probs[:0], quad=read.quad, t_s=0.0, score=0.9)
    assert models.publish(refused) == models.Published()
