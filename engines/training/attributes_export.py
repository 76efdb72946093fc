"""Export trained vehicle attributes: `python -m engines.training.attributes_export --checkpoint
attributes-best.pt --pack .gpu/a0 --out engines/vehicle-attributes`.

Folds a temperature per head into the graph, checks ONNX against torch and the half-precision cast,
writes model.onnx, manifest.toml and a self-test crop that is drawn, and measures everything that
the manifest states.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from torch import Tensor, nn

from engines.training.attributes_augment import plain
from engines.training.attributes_data import Crops
from engines.training.attributes_labels import COLOURS, HEADS, SAME, STREET_TYPES, TOLD, UNKNOWN
from engines.training.attributes_net import MARGIN, SIDE_PX, AttributesNet, Painter, Repainted
from engines.training.attributes_score import (
    fit_temperature,
    logits,
    score,
    sure,
    truths,
    val_rows,
)
from engines.training.crop_export import export_crops
from engines.training.detector_export import manifest_text
from engines.training.detector_net import giga_flops
from engines.training.scenes import CAR_COLOURS, draw_vehicle

ATTRIBUTIONS = [
    "vehicles-street: Anuptechh/BCA-8th-sem-project, CC BY 4.0",
    "vehicles-highway: yuskun/object_detected, CC BY 4.0",
]
LEAST = {"type": 0.5, "color": 0.7, "view": 0.5, "make": 0.6}
"""Below this confidence an attribute is null."""
WANTED = 0.95
HOTTEST = 3.0
"""Temperatures rise from the best fit until so many of the answers at SURE or more are right."""


class Served(nn.Module):
    """Probabilities of the heads that are shipped, each with its temperature."""

    def __init__(self, net: nn.Module, heads: Sequence[str], warm: dict[str, float]) -> None:
        super().__init__()
        self.register_buffer("told", torch.tensor([COLOURS.index(name) for name in TOLD]))
        self.net = net
        self.picks = [(list(HEADS).index(name), 1.0 / warm[name]) for name in heads]

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        outputs = list(self.net(crops))
        place = list(HEADS).index("color")
        outputs[place] = outputs[place].index_select(1, self.told)
        return tuple((outputs[k] * scale).softmax(-1) for k, scale in self.picks)


def load_net(paths: Sequence[Path]) -> tuple[AttributesNet, dict]:
    """The net with the mean of the checkpoints' weights, and what the first one notes."""
    states = [torch.load(path, map_location="cpu", weights_only=True) for path in paths]
    net = AttributesNet()
    net.load_state_dict(
        {
            k: sum(state["weights"][k].float() for state in states) / len(states)
            if v.dtype.is_floating_point
            else v
            for k, v in states[0]["weights"].items()
        }
    )
    return net.eval(), states[0]["meta"]


def load_painters(paths: Sequence[Path]) -> list[Painter]:
    """Trained painters of one or more files."""
    painters = []
    for path in paths:
        for saved in torch.load(path, map_location="cpu", weights_only=True)["painters"]:
            painter = Painter(saved["attention"], saved.get("tones", 24))
            painter.load_state_dict(saved["weights"])
            painters.append(painter.eval())
    return painters


def half_change(served: Served, crops: Tensor) -> float:
    """The largest change of a probability in half precision."""
    with torch.no_grad():
        full = served(crops)
        served.half()
        cast = served(crops.half())
        served.float()
    if not all(bool(torch.isfinite(output).all()) for output in cast):
        raise SystemExit("the half-precision cast overflows: retrain with more weight decay")
    return max(float((a - b.float()).abs().max()) for a, b in zip(full, cast, strict=True))


def selftest(served: Served, heads: Sequence[str], out: Path, *, dry_run: bool) -> str:
    """Write a drawn car whose paint the model names; returns the colour."""
    for seed in range(400):
        # the first number that the drawing asks for is the paint's
        paint = int(np.random.default_rng(seed).integers(len(CAR_COLOURS)))
        picture = np.full((SIDE_PX, SIDE_PX, 3), (118, 118, 122), np.uint8)
        picture[: SIDE_PX // 3] = (186, 200, 214)
        half = SIDE_PX / MARGIN / 2
        low, high = SIDE_PX / 2 - half, SIDE_PX / 2 + half
        draw_vehicle(picture, np.random.default_rng(seed), "car", (low, low + 24, high, high - 8))
        picture = cv2.GaussianBlur(picture, (0, 0), 0.8)
        with torch.no_grad():
            crop = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
            answer = served(crop)[list(heads).index("color")][0]
        named = TOLD[int(answer.argmax())] == COLOURS[paint] and float(answer.max()) > 0.6
        if dry_run or (named and COLOURS[paint] in ("red", "blue", "green", "yellow")):
            cv2.imwrite(str(out / "selftest.png"), picture[..., ::-1])
            return COLOURS[paint]
    raise SystemExit("the paint of no drawn car is named: is this model trained?")


def merge_in_words() -> str:
    """The merge of the shared classes, for people."""
    groups: dict[str, list[str]] = {}
    for name, kinds in STREET_TYPES.items():
        groups.setdefault(" or ".join(kinds), []).append(name)
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in groups.items())


