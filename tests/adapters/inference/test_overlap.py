"""A detector that works by itself: the next batch is begun before this one is looked at.

The detector is a real network that runs in a thread of its own, as a GPU works beside Python.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from alprd.cameras.mux import FrameMux
from alprd.config import InferenceSettings, TrackingSettings
from alprd.core.types import Detection, EndOfStream, Frame, FrameImage, PlateEvent, PlateRead
from alprd.errands import Errands
from alprd.inference.models import Models, load_models
from alprd.inference.thread import SILENCE_S, WAIT_S, InferenceThread
from alprd.pipeline import CameraPipeline
from alprd.ports import EngineError
from support import tiny_models
from support.inference import AT, FakeClock, event, frame
from support.tiny_models import blank_picture, box_quad, draw_plate

pytestmark = pytest.mark.everywhere

Item = Frame | EndOfStream


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tiny_models.write_models(tmp_path_factory.mktemp("models"), input_size=(64, 32))
    return load_models(InferenceSettings(models_dir=folder, threads=1, max_batch=4))


class Working:
    """One submission's detections."""

    def __init__(self, future: Future[list[list[Detection]]]) -> None:
        self._future = future

    def result(self) -> list[list[Detection]]:
        return self._future.result(30.0)


class Beside:
    """The real detector in a thread of its own."""

    def __init__(self, models: Models, log: list[str]) -> None:
        self._detector = models.detector
        self._log = log
        self._worker = ThreadPoolExecutor(1)
        self.refuses: Exception | None = None
        self.fails: Exception | None = None
        self.may_end = threading.Event()
        self.may_end.set()

    def detect(self, images: Sequence[FrameImage]) -> list[list[Detection]]:
        self._log.append(f"detect {len(images)}")
        return self._detector.detect(images)

    def submit(self, images: Sequence[FrameImage]) -> Working:
        self._log.append(f"submit {len(images)}")
        if self.refuses is not None:
            raise self.refuses
        return Working(self._worker.submit(self._work, list(images), self.fails))

    def _work(
        self, images: Sequence[FrameImage], failure: Exception | None
    ) -> list[list[Detection]]:
        self.may_end.wait(30.0)
        if failure is not None:
            raise failure
        return self._detector.detect(images)

    def close(self) -> None:
        self.may_end.set()
        self._worker.shutdown()


class Notes:
    """A pipeline that notes its frames in the common log, and gives an event for each."""

    def __init__(self, name: str, log: list[str]) -> None:
        self._name = name
        self._log = log

    def select(self, frame: Frame, detections: Sequence[Detection]) -> list[Detection]:
        return [each for each in detections if each.label == "plate"]

    def step(
        self, frame: Frame, detections: Sequence[Detection], reads: Sequence[PlateRead]
    ) -> list[PlateEvent]:
        self._log.append(f"{self._name} {frame.seq}")
        return [event(f"{self._name}-{frame.seq}")]

    def tick(self, t_s: float) -> list[PlateEvent]:
        self._log.append(f"{self._name} tick {t_s:g}")
        return []

    def finish(self) -> list[PlateEvent]:
        self._log.append(f"{self._name} end")
        return []


class Script:
    """A mux that plays prepared batches; a callable among them runs when its turn comes."""

    def __init__(self, *steps: Sequence[Item] | Callable[[], object]) -> None:
        self._steps = list(steps)
        self.timeouts_s: list[float] = []

    @property
    def closed(self) -> bool:
        return not self._steps

    def take(self, max_batch: int, timeout_s: float) -> list[Item]:
        self.timeouts_s.append(timeout_s)
        step = self._steps.pop(0)
        if callable(step):
            step()
            return []
        return list(step)

    def close(self) -> None:
        """The script ends by itself."""


class Sink:
    def __init__(self) -> None:
        self.stored: list[PlateEvent] = []

    def add(self, events: Sequence[PlateEvent]) -> None:
        self.stored += events

    def add_lost(self, count: int) -> None:
        raise AssertionError(f"{count} events were lost")


class Stage:
    """Everything around one inference thread whose detector works by itself."""

    def __init__(self, models: Models) -> None:
        self.log: list[str] = []
        self.detector = Beside(models, self.log)
        self.models = replace(models, detector=self.detector)
        self.sink = Sink()
        self.clock = FakeClock()
        self.pipelines: dict[str, Any] = {n: Notes(n, self.log) for n in ("gate", "ramp")}

    def thread(self, queue: Script | FrameMux, **changes: object) -> InferenceThread:
        arguments: Mapping[str, Any] = {"max_batch": 4, "live": (), "clock": self.clock, **changes}
        return InferenceThread(
            self.models, queue, self.pipelines, self.sink, lambda: None, **arguments
        )

    def play(self, script: Script, **changes: object) -> InferenceThread:
        with self.thread(script, **changes) as thread:
            pass
        return thread

    @property
    def plates(self) -> list[str | None]:
        return [each.plate for each in self.sink.stored]


