"""What classifiers say of a vehicle: pictures that are worth asking about, and the vote."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.core.attributes import (
    Answers,
    Head,
    agreement,
    described,
    is_colourless,
    shows_front,
    vote,
    worth,
    worth_a_look,
)
from alprd.core.types import Direction, PlateEvent, Vehicle
from support.inference import event

FRAME = (1280, 720)
KIND = Head(name="type", labels=("car", "suv"))
COLOUR = Head(
    name="color", labels=("white", "red", "unknown"), unknown=frozenset({"unknown"}),
    needs_colour=True,
)  # fmt: skip
VIEW = Head(name="view", labels=("front", "front-side", "side", "rear-side", "rear"))
HEADS = (KIND, COLOUR, VIEW)


def answers(
    weight: float = 1.0, *, colourless: bool = False, **heads: tuple[float, ...]
) -> Answers:
    return Answers(
        weight=weight,
        colourless=colourless,
        heads={name: np.array(values, np.float32) for name, values in heads.items()},
    )


def passing(label: str = "approaching") -> PlateEvent:
    return replace(
        event("AB12"),
        vehicle=Vehicle(type="car", confidence=0.7, box=(0.0, 0.0, 10.0, 10.0)),
        direction=Direction(label=label, heading_deg=None),
    )


def test_a_large_whole_vehicle_in_front_is_worth_most() -> None:
    large = worth((300, 200, 600, 450), FRAME, [])
    assert large == 1.0
    assert worth((300, 200, 400, 280), FRAME, []) < large
    assert worth((0, 200, 300, 450), FRAME, []) == pytest.approx(0.4)  # cut off at the left
    nearer, farther = (400, 300, 700, 600), (400, 100, 700, 300)
    assert worth((300, 200, 600, 450), FRAME, [nearer]) < 0.7
    assert worth((300, 200, 600, 450), FRAME, [farther]) == large


def test_a_vehicle_of_a_few_pixels_is_worth_nothing() -> None:
    assert worth((300, 200, 320, 215), FRAME, []) == 0.0
    assert not worth_a_look(0.0, 1.0, [], 4)


def test_an_approaching_vehicle_is_looked_at_a_bounded_number_of_times() -> None:
    looks: list[tuple[float, float]] = []
    asked = 0
    for step in range(1000):  # 40 seconds, from 28 to 260 pixels
        value = 28 / 260 * (260 / 28) ** (step / 999)
        if worth_a_look(value, step / 25, looks, 4):
            asked += 1
            looks = sorted([*looks, (value, step / 25)], reverse=True)[:4]
    assert max(value for value, _ in looks) > 0.7
    assert asked <= 11


def test_a_standing_vehicle_is_looked_at_no_more_once_enough_pictures_are_kept() -> None:
    looks: list[tuple[float, float]] = []
    for step in range(1000):
        if worth_a_look(0.5, step / 25, looks, 4):
            looks.append((0.5, step / 25))
    assert len(looks) == 4


def test_better_pictures_count_for_more() -> None:
    blurred = answers(0.1, type=(0.9, 0.1))
    sharp = answers(0.9, type=(0.2, 0.8))
    assert vote([blurred, sharp], [KIND])[0].value == "suv"
    assert vote([blurred, sharp], [KIND])[0].confidence == pytest.approx(0.73)


def test_what_is_not_sure_is_unknown() -> None:
    (kind,) = vote([answers(type=(0.49, 0.4))], [KIND])
    assert (kind.value, kind.confidence) == (None, None)
    (colour,) = vote([answers(color=(0.1, 0.1, 0.8))], [COLOUR])
    assert colour.value is None


def test_a_vehicle_that_nobody_asked_about_has_unknown_attributes() -> None:
    assert [a.value for a in vote([], HEADS)] == [None, None, None]


def test_grey_pictures_say_nothing_of_the_colour_and_all_of_the_type() -> None:
    night = answers(colourless=True, type=(0.1, 0.9), color=(0.95, 0.05, 0.0))
    assert [a.value for a in vote([night], [KIND, COLOUR])] == ["suv", None]
    day = answers(0.1, type=(0.1, 0.9), color=(0.05, 0.95, 0.0))
    assert vote([night, day], [COLOUR])[0].value == "red"


def _noise(*shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(1).normal(0.0, 1.0, shape)


def test_grey_and_tinted_infrared_pictures_have_no_colours() -> None:
    grey = np.clip(np.linspace(20, 230, 64)[None, :, None] + _noise(64, 64, 1) * 4, 0, 255)
    grey = np.repeat(grey, 3, axis=2)
    assert is_colourless(grey.astype(np.uint8))
    assert is_colourless((grey * (1.0, 0.7, 0.95)).astype(np.uint8))  # an infrared camera's purple
    assert is_colourless(np.zeros((64, 64, 3), np.uint8))


def test_a_white_car_on_a_grey_road_before_a_green_hedge_has_colours() -> None:
    street = np.full((64, 64, 3), 120.0)
    street[:16] = (70, 120, 60)
    street[24:48, 16:48] = (232, 232, 230)
    assert not is_colourless((street + _noise(64, 64, 3) * 2).clip(0, 255).astype(np.uint8))


def test_the_front_of_an_approaching_vehicle_agrees_with_its_way() -> None:
    seen = [answers(view=(0.2, 0.7, 0.05, 0.03, 0.02))]
    front = shows_front(seen, HEADS)
    assert front == pytest.approx(0.9 / 0.95)
    assert agreement("approaching", front) == pytest.approx(0.947, abs=1e-3)
    assert agreement("receding", front) == pytest.approx(0.053, abs=1e-3)
    assert agreement("left", front) is None


def test_a_side_view_says_nothing_of_the_direction() -> None:
    assert shows_front([answers(view=(0.1, 0.2, 0.6, 0.05, 0.05))], HEADS) is None
    assert shows_front([answers(type=(0.5, 0.5))], HEADS) is None


def test_a_front_that_recedes_is_a_vehicle_that_drives_backwards() -> None:
    seen = [answers(view=(0.3, 0.65, 0.02, 0.02, 0.01))]
    backwards = described(passing("receding"), seen, HEADS)
    assert backwards.vehicle is not None
    assert backwards.direction is not None
    assert backwards.vehicle.reversing is True
    assert backwards.direction.confidence == pytest.approx(0.03, abs=0.01)
    forwards = described(passing("approaching"), seen, HEADS)
    assert forwards.vehicle is not None
    assert forwards.vehicle.reversing is False


def test_an_event_has_the_finer_type_with_its_confidence() -> None:
    found = described(passing(), [answers(type=(0.1, 0.9))], HEADS)
    assert found.vehicle is not None
    assert (found.vehicle.type, round(found.vehicle.confidence, 2)) == ("suv", 0.9)
    unsure = described(passing(), [answers(type=(0.4, 0.4))], HEADS)
    assert unsure.vehicle is not None
    assert (unsure.vehicle.type, unsure.vehicle.confidence) == ("car", 0.7)


def test_an_event_without_a_vehicle_stays_as_it_is() -> None:
    lone = event("AB12")
    assert described(lone, [answers(type=(0.1, 0.9))], HEADS) is lone
