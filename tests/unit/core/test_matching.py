"""Which observation belongs to which track."""

from __future__ import annotations

from collections.abc import Sequence

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
