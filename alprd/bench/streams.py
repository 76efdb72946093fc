"""Whole streams: a clip as every camera's, read and decoded by the daemon's own camera threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from alprd import __version__
from alprd.bench.feed import camera_ids
from alprd.bench.measure import DRAIN_TIMEOUT_S, CountingSink
from alprd.bench.observed import counted
from alprd.bench.runner import SCHEMA, Progress
from alprd.bench.summary import rounded, spread, stages_ms
from alprd.bench.usage import MIB, AskGpu, Usage, peak_rss_bytes
from alprd.camera_set import CameraBook
from alprd.cameras.decoding import decided
from alprd.cameras.frames import OnGrab
from alprd.cameras.mux import FrameMux
from alprd.cameras.sources import CameraSource, open_source
from alprd.cameras.thread import CameraThread
from alprd.config import CameraSettings, TrackingSettings
from alprd.core.types import CameraStatus, EndOfStream, Frame
from alprd.inference.models import Models
from alprd.inference.thread import InferenceThread
from alprd.pipeline import CameraPipeline
from alprd.pipelines import new_event_id
from alprd.ports import CameraError

_LOOK_S = 0.2
"""At least so often somebody looks whether a camera failed, and a waiting camera shows life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCase:
    """How many cameras play the clip, and what decodes it."""

    cameras: int
    decode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRound:
    """What one run gave; fields as in `measure.Round`."""

    frames: int
    wall_s: float
    cpu_s: float
    plates: int
    events: tuple[str, ...]
    stages: Mapping[str, Any]
    gpu_percent: float | None
    gpu_peak_bytes: int | None
    on_gpu: bool


def run_streams(
    models: Models,
    *,
    source: Path,
    cameras: Sequence[int],
    decoders: Sequence[str],
    rounds: int,
    max_batch: int,
    ask_gpu: AskGpu | None,
    progress: Progress,
) -> dict[str, Any]:
    """Play the clip once per camera and round; plain values for JSON.

    Raises:
        CameraError: the clip cannot be read.
        EngineError: a model failed.
    """
    _check(source)
    chosen = [StreamCase(cameras=n, decode=decode) for n in cameras for decode in decoders]
    done: dict[StreamCase, list[StreamRound]] = {case: [] for case in chosen}
    for number in range(rounds):
        for case in chosen if number % 2 == 0 else reversed(chosen):
            progress(
                f"round {number + 1} of {rounds}: {case.cameras} cameras, decode {case.decode}"
            )
            done[case].append(_play(models, source, case, max_batch, ask_gpu))
    return {
        "schema": SCHEMA,
        "software": f"alprd {__version__}",
        "backend": {"name": models.backend, "reason": models.reason, **models.details},
        "models": dict(models.hashes),
        "source": str(source),
        "memory": {"peak_rss_mib": round(peak_rss_bytes() / MIB, 1)},
        "runs": [_summary(case, done[case]) for case in chosen],
    }


def _summary(case: StreamCase, rounds: Sequence[StreamRound]) -> dict[str, Any]:
    fps = spread([each.frames / each.wall_s for each in rounds])
    percents = [each.gpu_percent for each in rounds if each.gpu_percent is not None]
    peaks = [each.gpu_peak_bytes for each in rounds if each.gpu_peak_bytes is not None]
    return {
        "cameras": case.cameras,
        "decode": case.decode,
        "decoded_on_gpu": all(each.on_gpu for each in rounds),
        "rounds": len(rounds),
        "frames": rounds[0].frames,
        "fps": fps,
        "fps_per_camera": rounded(fps["median"] / case.cameras),
        "cpu_ms_per_frame": rounded(median(each.cpu_s * 1e3 / each.frames for each in rounds)),
        "cpu_cores": rounded(median(each.cpu_s / each.wall_s for each in rounds)),
        "gpu_percent": median(percents) if percents else None,
        "gpu_peak_mib": round(max(peaks) / MIB, 1) if peaks else None,
        "plates_per_frame": rounded(median(each.plates / each.frames for each in rounds)),
        "events": list(rounds[0].events),
        "same_events_in_all_rounds": len({each.events for each in rounds}) == 1,
        "stages_ms": stages_ms([each.stages for each in rounds]),
    }


