"""Engines launched as CUDA graphs: the same results, each graph with its own context, none left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from numpy.typing import NDArray

from alprd.inference.gpu_memory import Memory
from alprd.inference.gpu_network import HostOutputs
from alprd.inference.manifest import InputSpec
from alprd.inference.network import BATCH, ROWS, Shape
from alprd.inference.trt_engine import TensorRTNetwork
from alprd.inference.trt_graphs import rounded_rows
from alprd.stillness import STILLNESS
from support.cuda_on_cpu import CpuDevice, LateDevice, compiler
from support.tensorrt_runtime import COUNTED, Context, Plan, Tensor, tensorrt

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here")

MOST = 20
SCORES: dict[str, Shape] = {"scores": (None, 5, 2)}
CHARS: dict[str, Shape] = {"chars": (None, BATCH, 2)}
SPEC = InputSpec.model_validate(
    {
        "name": "images",
        "layout": "NCHW",
        "colour": "RGB",
        "width": 8,
        "height": 8,
        "scale": 1.0,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
)

Load = Callable[..., TensorRTNetwork]
Logs = list[Any]


def plan(**changes: Any) -> Plan:
    plain: dict[str, Any] = {
        "inputs": {"images": Tensor(shape=(-1, 3, 8, 8))},
        "outputs": {"scores": Tensor(shape=(-1, 5, 2)), "more": Tensor(shape=(-1, 1), factor=2.0)},
        "most": MOST,
    }
    return Plan(**{**plain, **changes})


@pytest.fixture(params=["at once", "late"])
def device(request: pytest.FixtureRequest) -> Iterator[CpuDevice]:
    made = CpuDevice() if request.param == "at once" else LateDevice()
    yield made
    assert made.graphs == []  # every test gives back all that it took
    assert made.blocks == {}
    assert made.depth == 0


@pytest.fixture(params=["8.5.2.2", "10.3.0"])
def load(device: CpuDevice, request: pytest.FixtureRequest) -> Iterator[Load]:
    with ExitStack() as stack:

        def one(
            made: Plan | None = None, *, version: str = request.param, **changes: Any
        ) -> TensorRTNetwork:
            given = {"outputs": SCORES, "max_batch": MOST, "graphs": True, **changes}
            network = TensorRTNetwork(
                (made or plan()).serialised(),
                path=Path("a.fp16.plan"),
                spec=SPEC,
                tensorrt=tensorrt(version),
                cuda=device,
                **given,
            )
            stack.callback(network.close)
            stack.callback(network.close)
            return network

        yield one


@pytest.fixture
def logs() -> Iterator[Logs]:
    with structlog.testing.capture_logs() as found:
        yield found


def rows(count: int, seed: int = 0) -> NDArray[np.float32]:
    """No two of them alike."""
    random = np.random.default_rng(seed)
    values = random.integers(1, 1000, (count, 1, 1, 1)) * np.ones((1, 3, 8, 8))
    return np.ascontiguousarray(values, np.float32)


def expected(given: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the stand-in's `scores` are of such rows."""
    sums = given.reshape(len(given), -1).sum(axis=1)
    index = np.arange(10 * len(given)).reshape(-1, 5, 2)
    return (sums[:, None, None] + index).astype(np.float32)


def ran(network: TensorRTNetwork, count: int, seed: int = 0) -> None:
    """One run, whose results must be right."""
    given = rows(count, seed)
    buffer = np.full((MOST, 3, 8, 8), np.nan, np.float32)
    buffer[:count] = given
    np.testing.assert_array_equal(network.run(buffer, count)["scores"], expected(given))


def told(logs: Logs) -> Logs:
    """What people see."""
    return [each for each in logs if each["log_level"] != "debug"]


def launches(device: CpuDevice) -> list[int]:
    return [graph.launches for graph in device.graphs]


