"""The inference thread loses no event, survives bad frames and ends when a model fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from alprd.cameras.mux import FrameMux
from alprd.core.types import Detection, EndOfStream, Frame, PlateEvent, PlateRead
from alprd.inference.models import Models
from alprd.inference.preprocess import ImageError
from alprd.inference.thread import COMPLAINT_INTERVAL_S, SILENCE_S, InferenceThread
from alprd.inference.unsaved import RETRY_S
from alprd.ports import EngineError, ImageU8, OutboxError
from support.inference import FakeClock, event, frame

BAD = 255
"""Pixels of a frame that the models refuse."""

PLATE = Detection(
    label="plate",
    score=0.9,
    box=(1.0, 1.0, 5.0, 3.0),
    quad=np.array([[1, 1], [5, 1], [5, 3], [1, 3]], np.float32),
)
Item = Frame | EndOfStream


class Script:
    """A mux that plays prepared batches; a callable among them runs when its turn comes."""

    def __init__(self, *steps: Sequence[Item] | Callable[[], object]) -> None:
        self._steps = list(steps)

    @property
    def closed(self) -> bool:
        return not self._steps

    def take(self, max_batch: int, timeout_s: float) -> list[Item]:
        assert max_batch > 0
        assert timeout_s <= 1.0
        step = self._steps.pop(0)
        if callable(step):
            step()
            return []
        return list(step)

    def close(self) -> None:
        """The script ends by itself."""


class Networks:
    """Detector and reader at once: one plate per frame, refusing bad frames."""

    def __init__(self) -> None:
        self.detect_calls: list[int] = []
        self.read_calls: list[int] = []
        self.broken: Exception | None = None
        self.unreadable = False

    def detect(self, images: Sequence[ImageU8]) -> list[list[Detection]]:
        if self.broken is not None:
            raise self.broken
        if any((image == BAD).all() for image in images):
            raise ImageError("OpenCV cannot process the frame: rubbish")
        self.detect_calls.append(len(images))
        return [[PLATE] for _ in images]

    def read(self, plates: Sequence[tuple[ImageU8, Detection, float]]) -> list[PlateRead]:
        if any((image == BAD - 1).all() for image, _, _ in plates):
            raise ImageError("OpenCV cannot process the frame: rubbish")
        self.read_calls.append(len(plates))
        return [
            PlateRead(
                text=f"T{t_s:g}",
                char_probs=np.ones((1, 37), np.float32),
                quad=np.zeros((4, 2), np.float32),
                t_s=t_s,
                score=plate.score,
            )
            for _, plate, t_s in plates
        ]

    def models(self) -> Models:
        return Models(
            detector=self,
            reader=self,
            input_size=(8, 8),
            hashes={},
            backend="none",
            reason="a test",
            prove=lambda: None,
        )


class Later:
    """An answer that is there when it is waited for; of plates nothing is certain before."""

    def __init__(self, answers: Sequence[Any]) -> None:
        self._answers = answers

    def known(self) -> list[None]:
        return [None] * len(self._answers)

    def result(self) -> list[Any]:
        return [*self._answers]


class AheadDetector:
    def __init__(self, networks: Networks) -> None:
        self.detect = networks.detect

    def submit(self, images: Sequence[ImageU8]) -> Later:
        return Later(self.detect(images))


class AheadReader:
    def __init__(self, networks: Networks) -> None:
        self.read = networks.read

    def submit(self, plates: Sequence[tuple[ImageU8, Detection, float]]) -> Later:
        return Later(self.read(plates))


class NetworksAhead(Networks):
    """They work while their caller does something else."""

    def models(self) -> Models:
        return replace(super().models(), detector=AheadDetector(self), reader=AheadReader(self))


class Recorder:
    """A pipeline that notes what it is asked and gives one event per frame if told to."""

    def __init__(self, name: str = "gate", *, per_frame: bool = False) -> None:
        self.name = name
        self.calls: list[str] = []
        self._per_frame = per_frame

    def select(self, frame: Frame, detections: Sequence[Detection]) -> list[Detection]:
        assert frame.camera_id in ("gate", "ramp", "yard")
        return list(detections)

    def step(
        self, frame: Frame, detections: Sequence[Detection], reads: Sequence[PlateRead]
    ) -> list[PlateEvent]:
        assert len(reads) == len(detections)
        self.calls.append(f"step {frame.seq} {','.join(read.text for read in reads)}")
        return [event(f"{self.name}-{frame.seq}")] if self._per_frame else []

    def tick(self, t_s: float) -> list[PlateEvent]:
        self.calls.append(f"tick {t_s:g}")
        return []

    def finish(self) -> list[PlateEvent]:
        self.calls.append("finish")
        return [event(f"{self.name}-end")]


class Disk:
    def __init__(self) -> None:
        self.full = False
        self.saved: list[str] = []

    def add(self, events: Sequence[PlateEvent]) -> None:
        if self.full:
            raise OutboxError("outbox.sqlite: the disk is full; make room")
        self.saved += [each.plate for each in events]


class Stage:
    """Everything around one inference thread."""

    def __init__(self, *names: str, per_frame: bool = False) -> None:
        self.networks = Networks()
        self.disk = Disk()
        self.clock = FakeClock()
        self.pipelines = {name: Recorder(name, per_frame=per_frame) for name in names or ("gate",)}
        self.beats = 0
        self.failures: list[Exception] = []

    def beat(self) -> None:
        self.beats += 1

    def thread(self, queue: Script | FrameMux, **changes: object) -> InferenceThread:
        arguments: Mapping[str, Any] = {
            "max_batch": 4,
            "live": frozenset(),
            "on_failure": self.failures.append,
            "clock": self.clock,
        }
        return InferenceThread(
            self.networks.models(),
            queue,
            self.pipelines,
            self.disk,
            self.beat,
            **{**arguments, **changes},
        )

    def play(
        self, *steps: Sequence[Item] | Callable[[], object], **changes: object
    ) -> InferenceThread:
        with self.thread(Script(*steps), **changes) as thread:
            pass
        return thread


def bad_frame(camera_id: str = "gate", *, value: int = BAD, seq: int = 0) -> Frame:
    return frame(camera_id, seq=seq, image=np.full((8, 8, 3), value, np.uint8))


def test_all_plates_of_a_batch_are_read_in_one_call_and_reach_their_own_cameras() -> None:
    stage = Stage("gate", "ramp")

    stage.play([frame("gate", seq=1, t_s=1.0), frame("ramp", seq=2, t_s=2.0)])

    assert stage.networks.detect_calls == [2]
    assert stage.networks.read_calls == [2]
    assert stage.pipelines["gate"].calls == ["step 1 T1", "finish"]
    assert stage.pipelines["ramp"].calls == ["step 2 T2", "finish"]


def test_the_end_of_a_file_ends_its_cameras_tracks_and_no_others() -> None:
    stage = Stage("gate", "ramp")

    stage.play(
        [frame("gate"), EndOfStream(camera_id="ramp")],
        lambda: stage.pipelines["gate"].calls.append("later"),
    )

    assert stage.pipelines["ramp"].calls[0] == "finish"
    assert stage.pipelines["gate"].calls[:2] == ["step 0 T0", "later"]


def test_leaving_drains_the_mux_ends_all_tracks_and_stores_their_events() -> None:
    stage = Stage(per_frame=True)
    mux = FrameMux(["gate"])

    with stage.thread(mux):
        for seq in range(20):
            mux.put(frame(seq=seq, t_s=seq / 10))

    assert stage.disk.saved == [f"gate-{seq}" for seq in range(20)] + ["gate-end"]


def test_frames_of_a_camera_without_a_pipeline_are_ignored() -> None:
    stage = Stage()

    thread = stage.play([frame("stranger"), EndOfStream(camera_id="stranger")], [frame("gate")])

    assert thread.failed is None
    assert stage.networks.detect_calls == [1]


def test_the_thread_beats_while_nothing_comes() -> None:
    stage = Stage()

    stage.play([], [], [])

    assert stage.beats == 3 + 1, "and after the events of the end"
    assert stage.networks.detect_calls == []


def test_a_bad_frame_costs_only_itself() -> None:
    stage = Stage("gate", "ramp")

    thread = stage.play(
        [bad_frame("gate"), frame("ramp", seq=1)], [frame("gate", seq=2), frame("ramp", seq=3)]
    )

    assert thread.failed is None
    assert stage.pipelines["gate"].calls == ["step 2 T0", "finish"]
    assert stage.pipelines["ramp"].calls == ["step 1 T0", "step 3 T0", "finish"]
    assert thread.figures()["bad_frames"] == 1


def test_a_frame_that_fails_only_when_it_is_read_costs_only_itself() -> None:
    stage = Stage("gate", "ramp")

    thread = stage.play([bad_frame("gate", value=BAD - 1), frame("ramp", seq=1)])

    assert thread.failed is None
    assert stage.pipelines["gate"].calls == ["finish"]
    assert stage.pipelines["ramp"].calls == ["step 1 T0", "finish"]


def test_a_cameras_bad_frames_are_mentioned_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    complaints: list[str] = []

    def warning(_name: str, **values: str) -> None:
        complaints.append(values["camera"])

    stage = Stage("gate", "ramp")
    thread = stage.thread(
        Script(
            [bad_frame("gate")],
            [bad_frame("gate")],
            [bad_frame("ramp")],
            lambda: stage.clock.advance(COMPLAINT_INTERVAL_S),
            [bad_frame("gate")],
        )
    )
    monkeypatch.setattr("alprd.inference.thread.log.warning", warning, raising=False)

    with thread:
        pass

    assert complaints == ["gate", "ramp", "gate"]


def test_a_failing_model_ends_the_thread_reports_it_and_keeps_the_tracks_so_far() -> None:
    stage = Stage()

    def break_down() -> None:
        stage.networks.broken = EngineError("model.onnx failed")

    thread = stage.play([frame()], break_down, [frame(seq=1)], [frame(seq=2)])

    assert isinstance(thread.failed, EngineError)
    assert stage.failures == [thread.failed]
    assert stage.disk.saved == ["gate-end"]


def test_what_was_being_read_when_a_model_failed_is_followed_before_the_end() -> None:
    stage = Stage(per_frame=True)
    stage.networks = NetworksAhead()

    def break_down() -> None:
        stage.networks.broken = EngineError("model.onnx failed")

    class Overloaded(Script):
        """A callable and the batch behind it come at once."""

        def take(self, max_batch: int, timeout_s: float) -> list[Item]:
            items = super().take(max_batch, timeout_s)
            return items or super().take(max_batch, timeout_s)

    queue = Overloaded([frame(seq=0)], [frame(seq=1)], break_down, [frame(seq=2)], [frame(seq=3)])
    with stage.thread(queue) as thread:
        pass

    assert isinstance(thread.failed, EngineError)
    assert stage.disk.saved == ["gate-0", "gate-1", "gate-end"]


def test_any_other_error_ends_the_thread_too_and_is_reported() -> None:
    stage = Stage()
    stage.networks.broken = MemoryError()

    thread = stage.play([frame()])

    assert isinstance(thread.failed, MemoryError)
    assert stage.failures == [thread.failed]


def test_a_live_camera_that_falls_silent_gets_ticks_on_its_own_time_axis() -> None:
    stage = Stage()

    stage.play(
        [frame(t_s=50.0)],
        lambda: stage.clock.advance(SILENCE_S / 2),
        lambda: stage.clock.advance(SILENCE_S),
        live={"gate"},
    )

    assert stage.pipelines["gate"].calls == ["step 0 T50", "tick 51.5", "finish"]


def test_a_live_camera_whose_frames_are_all_broken_counts_as_silent() -> None:
    stage = Stage()
    later = [bad_frame(seq=1), bad_frame(value=BAD - 1, seq=2)]

    stage.play(
        [frame(t_s=50.0)],
        lambda: stage.clock.advance(SILENCE_S),
        [later[0]],
        lambda: stage.clock.advance(1.0),
        [later[1]],
        live={"gate"},
    )

    assert stage.pipelines["gate"].calls == [
        "step 0 T50",
        "tick 51",
        "tick 51",
        "tick 52",
        "tick 52",
        "finish",
    ]


def test_a_file_never_gets_ticks_however_long_it_takes_to_read() -> None:
    stage = Stage()

    stage.play([frame(t_s=50.0)], lambda: stage.clock.advance(3600.0))

    assert stage.pipelines["gate"].calls == ["step 0 T50", "finish"]


def test_a_live_camera_whose_stream_has_ended_gets_no_ticks() -> None:
    stage = Stage()

    stage.play(
        [frame(t_s=50.0)],
        [EndOfStream(camera_id="gate")],
        lambda: stage.clock.advance(10.0),
        live={"gate"},
    )

    assert stage.pipelines["gate"].calls == ["step 0 T50", "finish", "finish"]


def test_events_that_the_outbox_refuses_are_stored_first_when_it_accepts_again() -> None:
    stage = Stage(per_frame=True)
    kept: list[int] = []

    def fill() -> None:
        stage.disk.full = True

    def make_room() -> None:
        kept.append(len(stage.disk.saved))
        stage.disk.full = False
        stage.clock.advance(RETRY_S)

    thread = stage.play(
        [frame(seq=0)], fill, [frame(seq=1)], [frame(seq=2)], make_room, [frame(seq=3)]
    )

    assert kept == [1]
    assert thread.failed is None
    assert stage.disk.saved == ["gate-0", "gate-1", "gate-2", "gate-3", "gate-end"]


def test_refused_events_are_stored_as_soon_as_the_outbox_accepts_also_without_new_ones() -> None:
    stage = Stage(per_frame=True)
    stage.disk.full = True
    stored: list[str] = []

    def make_room() -> None:
        stage.disk.full = False
        stage.clock.advance(RETRY_S)

    stage.play([frame(seq=0)], make_room, lambda: stored.extend(stage.disk.saved))

    assert stored == ["gate-0"]


def test_events_that_cannot_be_stored_before_the_end_are_counted_and_fail_the_thread() -> None:
    stage = Stage(per_frame=True)
    stage.disk.full = True

    thread = stage.play([frame(seq=0)])

    assert isinstance(thread.failed, OutboxError)
    assert thread.figures()["lost_events"] == 2


def test_replaced_pipelines_serve_the_next_batch_and_the_old_ones_end_their_tracks() -> None:
    stage = Stage("gate", "ramp")
    old = dict(stage.pipelines)
    new_gate, yard = Recorder("new"), Recorder("yard")
    thread = stage.thread(
        Script(
            [frame("gate", seq=1), frame("ramp", seq=1)],
            lambda: thread.replace_pipelines(
                {"gate": new_gate, "ramp": old["ramp"], "yard": yard}, live={"yard"}
            ),
            [frame("gate", seq=2), frame("ramp", seq=2), frame("yard", seq=3)],
            lambda: stage.clock.advance(SILENCE_S),
        )
    )

    with thread:
        pass

    assert old["gate"].calls == ["step 1 T0", "finish"]
    assert new_gate.calls == ["step 2 T0", "finish"]
    assert old["ramp"].calls == ["step 1 T0", "step 2 T0", "finish"]
    assert yard.calls == ["step 3 T0", "tick 1", "finish"]
    assert stage.disk.saved == ["gate-end", "new-end", "ramp-end", "yard-end"]


def test_a_change_of_a_pipeline_is_made_between_batches_in_its_own_thread() -> None:
    stage = Stage("gate")
    gate = stage.pipelines["gate"]

    def retune(to: str) -> Callable[[], None]:
        return lambda: gate.calls.append(f"retune {to} in {threading.current_thread().name}")

    def reload_twice() -> None:
        for to in ("3 s", "4 s"):
            thread.replace_pipelines(dict(stage.pipelines), live=(), changes=[retune(to)])

    thread = stage.thread(Script([frame("gate", seq=1)], reload_twice, [frame("gate", seq=2)]))
    with thread:
        pass

    assert thread.failed is None
    assert gate.calls == [
        "step 1 T0",
        "retune 3 s in inference",
        "retune 4 s in inference",
        "step 2 T0",
        "finish",
    ]


def test_what_a_reload_ends_is_stored_even_if_a_model_fails_in_the_same_round() -> None:
    stage = Stage("gate", "ramp")

    def reload_and_break() -> list[Item]:
        thread.replace_pipelines({"ramp": stage.pipelines["ramp"]}, live=())
        stage.networks.broken = EngineError("model.onnx failed")
        return [frame("ramp")]

    script = Script([frame("gate")], [frame("ramp")])
    take = script.take
    script.take = lambda *a: [*take(*a), *([] if script._steps else reload_and_break())]  # type: ignore[method-assign]
    thread = stage.thread(script)
    with thread:
        pass

    assert isinstance(thread.failed, EngineError)
    assert stage.disk.saved == ["gate-end", "ramp-end"]


def test_a_pipeline_that_fails_costs_no_other_cameras_events() -> None:
    stage = Stage("gate", "ramp", "yard", per_frame=True)

    def fail(*_: object) -> list[PlateEvent]:
        raise ArithmeticError("a bug")

    stage.pipelines["ramp"].step = fail  # type: ignore[method-assign]
    stage.pipelines["ramp"].finish = fail  # type: ignore[method-assign]

    thread = stage.play([frame("gate"), frame("ramp"), frame("yard")])

    assert isinstance(thread.failed, ArithmeticError)
    assert stage.disk.saved == ["gate-0", "gate-end", "yard-end"]


def test_a_removed_cameras_tracks_are_ended_and_stored() -> None:
    stage = Stage("gate", "ramp")
    gate = stage.pipelines["gate"]
    thread = stage.thread(
        Script([frame("gate")], lambda: thread.replace_pipelines({}, live=()), [frame("gate")])
    )

    with thread:
        pass

    assert gate.calls == ["step 0 T0", "finish"]
    assert stage.disk.saved == ["gate-end", "ramp-end"]


def test_a_batch_that_never_ends_does_not_hold_up_the_stop_longer_than_allowed() -> None:
    stage = Stage()
    taken, release = threading.Event(), threading.Event()

    def hang(images: Sequence[ImageU8]) -> list[list[Detection]]:
        taken.set()
        release.wait(10.0)
        return [[] for _ in images]

    stage.networks.detect = hang  # type: ignore[method-assign]
    mux = FrameMux(["gate"])
    with stage.thread(mux, drain_timeout_s=0.01) as thread:
        mux.put(frame(seq=0))
        mux.put(frame(seq=1))
        taken.wait(10.0)
        threading.Timer(0.05, release.set).start()

    # The frame that was under way is finished, the one behind it is given up.
    assert thread.failed is None
    assert stage.pipelines["gate"].calls == ["step 0 ", "finish"]
    assert stage.disk.saved == ["gate-end"]


def test_a_stop_that_abandons_a_hung_batch_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    taken, release = threading.Event(), threading.Event()

    def hang(images: Sequence[ImageU8]) -> list[list[Detection]]:
        taken.set()
        release.wait(10.0)
        return [[] for _ in images]

    stage.networks.detect = hang  # type: ignore[method-assign]
    monkeypatch.setattr("alprd.inference.thread.ABANDON_S", 0.01)
    mux = FrameMux(["gate"])
    with stage.thread(mux, drain_timeout_s=0.01) as thread:
        mux.put(frame())
        taken.wait(10.0)
    failed = thread.failed
    release.set()

    assert isinstance(failed, TimeoutError)
    assert "abandoned" in str(failed)


def test_the_thread_beats_between_the_stages_of_a_batch() -> None:
    stage = Stage()
    seen: list[int] = []
    detect, read, step = stage.networks.detect, stage.networks.read, stage.pipelines["gate"].step
    stage.networks.detect = lambda i: (seen.append(stage.beats), detect(i))[1]  # type: ignore[method-assign]
    stage.networks.read = lambda p: (seen.append(stage.beats), read(p))[1]  # type: ignore[method-assign]
    stage.pipelines["gate"].step = lambda *a: (seen.append(stage.beats), step(*a))[1]  # type: ignore[method-assign]

    stage.play([frame()])

    assert seen == [1, 2, 3]


def test_the_thread_beats_after_every_cameras_events() -> None:
    stage = Stage("gate", "ramp", "yard", per_frame=True)
    seen: list[int] = []
    add = stage.disk.add
    stage.disk.add = lambda events: (seen.append(stage.beats), add(events))[1]  # type: ignore[method-assign]

    stage.play([frame("gate"), frame("ramp"), frame("yard")])

    assert seen[0] < seen[1] < seen[2], "each may have waited for the disk"


def test_figures_count_frames_plates_and_events() -> None:
    stage = Stage("gate", "ramp", per_frame=True)

    thread = stage.play([frame("gate"), frame("ramp")])

    figures = thread.figures()
    assert (figures["frames"], figures["plates"], figures["events"]) == (2, 2, 4)
    assert figures["stages"]["detect"] == {"median_ms": 0.0, "p95_ms": 0.0}
    assert (figures["unsaved_events"], figures["lost_events"]) == (0, 0)
