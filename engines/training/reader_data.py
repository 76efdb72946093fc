"""Pools of rendered plates and real crops on the device, and batches drawn from them.

Real crops: a share of the TRAIN texts (chosen by a hash of the text, so that one plate is never
on both sides) is held out for fitting the temperature; VAL is read for reporting only and never
drawn into a batch.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engines.training import reader_augment as aug
from engines.training import reader_geometry as geo
from engines.training.reader_geometry import CONTEXT
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
    corners: Tensor  # (B, 8) in parts of the crop, NaN where nobody knows them


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
    quads: NDArray[np.float32]  # (n, 4, 2) of our own detector, parts of the canvas; NaN = none


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
        quads=data["quads"].astype(np.float32).reshape(-1, 4, 2),
    )
    return crops, _decode(data["patches"], data["patch_ends"], (geo.OUT_W, geo.OUT_H))


def _textures(
    crops: RealCrops, index: NDArray[np.int64], device: torch.device
) -> tuple[Tensor, Tensor]:
    texture = torch.from_numpy(crops.canvases[index]).to(device).permute(0, 3, 1, 2).float() / 255
    return texture, geo.rectangle(torch.tensor(INNER, device=device), len(index))


def boxed(
    crops: RealCrops, index: NDArray[np.int64], device: torch.device, *, widen: float = 0.10
) -> Tensor:
    """Evaluation crops: the annotated box widened by `widen` of its size in all, no jitter."""
    texture, box = _textures(crops, index, device)
    pad = widen / 2
    corners = (geo.unit_corners(len(index), device) + pad) / (1 + 2 * pad)
    return geo.sample_quad(texture, corners, box, padding="border")[0]


def rectified(crops: RealCrops, index: NDArray[np.int64], device: torch.device) -> Tensor:
    """Evaluation crops as the daemon makes them: our detector's quad (where it found none, the
    box) inset by the margins.
    """
    texture, box = _textures(crops, index, device)
    quads = torch.from_numpy(crops.quads[index]).to(device)
    source = torch.where(quads.isfinite(), quads, box)
    margin = torch.tensor([geo.MARGIN_X, geo.MARGIN_Y], device=device)
    corners = geo.unit_corners(len(index), device) * (1 - 2 * margin) + margin
    return geo.sample_quad(texture, corners, source, padding="border")[0]


VIEWS = {"box": boxed, "quad": rectified}
"""The two inputs that figures are given for: the box widened by 10 %, and our detector's quad."""


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
        train = self.crops.split == "train"
        latin = np.array(
            [
                script != "other" or sum(c.isalnum() for c in t) >= 4
                for script, t in zip(self.crops.script, self.crops.text, strict=True)
            ]
        )
        self.real_index = np.flatnonzero(
            train & latin & (self.crops.quality != "unreadable") & (self.crops.text != "")
        )
        seen = Counter(self.crops.text[self.real_index])
        weight = np.array([seen[t] ** -0.6 for t in self.crops.text[self.real_index]])
        self.real_weight = torch.from_numpy(weight / weight.sum()).to(device)
        # No plate at all: annotated so upstream, or taken for one by our detector.
        self.none_index = np.flatnonzero(train & (self.crops.quality == "notplate"))
        # One table for both, plates first.
        table = np.concatenate((self.real_index, self.none_index))
        self.real = torch.from_numpy(self.crops.canvases[table]).to(device)
        self.real_slots = torch.from_numpy(self.crops.slots[table].astype(np.int64)).to(device)
        self.real_region = torch.from_numpy(self.crops.region[table].astype(np.int64)).to(device)
        inner = torch.tensor(INNER, device=device)
        self.real_box = geo.rectangle(inner, len(table))
        quads = torch.from_numpy(self.crops.quads[table]).to(device)
        self.has_quad = quads.isfinite().flatten(1).all(1)
        self.real_quad = torch.where(self.has_quad[:, None, None], quads, self.real_box)
        self.whole = torch.tensor([0.0, 0, 1, 1], device=device)
        self.light: Callable[[Tensor], Tensor] = aug.light

    def _canvases(self, chosen: Tensor) -> Tensor:
        return self.real[chosen].permute(0, 3, 1, 2).float() / 255

    def _background(self, count: int) -> Tensor:
        pick = torch.randint(len(self.patches), (count,), device=self.device)
        patch = self.patches[pick].permute(0, 3, 1, 2).float() / 255
        plain = torch.rand(count, 3, 1, 1, device=self.device)
        paint = torch.rand(count, device=self.device)[:, None, None, None]
        return torch.where(paint < 0.5, plain * 0.75 + patch * 0.25, patch)

    def _surroundings(self, corners: Tensor) -> Tensor:
        """Real crops whose own plate (or what was taken for one) hides under `corners`."""
        chosen = torch.randint(len(self.real), (len(corners),), device=self.device)
        middle = corners.mean(1, keepdim=True)
        inside = (corners - middle) * 0.93 + middle
        return geo.sample_quad(
            self._canvases(chosen), inside, self.real_quad[chosen], padding="border"
        )[0]

    def _rendered(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Crops of rendered plates before the camera, which they are, and their corners (B, 8)."""
        pick = torch.randint(len(self.flat), (count,), device=self.device)
        texture = self.flat[pick].permute(0, 3, 1, 2).float() / 255
        aspect = self.aspect[pick]
        tilted = torch.rand(count, device=self.device)[:, None, None] < 0.38
        corners = torch.where(tilted, geo.boxed_corners(aspect), geo.rectified_corners(aspect))
        crop, mask = geo.sample_quad(
            texture, corners, geo.rectangle(self.whole, count), padding="none"
        )
        behind = self._background(count)
        vehicles = int(count * 0.45)
        if len(self.real):
            behind[:vehicles] = self._surroundings(corners[:vehicles])
        colour, alpha = crop[:, :3], crop[:, 3:]  # the colour is multiplied by alpha already
        return behind * (1 - mask * alpha) + colour * mask, pick, corners.flatten(1)

    def _photographed(self, chosen: Tensor) -> Tensor:
        """Real crops, from the detector's quad or from the annotated box."""
        count = len(chosen)
        exact = self.has_quad[chosen] & (torch.rand(count, device=self.device) < 0.5)
        exact = exact[:, None, None]
        aspect = torch.full((count,), 3.0, device=self.device)
        corners = torch.where(
            exact, geo.rectified_corners(aspect), geo.real_corners(count, self.device)
        )
        source = torch.where(exact, self.real_quad[chosen], self.real_box[chosen])
        return geo.sample_quad(self._canvases(chosen), corners, source, padding="border")[0]

    def batch(self, size: int, *, real: float, negative: float = 0.05) -> Batch:
        """`size` crops: the given shares of real crops and of pictures without a plate, the rest
        rendered.
        """
        device = self.device
        n_real, n_none = int(size * real), int(size * negative)
        n_judged = n_none * 2 // 3 if len(self.none_index) else 0
        n_flat = size - n_real - n_none
        crop, pick, corners = self._rendered(n_flat)
        clean = [crop, self._background(n_none - n_judged)]
        slots = [
            self.flat_slots[pick],
            torch.full((n_none - n_judged, SLOTS), BLANK, device=device),
        ]
        region = [
            self.flat_region[pick],
            torch.full((n_none - n_judged,), MASKED, device=device),
        ]
        chosen = torch.zeros(0, dtype=torch.long, device=device)
        if n_real and len(self.real_index):
            chosen = torch.multinomial(self.real_weight, n_real, replacement=True)
        if n_judged:
            first = len(self.real_index)
            none = torch.randint(first, len(self.real), (n_judged,), device=device)
            chosen = torch.cat((chosen, none))
        if len(chosen):
            clean.append(self._photographed(chosen))
            slots.append(self.real_slots[chosen])
            region.append(self.real_region[chosen])
        # Mixed, so that every chunk of the camera sees every kind; real crops are blurred already.
        strength = torch.ones(size, device=device)
        strength[size - len(chosen) :] = 0.6
        corners = functional.pad(corners, (0, 0, 0, size - n_flat), value=float("nan"))
        order = torch.randperm(size, device=device)
        images = aug.degrade(torch.cat(clean)[order], strength[order], low_res=0.6, lit=self.light)
        all_slots = torch.cat(slots)[order]
        return Batch(
            images,
            all_slots,
            torch.cat(region)[order],
            (all_slots != MASKED).all(1),
            corners[order],
        )
