"""TensorRT's releases, told apart by what their modules have; each gets its own way, once."""

from __future__ import annotations

import importlib
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import pytest

from alprd.inference.gpu import find_gpu
from alprd.inference.trt_api import TensorRT, Typing, import_tensorrt
from alprd.inference.trt_build import BuildProgress
from alprd.ports import EngineError, EngineUnavailable
from support.tensorrt_releases import release


class Config:
    """What `configure` sets."""

    def __init__(self, sources: int = 0b11111) -> None:
        self.flags: set[int] = {7}
        self.limits: dict[str, int] = {}
        self.sources = sources

    def set_flag(self, flag: int) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: int) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.limits[pool] = size

    def get_tactic_sources(self) -> int:
        return self.sources

    def set_tactic_sources(self, mask: int) -> None:
        self.sources = mask


class LeveledConfig(Config):
    """From TensorRT 8.6 on."""

    builder_optimization_level = 3


FLAG = Typing(source="model", strongly_typed=False, flags=("FP16",))
FILE = Typing(source="fp16", strongly_typed=True)


@pytest.mark.parametrize(
    ("version", "typing"),
    [("8.5.2.2", FLAG), ("8.6.1", FLAG), ("10.3.0", FLAG), ("10.12.0", FILE), ("11.1.0", FILE)],
)
def test_half_precision_is_a_flag_until_the_flag_is_deprecated_and_a_file_from_then_on(
    version: str, typing: Typing
) -> None:
    assert TensorRT(release(version)).typing("fp16", {"fp16"}) == typing


def test_without_a_half_precision_file_the_flag_is_used_as_long_as_there_is_one() -> None:
    assert TensorRT(release("10.13.0")).typing("fp16", set()) == FLAG
    with pytest.raises(EngineError, match=r"\[variants\.fp16\].*engines\.training\.halve"):
        TensorRT(release("11.0.0")).typing("fp16", set())


@pytest.mark.parametrize(("version", "strongly"), [("8.5.2.2", False), ("11.0.0", True)])
def test_int8_is_always_built_from_the_file_with_qdq_nodes(version: str, *, strongly: bool) -> None:
    trt = TensorRT(release(version))
    found = trt.typing("int8", {"int8"})
    assert (found.source, found.strongly_typed) == ("int8", strongly)
    assert found.flags == (() if strongly else ("INT8", "FP16"))
    with pytest.raises(EngineError, match=r"\[variants\.int8\]"):
        trt.typing("int8", {"fp16"})


@pytest.mark.parametrize(
    ("version", "strongly", "flags"),
    [
        ("8.5.2.2", False, 0b01),
        ("10.3.0", False, 0b00),
        ("10.13.0", True, 0b10),
        ("11.0.0", True, 0b00),
    ],
)
def test_networks_are_made_without_any_flag_that_is_deprecated(
    version: str, flags: int, *, strongly: bool
) -> None:
    assert TensorRT(release(version)).network_flags(strongly_typed=strongly) == flags


def test_tensorrt_rtx_is_driven_like_the_newest_tensorrt_whatever_its_number() -> None:
    rtx = TensorRT(release("1.7.1", name="tensorrt_rtx"))
    assert rtx.typing("fp16", {"fp16"}) == FILE
    assert rtx.network_flags(strongly_typed=True) == 0
    assert not rtx.has_timing_cache


def test_a_configuration_gets_its_memory_and_only_the_flags_of_its_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ALPRD_TRT_TACTIC_SOURCES", raising=False)
    trt = TensorRT(release("8.5.2.2"))
    half, full = Config(), Config()
    trt.configure(half, FLAG, workspace_mib=256)
    trt.configure(full, trt.typing("fp32", ()), workspace_mib=64)
    assert half.limits == {"workspace": 256 << 20}
    assert half.flags == {0, 11}
    assert full.flags == {11}  # TF32 is no FP32
    later = LeveledConfig()
    trt.configure(later, FLAG, workspace_mib=16)
    assert later.flags == {0}  # it weighs time against speed by its level
    assert half.sources == 0b11111


class Tensor(NamedTuple):
    """As TensorRT's: told apart by its name."""

    name: str
    dtype: str = "float32"


