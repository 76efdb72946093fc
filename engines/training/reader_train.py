"""Train the plate reader: `python -m engines.training.reader_train --flat DIR --real crops.npz
--out DIR --minutes M`.

The learning rate follows the wall clock, so that a run ends in time whatever the machine. A
checkpoint (averaged weights, half precision) is written every minute and at the end, and the best
of them beside it: best by the held-out train texts, never by val. --resume goes on from one with
a fresh schedule.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.training import reader_augment as aug
from engines.training.reader_data import VIEWS, Batch, Pools, RealCrops
from engines.training.reader_net import ReaderNet, carried, count_macs, count_parameters
from engines.training.reader_score import decode, readable
from engines.training.render_flat import BLANK, MASKED

UPRIGHT, NEAR = 0.5, 0.015
"""Of corners: what the crop's height counts beside its width, and a distance that is near."""


@torch.no_grad()
def read_real(
    net: nn.Module, crops: RealCrops, index: np.ndarray, device: torch.device, view: str
) -> tuple[Tensor, Tensor]:
    """Logits and region logits of real crops, on the CPU."""
    outs: list[tuple[Tensor, ...]] = []
    for start in range(0, len(index), 256):
        images = VIEWS[view](crops, index[start : start + 256], device)
        outs.append(tuple(t.float().cpu() for t in net(images)[:2]))
    logits, region = (torch.cat(parts) for parts in zip(*outs, strict=True))
    return logits, region


def accuracy(net: nn.Module, crops: RealCrops, device: torch.device) -> dict[str, float]:
    """Exact reads of VAL per folder and quality: for reporting, never for choosing weights."""
    index = readable(crops, "val")
    result: dict[str, float] = {}
    for view in VIEWS if len(index) else ():
        logits, region = read_real(net, crops, index, device, view)
        right = np.array([decode(row) for row in logits.argmax(-1).numpy()]) == crops.text[index]
        for folder in sorted(set(crops.folder[index])):
            for quality in ("good", "hard"):
                rows = (crops.folder[index] == folder) & (crops.quality[index] == quality)
                if rows.any():
                    name = f"{folder.removeprefix('plates-')}/{quality}/{view}"
                    result[name] = float(right[rows].mean())
        labelled = crops.region[index] != MASKED
        if labelled.any():
            hit = region.argmax(-1).numpy()[labelled] == crops.region[index][labelled]
            result[f"region/{view}"] = float(hit.mean())
    return result


def held_figures(net: nn.Module, crops: RealCrops, device: torch.device) -> dict[str, float]:
    """The held-out train texts: exact reads, and `worth`, by which the best weights are kept: the
    mean probability given to the right text, over both inputs.

    A mean probability, for some hundred crops are too few to tell exact reads apart.
    """
    index = readable(crops, "held")
    if not len(index):
        return {"worth": 0.0}
    truth = torch.from_numpy(crops.slots[index].astype(np.int64))
    result, worth = {}, []
    for view in VIEWS:
        logits = read_real(net, crops, index, device, view)[0]
        result[f"held/{view}"] = float((logits.argmax(-1) == truth).all(1).float().mean())
        right = logits.log_softmax(-1).gather(-1, truth[..., None])[..., 0].sum(1).exp()
        worth.append(float(right.mean()))
    return {**result, "worth": sum(worth) / len(worth)}


