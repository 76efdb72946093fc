"""Modules that have what TensorRT's releases have, for all that is decided by looking at them."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

PRECISION_FLAGS = {"FP16": 0, "INT8": 1}


class ILogger:
    """As TensorRT's: a class to derive from."""


def release(version: str, *, name: str = "tensorrt") -> ModuleType:
    """A module with the attributes that this release has."""
    numbers = tuple(int(each) for each in version.split(".")[:2])
    rtx = name != "tensorrt"
    module = ModuleType(name)
    weak = numbers < (11, 0) and not rtx
    creation = {"STRONGLY_TYPED": 1}
    if numbers < (10, 0) and not rtx:
        creation = {"EXPLICIT_BATCH": 0}
    elif weak:
        creation["EXPLICIT_BATCH"] = 0
    sources = {"EDGE_MASK_CONVOLUTIONS": 3, "JIT_CONVOLUTIONS": 4}
    if weak:
        sources |= {"CUBLAS": 0, "CUBLAS_LT": 1, "CUDNN": 2}
    flags = dict(PRECISION_FLAGS) if weak else {}
    if numbers < (10, 0) and not rtx:
        flags["ENABLE_TACTIC_HEURISTIC"] = 11
    vars(module).update(
        __version__=version,
        ILogger=ILogger,
        BuilderFlag=SimpleNamespace(TF32=7, **flags),
        NetworkDefinitionCreationFlag=SimpleNamespace(**creation),
        TacticSource=SimpleNamespace(**sources),
        MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
    )
    if numbers >= (10, 0) or rtx:
        vars(module)["IProgressMonitor"] = object
    return module