class Layer:
    """As TensorRT's."""

    def __init__(self, kind: str, inputs: list[Tensor | None], output: Tensor) -> None:
        self.type = kind
        self.inputs, self.output = inputs, output
        self.num_inputs, self.num_outputs = len(inputs), 1
        self.precision: str | None = None
        self.output_type: str | None = None

    def get_input(self, index: int) -> Tensor | None:
        return self.inputs[index]

    def get_output(self, _index: int) -> Tensor:
        return self.output

    def set_output_type(self, _index: int, dtype: str) -> None:
        self.output_type = dtype


class Network:
    """As TensorRT's."""

    def __init__(self, *layers: Layer) -> None:
        self.layers = layers
        self.num_layers = len(layers)

    def get_layer(self, index: int) -> Layer:
        return self.layers[index]


@pytest.mark.parametrize("half", [True, False])
def test_what_comes_behind_the_last_convolution_stays_exact_and_what_feeds_it_is_half(
    *, half: bool
) -> None:
    image, a, b, c, d, e, f = (Tensor(name) for name in ("image", "a", "b", "c", "d", "e", "f"))
    shape, best = Tensor("shape", "int32"), Tensor("best", "int32")
    layers = {
        "before": Layer("SLICE", [image], a),
        "first": Layer("CONVOLUTION", [a], b),
        "between": Layer("ACTIVATION", [b], c),
        "last": Layer("CONVOLUTION", [c], d),
        "known": Layer("CONSTANT", [], Tensor("grid")),
        "shaped": Layer("SHUFFLE", [d, shape], e),
        "decoded": Layer("ELEMENTWISE", [e, Tensor("grid")], f),
        "counted": Layer("TOPK", [f], best),
        "optional": Layer("FILL", [None], Tensor("filled")),
    }
    module = release("8.5.2.2")
    kinds = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "FULLY_CONNECTED")
    vars(module).update(
        float32="float32",
        float16="float16",
        LayerType=SimpleNamespace(**{kind: kind for kind in kinds}),
    )
    vars(module)["BuilderFlag"].PREFER_PRECISION_CONSTRAINTS = 9
    config = Config()
    TensorRT(module).set_precisions(Network(*layers.values()), config, half=half)
    exact = [name for name, layer in layers.items() if layer.precision == "float32"]
    assert exact == ["shaped", "decoded"]
    assert all(layers[name].output_type == "float32" for name in exact)
    halved = [name for name, layer in layers.items() if layer.precision == "float16"]
    assert halved == (["before", "first", "between", "last"] if half else [])
    assert all((layers[name].output_type == "float16") == (name != "last") for name in halved)
    assert 9 in config.flags


def test_tactics_from_libraries_that_are_not_there_can_be_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALPRD_TRT_TACTIC_SOURCES", "none")
    config = Config()
    TensorRT(release("8.5.2.2")).configure(config, FLAG, workspace_mib=16)
    assert config.sources == 0b11000
    newest = Config(0b11000)
    TensorRT(release("11.0.0")).configure(newest, FILE, workspace_mib=16)
    assert newest.sources == 0b11000
    monkeypatch.setenv("ALPRD_TRT_TACTIC_SOURCES", "some")
    with pytest.raises(EngineError, match="it can be none"):
        TensorRT(release("8.5.2.2")).configure(config, FLAG, workspace_mib=16)


def test_without_a_driver_that_is_new_enough_tensorrts_own_words_are_told() -> None:
    module = release("8.5.2.2")

    def refuse(logger: object) -> object:
        logger.log("Severity.WARNING", "CUDA initialization failure with error: 35")  # type: ignore[attr-defined]
        raise TypeError("pybind11::init(): factory function returned nullptr")

    vars(module).update(Builder=refuse, Runtime=refuse)
    trt = TensorRT(module)
    for start in (trt.builder, trt.runtime):
        with pytest.raises(EngineUnavailable, match=r"error: 35 .*too old for this TensorRT"):
            start(trt.logger())


def test_only_what_matters_is_remembered_of_the_log_and_the_first_of_it() -> None:
    heard: list[tuple[str, str]] = []
    logger = TensorRT(release("8.5.2.2")).logger(lambda *said: heard.append(said))
    logger.log("Severity.VERBOSE", "chatter")
    logger.log("Severity.WARNING", "odd")
    for number in range(100):
        logger.log("Severity.ERROR", f"2: [a.cpp::b::{number}] Error Code 2: number {number}")
    assert logger.errors[0] == "Error Code 2: number 0"
    assert len(logger.errors) == 20
    assert heard[0] == ("warning", "odd")


