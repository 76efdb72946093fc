"""The health message tells what is known, from where, and null for the rest."""

from __future__ import annotations

import importlib
import json
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from alprd.config import HealthSettings
from alprd.core.tegrastats import parse_line
from alprd.core.types import CameraStatus
from alprd.host import proc
from alprd.host.health import HealthThread
from alprd.host.machine import Machine
from alprd.host.nvml import GpuMeter
from alprd.host.sample import FIGURES, HostMeter, health_sample, tegra_figures
from alprd.host.tegra_reader import TegrastatsReader

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
EXECUTABLE = 0o755


class Board:
    """Keeps what is put on it."""

    def __init__(self) -> None:
        self.messages: queue.Queue[tuple[str, Mapping[str, Any], bool]] = queue.Queue()

    def camera_status(self, status: CameraStatus) -> None:
        raise AssertionError(f"health is no camera's status: {status}")

    def device(self, name: str, payload: Mapping[str, Any], *, retain: bool) -> None:
        self.messages.put((name, payload, retain))


def machine(root: Path, *, busy: int = 100, idle: int = 300) -> Path:
    """A small machine's /proc and /sys."""
    files = {
        "proc/stat": f"cpu  {2 * busy} 0 0 {2 * idle} 0 0 0 0 0 0\n"
        f"cpu0 {busy} 0 0 {idle} 0 0 0 0 7 0\ncpu2 {busy} 0 0 {idle} 0 0 0 0 0 0\nctxt 5\n",
        "proc/meminfo": "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n"
        "SwapTotal: 0 kB\nSwapFree: 0 kB\nHugePages_Total: 0\n",
        "proc/uptime": "12345.67 999.00\n",
        "proc/loadavg": "0.50 0.25 0.10 1/200 4242\n",
        "proc/self/status": "Name:\talprd\nVmRSS:\t  52000 kB\n",
        "proc/self/fd/0": "",
        "proc/self/fd/1": "",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1420000\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "41437\n",
        "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
        "sys/class/thermal/thermal_zone1/temp": "-256000\n",
        "sys/class/thermal/cooling_device0/type": "fan\n",
        "sys/class/hwmon/hwmon0/name": "k10temp\n",
        "sys/class/hwmon/hwmon0/temp1_input": "55125\n",
        "sys/class/hwmon/hwmon0/temp1_label": "Tctl\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def quiet(sample: dict[str, Any]) -> bool:
    """Judges nothing."""
    return False


def no_gpus() -> GpuMeter:
    """A machine without NVIDIA's library."""
    return GpuMeter(lambda: importlib.import_module("alprd.no_such_library"))


def sample_of(
    meter: HostMeter,
    line: str | None = None,
    folder: Path = Path("/"),
    gpus: Mapping[str, Any] | None = None,
) -> Any:
    return health_sample(
        at="2026-11-21T12:00:00.000Z",
        meter=meter,
        tegra=None if line is None else parse_line(line),
        tegrastats=None,
        disk_folder=folder,
        device_id="edge-07",
        gpus=gpus or {},
        pipeline={"events": 3},
    )


def test_a_machine_without_tegrastats_tells_what_the_kernel_knows(tmp_path: Path) -> None:
    meter = HostMeter(machine(tmp_path))
    machine(tmp_path, busy=150, idle=350)
    sample = sample_of(meter)
    assert sample["cpu"] == {
        "load_pct": 50.0,
        "cores": [
            {"core": 0, "online": True, "load_pct": 50.0, "mhz": 1420},
            {"core": 2, "online": True, "load_pct": 50.0, "mhz": None},
        ],
    }
    assert sample["memory"] == {"used_kb": 600, "total_kb": 1000}
    assert sample["swap"] == {"used_kb": 0, "total_kb": 0}
    assert sample["temperatures"] == [{"name": "cpu", "c": 41.4, "max_c": None}]
    assert sample["machine"] == {"uptime_s": 12345.67, "load_average": [0.5, 0.25, 0.1]}
    assert sample["process"] == {"memory_kb": 52000, "open_files": 2}
    assert sample["sources"]["cpu"] == "kernel"
    assert (sample["gpu"], sample["sources"]["gpu"]) == (None, None)
    assert sample["pipeline"] == {"events": 3}
    assert sample["disk"]["free_bytes"] > 0


def test_hardware_monitors_are_read_where_there_are_no_zones(tmp_path: Path) -> None:
    root = machine(tmp_path)
    (root / "sys/class/thermal/thermal_zone0/temp").unlink()
    assert proc.temperatures_c(root) == [("k10temp Tctl", 55.125)]


def test_a_jetsons_zones_are_named_as_tegrastats_names_them_and_its_constant_is_none(
    tmp_path: Path,
) -> None:
    for number, (kind, millidegrees) in enumerate(
        [("CPU-therm", 41000), ("PMIC-Die", 100000), ("GPU-thermal", 42000)]
    ):
        folder = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        folder.mkdir(parents=True)
        (folder / "type").write_text(f"{kind}\n")
        (folder / "temp").write_text(f"{millidegrees}\n")
    assert proc.temperatures_c(tmp_path) == [("cpu", 41.0), ("gpu", 42.0)]


def test_a_machine_that_tells_nothing_gives_null_everywhere_and_no_zero(tmp_path: Path) -> None:
    sample = sample_of(HostMeter(tmp_path, clock_state=lambda: None), folder=tmp_path / "none")
    assert {name: sample[name] for name in FIGURES} == dict.fromkeys(FIGURES)
    assert sample["sources"] == dict.fromkeys(FIGURES)
    assert sample["disk"] is None
    assert sample["machine"] == {"uptime_s": None, "load_average": None}
    assert sample["process"] == {"memory_kb": None, "open_files": None}


@pytest.mark.parametrize("text", ["", "cpu\ncpu0 a b c d e\n", "cpu0 1 2\n", "\xff"])
def test_nonsense_under_proc_is_unknown(tmp_path: Path, text: str) -> None:
    for name in ("stat", "meminfo", "uptime", "loadavg"):
        (tmp_path / "proc").mkdir(exist_ok=True)
        (tmp_path / "proc" / name).write_text(text, encoding="latin-1")
    sample = sample_of(HostMeter(tmp_path))
    assert (sample["cpu"], sample["memory"], sample["machine"]["uptime_s"]) == (None, None, None)


def test_a_load_over_no_time_is_unknown(tmp_path: Path) -> None:
    meter = HostMeter(machine(tmp_path))
    assert sample_of(meter)["cpu"]["load_pct"] is None


def test_tegrastats_wins_and_the_kernel_fills_in(tmp_path: Path) -> None:
    line = (
        "CPU [10%@729,off,30%@729] GR3D_FREQ @[314,314] NVDEC off EMC_FREQ 4%@2133 "
        "CPU@44.5C GPU@-256C PMIC@100C VDD_IN 4000mW/3900mW"
    )
    sample = sample_of(HostMeter(machine(tmp_path)), line)
    assert sample["cpu"]["load_pct"] == 20.0
    assert sample["cpu"]["cores"][1] == {
        "core": 1,
        "online": False,
        "load_pct": None,
        "mhz": None,
    }
    assert sample["gpu"] == [{"name": "GR3D", "on": True, "load_pct": None, "mhz": [314, 314]}]
    assert sample["engines"] == [{"name": "NVDEC", "on": False, "load_pct": None, "mhz": None}]
    assert sample["memory_controller"]["load_pct"] == 4
    assert sample["temperatures"] == [
        {"name": "cpu", "c": 44.5, "max_c": None},
        {"name": "gpu", "c": None, "max_c": None},
    ]
    assert sample["power"]["input_mw"] == 4000.0
    assert sample["memory"] == {"used_kb": 600, "total_kb": 1000}
    sources = sample["sources"]
    assert (sources["cpu"], sources["memory"], sources["power"]) == (
        "tegrastats",
        "kernel",
        "tegrastats",
    )


def test_a_line_that_says_nothing_adds_no_figure() -> None:
    assert tegra_figures(parse_line("FUTURE 1")) == {}


def health_of(
    measured: Machine,
    board: Board,
    *,
    figures: Callable[[], Mapping[str, Any]] = dict,
    tegrastats: str = "",
    turn: threading.Lock | None = None,
) -> HealthThread:
    """A health thread that looks every second, with a clock of wall times of its own."""
    times = iter(NOON + timedelta(seconds=n) for n in range(100))
    return HealthThread(
        HealthSettings(interval_s=1.0, tegrastats=tegrastats),
        board,
        device_id="edge-07",
        machine=measured,
        pipeline_figures=figures,
        judge=quiet,
        turn=turn or threading.Lock(),
        now=lambda: next(times),
    )


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[Machine]:
    """A small machine without GPUs."""
    with Machine(tmp_path, gpus=no_gpus, root=machine(tmp_path)) as made:
        yield made


def test_the_thread_puts_a_retained_sample_on_the_board_at_once_and_again(
    measured: Machine,
) -> None:
    board = Board()
    with health_of(measured, board, figures=lambda: {"inference_fps": 12.5}):
        name, first, retain = board.messages.get(timeout=5)
        _, second, _ = board.messages.get(timeout=5)
    assert (name, retain, first["schema"]) == ("health", True, "alprd.health/1")
    assert (first["at"], second["at"]) == ("2026-11-21T12:00:00.000Z", "2026-11-21T12:00:01.000Z")
    assert first["pipeline"] == {"inference_fps": 12.5}
    assert first["tegrastats"] is None
    assert first["disk"]["free_bytes"] > 0
    json.dumps(first, allow_nan=False)


def test_a_figure_that_fails_is_logged_and_the_next_sample_comes(measured: Machine) -> None:
    board = Board()

    def fail_once() -> dict[str, int]:
        if not failed:
            failed.append("once")
            raise ZeroDivisionError("surprise")
        return {"events": 2}

    failed: list[str] = []
    with capture_logs() as lines, health_of(measured, board, figures=fail_once):
        sample = board.messages.get(timeout=5)[1]
    assert sample["pipeline"] == {"events": 2}
    assert [line["error"] for line in lines if line["event"] == "health.failed"] == ["surprise"]


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Ends what hangs, at the end of the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


def test_a_driver_and_a_disk_that_hang_are_null_and_samples_go_on(
    tmp_path: Path, released: threading.Event
) -> None:
    def hang() -> GpuMeter:
        released.wait(30)
        return no_gpus()

    def hang_too(folder: Path) -> tuple[int, int] | None:
        released.wait(30)
        return proc.disk_bytes(folder)

    board = Board()
    with (
        capture_logs() as lines,
        Machine(
            tmp_path, gpus=hang, disk_bytes=hang_too, root=machine(tmp_path), patience_s=0.02
        ) as hanging,
        health_of(hanging, board),
    ):
        samples = [board.messages.get(timeout=5)[1] for _ in range(2)]
        released.set()
        after = board.messages.get(timeout=5)[1]
    assert [(sample["gpu"], sample["disk"]) for sample in samples] == [(None, None)] * 2
    assert samples[1]["memory"] is not None
    assert after["disk"]["free_bytes"] > 0
    assert [
        (line["part"], line["error"]) for line in lines if line["event"] == "health.failed"
    ] == [(part, "hangs in the kernel or in its driver") for part in ("gpus", "disk")]


def test_a_library_that_surprises_ends_nothing(tmp_path: Path) -> None:
    def surprise() -> GpuMeter:
        raise AttributeError("undefined symbol")

    board = Board()
    with (
        capture_logs() as lines,
        Machine(tmp_path, gpus=surprise, root=machine(tmp_path)) as surprising,
        health_of(surprising, board),
    ):
        samples = [board.messages.get(timeout=5)[1] for _ in range(2)]
    assert [sample["gpu"] for sample in samples] == [None, None]
    assert [line["error"] for line in lines if line["event"] == "health.failed"] == [
        "AttributeError: undefined symbol"
    ]


def test_a_second_thread_waits_for_a_first_that_hangs(
    measured: Machine, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alprd.host.health._JOIN_S", 0.02)
    turn, inside = threading.Lock(), threading.Event()

    def hang() -> dict[str, int]:
        inside.set()
        released.wait(30)
        return {"of": 1}

    board = Board()
    with health_of(measured, board, figures=hang, turn=turn):
        assert inside.wait(5)
    with health_of(measured, board, figures=lambda: {"of": 2}, turn=turn):
        with pytest.raises(queue.Empty):
            board.messages.get(timeout=0.1)
        released.set()
        assert [board.messages.get(timeout=5)[1]["pipeline"]["of"] for _ in range(2)] == [1, 2]


def test_the_thread_reports_a_jetson_through_its_program(tmp_path: Path, measured: Machine) -> None:
    program = tmp_path / "tegrastats"
    program.write_text('#!/bin/sh\nwhile echo "CPU [7%@729] NEW 1"; do sleep 0.05; done\n')
    program.chmod(EXECUTABLE)
    board = Board()
    with health_of(measured, board, tegrastats=str(program)):
        for _ in range(5):
            sample = board.messages.get(timeout=5)[1]
            if sample["tegrastats"]["coverage"] is not None:
                break
    assert sample["cpu"]["load_pct"] == 7.0
    assert sample["tegrastats"]["unknown"] == ["NEW", "1"]
    assert sample["tegrastats"]["restarts"] == 0
    assert sample["sources"]["cpu"] == "tegrastats"


def test_a_line_of_a_program_that_has_fallen_silent_is_not_taken_for_current(
    tmp_path: Path, measured: Machine
) -> None:
    program = tmp_path / "tegrastats"
    program.write_text('#!/bin/sh\necho "CPU [7%@729] tj@99C"\nexec sleep 60\n')
    program.chmod(EXECUTABLE)
    now_s = [0.0]
    with TegrastatsReader(str(program), clock=lambda: now_s[0]) as reader:
        health = HealthThread(
            HealthSettings(interval_s=3600.0, tegrastats=""),
            Board(),
            device_id="edge-07",
            machine=measured,
            pipeline_figures=dict,
            judge=quiet,
            turn=threading.Lock(),
            tegrastats=reader,
        )
        pause = threading.Event()
        while reader.latest(3.0) is None:
            pause.wait(0.01)
        assert health.sample()["sources"]["cpu"] == "tegrastats"
        now_s[0] = 8.0
        sample = health.sample()
    assert sample["sources"]["cpu"] == "kernel"
    assert sample["tegrastats"]["last_error"].endswith("has been silent for 8 s")