class _Start:
    """Holds every camera until all have decoded a frame, so that no opening is measured."""

    def __init__(self, cameras: int) -> None:
        self._missing = cameras
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._given = threading.Event()

    def ready(self, timeout_s: float) -> bool:
        """Wait a moment; whether all cameras are waiting."""
        return self._ready.wait(timeout_s)

    def give(self) -> None:
        """Let them go."""
        self._given.set()

    def arrive(self, alive: OnGrab) -> None:
        """Wait for the others; calls `alive` now and then, which raises to end it."""
        with self._lock:
            self._missing -= 1
            if self._missing == 0:
                self._ready.set()
        while not self._given.wait(_LOOK_S):
            alive()


class _Held:
    """A source that waits at the start, its first frame in hands."""

    def __init__(self, source: CameraSource, start: _Start, alive: OnGrab) -> None:
        self._source = source
        self._start: _Start | None = start
        self._alive = alive
        self.live = source.live

    @property
    def warning(self) -> str | None:
        return self._source.warning

    def open(self) -> None:
        self._source.open()

    def read(self) -> Frame | None:
        frame = self._source.read()
        start, self._start = self._start, None
        if start is not None:
            start.arrive(self._alive)
        return frame

    def close(self) -> None:
        self._source.close()


class _Door:
    """The mux, closed behind the last camera's last frame."""

    def __init__(self, mux: FrameMux, cameras: int) -> None:
        self._mux = mux
        self._lock = threading.Lock()
        self._open = cameras
        self.frames = 0
        self.on_gpu = True

    def offer(self, frame: Frame) -> None:
        self._mux.offer(frame)

    def put(self, item: Frame | EndOfStream) -> None:
        self._mux.put(item)
        with self._lock:
            if isinstance(item, Frame):
                self.frames += 1
                self.on_gpu = self.on_gpu and hasattr(item.image, "pointers")
                return
            self._open -= 1
            if not self._open:
                self._mux.close()

    def dropped(self, camera_id: str) -> int:
        return self._mux.dropped(camera_id)


class _Silent:
    """A StateBoard for nobody."""

    def camera_status(self, status: CameraStatus) -> None:
        """Nobody asks."""

    def device(self, name: str, payload: Mapping[str, Any], *, retain: bool) -> None:
        """Nobody asks."""


def _play(
    models: Models, source: Path, case: StreamCase, max_batch: int, ask_gpu: AskGpu | None
) -> StreamRound:
    used, _ = counted(models, parallel=True)
    ids, sink = camera_ids(case.cameras), CountingSink()
    mux = FrameMux(ids)
    door, book = _Door(mux, case.cameras), CameraBook(_Silent(), lambda: None)
    start = _Start(case.cameras)
    inference = InferenceThread(
        used,
        mux,
        {
            name: CameraPipeline(name, TrackingSettings(), None, new_event_id=new_event_id)
            for name in ids
        },
        sink,
        lambda: None,
        max_batch=max_batch,
        live=(),
        on_failure=lambda _: mux.close(),
        drain_timeout_s=DRAIN_TIMEOUT_S,
    )

    def look() -> None:
        failed = book.failures()
        if failed:
            raise CameraError(f"{source}: {next(iter(failed.values()))}")

    with ExitStack() as stack:
        stack.enter_context(inference)
        for name in ids:
            settings = decided(
                _settings(name, source, case.decode), frames_on_gpu=models.gpu is not None
            )

            def opened(on_grab: OnGrab, settings: CameraSettings = settings) -> CameraSource:
                return _Held(open_source(settings, on_grab=on_grab), start, on_grab)

            stack.enter_context(
                CameraThread(settings, door, book, lambda: None, make_source=opened)
            )
        while not start.ready(_LOOK_S):
            look()
        with Usage(ask_gpu) as usage:
            start.give()
            while not inference.ended(_LOOK_S):
                look()
    if inference.failed is not None:
        raise inference.failed
    figures = inference.figures()
    return StreamRound(
        frames=door.frames,
        wall_s=usage.wall_s,
        cpu_s=usage.cpu_s,
        plates=figures["plates"],
        events=tuple(sorted(sink.plates)),
        stages=figures["stages"],
        gpu_percent=usage.gpu_percent,
        gpu_peak_bytes=usage.gpu_peak_bytes,
        on_gpu=door.on_gpu,
    )


def _settings(name: str, source: Path, decode: str) -> CameraSettings:
    chosen = {} if decode == "auto" else {"decode": decode}
    return CameraSettings.model_validate({"id": name, "source": str(source.absolute()), **chosen})


def _check(source: Path) -> None:
    """Open the clip once: cameras would try again for ever. Raises CameraError."""
    opened = open_source(_settings("check", source, "auto"))
    try:
        opened.open()
        if opened.live or opened.read() is None:
            raise CameraError(f"{source} is no clip with frames; give a video file")
    finally:
        opened.close()
