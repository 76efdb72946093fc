"""Verdicts on places off the annotations: into the packs, and out of the false alarms."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is needed to read photographs")
BOXES = "image,split,class,x,y,w,h,text,lines,quality,region,script\n"


def module(name: str) -> ModuleType:
    return importlib.import_module(f"engines.training.detector_{name}")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    (tmp_path / "boxes.csv").write_text(
        BOXES
        + "plates-ro/a.jpg,train,plate,100,100,50,20,,,,,\n"
        + "plates-ro/b.jpg,val,plate,100,100,50,20,,,,,\n"
    )
    return tmp_path


def judged(folder: Path, *rows: str) -> Path:
    path = folder / "judged.csv"
    path.write_text("image,split,x1,y1,x2,y2,verdict\n" + "".join(f"{row}\n" for row in rows))
    return path


def test_a_sheets_letters_become_verdicts_and_a_dispute_becomes_unsure(tmp_path: Path) -> None:
    (tmp_path / "tiles.csv").write_text(
        "id,split,set,image,x1,y1,x2,y2,score\n"
        + "".join(f"{64 + n},train,s,s/{n}.jpg,1,2,3,4,0.5\n" for n in range(4))
    )
    (tmp_path / "one.txt").write_text("001 RNN\n")
    (tmp_path / "two.txt").write_text("001 RNR\n")
    labels = [tmp_path / "one.txt", tmp_path / "two.txt"]
    module("judge").judge(tmp_path / "tiles.csv", labels, tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()[1:]
    assert [line.split(",")[-1] for line in lines] == ["plate", "notplate", "unsure"]


def test_an_unknown_letter_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("001 RXN\n")
    with pytest.raises(ValueError, match=r"one\.txt:1"):
        module("judge").read_labels([tmp_path / "one.txt"])


def test_judged_places_of_train_photographs_are_plates_refusals_or_left_alone(shared: Path) -> None:
    path = judged(
        shared,
        "plates-ro/a.jpg,train,10,10,40,20,plate",
        "plates-ro/a.jpg,train,200,10,240,20,notplate",
        "plates-ro/a.jpg,train,300,10,340,20,unsure",
    )
    photo = module("pack").read_annotations(shared, [path])[0]
    assert [box[0] for box in photo.boxes] == ["plate", "plate", "notplate", "unsure"]


def test_a_judged_place_on_an_annotated_plate_adds_nothing(shared: Path) -> None:
    path = judged(
        shared,
        "plates-ro/a.jpg,train,105,102,130,115,notplate",
        "plates-ro/a.jpg,train,10,10,40,20,plate",
        "plates-ro/a.jpg,train,12,10,42,20,notplate",
    )
    photo = module("pack").read_annotations(shared, [path])[0]
    assert [box[0] for box in photo.boxes] == ["plate", "plate"]


def test_in_val_photographs_a_judged_plate_is_neutral_and_a_refusal_says_nothing(
    shared: Path,
) -> None:
    path = judged(
        shared,
        "plates-ro/b.jpg,val,10,10,40,20,plate",
        "plates-ro/b.jpg,val,200,10,240,20,notplate",
    )
    photo = module("pack").read_annotations(shared, [path])[1]
    assert [box[0] for box in photo.boxes] == ["plate", "unsure"]


def test_a_detection_on_a_neutral_place_is_not_false_and_recall_does_not_hear_of_it() -> None:
    metrics, labels = module("metrics"), module("labels")
    places = np.array([[100, 100, 150, 120], [10, 10, 60, 30]], np.float32)
    away = np.array([[300, 10, 350, 30]], np.float32)
    truth = metrics.Truth("plates-ro", np.array([labels.PLATE, labels.IGNORE_PLATE]), places)
    boxes = np.concatenate([places, away])
    found = metrics.Found(
        np.zeros(3, np.int64), np.full(3, 0.9, np.float32), boxes, np.zeros((3, 8), np.float32)
    )
    tally = metrics.tally_plates([(truth, found)], 0.5)["plates-ro"]
    assert (tally.wanted, tally.hit, tally.false) == (1, 1, 1)
    nothing = metrics.Found(*(value[:0] for value in vars(found).values()))
    assert metrics.tally_plates([(truth, nothing)], 0.5)["plates-ro"].false == 0


def test_a_train_vehicle_of_a_plainly_wrong_type_is_retyped_and_val_stays(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text(
        BOXES
        + "vehicles-highway/a.jpg,train,bus,10.5,20,30,15,,,,,\n"
        + "vehicles-highway/a.jpg,train,bus,60,20,30,15,,,,,\n"
        + "vehicles-highway/b.jpg,val,bus,10.5,20,30,15,,,,,\n"
    )
    table = tmp_path / "retyped.csv"
    table.write_text(
        "image,x1,y1,x2,y2,class\n"
        "vehicles-highway/a.jpg,10.5,20.0,40.5,35.0,car\n"
        "vehicles-highway/b.jpg,10.5,20.0,40.5,35.0,car\n"
    )
    photos = module("pack").read_annotations(tmp_path, [], table)
    assert [[box[0] for box in photo.boxes] for photo in photos] == [["car", "bus"], ["bus"]]
