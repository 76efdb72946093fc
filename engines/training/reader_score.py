"""Measure a reader on real crops: exact reads per set, confusions, calibration, region, worth of
the quality head.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engines.training.reader_data import VIEWS, RealCrops, boxed
from engines.training.render_flat import ALPHABET, BLANK, MASKED

PAIRS = {
    frozenset(p)
    for p in (
        "0O",
        "1I",
        "B8",
        "5S",
        "2Z",
        "0D",
        "0Q",
        "OQ",
        "OD",
        "6G",
        "VY",
        "UV",
        "8S",
        "MN",
        "17",
    )
}


def decode(classes: np.ndarray) -> str:
    """Slot classes -> text, blanks dropped."""
    return "".join(ALPHABET[c] for c in classes if c != BLANK)


@torch.no_grad()
def _outputs(
    net: nn.Module, crops: RealCrops, index: np.ndarray, device: torch.device, view: str = "box"
) -> list[Tensor]:
    shown = VIEWS[view]
    parts = [net(shown(crops, index[k : k + 128], device)) for k in range(0, len(index), 128)]
    return [torch.cat([p[i].float().cpu() for p in parts]) for i in range(3)]


def readable(crops: RealCrops, split: str) -> np.ndarray:
    """Indices of Latin crops of a split whose whole text is known."""
    keep = (
        (crops.split == split)
        & (crops.script != "other")
        & np.isin(crops.quality, ("good", "hard"))
        & (crops.text != "")
    )
    return np.flatnonzero(keep & (np.char.find(crops.text, "?") < 0))


def fit_temperature(net: nn.Module, crops: RealCrops, device: torch.device) -> float:
    """Temperature for which the whole text's confidence is best calibrated on the held-out train
    crops, from boxes and from quads.
    """
    index = readable(crops, "held")
    if len(index) < 20:
        return 1.0
    logits = torch.cat([_outputs(net, crops, index, device, view)[0] for view in VIEWS])
    index = np.tile(index, len(VIEWS))
    right = torch.tensor(
        [
            decode(row) == crops.text[i]
            for row, i in zip(logits.argmax(-1).numpy(), index, strict=True)
        ]
    )
    best, best_loss = 1.0, float("inf")
    for temperature in np.exp(np.linspace(np.log(0.5), np.log(4), 60)):
        log_conf = (logits / float(temperature)).log_softmax(-1).amax(-1).sum(1).clamp(max=-1e-6)
        loss = float(torch.where(right, -log_conf, -torch.log1p(-log_conf.exp())).mean())
        if loss < best_loss:
            best, best_loss = float(temperature), loss
    return best


def reliability(
    confidence: np.ndarray, right: np.ndarray, bins: int = 10
) -> tuple[float, list[list[float]]]:
    """Expected calibration error (equal-width bins) and its table."""
    table, error = [], 0.0
    for k in range(bins):
        low, high = k / bins, (k + 1) / bins
        rows = (confidence >= low) & ((confidence < high) | (k == bins - 1))
        if rows.any():
            mean, share = float(confidence[rows].mean()), float(right[rows].mean())
            error += abs(mean - share) * rows.mean()
            table.append(
                [round(low, 2), round(high, 2), int(rows.sum()), round(mean, 4), round(share, 4)]
            )
    return float(error), table


def kind_of_error(read: str, truth: str) -> str:
    if len(read) != len(truth):
        return "length"
    wrong = [frozenset((a, b)) for a, b in zip(read, truth, strict=True) if a != b]
    return "confusable" if all(pair in PAIRS for pair in wrong) else "other"


def _min_quality(quality: np.ndarray, right: np.ndarray) -> float:
    """Lowest threshold that keeps at least 99 % of the right reads."""
    return float(np.quantile(quality[right], 0.01)) if right.any() else 0.5


def score(net: nn.Module, crops: RealCrops, device: torch.device, split: str) -> dict[str, Any]:
    """All figures of a split; `net` gives probabilities."""
    index = readable(crops, split)
    chars, region, quality = _outputs(net, crops, index, device)
    reads = np.array([decode(row) for row in chars.argmax(-1).numpy()])
    truth = crops.text[index]
    right = reads == truth
    confidence = chars.amax(-1).prod(1).numpy()
    ece, table = reliability(confidence, right)
    figures: dict[str, float] = {}
    from_quads = _outputs(net, crops, index, device, "quad")[0]
    quad_right = np.array([decode(row) for row in from_quads.argmax(-1).numpy()]) == truth
    for folder in ("plates-ro", "plates-openimages", "plates-mixed"):
        for grade in ("good", "hard"):
            rows = (crops.folder[index] == folder) & (crops.quality[index] == grade)
            if rows.any():
                figures[f"exact_{folder.removeprefix('plates-')}_{grade}"] = float(
                    right[rows].mean()
                )
                figures[f"count_{folder.removeprefix('plates-')}_{grade}"] = int(rows.sum())
                figures[f"quad_exact_{folder.removeprefix('plates-')}_{grade}"] = float(
                    quad_right[rows].mean()
                )
    hard = crops.quality[index] == "hard"
    figures["exact_hard"] = float(right[hard].mean()) if hard.any() else 0.0
    figures["quad_exact_hard"] = float(quad_right[hard].mean()) if hard.any() else 0.0
    swap = str.maketrans("OI", "01")
    same = [a.translate(swap) == b.translate(swap) for a, b in zip(reads, truth, strict=True)]
    figures["exact_all"] = float(right.mean())
    figures["exact_all_o0_i1_equal"] = float(np.mean(same))
    labelled = crops.region[index] != MASKED
    if labelled.any():
        hit = region.argmax(-1).numpy() == crops.region[index]
        figures["region_right"] = float(hit[labelled].mean())
        figures["region_right_count"] = int(labelled.sum())
    figures["ece"] = ece
    figures["quad_ece"] = reliability(from_quads.amax(-1).prod(1).numpy(), quad_right)[0]
    q = quality[:, 0].numpy()
    if right.any() and (~right).any():
        order = np.argsort(np.concatenate((q[right], q[~right])), kind="stable")
        ranks = np.empty(len(order))
        ranks[order] = np.arange(1, len(order) + 1)
        n_right = int(right.sum())
        figures["quality_auc"] = float(
            (ranks[:n_right].sum() - n_right * (n_right + 1) / 2)
            / (n_right * (len(order) - n_right))
        )
    errors = [
        (str(t), str(r), str(crops.folder[i]), str(crops.quality[i]), str(crops.image[i]))
        for t, r, i in zip(truth[~right], reads[~right], index[~right], strict=True)
    ]
    kinds = Counter(kind_of_error(r, t) for t, r, *_ in errors)
    pairs = Counter(
        f"{a}>{b}"
        for t, r, *_ in errors
        if len(t) == len(r)
        for a, b in zip(t, r, strict=True)
        if a != b
    )
    for kind in ("length", "confusable", "other"):
        figures[f"errors_{kind}"] = kinds[kind]
    held = readable(crops, "held")
    min_quality = 0.2
    if len(held):
        held_chars, _, held_quality = _outputs(net, crops, held, device)
        held_right = np.array(
            [
                decode(row) == crops.text[i]
                for row, i in zip(held_chars.argmax(-1).numpy(), held, strict=True)
            ]
        )
        min_quality = min(_min_quality(held_quality[:, 0].numpy(), held_right), 0.5)
        figures["exact_held_out_train"] = float(held_right.mean())
    return {
        "table": figures,
        "reliability": table,
        "confusions": [f"{k} {v}" for k, v in pairs.most_common(15)],
        "errors": errors,
        "min_quality": min_quality,
        "sample": boxed(crops, index[:: max(len(index) // 64, 1)], device),
    }


def report(result: dict[str, Any]) -> str:
    """The figures and every error, for people."""
    lines = [
        f"{key:28s} {value:.4f}" if isinstance(value, float) else f"{key:28s} {value}"
        for key, value in result["table"].items()
    ]
    lines += ["reliability " + str(row) for row in result["reliability"]]
    lines.append("confusions (truth>read): " + ", ".join(result["confusions"]))
    lines += [
        f"wrong {truth} read {read} {folder} {grade} {image}"
        for truth, read, folder, grade, image in result["errors"]
    ]
    return "\n".join(lines)