def corner_loss(corners: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and mean distance of known corners (B, 8), in parts of the crop's width.

    The logarithm lets a corner that nobody could find pull no more than one that is nearly right.
    """
    known = truth.isfinite()
    there = known[:, ::2].sum().clamp(min=1)
    # The crop is squashed: its height is worth less than its width on most plates.
    scale = torch.tensor([1.0, UPRIGHT], device=corners.device)
    gap = torch.where(known, corners - torch.nan_to_num(truth), 0.0).unflatten(1, (4, 2)) * scale
    distance = (gap.square().sum(-1) + 1e-10).sqrt() * known[:, ::2]
    loss = torch.log1p(distance / NEAR).sum() / there
    return loss, (distance.sum() / there).detach()


def losses(
    net: nn.Module, batch: Batch, region_weight: float = 0.1
) -> tuple[Tensor, dict[str, Tensor]]:
    outputs = net(batch.images.contiguous(memory_format=torch.channels_last))
    logits, region, quality, corners = (output.float() for output in outputs)
    chars = functional.cross_entropy(
        logits.reshape(-1, 37), batch.slots.reshape(-1), ignore_index=MASKED, label_smoothing=0.02
    )
    # A sum over a count: asking whether any region is known would wait for the device.
    named = (batch.region != MASKED).sum().clamp(min=1)
    where = (
        functional.cross_entropy(
            region, batch.region, ignore_index=MASKED, label_smoothing=0.05, reduction="sum"
        )
        / named
    )
    right = ((logits.argmax(-1) == batch.slots) | (batch.slots == MASKED)).all(1)
    seen = batch.slots[:, 0] != BLANK  # a patch without a plate is never a right read
    target = (right & seen).float()
    judged = batch.judged.float()
    judge = (
        functional.binary_cross_entropy_with_logits(quality[:, 0], target, reduction="none")
        * judged
    ).sum() / judged.sum().clamp(min=1)
    exact = (right & seen).float().sum() / seen.float().sum().clamp(min=1)
    corner, off = corner_loss(corners, batch.corners)
    total = chars + region_weight * where + 0.1 * judge + 0.1 * corner
    return total, {
        "chars": chars.detach(),
        "region": where.detach(),
        "judge": judge.detach(),
        "exact": exact,
        "off": off,
    }


class Average:
    """Exponential moving average of weights and buffers."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net, self.decay, self.steps = copy.deepcopy(net).eval(), decay, 0
        self.net.requires_grad_(False)
        self.mine, self.theirs = (
            [v for v in each.state_dict().values() if v.dtype.is_floating_point]
            for each in (self.net, net)
        )

    @torch.no_grad()
    def update(self) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.mine, self.theirs, 1 - decay)  # one launch, not hundreds


def save(path: Path, average: Average, meta: dict[str, Any]) -> None:
    weights = {
        k: v.half() if v.dtype.is_floating_point else v for k, v in average.net.state_dict().items()
    }
    temporary = path.with_suffix(".tmp")
    torch.save({"weights": {k: v.cpu() for k, v in weights.items()}, "meta": meta}, temporary)
    temporary.replace(path)


