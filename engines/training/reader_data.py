"""Pools of rendered plates and real crops on the device, and batches drawn from them.

Real crops: a share of the TRAIN texts (chosen by a hash of the text, so that one plate is never
on both sides) is held out for fitting the temperature; VAL is read for reporting only and never
drawn into a batch.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.training import reader_augment as aug
from engines.training.reader_pack import CONTEXT
from engines.training.render_flat import BLANK, MASKED, SLOTS, slots_of

CANVAS_H, CANVAS_W = 144, 320
INNER = (
    CONTEXT / (1 + 2 * CONTEXT),
    CONTEXT / (1 + 2 * CONTEXT),
    (1 + CONTEXT) / (1 + 2 * CONTEXT),
    (1 + CONTEXT) / (1 + 2 * CONTEXT),
)
HELD_OUT = 0.12


@dataclass(frozen=True, slots=True)
class Batch:
    images: Tensor  # (B, 3, 64, 160) float 0..1
    slots: Tensor  # (B, 12) long, MASKED where unknown
    region: Tensor  # (B,) long, MASKED where unknown
    judged: Tensor  # (B,) bool: the whole text is known, so the quality head may learn from it


@dataclass(frozen=True, slots=True)
class RealCrops:
    canvases: NDArray[np.uint8]  # (n, 144, 320, 3) RGB; the box fills INNER
    slots: NDArray[np.int16]
    region: NDArray[np.int16]
    text: NDArray[np.str_]
    split: NDArray[np.str_]  # train, held, val
    folder: NDArray[np.str_]
    quality: NDArray[np.str_]
    script: NDArray[np.str_]
    image: NDArray[np.str_]
    width_px: NDArray[np.float32]


def is_held_out(text: str) -> bool:
    """Whether a train text serves the calibration instead of training."""
    return hashlib.sha256(text.encode()).digest()[0] < HELD_OUT * 256


def _decode(
    blob: NDArray[np.uint8], ends: NDArray[np.int64], size: tuple[int, int]
) -> NDArray[np.uint8]:
    out = np.empty((len(ends), size[1], size[0], 3), np.uint8)
    start = 0
    for index, end in enumerate(ends):
        image = cv2.imdecode(blob[start:end], cv2.IMREAD_COLOR)
        shrink = image.shape[1] > size[0]
        image = cv2.resize(
            image, size, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        )
        out[index] = image[..., ::-1]
        start = end
    return out


def region_index(region: str, labels: list[str]) -> int:
    """Label index; a state without a design of its own counts as its country; unlabelled or
    unknown is masked.
    """
    if region in labels:
        return labels.index(region)
    country = region.split("-", maxsplit=1)[0]
    return labels.index(country) if region and country in labels else MASKED


def load_real(path: Path, labels: list[str]) -> tuple[RealCrops, NDArray[np.uint8]]:
    """Crops and background patches of crops.npz."""
    data = np.load(path)
    text, split, quality = data["text"], data["split"].astype("<U8"), data["quality"]
    for index in range(len(text)):
        if split[index] == "train" and text[index] and is_held_out(str(text[index])):
            split[index] = "held"
    crops = RealCrops(
        canvases=_decode(data["jpegs"], data["ends"], (CANVAS_W, CANVAS_H)),
        slots=np.stack([slots_of(str(t)) for t in text]),
        region=np.array([region_index(str(r), labels) for r in data["region"]], np.int16),
        text=text,
        split=split,
        folder=data["folder"],
        quality=quality,
        script=data["script"],
        image=data["image"],
        width_px=data["width_px"].astype(np.float32),
    )
    return crops, _decode(data["patches"], data["patch_ends"], (aug.OUT_W, aug.OUT_H))


def boxed(
    crops: RealCrops, index: NDArray[np.int64], device: torch.device, *, widen: float = 0.10
) -> Tensor:
    """Evaluation crops: the annotated box widened by `widen` of its size in all, no jitter."""
    texture = torch.from_numpy(crops.canvases[index]).to(device).permute(0, 3, 1, 2).float() / 255
    pad = widen / 2
    corners = (aug.unit_corners(len(index), device) + pad) / (1 + 2 * pad)
    crop, _ = aug.sample_quad(
        texture, corners, torch.tensor(INNER, device=device), padding="border"
    )
    return crop


class Pools:
    """Everything on the device; `batch` draws and augments."""

    def __init__(self, flat: Path, real: Path, device: torch.device, *, limit: int = 0) -> None:
        meta = np.load(flat / "plates.npz")
        self.labels = [str(label) for label in meta["regions"]]
        count = min(len(meta["slots"]), limit) if limit else len(meta["slots"])
        images = np.load(flat / "plates.npy", mmap_mode="r")
        self.device = device
        self.flat = torch.empty((count, *images.shape[1:]), dtype=torch.uint8, device=device)
        for start in range(0, count, 8192):
            stop = min(start + 8192, count)
            self.flat[start:stop] = torch.from_numpy(np.array(images[start:stop])).to(device)
        self.flat_slots = torch.from_numpy(meta["slots"][:count].astype(np.int64)).to(device)
        self.flat_region = torch.from_numpy(meta["region"][:count].astype(np.int64)).to(device)
        self.aspect = torch.from_numpy(meta["aspect"][:count].astype(np.float32)).to(device)
        self.crops, patches = load_real(real, self.labels)
        self.patches = torch.from_numpy(patches).to(device)
        use = (
            (self.crops.split == "train")
            & (self.crops.quality != "unreadable")
            & (self.crops.text != "")
        )
        latin = np.array(
            [
                script != "other" or sum(c.isalnum() for c in t) >= 4
                for script, t in zip(self.crops.script, self.crops.text, strict=True)
            ]
        )
        self.real_index = np.flatnonzero(use & latin)
        seen = Counter(self.crops.text[self.real_index])
        weight = np.array([seen[t] ** -0.6 for t in self.crops.text[self.real_index]])
        self.real_weight = torch.from_numpy(weight / weight.sum()).to(device)
        self.real = torch.from_numpy(self.crops.canvases[self.real_index]).to(device)
        self.real_slots = torch.from_numpy(self.crops.slots[self.real_index].astype(np.int64)).to(
            device
        )
        self.real_region = torch.from_numpy(self.crops.region[self.real_index].astype(np.int64)).to(
            device
        )
        self.inner = torch.tensor(INNER, device=device)
        self.whole = torch.tensor([0.0, 0, 1, 1], device=device)

    def _background(self, count: int) -> Tensor:
        pick = torch.randint(len(self.patches), (count,), device=self.device)
        patch = self.patches[pick].permute(0, 3, 1, 2).float() / 255
        plain = torch.rand(count, 3, 1, 1, device=self.device)
        paint = torch.rand(count, device=self.device)[:, None, None, None]
        return torch.where(paint < 0.5, plain * 0.75 + patch * 0.25, patch)

    def batch(self, size: int, *, real: float, negative: float = 0.03) -> Batch:
        """`size` crops: the given shares of real crops and of patches without a plate, the rest
        rendered.
        """
        device = self.device
        n_real, n_none = int(size * real), int(size * negative)
        n_flat = size - n_real - n_none
        pick = torch.randint(len(self.flat), (n_flat,), device=device)
        texture = self.flat[pick].permute(0, 3, 1, 2).float() / 255
        aspect = self.aspect[pick]
        tilted = torch.rand(n_flat, device=device)[:, None, None] < 0.38
        corners = torch.where(tilted, aug.boxed_corners(aspect), aug.rectified_corners(aspect))
        crop, mask = aug.sample_quad(texture, corners, self.whole, padding="none")
        crop = self._background(n_flat) * (1 - mask) + crop * mask
        crop = torch.cat((crop, self._background(n_none)))
        crop = aug.degrade(crop, torch.ones(len(crop), device=device), low_res=0.65)
        parts, slots, region = [crop], [self.flat_slots[pick]], [self.flat_region[pick]]
        slots.append(torch.full((n_none, SLOTS), BLANK, device=device))
        region.append(torch.full((n_none,), MASKED, device=device))
        if n_real:
            chosen = torch.multinomial(self.real_weight, n_real, replacement=True)
            texture = self.real[chosen].permute(0, 3, 1, 2).float() / 255
            shot, _ = aug.sample_quad(
                texture, aug.real_corners(n_real, device), self.inner, padding="border"
            )
            parts.append(aug.degrade(shot, torch.full((n_real,), 0.35, device=device), low_res=0.3))
            slots.append(self.real_slots[chosen])
            region.append(self.real_region[chosen])
        all_slots = torch.cat(slots)
        return Batch(torch.cat(parts), all_slots, torch.cat(region), (all_slots != MASKED).all(1))
