"""O and 0, I and 1: what their neighbours make of them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from alprd.core.twins import settle_twins
from alprd.core.types import Candidate


def ranked(regions: Mapping[str, float] | None = None, /, **probabilities: float) -> list[str]:
    given = [Candidate(plate=text, confidence=p) for text, p in probabilities.items()]
    settled = settle_twins(given, regions or {})
    assert sum(c.confidence for c in settled) == pytest.approx(sum(probabilities.values()))
    return [c.plate for c in settled]


def test_a_zero_among_letters_gives_way_to_an_o_that_is_nearly_as_probable() -> None:
    assert ranked(TO0LAZY=0.5, TOOLAZY=0.4)[0] == "TOOLAZY"
    assert ranked(ALPHA9O=0.5, ALPHA90=0.45)[0] == "ALPHA90"
    assert ranked(FL1CKR=0.5, FLICKR=0.4)[0] == "FLICKR"


def test_a_confident_read_stays_as_it_was_read() -> None:
    assert ranked(TO0LAZY=0.8, TOOLAZY=0.1) == ["TO0LAZY", "TOOLAZY"]
    assert ranked(A0B0C0=0.8, AOBOCO=0.2) == ["A0B0C0", "AOBOCO"]
    assert ranked(H0H1A=0.75, HOHIA=0.2) == ["H0H1A", "HOHIA"]
    assert ranked(H0H1A=0.67, HOHIA=0.33) == ["H0H1A", "HOHIA"]


def test_however_many_changes_a_text_does_without_it_gains_the_same() -> None:
    given = [Candidate(plate="A0B0C0", confidence=0.6), Candidate(plate="AOBOCO", confidence=0.4)]
    best, other = settle_twins(given, {})
    assert best.plate == "AOBOCO"
    assert best.confidence / other.confidence == pytest.approx(2.0 * 0.4 / 0.6)


def test_a_serial_of_where_the_plate_probably_is_from_stays_as_it_was_read() -> None:
    """Brazil issues both forms; the newer one has a letter among its digits."""
    assert ranked({"BR": 0.95}, ABC1I23=0.68, ABC1123=0.31)[0] == "ABC1I23"
    assert ranked({"BR": 0.95}, ABC1I23=0.51, ABC1123=0.48)[0] == "ABC1I23"
    assert ranked({"IN": 0.9}, MH12O1234=0.62, MH1201234=0.36)[0] == "MH12O1234"
    assert ranked({"BR": 0.05, "GB": 0.9}, ABC1I23=0.51, ABC1123=0.48)[0] == "ABC1123"


def test_where_the_neighbours_differ_nothing_is_settled() -> None:
    given = (Candidate(plate="TBI2", confidence=0.5), Candidate(plate="TB12", confidence=0.49))
    assert settle_twins(given, {}) == given


def test_other_look_alikes_and_other_texts_are_left_alone() -> None:
    for other in ("LBRGBR3", "L8RGER3", "L8RG8R33"):
        given = (Candidate(plate="L8RG8R3", confidence=0.5), Candidate(plate=other, confidence=0.4))
        assert settle_twins(given, {}) == given
    assert settle_twins((), {}) == ()
