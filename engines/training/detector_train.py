r"""Train the plate detector, planned by the wall clock.

    python -m engines.training.detector_train --size plate-detector \
        --banks /tmp/bank --out OUT --state /tmp/plate-detector.state.pt --minutes 22

Writes `OUT/SIZE.pt` (EMA weights in half precision) every minute and at the end, and after every
validation `OUT/SIZE-MINUTES.pt`, to choose among or to take the mean of; `--state` keeps
everything needed to go on after an interruption; `--weights` starts a new plan from an earlier
run's EMA weights.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engines.training.detector_ahead import source
from engines.training.detector_compose import Batch, load_composer
from engines.training.detector_layout import STRETCH
from engines.training.detector_loss import DetectorLoss
from engines.training.detector_net import (
    HEIGHT_PX,
    SIZES,
    WIDTH_PX,
    DecodedDetector,
    PlateDetector,
    load_weights,
)
from engines.training.detector_validate import Validation

WARM_UP_STEPS = 300
CALM_FROM = 0.85  # of the plan: hardly any mosaics, pictures as cameras give them
MOST_SKIPPED = 50  # steps whose gradient was not finite; more means the training itself is broken


class Average:
    """An exponential moving average of weights that forgets the first steps quickly."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0
        own, new = self.net.state_dict(), net.state_dict()
        smooth = [key for key, value in own.items() if value.dtype.is_floating_point]
        # state_dict's tensors share the nets' memory, which stays where it is
        self.mine = [own[key] for key in smooth]
        self.theirs = [new[key].detach() for key in smooth]

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = self.decay * (1 - math.exp(-self.updates / 400))
        torch._foreach_lerp_(self.mine, self.theirs, 1 - decay)


def parameter_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Biases and norms are not decayed."""
    heavy = [p for p in net.parameters() if p.ndim > 1]
    light = [p for p in net.parameters() if p.ndim <= 1]
    return [{"params": heavy, "weight_decay": weight_decay}, {"params": light, "weight_decay": 0.0}]


def learning_rate(step: int, progress: float, peak: float) -> float:
    """Warm up by steps, then follow a cosine over the plan down to 2 %."""
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def half_weights(net: nn.Module) -> dict[str, Tensor]:
    return {
        k: (v.half() if v.dtype.is_floating_point else v).cpu() for k, v in net.state_dict().items()
    }


def save(path: Path, content: dict[str, Any]) -> None:
    """Write beside the target and rename, so that an interruption leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    os.replace(partial, path)


