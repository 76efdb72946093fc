"""Training pictures, composed on the GPU: crops, mosaics, plates and decoys pasted in.

`Composer.batch` gives pictures and their targets. Real plates bring boxes, rendered ones exact
corners.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engines.training.detector_bank import Bank, load_bank
from engines.training.detector_labels import ANY_VEHICLE, IGNORE_VEHICLE, NOT_PLATE, PLATE
from engines.training.detector_layout import PAD, STRETCH, StreetLayer
from engines.training.detector_paste import IS_DECOY, IS_PLATE, PasteLayer
from engines.training.detector_photo import Dice, develop
from engines.training.detector_vehicles import VehicleLayer, common_areas

TARGETS = 80
HIDDEN_SHARE = 0.5  # of a vehicle behind something pasted: it need not be found


@dataclass
class Batch:
    """images (B, 3, H, W); targets padded to T; weights of "nothing here" per quarter."""

    images: Tensor
    classes: Tensor  # (B, T) int64, -1 where empty
    boxes: Tensor  # (B, T, 4) px
    corners: Tensor  # (B, T, 8) px
    has_corners: Tensor  # (B, T) bool
    split: Tensor  # (B, 2) where the mosaic is cut, px
    weights: Tensor  # (B, 4, 2) negatives' weight per quarter: plate, vehicle


class Composer:
    """Draws batches from a street bank, a plate bank, a decoy bank and cut-out vehicles."""

    def __init__(
        self,
        street: Bank,
        plates: Bank,
        decoys: Bank,
        vehicles: Bank | None = None,
        width: int = 640,
        height: int = 384,
        roads: float = 1.0,
        stretch: float = STRETCH,
    ) -> None:
        self.street = street
        self.batches = 0
        self.base = StreetLayer(street, width, height, roads, stretch)
        self.traffic = VehicleLayer(self.base, vehicles) if vehicles is not None else None
        self.pasted = PasteLayer(self.base, plates, decoys)

    def batch(self, size: int, generator: torch.Generator, mosaic: float = 0.4) -> Batch:
        """Compose a batch; `mosaic` is the chance of four pictures in one."""
        host = np.random.default_rng([generator.initial_seed(), self.batches])
        self.batches += 1
        dice = Dice(generator, host)
        layout = self.base.layout(dice, size, mosaic)
        canvas, seen = self.base.canvas(dice, layout)
        known = self.base.boxes(layout)
        if self.traffic is not None:
            known = self.traffic.add(dice, layout, (canvas, seen), known)
        quads, kind = self.pasted.add(dice, layout, (canvas, seen), known)
        known = (behind(known, quads, kind), known[1])
        images = develop(canvas.permute(0, 3, 1, 2), dice)
        # the bars around a letterboxed picture are grey in use, whatever the camera did
        keep = dice.chance(0.85, size, 1, 1, 1)
        images = images.masked_fill_(~seen[:, None] & keep, PAD)
        classes, boxes, corners, has = join(known, quads, kind, (self.base.width, self.base.height))
        silence = self.base.silence(layout)
        return Batch(images, classes, boxes, corners, has, layout.split, silence)


def behind(known: tuple[Tensor, Tensor], quads: Tensor, kind: Tensor) -> Tensor:
    """The annotations' classes, without the vehicles that a pasted thing hides."""
    classes, boxes = known
    pasted = torch.cat([quads.amin(2), quads.amax(2)], -1).nan_to_num()
    covered = (common_areas(boxes, pasted) * (kind > 0)[:, None]).amax(2)
    hidden = covered > HIDDEN_SHARE * (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
    vehicle = (classes > PLATE) & (classes <= ANY_VEHICLE)
    return torch.where(vehicle & hidden, torch.full_like(classes, IGNORE_VEHICLE), classes)


def join(
    known: tuple[Tensor, Tensor], quads: Tensor, kind: Tensor, limits: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Join annotations and pasted things into padded targets."""
    classes, boxes = known
    sound = torch.isfinite(quads).flatten(2).all(2)
    quads = torch.where(sound[..., None, None], quads, torch.zeros_like(quads))
    kind = torch.where(sound, kind, torch.zeros_like(kind))
    # a plate that leaves the picture keeps its corners; its box is what is seen of it
    edge = torch.tensor(limits, device=quads.device)
    first, last = (torch.minimum(q.clamp(min=0), edge) for q in (quads.amin(2), quads.amax(2)))
    pasted = torch.where(kind == IS_PLATE, PLATE, torch.where(kind == IS_DECOY, NOT_PLATE, -1))
    all_classes = torch.cat([pasted, classes], 1)
    all_boxes = torch.cat([torch.cat([first, last], -1), boxes], 1)
    corners = torch.zeros(*all_classes.shape, 8, device=boxes.device)
    corners[:, : quads.shape[1]] = quads.flatten(2)
    has = torch.zeros_like(all_classes, dtype=torch.bool)
    has[:, : quads.shape[1]] = kind == IS_PLATE
    order = torch.argsort((all_classes < 0).int(), dim=1, stable=True)[:, :TARGETS]
    wide = order[..., None]
    return (
        all_classes.gather(1, order),
        all_boxes.gather(1, wide.expand(-1, -1, 4)),
        corners.gather(1, wide.expand(-1, -1, 8)),
        has.gather(1, order),
    )


def load_composer(
    folder: Path, split: str, device: torch.device, roads: float = 1.0, stretch: float = STRETCH
) -> Composer:
    """The composer over a folder of banks; `roads` and `stretch` as in `StreetLayer`."""
    names = ("street", "plates", "decoys")
    banks = [load_bank(folder / f"{name}-{split}", device) for name in names]
    vehicles = folder / f"vehicles-{split}"
    if vehicles.with_suffix(".npz").exists():
        banks.append(load_bank(vehicles, device))
    return Composer(*banks, roads=roads, stretch=stretch)
