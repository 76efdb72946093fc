"""One text out of many reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alprd.core import voting
from alprd.core.types import ALPHABET, BLANK, PlateRead
from alprd.core.voting import Ballot, Vote, read_confidence, read_weight, surely_differ, vote
from support.plates_in_frames import make_read


def poll(*reads: PlateRead, weights: tuple[float, ...] | None = None) -> Vote:
    given_weights = weights or (1.0,) * len(reads)
    found = vote([Ballot(read=r, weight=w) for r, w in zip(reads, given_weights, strict=True)])
    assert found is not None
    return found


def test_without_reads_there_is_no_text() -> None:
    assert vote([]) is None
    assert vote([Ballot(read=make_read(""), weight=1.0)]) is None


def test_the_majority_corrects_a_misread_character() -> None:
    found = poll(make_read(), make_read("L515EBC"), make_read())
    assert found.plate == "LS15EBC"
    assert found.candidates[0].plate == "LS15EBC"
    assert "L515EBC" in [c.plate for c in found.candidates]


def test_reads_of_differing_length_are_aligned() -> None:
    found = poll(make_read("LS15EBC"), make_read("S15EBC"), make_read("LS15EBC"))
    assert found.plate == "LS15EBC"
    found = poll(make_read("LS15EBC"), make_read("LS1I5EBC"), make_read("LS15EBC"))
    assert found.plate == "LS15EBC"


def test_a_heavy_read_outvotes_light_ones() -> None:
    blurred, sharp = make_read("B123XYZ", sure=0.6), make_read("8123XYZ")
    assert poll(blurred, blurred, sharp, weights=(0.05, 0.05, 1.0)).plate == "8123XYZ"


def test_a_larger_and_surer_plate_counts_more() -> None:
    assert read_weight(make_read(), 120.0) > read_weight(make_read(), 40.0)
    assert read_weight(make_read(quality=0.9), 80.0) > 5 * read_weight(make_read(quality=0.05), 80)


def test_a_blurred_read_counts_less_than_a_sharp_one() -> None:
    found = poll(
        make_read("8123XYZ", sharpness=5.0, sure=0.9),
        make_read("B123XYZ", sharpness=100.0, sure=0.9),
    )
    assert found.plate == "B123XYZ"


def test_a_hundred_correlated_frames_are_no_certainty() -> None:
    unsure = make_read(sure=0.9, quality=0.6)
    one, hundred = poll(unsure), poll(*[unsure] * 100)
    assert one.confidence <= 0.6
    assert one.confidence < hundred.confidence < 0.9


def test_even_halves_stay_undecided() -> None:
    reads = [make_read("B123XYZ"), make_read("8123XYZ")] * 10
    found = poll(*reads)
    assert found.confidence == pytest.approx(0.5, abs=0.05)
    assert {c.plate for c in found.candidates[:2]} == {"B123XYZ", "8123XYZ"}


def test_the_readers_own_doubt_caps_the_confidence() -> None:
    assert poll(make_read(sure=0.999, quality=0.3)).confidence <= 0.3
    assert poll(make_read(sure=0.999, quality=None)).confidence > 0.9


def test_what_is_expected_of_the_region_is_told_from_what_was_seen_of_it() -> None:
    read = make_read("PLATE1X", regions=(("MC", 0.45), ("SM", 0.55)))
    found = vote([Ballot(read=read, weight=1.0, expected=("MC",))])
    plain = vote([Ballot(read=read, weight=1.0)])
    assert found is not None
    assert plain is not None
    assert found.region is not None
    assert found.region_seen is not None
    assert (found.region.code, found.region_seen.code) == ("MC", "SM")
    assert found.region_seen == plain.region_seen == plain.region


def test_clearly_different_reads_are_left_out_of_the_vote() -> None:
    found = poll(make_read(), make_read("34A36837"), make_read())
    assert found.plate == "LS15EBC"
    assert found.confidence > 0.8


def test_the_region_is_voted_and_unknown_is_none() -> None:
    gb, unknown = (("GB", 0.9), ("IE", 0.05)), (("unknown", 0.8), ("GB", 0.2))
    region = poll(make_read(regions=gb), make_read(regions=gb), make_read(regions=unknown)).region
    assert region is not None
    assert region.code == "GB"
    assert 0.6 < region.confidence < 0.98
    assert poll(make_read(regions=(("unknown", 0.99), ("GB", 0.01)))).region is None
    assert poll(make_read()).region is None


def test_the_regions_format_settles_a_close_call_only() -> None:
    close = make_read("LSI5EBC", doubts={2: ("1", 0.45)}, regions=(("GB", 0.95),))
    sure = make_read("LSI5EBC", doubts={2: ("1", 0.02)}, regions=(("GB", 0.95),))
    assert poll(close).published == poll(close).candidates[0].plate == "LS15EBC"
    assert poll(sure).published == "LSI5EBC"


def test_reads_are_compared_with_the_text_that_they_gave_not_with_the_one_a_format_made() -> None:
    found = poll(make_read("LSI5EBC", doubts={2: ("1", 0.45)}, regions=(("GB", 0.95),)))
    assert (found.plate, found.published) == ("LSI5EBC", "LS15EBC")
    assert found.char_confidences[2] == pytest.approx(0.55, abs=0.05)
    assert min(found.published_char_confidences) >= found.confidence > 0.6


def test_the_reads_own_doubt_also_caps_a_text_that_a_format_made() -> None:
    doubtful = make_read("LSI5EBC", quality=0.6, doubts={2: ("1", 0.45)}, regions=(("GB", 0.95),))
    assert poll(doubtful).published == "LS15EBC"
    assert poll(doubtful).confidence <= 0.6


def test_what_is_next_to_impossible_is_no_candidate() -> None:
    assert [c.plate for c in poll(*[make_read()] * 3).candidates] == ["LS15EBC"]
    unsure = poll(make_read(doubts={1: ("5", 0.3)}))
    assert [c.plate for c in unsure.candidates][:2] == ["LS15EBC", "L515EBC"]
    assert min(c.confidence for c in unsure.candidates) >= 0.01


def test_two_votes_surely_differ_only_where_both_are_sure() -> None:
    e, f = poll(make_read("AB12CDE")), poll(make_read("AB12CDF"))
    unsure = poll(make_read("AB12CDF", doubts={6: ("E", 0.4)}))
    assert surely_differ(e, f)
    assert not surely_differ(e, unsure)
    assert not surely_differ(e, e)
    assert not surely_differ(e, poll(make_read("AB12CD")))


def test_a_single_read_is_as_sure_as_the_reader_says_of_the_whole_text() -> None:
    assert read_confidence(make_read(sure=0.99, quality=None)) == pytest.approx(0.99**7, abs=1e-3)
    assert read_confidence(make_read(sure=0.99, quality=0.4)) == 0.4
    assert poll(make_read(sure=0.9, quality=None)).confidence <= 0.9**7 + 1e-6


READS = st.lists(
    st.tuples(
        st.text(ALPHABET, min_size=3, max_size=10),
        st.floats(0.05, 1.0),
        st.one_of(st.none(), st.floats(0.0, 1.0)),
        st.floats(0.01, 1e6),
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)  # the machine may be busy
@given(READS)
def test_any_vote_is_a_probability_over_its_own_text(
    reads: list[tuple[str, float, float | None, float]],
) -> None:
    ballots = [Ballot(read=make_read(t, sure=s, quality=q), weight=w) for t, s, q, w in reads]
    found = vote(ballots)
    if found is None:
        return
    assert len(found.char_confidences) == len(found.plate)
    assert len(found.published_char_confidences) == len(found.published)
    chars = (*found.char_confidences, *found.published_char_confidences)
    assert all(0.0 <= p <= 1.0 for p in (found.confidence, *chars))
    assert sum(c.confidence for c in found.candidates) <= 1.0 + 1e-6
    confidences = [c.confidence for c in found.candidates]
    assert confidences == sorted(confidences, reverse=True)
    assert found.candidates[0].plate == found.published


@pytest.mark.parametrize("seed", range(4))
def test_leaving_out_prefixes_that_cannot_be_among_the_best_changes_no_text(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = np.random.default_rng(seed).dirichlet(np.full(BLANK + 1, 0.3), 9)
    if seed % 2:  # several are alike, and of equals the text decides
        columns[:5] = 0.0
        columns[:5, [10, 11, BLANK]] = 1.0 / 3.0
    few = list(voting._best_texts(columns).items())
    monkeypatch.setattr(voting, "_LIKELY", voting._ALL)
    assert few
    assert list(voting._best_texts(columns).items()) == few
