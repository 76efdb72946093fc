"""Foreign alphabets, and readers trained with CTC (LPRNet, CRNN), which have no slots.

A CTC reader gives a distribution over its characters and the blank for each of T columns of the
crop: LPRNet (N, C, T) logits with the blank last, CRNN (T, N, C) log-probabilities with the blank
first. The greedy reading takes the best class of each column, runs of one class as one character,
and leaves out the blanks. For the vote each character has the distribution of the column of its run
in which it is surest.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from alprd.core.types import ALPHABET, BLANK

CHARACTERS = len(ALPHABET) + 1
"""Ours: those of a plate's text, then the blank."""

OURS: tuple[str | None, ...] = (*ALPHABET, None)
"""What the classes of a network mean whose posteriors need no folding."""


def folding(meanings: Sequence[str | None]) -> NDArray[np.float32]:
    """(C, 37) which of a network's C classes count as which of ours.

    Args:
        meanings: for each class one of `ALPHABET`; None for the blank and for a character that is
            left out of the text.
    """
    matrix = np.zeros((len(meanings), CHARACTERS), np.float32)
    for index, meaning in enumerate(meanings):
        matrix[index, BLANK if meaning is None else ALPHABET.index(meaning)] = 1.0
    return matrix


def folded(chars: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., 37) posteriors over our classes of (..., C) over the network's own.

    What is not finite makes all of its slot not finite, so that nothing is read there.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(chars @ matrix, np.float32)


def decode_ctc(
    chars: NDArray[np.float32],
    meanings: Sequence[str | None],
    matrix: NDArray[np.float32],
    blank: int,
) -> list[tuple[str, NDArray[np.float32]]]:
    """Text and (n, 37) posteriors of its characters for each crop.

    A run ends where the network's own class changes: of "a" and "A" side by side both count, though
    both are read as A. A crop with a value that is not finite has no text.

    Args:
        chars: (N, T, C) posteriors per column.
        meanings: as `folding` takes them.
        matrix: (C, 37) as `folding` gives it.
        blank: the class that separates.
    """
    ours = folded(chars, matrix)
    broken = set(np.nonzero(~np.isfinite(chars))[0].tolist())
    best = chars.argmax(axis=2)
    reads: list[tuple[str, NDArray[np.float32]]] = []
    for crop, path in enumerate(best):
        text: list[str] = []
        columns: list[int] = []
        starts = [0, *(np.flatnonzero(path[1:] != path[:-1]) + 1).tolist(), len(path)]
        for start, end in pairwise(starts):
            label = int(path[start])
            meaning = meanings[label]
            if label == blank or meaning is None or crop in broken:
                continue
            text.append(meaning)
            columns.append(start + int(chars[crop, start:end, label].argmax()))
        probs = np.clip(ours[crop, np.array(columns, np.intp)], 0.0, 1.0).astype(np.float32)
        reads.append(("".join(text), probs))
    return reads
