"""What a plate is misread as is no second vehicle, and what only looks alike is one."""

from __future__ import annotations

from collections.abc import Callable

from alprd.core.types import Detection
from support.line import Seen, pipeline, run, show, standing
from support.plates_in_frames import make_plate, make_read
from support.simulation import times


def published(until_s: float, what: Callable[[float], Seen]) -> list[str]:
    line = pipeline()
    return [e.plate for _, e in run(line, until_s, what)] + [e.plate for e in line.finish()]


def test_what_a_plate_is_misread_as_between_two_good_reads_is_no_second_car() -> None:
    def seen(t_s: float) -> Seen:
        if 3.0 <= t_s < 3.8:  # missed for long enough that the misread is not taken for its own
            return []
        return standing("WW99WWW" if 3.8 <= t_s < 4.2 else "LS15EBC")

    assert published(12.0, seen) == ["LS15EBC"]


def test_a_misread_beside_the_plate_in_a_single_frame_is_no_second_car() -> None:
    line = pipeline()
    events = []
    for i, t in enumerate(times(0.0, 6.0, 10.0)):
        y = 300.0 + 6.0 * i
        seen = [(make_plate(600.0, y), make_read())] if t < 3.0 else []
        if i == 15:
            seen.append((make_plate(730.0, y), make_read("LS15E8O", quality=0.99)))
        car = Detection(label="car", score=0.9, box=(400.0, y - 200.0, 800.0, y + 100.0))
        events += show(line, t, seen, others=[car])
    assert [e.plate for e in [*events, *line.finish()]] == ["LS15EBC"]


def test_a_misread_that_came_before_and_stays_to_the_end_is_no_second_car() -> None:
    def seen(t_s: float) -> Seen:
        if t_s >= 4.0:
            return []
        return standing("WW99WWW" if 1.0 <= t_s < 1.25 or t_s >= 3.45 else "LS15EBC")

    assert published(8.0, seen) == ["LS15EBC"]


def test_a_car_that_comes_again_and_is_read_where_a_sign_was_found_is_a_second_pass() -> None:
    sign = (make_plate(640.0, 500.0, 90.0), make_read("", quality=0.05))

    def seen(t_s: float) -> Seen:
        if t_s < 2.0:
            passing = (make_plate(200.0, 300.0 + 60.0 * t_s, 80.0), make_read())
            return [passing, sign] if t_s >= 1.0 else [passing]
        return [sign] if t_s < 9.0 else [(make_plate(640.0, 502.0, 92.0), make_read())]

    assert published(18.0, seen) == ["LS15EBC", "LS15EBC"]


def test_one_text_that_a_format_made_of_two_is_one_car() -> None:
    settled = make_read("LSI5EBC", doubts={2: ("1", 0.45)}, regions=(("GB", 0.95),))
    read = make_read("LS15EBC", regions=(("GB", 0.95),))
    assert published(8.0, lambda _: [(make_plate(300.0), settled), (make_plate(900.0), read)]) == [
        "LS15EBC"
    ]


def test_the_next_car_in_the_same_place_takes_its_own_vehicle_along() -> None:
    line = pipeline()
    events = []
    for t in times(0.0, 4.0, 10.0):
        label, text = ("car", "AB12CDE") if t < 0.3 else ("truck", "34A36837")
        vehicle = Detection(label=label, score=0.9, box=(400.0, 200.0, 800.0, 600.0))
        events += show(line, t, standing(text), others=[vehicle])
    first, second = [*events, *line.finish()]
    assert [first.vehicle.type, second.vehicle.type] == ["car", "truck"]  # type: ignore[union-attr]
