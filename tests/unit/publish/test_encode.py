"""What goes into a message is valid JSON in valid UTF-8, whatever a file is called."""

from __future__ import annotations

import json

import pytest

from alprd.publish.sink import encode


def test_text_is_written_as_utf8_without_blanks() -> None:
    assert encode({"a": "straße", "b": [1, None]}) == '{"a":"straße","b":[1,null]}'.encode()


def test_a_byte_that_is_not_utf8_costs_its_character_and_not_the_message() -> None:
    assert json.loads(encode({"last_error": "stra\udcdfe.mp4"})) == {"last_error": "stra?e.mp4"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_know_is_an_error(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode({"x": value})
