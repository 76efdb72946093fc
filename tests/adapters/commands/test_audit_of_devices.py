"""The audit as the judge of real devices: restarts, outages and bounds."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from support.broker import Broker
from support.device import Device
from support.watching import wait_for, wait_for_text, watching

EDGE, OTHER = "edge-07", "edge-08"


def test_restarts_outages_and_announced_losses_of_two_devices_are_proven_complete(
    fresh_broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    recording = tmp_path / "heard.jsonl"
    options = ["--url", fresh_broker.url, "--prefix", topic_prefix, "--record", str(recording)]
    with watching("--audit", "--json", "--session", f"audit-{topic_prefix}", *options) as watcher:
        wait_for(recording.exists)
        with Device(tmp_path, fresh_broker.url, prefix=topic_prefix, device_id=OTHER) as other:
            # The first may go out before the audit has subscribed: it judges what it hears.
            other.add(1)
            wait_for_text(recording, "availability")
            other.add(2, 3)
            with Device(tmp_path, fresh_broker.url, prefix=topic_prefix) as device:
                device.add(*range(1, 21))
                device.wait_until(lambda stats: stats.published == 20)
            fresh_broker.stop()
            # Started anew while there is no broker, with room for ten.
            with Device(
                tmp_path,
                fresh_broker.url,
                prefix=topic_prefix,
                max_events=10,
                flush_timeout_s=20.0,
            ) as device:
                device.add(*range(21, 51))
                device.wait_until(lambda stats: stats.dropped == 20)
                fresh_broker.start()
                device.wait_until(lambda stats: stats.published == 10, timeout_s=30.0)
                wait_for_text(recording, '\\"seq\\":50,')
                wait_for_text(recording, "alprd.gap/1")
        watcher.send_signal(signal.SIGINT)
        out, _ = watcher.communicate(timeout=30)
    report = json.loads(out)
    assert watcher.returncode == 0, report
    judged = {each["device_id"]: each for each in report["devices"]}
    assert judged[EDGE]["last_seq"] == 50
    assert judged[EDGE]["announced_missing"] == {"events": 20}
    assert judged[EDGE]["unexplained_missing"] == 0
    assert judged[EDGE]["received"] == 50 - 20 - (judged[EDGE]["first_seq"] - 1)
    assert judged[EDGE]["reconnects"] >= 1
    assert judged[OTHER]["complete"]
    assert report["interruptions"] >= 1  # the broker was away for the auditor, too
