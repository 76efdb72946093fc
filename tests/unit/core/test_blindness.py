"""Black, covered, blurred and frozen pictures are told from good ones, by day and by night."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from alprd.cameras.pictures import grey_of
from alprd.core.blindness import Watch, judge, look
from support.blind_pictures import TROUBLES, Picture, night, reduced, rendered_streets

CLIPS = Path(__file__).parents[3].parent / "shared" / "data" / "video"
FROZEN_S = 60.0


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def read_clip(path: Path, every: int) -> Iterator[Picture]:
    capture = cv2.VideoCapture(str(path))
    for number in range(100_000):
        if not capture.grab():
            break
        if number % every == 0:
            yield reduced(np.asarray(capture.retrieve()[1], np.uint8))
    capture.release()


def verdicts(pictures: Iterable[Picture]) -> Counter[str]:
    return Counter(judge(look(grey_of(picture))) for picture in pictures)


def table(streets: list[Picture]) -> dict[str, Counter[str]]:
    """What was done to the pictures -> what they were taken for."""
    random = rng()
    found = {"nothing": verdicts(streets)}
    for name, damage in TROUBLES.items():
        found[name] = verdicts(damage(picture, random) for picture in streets)
    return found


def test_rendered_streets_are_told_from_the_same_ones_black_covered_and_defocused() -> None:
    streets = list(rendered_streets(6))
    assert table(streets) == {
        "nothing": {"clear": 6},
        "black": {"black": 6},
        "covered": {"covered": 6},
        "blurred": {"blurred": 6},
    }


def test_a_night_with_headlights_is_no_black_picture() -> None:
    random = rng()
    assert verdicts(
        reduced(night(1280, 720, random, shift)) for shift in range(-300, 301, 100)
    ) == {"clear": 7}


@pytest.mark.once
@pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips (shared/data) are not here")
@pytest.mark.parametrize("name", ["uk-approach", "toll-gate", "overhead"])
def test_real_clips_are_told_from_the_same_ones_black_covered_and_defocused(name: str) -> None:
    found = table(list(read_clip(CLIPS / f"{name}.mp4", every=40)))
    many = found["nothing"].total()
    assert many >= 4
    assert found["nothing"] == {"clear": many}
    assert found["black"] == {"black": many}
    assert found["covered"] == {"covered": many}
    # An empty road from above has so little to see that, out of focus, it looks covered.
    assert set(found["blurred"]) <= ({"blurred", "covered"} if name == "overhead" else {"blurred"})


@pytest.mark.once
@pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips (shared/data) are not here")
@pytest.mark.parametrize("name", ["uk-approach", "toll-gate", "overhead"])
def test_no_picture_of_a_real_clip_is_anything_but_clear(name: str) -> None:
    watch = Watch(FROZEN_S)
    seen = Counter(
        watch.see(number / 5.0, grey_of(picture))
        for number, picture in enumerate(read_clip(CLIPS / f"{name}.mp4", every=4))
    )
    assert set(seen) == {"clear"}


def test_a_picture_that_never_changes_is_frozen_after_its_time() -> None:
    picture = grey_of(next(rendered_streets(1)))
    watch = Watch(FROZEN_S)
    assert {watch.see(t_s, picture) for t_s in (0.0, 30.0, 59.0)} == {"clear"}
    assert watch.see(60.0, picture) == "frozen"
    moved = picture.copy()
    moved[5, 5] ^= 1  # the noise of a living sensor is enough
    assert watch.see(61.0, moved) == "clear"


def test_a_street_at_rest_with_a_sensors_noise_is_not_frozen() -> None:
    streets = [grey_of(picture) for picture in rendered_streets(40)][-8:]
    watch = Watch(FROZEN_S)
    seen = {watch.see(10.0 * n, streets[n % len(streets)]) for n in range(30)}
    assert seen == {"clear"}


def test_a_black_picture_stays_black_when_it_does_not_change() -> None:
    watch = Watch(FROZEN_S)
    black = np.zeros((360, 640), np.uint8)
    assert {watch.see(t_s, black) for t_s in (0.0, 100.0)} == {"black"}


def test_what_was_blurred_must_become_clearly_sharper() -> None:
    street = next(rendered_streets(1))
    by_sigma = {
        sigma: judge(look(grey_of(cv2.GaussianBlur(street, (0, 0), sigma))))
        for sigma in (0.5, 1.0, 4.0)
    }
    assert by_sigma == {0.5: "clear", 1.0: "clear", 4.0: "blurred"}
    softened = next(
        look(grey_of(cv2.GaussianBlur(street, (0, 0), sigma)))
        for sigma in np.arange(1.0, 4.0, 0.05)
        if look(grey_of(cv2.GaussianBlur(street, (0, 0), sigma))).softness > 0.41
    )
    assert (judge(softened), judge(softened, "blurred")) == ("clear", "blurred")


def test_a_picture_of_another_size_is_another_picture() -> None:
    watch = Watch(FROZEN_S)
    watch.see(0.0, np.full((360, 640), 99, np.uint8))
    assert watch.see(100.0, np.full((480, 640), 99, np.uint8)) == "covered"


@pytest.mark.parametrize("size", [(16, 16), (2160, 3840), (3840, 2160), (20, 4000)])
def test_every_size_of_picture_is_judged(size: tuple[int, int]) -> None:
    random = rng()
    picture = random.integers(0, 255, (*size, 3), dtype=np.uint8)
    assert judge(look(grey_of(picture))) == "clear"
