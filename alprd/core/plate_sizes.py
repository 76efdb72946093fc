"""How wide plates are, by the country that issued them, for whoever measures with them.

Only widths that a country's plates commonly have; of look-alikes in size the fit decides, and a
plate of none of these widths is told by how badly it fits (`core.parallax`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from alprd.core.types import Region

SURE_REGION: Final = 0.8
"""A region less probable than this tells no width."""

EUROPEAN: Final = (0.52, 0.34, 0.21)
AMERICAN: Final = (0.305, 0.178)

WIDTHS_M: Final[Mapping[str, tuple[float, ...]]] = {
    **dict.fromkeys(
        ("BE", "BG", "CZ", "DK", "EE", "ES", "FR", "GR", "HR", "HU", "IE", "LT", "LU", "LV", "NL",
         "NO", "PL", "PT", "RO", "RS", "SE", "SI", "SK", "TR", "UA"),
        EUROPEAN,
    ),
    "AT": (0.52, 0.46, 0.21),
    "AU": (0.372, 0.225),
    "BR": (0.40, 0.20),
    "CA": AMERICAN,
    "CN": (0.44, 0.48, 0.22),
    "DE": (0.52, 0.46, 0.34, 0.28, 0.22, 0.18),
    "GB": (0.52, 0.285, 0.229),
    "IL": (0.52, 0.32, 0.17),
    "IT": (0.52, 0.36, 0.297, 0.177),
    "JP": (0.33, 0.44, 0.23),
    "MX": (0.30, 0.18),
    "US": AMERICAN,
}  # fmt: skip
"""Metres, by ISO 3166 code: cars in one line, in two, and motorcycles."""


def widths_of(region: Region | None) -> tuple[float, ...]:
    """The widths of a region's plates, metres; () where that is not known or not sure."""
    if region is None or region.confidence < SURE_REGION:
        return ()
    return WIDTHS_M.get(region.code.split("-", maxsplit=1)[0], ())