def test_every_kernel_that_8_5_times_is_a_sign_of_life() -> None:
    heard: list[tuple[float | None, str]] = []
    progress = BuildProgress(lambda *said: heard.append(said))
    logger = TensorRT(release("8.5.2.2")).logger(None, progress.kernel_timed)
    logger.log("Severity.VERBOSE", "--------------- Timing Runner: conv (CaskConvolution)")
    logger.log("Severity.VERBOSE", "Tactic: 0x00000000000003e8 Time: 0.0384723")
    logger.log("Severity.VERBOSE", "Tactic: 0x00000000000003ea Time: 0.0428507")
    assert heard == [
        (None, "building, 1 kernels timed"),
        (None, "building, 2 kernels timed"),
    ]


def missing(name: str, problem: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def load(wanted: str, package: str | None = None) -> ModuleType:
        if wanted == name:
            raise problem
        return real(wanted, package)

    monkeypatch.setattr(importlib, "import_module", load)


def test_a_missing_tensorrt_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    missing("tensorrt", ModuleNotFoundError("tensorrt"), monkeypatch)
    with pytest.raises(EngineError, match=r"not installed.*python3-libnvinfer") as refused:
        import_tensorrt()
    assert not isinstance(refused.value, EngineUnavailable)  # no time cures it


def test_a_tensorrt_without_its_libraries_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    missing("tensorrt", ImportError("libnvinfer.so.8: cannot open"), monkeypatch)
    with pytest.raises(EngineError, match=r"libnvinfer\.so\.8.*libraries"):
        import_tensorrt()


def test_a_tensorrt_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    old = release("8.4.1.5")
    monkeypatch.setattr(importlib, "import_module", lambda _name: old)
    with pytest.raises(EngineError, match=r"8\.4\.1\.5 is too old; alprd needs 8\.5"):
        import_tensorrt()


def test_what_a_removal_left_of_tensorrt_is_not_taken_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    empty = ModuleType("tensorrt")
    empty.__path__ = ["/dist-packages/tensorrt"]
    monkeypatch.setattr(importlib, "import_module", lambda _name: empty)
    with pytest.raises(EngineError, match=r"^/dist-packages/tensorrt is not TensorRT.*delete it"):
        import_tensorrt()


def test_a_missing_driver_may_come_and_a_missing_pycuda_may_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing("pycuda.driver", ImportError("libcuda.so.1: cannot open"), monkeypatch)
    with pytest.raises(EngineUnavailable, match="no NVIDIA driver"):
        find_gpu()
    missing("pycuda.driver", ModuleNotFoundError("pycuda"), monkeypatch)
    with pytest.raises(EngineError, match="pip install pycuda") as refused:
        find_gpu()
    assert not isinstance(refused.value, EngineUnavailable)


def driver(version: int, *, gpus: int = 1, fails: bool = False) -> ModuleType:
    """A `pycuda.driver` with so many GPUs."""
    module = ModuleType("pycuda.driver")

    class CudaError(Exception):
        pass

    class Device:
        def __init__(self, number: int) -> None:
            assert number < gpus

        count = staticmethod(lambda: gpus)

        def name(self) -> str:
            return "Orin"

        def compute_capability(self) -> tuple[int, int]:
            return (8, 7)

        def total_memory(self) -> int:
            return 8 << 30

        def get_attribute(self, attribute: str) -> int:
            return {"multiprocessors": 8}[attribute]

    def init() -> None:
        if fails:
            raise CudaError("cuInit failed: system not yet initialized")

    vars(module).update(
        Error=CudaError,
        Device=Device,
        init=init,
        get_driver_version=lambda: version,
        device_attribute=SimpleNamespace(MULTIPROCESSOR_COUNT="multiprocessors"),
    )
    return module


def test_a_gpu_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda _name: driver(12020))
    found = find_gpu()
    assert (found.name, found.compute_capability, found.driver) == ("Orin", "8.7", "12.2")
    assert (found.memory_mib, found.multiprocessors) == (8192, 8)


@pytest.mark.parametrize(
    ("module", "words", "passes"),
    [
        (driver(12000, gpus=0), "shows no GPU", True),
        (driver(12000, fails=True), "not yet initialized", True),
        (driver(10020), r"runs CUDA 10\.2, alprd needs one for CUDA 11\.4", False),
    ],
    ids=["none", "not ready", "too old"],
)
def test_a_gpu_that_cannot_be_used_says_why(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, words: str, *, passes: bool
) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda _name: module)
    with pytest.raises(EngineError, match=words) as refused:
        find_gpu()
    assert isinstance(refused.value, EngineUnavailable) is passes
