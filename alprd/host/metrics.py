"""The newest health sample as Prometheus metrics; what is unknown is absent, never 0."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import structlog

from alprd import __version__
from alprd.config.wellbeing import MetricsSettings
from alprd.host.metrics_http import FiguresServer

log = structlog.get_logger(__name__)

Newest = Callable[[], Mapping[str, Any] | None]
Labels = Mapping[str, str]
Row = tuple[str, str, str, Labels, float | int | bool | None]
"""Kind (gauge or counter), name without _total, help, labels, value."""

_KIB = 1024


class MetricsServer:
    """A context manager: entering starts to listen, in a thread of its own.

    A port that is taken, or a library that is missing, is said in the log and stops nothing.

    Args:
        settings: [metrics].
        newest: the newest sample; called in the server's threads.
    """

    def __init__(self, settings: MetricsSettings, newest: Newest) -> None:
        self._settings = settings
        self._newest = newest
        self._running = ExitStack()
        self.port: int | None = None
        """Where it listens; None while it does not."""

    def __enter__(self) -> MetricsServer:
        host, port = self._settings.host, self._settings.port
        try:
            core = importlib.import_module("prometheus_client.core")
            library = importlib.import_module("prometheus_client")
        except ImportError:
            log.error(
                "metrics.unavailable",
                error="the Python package prometheus_client is missing",
                remedy='pip install "alprd[metrics]"',
            )
            return self
        registry = library.CollectorRegistry()
        registry.register(_Collector(core, self._newest))
        try:
            server = FiguresServer(host, port, library.make_wsgi_app(registry))
        except OSError as error:
            log.error(
                "metrics.unavailable",
                error=f"cannot listen on {host}:{port}: {error.strerror or error}",
                remedy="set metrics.port to a free one, metrics.host to an address of this machine",
            )
            return self
        self.port = server.port
        self._running.callback(server.close)
        log.info("metrics.listening", host=host, port=self.port)
        return self

    def __exit__(self, *_: object) -> None:
        self.port = None
        self._running.close()


class _Collector:
    """What the library asks at every scrape."""

    def __init__(self, core: Any, newest: Newest) -> None:  # noqa: ANN401 -- optional, so untyped
        self._core = core
        self._newest = newest

    def describe(self) -> Iterable[Any]:
        """Nothing fixed."""
        return ()

    def collect(self) -> Iterator[Any]:
        """One family per name."""
        sample = self._newest()
        if sample is None:
            return
        families: dict[str, Any] = {}
        for kind, name, text, labels, value in rows(sample):
            if value is None:
                continue
            family = families.get(name)
            if family is None:
                make = (
                    self._core.CounterMetricFamily
                    if kind == "counter"
                    else self._core.GaugeMetricFamily
                )
                family = families[name] = make(name, text, labels=sorted(labels))
            family.add_metric([labels[key] for key in sorted(labels)], float(value))
        yield from families.values()


def rows(sample: Mapping[str, Any]) -> Iterator[Row]:
    """Everything in a health sample that is a number; each (name, labels) once."""
    yield (
        "gauge",
        "alprd_info",
        "What runs here.",
        {
            "device": sample["device_id"],
            "version": __version__,
            "backend": sample["pipeline"]["models"]["backend"],
        },
        1,
    )
    # When this stands still, all the other figures are old.
    at_s = datetime.fromisoformat(sample["at"].replace("Z", "+00:00")).timestamp()
    yield _gauge("health_sample_timestamp_seconds", "When the figures were taken.", at_s)
    yield from _machine(sample)
    yield from _pipeline(sample["pipeline"])
    for alert in sample["alerts"]:
        labels = {"kind": alert["kind"], "subject": alert["subject"] or ""}
        yield "gauge", "alprd_alert_active", "Alerts that are raised.", labels, 1


def _machine(sample: Mapping[str, Any]) -> Iterator[Row]:
    yield _gauge("machine_uptime_seconds", "Of the machine.", sample["machine"]["uptime_s"])
    process = sample["process"]
    yield _gauge("resident_memory_bytes", "Of the daemon.", _bytes(process["memory_kb"]))
    yield _gauge("open_files", "Of the daemon.", process["open_files"])
    cpu = sample["cpu"]
    yield _gauge("cpu_utilization_ratio", "All cores.", _ratio(cpu and cpu["load_pct"]))
    for what in ("memory", "swap"):
        figures = sample[what] or {}
        yield _gauge(f"{what}_used_bytes", "In use.", _bytes(figures.get("used_kb")))
        yield _gauge(f"{what}_size_bytes", "In all.", _bytes(figures.get("total_kb")))
    disk = sample["disk"] or {}
    yield _gauge("disk_free_bytes", "Where the outbox lies.", disk.get("free_bytes"))
    yield _gauge("disk_size_bytes", "Where the outbox lies.", disk.get("total_bytes"))
    hottest: dict[str, float] = {}
    for zone in sample["temperatures"] or ():
        if zone["c"] is not None:
            hottest[zone["name"]] = max(zone["c"], hottest.get(zone["name"], zone["c"]))
    for name, celsius in hottest.items():
        yield _gauge("temperature_celsius", "Hottest of a name.", celsius, sensor=name)
    for number, unit in enumerate(sample["gpu"] or ()):
        load = _ratio(unit["load_pct"])
        yield _gauge("gpu_utilization_ratio", "By number.", load, gpu=str(number))
    power = sample["power"] or {"input_mw": None, "rails": ()}
    input_mw = power["input_mw"]
    yield _gauge("input_power_watts", "The board.", None if input_mw is None else input_mw / 1e3)
    rails: dict[str, float] = {}
    for rail in power["rails"]:  # several may share a name
        rails[rail["name"]] = rails.get(rail["name"], 0.0) + rail["mw"] / 1e3
    for name, watts in rails.items():
        yield _gauge("rail_power_watts", "Supplies, sum of a name.", watts, rail=name)
    throttling, clock = sample["throttling"], sample["clock"]
    yield _gauge("throttled", "1: slowed down.", throttling and throttling["active"])
    yield _gauge("clock_synchronised", "1: kept right.", clock and clock["synchronised"])


def _pipeline(pipeline: Mapping[str, Any]) -> Iterator[Row]:
    for camera in pipeline["cameras"]:
        yield from _camera(camera)
    inference = pipeline["inference"]
    for key, name, text in (
        ("frames", "frames", "Looked at."),
        ("bad_frames", "bad_frames", "Could not be processed."),
        ("plates", "plates_read", "Cut out and read."),
        ("events", "events", "Vehicle passes."),
        ("lost_events", "events_unsaved", "Lost because nothing took them."),
    ):
        yield _counter(name, text, inference[key])
    for stage, times in inference["stages"].items():
        for key in ("median", "p95"):
            seconds = None if times is None else times[f"{key}_ms"] / 1e3
            text = "Per frame; read: per plate; store: per event."
            yield _gauge(f"stage_{key}_duration_seconds", text, seconds, stage=stage)
    for camera_id, lines in pipeline["lines"].items():
        for line, counts in lines.items():
            for direction, count in counts.items():
                yield _counter(
                    "line_passes",
                    "Counting lines.",
                    count,
                    camera=camera_id,
                    line=line,
                    direction=direction,
                )
    if "extras" in pipeline:
        yield from _extras(pipeline["extras"])
    outbox, delivery = pipeline["outbox"], pipeline["delivery"]
    yield _gauge("outbox_events", "Wait for the broker.", outbox["pending"])
    # Nothing waits: the oldest has waited for no time.
    age_s = 0.0 if outbox["pending"] == 0 else outbox["oldest_age_s"]
    yield _gauge("outbox_oldest_event_age_seconds", "How long it has waited.", age_s)
    yield _gauge("outbox_parked_events", "Refused by a broker.", outbox["parked"])
    yield _counter("outbox_gap_numbers", "That will not come, since it was made.", outbox["gaps"])
    yield _gauge("broker_connected", "1: a broker has accepted us.", delivery["connected"])
    yield _counter("broker_connects", "Sessions since start.", delivery["connects"])
    yield _counter("events_published", "Taken by a broker.", delivery["published"])
    mismatch = pipeline["models"]["mismatch"] is not None
    yield _gauge("models_mismatch", "1: other models on the disk than running.", mismatch)


def _extras(extras: Mapping[str, Any]) -> Iterator[Row]:
    images = extras["images"]
    yield _gauge("images", "Pictures that are kept.", images["files"])
    yield _gauge("images_size_bytes", "That they take.", images["bytes"])
    yield _counter("images_written", "Pictures of events.", images["written"])
    for reason, count in images["missing"].items():
        yield _counter("images_missing", "Events without one.", count, reason=reason)
    for name, count in extras["sent"].items():
        yield _counter(name, "Live tracks and pictures over MQTT.", count)


def _camera(camera: Mapping[str, Any]) -> Iterator[Row]:
    name = {"camera": camera["id"]}
    state, picture = camera["state"], camera["picture"]
    if state not in ("disabled", "ended"):
        yield _gauge("camera_online", "1: delivers.", state and state == "online", **name)
    yield _gauge("camera_frame_rate", "Delivered per second.", camera["fps"], **name)
    yield _gauge(
        "camera_processed_frame_rate", "Looked at per second.", camera["processed_fps"], **name
    )
    yield _counter("camera_dropped_frames", "Replaced by newer.", camera["dropped"], **name)
    age_s = camera["last_frame_age_s"]
    yield _gauge("camera_last_frame_age_seconds", "Since the last one.", age_s, **name)
    yield _gauge("camera_sees", "1: shows something.", picture and picture == "clear", **name)


def _gauge(name: str, text: str, value: float | bool | None, **labels: str) -> Row:
    return "gauge", f"alprd_{name}", text, labels, value


def _counter(name: str, text: str, value: float | None, **labels: str) -> Row:
    return "counter", f"alprd_{name}", text, labels, value


def _bytes(kib: int | None) -> int | None:
    return None if kib is None else kib * _KIB


def _ratio(percent: float | None) -> float | None:
    return None if percent is None else percent / 100.0
