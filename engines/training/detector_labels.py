"""What the annotations call things, what the net calls them, and how far each set is believed."""

from __future__ import annotations

from dataclasses import dataclass

PLATE, CAR, MOTORCYCLE, BUS, TRUCK = range(5)
ANY_VEHICLE, IGNORE_PLATE, NOT_PLATE, IGNORE_VEHICLE = 5, 6, 7, 8
# Three-wheelers, tractors, ambulances and police vehicles are vehicles of no agreed type.
CLASS_OF = {
    "plate": PLATE, "notplate": NOT_PLATE, "unsure": IGNORE_PLATE, "vehicle": ANY_VEHICLE,
    "car": CAR, "suv": CAR, "taxi": CAR, "van": CAR,
    "motorcycle": MOTORCYCLE, "scooter": MOTORCYCLE,
    "bus": BUS, "school_bus": BUS, "micro_bus": BUS,
    "truck": TRUCK, "mini_truck": TRUCK, "transport_vehicle": TRUCK,
    "ambulance": ANY_VEHICLE, "police_vehicle": ANY_VEHICLE, "auto_rickshaw": ANY_VEHICLE,
    "e_rickshaw": ANY_VEHICLE, "tempo": ANY_VEHICLE, "tractor": ANY_VEHICLE,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SetRules:
    """How far a set's silence about a class can be believed, and how often it is drawn."""

    share: float  # of the drawn pictures
    plate_negatives: float  # weight of "no plate here"; 0 < w < 1 also skips confident guesses
    vehicle_negatives: float
    squashed: bool = False
    flip: float = 0.5
    turn_deg: float = 1.0


SET_RULES = {
    "plates-ro": SetRules(share=0.135, plate_negatives=1.0, vehicle_negatives=0.0, flip=0.25),
    "plates-openimages": SetRules(
        share=0.145, plate_negatives=1.0, vehicle_negatives=0.3, squashed=True, flip=0.25
    ),
    "plates-mixed": SetRules(
        share=0.135, plate_negatives=1.0, vehicle_negatives=0.0, squashed=True, flip=0.25
    ),
    "vehicles-street": SetRules(
        share=0.24, plate_negatives=0.7, vehicle_negatives=0.6, flip=0.3, turn_deg=3.0
    ),
    "vehicles-highway": SetRules(
        share=0.12, plate_negatives=0.7, vehicle_negatives=0.6, flip=0.5, turn_deg=2.0
    ),
    "erased": SetRules(share=0.10, plate_negatives=1.0, vehicle_negatives=0.0, turn_deg=8.0),
    # some of its plates nobody has looked at: they are still there
    "erased-street": SetRules(share=0.05, plate_negatives=0.7, vehicle_negatives=0.6, turn_deg=8.0),
    "drawn": SetRules(share=0.08, plate_negatives=1.0, vehicle_negatives=1.0, turn_deg=6.0),
}
SET_NAMES = tuple(SET_RULES)
