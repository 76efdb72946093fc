"""Somebody may have a camera's next frame; the mux gets all of them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import numpy as np

from alprd.cameras.mux import FrameMux
from alprd.cameras.tap import FrameTap
from alprd.core.types import EndOfStream, Frame


def frame(seq: int, camera_id: str = "gate") -> Frame:
    return Frame(
        camera_id=camera_id,
        seq=seq,
        captured_at=datetime(2026, 11, 21, tzinfo=timezone.utc),
        t_s=float(seq),
        image=np.zeros((2, 2, 3), np.uint8),
    )


def test_the_next_frame_goes_to_everybody_who_waits_and_to_the_mux() -> None:
    mux = FrameMux(["gate"])
    tap = FrameTap(mux)
    ended = threading.Event()
    with ThreadPoolExecutor(2) as askers:
        waiting = [askers.submit(tap.next_frame, "gate", 5.0) for _ in range(2)]

        def feed() -> None:
            seq = 0
            while not ended.wait(0.001):  # until both have asked
                tap.offer(frame(seq))
                seq += 1

        feeder = threading.Thread(target=feed)
        feeder.start()
        got = [each.result(5.0) for each in waiting]
        ended.set()
        feeder.join(5.0)
    assert all(each is not None and each.camera_id == "gate" for each in got)
    assert len(mux.take(8, 0.0)) == 1


def test_a_recorded_frame_is_shown_too_and_the_end_is_none() -> None:
    mux = FrameMux(["gate"])
    tap = FrameTap(mux)
    with ThreadPoolExecutor(1) as asker:
        waiting = asker.submit(tap.next_frame, "gate", 5.0)
        tap.put(EndOfStream(camera_id="gate"))
        seq = 0
        while not waiting.done():
            tap.put(frame(seq))
            mux.take(8, 0.001)
            seq += 1
        assert waiting.result(5.0) is not None


def test_another_cameras_frame_is_not_the_one_and_waiting_ends() -> None:
    tap = FrameTap(FrameMux(["gate", "yard"]))
    with ThreadPoolExecutor(1) as asker:
        waiting = asker.submit(tap.next_frame, "gate", 0.05)
        tap.offer(frame(0, "yard"))
        assert waiting.result(5.0) is None
    tap.offer(frame(1))  # nobody waits any more
    assert tap.dropped("gate") == 0