@pytest.fixture
def stage(models: Models) -> Iterator[Stage]:
    made = Stage(models)
    yield made
    made.detector.close()


def test_the_next_batch_is_begun_before_this_one_is_followed(stage: Stage) -> None:
    script = Script(
        [frame("gate", seq=1), frame("ramp", seq=1)], [frame("gate", seq=2)], [frame("ramp", seq=2)]
    )

    thread = stage.play(script)

    assert thread.failed is None
    assert stage.log == [
        "submit 2",
        "submit 1",
        "gate 1",
        "ramp 1",
        "submit 1",
        "gate 2",
        "ramp 2",
        "gate end",
        "ramp end",
    ]
    assert thread.figures()["frames"] == 4


def test_a_frame_waits_for_no_company(stage: Stage) -> None:
    script = Script([frame("gate", seq=1)], [], [frame("gate", seq=2)], [])

    stage.play(script)

    assert script.timeouts_s == [WAIT_S, 0.0, WAIT_S, 0.0], "none is waited for with one in hand"
    assert stage.log == ["submit 1", "gate 1", "submit 1", "gate 2", "gate end", "ramp end"]


def test_the_end_of_a_file_comes_after_its_last_frame_that_was_still_worked_on(
    stage: Stage,
) -> None:
    stage.play(
        Script(
            [frame("gate", seq=1), frame("ramp", seq=1)],
            [EndOfStream(camera_id="gate"), frame("ramp", seq=2)],
            [EndOfStream(camera_id="ramp")],
        )
    )

    assert [line for line in stage.log if line.startswith("gate")] == [
        "gate 1",
        "gate end",
        "gate end",
    ]
    assert [line for line in stage.log if line.startswith("ramp")] == [
        "ramp 1",
        "ramp 2",
        "ramp end",
        "ramp end",
    ]


def test_everything_that_was_begun_is_stored_before_the_stop(stage: Stage) -> None:
    mux = FrameMux(["gate"])

    with stage.thread(mux):
        for seq in range(20):
            mux.put(frame(seq=seq, t_s=seq / 10))

    assert stage.plates == [f"gate-{seq}" for seq in range(20)]


@pytest.mark.parametrize("raises", ["submit", "result"])
def test_a_bad_frame_costs_only_itself(stage: Stage, raises: str) -> None:
    corrupt = replace(frame("gate", seq=1), image=np.zeros((0, 0, 3), np.uint8))
    if raises == "submit":  # before anything is begun, or when the result is asked for
        submit = stage.detector.submit

        def checking(images: Sequence[FrameImage]) -> Working:
            if any(not np.asarray(image).size for image in images):
                stage.detector.detect(images)
            return submit(images)

        stage.detector.submit = checking  # type: ignore[method-assign]

    thread = stage.play(
        Script([corrupt, frame("ramp", seq=1)], [frame("gate", seq=2), frame("ramp", seq=2)])
    )

    assert thread.failed is None
    assert stage.plates == ["ramp-1", "gate-2", "ramp-2"]
    assert thread.figures()["bad_frames"] == 1


@pytest.mark.parametrize("when", ["refuses", "fails"])
def test_a_failing_detector_costs_no_frame_that_was_begun_before(stage: Stage, when: str) -> None:
    def break_down() -> list[Item]:
        setattr(stage.detector, when, EngineError("the GPU has gone"))
        return [frame("gate", seq=2)]

    script = Script([frame("gate", seq=1)], [])
    take = script.take
    script.take = lambda *a: [*take(*a), *([] if script._steps else break_down())]  # type: ignore[method-assign]

    thread = stage.play(script)

    assert isinstance(thread.failed, EngineError)
    assert stage.plates == ["gate-1"]
    assert stage.log[-2:] == ["gate end", "ramp end"], "and the tracks so far"


