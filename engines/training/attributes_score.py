"""How good a vehicle-attributes model is, on the val split: choosing and reporting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.training.attributes_augment import monochrome, plain
from engines.training.attributes_data import Crops
from engines.training.attributes_labels import HEADS, MULTI, TYPES, UNKNOWN, same_colour

SURE = 0.8
Probabilities = dict[str, NDArray[np.float64]]


@torch.no_grad()
def logits(
    net: Callable[[Tensor], tuple[Tensor, ...]], crops: Crops, index: NDArray, kind: str = ""
) -> dict[str, Tensor]:
    """Per head (n, labels) on the CPU, "multi" ruled out; `kind` names a grey version."""
    generator = torch.Generator(device=crops.device).manual_seed(0)
    parts = []
    for start in range(0, len(index), 256):
        rows = torch.from_numpy(index[start : start + 256]).to(crops.device)
        images = plain(crops.views(rows))
        if kind:
            images = monochrome(images, kind, generator)
        images = (images * 255).round() / 255
        parts.append([output.float().cpu() for output in net(images)])
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    told = dict(zip(HEADS, columns, strict=True))
    told["color"][:, MULTI] = -1e4
    return told


def val_rows(crops: Crops) -> dict[str, NDArray]:
    """Val crops of `vehicles-street` by head: those with one right answer.

    Of colours those labelled with one; people could not name one on the others, either.
    """
    val = crops.val & crops.street
    colours = crops.colour.cpu().numpy()
    single = crops.types.cpu().numpy().sum(1) == 1
    return {
        "type": np.flatnonzero(val & single),
        "color": np.flatnonzero(val & (colours >= 0) & (colours < MULTI)),
        "view": np.flatnonzero(val & (crops.view.cpu().numpy() >= 0)),
        "make": np.flatnonzero(val & (crops.make.cpu().numpy() >= 0)),
    }


def truths(crops: Crops, head: str, index: NDArray) -> NDArray:
    if head == "type":
        return crops.types.cpu().numpy()[index].argmax(1)
    table = {"color": crops.colour, "view": crops.view, "make": crops.make}[head]
    return table.cpu().numpy()[index]


def sure(
    probabilities: NDArray, truth: NDArray, *, unknown: int | None, level: float = SURE
) -> tuple[float, float]:
    """(precision, coverage) of the answers at `level` or more; `unknown` is no answer."""
    best = probabilities.argmax(1)
    answered = probabilities.max(1) >= level
    if unknown is not None:
        answered &= best != unknown
    if not answered.any():
        return 0.0, 0.0
    return float((best == truth)[answered].mean()), float(answered.mean())


def calibration_error(probabilities: NDArray, truth: NDArray, bins: int = 8) -> float:
    """Expected calibration error over equally filled bins."""
    level = probabilities.max(1)
    right = (probabilities.argmax(1) == truth).astype(float)
    order = np.argsort(level, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    gaps = [abs(level[p].mean() - right[p].mean()) * len(p) for p in parts if len(p)]
    return float(sum(gaps) / len(order))


def score(
    net: Callable[[Tensor], tuple[Tensor, ...]],
    crops: Crops,
    temperatures: dict[str, float] | None = None,
) -> dict[str, float]:
    """Every figure, and `worth`, by which the best weights are kept."""
    warm = temperatures or {}
    figures: dict[str, float] = {}
    worth = []
    for head, index in val_rows(crops).items():
        if not len(index):
            continue
        raw = logits(net, crops, index)[head] / warm.get(head, 1.0)
        p = raw.softmax(-1).numpy().astype(np.float64)
        truth = truths(crops, head, index)
        right = p.argmax(1) == truth
        kinds = np.unique(truth)
        balanced = float(np.mean([right[truth == kind].mean() for kind in kinds]))
        belief = float(np.mean([p[truth == k, k].mean() for k in kinds]))
        figures[f"{head}_exact"] = float(right.mean())
        figures[f"{head}_balanced"] = balanced
        precision, coverage = sure(p, truth, unknown=UNKNOWN if head == "color" else None)
        figures[f"{head}_sure_precision"], figures[f"{head}_sure_coverage"] = precision, coverage
        figures[f"{head}_calibration_error"] = calibration_error(p, truth)
        figures[f"{head}_vehicles"] = float(len(index))
        if head == "type":
            worth.append((balanced + belief) / 2)
            for kind in kinds:
                figures[f"type_{TYPES[kind]}"] = float(right[truth == kind].mean())
        elif head in ("color", "view"):
            worth.append((right.mean() + p[np.arange(len(p)), truth].mean()) / 2)
        if head == "color":
            pairs = zip(p.argmax(1), truth, strict=True)
            near = [same_colour(int(a), int(b)) for a, b in pairs]
            figures["color_near"] = float(np.mean(near))
    any_val = np.flatnonzero(crops.val & crops.street)
    for kind in ("grey", "infrared", "purple"):
        raw = logits(net, crops, any_val, kind)["color"] / warm.get("color", 1.0)
        figures[f"color_unknown_{kind}"] = float((raw.argmax(-1) == UNKNOWN).float().mean())
    colours = crops.colour.cpu().numpy()
    nameless = np.flatnonzero(crops.val & crops.street & (colours >= MULTI))
    if len(nameless):
        p = (logits(net, crops, nameless)["color"] / warm.get("color", 1.0)).softmax(-1).numpy()
        named = (p.max(1) >= SURE) & (p.argmax(1) != UNKNOWN)
        figures["color_nameless_vehicles"] = float(len(nameless))
        figures["color_nameless_sure"] = float(named.mean())
    figures["worth"] = float(np.mean(worth))
    return figures


def fit_temperature(raw: Tensor, truth: NDArray) -> float:
    """The temperature with the least cross entropy, by trying 120 of them."""
    target = torch.from_numpy(truth.astype(np.int64))
    levels = torch.exp(torch.linspace(-1.2, 1.2, 121)).tolist()
    losses = [float(torch.nn.functional.cross_entropy(raw / t, target)) for t in levels]
    return float(levels[int(np.argmin(losses))])
