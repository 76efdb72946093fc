"""A whole health sample, with a figure in every place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alprd.core.tegrastats import parse_line
from alprd.host.sample import HostMeter, health_sample

LINE = (
    "RAM 6000/7620MB (lfb 8x2MB) SWAP 12/3810MB (cached 1MB) CPU [15%@729,off] EMC_FREQ 41%@2133 "
    "GR3D_FREQ 60%@[620] NVENC 71%@165 NVDEC off cpu@53.9C gpu@-256C cpu@55.1C "
    "VDD_IN 12400mW/12300mW NC 5mW/5mW NC 7mW/7mW"
)
STAGE = {"median_ms": 12.5, "p95_ms": 20.0}


def camera(camera_id: str = "gate", **values: object) -> dict[str, Any]:
    return {
        "id": camera_id,
        "state": "online",
        "fps": 25.0,
        "processed_fps": 12.5,
        "dropped": 7,
        "last_frame_age_s": 0.1,
        "picture": "clear",
        "light": "day",
        "last_error": None,
        **values,
    }


def pipeline(**values: object) -> dict[str, Any]:
    return {
        "cameras": [camera()],
        "models": {
            "backend": "onnxruntime",
            "running": {"plate-reader": "sha256:" + "0" * 64},
            "mismatch": None,
        },
        "inference": {
            "frames": 100,
            "bad_frames": 1,
            "plates": 50,
            "events": 3,
            "stages": {
                **dict.fromkeys(("detect", "read", "track", "cut"), STAGE),
                "attributes": None,
                "store": None,
            },
            "unsaved_events": 0,
            "lost_events": 0,
        },
        "lines": {"gate": {"entrance": {"in": 12, "out": 3, "wrong_way": 0}}},
        "rules": {"lists": []},
        "extras": {
            "images": {
                "files": 5,
                "bytes": 90_000,
                "written": 7,
                "deleted": 2,
                "undeletable": 0,
                "missing": {"disk_full": 3},
            },
            "sent": {
                "tracks_sent": 40,
                "tracks_dropped": 1,
                "pictures_sent": 6,
                "pictures_dropped": 1,
            },
            "failed": 0,
        },
        "outbox": {"pending": 4, "oldest_age_s": 30.0, "parked": 1, "gaps": 2},
        "delivery": {
            "connected": True,
            "broker": "mqtt://127.0.0.1:1883",
            "protocol": "5",
            "connects": 1,
            "pending": 4,
            "published": 9,
            "last_error": None,
        },
        **values,
    }


def sample(root: Path, **values: object) -> dict[str, Any]:
    """Of a Jetson whose /proc and /sys lie under `root`."""
    made = health_sample(
        at="2026-11-21T12:00:00.000Z",
        device_id="edge-07",
        meter=HostMeter(root, clock_state=lambda: {"synchronised": True, "max_error_s": 0.01}),
        tegra=parse_line(LINE),
        tegrastats={"coverage": 1.0, "unknown": [], "restarts": 0, "last_error": None},
        gpus={},
        disk_folder=root,
        pipeline=pipeline(),
    )
    alert = {
        "kind": "camera_blind",
        "subject": "gate",
        "since": "2026-11-21T12:00:00.000Z",
        "message": "the picture of gate is black",
        "value": None,
        "limit": None,
    }
    return {**made, "alerts": [alert], **values}