def test_what_was_begun_for_a_pipeline_reaches_it_before_it_is_replaced(stage: Stage) -> None:
    new = Notes("new", stage.log)

    def replace_it() -> None:
        thread.replace_pipelines(
            {"gate": new}, live=(), changes=[lambda: stage.log.append("changed")]
        )

    thread = stage.thread(
        Script(
            [frame("gate", seq=1), frame("ramp", seq=1)],
            replace_it,
            [frame("gate", seq=2), frame("ramp", seq=2)],
        )
    )
    with thread:
        pass

    assert thread.failed is None
    assert stage.log == [
        "submit 2",
        "gate 1",
        "ramp 1",
        "gate end",
        "ramp end",
        "changed",
        "submit 1",
        "new 2",
        "new end",
    ]


def test_an_errand_finds_the_models_at_rest(stage: Stage) -> None:
    errands = Errands()
    asker = ThreadPoolExecutor(1)
    asked: list[Future[None]] = []

    def ask() -> list[Item]:
        asked.append(asker.submit(errands.ask, lambda: stage.log.append("errand"), 10.0))
        while not errands.waiting:
            threading.Event().wait(0.001)
        return [frame("gate", seq=2)]

    script = Script([frame("gate", seq=1)], [], [])
    take = script.take
    script.take = lambda *a: [*take(*a), *(ask() if len(script._steps) == 1 else [])]  # type: ignore[method-assign]
    stage.play(script, errands=errands)
    asked[0].result(10.0)
    asker.shutdown()

    assert stage.log == [
        "submit 1",
        "submit 1",
        "gate 1",
        "gate 2",
        "errand",
        "gate end",
        "ramp end",
    ]


def test_a_camera_whose_frame_is_worked_on_is_not_silent(stage: Stage) -> None:
    def fall_silent() -> list[Item]:
        stage.clock.advance(SILENCE_S)
        return [frame("gate", seq=2, t_s=51.0)]

    script = Script([frame("gate", seq=1, t_s=50.0), frame("ramp", t_s=7.0)], [], [], [])
    take = script.take
    script.take = lambda *a: [*take(*a), *(fall_silent() if len(script._steps) == 1 else [])]  # type: ignore[method-assign]

    stage.play(script, live={"gate", "ramp"})

    assert stage.log == [
        "submit 2",
        "gate 1",
        "ramp 0",
        "submit 1",
        "ramp tick 8",
        "gate 2",
        "ramp tick 8",
        "gate end",
        "ramp end",
    ]


def test_a_stop_gives_up_what_comes_after_a_batch_that_hangs(stage: Stage) -> None:
    stage.detector.may_end.clear()
    mux = FrameMux(["gate"])

    with stage.thread(mux, drain_timeout_s=0.05) as thread:
        for seq in range(3):
            mux.put(frame(seq=seq))
        threading.Timer(0.2, stage.detector.may_end.set).start()

    assert thread.failed is None
    assert stage.plates == ["gate-0"]


def test_the_events_are_those_of_a_detector_that_is_waited_for(models: Models) -> None:
    told: dict[bool, list[tuple[str, str | None, int]]] = {}
    for overlaps in (False, True):
        stage = Stage(models)
        chosen = stage.models if overlaps else models
        sink, mux = Sink(), FrameMux(["gate", "ramp"])
        pipelines = {camera_id: _pipeline(camera_id) for camera_id in ("gate", "ramp")}
        with InferenceThread(
            chosen, mux, pipelines, sink, lambda: None, max_batch=4, live=()
        ) as thread:
            for seq in range(12):
                mux.put(_passing("gate", "AB12CDE", seq))
                mux.put(_passing("ramp", "XY34ZZ", seq))
            for camera_id in pipelines:
                mux.put(EndOfStream(camera_id=camera_id))
        stage.detector.close()
        assert thread.failed is None
        told[overlaps] = [(e.camera_id, e.plate, e.reads_count) for e in sink.stored]

    assert sorted(told[True]) == sorted(told[False])
    assert {(camera, plate) for camera, plate, _ in told[True]} == {
        ("gate", "AB12CDE"),
        ("ramp", "XY34ZZ"),
    }


def _pipeline(camera_id: str) -> CameraPipeline:
    def new_event_id(at: datetime) -> str:
        return f"{camera_id} {at.isoformat()}"

    return CameraPipeline(camera_id, TrackingSettings(), None, new_event_id=new_event_id)


def _passing(camera_id: str, text: str, seq: int) -> Frame:
    """Frame `seq` of a car that comes from the left at 10 frames a second."""
    image = blank_picture((640, 320))
    x = 20 + 10 * seq
    draw_plate(image, text, box_quad(x, 100, x + 300, 200))
    image.setflags(write=False)
    t_s = seq / 10
    return Frame(
        camera_id=camera_id,
        seq=seq,
        captured_at=AT + timedelta(seconds=t_s),
        t_s=t_s,
        image=image,
    )
