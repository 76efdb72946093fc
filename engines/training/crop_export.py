"""The ONNX file of a network that looks at crops, proven equal to the network it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

OPSET = 13
"""TensorRT 8.5 and later take it."""


def export_crops(served: nn.Module, outputs: Sequence[str], path: Path, crops: Tensor) -> float:
    """Write the ONNX file; returns the largest difference from torch.

    Args:
        served: (N, 3, H, W) crops in, one tensor per output, rows first.
        outputs: their names.
        path: of the file.
        crops: at least three, to trace and to compare with.

    Raises:
        SystemExit: the file says something else than the network.
    """
    torch.onnx.export(
        served,
        (crops[:2],),
        str(path),
        opset_version=OPSET,
        input_names=["crops"],
        output_names=list(outputs),
        dynamic_axes={name: {0: "n"} for name in ("crops", *outputs)},
        dynamo=False,
    )
    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    with torch.no_grad():
        for count in (1, 3, len(crops)):
            theirs = session.run(None, {"crops": crops[:count].numpy()})
            for mine, other in zip(served(crops[:count]), theirs, strict=True):
                worst = max(worst, float(np.abs(mine.numpy() - other).max()))
    if worst > 2e-3:
        raise SystemExit(f"ONNX differs from torch by {worst:.5f}: do not ship this file")
    return worst
