"""The GPU's context, threads and memory: nothing is left, nothing grows, errors are told."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from alprd.inference.cuda import Cuda
from alprd.inference.gpu_frames import GpuFrames
from alprd.inference.manifest import load_detector_manifest, load_reader_manifest
from alprd.inference.trt_engine import TensorRTNetwork
from alprd.inference.trt_models import load_trt_models
from alprd.ports import EngineError, EngineUnavailable
from support.gpu import (
    Both,
    Image,
    both_backends,
    build_missing,
    overlapped,
    read_texts,
    rendered,
    settings,
    tell,
)

driver = pytest.importorskip("pycuda.driver", exc_type=ImportError)

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]

MIB = 1 << 20


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with both_backends(settings(max_batch=8)) as made:
        yield made


def free_bytes(cuda: Cuda) -> int:
    with cuda.current():
        return int(driver.mem_get_info()[0])


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


def texts(both: Both, images: list[Image]) -> list[str]:
    return read_texts(both.gpu, images, both.gpu.detector.detect(images))


def test_any_thread_may_use_the_models_and_none_has_the_context_left(both: Both) -> None:
    images = list(rendered()[:8])
    here = texts(both, images)
    there: list[list[str]] = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: there.append(texts(both, images)))
        thread.start()
        thread.join()
    assert there == [here, here]
    assert driver.Context.get_current() is None


def test_two_threads_with_models_of_their_own_do_not_disturb_each_other() -> None:
    wanted = settings(max_batch=8)
    images = list(rendered()[:8])
    found: dict[int, list[list[str]]] = {0: [], 1: []}
    failed: list[Exception] = []

    def work(number: int) -> None:
        try:
            with both_backends(wanted) as own:
                for _ in range(20):
                    found[number].append(texts(own, images[number * 4 : number * 4 + 4]))
        except Exception as error:  # noqa: BLE001 -- told below, by the thread that may fail
            failed.append(error)

    build_missing(wanted)
    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert all(each == results[0] for results in found.values() for each in results)


PROGRAM = """
import sys
import numpy as np
from pathlib import Path
from threading import Thread
from alprd.config.models import InferenceSettings
from alprd.inference.models import load_models

settings = InferenceSettings(backend="tensorrt", engines_dir=Path(sys.argv[1]), max_batch=8)
models = load_models(settings)
image = np.zeros((720, 1280, 3), np.uint8)

def work():
    for count in (1, 2, 8) * 4:  # layer by layer, and as graphs
        models.detector.detect([image] * count)

thread = Thread(target=work)
thread.start()
thread.join()
if sys.argv[2] == "closed":
    models.close()
    models.close()
elif sys.argv[2] == "failed":
    raise SystemExit(3)
