"""The centroid tracker: predicted position, gated distance, nearest pair first.

Gates follow from the plate's size and the time since it was last seen, so they hold at 2 and at 60
frames a second and when frames drop. A plate that keeps its text may have gone farther than one
that has none, and one whose text clearly changed must have stayed close.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Final

import numpy as np

from alprd.core.forecast import Forecast, forecast
from alprd.core.geometry import Quad
from alprd.core.observe import Observation
from alprd.core.plates import clearly_different, nearly_same
from alprd.core.tracking import Track, seat_in

# Gates, in plate widths. A plate is about half a metre wide: 25 widths a second are 45 km/h across
# the picture for a plate whose velocity is not known yet; one whose velocity is known may change it
# by 4 widths a second, and half its own speed (it stops, or nears the camera).
NEAR: Final = 1.0
NEW_PER_S: Final = 25.0
KNOWN_PER_S: Final = 4.0
KNOWN_SPEED_SHARE: Final = 0.5
MAX_BLIND_WIDTHS: Final = 12.0
HEIGHTS_WIDE: Final = 3.0
"""A plate in two lines, or one that is turned away, is wider than it looks."""

# With the same text, in places where nothing was seen in between.
TEXT_NEAR: Final = 2.0
TEXT_NEW_PER_S: Final = 35.0
TEXT_KNOWN_PER_S: Final = 8.0
TEXT_SPEED_SHARE: Final = 1.0
# With a clearly different text: a misread, or another plate in the same place after a cut.
CLASH_NEAR: Final = 0.8
CLASH_PER_S: Final = 2.0
CLASH_GAP_S: Final = 0.6
# The logarithm of a plate's width changes with the rate speed / distance. Once the rate is known,
# it may be off by noise, by braking and speeding up, and by itself again, for it grows as a car
# nears. A clip that begins anew makes a near car small again at once, which no car can do.
SCALE_OFF: Final = 0.25
SCALE_PER_S: Final = 0.6
SCALE_NEW_OFF: Final = 0.4
SCALE_NEW_PER_S: Final = 2.5
TREND: Final = 0.25
# A plate faster than this, in widths a second, does not go back by more than TEXT_NEAR unseen.
TURN_SPEED: Final = 2.0
# Without a text, once lost for CLASH_GAP_S.
BLIND_NEAR: Final = 2.0
BLIND_HEIGHT_OFF: Final = 0.35

# What a pair costs beyond its distance in gates.
UNKNOWN_COST: Final = 0.3
FEW_PAIRS: Final = 24
"""So many pairs are compared one by one before it pays to leave out the far ones."""

STALE_COST: Final = 0.5
UNLIKE_COST: Final = 0.6
CLASH_COST: Final = 1.0
VEHICLE_COST: Final = 2.0
"""Of a plate out of every gate, but on the vehicle that has carried it."""

RIDE_OFF: Final = 0.25
"""A plate moves less than this on its vehicle's box from one frame to the next, in its sides."""

SHAPE_OFF: Final = 0.9
"""Change of the logarithm of width to height: a car that turns changes it by less."""

VEHICLE_SCALE: Final = 1.1
"""Change of the logarithm of its width since it was seen last: a third or three times of it."""

SURE_CHARACTER: Final = 0.9
SURE_QUALITY: Final = 0.5


def reachable(track: Track, seen: Observation) -> bool:
    """Whether the track's plate, known by its text, can be where `seen` is."""
    ahead = forecast(track, seen.t_s)
    near = _distance(ahead, seen) <= _text_gate_px(ahead, _unit_px(ahead, seen))
    return near and _size_fits(ahead, seen) and not _turns_back(ahead, seen)


def jumps(track: Track, seen: Observation) -> bool:
    """Whether `seen` follows the track's own last place only after a gap or a leap."""
    last = track.last_own
    moved = math.dist((last.x_px, last.y_px), (seen.x_px, seen.y_px))
    gap_s = seen.t_s - last.t_s
    return gap_s > CLASH_GAP_S or moved > (0.75 + 10.0 * gap_s) * last.width_px


