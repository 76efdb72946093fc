"""`alprd engines` with real models, files and processes; TensorRT and the GPU are stood in for."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from alprd.cli import main
from alprd.commands import engines_build
from alprd.config import InferenceSettings
from alprd.inference import backend, building
from alprd.inference import engines as inference_engines
from alprd.inference.backend import choose_backend
from alprd.inference.engine_check import Check, check_engine, fp32_network
from alprd.inference.engines import READER_BATCH, Device, Engine, engine
from alprd.inference.gpu import Gpu
from alprd.inference.manifest import load_detector_manifest
from alprd.inference.plans import PlanStore
from alprd.inference.timing_cache import load_timing_cache, save_timing_cache
from alprd.inference.trt_api import TensorRT
from alprd.inference.trt_build import BuildProgress
from alprd.ports import EngineError, EngineUnavailable
from support import foreign_models, tiny_models
from support.shape_classifier import write_shape_classifier
from support.tensorrt_releases import release

GOOD = Check(figures={"plates": {"of": 8, "same": 8}, "ms": {"1": 0.5, "8": 2.0}}, problem=None)
ORIN = Gpu(name="Orin", compute_capability="8.7", multiprocessors=8, memory_mib=8192, driver="12.2")


class Workshop:
    """What builds here, in place of TensorRT; notes what it was asked for."""

    def __init__(self) -> None:
        self.built: list[str] = []
        self.checks: dict[str, Check] = {}
        self.during: Callable[[str], None] = lambda _name: None
        self.version = "8.5.2.2"
        self.gpu = ORIN

    def device(self) -> Device:
        return Device(tensorrt=TensorRT(release(self.version)), gpu=self.gpu)

    def build(self, _onnx: bytes, *_: object, path: Path, **__: object) -> tuple[bytes, bytes]:
        self.built.append(path.parent.name)
        self.during(path.parent.name)
        return f"plan {len(self.built)} of {path.parent.name}".encode(), b"timings"

    def check(self, wanted: Engine, _plan: bytes, _path: Path, **_: object) -> Check:
        return self.checks.get(wanted.name, GOOD)


@pytest.fixture
def workshop(monkeypatch: pytest.MonkeyPatch) -> Workshop:
    shop = Workshop()
    monkeypatch.setattr(inference_engines, "find_device", shop.device)
    monkeypatch.setattr(backend, "find_device", shop.device)
    monkeypatch.setattr(backend, "find_spec", lambda _name: object())
    monkeypatch.setattr(building, "build_plan", shop.build)
    monkeypatch.setattr(building, "check_plan", shop.check)
    return shop


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    tiny_models.write_detector(folder / "plate-detector")
    tiny_models.write_reader(folder / "plate-reader")
    monkeypatch.setenv("ALPRD_CONFIG_FILE", str(tmp_path / "alprd.toml"))
    (tmp_path / "alprd.toml").write_text(
        f'[inference]\nmodels_dir = "{folder}"\nengines_dir = "{tmp_path / "engines"}"\n'
    )
    return folder


def settings(tmp_path: Path, **changes: Any) -> InferenceSettings:
    folders = {"models_dir": tmp_path / "models", "engines_dir": tmp_path / "engines"}
    return InferenceSettings(**(folders | changes))


def plan_of(tmp_path: Path, name: str, shop: Workshop) -> bytes:
    wanted = engine(name, settings(tmp_path))
    return PlanStore(tmp_path / "engines").load(name, wanted.identity(shop.device()))


@pytest.mark.usefixtures("models")
def test_both_engines_are_built_and_a_second_run_has_nothing_to_do(
    tmp_path: Path, workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["engines", "build"]) == 0
    assert workshop.built == ["plate-detector", "plate-reader"]
    assert plan_of(tmp_path, "plate-reader", workshop) == b"plan 2 of plate-reader"
    assert "plate-detector: built in" in capsys.readouterr().out

    assert main(["engines", "build"]) == 0
    assert workshop.built == ["plate-detector", "plate-reader"]
    assert "plate-detector: fits already (fp16)" in capsys.readouterr().out

    assert main(["engines", "build", "--force", "plate-reader"]) == 0
    assert plan_of(tmp_path, "plate-reader", workshop) == b"plan 3 of plate-reader"


@pytest.mark.usefixtures("models")
def test_what_does_not_fit_any_more_is_built_again_and_nothing_else(
    tmp_path: Path, workshop: Workshop
) -> None:
    main(["engines", "build"])
    assert main(["engines", "build", "--max-batch", "4"]) == 0
    assert workshop.built[2:] == ["plate-detector"]  # the reader's batch is its own
    workshop.version = "10.3.0"
    assert main(["engines", "build", "--max-batch", "4"]) == 0
    assert workshop.built[3:] == ["plate-detector", "plate-reader"]
    # An AGX Orin's card in an Orin Nano: the same name, the same compute capability.
    workshop.gpu = replace(ORIN, multiprocessors=16)
    assert main(["engines", "build", "--max-batch", "4"]) == 0
    assert workshop.built[5:] == ["plate-detector", "plate-reader"]


def test_another_size_in_the_manifest_of_a_file_that_leaves_it_open_is_another_engine(
    models: Path, tmp_path: Path, workshop: Workshop
) -> None:
    main(["engines", "build"])
    manifest = models / "plate-detector" / "manifest.toml"
    text = manifest.read_text()
    width = load_detector_manifest("plate-detector", models)[0].input.width
    manifest.write_text(text.replace(f"width = {width}", f"width = {width // 2}", 1))
    with pytest.raises(EngineUnavailable, match=r"built for input .*, here .*alprd engines build"):
        plan_of(tmp_path, "plate-detector", workshop)
    main(["engines", "build"])
    assert workshop.built[2:] == ["plate-detector"]


def test_the_detectors_batch_is_configured_and_the_readers_is_its_own(
    models: Path, tmp_path: Path
) -> None:
    found = [
        engine(name, settings(tmp_path, max_batch=5)) for name in ("plate-detector", "plate-reader")
    ]
    assert [each.settings.max_batch for each in found] == [5, READER_BATCH]


@pytest.mark.usefixtures("models")
def test_an_engine_that_fails_its_check_never_replaces_the_old_one_and_the_others_go_on(
    tmp_path: Path, workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["engines", "build"])
    capsys.readouterr()
    workshop.checks["plate-detector"] = Check(figures={}, problem="it finds 3 of 8 plates")
    assert main(["engines", "build", "--force"]) == 1
    assert plan_of(tmp_path, "plate-detector", workshop) == b"plan 1 of plate-detector"
    assert plan_of(tmp_path, "plate-reader", workshop) == b"plan 4 of plate-reader"
    said = capsys.readouterr().err
    assert "not kept, because it finds 3 of 8 plates" in said
    assert "what was there is untouched" in said


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    "error",
    [EngineUnavailable("out of memory on the GPU; stop what else runs"), EngineError("no kernel")],
)
def test_a_failed_build_is_one_line_and_exit_code_1_and_harms_nothing(
    tmp_path: Path, workshop: Workshop, capsys: pytest.CaptureFixture[str], error: EngineError
) -> None:
    main(["engines", "build"])
    capsys.readouterr()

    def fail(name: str) -> None:
        if name == "plate-detector":
            raise error

    workshop.during = fail
    assert main(["engines", "build", "--force"]) == 1
    assert capsys.readouterr().err == f"alprd: plate-detector: {error}\n"
    assert plan_of(tmp_path, "plate-detector", workshop) == b"plan 1 of plate-detector"
    assert plan_of(tmp_path, "plate-reader", workshop) == b"plan 4 of plate-reader"


@pytest.mark.usefixtures("models")
def test_list_says_what_fits_what_does_not_and_why(
    tmp_path: Path, workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["engines", "build"])
    main(["engines", "build", "--precision", "fp32", "plate-reader"])
    (tmp_path / "engines" / "plate-detector.fp16.plan").write_bytes(b"ptrt")
    workshop.version = "8.6.1"
    main(["engines", "build", "plate-reader"])
    capsys.readouterr()

    assert main(["engines", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["device"]["gpu"], found["device"]["multiprocessors"]) == ("Orin", 8)
    rows = {(each["model"], each["precision"]): each for each in found["engines"]}
    detector = rows["plate-detector", "fp16"]
    assert (detector["fits"], detector["reasons"]) == (False, ["is no engine plan of alprd's"])
    reader = rows["plate-reader", "fp16"]
    assert (reader["fits"], reader["used"], reader["reasons"]) == (True, True, [])
    assert reader["figures"]["plates"]["same"] == 8
    full = rows["plate-reader", "fp32"]
    assert (full["fits"], full["used"]) == (False, False)
    assert full["reasons"] == ["TensorRT 8.5.2.2, here 8.6.1"]

    assert main(["engines", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "TensorRT 8.6.1, Orin, compute capability 8.7, 8 multiprocessors" in lines[0]
    assert "does not fit: is no engine plan" in lines[1]
    assert lines[1].endswith("alprd engines build plate-detector")
    assert "fits" in lines[2]


@pytest.mark.usefixtures("models")
def test_without_a_gpu_list_still_shows_what_is_there_and_build_says_what_is_missing(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["engines", "build"])
    capsys.readouterr()

    def none() -> Device:
        raise EngineUnavailable("the NVIDIA driver shows no GPU; look at: nvidia-smi")

    monkeypatch.setattr(inference_engines, "find_device", none)
    assert main(["engines", "list"]) == 0
    shown = capsys.readouterr().out
    assert "shows no GPU" in shown
    assert shown.count("cannot be judged here") == 2
    for command in ("build", "verify"):
        assert main(["engines", command]) == 1
        assert "shows no GPU" in capsys.readouterr().err


@pytest.mark.usefixtures("models", "workshop")
def test_names_and_configurations_that_are_wrong_have_their_exit_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["engines", "build", "nope"]) == 2
    assert "models there: plate-detector, plate-reader" in capsys.readouterr().err
    assert main(["engines", "build", "--max-batch", "0"]) == 2
    (tmp_path / "alprd.toml").write_text("[inference]\nmax_batch = 0\n")
    assert main(["engines", "build"]) == 78
    assert "inference.max_batch" in capsys.readouterr().err
    (tmp_path / "alprd.toml").write_text('[inference]\ndetector = "gone"\n')
    assert main(["engines", "build"]) == 78


@pytest.mark.usefixtures("models", "workshop")
def test_engines_can_be_built_before_there_are_cameras(tmp_path: Path) -> None:
    """And whatever else is wrong in the configuration: a service builds them at the first start."""
    with (tmp_path / "alprd.toml").open("a") as file:
        file.write('[mqtt]\nurl = "nonsense"\n')
    assert main(["engines", "build"]) == 0


@pytest.mark.usefixtures("models")
def test_verify_checks_what_is_there_and_fails_on_what_does_not_fit(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["engines", "verify"]) == 1
    assert "does not exist; build it on this device" in capsys.readouterr().err
    main(["engines", "build"])
    capsys.readouterr()
    assert main(["engines", "verify"]) == 0
    assert "2.00 ms for a batch of 8" in capsys.readouterr().out
    workshop.checks["plate-reader"] = Check(figures={}, problem="it reads 'X'")
    assert main(["engines", "verify", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["plate-detector"]["problem"] is None
    assert found["plate-reader"]["problem"] == "it reads 'X'"


@pytest.mark.usefixtures("models", "workshop")
def test_a_full_disk_is_said_before_minutes_are_spent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(building.shutil, "disk_usage", lambda _folder: Usage)
    assert main(["engines", "build", "plate-reader"]) == 1
    assert "free some space" in capsys.readouterr().err


@pytest.mark.usefixtures("models")
def test_a_disk_that_fills_up_during_the_build_leaves_the_old_engine(
    tmp_path: Path, workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["engines", "build"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        assert main(["engines", "build", "--force", "plate-reader"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "has no room for the engine plan" in capsys.readouterr().err
    assert plan_of(tmp_path, "plate-reader", workshop) == b"plan 2 of plate-reader"
    assert not list((tmp_path / "engines").glob("*.unfinished"))


@pytest.mark.usefixtures("models", "workshop")
def test_a_second_build_at_the_same_time_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with PlanStore(tmp_path / "engines").building():
        assert main(["engines", "build"]) == 1
    assert "another alprd builds engines" in capsys.readouterr().err


KILLED = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from alprd.inference.identity import BuildSettings, EngineIdentity
from alprd.inference.plans import PlanStore

settings = BuildSettings(precision="fp16", max_batch=8, workspace_mib=256)
here = EngineIdentity(
    onnx_sha256="a" * 64, tensorrt="8", gpu="g", compute_capability="8.7", multiprocessors=8,
    input="i", recipe=1, settings=settings
)
store = PlanStore(Path(sys.argv[1]))
if sys.argv[2] == "kill":
    real = Path.replace
    def die(self, target):
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    Path.replace = die
with store.building():
    store.save("eye", here, sys.argv[3].encode(), figures={}, built_at=datetime.now(timezone.utc))
print(store.load("eye", here).decode())
"""


