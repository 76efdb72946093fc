"""`alprd doctor`: a healthy device has no red line, and each fault exactly one, with its remedy."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alprd.config import load_settings
from alprd.doctor import cameras, storage
from alprd.doctor.credentials import NOTHING, Handed
from alprd.doctor.findings import Finding, worst
from alprd.doctor.gpu import Software, missing_modules
from alprd.doctor.person import Person
from alprd.doctor.visit import Surroundings, visit
from alprd.host.nvml import GpuMeter
from alprd.host.sample import HostMeter
from support.blind_pictures import Damage, Picture, capped, covered, defocused, rendered_streets
from support.broker import Broker, password_line
from support.clips import run_ffmpeg
from support.daemon import Daemon, alprd
from support.rtsp import RtspServer, require_rtsp_server
from support.tiny_models import box_quad, draw_plate

MakeConfig = Callable[..., str]
MakeDaemon = Callable[..., Daemon]
NOBODY = Person(name="alprd", uid=64_321, gids=frozenset({64_321}))
ROOT = Person(name="root", uid=0, gids=frozenset({0}))
PLATE = (200, 150, 428, 228)  # in a picture of 640 x 360
pytestmark = pytest.mark.once


def write_video(path: Path, damage: Damage | None = None, *, plate: bool = True) -> Path:
    """Two seconds of a street with a plate that the tiny models read, as a camera shows it."""
    random = np.random.default_rng(3)

    def picture(street: Picture) -> Picture:
        shown = street.copy()
        if plate:
            draw_plate(shown, "AB12CDE", box_quad(*PLATE))
        return shown if damage is None else damage(shown, random)

    raw = b"".join(picture(street).tobytes() for street in rendered_streets(10))
    layout = "-f rawvideo -pix_fmt bgr24 -s 640x360 -r 5 -i -"
    codec = "-c:v libx264 -preset ultrafast -crf 10 -pix_fmt yuv420p"
    run_ffmpeg([*layout.split(), *codec.split(), str(path)], data=raw)
    return path


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("doctor") / "street.mp4")


def no_driver() -> GpuMeter:
    def load() -> Any:
        raise ImportError("no library")

    return GpuMeter(load)


class Patient:
    """A healthy device of the test's own; a test plants one fault and looks for its line."""

    def __init__(self, tmp_path: Path, config: Callable[..., str], video: Path) -> None:
        self.folder = tmp_path
        self.root = tmp_path / "root"
        self.root.mkdir()
        self.config = config
        self.camera: dict[str, object] = {"id": "gate", "source": str(video)}
        self.who = ROOT
        self.synchronised = True
        self.extra = ""
        self.url: str | None = None
        self.change = lambda text: text
        self.handed = NOTHING
        self.gpus: Callable[[], GpuMeter] = no_driver
        self.software = Software(
            cuda=lambda: 12_040, missing=missing_modules, tensorrt=lambda: "10.3.0"
        )
        self.patience_s = 15.0

    def findings(self) -> list[Finding]:
        path = self.folder / "alprd.toml"
        text = self.config(self.camera, url=self.url, extra=self.extra)
        path.write_text(self.change(text))
        around = Surroundings(
            who=self.who,
            root=self.root,
            clock_state=lambda: {"synchronised": self.synchronised, "max_error_s": 0.01},
            gpus=self.gpus,
            software=self.software,
            environ={},
            handed=self.handed,
            patience_s=self.patience_s,
        )
        return list(visit(load_settings(path), around, open_cameras=False))

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def patient(tmp_path: Path, make_config: MakeConfig, video: Path) -> Patient:
    return Patient(tmp_path, make_config, video)


def assert_only(findings: list[Finding], check: str, level: str, *words: str) -> None:
    """This line and no other is red (or yellow)."""
    bad = [finding for finding in findings if finding.level != "ok"]
    assert [(f.check, f.level) for f in bad] == [(check, level)], [f.line() for f in bad]
    for word in words:
        assert word in bad[0].text, bad[0].text


