"""The accuracy command on a few of the real photographs, where they are."""

import csv
import importlib
import json
import os
from pathlib import Path
from types import ModuleType

import pytest

cv2 = pytest.importorskip("cv2", reason="OpenCV is needed to look at pictures")
pytest.importorskip("tomllib", reason="rendering plates needs Python 3.11")
pytest.importorskip("PIL", reason="the accuracy group is not installed (pip install pillow)")

FRAMES = 3
A_SET = 4


def accuracy() -> ModuleType:
    return importlib.import_module("engines.training.accuracy")


@pytest.fixture
def few_photographs(tmp_path: Path) -> Path:
    """A folder like that of the real photographs with a few of each set."""
    data: Path = accuracy().DATA
    if not (data / "boxes.csv").is_file():
        pytest.skip(f"there are no photographs in {data}")
    few = tmp_path / "data"
    (few / "video").mkdir(parents=True)
    kept: dict[str, dict[str, None]] = {}
    with (data / "boxes.csv").open(newline="") as file, (few / "boxes.csv").open("w") as out:
        rows = csv.DictReader(file)
        writer = csv.DictWriter(out, rows.fieldnames or [])
        writer.writeheader()
        for row in rows:
            mine = kept.setdefault(row["image"].split("/")[0], {})
            if row["split"] == "val" and (row["image"] in mine or len(mine) < A_SET):
                mine[row["image"]] = None
                writer.writerow(row)
    for set_name, images in kept.items():
        (few / set_name).mkdir()
        for image in images:
            os.symlink(data / image, few / image)
    shown = cv2.VideoCapture(str(data / "video" / "overhead.mp4"))
    clip = cv2.VideoWriter(
        str(few / "video" / "overhead.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (768, 432)
    )
    for _ in range(FRAMES):
        clip.write(cv2.resize(shown.read()[1], (768, 432)))
    clip.release()
    shown.release()
    return few


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_figures_are_measured_printed_and_held_by_the_ratchet(
    few_photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ratchet, details = tmp_path / "accuracy.json", tmp_path / "details"
    given = ["--data", str(few_photographs), "--ratchet", str(ratchet), "--no-small", "--few"]
    figures = tmp_path / "figures.json"
    try:
        importlib.import_module("engines.training.accuracy_render").check_remedies()
    except accuracy().RemedyNeededError as error:
        pytest.skip(str(error))
    assert accuracy().main([*given, "--json", str(figures), "--details", str(details)]) == 0
    shown = capsys.readouterr().out
    measured = json.loads(figures.read_text())["figures"]
    assert measured["plate-detector/false/overhead.mp4"]["cases"] == FRAMES
    assert measured["plate-detector/recall/all"]["cases"] > 0
    assert "end to end, good, >= 64 px" in shown
    assert (details / "plate-detector" / "errors.csv").is_file()

    limit = {"accepted": 1.5, "limit": 1.5}
    ratchet.write_text(json.dumps({"figures": {"plate-detector/recall/all": limit}}))
    assert accuracy().main(given) == 1
    assert "plate-detector/recall/all" in capsys.readouterr().err


def test_missing_photographs_end_the_command_with_a_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert accuracy().main(["--data", str(tmp_path)]) == 2
    assert "accuracy: " in capsys.readouterr().err
