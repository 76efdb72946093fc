"""The vote on a plate's country and state."""

from __future__ import annotations

import pytest

from alprd.core.regions import vote_region


def test_states_that_cannot_be_told_apart_still_give_their_country() -> None:
    found = vote_region([(("US-OH", 0.3), ("US", 0.25), ("US-CA", 0.25), ("CA", 0.1))], [1.0])
    assert found is not None
    assert (found.code, found.confidence) == ("US", pytest.approx(0.8))


def test_a_sure_state_is_published() -> None:
    reads = [(("US-CA", 0.9), ("US", 0.05)), (("US-CA", 0.5), ("US", 0.3))]
    found = vote_region(reads, [1.0, 1.0])
    assert found is not None
    assert (found.code, found.confidence) == ("US-CA", pytest.approx(0.7))


def test_a_state_does_not_win_against_a_more_probable_country() -> None:
    found = vote_region([(("US-CA", 0.35), ("GB", 0.45))], [1.0])
    assert found is not None
    assert found.code == "GB"


def test_nothing_is_said_when_unknown_wins_or_no_read_votes() -> None:
    assert vote_region([(("unknown", 0.8), ("GB", 0.2))], [1.0]) is None
    assert vote_region([(), ()], [1.0, 1.0]) is None
    assert vote_region([], []) is None
    assert vote_region([(("GB", 0.9),)], [0.0]) is None


def test_reads_without_regions_take_no_share_of_the_confidence() -> None:
    found = vote_region([(("RO", 0.9),), ()], [1.0, 5.0])
    assert found is not None
    assert found.confidence == pytest.approx(0.9)


def test_a_code_that_is_no_region_code_is_not_published() -> None:
    assert vote_region([(("north", 0.9),)], [1.0]) is None
    found = vote_region([(("US-texas", 0.9),)], [1.0])
    assert found is not None
    assert found.code == "US"
