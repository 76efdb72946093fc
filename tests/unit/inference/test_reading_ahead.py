"""While the reader looks again at some plates, the frames of the others go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from alprd.core.types import Detection, FrameImage, PlateRead
from alprd.inference.batches import Lookout
from alprd.inference.figures import StageFigures
from alprd.inference.preprocess import ImageError
from alprd.inference.second_look import LOOKS, looking_twice
from support.inference import FakeClock
from support.plates_in_frames import make_frame, make_plate, make_read

Plates = Sequence[tuple[FrameImage, Detection, float]]

LOOK_S = 2.0
"""How long every call of the reader takes."""


class Reader:
    """Is unsure of plates with a low score; tells in `log` what happens when."""

    def __init__(self, clock: FakeClock, log: list[str]) -> None:
        self.clock = clock
        self.log = log
        self.bad_t_s: float | None = None

    def read(self, plates: Plates) -> list[PlateRead]:
        if any(t_s == self.bad_t_s for _, _, t_s in plates):
            raise ImageError("no picture")
        self.clock.advance(LOOK_S)
        self.log.append(f"read {len(plates)}")
        return [self._one(plate, t_s) for _, plate, t_s in plates]

    @staticmethod
    def _one(plate: Detection, t_s: float) -> PlateRead:
        assert plate.quad is not None
        made = make_read("LS15EBC", quality=plate.score, t_s=t_s)
        return replace(made, quad=plate.quad, score=plate.score)


class SubmittingReader(Reader):
    """Works by itself."""

    def submit(self, plates: Plates) -> Pending:
        self.log.append(f"begin {len(plates)}")
        return Pending(self, plates)


class Pending:
    def __init__(self, reader: Reader, plates: Plates) -> None:
        self.reader = reader
        self.plates = plates

    def known(self) -> list[PlateRead | None]:
        return [None] * len(self.plates)

    def result(self) -> list[PlateRead]:
        return self.reader.read(self.plates)


SURE, UNSURE = 0.95, 0.5
FRAMES = [make_frame(float(t_s)) for t_s in range(4)]
SELECTED = [
    [make_plate(score=SURE), make_plate(300.0, score=UNSURE)],
    [make_plate(score=SURE)],
    [],
    [make_plate(500.0, score=SURE)],
]


def watched(reader: Reader) -> tuple[list[str], list[list[PlateRead] | None], StageFigures]:
    """What happens when, what is read, and what is told of it."""
    figures = StageFigures(reader.clock)
    lookout = Lookout(
        NoDetector(),
        looking_twice(reader, 0.9),
        figures=figures,
        clock=reader.clock,
        complain=lambda _frame, _error: None,
    )
    found: dict[int, list[PlateRead] | None] = {}

    def follow(some: Sequence[tuple[int, list[PlateRead] | None]]) -> None:
        for index, reads in some:
            reader.log.append(f"frame {index}")
            reader.clock.advance(100.0)  # what is done with it is no time of the reader's
            found[index] = reads

    reading = lookout.begin_to_read(FRAMES, SELECTED)
    reader.log.append("meanwhile")
    reader.clock.advance(100.0)
    follow(lookout.certain(reading))
    follow(lookout.others(reading))
    return reader.log, [found[index] for index in range(len(FRAMES))], figures


class NoDetector:
    def detect(self, images: Sequence[FrameImage]) -> list[list[Detection]]:
        raise NotImplementedError


def test_frames_of_sure_plates_go_on_while_the_reader_looks_again_at_others() -> None:
    log, found, figures = watched(SubmittingReader(FakeClock(), []))
    again = len(LOOKS)
    assert log == [
        "begin 4",
        "meanwhile",
        "read 4",
        f"begin {again}",
        *("frame 1", "frame 2", "frame 3"),
        f"read {again}",
        "frame 0",
    ]
    assert [None if reads is None else len(reads) for reads in found] == [2, 1, 0, 1]
    per_plate_ms = 1e3 * 2 * LOOK_S / 4
    assert figures.snapshot()["stages"]["read"]["median_ms"] == pytest.approx(per_plate_ms)
    assert figures.snapshot()["plates"] == 4


def test_the_reads_are_those_of_a_reader_that_is_waited_for() -> None:
    waited, by_itself = Reader(FakeClock(), []), SubmittingReader(FakeClock(), [])
    log, expected, _ = watched(waited)
    _, found, _ = watched(by_itself)
    assert log[-len(FRAMES) :] == [f"frame {index}" for index in range(len(FRAMES))]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours is not None
        assert theirs is not None
        assert [(each.t_s, each.score, each.quality) for each in ours] == [
            (each.t_s, each.score, each.quality) for each in theirs
        ]
        assert all((a.quad == b.quad).all() for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("kind", [Reader, SubmittingReader])
def test_a_bad_frame_costs_no_other_its_plates(kind: type[Reader]) -> None:
    reader = kind(FakeClock(), [])
    reader.bad_t_s = 1.0
    _, found, _ = watched(reader)
    assert [None if reads is None else len(reads) for reads in found] == [2, None, 0, 1]


@pytest.mark.parametrize("asked", [("read",), ("submit", "read")])
def test_a_frame_that_only_the_second_look_shows_to_be_bad_costs_no_other_its_plates(
    asked: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = SubmittingReader(FakeClock(), [])

    def refusing(ask: Callable[[Plates], object]) -> Callable[[Plates], object]:
        def maybe(plates: Plates) -> object:
            if len(plates) == len(LOOKS):
                raise ImageError("no picture")
            return ask(plates)

        return maybe

    for name in asked:
        monkeypatch.setattr(reader, name, refusing(getattr(reader, name)))
    _, found, figures = watched(reader)
    assert [None if reads is None else len(reads) for reads in found] == [None, 1, 0, 1]
    assert figures.snapshot()["plates"] == len([each for some in SELECTED for each in some])