print("done")
"""


@pytest.mark.parametrize(("way", "status"), [("closed", 0), ("left open", 0), ("failed", 3)])
def test_a_process_ends_without_a_word_of_pycuda(way: str, status: int) -> None:
    wanted = settings(max_batch=8)
    build_missing(wanted)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(wanted.engines_dir), way],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert "PyCUDA" not in done.stdout + done.stderr
    assert "context stack" not in done.stderr


def test_what_was_closed_has_given_its_memory_back(cuda: Cuda) -> None:
    wanted = settings(max_batch=8)
    free = []
    for _ in range(10):
        with both_backends(wanted) as both:
            texts(both, list(rendered()[:8]))
        free.append(free_bytes(cuda))
    tell(test="closed", free_mib=[round(each / MIB, 1) for each in free])
    # The driver keeps what it loaded lazily, and gives memory in blocks of 2 MiB.
    assert free[1] - free[-1] <= 2 * MIB


def test_ten_thousand_frames_grow_neither_the_gpus_memory_nor_the_hosts(
    both: Both, cuda: Cuda
) -> None:
    images = list(rendered()[:16])  # of many sizes
    batches = [images[start : start + 8] for start in (0, 8)]
    expected = [texts(both, batch) for batch in batches]

    def driven(rounds: int) -> None:
        """Frames that come and go, as a camera's do."""
        coming = ([image.view() for image in batches[n % 2]] for n in range(rounds))
        for n, read in enumerate(overlapped(both.gpu, coming)):
            assert read == expected[n % 2]

    driven(32)
    gpu, host = free_bytes(cuda), resident_bytes()
    driven(10_000 // 8)
    grown_gpu, grown_host = gpu - free_bytes(cuda), resident_bytes() - host
    tell(test="10,000 frames", gpu_bytes=grown_gpu, host_bytes=grown_host)
    assert grown_gpu <= 0
    assert grown_host < 32 * MIB


def test_batches_of_any_size_that_overlap_give_what_each_gives_alone(both: Both) -> None:
    random = np.random.default_rng(5)
    images = rendered()
    batches = [
        [images[k].copy() for k in random.integers(len(images), size=random.integers(1, 9))]
        for _ in range(60)
    ]
    alone = [texts(both, batch) for batch in batches]
    assert sum(map(len, alone)) > 60
    assert list(overlapped(both.gpu, batches)) == alone


def test_frames_of_changing_sizes_are_all_seen(both: Both) -> None:
    random = np.random.default_rng(1)
    for _ in range(20):
        images = [
            np.zeros((int(height), int(width), 3), np.uint8)
            for width, height in random.integers(1, 2500, (5, 2))
        ]
        assert len(both.gpu.detector.detect(images)) == 5


def occupied(cuda: Cuda, left: int) -> list[int]:
    """Take the GPU's memory but for so many bytes; the blocks."""
    taken = []
    with cuda.current():
        size = 1 << 36
        while size >= MIB:
            free = driver.mem_get_info()[0]
            if free - left < size:
                size //= 2
                continue
            try:
                taken.append(cuda.allocate(size, "a test"))
            except EngineUnavailable:
                size //= 2
    return taken


def test_memory_that_runs_out_at_run_time_is_told_and_passes(both: Both, cuda: Cuda) -> None:
    images = list(rendered()[:4])
    expected = texts(both, images)
    huge = np.zeros((12_000, 12_000, 3), np.uint8)
    taken = occupied(cuda, 64 * MIB)
    try:
        with pytest.raises(EngineUnavailable, match=r"out of memory.*max_batch"):
            both.gpu.detector.detect([huge])
        assert texts(both, images) == expected
    finally:
        with cuda.current():
            for address in taken:
                cuda.free(address)
    assert len(both.gpu.detector.detect([huge])) == 1
    assert texts(both, images) == expected


@pytest.mark.parametrize("left_mib", [8, 40, 90])
def test_memory_that_is_short_at_the_start_is_told_and_nothing_is_left(
    cuda: Cuda, left_mib: int
) -> None:
    build_missing(settings(max_batch=8))
    before = free_bytes(cuda)
    taken = occupied(cuda, left_mib * MIB)
    try:
        with pytest.raises(EngineUnavailable, match="memory"), both_backends(settings(max_batch=8)):
            pytest.fail("it was loaded")
    finally:
        with cuda.current():
            for address in taken:
                cuda.free(address)
    assert before - free_bytes(cuda) < 32 * MIB


def test_a_closed_gpu_says_so() -> None:
    cuda = Cuda()
    frames = GpuFrames(cuda, 2)
    cuda.close()
    cuda.close()
    with pytest.raises(EngineError, match="given back"), cuda.current():
        pass
    frames.close()


def test_bytes_that_are_no_plan_are_refused(cuda: Cuda) -> None:
    wanted = settings(max_batch=8)
    device = build_missing(wanted)
    with pytest.raises(EngineError, match="engines build"):
        TensorRTNetwork(
            b"no plan" * 100,
            path=Path("broken.plan"),
            spec=load_detector_manifest(wanted.detector, None)[0].input,
            outputs={},
            max_batch=8,
            tensorrt=device.tensorrt,
            cuda=cuda,
        )


def test_models_load_where_the_gpu_is_used_by_others_too(cuda: Cuda) -> None:
    wanted = settings(max_batch=8)
    with cuda.current():  # somebody else's context is current on this thread
        loaded = load_trt_models(
            wanted,
            load_detector_manifest(wanted.detector, None),
            load_reader_manifest(wanted.reader, None),
        )
        assert loaded.detector.detect([rendered()[0]])
        loaded.close()
