"""Day, night and infrared pictures are told apart, and stay what they are for a moment."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.core.light import COLOURLESS, LightWatch, chroma, sample

CLIPS = Path(__file__).parents[3].parent / "shared" / "data" / "video"
Picture = NDArray[np.uint8]


def street(brightness: float = 1.0, saturation: float = 1.0) -> Picture:
    """A grey road, a pale hedge, a sky, some noise."""
    rng = np.random.default_rng(3)
    picture = np.full((90, 160, 3), 120.0)
    picture[:30] = (150, 130, 120)
    picture[30:45] = (80, 115, 85)
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + (picture - grey) * saturation
    noise = rng.normal(0.0, 2.0, (90, 160, 1))
    return (picture * brightness + noise).clip(0, 255).astype(np.uint8)


def light_of(*pictures: Picture) -> str | None:
    watch = LightWatch()
    for picture in pictures:
        watch.see(picture)
    return watch.light


def test_a_street_by_day_by_night_and_in_infrared() -> None:
    assert light_of(street()) == "day"
    assert light_of(street(brightness=0.25)) == "night"
    assert light_of(street(saturation=0.0)) == "infrared"


def test_an_infrared_picture_with_a_tint_has_no_colours() -> None:
    tinted = street(saturation=0.0) * np.array([0.95, 0.7, 1.0])
    assert light_of(tinted.astype(np.uint8)) == "infrared"


def test_a_dark_picture_without_any_light_is_night_and_not_infrared() -> None:
    assert light_of(np.zeros((90, 160, 3), np.uint8)) == "night"


def test_one_odd_picture_changes_nothing_and_two_do() -> None:
    watch = LightWatch()
    watch.see(street())
    assert watch.see(street(saturation=0.0)) == "day"
    assert watch.see(street()) == "day"
    assert watch.see(street(saturation=0.0)) == "day"
    assert watch.see(street(saturation=0.0)) == "infrared"


def test_dusk_does_not_flicker_between_day_and_night() -> None:
    dusk = street(brightness=0.42)  # between the two limits
    assert light_of(street(), dusk, dusk, dusk) == "day"
    assert light_of(street(brightness=0.25), dusk, dusk, dusk) == "night"


def test_a_large_picture_is_judged_by_some_of_its_pixels() -> None:
    assert sample(np.zeros((1080, 1920, 3), np.uint8)).shape == (90, 160, 3)


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips (shared/data) are not here")
@pytest.mark.parametrize("name", ["uk-approach", "toll-gate", "overhead"])
def test_real_clips_have_colours_and_their_grey_versions_have_none(name: str) -> None:
    capture = cv2.VideoCapture(str(CLIPS / f"{name}.mp4"))
    _, picture = capture.read()
    capture.release()
    assert chroma(sample(np.asarray(picture, np.uint8))) > 1.5 * COLOURLESS
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    _, coded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 60])
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert chroma(sample(np.asarray(decoded, np.uint8))) < COLOURLESS / 2
