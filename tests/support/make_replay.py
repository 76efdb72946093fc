"""Write the replay cases: `python tests/support/make_replay.py tests/data/replay`.

Every case is a recording of simulated traffic and the events that a person would expect of it. The
expectations come from the scene, never from the pipeline's output. The written files are the
fixtures; run this again only to change a scene.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.replay import Recording, save
from support.simulation import START, Car, drive, drive_along, simulate, times


@dataclass(frozen=True, kw_only=True)
class Case:
    """A recording and what is expected of it.

    Attributes:
        about: one sentence for the reader.
        events: per event, in the order of publication: plate, the scene's truth in `seen_s` (first
            and last time in sight, or when it has stood for 1 s), `by_s` (published at the latest
            then), direction and vehicle.
    """

    about: str
    recording: Recording
    events: list[dict[str, Any]]


def approach(plate: str, *, begin_s: float, lane_m: float = 0.5, **more: bool | str) -> Car:
    """A car that comes near within 2 s and leaves the picture below."""
    where = drive((lane_m, 20.0), (0.0, -8.0), begin_s=begin_s, end_s=begin_s + 2.1)
    return Car(plate=plate, where=where, **more)


def one_car() -> Case:
    return Case(
        about="One car drives up and leaves the picture.",
        recording=Recording(
            frames=simulate([approach("LS15EBC", begin_s=0.5)], times(0, 6, 15), seed=1)
        ),
        events=[_event("LS15EBC", seen_s=(0.5, 2.6), by_s=4.8)],
    )


def two_cars_side_by_side() -> Case:
    cars = [
        approach("AB12CDE", begin_s=0.5, lane_m=-1.6),
        approach("AB12CDF", begin_s=0.55, lane_m=1.6, kind="truck"),
    ]
    return Case(
        about="Two vehicles of one fleet side by side; their plates differ in one character.",
        recording=Recording(frames=simulate(cars, times(0, 6, 15), seed=2)),
        events=[
            _event("AB12CDE", seen_s=(0.5, 2.6), by_s=4.8),
            _event("AB12CDF", seen_s=(0.55, 2.65), by_s=4.9, vehicle="truck"),
        ],
    )


def stops_for_a_minute() -> Case:
    path = drive_along([(1, 0.5, 20), (3, 0.5, 8), (63, 0.5, 8), (64, 0.5, 3)])
    return Case(
        about="A car drives up, waits for 60 s before a gate and drives on: one event, 1 s later.",
        recording=Recording(
            frames=simulate([Car(plate="B4DGE77", where=path)], times(0, 68, 8), seed=3)
        ),
        events=[_event("B4DGE77", seen_s=(1, 4), by_s=4.3)],
    )


def behind_a_post() -> Case:
    path = drive((-5.0, 9.0), (2.5, 0.0), begin_s=0.5, end_s=4.5)
    car = Car(plate="FX60ABN", where=lambda t_s: None if 2.0 <= t_s < 3.0 else path(t_s))
    return Case(
        about="A car crosses from left to right and is hidden by a post for 1 s.",
        recording=Recording(frames=simulate([car], times(0, 8, 12), seed=4)),
        events=[_event("FX60ABN", seen_s=(0.5, 4.5), by_s=5.8, direction="right")],
    )


def similar_plates_in_a_row() -> Case:
    first = drive_along([(0.5, 0.5, 20), (2, 0.5, 8), (4, 0.5, 8), (5, 0.5, 3)])
    second = drive_along([(5.2, 0.5, 14), (6, 0.5, 8), (8, 0.5, 8), (9, 0.5, 3)])
    cars = [Car(plate="AB12CDE", where=first), Car(plate="AB12CDF", where=second)]
    return Case(
        about="Two cars with similar plates stop in the same place, 1.5 s after one another.",
        recording=Recording(frames=simulate(cars, times(0, 13, 10), seed=5)),
        events=[
            _event("AB12CDE", seen_s=(0.5, 3), by_s=3.3),
            _event("AB12CDF", seen_s=(5.2, 7), by_s=7.3),
        ],
    )


def comes_back_after_ten_minutes() -> Case:
    cars = [approach("GK07HHS", begin_s=0.5), approach("GK07HHS", begin_s=602.0)]
    when = [*times(0, 5, 10), *times(5, 600, 0.2), *times(600, 607, 10)]
    return Case(
        about="The same car passes again ten minutes later: a new pass.",
        recording=Recording(frames=simulate(cars, when, seed=6)),
        events=[
            _event("GK07HHS", seen_s=(0.5, 2.6), by_s=10.0),
            _event("GK07HHS", seen_s=(602.0, 604.1), by_s=606.4),
        ],
    )


def flickering_detections() -> Case:
    where = drive((0.5, 22.0), (0.0, -3.0), begin_s=0.5, end_s=6.5)
    car = Car(plate="KT09VXM", where=where, missed=0.6, misreads=0.2)
    return Case(
        about="A plate found in four of ten frames, one of five reads wrong.",
        recording=Recording(frames=simulate([car], times(0, 10, 15), seed=7)),
        events=[_event("KT09VXM", seen_s=(0.5, 5.6), by_s=6.2)],
    )


def clock_set_back() -> Case:
    def wall(t_s: float) -> datetime:
        return START + timedelta(seconds=t_s) - timedelta(hours=1 if t_s >= 1.5 else 0)

    car = approach("NV11OPA", begin_s=0.5)
    return Case(
        about="The wall clock is set back by an hour while a car passes.",
        recording=Recording(frames=simulate([car], times(0, 6, 15), seed=8, wall=wall)),
        events=[_event("NV11OPA", seen_s=(0.5, 2.6), by_s=4.8, wall_shift_s=-3600)],
    )


def hard_cut() -> Case:
    cars = [
        Car(plate="HR26DKB", where=drive((0.5, 10.0), (0, -0.5), begin_s=0.5, end_s=4.0)),
        Car(plate="MH12JZP", where=drive((0.55, 8.4), (0, -0.5), begin_s=4.0, end_s=7.5)),
    ]
    return Case(
        about="A cut in the video: another car creeps where the first one crept a frame before.",
        recording=Recording(frames=simulate(cars, times(0, 12, 10), seed=9)),
        events=[
            _event("HR26DKB", seen_s=(0.5, 2.0), by_s=3.5),
            _event("MH12JZP", seen_s=(4.0, 5.5), by_s=7.0),
        ],
    )


def doubled_detections() -> Case:
    return Case(
        about="Every plate is reported twice, one box upon the other.",
        recording=Recording(
            frames=simulate(
                [approach("SN13ZZD", begin_s=0.5, doubled=True)], times(0, 6, 15), seed=10
            )
        ),
        events=[_event("SN13ZZD", seen_s=(0.5, 2.6), by_s=4.8)],
    )


def parked_all_the_time() -> Case:
    car = Car(plate="WM64YCP", where=lambda _: (1.0, 9.0))
    return Case(
        about="A parked car in sight from the first to the last frame, five minutes.",
        recording=Recording(frames=simulate([car], times(0, 300, 2), seed=11)),
        events=[_event("WM64YCP", seen_s=(0, 5), by_s=5.6, direction=None)],
    )


def parked_with_misreads() -> Case:
    car = Car(plate="OB58UDQ", where=lambda _: (1.0, 11.0), misreads=0.4, missed=0.2)
    return Case(
        about="A parked car whose plate is misread in four of ten frames.",
        recording=Recording(frames=simulate([car], times(0, 120, 4), seed=12)),
        events=[_event("OB58UDQ", seen_s=(0, 5), by_s=8.0, direction=None)],
    )


def parked_with_one_odd_misread() -> Case:
    car = Car(plate="EA55TRG", where=lambda _: (1.0, 9.0), misreads=0.15, misread_as="E4SSIRC")
    return Case(
        about="A parked car; one read in seven is wrong, surely and always in the same way.",
        recording=Recording(frames=simulate([car], times(0, 120, 4), seed=17)),
        events=[_event("EA55TRG", seen_s=(0, 5), by_s=8.0, direction=None)],
    )


def looped_clip() -> Case:
    cars = [
        Car(
            plate="LS15EBC",
            where=drive((0.3, 18.0), (0.0, -3.0), begin_s=4.6 * loop, end_s=4.6 * (loop + 1)),
        )
        for loop in range(3)
    ]
    return Case(
        about="A clip that is played three times without a pause: the car comes near, and is far "
        "away again in the next frame. No car can do that, so each round is a pass.",
        recording=Recording(frames=simulate(cars, times(0, 17, 15), seed=13)),
        events=[
            _event("LS15EBC", seen_s=(4.6 * k, 4.6 * (k + 1)), by_s=4.6 * (k + 1) + 2.2)
            for k in range(3)
        ],
    )


def looped_clip_with_a_pause() -> Case:
    cars = [
        Car(
            plate="LS15EBC",
            where=drive((0.3, 8.0), (0.1, -0.9), begin_s=6.1 * loop, end_s=6.1 * loop + 4.6),
        )
        for loop in range(3)
    ]
    return Case(
        about="A clip that is played three times with pauses of 1.5 s: the car comes near, and is "
        "far away again where it began. It cannot have gone back so fast, so each round is a pass.",
        recording=Recording(frames=simulate(cars, times(0, 20, 15), seed=18)),
        events=[
            _event("LS15EBC", seen_s=(6.1 * k, 6.1 * k + 4.6), by_s=6.1 * k + 6.8) for k in range(3)
        ],
    )


def looped_clip_with_a_sign() -> Case:
    cars: list[Car] = []
    for loop in range(3):
        begin_s = 4.6 * loop
        where = drive((-1.0, 8.0), (0.4, -0.9), begin_s=begin_s, end_s=begin_s + 4.6)
        sign = drive((-3.0, 8.5), (0, 0), begin_s=begin_s + 3.2, end_s=begin_s + 3.8)
        cars += [
            Car(plate="LS15EBC", where=where),
            Car(plate="-", where=sign, unreadable=True, kind=None),
        ]
    return Case(
        about="A looped clip without a pause; a sign without a text is found beside the place "
        "where the car begins, shortly before it does: the car's pass begins with the car.",
        recording=Recording(frames=simulate(cars, times(0, 17, 15), seed=19)),
        events=[
            _event("LS15EBC", seen_s=(4.6 * k, 4.6 * (k + 1)), by_s=4.6 * (k + 1) + 2.2)
            for k in range(3)
        ],
    )


def another_plate_after_it_left() -> Case:
    where = drive((-0.3, 8.5), (-0.9, -2.4), begin_s=0.5, end_s=2.0)
    standing = drive((-4.3, 10.0), (0, 0), begin_s=3.1, end_s=8.0)
    cars = [
        Car(plate="34A23126", where=where, region="VN"),
        Car(plate="-", where=standing, unreadable=True, missed=0.0, kind=None),
    ]
    return Case(
        about="A car leaves to the left; a second later a standing truck's plate, half as "
        "wide and never read, comes into sight on that side. It is not the car's.",
        recording=Recording(frames=simulate(cars, times(0, 12, 18), seed=20)),
        events=[_event("34A23126", seen_s=(0.5, 2.0), by_s=4.3)],
    )


def turns_while_it_comes_near() -> Case:
    car = Car(
        plate="89C20339",
        where=drive((0.8, 9.0), (-0.55, -0.85), begin_s=0.5, end_s=4.5),
        turned=lambda t_s: max(0.5, 1.0 - 0.16 * max(0.0, t_s - 0.5)),
        region="VN",
    )
    return Case(
        about="A car comes near and turns to the left: its plate grows higher, but not wider.",
        recording=Recording(frames=simulate([car], times(0, 8, 15), seed=21)),
        events=[_event("89C20339", seen_s=(0.5, 4.5), by_s=6.8)],
    )


def lettering_read_once() -> Case:
    cars = [
        approach("LS15EBC", begin_s=0.5),
        Car(plate="NHHIEN", where=drive((-3, 9), (0, 0), begin_s=1.5, end_s=1.55), missed=0.0,
            misreads=0.0, region=None, kind=None),
    ]  # fmt: skip
    return Case(
        about="While a car passes, the lettering of a bus is taken for a plate in a single frame.",
        recording=Recording(frames=simulate(cars, times(0, 6, 18), seed=22)),
        events=[_event("LS15EBC", seen_s=(0.5, 2.6), by_s=4.8)],
    )


def too_small_to_read() -> Case:
    car = Car(plate="YP61NEX", where=drive((3.0, 45.0), (0.0, -1.0), begin_s=0, end_s=6))
    return Case(
        about="A plate 12 pixels wide is followed but not read: no event.",
        recording=Recording(frames=simulate([car], times(0, 9, 10), seed=14)),
        events=[],
    )


def slow_frames() -> Case:
    where = drive((0.6, 24.0), (0.0, -7.0), begin_s=0.2, end_s=3.2)
    return Case(
        about="A car at 25 km/h before a camera of three frames a second.",
        recording=Recording(
            frames=simulate(
                [Car(plate="DL8CAF5", where=where, missed=0.0)], times(0, 7, 3), seed=15
            )
        ),
        events=[_event("DL8CAF5", seen_s=(0.2, 3.2), by_s=5.7)],
    )


def photographs() -> Case:
    plates = ["LS15EBC", "34A36837", "B123XYZ", "HR26DKB", "7ABC123"]
    cars = [
        Car(plate=p, where=drive((0.1 * i, 7.0), (0, 0), begin_s=i / 5, end_s=(i + 1) / 5),
            misreads=0.0, missed=0.0, region=None)
        for i, p in enumerate(plates)
    ]  # fmt: skip
    return Case(
        about="A folder of photographs, five a second, another car in the same place in each.",
        recording=Recording(frames=simulate(cars, times(0, 1, 5), seed=16)),
        events=[
            _event(p, seen_s=(i / 5, i / 5), by_s=None, direction=None)
            for i, p in enumerate(plates)
        ],
    )


def _event(
    plate: str,
    *,
    seen_s: tuple[float, float],
    by_s: float | None,
    direction: str | None = "approaching",
    vehicle: str | None = "car",
    wall_shift_s: float = 0.0,
) -> dict[str, Any]:
    return {
        "plate": plate,
        "seen_s": list(seen_s),
        "by_s": by_s,
        "direction": direction,
        "vehicle": vehicle,
        "wall_shift_s": wall_shift_s,
    }


CASES: tuple[Callable[[], Case], ...] = (
    one_car,
    two_cars_side_by_side,
    stops_for_a_minute,
    behind_a_post,
    similar_plates_in_a_row,
    comes_back_after_ten_minutes,
    flickering_detections,
    clock_set_back,
    hard_cut,
    doubled_detections,
    parked_all_the_time,
    parked_with_misreads,
    parked_with_one_odd_misread,
    looped_clip,
    looped_clip_with_a_pause,
    looped_clip_with_a_sign,
    another_plate_after_it_left,
    turns_while_it_comes_near,
    lettering_read_once,
    too_small_to_read,
    slow_frames,
    photographs,
)


def main(folder: Path) -> None:
    for make in CASES:
        case = make()
        home = folder / make.__name__.replace("_", "-")
        home.mkdir(parents=True, exist_ok=True)
        save(case.recording, home / "frames.jsonl")
        expected = {"about": case.about, "start": START.isoformat(), "events": case.events}
        (home / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
