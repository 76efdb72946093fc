"""Train the painters, which name colours: `python -m engines.training.attributes_paint --pack .gpu/a0
--checkpoint attributes-best.pt --out painters.pt`, on a CPU.

The trunk stays as it is, so its maps are computed once per crop and round of augmentation, and
reduced to their principal components; a step then takes a fraction of a second. The light is varied
gently: strong casts teach more doubt than colours. `--folds 5` trains nothing to keep: it holds back
each fifth of the labelled photographs in turn and says how well their colours are named, by which
painters are chosen without a look at val.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
import zlib
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
from engines.training.attributes_labels import (
    COLOURS,
    MULTI,
    UNKNOWN,
    colour_targets,
    same_colour,
)
from engines.training.attributes_net import COMPONENTS, SIDE_PX, AttributesNet, Painter
from engines.training.attributes_score import SURE, fit_temperature, sure
from engines.training.detector_photo import Dice

STRENGTH = 0.4
"""Of the light's variation, beside that of the net's own training."""

REPAINTED = 0.2
SHARES = {"multi": 0.5, "unknown": 0.3}
PAINTED_SHARE = 0.35
FORGOTTEN_SHARE = 0.8
"""Weights of lessons, beside 1 for a labelled paint."""

BASIS_CROPS = 1024
"""From which the principal components are computed."""

JUDGED = (Path(__file__).with_name("judged_november_paint.csv"),)


def with_judged(colours: NDArray, paths: Sequence[str], judged: Sequence[Path]) -> NDArray:
    """Colours (N,), -1 for none: the pack's, and those judged for this training.

    A judged vehicle is the `number`th of its image in the pack, counted from 0.
    """
    known: dict[tuple[str, int], int] = {}
    for table in judged:
        with table.open(newline="") as handle:
            for row in csv.DictReader(handle):
                known[row["image"], int(row["number"])] = COLOURS.index(row["color"])
    result, seen = colours.copy(), Counter[str]()
    for place, path in enumerate(paths):
        if result[place] < 0:
            result[place] = known.get((path, seen[path]), -1)
        seen[path] += 1
    return result


class Lessons:
    """Maps, miniatures, labels and weights of augmented crops."""

    def __init__(
        self, net: AttributesNet, crops: Crops, colours: NDArray, dice: Dice, rare: float
    ) -> None:
        self.net, self.crops, self.dice = net, crops, dice
        self.colours = torch.from_numpy(colours)
        self.index = torch.from_numpy(np.flatnonzero((colours >= 0) & ~crops.val))
        count = np.bincount(colours[self.index.numpy()], minlength=len(COLOURS))
        rarity = (count.max() / count.clip(20)) ** rare
        self.shares = torch.tensor(
            [SHARES.get(name, rarity[k]) for k, name in enumerate(COLOURS)], dtype=torch.float32
        )
        self.basis = self._basis()

    @torch.no_grad()
    def _basis(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        places = torch.linspace(0, len(self.index) - 1, min(BASIS_CROPS, len(self.index))).long()
        maps = [
            self.net.maps(plain(self.crops.views(part))) for part in self.index[places].split(64)
        ]
        p8, p16 = (torch.cat(column) for column in zip(*maps, strict=True))
        return (*components(p8), *components(p16))

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


def fit(lessons: tuple[Tensor, ...], args: argparse.Namespace, seed: int) -> Painter:
    """One painter, averaged over its last steps."""
    c8, c16, small, labels, weights = lessons
    torch.manual_seed(seed)
    painter = Painter(args.attention, args.tones)
    learnt = [p for name, p in painter.named_parameters() if not name.startswith("basis")]
    optimiser = torch.optim.AdamW(learnt, lr=args.lr, weight_decay=0.05, betas=(0.9, 0.98))
    targets = torch.from_numpy(colour_targets(0.03))
    mean = {key: value.clone() for key, value in painter.state_dict().items()}
    began_s, count = time.monotonic(), 96
    for step in range(args.steps):
        rate = args.lr * min(1.0, (step + 1) / 40)
        rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / args.steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        drawn = torch.multinomial(weights, count, replacement=True)
        a, b, s, y = c8[drawn].float(), c16[drawn].float(), small[drawn].float(), labels[drawn]
        if torch.rand(1) < 0.5:
            a, b, s = a.flip(3), b.flip(3), s.flip(3)
        light = torch.exp(torch.randn(count, 3, 1, 1) * 0.04 + torch.randn(count, 1, 1, 1) * 0.06)
        known = (y != UNKNOWN)[:, None, None, None]
        s = torch.where(known, s * light, s).clamp(0, 1)
        with torch.autocast("cpu", torch.bfloat16):
            said = painter.named(a, b, s)
        loss = -(targets[y] * said.float().log_softmax(-1)).sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        share = 1 - min(0.99, (step + 1) / (step + 10))
        for key, value in painter.state_dict().items():
            mean[key].lerp_(value, share)
        if (step + 1) % 300 == 0:
            print(
                f"{step + 1} loss {loss.item():.3f} {time.monotonic() - began_s:.0f}s", flush=True
            )
    painter.load_state_dict(mean)
    return painter.eval()


def fold_of(paths: Sequence[str], folds: int) -> NDArray:
    """Which fold (N,) each crop is held back in: those of one photograph together."""
    return np.array([zlib.crc32(path.encode()) % folds for path in paths])


def hold_back(
    args: argparse.Namespace, crops: Crops, lessons: Lessons, rounds: Sequence[tuple[Tensor, ...]]
) -> None:
    """Name the vehicles that the data's own labels give one of the twelve colours, each by
    painters that saw nothing of its photograph."""
    index = lessons.index.numpy()
    folds = torch.from_numpy(fold_of([crops.paths[k] for k in index], args.folds))
    truth = crops.colour.numpy()[index]
    asked = torch.from_numpy((truth >= 0) & (truth < MULTI))
    c8, c16, small = (column.float() for column in rounds[0][:3])
    told = tuple(torch.cat(column) for column in zip(*rounds, strict=True))
    said = torch.zeros(len(index), len(COLOURS))
    for fold in range(args.folds):
        away = folds == fold
        weights = torch.where(away.repeat(len(rounds)), 0.0, told[-1])
        rows = torch.nonzero(away & asked)[:, 0]
        for number in range(args.painters):
            painter = fit((*told[:-1], weights), args, args.seed + number)
            with torch.no_grad():
                said[rows] += painter.named(c8[rows], c16[rows], small[rows]) / args.painters
    raw, truth = said[asked], truth[asked.numpy()]
    raw[:, MULTI] = -1e4
    p = (raw / fit_temperature(raw, truth)).softmax(-1).numpy()
    near = np.mean([same_colour(int(a), int(b)) for a, b in zip(p.argmax(1), truth, strict=True)])
    precision, coverage = sure(p, truth, unknown=UNKNOWN)
    print(
        f"{len(truth)} vehicles held back: exact {(p.argmax(1) == truth).mean():.4f}, "
        f"near {near:.4f}, at {SURE} {precision:.4f} of {coverage:.4f}",
        flush=True,
    )


def train(args: argparse.Namespace) -> None:
    net, _ = load_net(args.checkpoint)
    crops = Crops(args.pack, torch.device("cpu"))
    dice = Dice(torch.Generator().manual_seed(args.seed), np.random.default_rng(args.seed))
    colours = with_judged(crops.colour.numpy(), crops.paths, args.judged)
    lessons = Lessons(net, crops, colours, dice, args.rare)
    rounds = [lessons.round(varied=k > 0) for k in range(args.rounds)]
    if args.folds:
        hold_back(args, crops, lessons, rounds)
        return
    told = tuple(torch.cat(column) for column in zip(*rounds, strict=True))
    painters = []
    for number in range(args.painters):
        painter = fit(told, args, args.seed + number)
        a, b, c, d = lessons.basis
        painter.basis8.load_state_dict({"weight": a, "bias": b})
        painter.basis16.load_state_dict({"weight": c, "bias": d})
        shape = {"attention": args.attention, "tones": args.tones}
        painters.append({**shape, "weights": painter.state_dict()})
    torch.save({"painters": painters, "steps": args.steps, "rounds": args.rounds}, args.out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", type=Path, default=Path(".gpu/a0"))
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True, help="their mean")
    parser.add_argument("--judged", type=Path, nargs="*", default=JUDGED)
    parser.add_argument("--out", type=Path, default=Path("painters.pt"))
    parser.add_argument("--folds", type=int, default=0, help="hold back photographs, keep nothing")
    parser.add_argument("--painters", type=int, default=2, help="whose mean is shipped")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--attention", type=int, default=4)
    parser.add_argument("--tones", type=int, default=24)
    parser.add_argument("--rare", type=float, default=0.5, help="0: colours as often as they come")
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=1)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