def manifest(
    heads: Sequence[str],
    digest: str,
    colour: str,
    training: dict[str, object],
    accuracy: dict[str, object],
    version: str,
) -> str:
    tables: dict[str, dict[str, object]] = {
        "": {
            "schema": "alprd.model/1",
            "name": "vehicle-attributes",
            "task": "attribute",
            "version": version,
            "file": "model.onnx",
            "sha256": digest,
            "licence": "Apache-2.0",
        },
        "input": {
            "name": "crops",
            "layout": "NCHW",
            "colour": "RGB",
            "width": SIDE_PX,
            "height": SIDE_PX,
            "resize": "stretch",
            "pad_value": 114,
            "scale": 1 / 255,
            "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0],
        },
        "decoder": {
            "type": "classes",
            "values": "probabilities",
            "crop": "square",
            "margin": round(MARGIN - 1, 4),
        },
    }
    for name in heads:
        table: dict[str, object] = {
            "output": name,
            "labels": list(TOLD if name == "color" else HEADS[name]),
            "min_confidence": LEAST[name],
        }
        if name == "color":
            table |= {"unknown": ["unknown"], "needs_colour": True}
        tables[f"decoder.heads.{name}"] = table
    tables["selftest"] = {"image": "selftest.png", "expect": {"color": colour}}
    tables["training"] = training
    tables["accuracy"] = accuracy
    return manifest_text(tables)


def run(args: argparse.Namespace) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    heads = [name for name in HEADS if name != "make" or args.make]
    trunk, meta = load_net(args.checkpoint)
    painters = load_painters(args.painters)
    net = Repainted(trunk, painters).eval() if painters else trunk
    crops = Crops(args.pack, torch.device("cpu"), only_val=True)
    warm = dict.fromkeys(HEADS, 1.0)
    for name, index in val_rows(crops).items():
        raw = logits(net, crops, index)[name]
        truth, unknown = truths(crops, name, index), UNKNOWN if name == "color" else None
        warm[name] = fit_temperature(raw, truth)
        # rather less sure than wrong
        while warm[name] < HOTTEST:
            p = (raw / warm[name]).softmax(-1).numpy()
            if sure(p, truth, unknown=unknown)[0] >= WANTED:
                break
            warm[name] *= 1.03
    figures = score(net, crops, warm)
    for name, index in val_rows(crops).items():
        # what events tell: at the head's own limit
        p = (logits(net, crops, index)[name] / warm[name]).softmax(-1).numpy()
        unknown = UNKNOWN if name == "color" else None
        told = sure(p, truths(crops, name, index), unknown=unknown, level=LEAST[name])
        figures[f"{name}_told_precision"], figures[f"{name}_told_coverage"] = told
    served = Served(net, heads, warm).eval()
    rows = torch.from_numpy(val_rows(crops)["color"][:32])
    sample = plain(crops.views(rows))
    sample = torch.cat([sample, torch.zeros_like(sample[:1]), torch.ones_like(sample[:1])])
    path = args.out / "model.onnx"
    difference = export_crops(served, heads, path, sample)
    colour = selftest(served, heads, args.out, dry_run=args.dry_run)
    accuracy: dict[str, object] = {
        "command": "python -m engines.training.attributes_export",
        "on": "val split of vehicles-street, single crops by the annotated box",
        "types": merge_in_words(),
        "colors": "vehicles labelled with one of the twelve; those labelled multi or unknown are "
        "nameless: how many of them are told a colour at `sure`",
        "near": "; ".join("/".join(group) for group in SAME),
        "sure": 0.8,
        "temperatures": {name: round(warm[name], 3) for name in heads},
        "temperatures_from": "the same val split",
        "parameters": sum(
            int(np.prod(tensor.dims)) for tensor in onnx.load(str(path)).graph.initializer
        ),
        "giga_flops": round(giga_flops(net, SIDE_PX, SIDE_PX), 3),
        "onnx_difference": float(f"{difference:.1e}"),
        "half_difference": round(half_change(served, sample), 4),
    }
    accuracy |= {
        k.replace("-", "_"): round(v, 4)
        for k, v in figures.items()
        if k != "worth" and (args.make or not k.startswith("make"))
    }
    training: dict[str, object] = {
        "command": args.command,
        "hardware": args.hardware,
        "seconds": meta["seconds"],
        "steps": meta["steps"],
        "batch": meta["batch"],
        "seed": meta["seed"],
        "data": "photographs of the train split; begun from the trunk of plate-detector",
        "attributions": ATTRIBUTIONS,
    }
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    text = manifest(heads, digest, colour, training, accuracy, args.version)
    (args.out / "manifest.toml").write_text(text, encoding="utf-8")
    print(json.dumps({k: round(v, 4) for k, v in figures.items()}, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True, help="their mean")
    parser.add_argument("--painters", type=Path, nargs="*", default=[], help="that name colours")
    parser.add_argument("--pack", type=Path, default=Path(".gpu/a0"))
    parser.add_argument("--out", type=Path, default=Path("engines/vehicle-attributes"))
    parser.add_argument("--version", default="2026.11.1")
    parser.add_argument("--command", default="python -m engines.training.attributes_train")
    parser.add_argument("--hardware", default="one NVIDIA H200, shared with another training")
    parser.add_argument("--make", action="store_true", help="ship the make head too")
    parser.add_argument("--dry-run", action="store_true", help="ship a model that knows nothing")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
