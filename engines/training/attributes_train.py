"""Train the vehicle attributes: `python -m engines.training.attributes_train --pack .gpu/a0
--out DIR --state FILE --minutes M`.

The learning rate follows the wall clock, so that a run ends in time whatever the machine. Once the
averaged net knows something, it answers for vehicles whose colour and view nobody labelled, where
it is sure of the plain crop; the net learns those answers on the spoilt one. Averaged weights in
half precision are written after every look at val, the best of them beside. Called again with the
same --state, a run goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.training.attributes_augment import KEEP, plain
from engines.training.attributes_data import Batch, Crops
from engines.training.attributes_labels import HEADS, UNKNOWN, colour_targets, view_targets
from engines.training.attributes_net import AttributesNet, begin_from
from engines.training.attributes_score import score
from engines.training.detector_photo import Dice
from engines.training.reader_train import Average, groups

SHARES = {"type": 1.0, "color": 1.0, "view": 0.7, "make": 0.12}
GUESSED = 0.5
"""What a guess of the averaged net counts beside a label."""


class Targets:
    """Soft targets on the device."""

    def __init__(self, device: torch.device) -> None:
        self.colour = torch.from_numpy(colour_targets()).to(device)
        self.view = torch.from_numpy(view_targets()).to(device)


def soft_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross entropy; rows of weight 0 teach nothing."""
    each = -(targets * logits.log_softmax(-1)).sum(-1)
    return (each * weights).sum() / weights.sum().clamp(min=1.0)


def losses(
    outputs: dict[str, Tensor], batch: Batch, targets: Targets, guesses: dict[str, Tensor]
) -> dict[str, Tensor]:
    log_p = outputs["type"].log_softmax(-1)
    allowed = torch.where(batch.types, log_p, torch.full_like(log_p, -1e4)).logsumexp(-1)
    parts = {"type": -(allowed * 0.96 + log_p.mean(-1) * 0.04).mean()}
    colour, share = batch.colour, batch.share * (batch.colour >= 0)
    view, sight = batch.view, (batch.view >= 0).float()
    if guesses:
        free = (colour < 0) & (batch.fate == KEEP) & ~batch.unsure & (guesses["color"] >= 0)
        colour = torch.where(free, guesses["color"], colour)
        share = torch.where(free, GUESSED, share)
        free = (view < 0) & ~batch.unsure & (guesses["view"] >= 0)
        view = torch.where(free, guesses["view"], view)
        sight = torch.where(free, GUESSED, sight)
    parts["color"] = soft_loss(outputs["color"], targets.colour[colour.clamp(min=0)], share)
    # where nobody labelled any view of a type, the model is to know that it does not know
    flat = torch.full_like(targets.view[:1], 1 / len(HEADS["view"]))
    wanted = torch.where(batch.unsure[:, None], flat, targets.view[view.clamp(min=0)])
    sight = torch.where(batch.unsure, 0.15, sight)
    parts["view"] = soft_loss(outputs["view"], wanted, sight)
    known = (batch.make >= 0).sum().clamp(min=1)
    parts["make"] = (
        functional.cross_entropy(
            outputs["make"], batch.make, ignore_index=-1, label_smoothing=0.08, reduction="sum"
        )
        / known
    )
    return parts


@torch.no_grad()
def guess(net: nn.Module, crops: Crops, batch: Batch, level: float) -> dict[str, Tensor]:
    """What the averaged net is sure of on the plain crops (B,), -1 where it is not."""
    outputs = dict(zip(HEADS, net(plain(crops.views(batch.index))), strict=True))
    result = {}
    for head in ("color", "view"):
        best, answer = outputs[head].float().softmax(-1).max(-1)
        no = best < level
        if head == "color":
            no |= (answer == UNKNOWN) | batch.repainted
        result[head] = torch.where(no, torch.full_like(answer, -1), answer)
    return result


def save(path: Path, average: Average, meta: dict[str, Any]) -> None:
    weights = {
        k: (v.half() if v.dtype.is_floating_point else v).cpu()
        for k, v in average.net.state_dict().items()
    }
    temporary = path.with_suffix(".tmp")
    torch.save({"weights": weights, "meta": meta}, temporary)
    temporary.replace(path)


