"""O and 0, I and 1: what their neighbours make of them."""

from __future__ import annotations

import pytest

from alprd.core.twins import settle_twins
from alprd.core.types import Candidate


def ranked(**probabilities: float) -> list[str]:
    given = [Candidate(plate=text, confidence=p) for text, p in probabilities.items()]
    settled = settle_twins(given)
    assert sum(c.confidence for c in settled) == pytest.approx(sum(probabilities.values()))
    return [c.plate for c in settled]


def test_a_zero_among_letters_gives_way_to_an_o_that_is_nearly_as_probable() -> None:
    assert ranked(TO0LAZY=0.5, TOOLAZY=0.4)[0] == "TOOLAZY"
    assert ranked(ALPHA9O=0.5, ALPHA90=0.45)[0] == "ALPHA90"
    assert ranked(FL1CKR=0.5, FLICKR=0.4)[0] == "FLICKR"


def test_a_confident_read_stays_as_it_was_read() -> None:
    assert ranked(TO0LAZY=0.8, TOOLAZY=0.1) == ["TO0LAZY", "TOOLAZY"]


def test_where_the_neighbours_differ_nothing_is_settled() -> None:
    given = (Candidate(plate="TBI2", confidence=0.5), Candidate(plate="TB12", confidence=0.49))
    assert settle_twins(given) == given


def test_other_look_alikes_and_other_texts_are_left_alone() -> None:
    for other in ("LBRGBR3", "L8RGER3", "L8RG8R33"):
        given = (Candidate(plate="L8RG8R3", confidence=0.5), Candidate(plate=other, confidence=0.4))
        assert settle_twins(given) == given
    assert settle_twins(()) == ()