def associate(tracks: Sequence[Track], seen: Sequence[Observation]) -> list[tuple[int, int]]:
    """Pair tracks with one frame's observations, best pair first: (track index, its observation's).

    The cost of a pair is its distance from the predicted place in units of the gate, and more for
    texts that disagree. Ties go to the older track, then to the first observation in canonical
    order, so the order of the arguments does not matter.
    """
    if not tracks or not seen:
        return []
    ahead = [forecast(track, seen[0].t_s) for track in tracks]
    costs = []
    for i, j in _worth_a_look(tracks, ahead, seen):
        cost = _pair_cost(tracks[i], ahead[i], seen[j])
        if cost is not None:
            costs.append((cost, tracks[i].id, canonical(seen[j]), i, j))
    pairs: list[tuple[int, int]] = []
    used_tracks: set[int] = set()
    used_seen: set[int] = set()
    for _, _, _, i, j in sorted(costs):
        if i not in used_tracks and j not in used_seen:
            used_tracks.add(i)
            used_seen.add(j)
            pairs.append((i, j))
    return pairs


def _worth_a_look(
    tracks: Sequence[Track], ahead: Sequence[Forecast], seen: Sequence[Observation]
) -> Iterable[tuple[int, int]]:
    """The pairs that are within reach of each other, or on one vehicle; nothing else can match.

    In a crowd most pairs are far apart, and comparing all of them one by one takes long.
    """
    if len(ahead) * len(seen) <= FEW_PAIRS:
        return product(range(len(ahead)), range(len(seen)))
    there = np.array(
        [(f.x_px, f.y_px, f.last.width_px, f.last.height_px, f.dt_s, f.speed_px_s) for f in ahead]
    )
    here = np.array([(o.x_px, o.y_px, o.width_px, o.height_px) for o in seen])
    apart = np.hypot(there[:, None, 0] - here[None, :, 0], there[:, None, 1] - here[None, :, 1])
    unit = np.maximum(
        np.maximum(there[:, None, 2], here[None, :, 2]),
        HEIGHTS_WIDE * np.minimum(there[:, None, 3], here[None, :, 3]),
    )
    dt, speed = there[:, 4], there[:, 5]
    known = np.array([f.known for f in ahead])
    widths = np.where(
        known, NEAR + KNOWN_PER_S * dt, np.minimum(NEAR + NEW_PER_S * dt, MAX_BLIND_WIDTHS)
    )
    share = np.where(known, KNOWN_SPEED_SHARE * speed * dt, 0.0)
    near = apart <= (widths[:, None] * unit + share[:, None]) * (1.0 + 1e-9)
    read = np.array([o.read is not None for o in seen])
    if read.any():  # the widest of all gates is that of a plate that is known by its text
        widths = TEXT_NEAR + np.where(known, TEXT_KNOWN_PER_S, TEXT_NEW_PER_S) * dt
        reach = widths[:, None] * unit + (TEXT_SPEED_SHARE * speed * dt)[:, None]
        texts = np.array([bool(track.tally) for track in tracks])
        near |= (apart <= reach * (1.0 + 1e-9)) & texts[:, None] & read[None, :]
    for j, observation in enumerate(seen):
        held_by = {carrier.id for carrier in observation.carriers}
        for i, track in enumerate(tracks if held_by else ()):
            if any(vehicle in held_by for vehicle, _ in track.carriers):
                near[i, j] = True
    return ((int(i), int(j)) for i, j in np.argwhere(near))


def canonical(seen: Observation) -> tuple[float, float, Quad, float]:
    """A sort key that does not depend on the order in which a frame's plates came."""
    return (seen.x_px, seen.y_px, seen.quad, -seen.score)


def _pair_cost(track: Track, ahead: Forecast, seen: Observation) -> float | None:
    """Cost of taking `seen` for the track's plate; None when it cannot be."""
    cost = _free_cost(track, ahead, seen)
    if cost is None and _is_on_its_vehicle(track, seen):
        return VEHICLE_COST
    return cost


