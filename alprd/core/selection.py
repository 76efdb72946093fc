"""What was selected of frames that have not been followed yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from alprd.core.geometry import Quad
from alprd.core.observe import Plate
from alprd.core.types import Detection, Frame

AHEAD: Final = 256
"""Frames that may be selected before they are stepped; more than any batch holds."""

Selected = tuple[Sequence[Detection], Sequence[Plate], frozenset[Quad]]
"""All detections of a frame, its plausible plates, and the corners of those that rest."""

_NOTHING: Final[Selected] = ((), (), frozenset())


class Selections:
    """Belongs to one pipeline and its thread."""

    def __init__(self) -> None:
        self._of: dict[tuple[int, float], Selected] = {}

    def remember(self, frame: Frame, selected: Selected) -> None:
        """Until the frame is stepped; some frames never are."""
        self._of[frame.seq, frame.t_s] = selected
        if len(self._of) > AHEAD:
            del self._of[next(iter(self._of))]

    def recall(self, frame: Frame) -> Selected:
        """What was remembered, once; nothing of a frame that nobody selected from."""
        return self._of.pop((frame.seq, frame.t_s), _NOTHING)
