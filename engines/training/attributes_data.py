"""The packed crops on a device, and balanced batches of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.training.attributes_augment import FORGET, Views, augmented, forgotten, repaint
from engines.training.attributes_labels import COLOURS, RARELY_LOOKED_AT, TYPES, UNKNOWN
from engines.training.detector_photo import Dice

STORED_PX = 208
HIGHWAY_SHARE = 0.10
REPAINTED = 0.5
"""Of the white and silver vehicles with a label: how many get another paint."""


class Crops:
    """Every packed crop: images (N, 3, 208, 208) uint8 on the device, labels beside them."""

    def __init__(
        self, folder: Path, device: torch.device, *, limit: int = 0, only_val: bool = False
    ) -> None:
        cv2.setNumThreads(1)
        with np.load(folder / "crops.npz") as table:
            rows = {key: table[key] for key in table.files}
        count = len(rows["side"])
        keep = np.arange(count)
        if limit and limit < count:
            keep = np.sort(np.random.default_rng(0).permutation(count)[:limit])
        if only_val:
            keep = np.flatnonzero(rows["val"] & rows["street"])
        blob = (folder / "crops.bin").read_bytes()
        images = np.empty((len(keep), STORED_PX, STORED_PX, 3), np.uint8)
        for k, row in enumerate(keep):
            coded = np.frombuffer(blob[rows["start"][row] : rows["start"][row + 1]], np.uint8)
            image = cv2.imdecode(coded, cv2.IMREAD_COLOR)
            if image.shape[0] != STORED_PX:
                image = cv2.resize(image, (STORED_PX, STORED_PX), interpolation=cv2.INTER_LINEAR)
            images[k] = image[..., ::-1]
        side = rows["side"][keep, None].astype(np.float32)

        def put(values: NDArray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        self.device = device
        self.images = put(images).permute(0, 3, 1, 2).contiguous()
        self.box = put((rows["box"][keep] / side).astype(np.float32))
        self.inside = put((rows["inside"][keep] / side).astype(np.float32))
        self.types = put(rows["types"][keep])
        self.colour, self.view, self.make = (
            put(rows[key][keep].astype(np.int64)) for key in ("colour", "view", "make")
        )
        self.val, self.street, self.px = rows["val"][keep], rows["street"][keep], rows["px"][keep]
        self.paths = [str(path) for path in rows["path"][keep]]
        self.paint_only = rows["paint_only"][keep]
        self.train = np.flatnonzero(~self.val & ~self.paint_only)
        self.weights = np.zeros(len(keep))
        if len(self.train):
            self.weights = self._weights(rows["types"][keep], rows["colour"][keep])

    def _weights(self, types: NDArray, colour: NDArray) -> NDArray:
        """How often each train crop is drawn: rare types, rare colours, labelled ones oftener."""
        single = types & (types.sum(1, keepdims=True) == 1)
        street = self.street & ~self.val
        per_type = single[street].sum(0).clip(1)
        weight = np.where(
            single.any(1), (1.0 / per_type[single.argmax(1)]) ** 0.75, 1.0 / per_type.max() ** 0.75
        )
        seen = colour >= 0
        per_colour = np.bincount(colour[seen & ~self.val], minlength=len(COLOURS)).clip(1)
        # fewer than some forty vehicles are learnt by heart if they come as often as the rest
        rarity = (per_colour.clip(40).max() / per_colour.clip(40)) ** 0.5
        weight = weight * np.where(seen, 2.0 * rarity[colour], 1.0)
        small = np.isin(
            np.array(TYPES)[types.argmax(1)], RARELY_LOOKED_AT
        ) & single.any(1)  # fmt: skip
        weight = np.where(small, weight * 0.7, weight)
        weight[self.val | self.paint_only] = 0
        for group, share in ((self.street, 1 - HIGHWAY_SHARE), (~self.street, HIGHWAY_SHARE)):
            total = weight[group].sum()
            weight[group] *= share / total if total else 1.0
        return weight / weight.sum()

    def views(self, index: Tensor) -> Views:
        return Views(
            images=self.images[index].float() / 255, box=self.box[index], inside=self.inside[index]
        )


class Batch:
    """Images with targets: colour -1 untaught, `share` the weight of its colour."""

    def __init__(self, crops: Crops, count: int, dice: Dice) -> None:
        drawn = dice.host.choice(len(crops.weights), count, p=crops.weights)
        index = torch.from_numpy(drawn).to(crops.device)
        views = crops.views(index)
        colour = crops.colour[index]
        share = torch.ones(count, device=crops.device)
        pale = (colour == COLOURS.index("white")) | (colour == COLOURS.index("silver"))
        chosen = pale & dice.chance(REPAINTED, count)
        painted, names = repaint(views, chosen, dice)
        colour = torch.where(chosen, names, colour)
        share = torch.where(chosen, share * 0.7, share)
        self.index, self.repainted = index, chosen
        self.types, self.view, self.make = crops.types[index], crops.view[index], crops.make[index]
        unsure = torch.zeros(len(TYPES), dtype=torch.bool, device=crops.device)
        unsure[[TYPES.index(name) for name in RARELY_LOOKED_AT]] = True
        self.unsure = (self.types <= unsure).all(1)  # nothing but types nobody labelled further
        colour = torch.where(self.unsure & (colour < 0), torch.full_like(colour, UNKNOWN), colour)
        share = torch.where(self.unsure, share * 0.15, share)
        views = Views(images=painted, box=views.box, inside=views.inside)
        self.images, fate = augmented(views, dice)
        # nearly half of all lessons would say "unknown" otherwise
        told = torch.where(colour >= 0, 0.5, 0.2)
        share = torch.where((fate == FORGET) & ~self.unsure, share * told, share)
        self.colour, self.share, self.fate = forgotten(colour, fate), share, fate
