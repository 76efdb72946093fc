"""Engines launched as CUDA graphs: the same numbers, no growth, no trouble with other threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.cameras import open_source
from alprd.cameras.nvdec_decoder import MODULE
from alprd.config.models import CameraSettings
from alprd.core.types import Detection, DeviceSurface
from alprd.inference.backend_models import BackendModels
from alprd.inference.cuda import Cuda
from alprd.inference.decoding import detector_outputs, reader_outputs
from alprd.inference.engines import engine, load_plan
from alprd.inference.manifest import load_detector_manifest, load_reader_manifest
from alprd.inference.network import Shape, of_first
from alprd.inference.plans import PlanStore
from alprd.inference.trt_engine import TensorRTNetwork
from alprd.inference.trt_graphs import rounded_rows
from alprd.inference.trt_models import load_trt_models
from support.gpu import Image, build_missing, overlapped, rendered, settings, tell
from support.gpu_clips import rendered_clip

driver = pytest.importorskip("pycuda.driver", exc_type=ImportError)

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]

MIB = 1 << 20


@dataclass(frozen=True)
class Opened:
    """One engine, opened as often as wanted."""

    open: Callable[..., TensorRTNetwork]
    outputs: dict[str, Shape]
    shape: tuple[int, ...]


@pytest.fixture(params=["plate-detector", "plate-reader"])
def opened(request: pytest.FixtureRequest, cuda: Cuda) -> Iterator[Opened]:
    wanted = settings(max_batch=8)
    device = build_missing(wanted)
    store = PlanStore(wanted.engines_dir)
    outputs: dict[str, Shape]
    if request.param == "plate-detector":
        found, _ = load_detector_manifest(request.param, None)
        spec, outputs = found.input, dict(detector_outputs(found))
    else:
        read, _ = load_reader_manifest(request.param, None)
        spec, outputs = read.input, dict(reader_outputs(read))
    made = engine(request.param, wanted)
    with ExitStack() as stack:

        def one(*, graphs: bool) -> TensorRTNetwork:
            network = TensorRTNetwork(
                load_plan(made, device, store),
                path=store.path(made.name, made.settings.precision),
                spec=spec.model_copy(update={"type": "float32"}),
                outputs=outputs,
                max_batch=made.settings.max_batch,
                tensorrt=device.tensorrt,
                cuda=cuda,
                graphs=graphs,
            )
            stack.callback(network.close)
            return network

        yield Opened(one, outputs, spec.shape)


def free_bytes(cuda: Cuda) -> int:
    with cuda.current():
        return int(driver.mem_get_info()[0])


def pictures(opened: Opened, most: int, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    return random.uniform(0.0, 1.0, (most, *opened.shape)).astype(np.float32)


def assert_same(
    opened: Opened, plain: TensorRTNetwork, graphed: TensorRTNetwork, batch: Any, count: int
) -> None:
    """What a graph gives is, bit for bit, what as many rows give without one."""
    found = {name: each.copy() for name, each in graphed.run(batch, count).items()}
    as_many = plain.run(batch, rounded_rows(count, plain.max_batch))
    for name, shape in opened.outputs.items():
        np.testing.assert_array_equal(found[name], of_first(as_many[name], shape, count))


def every_size(most: int) -> tuple[int, ...]:
    return tuple(sorted({rounded_rows(count, most) for count in range(1, most + 1)}))


def test_random_counts_in_random_order_give_the_same_with_and_without(opened: Opened) -> None:
    plain, graphed = opened.open(graphs=False), opened.open(graphs=True)
    random = np.random.default_rng(4)
    batch = pictures(opened, plain.max_batch)
    counts = [*range(1, plain.max_batch + 1)] * 3
    random.shuffle(counts)
    for number, count in enumerate(counts):
        if number % 5 == 0:
            batch = pictures(opened, plain.max_batch, number)
        assert_same(opened, plain, graphed, batch, count)
    assert graphed.graphed == every_size(plain.max_batch)


def test_rows_of_nothing_do_not_reach_the_others(opened: Opened) -> None:
    plain, graphed = opened.open(graphs=False), opened.open(graphs=True)
    most = plain.max_batch
    if most <= 9:
        pytest.skip("every batch of this engine is exact")
    batch = pictures(opened, most)
    wanted = {name: each.copy() for name, each in plain.run(batch, 9).items()}
    for _ in range(4):
        graphed.run(np.full_like(batch, np.nan), most)  # they stay in the input
        found = graphed.run(batch, 9)
        for name in opened.outputs:
            np.testing.assert_allclose(found[name], wanted[name], rtol=0.01, atol=0.01)
    assert graphed.graphed == (rounded_rows(9, most), most)


def test_graphs_take_the_processor_less_time(opened: Opened, cuda: Cuda) -> None:
    took_us: dict[str, dict[int, float]] = {}
    counts = (1, 3, 8)
    for name, graphs in (("plain", False), ("graphs", True)):
        network = opened.open(graphs=graphs)
        took_us[name] = {}
        with cuda.current():
            stream = cuda.stream()
            for count in counts:
                times = []
                for _ in range(60):
                    began_s = time.perf_counter()
                    network.enqueue(count, stream)
                    times.append(time.perf_counter() - began_s)
                    stream.synchronize()
                took_us[name][count] = round(float(np.median(times)) * 1e6, 1)
            # As the reader's batches come: never as many as before.
            times = []
            for turn in range(120):
                count = counts[turn % len(counts)]
                began_s = time.perf_counter()
                network.enqueue(count, stream)
                times.append(time.perf_counter() - began_s)
                stream.synchronize()
            took_us[name][0] = round(float(np.median(times)) * 1e6, 1)
    tell(test="enqueue, us (0: of changing counts)", outputs=sorted(opened.outputs), **took_us)
    assert took_us["graphs"][0] < 0.5 * took_us["plain"][0]


def test_two_thousand_batches_of_changing_counts_grow_nothing(opened: Opened, cuda: Cuda) -> None:
    empty = free_bytes(cuda)
    network = opened.open(graphs=True)
    loaded = free_bytes(cuda)
    random = np.random.default_rng(2)
    batch = pictures(opened, network.max_batch)
    longest_s = 0.0
    for count in [*range(1, network.max_batch + 1)] * 3:
        began_s = time.perf_counter()
        network.run(batch, count)
        longest_s = max(longest_s, time.perf_counter() - began_s)
    full = free_bytes(cuda)
    graphs = network.graphed
    assert graphs == every_size(network.max_batch)
    for count in random.integers(1, network.max_batch + 1, 2000):
        network.run(batch, int(count))
    grown = full - free_bytes(cuda)
    network.close()
    tell(
        test="graphs' memory",
        outputs=sorted(opened.outputs),
        engine_mib=(empty - loaded) / MIB,
        graphs_mib=(loaded - full) / MIB,
        graphs=len(graphs),
        longest_capture_ms=round(longest_s * 1e3, 1),
        grown_bytes=grown,
        kept_mib=(empty - free_bytes(cuda)) / MIB,
    )
    assert grown <= 0


def test_what_was_closed_has_given_its_graphs_back(opened: Opened, cuda: Cuda) -> None:
    def used() -> None:
        network = opened.open(graphs=True)
        batch = pictures(opened, network.max_batch)
        for count in [1, 2, 3, network.max_batch] * 3:
            network.run(batch, count)
        other = threading.Thread(target=network.close)
        other.start()
        other.join()

    used()
    before = free_bytes(cuda)
    for _ in range(3):
        used()
    assert before - free_bytes(cuda) < 8 * MIB


def test_other_threads_may_do_what_they_like_while_a_graph_is_captured(
    opened: Opened, cuda: Cuda
) -> None:
    """As a camera that opens, a picture that is uploaded, or another user of the GPU."""
    plain, over = opened.open(graphs=False), threading.Event()
    failed: list[Exception] = []
    with cuda.current():  # kept: PyCUDA destroys them in the thread that made the context only
        streams = [cuda.stream() for _ in range(2)]
        event = cuda.event()

    def disturb(work: Callable[[], None]) -> None:
        try:
            while not over.wait(0.0005):  # or they would have Python to themselves
                with cuda.current():
                    work()
        except Exception as error:  # noqa: BLE001 -- told below, by the thread that may fail
            failed.append(error)

    def allocate() -> None:
        cuda.free(cuda.allocate(1 << 20, "a test"))

    def wait() -> None:
        cuda.synchronize()
        streams[0].synchronize()

    def upload() -> None:
        address = cuda.allocate(1 << 20, "a test")
        cuda.upload(address, np.zeros(1 << 20, np.uint8), streams[1])
        streams[1].record(event)
        event.synchronize()
        cuda.free(address)

    threads = [threading.Thread(target=disturb, args=(each,)) for each in (allocate, wait, upload)]
    for thread in threads:
        thread.start()
    captured: list[tuple[int, ...]] = []
    try:
        for turn in range(4):
            graphed = opened.open(graphs=True)
            batch = pictures(opened, plain.max_batch, turn)
            for count in [1, 2, 3, 4, 5, 6, 7, 8] * 3:
                assert_same(opened, plain, graphed, batch, count)
            captured.append(graphed.graphed)
            graphed.close()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    tell(test="captures among other threads", captured=captured)
    assert failed == []
    assert all(captured)


def test_a_camera_that_opens_while_graphs_are_recorded_is_decoded_by_the_gpu(
    opened: Opened, tmp_path: Path
) -> None:
    pytest.importorskip(MODULE)
    camera = CameraSettings(
        id="gate", source=str(rendered_clip("in-order.mp4", tmp_path)), decode="nvdec"
    )
    over, stayed = threading.Event(), list[bool]()

    def come_and_go() -> None:
        while not over.wait(0.01):
            source = open_source(camera)
            try:
                source.open()
                frame = source.read()
                stayed.append(frame is not None and isinstance(frame.image, DeviceSurface))
            finally:
                source.close()

    other = threading.Thread(target=come_and_go)
    other.start()
    recorded: list[int] = []
    try:
        while other.is_alive() and len(recorded) < 40 and (len(recorded) < 4 or len(stayed) < 10):
            network = opened.open(graphs=True)
            for count in [1, 2, 3, 4, 5, 6, 7, 8] * 3:
                network.run(pictures(opened, network.max_batch), count)
            recorded.append(len(network.graphed))
            network.close()
    finally:
        over.set()
        other.join()
    tell(test="graphs recorded beside a camera", graphs=recorded, opened=len(stayed))
    assert len(stayed) >= 10
    assert all(stayed)
    assert any(recorded)


@pytest.fixture
def both_ways() -> Iterator[list[BackendModels]]:
    """The models with graphs, and without."""
    build_missing(settings(max_batch=8))
    with ExitStack() as stack:
        made = []
        for graphs in (True, False):
            wanted = settings(max_batch=8, cuda_graphs=graphs)
            made.append(
                load_trt_models(
                    wanted,
                    load_detector_manifest(wanted.detector, None),
                    load_reader_manifest(wanted.reader, None),
                )
            )
            stack.callback(made[-1].close)
        yield made


def numbers(detection: Detection) -> tuple[Any, ...]:
    quad = None if detection.quad is None else np.asarray(detection.quad).tolist()
    return (detection.label, detection.score, tuple(map(float, detection.box)), quad)


def test_two_batches_on_their_way_give_what_they_give_without_graphs(
    both_ways: list[BackendModels],
) -> None:
    random = np.random.default_rng(6)
    images = rendered()
    batches: list[list[Image]] = [
        [images[k].copy() for k in random.integers(len(images), size=random.integers(1, 9))]
        for _ in range(120)
    ]
    with_graphs, without = (list(overlapped(models, batches)) for models in both_ways)
    assert sum(map(len, without)) > 100
    assert with_graphs == without
    for batch in batches[:40]:
        found, wanted = (
            [list(map(numbers, each)) for each in models.detector.detect(batch)]
            for models in both_ways
        )
        assert found == wanted
    made: Any = both_ways[0].networks
    assert made["detect"].graphed == every_size(8)
    assert len(made["read"].graphed) > 3
    unmade: Any = both_ways[1].networks
    assert unmade["detect"].graphed == unmade["read"].graphed == ()