class Run:
    """One training: nets, optimiser, plan, and where it has got to."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(args.seed)
        torch.backends.cudnn.benchmark = True
        # geometry is computed by matrix products: TF32's ten bits would move corners
        torch.backends.cuda.matmul.allow_tf32 = False
        self.net = PlateDetector(SIZES[args.size]).to(
            self.device, memory_format=torch.channels_last
        )
        if args.weights:
            load_weights(self.net, torch.load(args.weights, map_location=self.device)["ema"])
        self.average = Average(self.net, args.ema)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.net, 0.03),
            lr=args.lr,
            betas=(0.9, 0.99),
            fused=True,
        )
        self.step, self.spent_s = 0, 0.0
        self.skipped = torch.zeros((), device=self.device)
        if args.state and args.state.exists():
            self._resume(torch.load(args.state, map_location=self.device))
        self.generator = torch.Generator(self.device).manual_seed(args.seed * 7919 + self.step)
        self.composer = load_composer(args.banks, "train", self.device, args.roads, args.stretch)
        self.loss = DetectorLoss(WIDTH_PX, HEIGHT_PX, self.device)
        self.net.train()
        self.forward: Any = self._compiled() if args.compile else self.net

    def _resume(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.average.net.load_state_dict(state["ema"])
        self.average.updates = state["updates"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.spent_s = state["step"], state["spent_s"]
        print(f"resumed at step {self.step} after {self.spent_s:.0f} s", flush=True)

    def keep_weights(self, name: str, figures: dict[str, float]) -> None:
        about = {
            "size": self.args.size,
            "step": self.step,
            "spent_s": self.spent_s,
            "seed": self.args.seed,
            "figures": figures,
        }
        about |= {"batch": self.args.batch, "lr": self.args.lr, "minutes": self.args.minutes}
        save(self.args.out / f"{name}.pt", {"ema": half_weights(self.average.net), **about})

    def keep(self, figures: dict[str, float]) -> None:
        self.keep_weights(self.args.size, figures)
        if self.args.state:
            full = {
                "net": self.net.state_dict(),
                "ema": self.average.net.state_dict(),
                "updates": self.average.updates,
            }
            full |= {
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "spent_s": self.spent_s,
            }
            save(self.args.state, full)

    def _compiled(self) -> Any:
        """The compiled net, or the net itself where the compiler fails: tried in both directions.

        The trial leaves no trace: not in the weights, not in the norms' averages.
        """
        before = {key: value.clone() for key, value in self.net.state_dict().items()}
        shape = (self.args.batch, 3, HEIGHT_PX, WIDTH_PX)
        images = torch.full(shape, 0.45, device=self.device)
        compiled: Any = torch.compile(self.net)
        try:
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                outputs = compiled(images.to(memory_format=torch.channels_last))
            sum(value.float().mean() for value in outputs).backward()
        except Exception as error:  # noqa: BLE001 - compilers raise whatever their parts raise
            print(f"--compile failed, going on without: {error!r:.300}", flush=True)
            compiled = self.net
        self.net.load_state_dict(before)
        self.optimiser.zero_grad(set_to_none=True)
        return compiled

    def learn(self, batch: Batch, progress: float) -> Tensor:
        """One step; gives the losses as one tensor so that nothing waits for the GPU."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, progress, self.args.lr)
        images = batch.images.to(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            outputs = self.forward(images)
        losses = self.loss(batch, *outputs)
        self.optimiser.zero_grad(set_to_none=True)
        losses.total.backward()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
        # the fused optimiser reads this on the device and leaves every weight as it was
        bad = (~torch.isfinite(norm)).float()
        self.optimiser.found_inf = bad  # type: ignore[attr-defined]
        self.optimiser.grad_scale = None  # type: ignore[attr-defined]
        self.optimiser.step()
        self.average.update()
        self.skipped += bad
        self.step += 1
        parts = (losses.total.detach(), losses.score, losses.box, losses.corner, losses.type)
        return torch.nan_to_num(torch.stack([*parts, losses.positives.float()]))

    def compose(self, mosaic: float) -> Batch:
        return self.composer.batch(self.args.batch, self.generator, mosaic)

    def train(self) -> None:
        args = self.args
        plan_s = args.minutes * 60.0
        began = time.monotonic() - self.spent_s
        validation = Validation(args.banks, self.device, args.val_limit)
        logged = saved = checked = time.monotonic()
        logged_step, total = self.step, torch.zeros(6, device=self.device)
        waited_s = 0.0
        batches = source(self.compose, self.device, args.prefetch)
        figures: dict[str, float] = {}
        self.net.train()
        while self.spent_s < plan_s and (not args.steps or self.step < args.steps):
            progress = self.spent_s / plan_s
            batches.mosaic = 0.45 if progress < CALM_FROM else 0.1
            asked = time.monotonic()
            batch = batches.next()
            waited_s += time.monotonic() - asked
            total += self.learn(batch, progress)
            if self.step % 10 == 0 and self.device.type == "cuda":
                torch.cuda.current_stream().synchronize()
            now = time.monotonic()
            self.spent_s = now - began
            if now - logged > args.log_s:
                steps = self.step - logged_step
                mean = (total / steps).tolist()
                rate = steps * args.batch / (now - logged)
                memory = (
                    torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0.0
                )
                print(
                    f"{args.size} {self.spent_s:6.0f} s step {self.step} {rate:.0f} img/s"
                    f" waited {waited_s / steps * 1e3:.0f} ms loss {mean[0]:.3f} score {mean[1]:.3f}"
                    f" box {mean[2]:.3f} corner {mean[3]:.4f}"
                    f" type {mean[4]:.3f} positives {mean[5] / args.batch:.1f} mem {memory:.0f} GiB",
                    flush=True,
                )
                if int(self.skipped) > MOST_SKIPPED:
                    raise FloatingPointError(
                        f"{int(self.skipped)} steps without a finite gradient; resume from the last "
                        "state with a smaller --lr"
                    )
                logged, logged_step, total = now, self.step, torch.zeros(6, device=self.device)
                waited_s = 0.0
            if now - checked > args.val_s:
                figures = validation.run(DecodedDetector(self.average.net).to(self.device))
                print(
                    args.size,
                    "val",
                    " ".join(f"{k} {v:.4f}" for k, v in figures.items()),
                    flush=True,
                )
                checked = time.monotonic()
                self.keep_weights(f"{args.size}-{self.spent_s / 60:.0f}", figures)
            if now - saved > 60:
                self.keep(figures)
                saved = time.monotonic()
        batches.close()
        figures = validation.run(DecodedDetector(self.average.net).to(self.device))
        print(args.size, "end", " ".join(f"{k} {v:.4f}" for k, v in figures.items()), flush=True)
        self.keep(figures)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=sorted(SIZES), required=True)
    parser.add_argument("--banks", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--batch", type=int, default=160)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--roads", type=float, default=1.0, help="times the vehicle sets' share")
    parser.add_argument("--stretch", type=float, default=STRETCH, help="of the vehicle sets")
    parser.add_argument("--log-s", type=float, default=10.0)
    parser.add_argument("--val-s", type=float, default=180.0)
    parser.add_argument("--val-limit", type=int, default=0)
    parser.add_argument("--prefetch", type=int, default=2, help="batches composed ahead on a GPU")
    parser.add_argument("--compile", action="store_true")
    Run(parser.parse_args()).train()


if __name__ == "__main__":
    main()
