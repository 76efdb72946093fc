"""Vehicles cut out of train photographs, pasted beside the vehicles of other photographs.

A set of few places is learnt by heart: its rare types are a handful of motorcycles and lorries.
Pasted ones stand level with a vehicle that is there, in its scale, so that far roads have far
motorcycles.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engines.training.detector_bank import Bank
from engines.training.detector_labels import (
    ANY_VEHICLE,
    BUS,
    CAR,
    IGNORE_PLATE,
    IGNORE_VEHICLE,
    MOTORCYCLE,
    NOT_PLATE,
    PLATE,
    SET_NAMES,
    TRUCK,
)
from engines.training.detector_layout import Layout, StreetLayer
from engines.training.detector_photo import Dice
from engines.training.detector_sampler import paste

TRIES = 6
PICTURES_SHARE = 0.6
ROADS = ("vehicles-street", "vehicles-highway", "erased-street", "drawn")
# how often each type is pasted, and its size (square root of the area) in cars
TYPE_ODDS = {CAR: 0.12, MOTORCYCLE: 0.36, BUS: 0.28, TRUCK: 0.24}
TYPE_SIZE = {CAR: 1.0, MOTORCYCLE: 0.55, BUS: 1.35, TRUCK: 1.35}
SMALLEST_PX, LARGEST_PX = 8.0, 110.0
DARK = 0.12  # mean of a picture below which cuttings from daylight look wrong


class VehicleLayer:
    """Pastes vehicles over a street layer."""

    def __init__(self, base: StreetLayer, bank: Bank) -> None:
        self.base, self.bank = base, bank
        device = bank.words.device
        kinds = bank.tables["classes"][:, 0]
        odds = torch.zeros(len(kinds), device=device)
        for label, share in TYPE_ODDS.items():
            mine = kinds == label
            odds += mine * (share / mine.sum().clamp(min=1))
        self.odds, self.kinds = odds, kinds
        self.light = bank.tables["slots"][:, 0, :3]
        self.side = (bank.width[:, 0] * bank.height[:, 0]).float().sqrt()
        self.sizes = torch.ones(ANY_VEHICLE + 1, device=device)
        for label, size in TYPE_SIZE.items():
            self.sizes[label] = size
        on_road = torch.tensor([name in ROADS for name in SET_NAMES], device=device)
        number = torch.tensor(
            [SET_NAMES.index(name) for name in base.street.set_name], device=device
        )
        self.on_road = on_road[number]

    def add(
        self, dice: Dice, layout: Layout, drawn: tuple[Tensor, Tensor], known: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Paste onto `drawn` (canvas, where a picture is); gives `known` with the new vehicles."""
        canvas, seen = drawn
        size = len(canvas)
        which = torch.multinomial(
            self.odds, size * TRIES, replacement=True, generator=dice.generator
        ).view(size, TRIES)
        boxes, ok = self._places(dice, layout, which, known)
        small = functional.avg_pool2d(canvas.permute(0, 3, 1, 2), 16)
        ok &= (small.mean((1, 2, 3)) > DARK)[:, None] & dice.chance(PICTURES_SHARE, size, 1)
        ok &= self._clear(boxes, seen, known, layout)
        paste(canvas, self.bank, self._item(dice, small, which, boxes), ok.view(-1))
        label = torch.where(ok, self.kinds[which], torch.full_like(which, -1))
        return torch.cat([known[0], label], 1), torch.cat([known[1], boxes], 1)

    def _places(
        self, dice: Dice, layout: Layout, which: Tensor, known: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Boxes (B, K, 4) level with an annotated vehicle, and which of them can be."""
        classes, boxes = known
        size = len(classes)
        per_quarter = classes.shape[1] // 4
        road = self.on_road[layout.pictures].repeat_interleave(per_quarter, 1)
        vehicle = (classes > PLATE) & (classes <= ANY_VEHICLE) & road
        score = dice.uniform(size, TRIES, classes.shape[1]) * vehicle[:, None]
        best, index = score.max(-1)
        near = boxes.gather(1, index[..., None].expand(-1, -1, 4))
        wide, tall = near[..., 2] - near[..., 0], near[..., 3] - near[..., 1]
        kind = classes.gather(1, index).clamp(
            0, ANY_VEHICLE
        )  # what is no vehicle is left out below
        car = (wide * tall).clamp(min=1).sqrt() / self.sizes[kind]
        side = car * self.sizes[self.kinds[which]] * torch.exp(dice.normal(size, TRIES) * 0.18)
        scale = side / self.side[which]
        w = self.bank.width[which, 0].float() * scale
        h = self.bank.height[which, 0].float() * scale
        sign = torch.where(dice.chance(0.5, size, TRIES), 1.0, -1.0)
        x = (near[..., 0] + near[..., 2]) / 2
        x = x + sign * (wide / 2 + w / 2 + wide * dice.uniform(size, TRIES, low=0.05, high=2.5))
        foot = near[..., 3] + tall * dice.normal(size, TRIES) * 0.25
        place = torch.stack([x - w / 2, foot - h, x + w / 2, foot], -1)
        return place, (best > 0) & (side > SMALLEST_PX) & (side < LARGEST_PX)

    def _clear(
        self, boxes: Tensor, seen: Tensor, known: tuple[Tensor, Tensor], layout: Layout
    ) -> Tensor:
        """Whether a box (B, K, 4) lies within a quarter, on picture, and off everything else."""
        classes, others = known
        first, last = boxes[..., :2], boxes[..., 2:]
        inside = (first[:, :, None] >= layout.low[:, None]) & (
            last[:, :, None] <= layout.high[:, None]
        )
        fits = inside.all(-1).any(2)
        rows = torch.arange(len(boxes), device=boxes.device)[:, None]
        for corner_x, corner_y in ((0, 1), (2, 1), (0, 3), (2, 3)):
            x = boxes[..., corner_x].long().clamp(0, self.base.width - 1)
            y = boxes[..., corner_y].long().clamp(0, self.base.height - 1)
            fits &= seen[rows, y, x]
        area = (last - first).clamp(min=0).prod(-1)
        plate = (classes == PLATE) | (classes == NOT_PLATE) | (classes == IGNORE_PLATE)
        vehicle = ((classes > PLATE) & (classes <= ANY_VEHICLE)) | (classes == IGNORE_VEHICLE)
        common = common_areas(boxes, others)
        other_area = (others[..., 2:] - others[..., :2]).clamp(min=0).prod(-1)
        least = torch.minimum(area[:, :, None], other_area[:, None]).clamp(min=1)
        fits &= ~((common > 0) & plate[:, None]).any(2)
        fits &= ~((common > 0.12 * least) & vehicle[:, None]).any(2)
        # of two that overlap, the earlier one stays
        over = (common_areas(boxes, boxes) > 0) & fits[:, None]
        return fits & ~over.tril(-1).any(2)

    def _item(self, dice: Dice, small: Tensor, which: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """What `paste` wants of every cutting (B K, ...), lit like its new place."""
        size = len(boxes)
        image = torch.arange(size, device=boxes.device).repeat_interleave(TRIES)
        x1, y1, x2, y2 = boxes.view(-1, 4).unbind(-1)
        quad = torch.stack(
            [torch.stack(p, -1) for p in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))], 1
        )
        column = ((x1 + x2) / 32).long().clamp(0, small.shape[3] - 1)
        row = (y2 / 16).long().clamp(0, small.shape[2] - 1)
        local = small[image, :, row, column]
        own = self.light[which].view(-1, 3)
        n = len(image)
        gain = ((local + 0.08) / (own + 0.08)).clamp(0.35, 1.7)
        gain = gain ** dice.uniform(n, 1, low=0.3, high=1.0)
        zero = torch.zeros(n, 3, device=boxes.device)
        return {
            "image": image,
            "picture": which.view(-1),
            "quad": quad,
            "gain": gain * torch.exp(dice.normal(n, 1) * 0.1),
            "lift": zero,
            "ramp": zero[:, :2],
            "shadow": zero,
            "blur": dice.uniform(n, low=-0.4, high=0.7),
            "frame": torch.zeros(n, 4, device=boxes.device),
        }


def common_areas(a: Tensor, b: Tensor) -> Tensor:
    """Areas that boxes (B, K, 4) and (B, T, 4) share: (B, K, T)."""
    low = torch.maximum(a[:, :, None, :2], b[:, None, :, :2])
    high = torch.minimum(a[:, :, None, 2:], b[:, None, :, 2:])
    return (high - low).clamp(min=0).prod(-1)
