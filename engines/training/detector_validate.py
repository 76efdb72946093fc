"""Validation during training.

Val photographs letterboxed as the daemon does, and rendered val pictures.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.training.detector_bank import Bank
from engines.training.detector_compose import Composer, load_composer
from engines.training.detector_labels import PLATE
from engines.training.detector_metrics import (
    Found,
    Truth,
    average_precision,
    corner_error,
    select,
    tally_plates,
)
from engines.training.detector_net import HEIGHT_PX, WIDTH_PX

THRESHOLD = 0.4
PLATE_SETS = ("plates-ro", "plates-openimages", "plates-mixed")
VEHICLE_SETS = ("vehicles-street", "vehicles-highway")
RENDERED = 256


def picture(bank: Bank, index: int) -> Tensor:
    """One picture of a bank, (3, h, w) in 0..1."""
    start, width, height = (int(t[index, 0]) for t in (bank.offset, bank.width, bank.height))
    words = bank.words[start : start + width * height].view(height, width)
    return torch.stack([(words >> shift) & 255 for shift in (0, 8, 16)]).float() / 255


def letterbox(image: Tensor) -> tuple[Tensor, float, float, float]:
    """Fit (3, h, w) into the net's input, centred on grey; gives scale and the offsets."""
    _, height, width = image.shape
    scale = min(WIDTH_PX / width, HEIGHT_PX / height)
    size = (round(height * scale), round(width * scale))
    small = functional.interpolate(
        image[None], size=size, mode="bilinear", antialias=scale < 1, align_corners=False
    )[0]
    left, top = (WIDTH_PX - size[1]) // 2, (HEIGHT_PX - size[0]) // 2
    out = torch.full((3, HEIGHT_PX, WIDTH_PX), 114 / 255, device=image.device)
    out[:, top : top + size[0], left : left + size[1]] = small
    return out, scale, float(left), float(top)


class Validation:
    """Holds the val pictures on the device and measures a decoded net on them."""

    def __init__(self, banks: Path, device: torch.device, limit: int = 0) -> None:
        composer = load_composer(banks, "val", device)
        bank = composer.street
        real = [i for i, name in enumerate(bank.set_name) if name in PLATE_SETS + VEHICLE_SETS]
        if limit:
            real = real[:: max(1, len(real) // limit)]
        self.images: list[Tensor] = []
        self.truths: list[Truth] = []
        classes, boxes, stored = (
            bank.tables[k].cpu().numpy() for k in ("classes", "boxes", "scale")
        )
        for i in real:
            image, scale, left, top = letterbox(picture(bank, i))
            self.images.append((image * 255).round().byte())
            use = classes[i] >= 0
            moved = boxes[i][use] * scale + np.array([left, top, left, top], np.float32)
            self.truths.append(
                Truth(
                    str(bank.set_name[i]),
                    classes[i][use],
                    moved,
                    1 / (scale * float(stored[i])),
                    str(bank.path[i]),
                )
            )
        self.rendered(composer, device, limit or RENDERED)
        self.device = device

    def rendered(self, composer: Composer, device: torch.device, count: int) -> None:
        generator = torch.Generator(device).manual_seed(4711)
        for _ in range(max(1, count // 32)):
            batch = composer.batch(32, generator, mosaic=0.0)
            for i in range(32):
                use = batch.has_corners[i] & (batch.classes[i] == PLATE)
                self.images.append((batch.images[i] * 255).round().byte())
                truth = Truth(
                    "rendered",
                    batch.classes[i][use].cpu().numpy(),
                    batch.boxes[i][use].cpu().numpy(),
                )
                truth.corners = batch.corners[i][use].cpu().numpy()
                self.truths.append(truth)

    @torch.no_grad()
    def detect(self, net: nn.Module) -> list[Found]:
        found: list[Found] = []
        net.eval()
        for start in range(0, len(self.images), 32):
            images = torch.stack(self.images[start : start + 32]).float() / 255
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=False):
                outputs = [value.float().cpu().numpy() for value in net(images)]
            found += [select(*(value[i] for value in outputs)) for i in range(len(images))]
        return found

    def run(self, net: nn.Module) -> dict[str, float]:
        """All figures by name."""
        pairs = list(zip(self.truths, self.detect(net), strict=True))
        figures: dict[str, float] = {}
        tallies = tally_plates([p for p in pairs if p[0].set_name in PLATE_SETS], THRESHOLD)
        for name, tally in tallies.items():
            short = name.split("-")[1]
            figures[f"recall-{short}"] = tally.recall
            figures[f"false-{short}"] = tally.false_rate
        for name in VEHICLE_SETS:
            mine = [p for p in pairs if p[0].set_name == name]
            values = [average_precision(mine, label) for label in range(1, 5)]
            values = [v for v in values if not np.isnan(v)]
            if values:
                figures[f"ap50-{name.split('-')[1]}"] = float(np.mean(values))
            figures[f"plates-{name.split('-')[1]}"] = (
                float(
                    np.mean(
                        [((f.labels == PLATE) & (f.scores >= THRESHOLD)).sum() for _, f in mine]
                    )
                )
                if mine
                else 0.0
            )
        mean, high, recall = corner_error(
            [p for p in pairs if p[0].set_name == "rendered"], THRESHOLD
        )
        return figures | {"corner": mean, "corner-p90": high, "recall-rendered": recall}
