"""Which observation belongs to which track."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from alprd.core import matching
from alprd.core.matching import associate, forecast, reachable
from alprd.core.observe import Observation
from alprd.core.tracking import MAX_PATH, MAX_READS, MAX_TEXTS, Track, begin, own, see
from support.plates_in_frames import make_observation, make_read


def follow(track_id: int, observations: Sequence[Observation]) -> Track:
    track = begin(track_id, observations[0])
    for seen in observations[1:]:
        track = own(see(track, seen), seen)
    return track


def moving(track_id: int, *, speed_px_s: float, text: str | None = None, until: int = 10) -> Track:
    read = None if text is None else make_read(text)
    return follow(
        track_id,
        [make_observation(i / 10, 300 + speed_px_s * i / 10, read=read) for i in range(until)],
    )


def test_a_plate_is_looked_for_where_its_velocity_takes_it() -> None:
    ahead = forecast(moving(1, speed_px_s=200.0), 1.9)
    assert abs(ahead.x_px - 680.0) < 0.01
    assert ahead.known


def test_a_car_far_away_is_never_taken_for_the_same() -> None:
    track = follow(1, [make_observation(0.0, 40.0, 40.0)])
    assert associate([track], [make_observation(0.04, 1240.0, 690.0)]) == []


def test_a_new_car_is_not_taken_for_the_only_track() -> None:
    track = moving(1, speed_px_s=0.0)
    known, new = make_observation(1.0, 302.0), make_observation(1.0, 900.0)
    assert associate([track], [new, known]) == [(0, 1)]


def test_crossing_cars_keep_their_tracks() -> None:
    right = moving(1, speed_px_s=300.0)
    left = follow(2, [make_observation(i / 10, 870.0 - 30 * i) for i in range(10)])
    at_1_1 = [make_observation(1.1, 540.0), make_observation(1.1, 630.0)]
    assert sorted(associate([right, left], at_1_1)) == [(0, 1), (1, 0)]


def test_the_text_decides_between_places_that_are_equally_near() -> None:
    a = follow(1, [make_observation(0.0, 600.0, read=make_read("LS15EBC"))])
    seen = [
        make_observation(0.5, 700.0, read=make_read("34A36837")),
        make_observation(0.5, 500.0, read=make_read("LS15EBC")),
    ]
    assert associate([a], seen) == [(0, 1)]


def test_a_misread_in_the_tracks_own_place_stays_with_it() -> None:
    track = moving(1, speed_px_s=0.0, text="LS15EBC")
    assert associate([track], [make_observation(1.0, read=make_read("34A36837"), x=303.0)]) == [
        (0, 0)
    ]


def test_a_clearly_different_text_after_a_gap_is_another_car() -> None:
    track = moving(1, speed_px_s=0.0, text="LS15EBC")
    later = make_observation(2.4, 303.0, read=make_read("34A36837"))
    assert associate([track], [later]) == []


def test_a_similar_text_after_a_gap_is_another_car_only_where_it_is_sure() -> None:
    track = moving(1, speed_px_s=0.0, text="AB12CDE")
    sure = make_observation(2.4, 303.0, read=make_read("AB12CDF"))
    unsure = make_observation(2.4, 303.0, read=make_read("AB12CDF", doubts={6: ("E", 0.4)}))
    assert associate([track], [sure]) == []
    assert associate([track], [unsure]) == [(0, 0)]


def test_no_car_becomes_far_away_from_one_frame_to_the_next() -> None:
    near = follow(
        1,
        [
            make_observation(i / 10, 600.0, 300.0 + 10 * i, 80.0 + 4 * i, read=make_read())
            for i in range(20)
        ],
    )
    again = make_observation(2.0, 600.0, 300.0, 80.0, read=make_read())
    assert not reachable(near, again)
    assert associate([near], [again]) == []


def leaving(*, until_s: float = 1.5) -> Track:
    """A plate on its way out of the picture, down to the left; 100 px wide in the end."""
    steps = round(until_s * 18)
    return follow(
        1,
        [
            make_observation(
                i / 18, 600 - 11 * i, 500 + 7 * i, 70 + 30 * i / steps, read=make_read("34A23126")
            )
            for i in range(steps)
        ],
    )


def test_a_plate_without_a_text_is_not_taken_for_one_that_left() -> None:
    track = leaving()
    for gap_s in (0.7, 1.0, 1.3, 1.9):
        standing = make_observation(track.last.t_s + gap_s, 120.0, 560.0, 60.0)
        assert associate([track], [standing]) == []


def test_a_read_plate_is_not_taken_for_one_without_a_text_that_was_lost_elsewhere() -> None:
    sign = follow(1, [make_observation(i / 10, 361.0, 409.0, 65.0) for i in range(6)])
    car = make_observation(1.3, 531.0, 489.0, 83.0, read=make_read())
    assert associate([sign], [car]) == []


def test_a_plate_without_a_text_continues_the_track_it_lies_on() -> None:
    coming, parked = leaving(until_s=0.8), moving(1, speed_px_s=0.0, text="LS15EBC")
    ahead = forecast(coming, coming.last.t_s + 0.1)
    blurred = make_observation(coming.last.t_s + 0.1, ahead.x_px + 20, ahead.y_px, 97.0)
    assert associate([coming], [blurred]) == [(0, 0)]
    assert associate([parked], [make_observation(2.5, 310.0)]) == [(0, 0)]


def test_a_plate_that_came_near_is_not_far_away_again_after_a_pause() -> None:
    near = follow(
        1,
        [
            make_observation(i / 10, 600.0, 300.0 + 4 * i, 80.0 + 3 * i, read=make_read())
            for i in range(20)
        ],
    )
    for pause_s in (0.1, 0.5, 1.0, 1.9):
        again = make_observation(1.9 + pause_s, 600.0, 300.0, 80.0, read=make_read())
        assert not reachable(near, again)
        hidden = make_observation(1.9 + pause_s, 600.0, 380.0, 135.0, read=make_read())
        assert reachable(near, hidden)


def test_a_plate_that_crossed_is_not_back_where_it_began_after_a_pause() -> None:
    crossing = moving(1, speed_px_s=500.0, text="LS15EBC")
    assert not reachable(crossing, make_observation(2.4, 300.0, read=make_read()))
    assert reachable(crossing, make_observation(2.4, 1250.0, read=make_read()))


def test_ties_go_to_the_older_track_whatever_the_order() -> None:
    old, young = follow(1, [make_observation()]), follow(2, [make_observation()])
    seen = [make_observation(0.1)]
    assert associate([old, young], seen) == [(0, 0)]
    assert associate([young, old], seen) == [(1, 0)]


def test_a_track_that_lasts_for_hours_stays_small() -> None:
    texts = [f"AB{i:03d}XY" for i in range(900)]
    track = follow(
        1, [make_observation(i / 5, read=make_read(text)) for i, text in enumerate(texts)]
    )
    assert len(track.path) <= MAX_PATH
    assert len(track.reads) <= MAX_READS
    assert len(track.tally) <= MAX_TEXTS
    assert track.reads_count == 900
    assert track.path[0].t_s == 0.0


@pytest.mark.parametrize("seed", range(6))
def test_in_a_crowd_leaving_out_far_pairs_changes_nothing(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)  # noqa: S311 - the same in every run
    texts = [None, "LS15EBC", "LS15EBD", "HK07RTV"]

    def some(t_s: float, places: list[tuple[float, float]]) -> list[Observation]:
        return [
            make_observation(
                t_s,
                x + rng.gauss(0.0, 60.0),
                y + rng.gauss(0.0, 60.0),
                rng.uniform(40.0, 120.0),
                read=None if (text := rng.choice(texts)) is None else make_read(text),
            )
            for x, y in places
        ]

    places = [(rng.uniform(0.0, 1280.0), rng.uniform(0.0, 720.0)) for _ in range(25)]
    tracks = [begin(i, seen) for i, seen in enumerate(some(0.0, places), 1)]
    tracks = [see(t, s) if rng.random() < 0.5 else t
              for t, s in zip(tracks, some(0.1, places), strict=True)]  # fmt: skip
    for dt_s in (0.05, 0.4, 1.5):
        seen = some(0.1 + dt_s, places)
        monkeypatch.setattr(matching, "FEW_PAIRS", 0)
        few = associate(tracks, seen)
        monkeypatch.setattr(matching, "FEW_PAIRS", 10**6)
        assert associate(tracks, seen) == few
        assert few
