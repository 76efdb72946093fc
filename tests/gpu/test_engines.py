"""Engines on a real GPU: built, checked, kept, refused; short of memory, killed, damaged."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from alprd.cli import main
from alprd.config import InferenceSettings
from alprd.inference.backend import choose_backend
from alprd.inference.building import check_plan, verify_engine
from alprd.inference.cuda import Cuda
from alprd.inference.engines import Device, engine, load_plan
from alprd.inference.plans import PlanStore
from alprd.ports import EngineError, EngineUnavailable

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]

READER = "plate-reader"
"""What is tried on one engine is tried on this one: every other one takes as long to build."""

INT8_MODELS = os.environ.get("ALPRD_TEST_INT8_MODELS")
"""A folder that `python -m engines.training.quantize --out` made."""


def alprd(*arguments: str, timeout_s: float = 600.0) -> subprocess.CompletedProcess[str]:
    """A process of its own, in which every warning is an error."""
    command = [sys.executable, "-W", "error", "-m", "alprd", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def settings(folder: Path, **changes: Any) -> InferenceSettings:
    return InferenceSettings(**({"engines_dir": folder} | changes))


def copy_of(engines_dir: Path, folder: Path, name: str = READER) -> Path:
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(engines_dir / f"{name}.fp16.plan", folder))


def copy_timings(engines_dir: Path, folder: Path) -> None:
    """So that a build takes seconds."""
    for cache in engines_dir.glob("*.cache"):
        shutil.copy(cache, folder)


def test_the_engines_fit_are_listed_with_their_figures_and_not_built_twice(
    engines_dir: Path, device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["engines", "list", "--json", "--dir", str(engines_dir)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"]["gpu"] == device.gpu.name
    rows = {each["model"]: each for each in found["engines"] if each["precision"] == "fp16"}
    assert rows["plate-detector"]["fits"]
    assert rows[READER]["fits"]
    texts = rows["plate-reader"]["figures"]["texts"]
    assert texts["same"] == texts["of"] > 0
    begun_s = time.monotonic()
    assert main(["engines", "build", "--dir", str(engines_dir)]) == 0
    assert time.monotonic() - begun_s < 20.0
    assert capsys.readouterr().out.count("fits already") == 2


@pytest.mark.parametrize("name", ["plate-detector", READER])
def test_half_precision_reads_the_same_and_moves_corners_by_less_than_half_a_pixel(
    engines_dir: Path, device: Device, name: str
) -> None:
    wanted = engine(name, settings(engines_dir))
    check = verify_engine(wanted, device, PlanStore(engines_dir), clock=time.perf_counter)
    print(name, json.dumps(check.figures))  # noqa: T201 -- shown with -s, for the record
    assert check.problem is None
    same = check.figures["texts" if name == "plate-reader" else "plates"]
    assert same["same"] == same["of"] > 0
    if "corner_px" in check.figures:
        assert check.figures["corner_px"]["mean"] < 0.5


def test_verify_in_a_process_of_its_own_leaves_no_warning_behind(engines_dir: Path) -> None:
    done = alprd("engines", "verify", "--json", "--dir", str(engines_dir))
    assert done.stderr == ""
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert all(each["problem"] is None for each in found.values())


def test_full_precision_is_nearer_than_half(
    engines_dir: Path, tmp_path: Path, device: Device
) -> None:
    copy_timings(engines_dir, tmp_path)
    folder = str(tmp_path)
    assert main(["engines", "build", READER, "--precision", "fp32", "--dir", folder]) == 0
    wanted = engine(READER, settings(tmp_path, precision="fp32"))
    check = verify_engine(wanted, device, PlanStore(tmp_path), clock=time.perf_counter)
    assert check.problem is None
    half = verify_engine(
        engine(READER, settings(engines_dir)),
        device,
        PlanStore(engines_dir),
        clock=time.perf_counter,
    )
    for name, error in check.figures["outputs"].items():
        assert error["max"] < 0.01
        assert error["max"] <= half.figures["outputs"][name]["max"]


@pytest.mark.skipif(INT8_MODELS is None, reason="ALPRD_TEST_INT8_MODELS names no folder")
@pytest.mark.parametrize("name", ["plate-detector", "plate-reader"])
def test_int8_builds_from_qdq_files_and_stays_near(
    engines_dir: Path, device: Device, name: str
) -> None:
    models = Path(INT8_MODELS or "")
    # Kept with the others, and built only where it is not there: that takes many minutes.
    common = ["--models-dir", str(models), "--precision", "int8", "--dir", str(engines_dir)]
    assert main(["engines", "build", name, *common]) == 0
    wanted = engine(name, settings(engines_dir, models_dir=models, precision="int8"))
    check = verify_engine(wanted, device, PlanStore(engines_dir), clock=time.perf_counter)
    print(name, json.dumps(check.figures))  # noqa: T201 -- shown with -s, for the record
    assert check.problem is None


def test_the_backend_takes_the_engines_and_falls_back_with_the_reason(
    engines_dir: Path, tmp_path: Path, device: Device
) -> None:
    name, reason = choose_backend(settings(engines_dir))
    assert name == "tensorrt"
    assert device.gpu.name in reason
    name, reason = choose_backend(settings(tmp_path))
    assert name == "onnxruntime"
    assert "alprd engines build plate-detector" in reason
    with pytest.raises(EngineUnavailable, match="alprd engines build"):
        choose_backend(settings(tmp_path, backend="tensorrt"))


def test_an_engine_built_with_other_settings_is_refused(engines_dir: Path, device: Device) -> None:
    store = PlanStore(engines_dir)
    other = engine("plate-detector", settings(engines_dir, max_batch=3))
    with pytest.raises(EngineError, match="max_batch 8, here 3"):
        load_plan(other, device, store)
    other = engine("plate-detector", settings(engines_dir, workspace_mib=128))
    with pytest.raises(EngineError, match="workspace_mib 256, here 128"):
        load_plan(other, device, store)


def test_a_plan_of_another_release_or_gpu_never_reaches_tensorrt(
    engines_dir: Path, tmp_path: Path, device: Device
) -> None:
    wanted = engine(READER, settings(tmp_path))
    here = wanted.identity(device)
    plan = load_plan(wanted, device, PlanStore(engines_dir))
    store = PlanStore(tmp_path)
    for other in (
        replace(here, tensorrt="10.3.0"),
        replace(here, gpu="Orin"),
        replace(here, multiprocessors=here.multiprocessors // 2),
    ):
        store.save(READER, other, plan, figures={}, built_at=datetime.now(timezone.utc))
        with pytest.raises(EngineError, match=rf"built for .*alprd engines build {READER}"):
            load_plan(wanted, device, store)


@pytest.mark.parametrize("harm", ["cut", "flip", "foreign"])
def test_a_damaged_plan_never_reaches_tensorrt_and_is_built_anew(
    engines_dir: Path, tmp_path: Path, device: Device, harm: str
) -> None:
    path = copy_of(engines_dir, tmp_path)
    copy_timings(engines_dir, tmp_path)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "cut": content[:middle],
            "flip": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
            "foreign": content[content.index(b"\n") + 1 :],  # the bare plan, whole
        }[harm]
    )
    wanted = engine(READER, settings(tmp_path))
    with pytest.raises(EngineError, match=rf"alprd engines build {READER}"):
        load_plan(wanted, device, PlanStore(tmp_path))
    if harm == "cut":
        assert main(["engines", "build", READER, "--dir", str(tmp_path)]) == 0
        assert load_plan(wanted, device, PlanStore(tmp_path))


def test_what_tensorrt_refuses_to_load_is_an_error_and_no_crash(
    engines_dir: Path, device: Device
) -> None:
    """Should a wrong plan get past all checks after all."""
    wanted = engine(READER, settings(engines_dir))
    plan = load_plan(wanted, device, PlanStore(engines_dir))
    with pytest.raises(EngineError, match="alprd engines build"):
        check_plan(
            wanted,
            b"no plan" + plan[7:],
            engines_dir / "wrong",
            tensorrt=device.tensorrt,
            clock=time.perf_counter,
        )


def test_a_build_that_is_killed_half_way_leaves_nothing_wrong_and_the_next_one_succeeds(
    engines_dir: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "alprd", "engines", "build", READER, "--dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(8.0)
    process.send_signal(signal.SIGKILL)
    process.wait(30.0)
    assert PlanStore(tmp_path).entries() == []
    copy_timings(engines_dir, tmp_path)
    done = alprd("engines", "build", READER, "--dir", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.glob("*.unfinished"))


def test_ctrl_c_ends_a_build_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "alprd", "engines", "build", READER, "--dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    timer = threading.Timer(8.0, process.send_signal, [signal.SIGINT])
    timer.start()
    _, said = process.communicate(timeout=60.0)
    timer.cancel()
    assert process.returncode == 130
    assert b"the next build goes on" in said


@pytest.fixture
def full_gpu() -> Iterator[None]:
    """Somebody else has nearly all of the GPU's memory."""
    cuda = Cuda()
    taken = []
    try:
        with cuda.current():
            for size_mib in (16384, 4096, 1024, 256, 64):
                while True:
                    try:
                        taken.append(cuda.allocate(size_mib << 20, "the hog"))
                    except EngineUnavailable:
                        break
        yield
    finally:
        with cuda.current():
            for address in taken:
                cuda.free(address)
        cuda.close()


def test_a_gpu_without_memory_fails_the_build_with_the_remedy_and_exit_code_1(
    full_gpu: None, engines_dir: Path, tmp_path: Path
) -> None:
    old = copy_of(engines_dir, tmp_path).read_bytes()
    done = alprd("engines", "build", "--force", READER, "--dir", str(tmp_path))
    assert done.returncode == 1
    assert "memory" in done.stderr
    assert "Traceback" not in done.stderr
    assert next(tmp_path.glob("*.plan")).read_bytes() == old
