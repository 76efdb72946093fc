"""Recognising files: one result per plate or pass, one line per file that cannot be used."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.config import InferenceSettings
from alprd.inference.models import Models, load_models
from alprd.recognize import Progress, recognize
from support import tiny_models
from support.tiny_models import blank_picture, box_quad, draw_plate, draw_vehicle

SIZE = (640, 384)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tiny_models.write_models(tmp_path_factory.mktemp("models"))
    return load_models(InferenceSettings(models_dir=folder, threads=1))


def look(models: Models, *paths: Path, **options: object) -> tuple[list[dict[str, Any]], list[str]]:
    errors: list[str] = []
    results = list(recognize(paths, models, on_error=errors.append, **options))
    return results, errors


def picture(*plates: tuple[str, float, float]) -> NDArray[np.uint8]:
    """Plates of 120 x 40 px, each in a colour of its own, at (text, x, y)."""
    image = blank_picture(SIZE)
    for marker, (text, x, y) in enumerate(plates):
        draw_plate(image, text, box_quad(x, y, x + 120, y + 40), marker)
    return image


def save(path: Path, image: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def save_clip(path: Path, images: Sequence[NDArray[np.uint8]]) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, SIZE)
    assert writer.isOpened()
    for image in images:
        writer.write(image)
    writer.release()
    return path


def drive_by(text: str, frames: int = 15) -> list[NDArray[np.uint8]]:
    """One car that comes from the left."""
    images = []
    for index in range(frames):
        image = blank_picture(SIZE)
        x = 60 + 12 * index
        draw_vehicle(image, "car", (x - 40, 100, x + 200, 300))
        draw_plate(image, text, box_quad(x, 200, x + 160, 250))
        images.append(image)
    return images


# --- pictures


def test_a_picture_gives_one_result_per_plate_best_first(tmp_path: Path, models: Models) -> None:
    image = picture(("AB12CDE", 40, 40), ("XY34ZZT", 300, 200))
    # A plate whose colours are off by a little is read with less confidence.
    image[40:80, 40:160] = cv2.addWeighted(image[40:80, 40:160], 0.9, image[40:80, 40:160], 0, 12)
    path = save(tmp_path / "two.png", image)

    results, errors = look(models, path)

    assert errors == []
    assert {result["plate"] for result in results} == {"AB12CDE", "XY34ZZT"}
    assert [r["confidence"] for r in results] == sorted(
        (r["confidence"] for r in results), reverse=True
    )
    assert {result["source"] for result in results} == {str(path)}
    quads = {result["plate"]: result["quad"] for result in results}
    assert np.allclose(quads["XY34ZZT"], box_quad(300, 200, 420, 240), atol=3)


def test_a_result_is_a_valid_event_with_its_source_and_without_a_number(
    tmp_path: Path, models: Models
) -> None:
    path = save(tmp_path / "one.png", picture(("AB12CDE", 40, 40)))
    os.utime(path, (1_700_000_000, 1_700_000_000))

    [[result], _] = look(models, path)

    source = result.pop("source")
    schema = json.loads((files("alprd") / "schemas" / "plate-1.json").read_text("utf-8"))
    jsonschema.validate(result, schema, format_checker=jsonschema.FormatChecker())
    assert source == str(path)
    assert result["seq"] is None
    assert result["captured_at"] == "2023-11-14T22:13:20.000Z"
    assert result["frame_size"] == list(SIZE)
    assert set(result["models"]) == {"plate-detector", "plate-reader"}


def test_plates_below_the_least_confidence_are_left_out(tmp_path: Path, models: Models) -> None:
    path = save(tmp_path / "one.png", picture(("AB12CDE", 40, 40)))

    assert len(look(models, path, min_confidence=0.5)[0]) == 1
    assert look(models, path, min_confidence=1.0)[0] == []


def test_a_small_plate_in_a_wide_panorama_is_found(tmp_path: Path, models: Models) -> None:
    image = blank_picture((12_000, 600))
    draw_plate(image, "PAN0RA", box_quad(11_003, 301, 11_093, 331))
    path = save(tmp_path / "pano.png", image)

    [[result], errors] = look(models, path)

    assert errors == []
    assert result["plate"] == "PAN0RA"
    assert np.allclose(result["quad"], box_quad(11_003, 301, 11_093, 331), atol=4)


def test_a_plate_that_fills_a_large_picture_is_read_once(tmp_path: Path, models: Models) -> None:
    image = blank_picture((3840, 2160))
    draw_plate(image, "CL05EUP", box_quad(300, 600, 3540, 1700))
    path = save(tmp_path / "close.png", image)

    results, _ = look(models, path)

    assert [result["plate"] for result in results] == ["CL05EUP"]


@pytest.mark.parametrize("kind", ["16 bit", "grey", "transparent", "one pixel"])
def test_unusual_pictures_are_read_without_an_error(
    tmp_path: Path, models: Models, kind: str
) -> None:
    image = picture(("AB12CDE", 40, 40))
    variants: dict[str, NDArray[Any]] = {
        "16 bit": image.astype(np.uint16) * 257,
        "grey": cv2.cvtColor(image, cv2.COLOR_BGR2GRAY),
        "transparent": np.dstack((image, np.full(image.shape[:2], 255, np.uint8))),
        "one pixel": image[:1, :1],
    }
    expected = {"16 bit": ["AB12CDE"], "transparent": ["AB12CDE"]}

    results, errors = look(models, save(tmp_path / "odd.png", variants[kind]))

    assert errors == []
    assert [result["plate"] for result in results] == expected.get(kind, [])


# --- clips


def test_a_clip_gives_one_result_per_pass(tmp_path: Path, models: Models) -> None:
    path = save_clip(tmp_path / "pass.mp4", drive_by("DR1VE"))

    [[result], errors] = look(models, path)

    assert errors == []
    assert (result["plate"], result["source"]) == ("DR1VE", str(path))
    assert result["reads"]["count"] > 10
    assert result["vehicle"]["type"] == "car"
    assert result["direction"]["label"] == "right"


def test_a_clip_that_was_cut_off_gives_what_it_holds_and_an_error(
    tmp_path: Path, models: Models
) -> None:
    whole = save_clip(tmp_path / "whole.avi", drive_by("CUT0FF", 40))
    data = whole.read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(data[: len(data) // 2])

    results, [error] = look(models, cut)

    assert [result["plate"] for result in results] == ["CUT0FF"]
    assert error.startswith(str(cut))
    assert "cut off" in error


# --- inputs that cannot be used


def bad_files(folder: Path) -> dict[str, Path]:
    clip = save_clip(folder / "clip.mp4", drive_by("TRUNC8"))
    made = {
        "missing": folder / "nowhere.jpg",
        "empty": folder / "empty.jpg",
        "text": folder / "text.jpg",
        "truncated": folder / "truncated.mp4",
        "unknown": folder / "notes.txt",
        "folder": folder / "nothing-inside",
    }
    made["empty"].touch()
    made["text"].write_text("not a picture", encoding="utf-8")
    made["unknown"].write_text("not a clip", encoding="utf-8")
    made["truncated"].write_bytes(clip.read_bytes()[:2000])
    made["folder"].mkdir()
    return made


def test_every_unusable_input_is_one_line_with_its_name_and_the_others_go_on(
    tmp_path: Path, models: Models
) -> None:
    bad = bad_files(tmp_path)
    good = save(tmp_path / "good.png", picture(("AB12CDE", 40, 40)))

    results, errors = look(models, *bad.values(), good)

    assert [result["plate"] for result in results] == ["AB12CDE"]
    assert len(errors) == len(bad)
    for path in bad.values():
        [error] = [each for each in errors if each.startswith(f"{path}: ")]
        assert "\n" not in error
        assert "; " in error  # the remedy


# --- folders


def test_a_folder_gives_its_pictures_and_clips_in_natural_order_with_subfolders(
    tmp_path: Path, models: Models
) -> None:
    save(tmp_path / "car10.png", picture(("AAA10", 40, 40)))
    save(tmp_path / "car2.png", picture(("AAA2", 40, 40)))
    save(tmp_path / "yard" / "car1.png", picture(("BBB1", 40, 40)))
    save(tmp_path / ".hidden" / "car1.png", picture(("CCC1", 40, 40)))
    save_clip(tmp_path / "drive.mp4", drive_by("DR1VE"))
    (tmp_path / "readme.txt").write_text("not a picture", encoding="utf-8")

    results, errors = look(models, tmp_path)

    assert errors == []
    assert [result["plate"] for result in results] == ["AAA2", "AAA10", "DR1VE", "BBB1"]
    assert results[0]["source"] == str(tmp_path / "car2.png")


def test_a_picture_is_known_by_its_content_when_its_name_does_not_tell(
    tmp_path: Path, models: Models
) -> None:
    path = save(tmp_path / "one.png", picture(("AB12CDE", 40, 40)))
    bare = path.rename(tmp_path / "upload")

    [[result], errors] = look(models, bare)

    assert (result["plate"], errors) == ("AB12CDE", [])


# --- annotation and progress


def test_annotated_files_are_written_for_pictures_and_clips(tmp_path: Path, models: Models) -> None:
    still = save(tmp_path / "car.png", picture(("AB12CDE", 40, 100)))
    clip = save_clip(tmp_path / "drive.mp4", drive_by("DR1VE"))

    look(models, still, clip, annotate_dir=tmp_path / "out")

    drawn = cv2.imread(str(tmp_path / "out" / "car-annotated.png"))
    assert drawn.shape == (SIZE[1], SIZE[0], 3)
    assert (drawn != cv2.imread(str(still))).any()
    capture = cv2.VideoCapture(str(tmp_path / "out" / "drive-annotated.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 15
    capture.release()


def test_progress_grows_from_file_to_file_up_to_the_end(tmp_path: Path, models: Models) -> None:
    still = save(tmp_path / "car.png", picture(("AB12CDE", 40, 40)))
    clip = save_clip(tmp_path / "drive.mp4", drive_by("DR1VE"))
    told: list[Progress] = []

    look(models, still, clip, on_progress=told.append)

    shares = [each.files_done + (each.fraction or 0.0) for each in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 2.0)
    assert sum(each.source == str(clip) for each in told) > 3
    assert {each.files for each in told} == {2}


def test_results_come_as_soon_as_they_are_known(tmp_path: Path, models: Models) -> None:
    first = save(tmp_path / "1.png", picture(("AB12CDE", 40, 40)))
    errors: list[str] = []

    results = recognize([first, tmp_path / "gone.png"], models, on_error=errors.append)

    assert next(results)["plate"] == "AB12CDE"
    assert errors == []
    assert list(results) == []
    assert len(errors) == 1
