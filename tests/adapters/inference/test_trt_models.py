"""Both models on "TensorRT": the real wiring, with ONNX Runtime in the engines' place.

Our kernels are compiled for this CPU; what only a GPU can show is in tests/gpu.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import structlog

from alprd.bench.gpu import GpuLimits
from alprd.bench.measure import Case, run_round
from alprd.bench.pictures import Pictures
from alprd.config import InferenceSettings
from alprd.inference import models as models_module
from alprd.inference import trt_models
from alprd.inference.gpu import Gpu
from alprd.inference.models import Models, load_models
from alprd.inference.onnx import OnnxNetwork
from alprd.ports import EngineError, EngineUnavailable, SubmittingDetector
from support import tiny_models
from support.cuda_on_cpu import CpuDevice, CpuNetwork, compiler
from support.tiny_models import blank_picture, box_quad, draw_plate

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here")

PLATE = box_quad(200, 150, 400, 220)


class TensorRT:
    """What the wiring asks of the library."""

    version = "8.5.2.2"

    def typing(self, precision: str, variants: object) -> SimpleNamespace:
        return SimpleNamespace(source="model")


class Machine:
    """One GPU, as far as the wiring can tell."""

    def __init__(self) -> None:
        self.devices: list[CpuDevice] = []
        self.closed: list[str] = []
        self.plans = {"plate-detector", "plate-reader"}
        self.rows: int | None = None
        self.graphs: list[bool] = []
        self.without_graphs = ""

    def cuda(self) -> CpuDevice:
        device = CpuDevice()
        device.close = lambda: self.closed.append("cuda")  # type: ignore[attr-defined]
        self.devices.append(device)
        return device

    def network(self, plan: bytes, *, path: Path, spec: Any, cuda: CpuDevice, **rest: Any) -> Any:
        del rest["tensorrt"]
        self.graphs.append(rest.pop("graphs"))
        if self.rows is not None and path.name.startswith("plate-detector"):
            rest["max_batch"] = self.rows
        made = CpuNetwork(OnnxNetwork(plan, path=path, spec=spec, threads=1, **rest), spec, cuda)
        made.close = lambda: self.closed.append(path.name)  # type: ignore[attr-defined]
        able = path.name.partition(".")[0] != self.without_graphs
        made.makes_graphs = self.graphs[-1] and able  # type: ignore[attr-defined]
        return made

    def plan(self, wanted: Any, _device: object, _store: object) -> bytes:
        if wanted.name not in self.plans:
            raise EngineError(f"no plan; build it: alprd engines build {wanted.name}")
        return (wanted.folder / "model.onnx").read_bytes()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    gpu = Gpu(
        name="Orin", compute_capability="8.7", multiprocessors=8, memory_mib=7000, driver="11.4"
    )
    device = SimpleNamespace(tensorrt=TensorRT(), gpu=gpu)
    monkeypatch.setattr(trt_models, "find_device", lambda: device)
    monkeypatch.setattr(trt_models, "Cuda", made.cuda)
    monkeypatch.setattr(trt_models, "TensorRTNetwork", made.network)
    monkeypatch.setattr(trt_models, "load_plan", made.plan)
    monkeypatch.setattr(models_module, "choose_backend", lambda _: ("tensorrt", "a test"))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def models(machine: Machine, folder: Path) -> Iterator[Models]:
    with load_models(InferenceSettings(models_dir=folder, max_batch=4, threads=1)) as made:
        yield made


def street() -> np.ndarray:
    picture = blank_picture((640, 384))
    draw_plate(picture, "AB12CDE", PLATE)
    return picture


def test_the_models_say_what_they_run_on(models: Models) -> None:
    assert models.backend == "tensorrt"
    assert models.details["gpu"] == "Orin"
    assert models.details["tensorrt"] == "8.5.2.2"
    assert set(models.details["plans"]) == {"plate-detector", "plate-reader"}
    assert len(set(models.details["plans"].values())) == 2
    assert isinstance(models.detector, SubmittingDetector)


def test_a_detector_with_a_fixed_batch_of_one_costs_no_second_upload_and_no_further_reads(
    machine: Machine, folder: Path
) -> None:
    machine.rows = 1
    with load_models(InferenceSettings(models_dir=folder, max_batch=4)) as models:
        frames = [street() for _ in range(4)]
        network: Any = models.networks["read"]
        machine.devices[0].uploaded.clear()
        network.counts.clear()
        found = models.detector.detect(frames)
        plates = [(image, each[0], 0.0) for image, each in zip(frames, found, strict=True)]
        assert [read.text for read in models.reader.read(plates)] == ["AB12CDE"] * 4
        assert [size for size in machine.devices[0].uploaded if size == frames[0].nbytes] == [
            frames[0].nbytes
        ] * 4
        assert set(network.counts) == {4}


@pytest.mark.parametrize("wanted", [True, False])
def test_engines_are_launched_as_the_configuration_says(
    machine: Machine, folder: Path, *, wanted: bool
) -> None:
    settings = InferenceSettings(models_dir=folder, max_batch=4, cuda_graphs=wanted)
    with load_models(settings) as models:
        assert models.details["cuda_graphs"] is wanted
    assert machine.graphs == [wanted, wanted]


def test_an_engine_that_cannot_become_graphs_is_told(machine: Machine, folder: Path) -> None:
    machine.without_graphs = "plate-reader"
    with load_models(InferenceSettings(models_dir=folder, max_batch=4)) as models:
        assert models.details["cuda_graphs"] is False


def test_everything_is_given_back_the_context_last(machine: Machine, folder: Path) -> None:
    with load_models(InferenceSettings(models_dir=folder, max_batch=4)) as models:
        [found] = models.detector.detect([street()])
        assert models.reader.read([(street(), found[0], 0.0)])[0].text == "AB12CDE"
        assert machine.closed == []

    assert machine.closed[-1] == "cuda"
    assert {name.partition(".")[0] for name in machine.closed[:-1]} == {
        "plate-detector",
        "plate-reader",
    }
    assert machine.devices[0].blocks == {}, "memory of frames, detector and reader"


def test_a_missing_plan_leaves_nothing_behind(machine: Machine, folder: Path) -> None:
    machine.plans.remove("plate-reader")

    with pytest.raises(EngineError, match="alprd engines build plate-reader"):
        load_models(InferenceSettings(models_dir=folder, backend="tensorrt"))

    assert machine.closed[-1] == "cuda"
    assert machine.devices[0].blocks == {}


@pytest.mark.parametrize("kernel", ["fit", "rectify"])
def test_kernels_that_see_nothing_fail_the_self_test_though_the_engines_pass(
    machine: Machine, folder: Path, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = CpuDevice.launch

    def broken(self: CpuDevice, name: str, *arguments: Any) -> None:
        if name != kernel:
            launch(self, name, *arguments)

    monkeypatch.setattr(CpuDevice, "launch", broken)

    with pytest.raises(EngineError, match=r"on the GPU .*(not found|instead of 'TEST1')"):
        load_models(InferenceSettings(models_dir=folder, backend="tensorrt"))

    assert machine.closed[-1] == "cuda"


@pytest.mark.parametrize("fails", ["plan refused", "memory", "self-test"])
def test_auto_reads_plates_on_onnx_runtime_where_tensorrt_fails_after_it_was_chosen(
    machine: Machine, folder: Path, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        if fails == "memory":
            raise EngineUnavailable(fails)
        raise EngineError(fails)

    if fails == "self-test":
        monkeypatch.setattr(models_module, "check_whole_detector", refuse)
    else:
        monkeypatch.setattr(trt_models, "TensorRTNetwork", refuse)

    with pytest.raises(EngineError, match=fails):
        load_models(InferenceSettings(models_dir=folder, backend="tensorrt"))
    machine.closed.clear()
    with (
        structlog.testing.capture_logs() as logs,
        load_models(InferenceSettings(models_dir=folder, threads=1)) as models,
    ):
        assert (models.backend, models.reason) == ("onnxruntime", f"TensorRT failed: {fails}")
        assert models.gpu is None
        [found] = models.detector.detect([street()])
        assert models.reader.read([(street(), found[0], 0.0)])[0].text == "AB12CDE"

    assert [(each["event"], each["error"]) for each in logs] == [
        ("inference.tensorrt_failed", fails)
    ]
    assert machine.closed[-1] == "cuda", "the GPU is given back"
    assert all(device.blocks == {} for device in machine.devices)


def test_the_pipeline_runs_two_batches_at_once_and_reads_every_plate(models: Models) -> None:
    plate, empty = street(), blank_picture((640, 384))
    pictures = Pictures(positive=[plate], negative=[empty], origin="a test")
    case = Case(rate=0.5, batch=4, cameras=8, parallel=True)

    found = run_round(models, pictures, case, 64, ask_gpu=None)

    assert found.frames == 64
    assert found.plates == 32
    assert found.events == 8


def test_what_the_gpu_takes_alone_is_measured_through_the_engine(models: Models) -> None:
    assert models.gpu is not None
    limits = GpuLimits(models.gpu)

    assert limits.bare_s(models.networks["detect"], 2, 0.01) > 0.0
    assert limits.upload_s(1 << 20) > 0.0
    network: Any = models.networks["detect"]
    assert set(network.counts[-5:]) == {2}
