"""Keyed pseudonyms in the place of plates.

A pseudonym is `hmac:` and the first 32 hexadecimal digits of HMAC-SHA256(key, plate), key and plate
as UTF-8 text. The same plate has the same pseudonym as long as the key stays, on every device that
has it; so passes can be counted and matched without the text. Whoever has the key can find a
plate by trying out all of them: the key is what protects it. By hand:

    printf %s LS15EBC | openssl dgst -sha256 -hmac "$(cat privacy.key)" | cut -c1-32
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from typing import Final

from alprd.core.types import PlateEvent

PSEUDONYM_START: Final = "hmac:"
HEX_DIGITS: Final = 32
MIN_KEY_CHARS: Final = 32


def pseudonym(plate: str, key: bytes) -> str:
    """What stands for the plate."""
    return PSEUDONYM_START + hmac.new(key, plate.encode(), hashlib.sha256).hexdigest()[:HEX_DIGITS]


def without_plate(event: PlateEvent, key: bytes) -> PlateEvent:
    """The event with the pseudonym, and without what tells about the text.

    The candidates are texts themselves; the characters' confidences tell how many there are.
    """
    if event.plate is None:
        return event
    return replace(event, plate=pseudonym(event.plate, key), char_confidences=(), candidates=())
