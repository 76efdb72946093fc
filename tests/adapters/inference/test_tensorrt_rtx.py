"""A current TensorRT takes every shipped model: parsed and built, strongly typed, without a GPU.

TensorRT-RTX's builder stands for TensorRT 11: the same network, parser and builder, no weak typing,
and it builds for a GPU that is named instead of one that is there.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from alprd.config import InferenceSettings
from alprd.inference.engine_check import check_engine, fp32_network, network_outputs
from alprd.inference.engines import Engine, engine, model_names
from alprd.inference.manifest import builtin_models_dir, load_onnx
from alprd.inference.onnx import OnnxNetwork
from alprd.inference.trt_api import TensorRT
from alprd.inference.trt_build import BuildProgress, build_plan
from alprd.ports import EngineError
from support import tiny_models

onnx = pytest.importorskip("onnx")

pytestmark = [pytest.mark.once, pytest.mark.slow]

FOLDER = "ALPRD_TEST_TENSORRT_RTX"
MODULE = "tensorrt_rtx_bindings"
BUILT_IN = ("plate-detector", "plate-detector-small", "plate-reader", "vehicle-attributes")


@pytest.fixture(scope="module")
def rtx() -> ModuleType:
    """The builder, from the folder that `make test` fills. Missing there it is a failure."""
    folder = os.environ.get(FOLDER)
    if folder and folder not in sys.path:
        sys.path.append(folder)
    try:
        return importlib.import_module(MODULE)
    except ImportError as error:
        if folder:
            pytest.fail(
                f"{FOLDER} names {folder}, but {MODULE} cannot be imported from there ({error}); "
                "fill it: make .venv/tensorrt-rtx"
            )
        pytest.skip(f"TensorRT-RTX is not installed (make test does it, or set {FOLDER})")


def built(rtx: ModuleType, wanted: Engine) -> tuple[bytes, list[tuple[float | None, str]]]:
    """Plan for an Ada GPU, and the progress that was reported on the way."""

    def target(config: Any) -> None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(rtx.ComputeCapability.SM89, 0)

    tensorrt = TensorRT(rtx)
    content, path = wanted.onnx(tensorrt)
    seen: list[tuple[float | None, str]] = []
    plan, _ = build_plan(
        content,
        wanted.manifest.input,
        wanted.settings,
        tensorrt=tensorrt,
        typing=wanted.typing(tensorrt),
        path=path,
        timing_cache=b"",
        progress=BuildProgress(lambda share, phase: seen.append((share, phase))),
        prepare=target,
    )
    return plan, seen


def test_all_built_in_models_are_looked_at() -> None:
    ours = ("plate-", "vehicle-")
    models = [name for name in model_names(InferenceSettings()) if name.startswith(ours)]
    assert models == sorted(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_shipped_model_builds_strongly_typed_in_half_precision(
    rtx: ModuleType, name: str
) -> None:
    wanted = engine(name, InferenceSettings(precision="fp16"))
    typing = wanted.typing(TensorRT(rtx))
    assert (typing.source, typing.strongly_typed) == ("fp16", True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing that is deprecated in the newest release
        half, seen = built(rtx, wanted)
    full, _ = built(rtx, engine(name, InferenceSettings(precision="fp32")))
    assert len(half) < 0.85 * len(full)
    shares = [share for share, _ in seen if share is not None]
    assert shares == sorted(shares)
    assert shares[-1] > 0.5


@pytest.mark.parametrize("name", ["lprnet", "ssd-tf", "yolo-head"])
def test_models_of_others_build_with_8_bit_input_and_in_their_own_forms(
    rtx: ModuleType, name: str
) -> None:
    foreign = Path(__file__).parents[2] / "data" / "models"
    plan, _ = built(rtx, engine(name, InferenceSettings(models_dir=foreign, precision="fp32")))
    assert plan


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_half_precision_file_does_what_its_model_does(name: str) -> None:
    shipped = engine(name, InferenceSettings(precision="fp16"))
    # ONNX Runtime has no kernels of half precision for CPUs: a few rows are enough of it.
    wanted = replace(shipped, settings=replace(shipped.settings, max_batch=2))
    half = OnnxNetwork(
        load_onnx(wanted.manifest, wanted.folder, "fp16"),
        path=wanted.folder / "model.fp16.onnx",
        spec=wanted.manifest.input,
        outputs=network_outputs(wanted.manifest),
        max_batch=wanted.settings.max_batch,
        threads=1,
    )
    ticks = iter(range(10_000))
    found = check_engine(wanted, half, fp32_network(wanted), lambda: float(next(ticks)))
    assert found.problem is None
    if "corner_px" in found.figures:
        assert found.figures["corner_px"]["max"] < 0.05


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_half_precision_file_has_the_weights_of_its_model_rounded(name: str) -> None:
    folder = builtin_models_dir() / name
    wanted = engine(name, InferenceSettings())
    full = onnx.load(folder / wanted.manifest.file).graph.initializer
    half = onnx.load(folder / wanted.manifest.variants["fp16"].file).graph.initializer
    weights = {each.name: onnx.numpy_helper.to_array(each) for each in full}
    rounded = 0
    for each in half:
        original = weights.get(each.name.removesuffix("_half"))
        if each.name.endswith("_half") and original is not None:
            rounded += 1
            assert np.array_equal(onnx.numpy_helper.to_array(each), original.astype(np.float16))
    assert rounded > 40


def test_a_file_that_is_no_model_is_refused_in_tensorrts_words(
    rtx: ModuleType, tmp_path: Path
) -> None:
    wanted = tiny(tmp_path)
    with pytest.raises(EngineError, match=r"model\.onnx is not taken by TensorRT"):
        build_plan(
            b"nonsense",
            wanted.manifest.input,
            wanted.settings,
            tensorrt=TensorRT(rtx),
            typing=wanted.typing(TensorRT(rtx)),
            path=wanted.folder / "model.onnx",
            timing_cache=b"",
            progress=BuildProgress(lambda _share, _phase: None),
        )


def test_a_model_that_contradicts_its_manifest_is_refused_before_it_is_built(
    rtx: ModuleType, tmp_path: Path
) -> None:
    wanted = tiny(tmp_path)
    other = wanted.manifest.input.model_copy(update={"width": 640})
    with pytest.raises(EngineError, match="correct layout, width, height or colour"):
        built(
            rtx,
            Engine(
                manifest=wanted.manifest.model_copy(update={"input": other}),
                folder=wanted.folder,
                settings=wanted.settings,
            ),
        )


def tiny(folder: Path) -> Engine:
    tiny_models.write_detector(folder / "plate-detector")
    return engine("plate-detector", InferenceSettings(models_dir=folder, precision="fp32"))
