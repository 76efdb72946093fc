"""Pictures are looked at without anybody waiting for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import numpy as np

from alprd.cameras.mux import FrameMux
from alprd.cameras.pictures import PictureWatch
from alprd.cameras.taken import TakenFrames
from alprd.cameras.tap import FrameTap
from alprd.core.types import Frame
from support.surfaces import lost_surface


def frame(camera_id: str, seq: int = 0, level: int = 0) -> Frame:
    image = np.full((48, 64, 3), level, np.uint8)
    image.flags.writeable = False
    return Frame(
        camera_id=camera_id,
        seq=seq,
        captured_at=datetime(2026, 11, 21, tzinfo=timezone.utc),
        t_s=float(seq),
        image=image,
    )


def test_a_camera_is_judged_by_the_frame_that_came_since_the_look_before() -> None:
    tap = FrameTap(FrameMux(["gate"]))
    watch = PictureWatch(tap, frozen_s=60.0)
    assert watch.look(["gate"], 0.0) == {"gate": None}
    assert watch.look(["gate"], 1.0) == {"gate": None}
    tap.offer(frame("gate"))
    assert watch.look(["gate"], 2.0) == {"gate": "black"}
    assert watch.look(["gate"], 3.0) == {"gate": "black"}  # the newest that is known


def test_a_camera_that_is_closed_is_forgotten_and_asked_for_nothing() -> None:
    tap = FrameTap(FrameMux(["gate"]))
    watch = PictureWatch(tap, frozen_s=60.0)
    watch.look(["gate"], 0.0)
    tap.offer(frame("gate"))
    watch.look(["gate"], 1.0)
    assert watch.look([], 2.0) == {}
    assert watch.look(["gate"], 3.0) == {"gate": None}
    watch.close()
    tap.offer(frame("gate"))  # nobody wants it any more, and that is no error


def test_the_same_frame_again_and_again_is_frozen() -> None:
    tap = FrameTap(FrameMux(["gate"]))
    watch = PictureWatch(tap, frozen_s=10.0)
    street = np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    seen = []
    for now in range(0, 16, 5):
        seen.append(watch.look(["gate"], float(now))["gate"])
        tap.offer(
            Frame(
                camera_id="gate",
                seq=now,
                captured_at=datetime(2026, 11, 21, tzinfo=timezone.utc),
                t_s=float(now),
                image=street,
            )
        )
    assert seen == [None, "clear", "clear", "frozen"]


def test_what_inference_takes_is_counted_per_camera() -> None:
    now_s = [5.0]
    mux = FrameMux(["gate", "yard"])
    taken = TakenFrames(mux, clock=lambda: now_s[0])
    assert taken.of("gate") is None
    mux.offer(frame("gate", 0))
    mux.offer(frame("gate", 1))  # replaces the one before: it is never looked at
    mux.offer(frame("yard", 0))
    assert len(taken.take(8, 0.0)) == 2
    now_s[0] = 6.0
    mux.offer(frame("gate", 2))
    taken.take(8, 0.0)
    counted = taken.of("gate")
    assert counted is not None
    assert (counted.frames, counted.last_s) == (2, 6.0)
    assert mux.dropped("gate") == 1
    taken.close()
    assert taken.closed


def test_a_frame_that_the_gpu_does_not_give_is_no_verdict_and_the_next_one_is_asked_for() -> None:
    tap = FrameTap(FrameMux(["gate"]))
    watch = PictureWatch(tap, frozen_s=60.0)
    watch.look(["gate"], 0.0)
    tap.offer(replace(frame("gate"), image=lost_surface()))
    assert watch.look(["gate"], 1.0) == {"gate": None}
    tap.offer(frame("gate"))
    assert watch.look(["gate"], 2.0) == {"gate": "black"}