class Run:
    """One training: net, average, optimiser, and how long it has taken over all calls."""

    def __init__(self, args: argparse.Namespace, device: torch.device) -> None:
        self.args = args
        self.net = AttributesNet(args.dropout).to(device).to(memory_format=torch.channels_last)
        trunk = args.pack / "trunk.pt"
        taken = 0
        if trunk.exists() and not args.scratch:
            taken = begin_from(self.net, torch.load(trunk, map_location=device, weights_only=True))
        if args.weights:
            begun = torch.load(args.weights, map_location=device, weights_only=True)["weights"]
            self.net.load_state_dict({k: v.to(self.net.state_dict()[k]) for k, v in begun.items()})
        print(f"{taken} tensors of the detector's trunk", flush=True)
        self.average = Average(self.net, args.ema)
        self.optimiser = torch.optim.AdamW(
            groups(self.net, args.decay), lr=args.lr, betas=(0.9, 0.98), fused=device.type == "cuda"
        )
        self.step, self.spent_s, self.best = 0, 0.0, -1.0
        if args.state.exists():
            state = torch.load(args.state, map_location=device, weights_only=True)
            self.net.load_state_dict(state["net"])
            self.average.net.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average.steps = self.step = state["step"]
            self.spent_s, self.best = state["spent_s"], state["best"]
            print(f"going on from step {self.step}, {self.spent_s:.0f} s", flush=True)

    def keep(self) -> None:
        temporary = self.args.state.with_suffix(".tmp")
        torch.save(
            {
                "net": self.net.state_dict(),
                "average": self.average.net.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "spent_s": self.spent_s,
                "best": self.best,
            },
            temporary,
        )
        temporary.replace(self.args.state)

    def look(self, crops: Crops) -> None:
        """Measure, print, write."""
        figures = score(self.average.net, crops)
        meta = {
            "figures": figures, "steps": self.step, "seconds": round(self.spent_s),
            "batch": self.args.batch, "seed": self.args.seed, "lr": self.args.lr,
        }  # fmt: skip
        save(self.args.out / "attributes.pt", self.average, meta)
        better = figures["worth"] > self.best
        if better:
            self.best = figures["worth"]
            save(self.args.out / "attributes-best.pt", self.average, meta)
        self.keep()
        shown = {k: round(v, 3) for k, v in figures.items() if not k.endswith("vehicles")}
        print(f"{'best' if better else 'look'} {json.dumps(shown)}", flush=True)


def train(args: argparse.Namespace) -> None:
    began_s = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(args.seed)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    crops = Crops(args.pack, device, limit=args.limit)
    args.out.mkdir(parents=True, exist_ok=True)
    run = Run(args, device)
    dice = Dice(
        torch.Generator(device=device).manual_seed(args.seed + run.step),
        np.random.default_rng(args.seed + run.step),
    )
    targets = Targets(device)
    parameters = sum(p.numel() for p in run.net.parameters())
    loading_s = time.monotonic() - began_s
    print(f"{device} {len(crops.train)} train crops, {parameters / 1e6:.2f} M parameters, "
          f"loaded in {loading_s:.0f}s", flush=True)  # fmt: skip
    before_s, loop_s = run.spent_s + loading_s, time.monotonic()
    logged_s = looked_s = loop_s
    sums: dict[str, Any] = {}
    while True:
        run.spent_s = before_s + time.monotonic() - loop_s
        progress = run.spent_s / (args.minutes * 60)
        if progress >= 1 or (args.steps and run.step >= args.steps):
            break
        rate = args.lr * min(1.0, (run.step + 1) / args.warm_steps)
        rate *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
        for group in run.optimiser.param_groups:
            group["lr"] = rate
        with torch.no_grad():
            batch = Batch(crops, args.batch, dice)
        fast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
        with fast:
            answers = guess(run.average.net, crops, batch, args.guess) if (
                progress > args.guess_from) else {}  # fmt: skip
            raw = run.net(batch.images.contiguous(memory_format=torch.channels_last))
        outputs = {k: v.float() for k, v in zip(HEADS, raw, strict=True)}
        parts = losses(outputs, batch, targets, answers)
        total = sum(SHARES[k] * v for k, v in parts.items())
        run.optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(run.net.parameters(), 3.0)
        if not torch.isfinite(norm):
            continue
        run.optimiser.step()
        run.average.update()
        run.step += 1
        for key, value in parts.items():
            sums[key] = sums.get(key, 0) + value.detach()
        sums["n"] = sums.get("n", 0) + 1
        now_s = time.monotonic()
        if now_s - logged_s > 10:
            count = sums.pop("n")
            shown = " ".join(f"{k}={float(v) / count:.4f}" for k, v in sums.items())
            pace = count * args.batch / (now_s - logged_s)
            print(f"{run.spent_s:5.0f}s step {run.step} lr {rate:.5f} {pace:.0f} crops/s {shown}",
                  flush=True)  # fmt: skip
            logged_s, sums = now_s, {}
        if now_s - looked_s > args.look_s:
            run.look(crops)
            looked_s = time.monotonic()
    run.look(crops)
    print("done", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="begin from attributes.pt")
    parser.add_argument("--scratch", action="store_true", help="without the detector's trunk")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--batch", type=int, default=384)
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--decay", type=float, default=0.05)
    parser.add_argument("--dropout", type=float, default=0.25)
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--guess", type=float, default=0.85)
    parser.add_argument("--guess-from", type=float, default=0.35, help="share of the run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--warm-steps", type=int, default=200)
    parser.add_argument("--look-s", type=float, default=60)
    parser.add_argument("--steps", type=int, default=0, help="stop after so many (dry runs)")
    parser.add_argument("--limit", type=int, default=0, help="use so many crops only")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
