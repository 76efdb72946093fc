"""What TensorRT measured of its kernels, kept so that the next build need not measure it again."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from alprd.inference.engines import Device
from alprd.inference.plans import PlanStore

_DIGEST_BYTES = 32


def load_timing_cache(store: PlanStore, device: Device) -> bytes:
    """What earlier builds on this device left; nothing when there is none, or a damaged one."""
    try:
        content = _path(store, device).read_bytes()
    except OSError:
        return b""  # the build takes longer, that is all
    digest, cache = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return cache if hashlib.sha256(cache).digest() == digest else b""


def save_timing_cache(store: PlanStore, device: Device, cache: bytes) -> None:
    """Keep it for the next build. Raises EngineError when the folder cannot be written."""
    if cache:
        store.write(_path(store, device), hashlib.sha256(cache).digest(), cache)


def _path(store: PlanStore, device: Device) -> Path:
    """One file per release and GPU: what another one measured would choose the wrong kernels."""
    gpu = device.gpu
    words = (
        device.tensorrt.version,
        gpu.name,
        gpu.compute_capability,
        f"{gpu.multiprocessors}sm",
    )
    name = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", word) for word in words)
    return store.folder / f"timing-{name}.cache"
