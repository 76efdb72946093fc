"""The newest health sample as a file in memory, for tools on the same machine.

systemd gives a service such a folder (RuntimeDirectory=) and names it in RUNTIME_DIRECTORY; where
there is none, nothing is written: a health sample every few seconds would wear out a flash disk.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "health.json"
_DEFAULT = "/run/alprd"
_STALE_S = 60.0


def write_sample(sample: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> None:
    """Replace the file, whole at every moment. Raises OSError."""
    folder = environ.get("RUNTIME_DIRECTORY")
    if not folder:
        return
    path = Path(folder.split(":")[0]) / FILE
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(sample), encoding="utf-8")
    fresh.replace(path)


def read_sample(
    device_id: str, environ: Mapping[str, str] = os.environ
) -> Mapping[str, Any] | None:
    """The running daemon's newest sample; None when there is none of this device, or an old one."""
    folder = environ.get("RUNTIME_DIRECTORY") or _DEFAULT
    path = Path(folder.split(":")[0]) / FILE
    try:
        if time.time() - path.stat().st_mtime > _STALE_S:
            return None
        sample = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_ours = isinstance(sample, dict) and sample.get("device_id") == device_id
    return sample if is_ours and isinstance(sample.get("pipeline"), dict) else None
