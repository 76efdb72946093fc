"""The figures for Prometheus: right names, nothing invented; rules that ask for what there is."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from structlog.testing import capture_logs

from alprd.config import MetricsSettings
from alprd.host import metrics_http
from alprd.host.metrics import MetricsServer, rows
from alprd.host.metrics_http import MOST_CONNECTIONS
from support.health import camera, pipeline, sample
from support.payloads import validator

REPOSITORY = Path(__file__).parents[3]
RULES = REPOSITORY / "etc" / "prometheus" / "alprd-rules.yml"
DASHBOARD = REPOSITORY / "etc" / "grafana" / "alprd.json"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def scraped(made: dict[str, Any] | None) -> str:
    pytest.importorskip("prometheus_client")
    settings = MetricsSettings(enabled=True, port=free_port())
    with MetricsServer(settings, lambda: made) as server:
        assert server.port == settings.port
        with urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
    assert server.port is None
    return text


def names(made: dict[str, Any]) -> set[str]:
    return {name + ("_total" if kind == "counter" else "") for kind, name, *_ in rows(made)}


def test_the_sample_that_is_measured_is_a_valid_one(tmp_path: Path) -> None:
    made = json.loads(json.dumps(sample(tmp_path), allow_nan=False))
    assert [error.message for error in validator("health-1").iter_errors(made)] == []


def test_a_scrape_tells_the_newest_sample(tmp_path: Path) -> None:
    text = scraped(sample(tmp_path))
    for line in (
        'alprd_camera_processed_frame_rate{camera="gate"} 12.5',
        'alprd_camera_dropped_frames_total{camera="gate"} 7.0',
        'alprd_stage_median_duration_seconds{stage="detect"} 0.0125',
        'alprd_temperature_celsius{sensor="cpu"} 55.1',
        'alprd_rail_power_watts{rail="NC"} 0.012',
        "alprd_input_power_watts 12.4",
        "alprd_memory_size_bytes 7.99014912e+09",
        "alprd_cpu_utilization_ratio 0.15",
        'alprd_alert_active{kind="camera_blind",subject="gate"} 1.0',
        'alprd_line_passes_total{camera="gate",direction="in",line="entrance"} 12.0',
        "alprd_outbox_oldest_event_age_seconds 30.0",
        "# TYPE alprd_events_total counter",
    ):
        assert line in text.splitlines(), line


def test_pictures_that_are_missing_are_told_by_their_reason(tmp_path: Path) -> None:
    text = scraped(sample(tmp_path))
    assert 'alprd_images_missing_total{reason="disk_full"} 3.0' in text
    assert "alprd_tracks_sent_total 40.0" in text
    assert "alprd_images 5.0" in text


def test_what_is_unknown_is_absent_and_not_zero(tmp_path: Path) -> None:
    made = sample(
        tmp_path,
        temperatures=None,
        power=None,
        clock=None,
        throttling=None,
        disk=None,
        memory=None,
        cpu=None,
        alerts=[],
        pipeline=pipeline(
            cameras=[
                camera(fps=None, processed_fps=None, picture=None, state=None),
                camera("yard", state="disabled", fps=None, processed_fps=None, picture=None),
            ]
        ),
    )
    text = scraped(made)
    for name in (
        *("temperature", "power", "clock", "throttled", "disk", "memory", "cpu", "alert"),
        *("camera_frame_rate", "camera_processed", "camera_sees", "camera_online"),
    ):
        assert not re.search(rf"(?m)^alprd_{name}", text), name
    assert 'stage="store"' not in text


def test_before_the_first_sample_there_is_nothing_to_tell() -> None:
    assert "alprd_" not in scraped(None)


def test_no_name_and_labels_come_twice(tmp_path: Path) -> None:
    seen = [
        (name, tuple(sorted(labels.items()))) for _, name, _, labels, _ in rows(sample(tmp_path))
    ]
    assert len(seen) == len(set(seen))


def test_a_scrape_says_when_the_figures_were_taken(tmp_path: Path) -> None:
    made = sample(tmp_path, at="1970-01-01T00:01:00.500Z")
    assert "alprd_health_sample_timestamp_seconds 60.5" in scraped(made).splitlines()


def test_what_only_grows_is_a_counter(tmp_path: Path) -> None:
    kinds = {name: kind for kind, name, *_ in rows(sample(tmp_path))}
    assert kinds["alprd_outbox_gap_numbers"] == "counter"
    counted = re.findall(r"(?:increase|rate)\((\w+)", RULES.read_text() + DASHBOARD.read_text())
    assert counted
    assert [name for name in counted if not name.endswith("_total")] == []


def test_who_says_nothing_takes_few_places_and_not_for_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("prometheus_client")
    monkeypatch.setattr(metrics_http._Handler, "timeout", 0.3)
    settings = MetricsSettings(enabled=True, port=free_port())
    with MetricsServer(settings, lambda: None) as server, ExitStack() as silent:
        before = threading.active_count()
        place = ("127.0.0.1", settings.port)
        crowd = [silent.enter_context(socket.create_connection(place, 5.0)) for _ in range(24)]
        # Each is closed by the server: most at once, for lack of a place, the others later.
        assert [one.recv(1) for one in crowd[MOST_CONNECTIONS:]] == [b""] * 16
        assert threading.active_count() <= before + MOST_CONNECTIONS
        assert [one.recv(1) for one in crowd[:MOST_CONNECTIONS]] == [b""] * MOST_CONNECTIONS
        with urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5) as answer:
            assert answer.status == 200
    assert capsys.readouterr().err == ""


def test_a_port_that_is_taken_is_said_and_stops_nothing() -> None:
    pytest.importorskip("prometheus_client")
    with socket.create_server(("127.0.0.1", 0)) as taken, capture_logs() as lines:
        settings = MetricsSettings(enabled=True, port=taken.getsockname()[1])
        with MetricsServer(settings, lambda: None) as server:
            assert server.port is None
    assert [line["event"] for line in lines] == ["metrics.unavailable"]


def test_a_missing_library_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    with (
        capture_logs() as lines,
        MetricsServer(MetricsSettings(enabled=True), lambda: None) as server,
    ):
        assert server.port is None
    assert lines[0]["remedy"] == 'pip install "alprd[metrics]"'


@pytest.mark.parametrize("path", [RULES, DASHBOARD], ids=["rules", "dashboard"])
def test_rules_and_dashboard_ask_only_for_what_there_is(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    asked = set(re.findall(r"\balprd_[a-z0-9_]+", text))
    assert len(asked) >= 5
    assert asked <= names(sample(tmp_path))


def test_the_dashboards_panels_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells


def promtool(*arguments: str, stdin: str = "") -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not here; apt-get install prometheus")
    done = subprocess.run(
        [program, *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.once
def test_promtool_has_nothing_against_the_metrics(tmp_path: Path) -> None:
    assert promtool("check", "metrics", stdin=scraped(sample(tmp_path))).strip() == ""


@pytest.mark.once
def test_promtool_has_nothing_against_the_rules_and_the_example() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("check", "config", str(RULES.with_name("prometheus.yml")))