def test_a_healthy_device_has_only_good_lines(patient: Patient) -> None:
    found = patient.findings()
    assert worst(found) == "ok", [f.line() for f in found if f.level != "ok"]
    lines = {finding.check: finding.text for finding in found}
    assert {
        *("configuration", "secrets", "daemon", "models", "gpu", "tensorrt", "temperature"),
        *("throttling", "memory", "disk", "clock", "outbox", "broker", "camera gate"),
    } <= lines.keys()
    assert "640 x 360, 5.0 frames per second" in lines["camera gate"]
    assert "plates are 2" in lines["camera gate"]
    assert "subscribed to commands; not tried" in lines["broker"]


# -- the camera ----------------------------------------------------------------------------------


def test_a_camera_that_is_not_there(patient: Patient) -> None:
    patient.camera["source"] = str(patient.folder / "none.mp4")
    assert_only(patient.findings(), "camera gate", "problem", "no such file", "check the path")


def test_a_camera_where_nobody_listens(patient: Patient) -> None:
    patient.camera["source"] = "rtsp://admin:hush-url@127.0.0.1:1/main"
    found = patient.findings()
    assert_only(found, "camera gate", "problem")
    assert "hush-url" not in "".join(finding.line() for finding in found)


def test_a_camera_that_refuses_the_password(patient: Patient, video: Path) -> None:
    require_rtsp_server()
    with RtspServer(video, user="viewer", password="right") as server:  # noqa: S106 -- a test's
        patient.camera |= {"source": server.url, "username": "viewer", "password": "hush-wrong"}
        found = patient.findings()
    assert_only(found, "camera gate", "problem", "password")
    assert "hush-wrong" not in "".join(finding.line() for finding in found)


@pytest.mark.parametrize(
    ("damage", "words"),
    [(capped, "a cap on the lens"), (covered, "clean the lens"), (defocused, "focus the camera")],
)
def test_a_camera_that_sees_nothing(
    patient: Patient, tmp_path: Path, damage: Damage, words: str
) -> None:
    patient.camera["source"] = str(write_video(tmp_path / "damaged.mp4", damage))
    assert_only(patient.findings(), "camera gate", "problem", words)


def test_a_camera_whose_plates_are_too_small(patient: Patient) -> None:
    patient.extra = "[tracking]\nmin_plate_width_px = 500"
    assert_only(patient.findings(), "camera gate", "problem", "less than the 500", "zoom in")


def test_a_calibrated_camera_without_a_plate_in_sight_is_judged_by_its_calibration(
    patient: Patient, tmp_path: Path
) -> None:
    patient.camera["source"] = str(write_video(tmp_path / "road.mp4", plate=False))
    patient.change = lambda text: (
        text + "[cameras.speed]\nframe_size = [640, 360]\nplate_height_m = 0\n"
        "points = [[300, 350], [340, 350], [330, 150], [310, 150]]\n"
        "metres = [[0, 0], [4, 0], [4, 20], [0, 20]]\n"
    )
    assert_only(patient.findings(), "camera gate", "problem", "by the calibration", "zoom in")


def test_a_camera_that_is_too_slow(patient: Patient) -> None:
    patient.camera["min_fps"] = 20.0
    assert_only(patient.findings(), "camera gate", "warning", "5.0 frames", "min_fps wants 20")


# -- the broker ----------------------------------------------------------------------------------


def test_a_broker_that_does_not_run(patient: Patient) -> None:
    patient.url = "mqtt://127.0.0.1:1"
    assert_only(patient.findings(), "broker", "problem", "nobody listens there")


def test_one_of_several_brokers_that_does_not_run(patient: Patient, broker: Broker) -> None:
    patient.change = lambda text: text.replace(
        f'url = "{broker.url}"', f'url = ["mqtt://127.0.0.1:1", "{broker.url}"]'
    )
    assert_only(patient.findings(), "broker 1", "warning", "nobody listens there")


def started(broker: Broker, lines: str, **files: str) -> Broker:
    """With files that its configuration names as {name}; it sees no other folder than its own."""
    paths = {name: broker.folder / name for name in files}
    for name, path in paths.items():
        path.write_text(files[name])
        path.chmod(0o600)
    broker.configure(lines.format(**paths))
    broker.start()
    return broker


