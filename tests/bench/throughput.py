"""How fast events get through the outbox to the broker, against paho alone.

    python tests/bench/throughput.py [--events 3000] [--latency-events 300]

Needs Mosquitto (see `support.broker`). Prints Markdown; a table of results is kept in RESULTS.md.
Nothing here is a test: the figures depend on the disk, the processor and who else uses them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from alprd.core.events import to_payload
from alprd.publish.sink import encode
from support.broker import Broker, choose_launcher
from support.device import Device
from support.plate_events import plate_event
from support.subscriber import Subscriber


def payload() -> bytes:
    """An event as the daemon publishes it."""
    event = plate_event(1)
    return encode(to_payload(event, seq=1, device_id="edge-07", software="alprd", models={}))


def bare_paho(broker: Broker, count: int, *, inflight: int) -> float:
    """Events per second of paho with its own thread, nothing on disk."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages_set(inflight)
    left, done = [count], threading.Event()

    def acknowledged(*_: object) -> None:
        left[0] -= 1
        if not left[0]:
            done.set()

    client.on_publish = acknowledged
    client.connect(broker.host, broker.port)
    client.loop_start()
    body = payload()
    started_s = time.perf_counter()
    for _ in range(count):
        client.publish("bare/gate/plates", body, qos=1)
    done.wait(300.0)
    took_s = time.perf_counter() - started_s
    client.disconnect()
    client.loop_stop()
    return count / took_s


def adds(folder: Path, count: int, *, synchronous: str) -> float:
    """Events per second that become durable, one at a time."""
    device = Device(folder, "mqtt://127.0.0.1:1")
    set_synchronous(device, synchronous)
    started_s = time.perf_counter()
    for number in range(count):
        device.add(number)
    took_s = time.perf_counter() - started_s
    device.close()
    return count / took_s


def through(
    broker: Broker, folder: Path, count: int, *, synchronous: str, inflight: int = 16
) -> float:
    """Events per second from the first `add` to the last PUBACK, added one at a time meanwhile."""
    settings = {"max_inflight": inflight}
    device = Device(folder, broker.url, prefix="bench", settings=settings)
    set_synchronous(device, synchronous)
    with device:
        device.wait_until(lambda stats: stats.connected)
        started_s = time.perf_counter()
        for number in range(count):
            device.add(number)
        while device.outbox.counts().pending:
            time.sleep(0.002)
        return count / (time.perf_counter() - started_s)


def latencies_ms(broker: Broker, folder: Path, count: int) -> list[float]:
    """From before `add` to the subscriber, at 10 events/s."""
    added_s: dict[int, float] = {}
    with (
        Subscriber(broker, "late/+/plates") as subscriber,
        Device(folder, broker.url, prefix="late") as device,
    ):
        device.wait_until(lambda stats: stats.connected)
        arrived_s: dict[int, float] = {}
        seen = 0
        for number in range(1, count + 1):
            due_s = time.perf_counter() + 0.1
            added_s[number] = time.perf_counter()
            device.add(number)
            messages = subscriber.wait_for(number)
            now_s = time.perf_counter()
            for message in messages[seen:]:
                arrived_s[json.loads(message.payload)["seq"]] = now_s
            seen = len(messages)
            time.sleep(max(0.0, due_s - time.perf_counter()))
    return [(arrived_s[n] - added_s[n]) * 1000.0 for n in added_s]


def set_synchronous(device: Device, value: str) -> None:
    """FULL as the daemon does, OFF to see what fsync costs."""
    db = device.outbox.store.db
    if not isinstance(db, sqlite3.Connection):
        raise RuntimeError("the outbox is not open")
    db.execute(f"PRAGMA synchronous = {value}")


def main() -> None:
    """Measure everything once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=3000)
    parser.add_argument("--latency-events", type=int, default=300)
    arguments = parser.parse_args()
    count = arguments.events
    base = Path(tempfile.mkdtemp(prefix="alprd-bench-", dir=os.environ.get("ALPRD_BENCH_DIR")))
    folders = (base / str(n) for n in range(100))

    def folder() -> Path:
        made = next(folders)
        made.mkdir()
        return made

    try:
        with Broker(choose_launcher(), folder()) as broker:
            rows = {"paho alone, 16 in flight": bare_paho(broker, count, inflight=16)}
            bare = rows["paho alone, 16 in flight"]
            rows["`add` alone, fsync"] = adds(folder(), count, synchronous="FULL")
            rows["`add` alone, no fsync"] = adds(folder(), count, synchronous="OFF")
            rows["`add` to PUBACK, fsync"] = through(broker, folder(), count, synchronous="FULL")
            rows["`add` to PUBACK, no fsync"] = through(broker, folder(), count, synchronous="OFF")
            late = sorted(latencies_ms(broker, folder(), arguments.latency_events))
    finally:
        shutil.rmtree(base)
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version},"
        f" paho-mqtt {version('paho-mqtt')}, {os.cpu_count()} cores, {count} events of"
        f" {len(payload())} bytes"
    )
    print("\n| what | events/s | of paho alone |\n|---|---|---|")
    for name, rate in rows.items():
        print(f"| {name} | {rate:.0f} | {rate / bare:.2f} |")
    p99 = late[min(len(late) - 1, int(len(late) * 0.99))]
    print(
        f"\nFrom `add` to the subscriber at 10 events/s: median {statistics.median(late):.1f} ms,"
        f" p99 {p99:.1f} ms ({len(late)} events)."
    )


if __name__ == "__main__":
    main()
