"""Train the painters, which name colours: `python -m engines.training.attributes_paint --pack .gpu/a0
--checkpoint attributes-best.pt --out painters.pt`, on a CPU.

The trunk stays as it is, so its maps are computed once per crop and round of augmentation, and
reduced to their principal components; a step then takes a fraction of a second. The light is varied
gently: strong casts teach more doubt than colours.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engines.training.attributes_augment import FORGET, SKIP, Views, augmented, plain, repaint
from engines.training.attributes_data import Crops
from engines.training.attributes_export import load_net
from engines.training.attributes_labels import COLOURS, UNKNOWN, colour_targets
from engines.training.attributes_net import COMPONENTS, SIDE_PX, AttributesNet, Painter
from engines.training.detector_photo import Dice

STRENGTH = 0.4
"""Of the light's variation, beside that of the net's own training."""

REPAINTED = 0.2
SHARES = {"multi": 0.5, "unknown": 0.3}
PAINTED_SHARE = 0.35
FORGOTTEN_SHARE = 0.8
"""Weights of lessons, beside 1 for a labelled paint."""

JUDGED = Path(__file__).with_name("judged_november_paint.csv")


def with_judged(colours: NDArray, paths: Sequence[str], judged: Path) -> NDArray:
    """Colours (N,), -1 for none: the pack's, and those judged for this training.

    A judged vehicle is the `number`th of its image in the pack, counted from 0.
    """
    with judged.open(newline="") as handle:
        known = {
            (row["image"], int(row["number"])): COLOURS.index(row["color"])
            for row in csv.DictReader(handle)
        }
    result, seen = colours.copy(), Counter[str]()
    for place, path in enumerate(paths):
        if result[place] < 0:
            result[place] = known.get((path, seen[path]), -1)
        seen[path] += 1
    return result


class Lessons:
    """Maps, miniatures, labels and weights of augmented crops."""

    def __init__(self, net: AttributesNet, crops: Crops, colours: NDArray, dice: Dice) -> None:
        self.net, self.crops, self.dice = net, crops, dice
        self.colours = torch.from_numpy(colours)
        self.index = torch.from_numpy(np.flatnonzero((colours >= 0) & ~crops.val))
        count = np.bincount(colours[self.index.numpy()], minlength=len(COLOURS))
        rarity = (count.max() / count.clip(20)) ** 0.5
        self.shares = torch.tensor(
            [SHARES.get(name, rarity[k]) for k, name in enumerate(COLOURS)], dtype=torch.float32
        )
        self.basis: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    @torch.no_grad()
    def round(self, *, varied: bool) -> tuple[Tensor, ...]:
        """Components of both maps, miniatures, labels, weights: every labelled crop once."""
        parts: list[tuple[Tensor, ...]] = []
        for index in self.index.split(64):
            views, labels = self.crops.views(index), self.colours[index]
            weights = self.shares[labels]
            images = plain(views)
            if varied:
                pale = (labels == COLOURS.index("white")) | (labels == COLOURS.index("silver"))
                chosen = pale & self.dice.chance(REPAINTED, len(index))
                painted, names = repaint(views, chosen, self.dice)
                labels = torch.where(chosen, names, labels)
                weights = torch.where(chosen, PAINTED_SHARE * self.shares[labels], weights)
                spoilt = Views(images=painted, box=views.box, inside=views.inside)
                images, fate = augmented(spoilt, self.dice, STRENGTH)
                labels = torch.where(fate == FORGET, UNKNOWN, labels)
                weights = torch.where(fate == FORGET, FORGOTTEN_SHARE, weights)
                weights = torch.where(fate == SKIP, 0.0, weights)
            images = (images * 255).round() / 255
            p8, p16 = self.net.maps(images)
            if self.basis is None:
                self.basis = (*components(p8), *components(p16))
            a, b, c, d = self.basis
            reduced = (functional.conv2d(p8, a, b).half(), functional.conv2d(p16, c, d).half())
            small = functional.avg_pool2d(images, SIDE_PX // 20).half()
            parts.append((*reduced, small, labels, weights))
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def components(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of a 1x1 convolution (COMPONENTS, C, 1, 1) to whitened components."""
    flat = maps.permute(1, 0, 2, 3).flatten(1)
    mean, scale = flat.mean(1, keepdim=True), flat.std(1, keepdim=True) + 1e-3
    flat = (flat - mean) / scale
    vectors, values, _ = torch.linalg.svd(flat @ flat.T / flat.shape[1])
    weight = vectors[:, :COMPONENTS].T / values[:COMPONENTS].sqrt()[:, None] / scale.T
    return weight[:, :, None, None].contiguous(), -(weight @ mean)[:, 0]