def test_small_batches_are_exact_and_greater_ones_come_in_few_sizes() -> None:
    assert [rounded_rows(count, 64) for count in range(1, 9)] == list(range(1, 9))
    sizes = {10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64}
    assert {rounded_rows(count, 64) for count in range(9, 65)} == sizes
    assert all(count <= rounded_rows(count, 512) < count * 1.25 for count in range(1, 513))
    assert any(rounded_rows(count, 512) > count * 1.2 for count in range(1, 513))
    assert rounded_rows(17, 18) == 18


def test_the_first_run_of_a_count_is_plain_the_second_is_captured_the_third_launched(
    load: Load, device: CpuDevice
) -> None:
    network = load()
    ran(network, 3, seed=1)
    assert device.captures == 0
    assert network.graphed == ()
    ran(network, 3, seed=2)
    assert launches(device) == [0]
    ran(network, 3, seed=3)
    ran(network, 3, seed=4)
    assert launches(device) == [2]


def test_a_batch_that_is_captured_is_run_once(
    load: Load, device: CpuDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []
    execute = Context.execute_async_v3

    def counting(context: Context, stream: int) -> bool:
        runs.append(stream)
        return execute(context, stream)

    monkeypatch.setattr(Context, "execute_async_v3", counting)
    network = load()
    for seed, told in enumerate([1, 3, 3, 3]):  # the capture itself asks, and runs nothing
        ran(network, 3, seed)
        assert len(runs) == told
    assert launches(device) == [2]
    device.refusal = "old driver"
    for seed, told in enumerate([4, 5, 6]):
        ran(network, 2, seed)
        assert len(runs) == told


def test_a_release_whose_contexts_share_no_memory_yet_runs_without(
    load: Load, device: CpuDevice, logs: Logs
) -> None:
    network = load(version="11.0.0")
    for seed in range(4):
        ran(network, 3, seed)
    assert device.captures == 0
    assert logs == []


def test_without_graphs_there_are_none(load: Load, device: CpuDevice) -> None:
    network = load(graphs=False)
    for seed in range(4):
        ran(network, 3, seed)
    assert device.captures == 0


def test_counts_in_any_order_give_what_each_gives_alone(load: Load, device: CpuDevice) -> None:
    network = load()
    random = np.random.default_rng(3)
    for seed in range(150):
        ran(network, int(random.integers(1, MOST + 1)), seed)
    assert network.graphed == (*range(1, 9), 10, 12, 14, 16, 20)
    assert len(device.graphs) == device.captures == 8 + 5
    assert sum(launches(device)) == 150 - 2 * 13


def test_a_graph_works_with_the_memory_of_its_own_network(load: Load, device: CpuDevice) -> None:
    networks = [load(), load()]
    for seed in range(6):
        for number, network in enumerate(networks):
            ran(network, 2, seed=2 * seed + number)
    assert launches(device) == [4, 4]


def test_rows_that_say_nothing_change_nothing(load: Load) -> None:
    """Of 9 rows 10 are run; `ran` fills the others with NaN."""
    network = load()
    whole = np.full((MOST, 3, 8, 8), np.nan, np.float32)
    network.run(whole, MOST)  # the input keeps them
    for seed in range(4):
        ran(network, 9, seed)
        ran(network, 17, seed)


def test_of_a_batch_that_is_not_the_first_axis_its_rows_count(load: Load) -> None:
    """As of a reader whose outputs have the time first: what lies where depends on the rows run."""
    made = plan(outputs={"chars": Tensor(shape=(7, -1, 2))})
    network, plain = load(made, outputs=CHARS), load(made, outputs=CHARS, graphs=False)
    for count in (9, 3):
        given = np.zeros((MOST, 3, 8, 8), np.float32)
        results = [network.run(given, count)["chars"] for _ in range(4)]
        assert {each.shape for each in results} == {(7, count, 2)}
        assert all(np.array_equal(each, results[0]) for each in results)
        assert results[0][1, 0, 0] == 2 * rounded_rows(count, MOST)
    assert plain.run(given, 3)["chars"][1, 0, 0] == 6


def test_a_fixed_batch_is_captured_once(load: Load, device: CpuDevice) -> None:
    fixed = plan(
        inputs={"images": Tensor(shape=(12, 3, 8, 8))}, outputs={"scores": Tensor(shape=(12, 5, 2))}
    )
    network = load(fixed)
    for count in (3, 12, 5, 9, 1):
        found = network.run(rows(12), count)["scores"]
        np.testing.assert_array_equal(found, expected(rows(12))[:count])
    assert launches(device) == [3]


def test_a_network_that_counts_its_own_rows_is_not_captured_though_nobody_wants_them(
    load: Load, device: CpuDevice, logs: Logs
) -> None:
    counting = Tensor(shape=(-1, 7), rows=3)
    network = load(plan(outputs={"scores": Tensor(shape=(-1, 5, 2)), "rows": counting}))
    for seed in range(4):
        ran(network, 11, seed)
    assert device.captures == 0
    assert logs == []


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        (Tensor(shape=(-1, 7), rows=COUNTED), (ROWS, 7)),  # only the run shows how many
        (Tensor(shape=(-1, 7)), (ROWS, 7)),  # rows of all images together
        (Tensor(shape=(20, 7)), (None, 7)),  # whatever the batch
    ],
)
def test_outputs_that_belong_to_no_row_of_the_batch_are_not_captured(
    load: Load, device: CpuDevice, logs: Logs, output: Tensor, wanted: Shape
) -> None:
    network = load(plan(outputs={"rows": output}, most=9), outputs={"rows": wanted}, max_batch=9)
    for count in (2, 9, 2, 9, 2, 9):
        assert network.run(np.ones((9, 3, 8, 8), np.float32), count)["rows"].shape[1] == 7
    assert device.captures == 0
    assert logs == []


