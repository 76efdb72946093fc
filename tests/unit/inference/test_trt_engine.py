"""What is asked of TensorRT's runtime, and what is said when it refuses."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alprd.inference.gpu_memory import Memory
from alprd.inference.gpu_network import HostOutputs
from alprd.inference.manifest import InputSpec
from alprd.inference.network import BATCH, ROWS, Shape
from alprd.inference.trt_engine import TensorRTNetwork
from alprd.ports import EngineError, EngineUnavailable
from support.cuda_on_cpu import CpuDevice, LateDevice, compiler
from support.tensorrt_runtime import COUNTED, UNTOLD, DataType, Plan, Tensor, tensorrt

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here")

Load = Callable[..., TensorRTNetwork]

IMAGES = Tensor(shape=(-1, 3, 8, 8))
SCORES: dict[str, Shape] = {"scores": (None, 5, 2)}


def spec(**changes: object) -> InputSpec:
    plain: dict[str, object] = {
        "name": "images",
        "layout": "NCHW",
        "colour": "RGB",
        "width": 8,
        "height": 8,
        "scale": 1.0,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
    return InputSpec.model_validate({**plain, **changes})


def plan(**changes: object) -> Plan:
    plain: dict[str, object] = {
        "inputs": {"images": IMAGES},
        "outputs": {"scores": Tensor(shape=(-1, 5, 2)), "more": Tensor(shape=(-1, 1), factor=2.0)},
    }
    return Plan(**{**plain, **changes})  # type: ignore[arg-type]


@pytest.fixture
def device() -> Iterator[CpuDevice]:
    made = CpuDevice()
    yield made
    assert made.blocks == {}  # every test gives back all that it took
    assert made.depth == 0


def loaded(made: Plan | bytes, device: CpuDevice, **changes: Any) -> TensorRTNetwork:
    given = {"wanted": SCORES, "max_batch": 4, **changes}
    return TensorRTNetwork(
        made if isinstance(made, bytes) else made.serialised(),
        path=Path("a.fp16.plan"),
        outputs=given.pop("wanted"),
        max_batch=given.pop("max_batch"),
        spec=spec(**given),
        tensorrt=tensorrt(),
        cuda=device,
    )


@pytest.fixture
def load(device: CpuDevice) -> Iterator[Load]:
    networks: list[TensorRTNetwork] = []

    def one(made: Plan | bytes | None = None, **changes: Any) -> TensorRTNetwork:
        networks.append(loaded(made or plan(), device, **changes))
        return networks[-1]

    yield one
    for each in networks:
        each.close()
        each.close()


def rows(count: int, kind: str = "float32") -> NDArray[np.generic]:
    values = np.arange(count)[:, None, None, None] * np.ones((1, 3, 8, 8))
    return np.ascontiguousarray(values.astype(kind))


def test_a_batch_gives_the_outputs_of_its_rows(load: Load) -> None:
    network = load()
    assert network.max_batch == 4
    for count in (3, 1, 4):
        scores = network.run(rows(4), count)["scores"]
        assert scores.shape == (count, 5, 2)
        np.testing.assert_array_equal(scores[:, 0, 0], np.arange(count) * 202.0)


def test_the_plans_own_maximum_bounds_the_batch(load: Load) -> None:
    assert load(plan(most=2)).max_batch == 2


def test_only_the_outputs_that_are_needed_are_copied(load: Load) -> None:
    assert set(load().run(rows(4), 2)) == {"scores"}


def test_a_fixed_batch_is_run_whole_and_only_its_first_rows_count(load: Load) -> None:
    fixed = plan(
        inputs={"images": Tensor(shape=(3, 3, 8, 8))},
        outputs={"scores": Tensor(shape=(3, 5, 2))},
    )
    network = load(fixed, max_batch=8)
    assert network.max_batch == 3
    assert network.run(rows(3), 2)["scores"].shape == (2, 5, 2)


def test_of_a_fixed_batch_that_is_not_the_first_axis_its_first_rows_count(load: Load) -> None:
    """As of a reader whose outputs have the time first."""
    fixed = plan(
        inputs={"images": Tensor(shape=(3, 3, 8, 8))},
        outputs={"chars": Tensor(shape=(7, 3, 2))},
    )
    found = load(fixed, wanted={"chars": (None, BATCH, 2)}).run(rows(3), 2)["chars"]
    assert found.shape == (7, 2, 2)
    assert found[1, 0, 0] - found[0, 0, 0] == 198.0  # of the next time, six values on


def test_results_stay_what_they_are_when_the_next_batch_runs(load: Load) -> None:
    network = load()
    first = network.run(rows(4), 2)["scores"]
    kept = first.copy()
    network.run(rows(4) + 5, 2)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("found", [0, 3, 100])
def test_an_output_may_be_as_long_as_it_happens_to_be(load: Load, found: int) -> None:
    """A network that suppresses duplicates itself."""
    made = plan(outputs={"rows": Tensor(shape=(-1, 7), rows=found)})
    network = load(made, wanted={"rows": (ROWS, 7)})
    assert network.run(rows(4), 2)["rows"].shape == (found, 7)


def test_an_output_that_outgrows_its_bound_is_an_error_and_no_overflow(load: Load) -> None:
    network = load(
        plan(outputs={"rows": Tensor(shape=(-1, 7), rows=101)}), wanted={"rows": (ROWS, 7)}
    )
    with pytest.raises(EngineError, match=r"a\.fp16\.plan failed"):
        network.run(rows(4), 2)


@pytest.mark.parametrize(("first", "second"), [(5, 1), (1, 5), (4, 0)])
def test_a_batch_keeps_its_own_rows_when_the_next_one_runs_before_they_are_taken(
    load: Load, device: CpuDevice, first: int, second: int
) -> None:
    """As the inference thread does it: the next batch is begun before this one is decoded."""
    made = plan(outputs={"rows": Tensor(shape=(-1, 7), rows=COUNTED)})
    network = load(made, wanted={"rows": (ROWS, 7)})
    with device.current():
        memory, stream = Memory(device, "a test"), device.stream()
        waiting: list[HostOutputs] = []
        for found in (first, second):
            device.upload(network.input, rows(1) + np.float32(found), stream)
            network.enqueue(1, stream)
            waiting.append(HostOutputs(network, {"rows": (ROWS, 7)}, device, memory))
            waiting[-1].fetch(1, stream)
        stream.synchronize()
        taken = [outputs.arrays(1)["rows"] for outputs in waiting]
        memory.close()
    assert [each.shape for each in taken] == [(first, 7), (second, 7)]
    if first and second:
        assert float(taken[0][0, 0]) / float(taken[1][0, 0]) == first / second


def test_rows_that_nobody_told_of_are_no_other_batchs_rows(load: Load) -> None:
    made = plan(outputs={"rows": Tensor(shape=(-1, 7), rows=UNTOLD)})
    with pytest.raises(EngineError, match=r"did not tell how many rows \['rows'\] have"):
        load(made, wanted={"rows": (ROWS, 7)}).run(rows(4), 2)


@pytest.mark.parametrize("type_", ["float16", "uint8"])
def test_rows_of_other_types_become_what_every_plan_takes(load: Load, type_: str) -> None:
    scores = load(type=type_).run(rows(4, type_), 2)["scores"]
    np.testing.assert_array_equal(scores[:, 0, 0], [0.0, 202.0])


def test_outputs_keep_their_types(load: Load) -> None:
    made = plan(outputs={"scores": Tensor(shape=(-1, 5, 2), kind=DataType.INT32)})
    assert load(made).run(rows(4), 1)["scores"].dtype == np.int32


def test_bytes_that_are_no_plan_are_refused_with_the_remedy(load: Load) -> None:
    with pytest.raises(EngineError, match=r"Magic tag mismatch.*alprd engines build") as refused:
        load(b"no plan")
    assert not isinstance(refused.value, EngineUnavailable)


@pytest.mark.parametrize(
    ("made", "changes", "message"),
    [
        (plan(), {"name": "pictures"}, r"has the inputs \['images'\].*input.name"),
        (plan(), {"width": 16}, r"instead of \(\?, 3, 8, 16\)"),
        (
            plan(inputs={"images": Tensor(shape=(-1, 3, 8, 8), kind=DataType.HALF)}),
            {},
            "HALF instead of float32",
        ),
        (plan(), {"wanted": {"boxes": (None, 4)}}, r"has no output 'boxes'; it has 'scores'"),
        (plan(), {"wanted": {"scores": (None, 5, 3)}}, r"'scores' has shape"),
        (
            plan(outputs={"scores": Tensor(shape=(-1, 5, 2), kind=DataType.UINT8)}),
            {},
            "float32 outputs",
        ),
    ],
)
def test_a_plan_that_contradicts_its_manifest_is_refused(
    load: Load, made: Plan, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        load(made, **changes)


def test_no_memory_for_the_networks_own_work_may_pass(load: Load) -> None:
    with pytest.raises(EngineUnavailable, match=r"no memory.*workspace_mib"):
        load(plan(no_memory=True))


def test_a_run_that_fails_says_so(load: Load) -> None:
    with pytest.raises(EngineError, match=r"failed with TensorRT 8\.5"):
        load(plan(fails=True)).run(rows(4), 1)


@pytest.mark.parametrize("left", [1_000, 2_000, 3_200])
def test_memory_that_is_short_leaves_nothing_behind(
    load: Load, device: CpuDevice, left: int
) -> None:
    device.left = left
    with pytest.raises(EngineUnavailable, match="out of memory"):
        load()
    assert device.left == left


def test_a_plan_that_fails_where_memory_is_scarce_may_load_later(
    load: Load, device: CpuDevice
) -> None:
    """TensorRT tells the reason to another logger then, if at all."""
    device.left = 1 << 20
    with pytest.raises(EngineUnavailable, match="stop what else uses the GPU"):
        load(b"whatever is wrong")


class Counting(LateDevice):
    """Counts how often everything on the GPU was waited for."""

    waits = 0

    def synchronize(self) -> None:
        self.waits += 1
        super().synchronize()


@pytest.mark.parametrize("hasty", [None, 0, 1])
def test_a_run_from_host_memory_waits_for_its_own_work_and_not_for_the_whole_gpu(
    hasty: int | None,
) -> None:
    """A classifier is asked while the detector works on the next batch."""
    device = Counting(hasty=hasty)
    with closing(loaded(plan(), device)) as network, device.current():
        memory, other = Memory(device, "a test"), device.stream()
        block, taken = memory.on_device(4), memory.pinned(4)
        taken[:] = 7
        device.upload(block, taken, other)
        for count in (3, 1, 4):
            scores = network.run(rows(4), count)["scores"]
            np.testing.assert_array_equal(scores[:, 0, 0], np.arange(count) * 202.0)
        assert device.waits == 0
        assert device.blocks[block][0] == (7 if hasty == 1 else 0xA5)
        memory.close()


@pytest.mark.parametrize("hasty", [None, 0, 1])
def test_a_run_from_host_memory_leaves_the_batch_that_is_on_its_way_alone(
    hasty: int | None,
) -> None:
    device = LateDevice(hasty=hasty)
    with closing(loaded(plan(), device)) as network, device.current():
        memory, other = Memory(device, "a test"), device.stream()
        outputs = HostOutputs(network, SCORES, device, memory)
        for _ in range(2):
            device.upload(network.input, rows(4), other)
            other.synchronize()  # so far it got; the rest is still to be done
            network.enqueue(4, other)
            outputs.fetch(4, other)
            assert network.run(rows(4) + np.float32(1), 2)["scores"].shape == (2, 5, 2)
            other.synchronize()
            scores = outputs.arrays(4)["scores"]
            np.testing.assert_array_equal(scores[:, 0, 0], np.arange(4) * 202.0)
        memory.close()


class Broken(CpuDevice):
    """After an error that stays; as CUDA's do."""

    broken = False

    def synchronize(self) -> None:
        super().synchronize()
        if self.broken:
            raise EngineUnavailable("an illegal memory access was encountered")


def test_a_network_on_a_gpu_that_failed_is_let_go_all_the_same() -> None:
    device = Broken()
    network = loaded(plan(), device)
    held = weakref.ref(network._engine)
    device.broken = True
    network.close()
    network.close()
    assert held() is None
    assert device.blocks == {}


def test_what_is_wrong_with_a_plan_is_told_though_the_gpu_failed_then() -> None:
    device = Broken()
    device.broken = True
    with pytest.raises(EngineError, match=r"correct input\.name"):
        loaded(plan(), device, name="pictures")
    assert device.blocks == {}