@pytest.fixture
def strict_broker(make_broker: Callable[..., Broker]) -> Broker:
    """One that knows one user, who may nearly nothing."""
    return started(
        make_broker(),
        "password_file {passwords}\nacl_file {access}\n",
        passwords=password_line("edge", "right"),
        access="user edge\ntopic read elsewhere\n",
    )


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("wrong", "check mqtt.username and mqtt.password_file"),
        ("right", "mend the broker's access"),
    ],
)
def test_a_broker_that_does_not_let_us(
    patient: Patient, strict_broker: Broker, password: str, words: str
) -> None:
    patient.url = strict_broker.url
    patient.change = lambda text: text.replace(
        "[outbox]", f'username = "edge"\npassword = "{password}"\n[outbox]', 1
    )
    assert_only(patient.findings(), "broker", "problem", words)


def test_a_broker_that_lets_us_answer_but_not_alert(
    patient: Patient, make_broker: Callable[..., Broker]
) -> None:
    broker = started(
        make_broker(),
        "allow_anonymous true\nacl_file {access}\n",
        access="topic write +/devices/+/res/+\ntopic write +/+/res/+\n",
    )
    patient.url = broker.url
    assert_only(patient.findings(), "broker", "problem", "/alerts/doctor", "access list")


def test_a_broker_whose_password_only_systemd_hands_over(patient: Patient) -> None:
    patient.handed = Handed(sources={}, unreadable=frozenset({"mqtt.password"}))
    assert_only(patient.findings(), "broker", "warning", "not tried", "run the doctor as root")


def test_a_broker_whose_certificate_cannot_be_checked(patient: Patient, broker: Broker) -> None:
    authority = patient.folder / "ca.pem"
    authority.write_text("no certificate")
    patient.url = f"mqtts://{broker.host}:{broker.port}"
    patient.change = lambda text: text.replace("[outbox]", f'ca_file = "{authority}"\n[outbox]', 1)
    assert_only(patient.findings(), "broker", "problem", "mqtt.ca_file", "PEM")


# -- the outbox ----------------------------------------------------------------------------------


def test_an_outbox_without_its_folder(patient: Patient) -> None:
    patient.change = lambda text: text.replace("outbox.sqlite", "missing/outbox.sqlite")
    assert_only(patient.findings(), "outbox", "problem", "does not exist; create it")


def test_an_outbox_that_the_daemon_may_not_write(patient: Patient) -> None:
    patient.who = NOBODY
    patient.folder.chmod(0o755)
    assert_only(patient.findings(), "outbox", "problem", "alprd may not write", "chown alprd")


def test_an_outbox_that_this_user_may_not_look_at_leaves_the_cameras_alone(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "daemon_runs", lambda _: None)
    monkeypatch.setattr(cameras, "probe", lambda _: pytest.fail("a camera was opened"))
    bad = {f.check: f for f in patient.findings() if f.level != "ok"}
    assert set(bad) == {"daemon", "outbox", "camera gate"}
    assert {f.level for f in bad.values()} == {"warning"}
    assert "--open-cameras" in bad["camera gate"].text


def test_an_outbox_that_is_looked_at_stays_as_it_was(patient: Patient) -> None:
    path = patient.folder / "outbox.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE event (seq INTEGER)")
        db.execute("INSERT INTO event VALUES (1)")
        db.commit()
    before = {entry.name for entry in patient.folder.glob("outbox.sqlite*")}
    lines = {finding.check: finding.text for finding in patient.findings()}
    assert "1 events wait" in lines["outbox"]
    assert {entry.name for entry in patient.folder.glob("outbox.sqlite*")} == before


def test_an_outbox_that_is_something_else(patient: Patient) -> None:
    (patient.folder / "outbox.sqlite").write_text("a letter to a friend")
    assert_only(patient.findings(), "outbox", "problem", "is no outbox", "set outbox.path")


