"""The mux: newest wins for live cameras, nothing lost for files, nobody starved."""

from __future__ import annotations

import threading
from datetime import datetime, timezone

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alprd.cameras.mux import FrameMux
from alprd.core.types import EndOfStream, Frame

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)
IMAGE = np.zeros((1, 1, 3), np.uint8)


def frame(camera_id: str, seq: int) -> Frame:
    return Frame(camera_id=camera_id, seq=seq, captured_at=AT, t_s=float(seq), image=IMAGE)


def seen(batch: list[Frame | EndOfStream]) -> list[tuple[str, int]]:
    """(camera, seq) of each item; the end of a stream counts as -1."""
    return [(item.camera_id, item.seq if isinstance(item, Frame) else -1) for item in batch]


def test_a_newer_live_frame_replaces_the_one_that_waits_and_is_counted() -> None:
    mux = FrameMux()
    for seq in range(4):
        mux.offer(frame("a", seq))
    assert seen(mux.take(8, 0.0)) == [("a", 3)]
    assert mux.take(8, 0.0) == []
    assert mux.dropped("a") == 3
    assert mux.dropped("never-seen") == 0


def test_a_fast_camera_does_not_cost_a_slow_one_its_turn() -> None:
    mux = FrameMux(["fast", "slow"])
    mux.offer(frame("slow", 0))
    taken = []
    for seq in range(6):
        mux.offer(frame("fast", seq))
        taken += seen(mux.take(1, 0.0))
    assert ("slow", 0) in taken[:2]


def test_a_batch_holds_at_most_one_frame_of_each_camera() -> None:
    mux = FrameMux(["a", "b"])
    mux.put(frame("a", 0))
    mux.put(frame("a", 1))
    mux.put(frame("b", 0))
    assert seen(mux.take(8, 0.0)) == [("a", 0), ("b", 0)]
    assert seen(mux.take(8, 0.0)) == [("a", 1)]


def test_small_batches_go_round_the_cameras() -> None:
    mux = FrameMux(["a", "b", "c"])
    for camera_id in "abc":
        mux.put(frame(camera_id, 0))
        mux.put(frame(camera_id, 1))
    order = [seen(mux.take(2, 0.0)) for _ in range(3)]
    assert order == [
        [("a", 0), ("b", 0)],
        [("c", 0), ("a", 1)],
        [("b", 1), ("c", 1)],
    ]


def test_a_full_file_camera_waits_until_a_frame_is_taken() -> None:
    mux = FrameMux(file_depth=1)
    mux.put(frame("a", 0))
    writer = threading.Thread(target=mux.put, args=(frame("a", 1),), daemon=True)
    writer.start()
    writer.join(0.05)
    assert writer.is_alive()
    assert seen(mux.take(1, 0.0)) == [("a", 0)]
    writer.join(5.0)
    assert not writer.is_alive()
    assert seen(mux.take(1, 0.0)) == [("a", 1)]


def test_the_end_of_a_stream_comes_after_its_last_frame_and_needs_no_room() -> None:
    mux = FrameMux(file_depth=1)
    mux.put(frame("a", 0))
    mux.put(EndOfStream(camera_id="a"))
    assert seen(mux.take(8, 0.0)) + seen(mux.take(8, 0.0)) == [("a", 0), ("a", -1)]


def test_an_offered_frame_never_replaces_the_end_of_the_stream() -> None:
    mux = FrameMux()
    mux.offer(frame("a", 0))
    mux.put(EndOfStream(camera_id="a"))
    mux.offer(frame("a", 1))
    taken = [item for _ in range(3) for item in seen(mux.take(1, 0.0))]
    assert taken == [("a", 0), ("a", -1), ("a", 1)]
    assert mux.dropped("a") == 0


def test_take_wakes_up_for_the_first_frame() -> None:
    mux = FrameMux()
    threading.Timer(0.05, mux.offer, [frame("a", 7)]).start()
    assert seen(mux.take(1, 10.0)) == [("a", 7)]


def test_take_returns_empty_after_its_timeout() -> None:
    assert FrameMux(["a"]).take(1, 0.01) == []


def test_after_close_what_waits_can_be_taken_and_nothing_new_comes_in() -> None:
    mux = FrameMux()
    mux.offer(frame("a", 0))
    mux.put(frame("b", 0))
    mux.close()
    mux.close()
    mux.offer(frame("a", 1))
    mux.put(frame("b", 1))
    mux.put(EndOfStream(camera_id="b"))
    assert not mux.closed
    assert seen(mux.take(8, 10.0)) == [("a", 0), ("b", 0)]
    assert mux.closed
    assert mux.take(8, 10.0) == []


