"""A small CTC reader in the manner of LPRNet, for the tests of foreign models.

    python -m engines.training.ctc_example --minutes 8 --out tests/data/models/lprnet/model.onnx

It reads the plates of `alprd.demo.plates` out of frames, cut out as the daemon cuts them out: 94x24
BGR pixels, (value - 127.5) / 128, to logits (N, classes, 24) whose last class is the CTC blank. The
weights are stored in half precision, which halves the file; the graph computes in single precision.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from alprd.demo.plates import WHITE_EU, WHITE_UK, YELLOW_UK, render_plate
from alprd.inference.preprocess import rectify

CLASSES = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZIO-"
SIZE = (94, 24)
STYLES = (WHITE_EU, WHITE_UK, YELLOW_UK)
BLANK = CLASSES.index("-")
POOL = 6144
OPSET = 11


def random_text(rng: np.random.Generator) -> str:
    """Four to eight characters, now and then with a twin pair, which CTC must keep apart."""
    text = [CLASSES[k] for k in rng.integers(0, BLANK, rng.integers(4, 9))]
    if rng.random() < 0.3:
        k = int(rng.integers(1, len(text)))
        text[k] = text[k - 1]
    return "".join(text)


def random_crop(rng: np.random.Generator, text: str) -> NDArray[np.uint8]:
    """(24, 94, 3) BGR: a plate in a frame, seen a little from the side, its corners a little off."""
    flat = render_plate(text, STYLES[int(rng.integers(len(STYLES)))])
    height, width = flat.shape[:2]
    wide = float(rng.uniform(90.0, 260.0))
    tall = wide * height / width * float(rng.uniform(0.9, 1.15))
    quad = np.array([[40, 40], [40 + wide, 40], [40 + wide, 40 + tall], [40, 40 + tall]])
    quad[[1, 2], 1] += wide * rng.uniform(-0.15, 0.15)
    quad = (quad + rng.normal(0.0, 0.01, (4, 2)) * wide).astype(np.float32)
    frame = np.full((240, 360, 3), rng.integers(20, 200), np.uint8)
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    warp = cv2.getPerspectiveTransform(source, quad)
    flat = cv2.GaussianBlur(flat, (0, 0), max(0.1, 0.35 * width / wide))
    drawn = cv2.warpPerspective(flat, warp, (360, 240))
    inside = cv2.warpPerspective(np.full((height, width), 255, np.uint8), warp, (360, 240))
    frame[inside > 127] = drawn[inside > 127]
    seen = quad + rng.normal(0.0, 0.012, (4, 2)) * wide
    return rectify(frame, seen.astype(np.float32), SIZE)


def pool(rng: np.random.Generator, count: int) -> tuple[NDArray[np.uint8], list[str]]:
    """Crops (count, 24, 94, 3) and their texts."""
    texts = [random_text(rng) for _ in range(count)]
    return np.stack([random_crop(rng, text) for text in texts]), texts


def net() -> nn.Sequential:
    """(N, 3, 24, 94) to (N, classes, 1, 24)."""

    def block(
        before: int, after: int, kernel: tuple[int, int], pad: tuple[int, int], stride=(1, 1)
    ) -> list[nn.Module]:
        conv = nn.Conv2d(before, after, kernel, stride, pad, bias=False)
        return [conv, nn.BatchNorm2d(after), nn.ReLU()]

    return nn.Sequential(
        *block(3, 24, (3, 3), (1, 1)),
        nn.MaxPool2d((2, 2)),
        *block(24, 40, (3, 3), (1, 1)),
        *block(40, 56, (3, 3), (1, 1)),
        nn.MaxPool2d((2, 1)),
        *block(56, 56, (3, 3), (1, 1), (2, 1)),
        *block(56, 64, (3, 1), (0, 0)),
        *block(64, 64, (1, 5), (0, 2)),
        nn.Conv2d(64, len(CLASSES), (1, 5), (1, 2), (0, 2)),
    )


def batch(
    rng: np.random.Generator, crops: NDArray[np.uint8], texts: list[str], size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised crops with light and noise changed, labels one after another, and lengths."""
    chosen = rng.integers(0, len(crops), size)
    x = crops[chosen].astype(np.float32)
    x = (x - 127.5) * rng.uniform(0.4, 1.1, (size, 1, 1, 1)) + 127.5
    x = x + rng.uniform(-50, 40, (size, 1, 1, 1)) + rng.normal(0, 1, x.shape) * rng.uniform(0, 9)
    x = (np.clip(x, 0, 255).astype(np.float32) - 127.5) / 128.0
    labels = [CLASSES.index(char) for k in chosen for char in texts[k]]
    lengths = [len(texts[k]) for k in chosen]
    return (
        torch.from_numpy(x.transpose(0, 3, 1, 2).copy()),
        torch.tensor(labels),
        torch.tensor(lengths),
    )


