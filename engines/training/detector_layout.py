"""Where photographs lie on a training picture: one, or four in a mosaic, cropped, zoomed, turned."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from engines.training.detector_bank import Bank
from engines.training.detector_labels import (
    ANY_VEHICLE,
    IGNORE_PLATE,
    IGNORE_VEHICLE,
    PLATE,
    SET_NAMES,
    SET_RULES,
)
from engines.training.detector_photo import Dice
from engines.training.detector_sampler import bilinear, level_tables

ASPECTS = (1.0, 4 / 3, 3 / 2, 16 / 9, 3 / 4)
CANVAS_AT_ONCE = 192
ASPECT_ODDS = (0.34, 0.36, 0.15, 0.1, 0.05)
PAD = 114 / 255
SMALLEST_PLATE_PX, SMALLEST_VEHICLE_PX = 10.0, 7.5
FAR_SHARE = {"vehicles-street": 0.3}  # drawn as from far away
STRETCH = 0.07  # how much narrower or wider than it is a photograph may be drawn
CLOSE_SHARE = 0.06  # zoomed until a plate fills half of the picture or all of it


@dataclass
class Layout:
    """Four quarters a picture; without a mosaic the first is the whole."""

    pictures: Tensor  # (B, 4) index into the street bank
    split: Tensor  # (B, 2) where the picture is cut, px
    ok: Tensor  # (B, 4) which quarters exist
    low: Tensor  # (B, 4, 2) and
    high: Tensor  # (B, 4, 2) their corners, px
    matrix: Tensor  # (B, 4, 2, 3) photograph pixels -> canvas pixels


def rare_first(classes: Tensor, number: Tensor) -> Tensor:
    """How much oftener than its neighbours in the set a picture (N,) is drawn.

    By the rarest vehicle type in it: the square root of half the set over the pictures that have
    the type, at most 4. Without this a set's lorries and buses are seen a few times in a training.
    """
    odds = torch.ones(len(classes), device=classes.device)
    sets = torch.nn.functional.one_hot(number, len(SET_NAMES)).float()
    size = sets.sum(0)
    for label in range(PLATE + 1, ANY_VEHICLE):
        has = (classes == label).any(1).float()
        share = ((sets * has[:, None]).sum(0) / size.clamp(min=1)).clamp(min=1e-3)[number]
        odds = torch.where(has > 0, torch.maximum(odds, (0.5 / share).sqrt().clamp(max=4.0)), odds)
    return odds


class StreetLayer:
    """The photographs and drawn scenes underneath everything else."""

    def __init__(
        self, street: Bank, width: int, height: int, roads: float = 1.0, stretch: float = STRETCH
    ) -> None:
        """`roads` multiplies how often photographs of vehicles are drawn, `stretch` says how far
        they are made narrower or wider, as vehicles look from a bridge or along the road.
        """
        self.street, self.width, self.height = street, width, height
        device = street.words.device
        number = torch.tensor([SET_NAMES.index(name) for name in street.set_name], device=device)
        rules = list(SET_RULES.values())

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, device=device)[number]

        rarity = rare_first(street.tables["classes"], number)
        total = torch.zeros(len(rules), device=device).index_add_(0, number, rarity)
        shares = [
            rule.share * (roads if name.startswith("vehicles-") else 1.0)
            for name, rule in SET_RULES.items()
        ]
        self.odds = column(shares) * rarity / total[number]
        self.negatives = torch.stack(
            [
                column([r.plate_negatives for r in rules]),
                column([r.vehicle_negatives for r in rules]),
            ],
            -1,
        )
        # how interesting a box is, by class + 1: plates, refused plates and rare types most
        self.interest = torch.tensor(
            [0.0, 3.0, 1.0, 1.2, 1.5, 1.5, 1.0, 1.0, 2.0, 0.5], device=device
        )
        self.flip = column([rule.flip for rule in rules])
        self.stretch = column(
            [stretch if name.startswith("vehicles-") else STRETCH for name in SET_NAMES]
        )
        self.far = column([FAR_SHARE.get(name, 0.0) for name in SET_NAMES])
        self.turn = column([rule.turn_deg * math.pi / 180 for rule in rules])
        annotated = [
            name in ("vehicles-street", "vehicles-highway", "erased-street", "plates-openimages")
            for name in SET_NAMES
        ]
        self.on_vehicles = column([float(value) for value in annotated])

    def layout(self, dice: Dice, size: int, mosaic: float) -> Layout:
        """Draw photographs and places for them."""
        split, ok = self._split(dice, size, mosaic)
        pictures = torch.multinomial(
            self.odds, size * 4, replacement=True, generator=dice.generator
        ).view(size, 4)
        low, high = self._tiles(split)
        matrix = self._placing(dice, pictures, low, high)
        return Layout(pictures, split, ok, low, high, matrix)

    def silence(self, layout: Layout) -> Tensor:
        """How far "no plate here" and "no vehicle here" are believed, (B, 4, 2)."""
        weights = self.negatives[layout.pictures]
        return torch.where(layout.ok[..., None], weights, torch.ones_like(weights))

    def _split(self, dice: Dice, size: int, mosaic: float) -> tuple[Tensor, Tensor]:
        """Where each picture is cut into quarters, and which quarters exist.

        One quarter when not a mosaic.
        """
        is_mosaic = dice.chance(mosaic, size)
        at = torch.stack(
            [
                dice.uniform(size, low=0.3, high=0.7) * self.width,
                dice.uniform(size, low=0.3, high=0.7) * self.height,
            ],
            -1,
        )
        whole = torch.tensor([self.width, self.height], device=dice.device).float()
        at = torch.where(is_mosaic[:, None], at, whole).round()
        ok = is_mosaic[:, None].expand(size, 4).clone()
        ok[:, 0] = True
        return at, ok

    def _tiles(self, split: Tensor) -> tuple[Tensor, Tensor]:
        """Corners of the four quarters: (B, 4, 2) each."""
        zero = torch.zeros_like(split)
        whole = (
            torch.tensor([self.width, self.height], device=split.device).float().expand_as(split)
        )
        low = torch.stack(
            [
                torch.stack([(zero, split)[i & 1][:, 0], (zero, split)[i >> 1][:, 1]], -1)
                for i in range(4)
            ],
            1,
        )
        high = torch.stack(
            [
                torch.stack([(split, whole)[i & 1][:, 0], (split, whole)[i >> 1][:, 1]], -1)
                for i in range(4)
            ],
            1,
        )
        return low, high

    def _placing(self, dice: Dice, pictures: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """The affine map of each quarter, picture pixels -> canvas pixels, (B, 4, 2, 3)."""
        shape = pictures.shape
        t = self.street.tables
        size = torch.stack(
            [self.street.width[pictures, 0], self.street.height[pictures, 0]], -1
        ).float()
        choice = torch.multinomial(
            torch.tensor(ASPECT_ODDS, device=dice.device),
            pictures.numel(),
            replacement=True,
            generator=dice.generator,
        )
        wider = torch.tensor(ASPECTS, device=dice.device)[choice].view(shape)
        own = 1 + dice.uniform(*shape, low=-1.0, high=1.0) * self.stretch[pictures]
        wider = torch.where(t["squashed"][pictures], wider, own)
        tile = high - low
        natural = torch.stack([size[..., 0] * wider, size[..., 1]], -1)
        fit = (tile / natural).amin(-1)
        as_is = dice.chance(0.25, *shape)
        zoom = torch.exp(dice.uniform(*shape, low=math.log(0.72), high=math.log(2.6)))
        zoom = torch.where(as_is, torch.ones_like(zoom), zoom)
        far = ~as_is & (dice.uniform(*shape) < self.far[pictures])
        zoom = torch.where(far, dice.uniform(*shape, low=0.3, high=0.72), zoom)
        # look at something: a box, else a slot (where a plate was painted over), else anywhere
        classes, boxes = t["classes"][pictures], t["boxes"][pictures]
        score = dice.uniform(*classes.shape) * self.interest[classes + 1]
        best = score.argmax(-1)
        box = boxes.gather(2, best[..., None, None].expand(*shape, 1, 4))[:, :, 0]
        focus = (box[..., :2] + box[..., 2:]) / 2
        # now and then a plate fills the picture
        is_plate = classes.gather(2, best[..., None])[..., 0] == PLATE
        close = ~as_is & is_plate & dice.chance(CLOSE_SHARE, *shape)
        filling = tile[..., 0] * dice.uniform(*shape, low=0.45, high=1.05)
        filling = filling / (wider * (box[..., 2] - box[..., 0])).clamp(min=1)
        scale = torch.where(close, filling.clamp(max=6.0), (fit * zoom).clamp(max=2.5))
        sx, sy = scale * wider, scale
        has_slot = t["slot_ok"][pictures][:, :, 0]
        none = score.amax(-1) <= 0
        at_slot = has_slot & ~close & (none | dice.chance(0.5, *shape))
        focus = torch.where(at_slot[..., None], t["slots"][pictures][:, :, 0, :2], focus)
        anywhere = (none & ~has_slot) | (dice.chance(0.15, *shape) & ~close)
        focus = torch.where(anywhere[..., None], dice.uniform(*shape, 2) * size, focus)
        flip = dice.uniform(*shape) < self.flip[pictures]
        turn = dice.normal(*shape).clamp(-2, 2) * 0.6 * self.turn[pictures]
        turn = torch.where(as_is, torch.zeros_like(turn), turn)
        mirror = torch.where(flip, -1.0, 1.0)
        cos, sin = torch.cos(turn), torch.sin(turn)
        linear = torch.stack(
            [
                torch.stack([cos * sx * mirror, -sin * sy], -1),
                torch.stack([sin * sx * mirror, cos * sy], -1),
            ],
            -2,
        )
        where = low + tile * dice.uniform(*shape, 2, low=0.08, high=0.92)
        shift = where - (linear @ focus[..., None])[..., 0]
        # a picture larger than its quarter covers it; a smaller one lies within it
        reach = linear.abs() @ (size / 2)[..., None]
        middle = (linear @ (size / 2)[..., None])[..., 0] + shift
        half = reach[..., 0]
        slack = (half - tile / 2).abs()
        centre = (low + high) / 2
        middle = torch.minimum(torch.maximum(middle, centre - slack), centre + slack)
        middle = torch.where(as_is[..., None], centre, middle)
        shift = middle - (linear @ (size / 2)[..., None])[..., 0]
        return torch.cat([linear, shift[..., None]], -1)

    def canvas(self, dice: Dice, layout: Layout) -> tuple[Tensor, Tensor]:
        """Sample every pixel from its quarter's picture.

        Canvas (B, H, W, 3) and where a picture was.
        """
        pictures, matrix, split = layout.pictures, layout.matrix, layout.split
        size, device = pictures.shape[0], pictures.device
        a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
        det = a * d - b * c
        lod = -0.5 * torch.log2(det.abs()) + dice.uniform(size, 4, low=-0.35, high=0.15)
        offset, level_w, level_h, level_scale = level_tables(self.street, pictures, lod)
        # level pixels = inverse @ (canvas pixels - shift)
        inverse = torch.stack([d, -b, -c, a], -1) * (level_scale / det)[..., None]
        inverse = inverse.view(size, 4, 2, 2)
        origin = -(inverse @ matrix[..., 2:])[..., 0]
        ys = torch.arange(self.height, device=device).float() + 0.5
        xs = torch.arange(self.width, device=device).float() + 0.5
        # every row has a left and a right quarter; within one, a row is a straight line of samples
        lower = (ys >= split[:, 1:]).long() * 2
        quarter = torch.stack([lower, lower + 1], -1)
        rows = torch.arange(size, device=device)[:, None, None]
        start = torch.addcmul(
            origin[rows, quarter], inverse[..., 1][rows, quarter], ys[None, :, None, None]
        )
        line = torch.stack(
            [
                *start.unbind(-1),
                *inverse[..., 0][rows, quarter].unbind(-1),
                level_w[rows, quarter],
                level_h[rows, quarter],
            ]
        )
        offset = offset[rows, quarter]
        right = (xs >= split[:, :1])[:, None]
        canvas = torch.empty(size, self.height, self.width, 3, device=device)
        seen = torch.empty(size, self.height, self.width, dtype=torch.bool, device=device)
        at_once = CANVAS_AT_ONCE if canvas.is_cuda else 16
        for first in range(0, size, at_once):
            part = slice(first, first + at_once)
            u, v, du, dv, lw, lh = torch.where(
                right[part], line[:, part, :, 1:], line[:, part, :, :1]
            ).unbind(0)
            u, v = torch.addcmul(u, du, xs), torch.addcmul(v, dv, xs)
            start_of = torch.where(right[part], offset[part, :, 1:], offset[part, :, :1])
            colour = bilinear(self.street.words, start_of, lw, lh, u - 0.5, v - 0.5)[..., :3]
            inside = (u >= 0) & (v >= 0) & (u < lw) & (v < lh)
            canvas[part] = torch.where(inside[..., None], colour.float() * (1 / 255), PAD)
            seen[part] = inside
        return canvas, seen

    def boxes(self, layout: Layout) -> tuple[Tensor, Tensor]:
        """Annotations on the canvas, clipped to their quarter.

        Classes (B, 4 M) and boxes (B, 4 M, 4).
        """
        t = self.street.tables
        classes, boxes = t["classes"][layout.pictures], t["boxes"][layout.pictures]
        linear, shift = layout.matrix[..., :2], layout.matrix[..., 2]
        centre = torch.stack([boxes[..., 0] + boxes[..., 2], boxes[..., 1] + boxes[..., 3]], -1) / 2
        half = torch.stack([boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]], -1) / 2
        centre = torch.einsum("bqij,bqmj->bqmi", linear, centre) + shift[:, :, None]
        half = torch.einsum("bqij,bqmj->bqmi", linear.abs(), half)
        whole = 4 * half.prod(-1)
        first = torch.maximum(centre - half, layout.low[:, :, None])
        last = torch.minimum(centre + half, layout.high[:, :, None])
        extent = (last - first).clamp(min=0)
        seen = extent.prod(-1) / whole.clamp(min=1e-3)
        classes = torch.where(
            (seen > 0.02) & layout.ok[..., None], classes, torch.full_like(classes, -1)
        )
        plate = classes == PLATE
        hidden = (seen < 0.55) | (extent[..., 0] < SMALLEST_PLATE_PX) | (extent[..., 1] < 3)
        classes = torch.where(plate & hidden, torch.full_like(classes, IGNORE_PLATE), classes)
        vehicle = (classes > PLATE) & (classes <= ANY_VEHICLE)
        hidden = (seen < 0.3) | (extent.amax(-1) < SMALLEST_VEHICLE_PX)
        classes = torch.where(vehicle & hidden, torch.full_like(classes, IGNORE_VEHICLE), classes)
        return classes.flatten(1), torch.cat([first, last], -1).flatten(1, 2)