def test_batches_on_their_way_keep_their_results(load: Load, device: CpuDevice) -> None:
    """As the inference thread does it: a batch is begun before the one before is taken."""
    network = load()
    random = np.random.default_rng(9)
    with device.current():
        memory, stream = Memory(device, "a test"), device.stream()
        sets = [HostOutputs(network, SCORES, device, memory) for _ in range(2)]
        waiting: list[tuple[HostOutputs, NDArray[np.float32]]] = []
        for seed in range(60):
            given = rows(int(random.integers(1, 5)), seed)
            device.upload(network.input, given, stream)
            network.enqueue(len(given), stream)
            sets[seed % 2].fetch(len(given), stream)
            waiting.append((sets[seed % 2], given))
            if len(waiting) == 2:
                outputs, before = waiting.pop(0)
                stream.synchronize()
                found = outputs.arrays(len(before))["scores"]
                np.testing.assert_array_equal(found, expected(before))
        memory.close()
    assert sum(launches(device)) == 60 - 2 * 4


@pytest.mark.parametrize("why", ["old driver", "layer"])
def test_what_cannot_be_captured_loses_no_batch_and_is_said_once(
    load: Load, device: CpuDevice, logs: Logs, why: str
) -> None:
    if why == "old driver":
        device.refusal = "this NVIDIA driver has no CUDA graphs"
    network = load(plan(uncapturable=why == "layer"))
    for seed in range(5):
        for count in (2, 3, 11):
            ran(network, count, seed)
    [said] = told(logs)
    assert said["event"] == "inference.graphs_given_up"
    assert said["log_level"] == "warning"
    assert said["engine"] == "a.fp16.plan"
    assert said["error"] == (
        "TensorRT refuses: operation not permitted when stream is capturing"
        if why == "layer"
        else device.refusal
    )
    assert device.captures == 3


def test_a_capture_that_somebody_else_ended_is_made_again(
    load: Load, device: CpuDevice, logs: Logs
) -> None:
    """As a decoder does that waits for the whole GPU."""
    network = load()
    ran(network, 2, seed=0)
    device.refusal = "cuStreamEndCapture: operation failed due to a previous error"
    for seed in range(2):
        ran(network, 2, seed)
    assert network.graphed == ()
    device.refusal = None
    for seed in range(3):
        ran(network, 2, seed)
    assert launches(device) == [2]
    assert told(logs) == []


