"""What the daemon tells others about itself."""

from __future__ import annotations

import json
from pathlib import Path

from alprd.config import Settings
from alprd.info import info_payload, public_settings, read_boot_id, status_line
from alprd.publish.loop import PublisherStats

SETTINGS = Settings.model_validate(
    {
        "device_id": "edge-07",
        "mqtt": {"username": "u", "password": "hush-broker"},
        "tracking": {"merge_s": 3.0},
        "cameras": [
            {"id": "gate", "source": "rtsp://u:hush-url@h/x", "tracking": {"hold_s": 7.0}},
            {"id": "yard", "source": "/clips/yard.mp4", "enabled": False},
            {"id": "cgi", "source": "http://h/cgi?loginuse=admin&loginpas=hush-query"},
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
        delivery={"parked": 2},
    )
    text = json.dumps(payload)
    assert "hush" not in text
    assert payload["device_id"] == "edge-07"
    assert payload["models"] == {"plate-detector": "sha256:00"}
    assert payload["delivery"] == {"parked": 2}
    assert payload["inference"] == {"backend": "onnxruntime", "reason": "it was asked for"}
    assert payload["cameras"] == [
        {"id": "gate", "enabled": True, "source": "rtsp://u:***@h/x"},
        {"id": "yard", "enabled": False, "source": "/clips/yard.mp4"},
        {"id": "cgi", "enabled": True, "source": "http://h/cgi?loginuse=***&loginpas=***"},
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


def test_the_status_line_says_what_is_wrong_with_the_broker_and_no_password() -> None:
    away = PublisherStats(pending=4, last_error="mqtt://u:hush@h: nobody listens there")
    line = status_line(online=1, enabled=2, events=7, stats=away)
    assert line == (
        "1 of 2 cameras online, 7 events, 4 waiting in the outbox, "
        "broker away (mqtt://u:***@h: nobody listens there)"
    )
    fine = status_line(online=2, enabled=2, events=7, stats=PublisherStats(connected=True))
    assert fine.endswith("broker connected")
