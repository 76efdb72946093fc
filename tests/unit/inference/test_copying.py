"""Pictures are copied by several threads, and by nobody once the caller is through."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest

from alprd.inference.copying import Copiers, usual_helpers
from alprd.ports import EngineError, ImageU8

SIZES = ((720, 1280), (1, 1), (3, 500_000), (1080, 1920), (7, 9), (900, 1601))


@pytest.fixture(params=[0, 1, 3])
def copiers(request: pytest.FixtureRequest) -> Iterator[Copiers]:
    made = Copiers(request.param)
    yield made
    made.close()


def pictures() -> list[ImageU8]:
    random = np.random.default_rng(5)
    made = [random.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]
    return [*made[:-1], made[-1][:, ::2]]  # the last one with gaps


def test_pictures_are_there_as_soon_as_they_are_told_of_and_each_is_told_of_once(
    copiers: Copiers,
) -> None:
    for _ in range(3):
        pairs = [(np.zeros_like(picture), picture) for picture in pictures()]
        told = []
        with copiers.copying(pairs) as copied:
            for index in copied:
                assert np.array_equal(*pairs[index])
                told.append(index)
        assert sorted(told) == list(range(len(pairs)))


def test_no_pictures_are_copied_too(copiers: Copiers) -> None:
    with copiers.copying([]) as copied:
        assert list(copied) == []


def test_nobody_copies_any_more_when_the_caller_has_failed(copiers: Copiers) -> None:
    pairs = [(np.zeros_like(picture), picture) for picture in pictures() * 3]
    with suppress(EngineError), copiers.copying(pairs) as copied:
        next(copied)
        raise EngineError("the GPU failed")
    left = [to.copy() for to, _ in pairs]
    for _, picture in pairs:
        np.add(picture, 1, out=picture)

    with copiers.copying(pairs[:1]) as copied:  # they are fit for the next ones
        assert list(copied) == [0]
    copiers.close()

    assert np.array_equal(*pairs[0])
    assert all(np.array_equal(to, was) for (to, _), was in zip(pairs[1:], left[1:], strict=True))


@pytest.mark.parametrize(
    ("cores", "helpers"), [(1, 0), (2, 0), (3, 0), (4, 1), (6, 2), (8, 3), (16, 7), (192, 7)]
)
def test_half_of_the_cores_copy_but_not_more_than_the_memory_bears(
    monkeypatch: pytest.MonkeyPatch, cores: int, helpers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    assert usual_helpers() == helpers
