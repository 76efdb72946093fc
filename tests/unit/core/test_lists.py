"""Plate lists: what a file may say, and which lists a plate is on."""

from __future__ import annotations

import pytest

from alprd.core.lists import PlateList, PlateListError, lists_of, parse_plates


def named(name: str, *plates: str, fuzzy: bool = True) -> PlateList:
    return PlateList(name=name, plates=frozenset(plates), fuzzy=fuzzy)


def names(plate: str, *lists: PlateList) -> list[str]:
    return [each.name for each in lists_of(plate, lists)]


def test_a_file_holds_one_plate_per_line_and_remarks() -> None:
    text = "\ufeff# staff\nls15 ebc  # Ann\n\n B-MW·1234, the boss\r\nK 7;XLS\nLS15EBC\n"
    assert parse_plates(text) == {"LS15EBC", "BMW1234", "K7"}


@pytest.mark.parametrize("line", ["MÜ X 12", "AB?12", "\u0410\u041212"])
def test_a_character_that_no_plate_is_read_with_is_named_with_its_line(line: str) -> None:
    with pytest.raises(PlateListError, match=r"line 2: .*; write A-Z"):
        parse_plates(f"AB12CDE\n{line}\n")


def test_a_refused_line_quotes_no_plate() -> None:
    with pytest.raises(PlateListError) as refused:
        parse_plates("AB12CDE!")
    assert "AB12CDE" not in str(refused.value)


def test_a_line_of_prose_is_no_plate() -> None:
    with pytest.raises(PlateListError, match="line 1: 26 characters"):
        parse_plates("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def test_an_exact_list_takes_no_other_character() -> None:
    assert names("AB12CDE", named("staff", "AB12CDE", fuzzy=False)) == ["staff"]
    assert names("AB12CDF", named("staff", "AB12CDE", fuzzy=False)) == []


@pytest.mark.parametrize("read", ["AB12CDF", "A812CDE", "B12CDE", "AB12CD", "XAB12CDE", "AB12CDEX"])
def test_a_fuzzy_list_takes_one_wrong_missing_or_additional_character(read: str) -> None:
    assert names(read, named("staff", "AB12CDE")) == ["staff"]


@pytest.mark.parametrize("read", ["AB12CFF", "BA12CDE", "AB12C", "A812CDF"])
def test_a_fuzzy_list_takes_no_second_character(read: str) -> None:
    assert names(read, named("staff", "AB12CDE")) == []


@pytest.mark.parametrize(
    ("read", "listed"), [("A8C1", "ABC1"), ("AB1C", "AB1CD"), ("AB1CD", "AB1C")]
)
def test_a_short_text_matches_exactly_or_not_at_all(read: str, listed: str) -> None:
    assert names(read, named("staff", listed)) == []


def test_a_plate_on_one_list_is_never_taken_for_its_neighbour_on_another() -> None:
    allow, deny = named("allow", "AB12CDE"), named("deny", "AB12CDF", "A812CDE")
    assert names("AB12CDE", allow, deny) == ["allow"]


def test_a_look_alike_is_preferred_to_any_other_wrong_character() -> None:
    allow, deny = named("allow", "AB12CDE"), named("deny", "AX12CDE")
    assert names("A812CDE", allow, deny) == ["allow"]
    assert names("AY12CDE", allow, deny) == ["allow", "deny"]  # nothing tells which


def test_an_exact_match_on_two_lists_names_both_in_their_order() -> None:
    lists = named("deny", "AB12CDE", fuzzy=False), named("staff", "AB12CDE")
    assert names("AB12CDE", *lists) == ["deny", "staff"]