def test_a_graph_that_cannot_be_launched_any_more_loses_no_batch(
    load: Load, device: CpuDevice, logs: Logs
) -> None:
    network = load()
    for seed in range(3):
        for count in (2, 3):
            ran(network, count, seed)
    device.graphs[0].refusal = "cuGraphLaunch: operation not supported"
    logs.clear()
    for seed in range(3):
        for count in (2, 3):
            ran(network, count, seed)
    assert [each["error"] for each in logs] == ["cuGraphLaunch: operation not supported"]
    assert device.graphs == []


def test_no_further_context_is_said_and_the_plain_way_goes_on(
    load: Load, device: CpuDevice, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load()
    ran(network, 2, seed=1)
    monkeypatch.setattr(Context, "set_tensor_address", lambda *_: False)
    for seed in range(4):
        ran(network, 2, seed)
    [said] = told(logs)
    assert "no second context for 2 rows" in said["error"]
    assert device.captures == 0


def test_memory_that_is_short_is_left_to_others(load: Load, device: CpuDevice, logs: Logs) -> None:
    device.left = 1 << 20
    network = load()
    for seed in range(4):
        ran(network, 2, seed)
    refused = [each["error"] for each in told(logs)]
    if network._tensorrt.shares_profiles:  # a context takes next to nothing
        assert refused == []
        assert launches(device) == [2]
    else:
        assert refused == ["the GPU is short of memory"]
        assert device.graphs == []
    network.close()
    assert device.left == 1 << 20


def test_a_batch_size_that_gets_no_graph_leaves_the_others_theirs(
    load: Load, device: CpuDevice, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load()
    for seed in range(3):
        ran(network, 2, seed)
    monkeypatch.setattr(Context, "set_tensor_address", lambda *_: False)
    for seed in range(3):
        for count in (2, 3):
            ran(network, count, seed)
    assert [each["rows"] for each in told(logs)] == [[2]]
    assert network.graphed == (2,)
    assert launches(device) == [4]


def test_captures_that_fail_now_and_then_are_forgiven(load: Load, device: CpuDevice) -> None:
    network = load()
    for count in range(1, 5):
        ran(network, count, seed=0)
        device.refusal = "cuStreamEndCapture: operation failed due to a previous error"
        ran(network, count, seed=1)
        device.refusal = None
        ran(network, count, seed=2)
    assert network.graphed == (1, 2, 3, 4)


def test_nothing_is_captured_while_somebody_waits_for_the_whole_gpu(
    load: Load, device: CpuDevice
) -> None:
    network = load()
    began, over = threading.Event(), threading.Event()

    def disturb() -> None:
        with STILLNESS.disturbed():
            began.set()
            over.wait(10)

    other = threading.Thread(target=disturb)
    other.start()
    began.wait(10)
    for seed in range(4):
        ran(network, 2, seed)
    assert device.captures == 0
    over.set()
    other.join()
    for seed in range(2):
        ran(network, 2, seed)
    assert launches(device) == [1]


def test_who_waits_for_the_whole_gpu_waits_for_a_capture_first() -> None:
    order: list[str] = []

    def disturb() -> None:
        with STILLNESS.disturbed():
            order.append("disturbed")

    other = threading.Thread(target=disturb)
    with STILLNESS.captured() as still:
        assert still
        other.start()
        other.join(0.05)
        order.append("captured")
    other.join()
    assert order == ["captured", "disturbed"]


def test_closed_from_another_thread_every_graph_is_given_back(
    load: Load, device: CpuDevice
) -> None:
    network = load()
    for seed in range(3):
        for count in (1, 2, 3):
            ran(network, count, seed)
    assert len(device.graphs) == 3
    other = threading.Thread(target=network.close)
    other.start()
    other.join()
    assert device.graphs == []
    assert device.blocks == {}
