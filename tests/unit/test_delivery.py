"""What a configuration leaves on the broker, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from alprd.config import Settings
from alprd.core.alerts import KINDS
from alprd.delivery import health_expiry_s, retained_topics


def settings(**values: Any) -> Settings:
    return Settings.model_validate(
        {"device_id": "edge", "cameras": [{"id": "gate", "source": "a.mp4"}], **values}
    )


@pytest.mark.parametrize(("interval_s", "expiry_s"), [(1.0, 60), (10.0, 60), (3600.0, 10800)])
def test_a_health_message_outlives_two_that_are_missing(interval_s: float, expiry_s: int) -> None:
    assert health_expiry_s(settings(health={"interval_s": interval_s})) == expiry_s


def test_alerts_are_among_what_goes_when_the_prefix_changes() -> None:
    topics = retained_topics(settings(mqtt={"prefix": "yard"}))
    assert {f"yard/devices/edge/alerts/{kind}" for kind in KINDS} <= topics
    assert "yard/gate/status" in topics