def fit(lessons: tuple[Tensor, ...], steps: int, attention: int, seed: int, lr: float) -> Painter:
    """One painter, averaged over its last steps."""
    c8, c16, small, labels, weights = lessons
    torch.manual_seed(seed)
    painter = Painter(attention)
    learnt = [p for name, p in painter.named_parameters() if not name.startswith("basis")]
    optimiser = torch.optim.AdamW(learnt, lr=lr, weight_decay=0.05, betas=(0.9, 0.98))
    targets = torch.from_numpy(colour_targets(0.03))
    mean = {key: value.clone() for key, value in painter.state_dict().items()}
    began_s, count = time.monotonic(), 96
    for step in range(steps):
        rate = lr * min(1.0, (step + 1) / 40)
        rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        drawn = torch.multinomial(weights, count, replacement=True)
        a, b, s, y = c8[drawn].float(), c16[drawn].float(), small[drawn].float(), labels[drawn]
        if torch.rand(1) < 0.5:
            a, b, s = a.flip(3), b.flip(3), s.flip(3)
        light = torch.exp(torch.randn(count, 3, 1, 1) * 0.04 + torch.randn(count, 1, 1, 1) * 0.06)
        known = (y != UNKNOWN)[:, None, None, None]
        s = torch.where(known, s * light, s).clamp(0, 1)
        loss = -(targets[y] * painter.named(a, b, s).log_softmax(-1)).sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        share = 1 - min(0.99, (step + 1) / (step + 10))
        for key, value in painter.state_dict().items():
            mean[key].lerp_(value, share)
        if (step + 1) % 100 == 0:
            print(
                f"{step + 1} loss {float(loss):.3f} {time.monotonic() - began_s:.0f}s", flush=True
            )
    painter.load_state_dict(mean)
    return painter.eval()


def train(args: argparse.Namespace) -> None:
    net, _ = load_net(args.checkpoint)
    crops = Crops(args.pack, torch.device("cpu"))
    dice = Dice(torch.Generator().manual_seed(args.seed), np.random.default_rng(args.seed))
    with np.load(args.pack / "crops.npz") as table:
        paths = [str(path) for path in table["path"]]
    colours = with_judged(crops.colour.numpy(), paths, args.judged)
    lessons = Lessons(net, crops, colours, dice)
    rounds = [lessons.round(varied=k > 0) for k in range(args.rounds)]
    told = tuple(torch.cat(column) for column in zip(*rounds, strict=True))
    painters = []
    for number, attention in enumerate(args.attention):
        painter = fit(told, args.steps, attention, args.seed + number, args.lr)
        a, b, c, d = lessons.basis
        painter.basis8.load_state_dict({"weight": a, "bias": b})
        painter.basis16.load_state_dict({"weight": c, "bias": d})
        painters.append({"attention": attention, "weights": painter.state_dict()})
    torch.save({"painters": painters, "steps": args.steps, "rounds": args.rounds}, args.out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", type=Path, default=Path(".gpu/a0"))
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True, help="their mean")
    parser.add_argument("--judged", type=Path, default=JUDGED)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--attention", type=int, nargs="+", default=[4, 6])
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=1)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
