"""The second look: other cuts of a plate that was read unsurely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pytest

from alprd.core.types import Detection, PlateRead
from alprd.inference.second_look import LOOKS, MOVED, TRUSTED, SecondLook, resized, upright
from alprd.ports import ImageU8

FRAME = np.zeros((40, 60, 3), np.uint8)
QUAD = np.array([[10, 10], [30, 14], [29, 22], [9, 18]], np.float32)


def plate(quad: np.ndarray = QUAD) -> Detection:
    return Detection(label="plate", score=0.8, box=(9.0, 10.0, 30.0, 22.0), quad=quad)


class Scripted:
    """Reads each quad as told: by the look that made it (0 is the first read)."""

    def __init__(self, *answers: tuple[str, float | None]) -> None:
        self.answers = answers
        self.calls: list[int] = []

    def read(self, plates: Sequence[tuple[ImageU8, Detection, float]]) -> list[PlateRead]:
        self.calls.append(len(plates))
        reads = []
        for _, found, t_s in plates:
            assert found.quad is not None
            made = [QUAD, *(look(QUAD) for look in LOOKS)]
            number = next(k for k, quad in enumerate(made) if np.array_equal(quad, found.quad))
            text, quality = self.answers[number]
            probs = np.full((len(text), 37), 1 / 37, np.float32)
            reads.append(
                PlateRead(
                    text=text,
                    char_probs=probs,
                    quad=found.quad,
                    t_s=t_s,
                    score=found.score,
                    quality=quality,
                )
            )
        return reads


def test_a_sure_read_is_not_looked_at_again() -> None:
    reader = Scripted(("LS15EBC", 0.95), ("X", 1.0), ("X", 1.0), ("X", 1.0))
    [read] = SecondLook(reader, 0.9).read([(FRAME, plate(), 1.0)])
    assert (read.text, reader.calls) == ("LS15EBC", [1])


def test_the_surest_of_the_looks_counts_and_keeps_the_plates_own_corners() -> None:
    reader = Scripted(("LS15E8C", 0.4), ("LS15EBC", 0.8), ("LSI5EBC", 0.5), ("", 0.0))
    [read] = SecondLook(reader, 0.9).read([(FRAME, plate(), 1.0)])
    assert (read.text, read.quality, read.char_probs.shape) == ("LS15EBC", 0.8, (7, 37))
    assert np.array_equal(read.quad, QUAD)


def test_all_unsure_plates_of_a_batch_share_one_more_call_and_the_order_stays() -> None:
    reader = Scripted(("A", 0.1), ("B", 0.2), ("C", 0.3), ("D", 0.2))
    plates = [(FRAME, plate(), t_s) for t_s in (1.0, 2.0)]
    reads = SecondLook(reader, 0.9).read(plates)
    assert [(read.text, read.t_s) for read in reads] == [("C", 1.0), ("C", 2.0)]
    assert reader.calls == [2, 2 * len(LOOKS)]


def test_the_first_read_stays_where_no_other_is_clearly_surer() -> None:
    reader = Scripted(("A", 0.5), ("B", 0.5), ("C", 0.54), ("D", None))
    [read] = SecondLook(reader, 0.9).read([(FRAME, plate(), 1.0)])
    assert (read.text, read.quality) == ("A", 0.5)


def test_a_reader_without_a_quality_output_and_a_threshold_of_0_read_once() -> None:
    silent = Scripted(("A", None), ("B", 1.0), ("C", 1.0), ("D", 1.0))
    assert SecondLook(silent, 0.9).read([(FRAME, plate(), 1.0)])[0].text == "A"
    unsure = Scripted(("A", 0.0), ("B", 1.0), ("C", 1.0), ("D", 1.0))
    assert SecondLook(unsure, 0.0).read([(FRAME, plate(), 1.0)])[0].text == "A"
    assert silent.calls == unsure.calls == [1]
    assert SecondLook(silent, 0.9).read([]) == []


def test_a_plate_without_corners_is_looked_at_by_its_box() -> None:
    class Boxed(Scripted):
        def read(self, plates: Sequence[tuple[ImageU8, Detection, float]]) -> list[PlateRead]:
            return super().read(
                [(i, p if p.quad is not None else replace(p, quad=QUAD), t) for i, p, t in plates]
            )

    reader = Boxed(("A", 0.1), ("B", 0.2), ("C", 0.1), ("D", 0.1))
    [read] = SecondLook(reader, 0.9).read([(FRAME, replace(plate(), quad=None), 1.0)])
    assert read.text == "B"


def test_a_read_with_other_corners_and_a_plate_that_is_cut_anew_keep_all_else() -> None:
    class Full(Seeing):
        def read(self, plates: Sequence[tuple[ImageU8, Detection, float]]) -> list[PlateRead]:
            self.plates = [found for _, found, _ in plates]
            return super().read(plates)

        def one(self, found: Detection, t_s: float) -> PlateRead:
            made = super().one(found, t_s)
            self.made = replace(made, regions=(("GB", 0.9),), sharpness=7.0)
            return self.made

    reader = Full(FAR, first=0.95, again=1.0)
    [read] = SecondLook(reader, 0.9).read([(FRAME, plate(), 1.0)])
    [cut] = reader.plates
    for field in fields(Detection):
        if field.name != "quad":
            assert getattr(cut, field.name) == getattr(plate(), field.name)
    assert np.array_equal(read.quad, FAR + np.float32(0.25))
    for field in fields(PlateRead):
        if field.name != "quad":
            assert getattr(read, field.name) is getattr(reader.made, field.name)


def test_many_plates_are_cut_anew_as_each_one_alone() -> None:
    quads = (QUAD + np.random.default_rng(1).normal(0, 3, (9, 4, 2))).astype(np.float32)
    for look in LOOKS:
        together = look(quads)
        assert together.dtype == np.float32
        assert np.array_equal(together, [look(quad) for quad in quads])


def test_upright_sides_are_vertical_and_keep_the_middle_of_both_sides() -> None:
    found = upright(QUAD)
    assert found[0, 0] == found[3, 0]
    assert found[1, 0] == found[2, 0]
    assert (found[0] + found[3]) / 2 == pytest.approx((QUAD[0] + QUAD[3]) / 2)
    assert (found[1] + found[2]) / 2 == pytest.approx((QUAD[1] + QUAD[2]) / 2)


def test_a_resized_plate_keeps_its_centre_and_its_slant() -> None:
    found = resized(QUAD, 2.0, 0.5)
    assert found.mean(0) == pytest.approx(QUAD.mean(0))
    assert found[1] - found[0] == pytest.approx(2 * (QUAD[1] - QUAD[0]))
    assert found[3] - found[0] == pytest.approx(0.5 * (QUAD[3] - QUAD[0]))


class Seeing:
    """Sees corners of its own at every cut, with a quality for the detector's corners, for those
    that it saw itself, and for any other.
    """

    def __init__(
        self, sees: np.ndarray, *, first: float | None, again: float = 0.0, other: float = 0.0
    ) -> None:
        self.sees, self.first, self.again, self.other = sees, first, again, other
        self.calls: list[list[np.ndarray]] = []

    def read(self, plates: Sequence[tuple[ImageU8, Detection, float]]) -> list[PlateRead]:
        self.calls.append([found.quad for _, found, _ in plates if found.quad is not None])
        return [self.one(found, t_s) for _, found, t_s in plates]

    def one(self, found: Detection, t_s: float) -> PlateRead:
        assert found.quad is not None
        own = np.array_equal(found.quad, self.sees)
        first = np.array_equal(found.quad, QUAD)
        return PlateRead(
            text="OWN" if own else "FIRST" if first else "OTHER",
            char_probs=np.full((3, 37), 1 / 37, np.float32),
            quad=found.quad,
            t_s=t_s,
            score=found.score,
            quality=self.again if own else self.first if first else self.other,
            refined=self.sees + np.float32(0.25 if own else 0.0),
        )


WIDTH_PX = float(np.linalg.norm(QUAD[1] - QUAD[0]))
NEAR = (QUAD + np.float32(MOVED * WIDTH_PX / 2)).astype(np.float32)
FAR = QUAD + np.array([[0, 2], [0, -3], [0, -3], [0, 2]], np.float32)


def test_a_sure_readers_corners_are_taken_without_another_cut() -> None:
    reader = Seeing(NEAR, first=0.95)
    [read] = SecondLook(reader, 0.9).read([(FRAME, plate(), 1.0)])
    assert read.text == "FIRST"
    assert np.array_equal(read.quad, NEAR)
    assert len(reader.calls) == 1


def test_corners_that_are_far_off_get_one_more_cut_even_of_a_sure_read() -> None:
    reader = Seeing(FAR, first=0.91, again=0.93)
    [read] = SecondLook(reader, 0.9).read([(FRAME, plate(), 1.0)])
    assert [len(quads) for quads in reader.calls] == [1, 1]
    assert np.array_equal(reader.calls[1][0], FAR)
    assert read.text == "FIRST"  # not surer by the margin
    assert np.array_equal(read.quad, FAR + np.float32(0.25))  # but seen best there


def test_the_corrected_cut_is_read_beside_the_other_looks_in_one_call() -> None:
    reader = Seeing(FAR, first=0.4, again=0.8, other=0.5)
    [read] = SecondLook(reader, 0.9).read([(FRAME, plate(), 1.0)])
    assert [len(quads) for quads in reader.calls] == [1, 1 + len(LOOKS)]
    assert (read.text, read.quality) == ("OWN", 0.8)
    assert np.array_equal(read.quad, FAR + np.float32(0.25))


def test_an_unsure_readers_corners_are_not_trusted() -> None:
    low = TRUSTED - 0.01
    reader = Seeing(FAR, first=low, again=low, other=low)
    [read] = SecondLook(reader, 0.9).read([(FRAME, plate(), 1.0)])
    assert (read.text, read.quality) == ("FIRST", low)
    assert np.array_equal(read.quad, QUAD)


def test_without_a_second_look_the_first_ones_corners_still_count() -> None:
    reader = Seeing(FAR, first=0.5, again=1.0, other=1.0)
    [read] = SecondLook(reader, 0.0).read([(FRAME, plate(), 1.0)])
    assert (read.text, len(reader.calls)) == ("FIRST", 1)
    assert np.array_equal(read.quad, FAR)


def test_corners_of_a_reader_without_a_quality_output_are_taken_as_they_are() -> None:
    reader = Seeing(FAR, first=None)
    [read] = SecondLook(reader, 0.9).read([(FRAME, plate(), 1.0)])
    assert len(reader.calls) == 1
    assert np.array_equal(read.quad, FAR)
