"""Versions of alprd, of the machine and of the libraries that matter."""

from __future__ import annotations

import platform
from importlib import metadata

from alprd import __version__

PARTS = (
    "numpy",
    "onnxruntime",
    "opencv-python",
    "opencv-python-headless",
    "paho-mqtt",
    "pydantic",
    "tensorrt",
    "pycuda",
)


def versions() -> dict[str, str]:
    """Name to version of alprd, Python, the machine and the installed parts."""
    found = {
        "alprd": __version__,
        "python": platform.python_version(),
        "machine": machine(),
    }
    for part in PARTS:
        try:
            found[part] = metadata.version(part)
        except metadata.PackageNotFoundError:
            continue  # not every machine has every part (tensorrt, pycuda)
    return found


def machine() -> str:
    """Kernel, its release and the architecture."""
    return f"{platform.system()} {platform.release()} {platform.machine()}"