def _is_on_its_vehicle(track: Track, seen: Observation) -> bool:
    """Whether the plate sits on the vehicle that carried the track's plate all the time.

    Then it may have been hidden for minutes and be anywhere on the picture; only another text, or
    another size than a plate in another turn can have, says that it is not the same.
    """
    if not seen.carriers:
        return False
    bound = track.bound_to
    if not any(carrier.id in bound for carrier in seen.carriers):
        return False
    if abs(math.log(seen.width_px / track.last.width_px)) > VEHICLE_SCALE:
        return False
    text = None if seen.read is None else seen.read.text
    known = [t for t in (track.text, track.challenge) if t is not None]
    return text in known or (
        text is not None
        and any(nearly_same(text, t) for t in known)
        and not _surely_another(track, seen)
    )


def _free_cost(track: Track, ahead: Forecast, seen: Observation) -> float | None:
    """The same, by where the plate is, in the picture or on its vehicle."""
    unit_px = _unit_px(ahead, seen)
    distance, gate = _distance(ahead, seen), _gate_px(ahead, unit_px)
    ridden = _ridden(track, seen)
    if ridden is not None and not _is_of_one_shape(ahead, seen):
        ridden = None
    if ridden is not None:
        distance = min(distance, ridden / RIDE_OFF * gate)
    cost = distance / gate
    in_gate, in_text_gate = cost <= 1.0, distance <= _text_gate_px(ahead, unit_px)
    if not (in_gate or in_text_gate):
        return None
    if not _size_fits(ahead, seen) or (ridden is None and _turns_back(ahead, seen)):
        return None
    text = None if seen.read is None else seen.read.text
    known = [t for t in (track.text, track.challenge) if t is not None]
    if text is None or not known:
        allowed = in_gate and (ridden is not None or _follows_blindly(ahead, seen))
        if _is_on_another_vehicle(track, seen):
            allowed = allowed and distance <= unit_px
        # Of two that were seen on one vehicle it is the one that was there a moment ago.
        extra = UNKNOWN_COST + STALE_COST * min(1.0, ahead.dt_s / CLASH_GAP_S)
    elif text in known:
        allowed, extra = True, 0.0
    elif any(nearly_same(text, t) for t in known):
        continuous = in_gate and ahead.dt_s <= CLASH_GAP_S
        allowed = continuous or (
            in_text_gate and not _surely_another(track, seen) and _is_of_one_shape(ahead, seen)
        )
        extra = UNKNOWN_COST
    elif not all(clearly_different(text, t) for t in known):
        allowed, extra = in_gate, UNLIKE_COST
    else:
        near = (CLASH_NEAR + CLASH_PER_S * ahead.dt_s) * max(seen.width_px, ahead.last.width_px)
        allowed, extra = ahead.dt_s <= CLASH_GAP_S and distance <= min(gate, near), CLASH_COST
    return cost + extra if allowed else None


def _is_of_one_shape(ahead: Forecast, seen: Observation) -> bool:
    """Whether both plates may be in one line, or both in two, as far as the view lets it tell."""
    before = ahead.last.width_px / ahead.last.height_px
    return abs(math.log(seen.width_px / seen.height_px / before)) <= SHAPE_OFF


def _is_on_another_vehicle(track: Track, seen: Observation) -> bool:
    """Whether the plate sits on a vehicle, and on none that has carried the track's plate."""
    bound = track.bound_to
    return bool(bound and seen.carriers) and all(c.id not in bound for c in seen.carriers)


def _ridden(track: Track, seen: Observation) -> float | None:
    """How far the plate would have moved on the vehicle that carried it last, in its box's sides.

    None when that vehicle does not carry it now, or in quite another place.
    """
    seat = track.seat
    if seat is None:
        return None
    for carrier in seen.carriers:
        if carrier.id == seat.vehicle_id:
            right, down = seat_in(carrier.detection.box, (seen.x_px, seen.y_px))
            moved = max(abs(right - seat.right), abs(down - seat.down))
            return moved if moved <= RIDE_OFF else None
    return None


def _surely_another(track: Track, seen: Observation) -> bool:
    """Whether one character differs of which both the track and the new read are sure."""
    read, text = seen.read, track.text
    if read is None or text is None or len(read.text) != len(text) or track.count_of(text) < 2:
        return False
    if read.quality is not None and read.quality < SURE_QUALITY:
        return False
    return any(
        x != y and float(max(read.char_probs[k])) >= SURE_CHARACTER
        for k, (x, y) in enumerate(zip(read.text, text, strict=True))
    )


