"""What an engine plan belongs to: the model, TensorRT, the GPU and how it was built.

TensorRT itself refuses some foreign plans, crashes on others and runs a few that are merely slow
or wrong, so a plan is compared with all that it depends on before TensorRT sees a byte of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Precision = Literal["fp16", "fp32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp16", "fp32", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """How a plan is built.

    Attributes:
        precision: of the weights and of what the layers hand on; inputs and outputs are float32.
        max_batch: rows of one call, 1 to this.
        workspace_mib: scratch memory that a layer may take on the GPU, MiB.
    """

    precision: Precision
    max_batch: int
    workspace_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineIdentity:
    """All that a plan depends on.

    Attributes:
        onnx_sha256: of the ONNX file that it is built from, hex.
        tensorrt: the library's version, "8.5.2.2".
        gpu: the GPU's name; every Jetson of a generation has the same one.
        compute_capability: of the GPU, "8.7".
        multiprocessors: of the GPU: what tells an Orin Nano from an AGX Orin.
        input: what the plan takes, name, type and shape of a row; a file may leave them open.
        recipe: of alprd, as it built the plan.
        settings: how it is built.
    """

    onnx_sha256: str
    tensorrt: str
    gpu: str
    compute_capability: str
    multiprocessors: int
    input: str
    recipe: int
    settings: BuildSettings

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that stand for all of it."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EngineIdentity:
        """What `to_dict` gave. Raises KeyError, TypeError or ValueError for anything else."""
        settings = values["settings"]
        precision = settings["precision"]
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r} is unknown")
        return cls(
            onnx_sha256=_text(values["onnx_sha256"]),
            tensorrt=_text(values["tensorrt"]),
            gpu=_text(values["gpu"]),
            compute_capability=_text(values["compute_capability"]),
            multiprocessors=_whole(values["multiprocessors"]),
            input=_text(values["input"]),
            recipe=_whole(values["recipe"]),
            settings=BuildSettings(
                precision=precision,
                max_batch=_whole(settings["max_batch"]),
                workspace_mib=_whole(settings["workspace_mib"]),
            ),
        )

    def differences(self, here: EngineIdentity) -> list[str]:
        """What of this (a plan's) identity is not as it is here, in words; empty when all fits."""
        pairs = (
            ("TensorRT", self.tensorrt, here.tensorrt),
            ("the GPU", self.gpu, here.gpu),
            ("compute capability", self.compute_capability, here.compute_capability),
            ("multiprocessors", self.multiprocessors, here.multiprocessors),
            ("input", self.input, here.input),
            ("alprd's recipe", self.recipe, here.recipe),
            ("precision", self.settings.precision, here.settings.precision),
            ("max_batch", self.settings.max_batch, here.settings.max_batch),
            ("workspace_mib", self.settings.workspace_mib, here.settings.workspace_mib),
        )
        found = [f"{what} {there}, here {now}" for what, there, now in pairs if there != now]
        if self.onnx_sha256 != here.onnx_sha256:
            found.insert(
                0, f"another ONNX file (sha256 {self.onnx_sha256[:8]}, here {here.onnx_sha256[:8]})"
            )
        return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value
