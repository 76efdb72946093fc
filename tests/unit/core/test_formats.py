"""Serials as data: which texts they are, and how likely that makes a text."""

from __future__ import annotations

import itertools
import re

import pytest

from alprd.core.formats import CODES, ISSUED, SERIALS, follows_serial, text_likelihood
from alprd.core.types import ALPHABET


@pytest.mark.parametrize(
    ("region", "text"),
    [
        ("GB", "LS15EBC"), ("TR", "34A36837"), ("RO", "B123XYZ"), ("DE", "BAB1234E"),
        ("FR", "AA123AA"), ("ES", "1234BCD"), ("NL", "GZ123R"), ("IN", "DL8CAF5030"),
        ("US-CA", "7ABC123"), ("BR", "ABC1D23"), ("PL", "WA12345"), ("IT", "AB123CD"),
        ("IE", "182WW123456"), ("US-NY", "ABC1234"), ("CH", "ZH123456"),
    ],
)  # fmt: skip
def test_a_usual_plate_follows_its_regions_serials(region: str, text: str) -> None:
    assert follows_serial(text, region)
    assert not follows_serial("I" * 9, region)


def test_a_state_that_is_not_listed_has_its_countrys_serials() -> None:
    assert follows_serial("LS15EBC", "GB-SCT")
    assert text_likelihood("LS15EBC", "GB-SCT") == text_likelihood("LS15EBC", "GB")


def test_of_a_region_without_serials_nothing_is_known() -> None:
    assert text_likelihood("LS15EBC", "ZZ") is None
    assert not follows_serial("LS15EBC", "ZZ")


@pytest.mark.parametrize("region", sorted(SERIALS))
def test_every_region_allows_every_text_and_its_own_serials_most(region: str) -> None:
    other, serials = SERIALS[region]
    assert re.fullmatch(r"[A-Z]{2}(-[A-Z]{2})?", region)
    assert 0.0 < other <= 0.3
    assert serials.split()
    for text in ("A", "LS15EBC", "GOBILLS", "00000000000", "ABCDEFGHIJKLMN"):
        likelihood = text_likelihood(text, region)
        assert likelihood is not None
        assert 0.0 < likelihood < 1.0


def test_likelihoods_of_all_short_texts_add_up_to_no_more_than_their_share() -> None:
    texts = ["".join(t) for n in (1, 2) for t in itertools.product(ALPHABET, repeat=n)]
    for region in ("GB", "US-CA", "AE"):
        whole = sum(text_likelihood(text, region) or 0.0 for text in texts)
        assert 0.0 < whole < 0.1


def test_the_commoner_serial_is_the_likelier_one_and_a_plate_of_choice_the_least() -> None:
    current, other = text_likelihood("7ABC123", "US-CA"), text_likelihood("GOBILLS", "US-CA")
    elsewhere = text_likelihood("7ABC123", "US-OH")
    assert current is not None
    assert other is not None
    assert elsewhere is not None
    assert current > 100 * other
    assert current > 100 * elsewhere


def test_codes_and_letters_belong_to_regions_with_serials() -> None:
    assert set(CODES) | set(ISSUED) <= set(SERIALS)
    for region, letters in ISSUED.items():
        assert len(set(letters)) == len(letters), region
        assert set(letters) <= set(ALPHABET)
    for region, codes in CODES.items():
        for name in codes:
            assert name in SERIALS[region][1], region
