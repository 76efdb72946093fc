"""What the daemon tells others about itself."""

from __future__ import annotations

import json
from pathlib import Path

from alprd.config import Settings
from alprd.info import info_payload, public_settings, read_boot_id

SETTINGS = Settings.model_validate(
    {
        "device_id": "edge-07",
        "mqtt": {"username": "u", "password": "hush-broker"},
        "tracking": {"merge_s": 3.0},
        "cameras": [
            {"id": "gate", "source": "rtsp://u:hush-url@h/x", "tracking": {"hold_s": 7.0}},
            {"id": "yard", "source": "/clips/yard.mp4", "enabled": False},
        ],
    }
)


def test_the_info_message_is_json_and_holds_no_secret() -> None:
    payload = info_payload(
        SETTINGS,
        backend="onnxruntime",
        reason="it was asked for",
        models={"plate-detector": "sha256:00"},
        versions={"alprd": "1"},
        boot_id="b",
    )
    text = json.dumps(payload)
    assert "hush" not in text
    assert payload["device_id"] == "edge-07"
    assert payload["models"] == {"plate-detector": "sha256:00"}
    assert payload["inference"] == {"backend": "onnxruntime", "reason": "it was asked for"}
    assert payload["cameras"] == [
        {"id": "gate", "enabled": True, "source": "rtsp://u:***@h/x"},
        {"id": "yard", "enabled": False, "source": "/clips/yard.mp4"},
    ]


def test_a_cameras_own_tracking_is_shown_completed_with_the_common_one() -> None:
    shown = public_settings(SETTINGS)
    assert shown["cameras"][0]["tracking"]["hold_s"] == 7.0
    assert shown["cameras"][0]["tracking"]["merge_s"] == 3.0
    assert "tracking" not in shown["cameras"][1]


def test_a_kernel_without_a_boot_id_is_no_failure(tmp_path: Path) -> None:
    file = tmp_path / "boot_id"
    assert read_boot_id(file) is None
    file.write_text("37adc274-ed2e-4c98-b815-b8f5ccfb4835\n")
    assert read_boot_id(file) == "37adc274-ed2e-4c98-b815-b8f5ccfb4835"