def groups(net: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices only: never for norms, biases, positions."""
    heavy = [
        p
        for n, p in net.named_parameters()
        if p.ndim >= 2 and not n.endswith(("bias", "place", "queries"))
    ]
    ids = {id(p) for p in heavy}
    light = [p for p in net.parameters() if id(p) not in ids]
    return [{"params": heavy, "weight_decay": decay}, {"params": light, "weight_decay": 0.0}]


def compiled(net: nn.Module, pools: Pools, args: argparse.Namespace) -> nn.Module:
    """The net and the lighting compiled, or the plain ones where this machine cannot."""
    before = copy.deepcopy(net.state_dict())
    begin_s = time.monotonic()
    forward: nn.Module = torch.compile(net)  # type: ignore[assignment]
    pools.light = torch.compile(pools.light)
    try:
        with torch.no_grad():
            batch = pools.batch(args.batch, real=args.real_share)
        with torch.autocast(
            pools.device.type, torch.bfloat16, enabled=pools.device.type == "cuda" or args.bf16
        ):
            total, _ = losses(forward, batch)
        total.backward()
        print(f"compiled in {time.monotonic() - begin_s:.0f}s", flush=True)
    except (RuntimeError, ImportError, OSError, subprocess.SubprocessError) as error:
        print(f"not compiled, going on without: {str(error)[:300]}", flush=True)
        torch._dynamo.reset()
        forward, pools.light = net, aug.light
    net.zero_grad(set_to_none=True)
    net.load_state_dict(before)
    return forward


class Keeper:
    """Writes the last checkpoint, and beside it the best by the held-out train texts."""

    def __init__(self, out: Path, average: Average, pools: Pools, meta: dict[str, Any]) -> None:
        self.out, self.average, self.pools, self.meta = out, average, pools, meta
        self.best = -1.0

    def look(self, step: int, minutes: float) -> None:
        """Measure, print, write."""
        held = held_figures(self.average.net, self.pools.crops, self.pools.device)
        val = accuracy(self.average.net, self.pools.crops, self.pools.device)
        self.meta.update(val=val, held=held, steps=step, minutes=minutes)
        save(self.out / "reader.pt", self.average, self.meta)
        better = held["worth"] > self.best
        if better:
            self.best = held["worth"]
            save(self.out / "reader-best.pt", self.average, self.meta)
        shown = {k: round(v, 4) for k, v in {**held, **val}.items()}
        print(f"{'best' if better else 'look'} {json.dumps(shown)}", flush=True)


def real_share(args: argparse.Namespace, progress: float) -> float:
    """Share of real crops in a batch, from --real-share in a straight line to --real-last.

    There are so few that a small rate learns them by heart: they lead at first, and what is
    rendered has the last word.
    """
    last = args.real_share if args.real_last is None else args.real_last
    return float(args.real_share + (last - args.real_share) * min(progress, 1.0))


def train(args: argparse.Namespace) -> None:
    start_s = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(args.seed)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    pools = Pools(args.flat, args.real, device, limit=args.limit)
    net = ReaderNet(len(pools.labels)).to(device).to(memory_format=torch.channels_last)
    if args.resume:
        state = torch.load(args.resume, map_location=device, weights_only=True)
        carried(state["weights"], state["meta"]["regions"], net, pools.labels)
    print(
        f"{device} regions={len(pools.labels)} params={count_parameters(net) / 1e6:.2f}M "
        f"flat={len(pools.flat)} real={len(pools.real)} "
        f"loaded in {time.monotonic() - start_s:.0f}s",
        flush=True,
    )
    average = Average(net, args.ema)
    optimiser = torch.optim.AdamW(
        groups(net, 0.05), lr=args.lr, betas=(0.9, 0.98), fused=device.type == "cuda"
    )
    forward = compiled(net, pools, args) if args.compile else net
    args.out.mkdir(parents=True, exist_ok=True)
    meta = {
        "regions": pools.labels,
        "seed": args.seed,
        "minutes": 0.0,
        "steps": 0,
        "batch": args.batch,
        "flat": len(pools.flat),
        "real": len(pools.real),
        "val": {},
        "held": {},
        "macs": count_macs(ReaderNet(len(pools.labels))),
    }
    keeper = Keeper(args.out, average, pools, meta)
    begin_s = time.monotonic()
    budget_s = args.minutes * 60 - (begin_s - start_s)
    step, logged_s, saved_s, sums = 0, begin_s, begin_s, {}
    while True:
        spent_s = time.monotonic() - begin_s
        progress = spent_s / budget_s
        if progress >= 1 or (args.steps and step >= args.steps):
            break
        warm = min(1.0, (step + 1) / args.warm_steps)
        rate = args.lr * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        with torch.no_grad():
            batch = pools.batch(args.batch, real=real_share(args, progress))
        with torch.autocast(
            device.type, torch.bfloat16, enabled=device.type == "cuda" or args.bf16
        ):
            total, parts = losses(forward, batch, args.region_weight)
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 3.0)
        optimiser.step()
        average.update()
        step += 1
        for key, value in parts.items():
            sums[key] = sums.get(key, 0) + value
        sums["n"] = sums.get("n", 0) + 1
        now_s = time.monotonic()
        if now_s - logged_s > 10:
            count = sums.pop("n")
            figures = " ".join(f"{k}={float(v) / count:.4f}" for k, v in sums.items())
            print(
                f"{now_s - begin_s:5.0f}s step {step} lr {rate:.5f} "
                f"{count * args.batch / (now_s - logged_s):.0f} crops/s {figures}",
                flush=True,
            )
            logged_s, sums = now_s, {}
        if now_s - saved_s > args.save_s:
            saved_s = now_s
            keeper.look(step, (now_s - start_s) / 60)
    keeper.look(step, (time.monotonic() - start_s) / 60)
    (args.out / "train.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
    print("done", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flat", type=Path, required=True)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--real-share", type=float, default=0.07)
    parser.add_argument("--real-last", type=float, help="what --real-share falls to by the end")
    parser.add_argument("--region-weight", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=0, help="stop after so many steps (dry runs)")
    parser.add_argument("--limit", type=int, default=0, help="use so many rendered plates only")
    parser.add_argument("--save-s", type=float, default=60)
    parser.add_argument("--ema", type=float, default=0.9995)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--warm-steps", type=int, default=400)
    parser.add_argument("--bf16", action="store_true", help="on a CPU that computes in bfloat16")
    parser.add_argument("--compile", action="store_true", help="goes on without where it fails")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