def train(minutes: float, seed: int) -> tuple[nn.Sequential, int]:
    """The net and the steps it took."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    crops, texts = pool(rng, POOL)
    model = net()
    start_s = time.monotonic()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    lossy = nn.CTCLoss(blank=BLANK, zero_infinity=True)
    step = 0
    while (done := (time.monotonic() - start_s) / (60.0 * minutes)) < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 100) * max(0.02, 1.0 - done)
        x, labels, lengths = batch(rng, crops, texts, 64)
        logits = model(x)[:, :, 0]
        steps_t = torch.full((len(x),), logits.shape[2])
        loss = lossy(logits.permute(2, 0, 1).log_softmax(2), labels, steps_t, lengths)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        step += 1
        if step % 200 == 0:
            print(f"step {step}, {100 * done:.0f} %, loss {loss.item():.4f}", flush=True)
            # Fresh plates, so that none is learnt by heart.
            index = rng.integers(0, len(crops), 256)
            fresh, told = pool(rng, len(index))
            for k, crop, text in zip(index, fresh, told, strict=True):
                crops[k], texts[k] = crop, text
    return model.eval(), step


def export(model: nn.Sequential, out: Path) -> None:
    """Write the net with its normalisations folded into the convolutions."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    value = "images"

    def half(name: str, weights: Tensor) -> str:
        array = weights.detach().numpy().astype(np.float16)
        constants.append(numpy_helper.from_array(array, f"{name}_half"))
        nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
        return name

    layers = list(model)
    for k, layer in enumerate(layers):
        result = f"t{k}"
        if isinstance(layer, nn.Conv2d):
            weights = layer.weight
            after = layers[k + 1] if k + 1 < len(layers) else None
            if isinstance(after, nn.BatchNorm2d):
                factor = after.weight / (after.running_var + after.eps).sqrt()
                weights, bias = weights * factor[:, None, None, None], after.bias
                bias = bias - after.running_mean * factor
            else:
                bias = layer.bias
            pads = [*layer.padding, *layer.padding]
            inputs = [value, half(f"w{k}", weights), half(f"b{k}", bias)]
            nodes.append(
                helper.make_node(
                    "Conv", inputs, [result], strides=list(layer.stride), pads=pads,
                    kernel_shape=list(layer.kernel_size),
                )
            )  # fmt: skip
        elif isinstance(layer, nn.MaxPool2d):
            shape = list(layer.kernel_size)
            nodes.append(
                helper.make_node("MaxPool", [value], [result], kernel_shape=shape, strides=shape)
            )
        elif isinstance(layer, nn.ReLU):
            nodes.append(helper.make_node("Relu", [value], [result]))
        else:
            continue
        value = result
    nodes.append(helper.make_node("Squeeze", [value], ["logits"], axes=[2]))
    shape = ["N", len(CLASSES), 24]
    graph = helper.make_graph(
        nodes,
        "lprnet-like",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIZE[1], SIZE[0]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
        constants,
    )
    written = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=6)
    onnx.checker.check_model(written, full_check=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(written.SerializeToString())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    model, steps = train(args.minutes, args.seed)
    export(model, args.out)
    rng = np.random.default_rng(args.seed + 1)
    crops, texts = pool(rng, 500)
    x = torch.from_numpy((crops.transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 128.0)
    with torch.no_grad():
        best = model(x)[:, :, 0].argmax(1).tolist()
    right = 0
    for path, text in zip(best, texts, strict=True):
        kept = [k for i, k in enumerate(path) if k != BLANK and (i == 0 or path[i - 1] != k)]
        right += "".join(CLASSES[k] for k in kept) == text
    print(f"{steps} steps, {right} of {len(texts)} held-out plates right")


if __name__ == "__main__":
    main()
