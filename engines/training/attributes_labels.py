"""What the vehicle-attributes model is asked, and how the shared data's classes answer it.

Types are body styles: what a vehicle is used for (taxi, police, ambulance, school) is none. Where
a set's class allows several bodies, all of them count as right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TYPES = (
    "car",
    "suv",
    "van",
    "minibus",
    "bus",
    "truck",
    "pickup",
    "motorcycle",
    "three-wheeler",
)
COLOURS = (
    "white",
    "silver",
    "gray",
    "black",
    "red",
    "maroon",
    "blue",
    "green",
    "yellow",
    "orange",
    "brown",
    "beige",
    "multi",
    "unknown",
)
UNKNOWN = COLOURS.index("unknown")
MULTI = COLOURS.index("multi")
"""Learnt, so that no other colour has to stand for it, but never told: the best of the rest is."""
TOLD = tuple(name for name in COLOURS if name != "multi")
VIEWS = ("front", "front-side", "side", "rear-side", "rear")
MAKES = ("suzuki", "tata", "mahindra", "toyota", "hyundai", "other")
HEADS = {"type": TYPES, "color": COLOURS, "view": VIEWS, "make": MAKES}

STREET_TYPES: dict[str, tuple[str, ...]] = {
    "car": ("car",),
    "taxi": ("car",),
    "suv": ("suv",),
    "van": ("van",),
    "micro_bus": ("minibus",),
    "bus": ("bus",),
    "school_bus": ("bus", "minibus"),
    "truck": ("truck",),
    "mini_truck": ("pickup",),
    "transport_vehicle": ("pickup",),
    "motorcycle": ("motorcycle",),
    "scooter": ("motorcycle",),
    "auto_rickshaw": ("three-wheeler",),
    "e_rickshaw": ("three-wheeler",),
    "tempo": ("three-wheeler",),
    "ambulance": ("van", "minibus", "suv"),
    "police_vehicle": ("pickup", "suv", "van", "car", "truck"),
    "tractor": ("truck", "pickup"),
}
"""The merge of `vehicles-street`. A small lorry and a pick-up share a box on four wheels."""

HIGHWAY_TYPES: dict[str, tuple[str, ...]] = {
    "car": ("car", "suv", "van", "pickup"),
    "motorcycle": ("motorcycle",),
    "bus": ("bus", "minibus"),
    "truck": ("truck", "pickup"),
}
"""From above, and coarse: whatever people would call so."""

RARELY_LOOKED_AT = ("motorcycle", "three-wheeler")
"""Nobody labelled their colour or view: the model is taught to be unsure there."""

NEIGHBOURS: tuple[tuple[str, str, float], ...] = (
    ("white", "silver", 0.06),
    ("white", "beige", 0.02),
    ("silver", "gray", 0.06),
    ("silver", "beige", 0.03),
    ("gray", "black", 0.03),
    ("red", "maroon", 0.06),
    ("maroon", "brown", 0.03),
    ("yellow", "orange", 0.05),
    ("beige", "brown", 0.04),
)
"""Soft borders that people disagree about: this much of the belief goes across."""

SAME = (("white", "silver", "gray"), ("red", "maroon"), ("beige", "brown"))
"""Colours that count as right within neighbours."""


def types_of(image: str, name: str) -> tuple[int, ...]:
    """Indices of the types that an annotated class may be."""
    table = STREET_TYPES if image.startswith("vehicles-street") else HIGHWAY_TYPES
    return tuple(TYPES.index(kind) for kind in table[name])


def colour_targets(floor: float = 0.02) -> NDArray[np.float32]:
    """(14, 14): what to believe when the label is row k; rows sum to 1."""
    table = np.eye(len(COLOURS))
    for first, second, share in NEIGHBOURS:
        a, b = COLOURS.index(first), COLOURS.index(second)
        table[a, b] = table[b, a] = share
    for k in range(len(COLOURS)):
        table[k, k] = 2.0 - table[k].sum()
    return (table * (1 - floor) + floor / len(COLOURS)).astype(np.float32)


def view_targets(share: float = 0.05, floor: float = 0.02) -> NDArray[np.float32]:
    """(5, 5): the next view around the vehicle is nearly right."""
    count = len(VIEWS)
    table = np.eye(count)
    for k in range(count - 1):
        table[k, k + 1] = table[k + 1, k] = share
    for k in range(count):
        table[k, k] = 2.0 - table[k].sum()
    return (table * (1 - floor) + floor / count).astype(np.float32)


def same_colour(a: int, b: int) -> bool:
    """Whether two colours are the same, or neighbours as the figures count them."""
    pair = {COLOURS[a], COLOURS[b]}
    return a == b or any(pair <= set(group) for group in SAME)
