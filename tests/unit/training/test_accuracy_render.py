"""The rendered test set: exact truth, the same everywhere."""

import importlib
import sys
from itertools import islice
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is needed to draw plates")
pytest.importorskip("tomllib", reason="rendering plates needs Python 3.11")
pytest.importorskip("PIL", reason="the accuracy group is not installed (pip install pillow)")
pytestmark = pytest.mark.filterwarnings("ignore:font .* not found")


def render() -> ModuleType:
    return importlib.import_module("engines.training.accuracy_render")


def test_the_same_seed_renders_the_same_scenes() -> None:
    for (image, quads), (again, same) in zip(
        render().scenes(3, 5), render().scenes(3, 5), strict=True
    ):
        assert np.array_equal(image, again)
        assert np.array_equal(np.array(quads), np.array(same))


def test_rendered_corners_run_clockwise_from_the_top_left_and_are_convex() -> None:
    for seed in range(50):
        quad = render().posed(np.random.default_rng(seed), 4.6)
        edge = np.roll(quad, -1, axis=0) - quad
        after = np.roll(edge, -1, axis=0)
        assert (edge[:, 0] * after[:, 1] - edge[:, 1] * after[:, 0] > 0).all()
        assert quad[0, 0] < quad[1, 0]
        assert quad[0, 1] < quad[3, 1]


def test_a_pasted_plate_lies_where_its_corners_say_and_stays_there_when_photographed() -> None:
    flat = np.full((100, 400, 4), 255, np.uint8)
    quad = np.array([[40, 30], [140, 40], [138, 66], [41, 55]], np.float32)
    image = np.zeros((100, 180, 3), np.uint8)
    render().paste(image, flat, quad, 1.0)
    x, y = quad[:, 0].astype(float), quad[:, 1].astype(float)
    area = 0.5 * abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()))
    assert image[..., 0].sum() / 255 == pytest.approx(area, rel=0.02)
    for seed in range(8):
        photo = render().photographed(np.random.default_rng(seed), image).astype(np.float64)
        for axis in (0, 1):
            centre = [
                float((p.sum(axis=(axis, 2)) * np.arange(p.shape[1 - axis])).sum() / p.sum())
                for p in (image.astype(np.float64), np.where(photo > photo.max() / 3, photo, 0.0))
            ]
            assert centre[0] == pytest.approx(centre[1], abs=0.5)


def test_every_design_is_drawn_with_corners_near_the_truth() -> None:
    crops = list(islice(render().of_every_design(1), 8))
    assert len({crop.design for crop in crops}) == 8
    for crop in crops:
        height, width = crop.image.shape[:2]
        quad = crop.place.quad
        assert crop.text
        assert (quad > 0).all()
        assert (quad < (width, height)).all()


def test_a_missing_font_is_an_error_that_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    fonts = importlib.import_module("engines.training.fonts")
    monkeypatch.setattr(fonts, "find_font", lambda _: None)
    with pytest.raises(render().RemedyNeededError, match="system-packages"):
        render().check_remedies()


def test_an_older_python_is_told_which_one_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    with pytest.raises(render().RemedyNeededError, match=r"PYTHON=python3\.11"):
        render().check_remedies()
