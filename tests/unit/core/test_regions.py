"""The vote on a plate's country and state: pictures and text weighed against each other."""

from __future__ import annotations

import pytest

from alprd.core.regions import region_posterior, sharpened, vote_region
from alprd.core.types import Candidate


def test_states_that_cannot_be_told_apart_still_give_their_country() -> None:
    found = vote_region([(("US-OH", 0.3), ("US", 0.25), ("US-CA", 0.25), ("CA", 0.1))], [1.0])
    assert found is not None
    assert found.code == "US"
    assert found.confidence > 0.8


def test_a_sure_state_is_published() -> None:
    reads = [(("US-CA", 0.9), ("US", 0.05)), (("US-CA", 0.5), ("US", 0.3))]
    found = vote_region(reads, [1.0, 1.0])
    assert found is not None
    assert found.code == "US-CA"
    assert 0.6 < found.confidence < 0.9


def test_a_state_does_not_win_against_a_more_probable_country() -> None:
    found = vote_region([(("US-CA", 0.35), ("GB", 0.45))], [1.0])
    assert found is not None
    assert found.code == "GB"


LIKE_TWINS = (("SE", 0.45), ("GB", 0.5), ("unknown", 0.05))


def test_the_form_of_the_text_decides_between_regions_that_look_alike() -> None:
    swedish = vote_region([LIKE_TWINS], [1.0], [Candidate(plate="TDR218", confidence=0.9)])
    british = vote_region([LIKE_TWINS], [1.0], [Candidate(plate="TD21ABC", confidence=0.9)])
    assert swedish is not None
    assert british is not None
    assert (swedish.code, british.code) == ("SE", "GB")


def test_a_second_guess_at_the_text_counts_as_much_as_it_is_probable() -> None:
    texts = [Candidate(plate="TDR2I8", confidence=0.6), Candidate(plate="TDR218", confidence=0.3)]
    found = vote_region([LIKE_TWINS], [1.0], texts)
    assert found is not None
    assert found.code == "SE"


def test_no_text_makes_a_region_impossible_that_the_pictures_show_clearly() -> None:
    clear = (("RO", 0.985), ("GB", 0.005), ("unknown", 0.01))
    for text in ("LS15EBC", "GOBILLS", "7ABC123", "0", "ABCDEFGHIJKLM"):
        found = vote_region([clear], [1.0], [Candidate(plate=text, confidence=1.0)])
        assert found is not None, text
        assert found.code == "RO", text


def test_a_region_without_known_serials_is_neither_favoured_nor_refused() -> None:
    seen = (("ZZ", 0.6), ("GB", 0.2), ("FR", 0.2))
    plain = region_posterior([seen], [1.0])
    told = region_posterior([seen], [1.0], [Candidate(plate="LS15EBC", confidence=1.0)])
    assert sum(told.values()) == pytest.approx(1.0)
    assert told["GB"] > plain["GB"]
    assert told["FR"] < told["ZZ"] < 1.0


def test_nothing_is_said_when_unknown_wins_or_no_read_votes() -> None:
    assert vote_region([(("unknown", 0.95), ("GB", 0.05))], [1.0]) is None
    assert vote_region([(), ()], [1.0, 1.0]) is None
    assert vote_region([], []) is None
    assert vote_region([(("GB", 0.9),)], [0.0]) is None


def test_reads_without_regions_take_no_share_of_the_confidence() -> None:
    seen = (("RO", 0.9), ("MD", 0.1))
    assert region_posterior([seen, ()], [1.0, 5.0]) == region_posterior([seen], [1.0])


def test_a_code_that_is_no_region_code_is_not_published() -> None:
    assert vote_region([(("north", 0.9),)], [1.0]) is None
    found = vote_region([(("US-texas", 0.9),)], [1.0])
    assert found is not None
    assert found.code == "US"


def test_expected_regions_are_likelier_and_none_is_ruled_out() -> None:
    torn = (("US-NY", 0.4), ("CA", 0.35), ("US-CA", 0.2), ("GB", 0.05))
    assert sharpened(torn, ()) == torn
    told = dict(sharpened(torn, ("US-CA",)))
    assert max(told, key=lambda code: told[code]) == "US-CA"
    assert sum(told.values()) == pytest.approx(1.0)
    assert told["GB"] > 0.0
    states = dict(sharpened(torn, ("US",)))
    assert states["US-NY"] / states["US-CA"] == pytest.approx(2.0)
    assert states["CA"] < 0.1


def test_a_plate_that_is_clearly_foreign_stays_so() -> None:
    clear = (("RO", 0.97), ("GB", 0.03))
    assert sharpened(clear, ("GB",))[0][0] == "RO"
    assert sharpened((), ("GB",)) == ()
    assert sharpened((("RO", 0.0),), ("GB",)) == (("RO", 0.0),)