def test_an_outbox_that_is_damaged(patient: Patient) -> None:
    (patient.folder / "outbox.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 8000)
    assert_only(patient.findings(), "outbox", "problem", "check the disk")


def test_an_outbox_that_was_set_aside(patient: Patient) -> None:
    (patient.folder / "outbox.sqlite.corrupt-20261121").write_bytes(b"?")
    assert_only(patient.findings(), "outbox", "warning", "set aside", "look at the disk")


# -- the models ----------------------------------------------------------------------------------


def test_a_model_that_is_damaged(patient: Patient, models_dir: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(models_dir, models)
    onnx = next((models / "plate-reader").glob("*.onnx"))
    onnx.write_bytes(onnx.read_bytes()[:-9])
    patient.change = lambda text: text.replace(str(models_dir), str(models))
    assert_only(patient.findings(), "models", "problem", "sha256")


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_a_backend_that_this_machine_has_not(patient: Patient) -> None:
    patient.change = lambda text: text.replace("threads = 1", 'threads = 1\nbackend = "tensorrt"')
    told = "the Python module tensorrt is not installed; install it"
    remedy = 'or set inference.backend = "onnxruntime"'
    assert_only(patient.findings(), "models", "problem", told, remedy)


# -- the machine ---------------------------------------------------------------------------------


def test_a_clock_that_nobody_keeps_right(patient: Patient) -> None:
    patient.synchronised = False
    assert_only(patient.findings(), "clock", "warning", "timedatectl set-ntp true")


def test_a_disk_that_is_nearly_full(patient: Patient) -> None:
    status = shutil.disk_usage(patient.folder)
    patient.extra = f"[alerts]\ndisk_free_share = {min(status.free / status.total + 0.05, 0.9)}"
    assert_only(patient.findings(), "disk", "warning", "set outbox.path to another disk")


def test_a_memory_that_is_nearly_full(patient: Patient) -> None:
    patient.write("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 20 kB\n")
    assert_only(patient.findings(), "memory", "warning", "2.0 %", "fewer cameras")


def test_a_machine_that_is_too_hot(patient: Patient) -> None:
    patient.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    patient.write("sys/class/thermal/thermal_zone0/temp", "95000\n")
    assert_only(patient.findings(), "temperature", "warning", "95.0 C", "clean the fan")


def test_a_machine_that_slows_itself_down(patient: Patient) -> None:
    patient.write("sys/class/thermal/cooling_device1/type", "cpu-throttle-alert\n")
    patient.write("sys/class/thermal/cooling_device1/cur_state", "1\n")
    assert_only(patient.findings(), "throttling", "warning", "cpu-throttle-alert", "power supply")


def test_a_jetson_in_a_low_power_mode(patient: Patient) -> None:
    patient.write("var/lib/nvpmodel/status", "pmode:0001\n")
    patient.write("etc/nvpmodel.conf", "< POWER_MODEL ID=1 NAME=7W >\n")
    assert_only(patient.findings(), "power mode", "warning", "7W", "nvpmodel -m")


def test_a_gpu_that_the_daemon_may_not_use(patient: Patient) -> None:
    patient.write("dev/nvhost-gpu", "").chmod(0o660)
    patient.write("etc/nv_tegra_release", "# R36\n")
    patient.who = NOBODY
    found = [f for f in patient.findings() if f.check == "gpu"]
    assert [f.level for f in found] == ["problem"]
    assert "alprd may not use" in found[0].text


def test_a_gpu_whose_driver_does_not_answer(patient: Patient) -> None:
    pytest.importorskip("pynvml")
    for node in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        patient.write(f"dev/{node}", "")
    found = [f for f in patient.findings() if f.check == "gpu"]
    assert [f.level for f in found] == ["problem"]
    assert "nvidia-smi" in found[0].text


def test_a_driver_that_hangs(patient: Patient) -> None:
    hung = threading.Event()

    def hang() -> GpuMeter:
        hung.wait(60.0)
        return no_driver()

    patient.gpus, patient.patience_s = hang, 1.0
    try:
        assert_only(patient.findings(), "gpu", "problem", "does not answer at all", "dmesg")
    finally:
        hung.set()


def test_a_driver_whose_library_is_strange_is_none(patient: Patient) -> None:
    def strange() -> GpuMeter:
        raise AttributeError("nvmlInit")

    patient.gpus = strange
    assert worst(patient.findings()) == "ok"


def test_a_password_that_systemd_hands_over_may_be_roots_alone(patient: Patient) -> None:
    secret = patient.folder / "mqtt.password"
    secret.write_text("hush-file\n")
    secret.chmod(0o600)
    patient.change = lambda text: text.replace(
        "[outbox]", f'username = "edge"\npassword_file = "{secret}"\n[outbox]', 1
    )
    patient.who = NOBODY

    def said() -> list[str]:
        return [f.line() for f in patient.findings() if f.check == "secrets"]

    assert said() == [f"problem  secrets: alprd may not read {secret}; chown alprd {secret}"]
    patient.handed = Handed(sources={"mqtt.password": secret})
    assert said() == ["ok       secrets: 1 files, for the daemon alone"]
    secret.chmod(0o644)
    assert said() == [f"warning  secrets: everybody can read {secret}; chmod 600 {secret}"]


def test_a_password_that_everybody_can_read(patient: Patient) -> None:
    secret = patient.folder / "gate.password"
    secret.write_text("hush-file\n")
    secret.chmod(0o644)
    patient.camera |= {"username": "viewer", "password_file": str(secret)}
    found = patient.findings()
    assert_only(found, "secrets", "warning", "chmod 600")
    secret.chmod(0o600)
    assert {f.check: f.text for f in patient.findings()}["secrets"] == (
        "1 files, for the daemon alone"
    )
    assert "hush-file" not in "".join(finding.line() for finding in found)


# -- the command ---------------------------------------------------------------------------------


def test_the_command_prints_lines_or_one_json_object_and_says_with_its_exit_code(
    patient: Patient, tmp_path: Path
) -> None:
    patient.findings()  # writes the configuration
    config = ("--config", str(tmp_path / "alprd.toml"))
    done = alprd("doctor", *config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok       camera gate: 640 x 360" in done.stdout
    patient.camera["source"] = str(tmp_path / "none.mp4")
    patient.findings()
    done = alprd("doctor", *config, "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["schema"], told["worst"]) == ("alprd.doctor/1", "problem")
    assert [c["check"] for c in told["checks"] if c["level"] == "problem"] == ["camera gate"]
    (tmp_path / "alprd.toml").write_text("colour = 1\n")
    done = alprd("doctor", *config)
    assert done.returncode == 78
    assert "problem  configuration: " in done.stdout
    assert alprd("doctor", *config, "--user", "nobody-of-this-name").returncode == 78


def test_beside_a_running_daemon_its_cameras_are_left_to_it(
    make_config: MakeConfig, make_daemon: MakeDaemon, video: Path, tmp_path: Path
) -> None:
    cameras: list[dict[str, object]] = [
        {"id": "gate", "source": str(video), "realtime": True, "loop": True},
        {"id": "gone", "source": str(tmp_path / "none.mp4")},
    ]
    more = "[health]\ninterval_s = 1.0\ntegrastats = ''"
    daemon = make_daemon(
        make_config(*cameras, extra=more), environ={"RUNTIME_DIRECTORY": str(tmp_path)}
    )
    daemon.start()
    daemon.wait_for_log("camera.online")
    path = tmp_path / "health.json"

    def known() -> bool:
        if not path.exists():
            return False
        listed = json.loads(path.read_text())["pipeline"]["cameras"]
        return [c["state"] for c in listed] == ["online", "offline"] and bool(listed[0]["picture"])

    daemon.wait_until(known)
    settings = load_settings(daemon.config_path)
    before = len([e for e in daemon.log_events if e["event"].startswith("camera.")])

    def lines(environ: dict[str, str]) -> dict[str, Finding]:
        around = Surroundings(who=ROOT, root=tmp_path / "nothing", gpus=no_driver, environ=environ)
        return {f.check: f for f in visit(settings, around, open_cameras=False)}

    found = lines({"RUNTIME_DIRECTORY": str(tmp_path)})
    assert found["daemon"].text.startswith("runs")
    assert "used by the running daemon" in found["outbox"].text
    assert found["camera gate"].level == "ok"
    assert "online in the running daemon" in found["camera gate"].text
    assert (found["camera gone"].level, "no such file" in found["camera gone"].text) == (
        "problem",
        True,
    )
    assert "not opened here" in lines({})["camera gate"].text
    assert len([e for e in daemon.log_events if e["event"].startswith("camera.")]) == before
    assert daemon.running
    assert daemon.stop()[0] == 0


def test_the_meter_of_an_empty_machine_tells_nothing(tmp_path: Path) -> None:
    meter = HostMeter(tmp_path)
    assert (meter.throttling(), meter.power_mode(), meter.temperatures()) == (None, None, None)
