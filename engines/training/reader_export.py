"""Export a trained reader: `python -m engines.training.reader_export --checkpoint reader.pt
--real crops.npz --out DIR`.

Folds the fitted temperature into the graph, checks ONNX against torch and the half-precision
cast for overflow, writes model.onnx, manifest.toml and a rendered selftest crop, and measures
everything that the manifest states.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from engines.training.crop_export import export_crops
from engines.training.plates import load_designs, render_plate
from engines.training.reader_data import RealCrops, load_real
from engines.training.reader_geometry import MARGIN_X, MARGIN_Y
from engines.training.reader_net import HEIGHT_PX, WIDTH_PX, ReaderNet, count_macs, count_parameters
from engines.training.reader_score import fit_temperature, report, score
from engines.training.render_flat import ALPHABET, BLANK

OUTPUTS = ("chars", "region", "quality", "corners")
SELFTEST_SEED = 20
ATTRIBUTIONS = [
    "plates-ro: RobertLucian/license-plate-dataset, MIT",
    "plates-openimages: conztantinee/thesis, CC BY 4.0 (Open Images photographs)",
    "plates-mixed: chirag-agrawal24/ANPR, MIT",
    "background patches: Anuptechh/BCA-8th-sem-project and yuskun/object_detected, CC BY 4.0",
]


class Served(nn.Module):
    """The net with its outputs as the daemon wants them: probabilities, temperature applied."""

    def __init__(self, net: ReaderNet, temperature: float) -> None:
        super().__init__()
        self.net, self.scale = net, 1.0 / temperature

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        chars, region, quality, corners = self.net(crops)
        return (chars * self.scale).softmax(-1), region.softmax(-1), quality.sigmoid(), corners


def load_net(paths: Sequence[Path]) -> tuple[ReaderNet, dict]:
    """The net with the mean of the checkpoints' weights, and what the first one notes.

    Trainings that begin from the same weights end near enough to each other for their mean to read
    better than either ("model soups", Wortsman et al., 2022, arXiv:2203.05482).
    """
    states = [torch.load(path, map_location="cpu", weights_only=True) for path in paths]
    meta = states[0]["meta"]
    if any(state["meta"]["regions"] != meta["regions"] for state in states):
        raise SystemExit("checkpoints of different region labels cannot be averaged")
    net = ReaderNet(len(meta["regions"]))
    net.load_state_dict(
        {
            k: sum(state["weights"][k].float() for state in states) / len(states)
            if v.dtype.is_floating_point
            else v
            for k, v in states[0]["weights"].items()
        }
    )
    return net.eval(), meta


def largest_activation(net: nn.Module, crops: Tensor) -> float:
    """Largest absolute output of any layer: half precision ends at 65504."""
    peak = 0.0

    def look(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal peak
        if isinstance(output, Tensor):
            peak = max(peak, float(output.abs().max()))

    hooks = [m.register_forward_hook(look) for m in net.modules()]
    with torch.no_grad():
        net(crops)
    for hook in hooks:
        hook.remove()
    return peak


def half_agreement(served: Served, crops: Tensor) -> tuple[float, float]:
    """In half precision: share of crops whose read is the same, and how far corners move at most,
    in parts of the crop.
    """
    half = _half(served)
    with torch.no_grad():
        full = served(crops)
        parts = [half(part.half()) for part in crops.split(64)]
    cast = [torch.cat(columns).float() for columns in zip(*parts, strict=True)]
    if not all(bool(torch.isfinite(output).all()) for output in cast):
        raise SystemExit(
            "the half-precision cast overflows: an activation is too large, "
            "retrain with more weight decay"
        )
    same = (cast[0].argmax(-1) == full[0].argmax(-1)).all(1).float().mean()
    return float(same), float((cast[3] - full[3]).abs().max())


def _half(served: Served) -> Served:
    clone = Served(ReaderNet(served.net.region.out[-1].out_features), 1 / served.scale)
    clone.load_state_dict(served.state_dict())
    return clone.half().eval()


def selftest(out: Path, served: Served, *, dry_run: bool) -> str:
    """Write a rendered, rectified crop that the model reads rightly; returns its text."""
    designs = [d for d in load_designs() if d.id == "de"]
    for seed in range(SELFTEST_SEED, SELFTEST_SEED + 50):
        plate = render_plate(np.random.default_rng(seed), designs[0])
        h, w = plate.image.shape[:2]
        mx, my = MARGIN_X * WIDTH_PX, MARGIN_Y * HEIGHT_PX
        target = np.array(
            [[mx, my], [WIDTH_PX - mx, my], [WIDTH_PX - mx, HEIGHT_PX - my], [mx, HEIGHT_PX - my]],
            np.float32,
        )
        matrix = cv2.getPerspectiveTransform(
            np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32), target
        )
        soft = cv2.GaussianBlur(np.ascontiguousarray(plate.image[..., :3]), (0, 0), 1.2)
        crop = cv2.warpPerspective(
            soft,
            matrix,
            (WIDTH_PX, HEIGHT_PX),
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(70, 74, 80),
        )
        with torch.no_grad():
            chars = served(torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255)[0][0]
        read = "".join(ALPHABET[c] for c in chars.argmax(-1).tolist() if c != BLANK)
        if read == plate.text or dry_run:
            cv2.imwrite(str(out / "selftest.png"), crop[..., ::-1])
            return plate.text
    raise SystemExit("no rendered plate of 50 was read: the model is not trained, nothing to ship")


def manifest(
    meta: dict, accuracy: dict, digest: str, text: str, facts: dict, args: argparse.Namespace
) -> str:
    quote = json.dumps
    lines = [
        'schema = "alprd.model/1"',
        'name = "plate-reader"',
        'task = "read"',
        f"version = {quote(args.version)}",
        'file = "model.onnx"',
        f"sha256 = {quote(digest)}",
        'licence = "Apache-2.0"',
        "",
        "[input]",
        'name = "crops"',
        'layout = "NCHW"',
        'colour = "RGB"',
        f"width = {WIDTH_PX}",
        f"height = {HEIGHT_PX}",
        'resize = "stretch"',
        "pad_value = 114",
        "scale = 0.00392156862745098",
        "mean = [0.0, 0.0, 0.0]",
        "std = [1.0, 1.0, 1.0]",
        "",
        "[decoder]",
        'type = "slots"',
        "outputs = { " + ", ".join(f'{name} = "{name}"' for name in OUTPUTS) + " }",
        f"alphabet = {quote(ALPHABET)}",
        f"blank = {BLANK}",
        f"margin_x = {MARGIN_X}",
        f"margin_y = {MARGIN_Y}",
        f"min_quality = {accuracy['min_quality']:.3f}",
        f"regions = {quote(meta['regions'])}",
        "",
        "[selftest]",
        'image = "selftest.png"',
        f"plate = {quote(text)}",
        "",
        "[training]",
        f"recipe = {quote(args.recipe)}",
        f"seed = {meta['seed']}",
        f"minutes = {meta['minutes']:.1f}",
        f"steps = {meta['steps']}",
        f"batch = {meta['batch']}",
        f"rendered_plates = {meta['flat']}",
        f"real_crops = {meta['real']}",
        f"attributions = {quote(ATTRIBUTIONS)}",
        "",
        "[accuracy]",
        f"command = {quote(args.command)}",
        'input = "annotated box widened by 10 %, no corners; quad_*: our own detector\'s corners"',
    ]
    lines += [f"{key} = {value}" for key, value in facts.items()]
    lines += [
        f"{key} = {quote(value) if isinstance(value, str) else round(value, 4)}"
        for key, value in accuracy["table"].items()
    ]
    lines += [
        "",
        "# Reliability on real val crops: [confidence from, to, crops, mean confidence, right]",
        f"reliability = {quote(accuracy['reliability'])}",
        f"confusions = {quote(accuracy['confusions'])}",
        "",
    ]
    return "\n".join(lines)


def run(args: argparse.Namespace) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    net, meta = load_net(args.checkpoint)
    crops: RealCrops
    crops, _ = load_real(args.real, meta["regions"])
    device = torch.device("cpu")
    temperature = fit_temperature(net, crops, device)
    served = Served(net, temperature).eval()
    result = score(served, crops, device, "val")
    print(report(result))
    generator = torch.Generator().manual_seed(0)
    sample = torch.rand(16, 3, HEIGHT_PX, WIDTH_PX, generator=generator)
    sample = torch.cat(
        (
            sample,
            torch.ones(1, 3, HEIGHT_PX, WIDTH_PX),
            torch.zeros(1, 3, HEIGHT_PX, WIDTH_PX),
            result["sample"],
        )
    )
    peak = largest_activation(net, sample)
    agreement, moved = half_agreement(served, sample)
    if peak > 20000:
        raise SystemExit(
            f"largest activation {peak:.0f} is too near to half precision's end (65504)"
        )
    path = args.out / "model.onnx"
    difference = export_crops(served, OUTPUTS, path, sample)
    text = selftest(args.out, served, dry_run=args.dry_run)
    facts = {
        "parameters": count_parameters(net),
        "gflops": round(2 * count_macs(net) / 1e9, 4),
        "temperature": round(temperature, 4),
        "onnx_difference": float(f"{difference:.2e}"),
        "largest_activation": round(peak, 1),
        "half_same_reads": round(agreement, 4),
        "half_corners_move": round(moved, 5),
    }
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (args.out / "manifest.toml").write_text(
        manifest(meta, result, digest, text, facts, args), encoding="utf-8"
    )
    print(json.dumps(facts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--checkpoint", type=Path, nargs="+", required=True, help="several: their mean"
    )
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("engines/plate-reader"))
    parser.add_argument("--version", default="2026.11.1")
    parser.add_argument("--recipe", default="see engines/training/README.md, 'The shipped reader'")
    parser.add_argument("--command", default="python -m engines.training.reader_export")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="write the files though the selftest crop is not read",
    )
    run(parser.parse_args())


if __name__ == "__main__":
    main()
