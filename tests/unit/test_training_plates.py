"""Rendered plates: texts, designs and repeatability."""

import importlib
import re
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is needed to draw plates")
pytest.importorskip("PIL", reason="the training group is not installed (pip install pillow)")


def module(name: str) -> ModuleType:
    return importlib.import_module(f"engines.training.{name}")


def design(name: str) -> object:
    return next(d for d in module("plates").load_designs() if d.id == name)


def test_there_are_at_least_sixty_designs_with_unique_ids() -> None:
    designs = module("plates").load_designs()
    assert len({d.id for d in designs}) == len(designs) >= 60
    assert sum(d.region.startswith("US-") for d in designs) >= 20


@pytest.mark.filterwarnings("ignore:font .* not found")
def test_the_same_generator_state_draws_the_same_plate() -> None:
    plates = module("plates")
    first = plates.render_plate(np.random.default_rng(3), design("de"))
    again = plates.render_plate(np.random.default_rng(3), design("de"))
    assert first.text == again.text
    assert np.array_equal(first.image, again.image)


@pytest.mark.filterwarnings("ignore:font .* not found")
def test_every_design_draws_a_readable_contrast_and_a_plain_text() -> None:
    plates = module("plates")
    rng = np.random.default_rng(11)
    for each in plates.load_designs():
        plate = plates.render_plate(rng, each)
        assert re.fullmatch(r"[A-Z0-9]{1,12}", plate.text), each.id
        assert plate.image.dtype == np.uint8
        assert plate.image.shape[2] == 4
        assert plate.image[..., :3].std() > 8, each.id


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("es", r"\d{4}[BCDFGHJKLMNPRSTVWXYZ]{3}"),
        ("fr", r"[A-HJ-NP-TV-Z]{2}\d{3}[A-HJ-NP-TV-Z]{2}"),
        ("br-mercosur", r"[A-Z]{3}\d[A-Z]\d\d"),
        ("vn-two", r"\d\d(LD|[A-Z]\d?)\d{4,5}"),
        ("cn", r"[A-HJ-NP-Z][A-Z0-9]{5,6}"),
    ],
)
def test_texts_follow_the_national_format(name: str, pattern: str) -> None:
    designs = module("plate_designs")
    rng = np.random.default_rng(1)
    for _ in range(200):
        assert re.fullmatch(pattern, designs.plain(designs.expand(rng, design(name))))


def test_a_design_with_an_unknown_key_is_refused_by_name() -> None:
    designs = module("plate_designs")
    data = {"design": [{"id": "x", "region": "X", "formats": ["#"], "colour": "red"}]}
    with pytest.raises(ValueError, match="x has unknown keys \\['colour'\\]"):
        designs.parse_designs(data, "x.toml")
