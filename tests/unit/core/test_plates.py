"""How alike texts are, and what serials may and may not do to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alprd.core.formats import SERIALS, follows_serial
from alprd.core.observe import usable_read
from alprd.core.plates import (
    clearly_different,
    edit_distance,
    is_fragment,
    look_alike,
    nearly_same,
    rank_by_format,
)
from alprd.core.types import ALPHABET, Candidate
from alprd.core.voting import Ballot, vote
from support.plates_in_frames import make_read

TEXTS = st.text(ALPHABET, max_size=8)


@given(TEXTS, TEXTS, TEXTS)
def test_edit_distance_is_a_metric(a: str, b: str, c: str) -> None:
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, b) == edit_distance(b, a)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def test_edit_distance_counts_single_edits() -> None:
    assert edit_distance("LS15EBC", "L515EBC") == 1
    assert edit_distance("LS15EBC", "S15EBC") == 1
    assert edit_distance("LS15EBC", "") == 7


def test_nearly_the_same_needs_enough_characters() -> None:
    assert nearly_same("AB12CDE", "AB12CDF")
    assert not nearly_same("A12", "A13")
    assert nearly_same("LS15EBC", "15EBC")


def test_a_half_covered_plate_is_not_another_plate() -> None:
    assert is_fragment("LS15EBC", "EBC")
    assert not is_fragment("LS15EBC", "BC")
    assert not clearly_different("LS15EBC", "EBC")
    assert clearly_different("LS15EBC", "34A36837")
    assert not clearly_different("LS15EBC", "L5I5EBC")


@pytest.mark.parametrize("text", ["MH12ABC1234", "182WW123456"])
def test_the_longest_plate_of_a_format_can_be_read_and_voted(text: str) -> None:
    assert any(follows_serial(text, region) for region in SERIALS)
    read = usable_read(make_read(text))
    assert read is not None
    found = vote([Ballot(read=read, weight=1.0)])
    assert found is not None
    assert found.published == text


def test_a_format_decides_between_look_alikes_that_are_about_equally_probable() -> None:
    ranked = rank_by_format(
        [
            Candidate(plate="LSI5EBC", confidence=0.5),
            Candidate(plate="LS15EBC", confidence=0.4),
            Candidate(plate="LSJ5EBC", confidence=0.05),
        ],
        {"GB": 0.9, "RO": 0.1},
    )
    assert [c.plate for c in ranked] == ["LS15EBC", "LSI5EBC", "LSJ5EBC"]
    assert sum(c.confidence for c in ranked) == pytest.approx(0.95)


def test_a_format_of_a_region_that_is_hardly_likely_decides_nothing() -> None:
    texts = [
        Candidate(plate="LSI5EBC", confidence=0.5),
        Candidate(plate="LS15EBC", confidence=0.4),
    ]
    ranked = rank_by_format(texts, {"GB": 0.02, "unknown": 0.98})
    assert [c.plate for c in ranked] == ["LSI5EBC", "LS15EBC"]


def test_a_format_never_overwrites_a_confident_read() -> None:
    sure = [
        Candidate(plate="LSI5EBC", confidence=0.9),
        Candidate(plate="LS15EBC", confidence=0.09),
    ]
    assert rank_by_format(sure, {"GB": 1.0}) == tuple(sure)


def test_a_format_never_promotes_what_looks_different() -> None:
    texts = [
        Candidate(plate="LSX5EBC", confidence=0.5),
        Candidate(plate="LS15EBC", confidence=0.4),
    ]
    assert not look_alike("LSX5EBC", "LS15EBC")
    assert rank_by_format(texts, {"GB": 1.0}) == tuple(texts)


def test_without_a_known_region_the_order_stays() -> None:
    texts = [
        Candidate(plate="LSI5EBC", confidence=0.5),
        Candidate(plate="LS15EBC", confidence=0.4),
    ]
    assert rank_by_format(texts, {}) == tuple(texts)
    assert rank_by_format(texts, {"ZZ": 1.0}) == tuple(texts)
    assert rank_by_format([], {"GB": 1.0}) == ()