def _size_fits(ahead: Forecast, seen: Observation) -> bool:
    """Whether a plate of the track's size can have grown or shrunk to the observation's."""
    grown = math.log(seen.width_px / ahead.last.width_px)
    if not ahead.known:
        return abs(grown) <= SCALE_NEW_OFF + SCALE_NEW_PER_S * ahead.dt_s
    free = SCALE_OFF + (SCALE_PER_S + abs(ahead.growth_per_s)) * ahead.dt_s
    if abs(grown - ahead.growth_per_s * ahead.dt_s) > free:
        return False
    if abs(ahead.trend) < TREND or abs(grown) <= SCALE_OFF:
        return True
    # Out of sight a car that came near may stop, but not be far away again. A car that turns
    # looks narrower, not lower.
    higher = math.log(seen.height_px / ahead.last.height_px)
    return (
        max(grown, higher) >= -SCALE_OFF if ahead.trend > 0.0 else min(grown, higher) <= SCALE_OFF
    )


def _turns_back(ahead: Forecast, seen: Observation) -> bool:
    """Whether a plate that was on its way would have to have gone back to be the observed one."""
    last = ahead.last
    if ahead.speed_px_s < TURN_SPEED * last.width_px:
        return False
    dx_px, dy_px = seen.x_px - last.x_px, seen.y_px - last.y_px
    along_px = (dx_px * ahead.vx_px_s + dy_px * ahead.vy_px_s) / ahead.speed_px_s
    return along_px < -TEXT_NEAR * max(seen.width_px, last.width_px)


def _follows_blindly(ahead: Forecast, seen: Observation) -> bool:
    """Whether `seen` continues the track although no text says so.

    A plate that was lost a while ago is only taken up again where it must be by now, in its size:
    what else stands in sight of a camera is seen again and again, whoever passed.
    """
    last, lost = ahead.last, ahead.dt_s > CLASH_GAP_S
    blind_s = min(ahead.dt_s, CLASH_GAP_S)
    growth = ahead.growth_per_s * blind_s
    free = SCALE_OFF + (0.0 if lost else (SCALE_PER_S + abs(ahead.growth_per_s)) * blind_s)
    if ahead.known and abs(math.log(seen.width_px / last.width_px) - growth) > free:
        return False
    if abs(math.log(seen.height_px / last.height_px) - growth) > free + BLIND_HEIGHT_OFF:
        return False
    if not lost:
        return True
    width_px, height_px = seen.frame_size
    if not (0.0 <= ahead.x_px < width_px and 0.0 <= ahead.y_px < height_px):
        return False
    free_px = BLIND_NEAR * min(seen.width_px, last.width_px)
    return _distance(ahead, seen) <= free_px + KNOWN_SPEED_SHARE * ahead.speed_px_s * blind_s


def _distance(ahead: Forecast, seen: Observation) -> float:
    """Pixels between the predicted and the observed centre."""
    return math.dist((ahead.x_px, ahead.y_px), (seen.x_px, seen.y_px))


def _gate_px(ahead: Forecast, unit_px: float) -> float:
    """How far from the predicted place the plate may be, whatever is on it."""
    if not ahead.known:
        return min(NEAR + NEW_PER_S * ahead.dt_s, MAX_BLIND_WIDTHS) * unit_px
    free_px = (NEAR + KNOWN_PER_S * ahead.dt_s) * unit_px
    return free_px + KNOWN_SPEED_SHARE * ahead.speed_px_s * ahead.dt_s


def _text_gate_px(ahead: Forecast, unit_px: float) -> float:
    """The same for a plate that is known by its text."""
    if not ahead.known:
        return (TEXT_NEAR + TEXT_NEW_PER_S * ahead.dt_s) * unit_px
    free_px = (TEXT_NEAR + TEXT_KNOWN_PER_S * ahead.dt_s) * unit_px
    return free_px + TEXT_SPEED_SHARE * ahead.speed_px_s * ahead.dt_s


def _unit_px(ahead: Forecast, seen: Observation) -> float:
    """About half a metre where the plate is; one that is turned away is still as high."""
    width_px = max(seen.width_px, ahead.last.width_px)
    return max(width_px, HEIGHTS_WIDE * min(seen.height_px, ahead.last.height_px))