def test_close_frees_a_put_that_waits() -> None:
    mux = FrameMux(file_depth=1)
    mux.put(frame("a", 0))
    writer = threading.Thread(target=mux.put, args=(frame("a", 1),), daemon=True)
    writer.start()
    mux.close()
    writer.join(5.0)
    assert not writer.is_alive()


def test_a_removed_camera_ends_its_stream_at_once_and_stays_silent() -> None:
    mux = FrameMux(["a", "b"])
    mux.put(frame("a", 0))
    mux.remove_camera("a")
    mux.remove_camera("a")
    mux.offer(frame("a", 1))
    mux.put(frame("a", 2))
    assert seen(mux.take(8, 0.0)) == [("a", -1)]
    assert mux.take(8, 0.0) == []


def test_removing_frees_a_put_that_waits() -> None:
    mux = FrameMux(file_depth=1)
    mux.put(frame("a", 0))
    writer = threading.Thread(target=mux.put, args=(frame("a", 1),), daemon=True)
    writer.start()
    mux.remove_camera("a")
    writer.join(5.0)
    assert not writer.is_alive()


def test_a_put_from_before_a_removal_never_lands_in_the_stream_after_it() -> None:
    for _ in range(50):
        mux = FrameMux(["a"], file_depth=1)
        mux.put(frame("a", 0))
        writer = threading.Thread(target=mux.put, args=(frame("a", 99),), daemon=True)
        writer.start()
        while not mux._changed._waiters:  # type: ignore[attr-defined]
            writer.join(0.0001)
        mux.remove_camera("a")
        mux.add_camera("a")
        writer.join(5.0)
        assert not writer.is_alive()
        mux.put(EndOfStream(camera_id="a"))
        taken = [item for _ in range(3) for item in seen(mux.take(1, 0.0))]
        assert taken == [("a", -1), ("a", -1)]


def test_a_camera_that_is_added_again_delivers_again_after_its_end() -> None:
    mux = FrameMux(["a"])
    mux.remove_camera("a")
    mux.add_camera("a")
    mux.offer(frame("a", 0))
    assert seen(mux.take(1, 0.0)) + seen(mux.take(1, 0.0)) == [("a", -1), ("a", 0)]


def test_many_file_cameras_lose_nothing_and_keep_their_order() -> None:
    cameras = [f"c{n}" for n in range(5)]
    mux = FrameMux(cameras)
    length = 200

    def play(camera_id: str) -> None:
        for seq in range(length):
            mux.put(frame(camera_id, seq))
        mux.put(EndOfStream(camera_id=camera_id))

    players = [threading.Thread(target=play, args=(camera_id,)) for camera_id in cameras]
    for player in players:
        player.start()
    got: dict[str, list[int]] = {camera_id: [] for camera_id in cameras}
    while not all(seqs and seqs[-1] == -1 for seqs in got.values()):
        for camera_id, seq in seen(mux.take(3, 5.0)):
            got[camera_id].append(seq)
    for player in players:
        player.join()
    assert got == {camera_id: [*range(length), -1] for camera_id in cameras}


@given(
    st.lists(
        st.one_of(st.sampled_from(["a", "b", "c"]), st.integers(min_value=1, max_value=4)),
        max_size=60,
    )
)
def test_every_offered_frame_is_taken_once_or_counted(steps: list[str | int]) -> None:
    mux = FrameMux(["a", "b", "c"])
    offered = dict.fromkeys("abc", 0)
    taken: dict[str, list[int]] = {camera_id: [] for camera_id in "abc"}
    for step in [*steps, 8]:
        if isinstance(step, str):
            mux.offer(frame(step, offered[step]))
            offered[step] += 1
            continue
        batch = seen(mux.take(step, 0.0))
        assert len({camera_id for camera_id, _ in batch}) == len(batch) <= step
        for camera_id, seq in batch:
            taken[camera_id].append(seq)
    for camera_id, seqs in taken.items():
        assert seqs == sorted(set(seqs))
        assert len(seqs) + mux.dropped(camera_id) == offered[camera_id]
        assert not seqs or seqs[-1] == offered[camera_id] - 1


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=40))
def test_a_waiting_camera_is_served_within_one_round(busy: list[str]) -> None:
    mux = FrameMux(["a", "b", "c", "d"])
    mux.offer(frame("a", 0))
    rounds = 0
    while True:
        for camera_id in busy:
            if camera_id != "a":
                mux.offer(frame(camera_id, 0))
        rounds += 1
        if ("a", 0) in seen(mux.take(1, 0.0)):
            break
    assert rounds <= 4
