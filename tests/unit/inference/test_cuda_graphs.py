"""The driver's graph functions, called as C declares them, whatever they answer."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alprd.inference.cuda_graphs import GraphDriver, GraphError
from support import cuda_on_cpu

STREAM = 0x7F5A0000C0DE0010
WORKING = 0x7F5A0000C0DE0020

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler here")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("driver") / "graph_driver.so"
    source = Path(cuda_on_cpu.__file__).parent / "graph_driver.c"
    command = [
        str(COMPILER),
        "-Wall",
        "-Werror",
        "-shared",
        "-fPIC",
        "-o",
        str(target),
        str(source),
    ]
    subprocess.run(command, check=True)
    return target


@pytest.fixture
def library(built: Path) -> Iterator[Any]:
    made = ctypes.CDLL(str(built))
    yield made
    refuse(made, "")
    ctypes.c_size_t.in_dll(made, "nodes").value = 1 << 33
    for name in ("capturing", "graphs", "executables", "launches"):
        left, ctypes.c_int.in_dll(made, name).value = counted(made, name), 0
        assert name == "launches" or left == 0, name  # all that was made was given back


def refuse(library: Any, name: str) -> None:
    (ctypes.c_char * 64).in_dll(library, "refusing").value = name.encode()


def counted(library: Any, name: str) -> int:
    return ctypes.c_int.in_dll(library, name).value


def test_what_was_captured_is_launched_on_another_stream(library: Any) -> None:
    given: list[int] = []
    graph = GraphDriver(library).capture(
        STREAM, lambda: given.append(counted(library, "capturing"))
    )
    assert given == [1]
    assert counted(library, "capturing") == counted(library, "graphs") == 0
    for _ in range(3):
        graph.launch(WORKING)
    assert counted(library, "launches") == 3
    graph.close()
    graph.close()


@pytest.mark.parametrize(
    ("step", "function"),
    [
        ("begin", "cuStreamBeginCapture"),
        ("end", "cuStreamEndCapture"),
        ("nodes", "cuGraphGetNodes"),
        ("instantiate", "cuGraphInstantiateWithFlags"),
    ],
)
def test_what_the_driver_refuses_is_told_and_nothing_is_left(
    library: Any, step: str, function: str
) -> None:
    refuse(library, step)
    with pytest.raises(GraphError, match=f"^{function}: operation not supported$"):
        GraphDriver(library).capture(STREAM, lambda: None)


def test_work_that_fails_leaves_no_stream_captured(library: Any) -> None:
    def work() -> None:
        raise GraphError("TensorRT refused to run")

    for refused in ("", "end"):
        refuse(library, refused)
        with pytest.raises(GraphError, match="TensorRT refused"):
            GraphDriver(library).capture(STREAM, work)
        assert counted(library, "capturing") == 0


def test_an_empty_capture_is_none(library: Any) -> None:
    ctypes.c_size_t.in_dll(library, "nodes").value = 0
    with pytest.raises(GraphError, match="nothing was captured"):
        GraphDriver(library).capture(STREAM, lambda: None)


def test_a_launch_that_is_refused_is_told(library: Any) -> None:
    graph = GraphDriver(library).capture(STREAM, lambda: None)
    refuse(library, "launch")
    with pytest.raises(GraphError, match="cuGraphLaunch: operation not supported"):
        graph.launch(WORKING)
    refuse(library, "forget")
    graph.close()  # of a GPU that failed nothing is left to be given back


def test_a_driver_without_graphs_is_told() -> None:
    with pytest.raises(GraphError, match=r"no CUDA graphs \(.*cuStreamBeginCapture_v2"):
        GraphDriver(ctypes.CDLL(None))