def test_a_build_that_is_killed_before_the_rename_leaves_the_old_plan_and_the_next_one_clears_up(
    tmp_path: Path,
) -> None:
    def run(how: str, plan: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLED, str(tmp_path), how, plan]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert run("live", "old").stdout == "old\n"
    assert run("kill", "new").returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("*.unfinished"))) == 1
    [entry] = PlanStore(tmp_path).entries()
    assert entry.problem is None
    assert b"old" in entry.path.read_bytes()
    assert run("live", "newest").stdout == "newest\n"
    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.usefixtures("models")
def test_auto_takes_tensorrt_when_both_plans_fit_and_says_why_not_otherwise(
    tmp_path: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, reason = choose_backend(settings(tmp_path))
    assert name == "onnxruntime"
    assert "plate-detector.fp16.plan does not exist" in reason
    assert "alprd engines build plate-detector" in reason

    main(["engines", "build"])
    name, reason = choose_backend(settings(tmp_path))
    assert name == "tensorrt"
    assert "TensorRT 8.5.2.2 on Orin" in reason
    assert choose_backend(settings(tmp_path, backend="onnxruntime"))[0] == "onnxruntime"

    (tmp_path / "engines" / "plate-reader.fp16.plan").write_bytes(b"")
    assert "plate-reader.fp16.plan is no engine plan" in choose_backend(settings(tmp_path))[1]
    with pytest.raises(EngineUnavailable, match=r"plate-reader\.fp16\.plan is no engine plan"):
        choose_backend(settings(tmp_path, backend="tensorrt"))

    monkeypatch.setattr(backend, "find_spec", lambda _name: None)
    assert choose_backend(settings(tmp_path)) == (
        "onnxruntime",
        "it runs on every machine, and TensorRT is not installed",
    )


@pytest.mark.usefixtures("models")
def test_auto_looks_for_no_gpu_before_there_are_plans(
    tmp_path: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA, once loaded, would stay in the memory of a daemon that makes no use of it."""

    def find_device() -> Device:
        raise EngineUnavailable("CUDA is loaded")

    main(["engines", "build", "plate-detector"])
    monkeypatch.setattr(backend, "find_device", find_device)
    assert "plate-reader.fp16.plan does not exist" in choose_backend(settings(tmp_path))[1]
    main(["engines", "build", "plate-reader"])
    assert "CUDA is loaded" in choose_backend(settings(tmp_path))[1]


def test_an_engine_is_measured_by_its_model_and_one_that_sees_something_else_is_refused(
    models: Path, tmp_path: Path
) -> None:
    """ONNX Runtime stands in for the engine: the same model, and one that is wrong."""
    ticks: Iterator[float] = iter(range(10_000))
    for name, figure in (("plate-detector", "plates"), ("plate-reader", "texts")):
        wanted = engine(name, settings(tmp_path))
        same = check_engine(
            wanted, fp32_network(wanted), fp32_network(wanted), lambda: float(next(ticks))
        )
        assert same.problem is None
        assert same.figures[figure]["of"] == same.figures[figure]["same"] > 0
        assert all(error["max"] == 0.0 for error in same.figures["outputs"].values())
        assert same.figures["ms"]["1"] == 1000.0

    wanted = engine("plate-detector", settings(tmp_path))
    found = check_engine(wanted, Blind(wanted), fp32_network(wanted), lambda: float(next(ticks)))
    assert found.problem is not None
    assert "plates that the model finds" in found.problem
    assert found.figures["plates"]["same"] == 0
    wanted = engine("plate-reader", settings(tmp_path))
    found = check_engine(wanted, Blind(wanted), fp32_network(wanted), lambda: float(next(ticks)))
    assert found.problem is not None
    assert "texts are the same" in found.problem


@pytest.mark.parametrize("name", [*foreign_models.YELLOW_FORMS, "lprnet"])
def test_engines_of_foreign_models_are_checked_alike(tmp_path: Path, name: str) -> None:
    """Rows that vary in number, other labels, 8-bit inputs: an engine always takes float32."""
    foreign_models.write_yellow_models(tmp_path / "models")
    wanted = engine(name, settings(tmp_path, max_batch=3))
    ticks: Iterator[float] = iter(range(10_000))
    found = check_engine(
        wanted, TakesFloats(wanted), fp32_network(wanted), lambda: float(next(ticks))
    )
    assert found.problem is None
    counted = found.figures["texts" if name == "lprnet" else "plates"]
    assert counted["same"] == counted["of"] > 0


class TakesFloats:
    """The model behind an input of float32, as every engine has it."""

    def __init__(self, wanted: Engine) -> None:
        self._real = fp32_network(wanted)
        self._type = wanted.manifest.input.type
        self.max_batch = self._real.max_batch

    def run(self, rows: Any, count: int) -> Any:
        assert rows.dtype == np.float32
        return self._real.run(rows.astype(self._type), count)


class Blind:
    """A network whose outputs are all zero."""

    def __init__(self, wanted: Engine) -> None:
        self._real = fp32_network(wanted)
        self.max_batch = self._real.max_batch

    def run(self, rows: Any, count: int) -> dict[str, Any]:
        return {name: value * 0 for name, value in self._real.run(rows, count).items()}


def test_a_variant_of_another_model_is_refused_with_the_way_to_make_it_again(
    models: Path,
) -> None:
    stale = {"file": "model.fp16.onnx", "sha256": "0" * 64, "model_sha256": "1" * 64}
    tiny_models.write_detector(models / "mine", manifest={"variants": {"fp16": stale}})
    with pytest.raises(EngineError, match=r"variants\.fp16 was made from another model.*halve"):
        load_detector_manifest("mine", models)


def test_infinity_of_the_models_own_spoils_no_engine_and_an_engines_does(
    tmp_path: Path,
) -> None:
    foreign_models.write_yellow_models(tmp_path / "models")
    wanted = engine("yolo-head", settings(tmp_path))
    ticks: Iterator[float] = iter(range(10_000))
    references = (
        (OneCellMore(wanted, -np.inf), None),
        (OneCellMore(wanted, 0.0), "its outputs hold NaN or infinity"),
        (fp32_network(wanted), "its outputs hold NaN or infinity"),
    )
    for reference, problem in references:
        tried = OneCellMore(wanted, -np.inf)
        found = check_engine(wanted, tried, reference, lambda: float(next(ticks)))
        assert found.problem == problem
        assert json.dumps(found.figures, allow_nan=False)


class OneCellMore:
    """The model, with a cell that holds no plate; in full batches, not in the self-test."""

    def __init__(self, wanted: Engine, value: float) -> None:
        self._real = fp32_network(wanted)
        self._value = value
        self.max_batch = self._real.max_batch

    def run(self, rows: Any, count: int) -> dict[str, Any]:
        outputs = self._real.run(rows, count)
        more = self._value if count > 1 else 0.0
        return {
            name: np.concatenate([value, np.full_like(value, more)], axis=2)
            for name, value in outputs.items()
        }


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("error", [RuntimeError("pybind says no"), TypeError("odd"), MemoryError()])
def test_whatever_tensorrts_bindings_raise_is_one_line_and_the_next_engine_is_built(
    tmp_path: Path, workshop: Workshop, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(name: str) -> None:
        if name == "plate-detector":
            raise error

    workshop.during = fail
    assert main(["engines", "build"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("alprd: plate-detector: ")
    assert said.count("\n") == 1
    assert (str(error) or "too little memory") in said
    assert plan_of(tmp_path, "plate-reader", workshop) == b"plan 2 of plate-reader"


def with_classifiers(tmp_path: Path, *names: str) -> None:
    write_shape_classifier(tmp_path / "models" / "shapes")
    with (tmp_path / "alprd.toml").open("a") as file:
        file.write(f"attributes = {json.dumps(names)}\n")


@pytest.mark.usefixtures("models")
def test_classifiers_are_listed_as_what_the_configuration_needs(
    tmp_path: Path, workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    with_classifiers(tmp_path, "shapes")

    def shapes() -> tuple[bool, bool]:
        capsys.readouterr()
        assert main(["engines", "list", "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)["engines"]
        [row] = [each for each in rows if each["model"] == "shapes"]
        return row["fits"], row["used"]

    assert shapes() == (False, False)
    assert main(["engines", "build"]) == 0
    assert workshop.built == ["plate-detector", "plate-reader", "shapes"]
    assert shapes() == (True, True)


@pytest.mark.usefixtures("models")
def test_a_classifier_that_cannot_be_used_keeps_no_other_model_from_its_engine(
    tmp_path: Path, workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    with_classifiers(tmp_path, "gone", "shapes")
    workshop.checks["shapes"] = Check(figures={}, problem="only 1 of 5 answers are the same")
    assert main(["engines", "build"]) == 78
    assert workshop.built == ["plate-detector", "plate-reader", "shapes"]
    said = capsys.readouterr().err
    assert "alprd: gone: " in said
    assert "1 of 5 answers" in said
    # The daemon runs both in ONNX Runtime, or without them, and its engines are there.
    assert main(["engines", "build", "--if-possible"]) == 0
    assert "alprd: gone: " in capsys.readouterr().err


@pytest.mark.usefixtures("models")
def test_where_there_is_no_gpu_nothing_is_possible_whatever_the_models_look_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none() -> Device:
        raise EngineUnavailable("the NVIDIA driver shows no GPU; look at: nvidia-smi")

    monkeypatch.setattr(inference_engines, "find_device", none)
    (tmp_path / "models" / "plate-detector" / "manifest.toml").write_text("nonsense")
    assert main(["engines", "build", "--if-possible"]) == 0
    assert "nothing is built: the NVIDIA driver shows no GPU" in capsys.readouterr().out


class Told:
    """What systemd is told."""

    def __init__(self) -> None:
        self.extended = 0

    def status(self, text: str) -> None:
        pass

    def extend_timeout(self, _seconds: float) -> None:
        self.extended += 1


def test_a_log_gets_a_line_when_a_build_begins_and_every_half_minute(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = [100.0]
    screen = engines_build._Screen("eye", cast("Any", Told()), lambda: now_s[0])
    screen.begin(engine("plate-detector", settings(tmp_path)))
    for second in range(65):
        now_s[0] = 100.0 + second
        screen.report(None, f"building, {30 * second} kernels timed")
        screen.tick()
    assert capsys.readouterr().out.splitlines() == [
        "eye: building (fp16, batch 1..8); this takes minutes",
        "eye: building, 900 kernels timed, 0:30",
        "eye: building, 1800 kernels timed, 1:00",
    ]


def test_a_build_without_any_sign_of_life_is_granted_no_more_time() -> None:
    now_s, told = [0.0], Told()
    screen = engines_build._Screen("eye", cast("Any", told), lambda: now_s[0])

    def for_minutes(minutes: int) -> int:
        before = told.extended
        for _ in range(minutes):
            now_s[0] += 60.0
            screen.tick()
        return told.extended - before

    screen.report(None, "building, 7 kernels timed")
    assert for_minutes(20) == 20  # a large layer may be silent for long
    assert for_minutes(30) == 0
    screen.report(None, "building, 8 kernels timed")
    assert for_minutes(5) == 5


def test_ctrl_c_leaves_at_once_whatever_tensorrt_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            raise KeyboardInterrupt

    left: list[int] = []
    from alprd.host.systemd import Notifier  # noqa: PLC0415

    screen = engines_build._Screen("eye", Notifier(None))
    engines_build._wait(Interrupted(), screen, left.append)
    assert left == [130]
    assert "the next build goes on" in capsys.readouterr().err


@pytest.mark.usefixtures("models")
def test_systemd_sees_progress_and_grants_more_time_while_there_is_any(
    tmp_path: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()

    def slowly(_name: str) -> None:
        assert told.wait(20.0)

    workshop.during = slowly
    monkeypatch.setattr(engines_build, "_TICK_S", 0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20.0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        heard: list[str] = []

        def listen() -> None:
            while not any(each.startswith("EXTEND_TIMEOUT_USEC=") for each in heard):
                heard.append(systemd.recv(4096).decode())
            told.set()

        listener = threading.Thread(target=listen)
        listener.start()
        assert main(["engines", "build", "plate-reader"]) == 0
        listener.join()
    assert heard[0].startswith("STATUS=plate-reader: building, 0:0")
    assert heard[1] == "EXTEND_TIMEOUT_USEC=120000000"


def test_phases_within_phases_are_one_share_that_never_goes_back() -> None:
    heard: list[float | None] = []
    progress = BuildProgress(lambda share, _phase: heard.append(share))
    progress.phase_start("all", None, 2)
    progress.phase_start("first", "all", 4)
    assert progress.step_complete("first", 0)
    assert heard[-1] == pytest.approx(0.125)
    progress.phase_finish("first")
    progress.step_complete("all", 0)
    assert heard[-1] == pytest.approx(0.5)
    progress.phase_start("another one from the top", None, 10)
    progress.phase_start("unheard of", "gone", 1)
    progress.step_complete("nobody began it", 3)
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(0.5)


def test_timings_are_kept_per_device_and_a_damaged_file_only_costs_time(
    tmp_path: Path, workshop: Workshop
) -> None:
    store, device = PlanStore(tmp_path), workshop.device()
    assert load_timing_cache(store, device) == b""
    save_timing_cache(store, device, b"measured")
    assert load_timing_cache(store, device) == b"measured"
    workshop.version = "10.3.0"
    assert load_timing_cache(store, workshop.device()) == b""
    workshop.version, workshop.gpu = "8.5.2.2", replace(ORIN, multiprocessors=16)
    assert load_timing_cache(store, workshop.device()) == b""
    [path] = tmp_path.glob("*.cache")
    assert path.name == "timing-8.5.2.2-Orin-8.7-8sm.cache"
    path.write_bytes(path.read_bytes()[:-1])
    assert load_timing_cache(store, device) == b""
