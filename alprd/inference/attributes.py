"""The attribute stage: the best crops of every vehicle, asked about, and the event that says so.

Belongs to the inference thread. After a frame's vehicles were followed, those that show themselves
better than before are cut out; the crops of all cameras' frames go through each classifier in one
call. Where only events are to be described, the crops wait for the event, and most vehicles that
have none cost nothing. A classifier that fails is left out from then on; nothing else stops.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from alprd.core.attributes import (
    Answers,
    Head,
    described,
    is_colourless,
    sharp_share,
    vote,
    worth,
    worth_a_look,
)
from alprd.core.types import Attribute, Frame, PlateEvent
from alprd.core.vehicles import VehicleTrack
from alprd.inference.classifier import NetworkClassifier
from alprd.inference.preprocess import ImageError, on_host, sharpness
from alprd.ports import EngineError, ImageU8

MAX_VEHICLES = 1024
"""Vehicles that are remembered; of all cameras the longest unseen is forgotten first."""

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class _Crop:
    """One picture of a vehicle; `pictures` by classifier until they were asked about."""

    worth: float
    weight: float
    t_s: float
    colourless: bool
    pictures: dict[str, ImageU8]
    heads: dict[str, NDArray[np.float32]] = field(default_factory=dict)


class AttributeStage:
    """Describes vehicles.

    Args:
        classifiers: asked about every crop.
        most: crops of one vehicle that count, the best ones.
        only_events: ask when there is an event, not before.
        problems: what is wrong with classifiers that are configured but not here, by name.
        hashes: classifier -> "sha256:..." of its ONNX file.
    """

    def __init__(
        self,
        classifiers: Sequence[NetworkClassifier],
        *,
        most: int,
        only_events: bool,
        problems: Mapping[str, str] | None = None,
        hashes: Mapping[str, str] | None = None,
    ) -> None:
        self._classifiers = tuple(classifiers)
        self._most = most
        self._only_events = only_events
        self._crops: OrderedDict[tuple[str, int], tuple[_Crop, ...]] = OrderedDict()
        self.problems: Mapping[str, str] = dict(problems or {})
        """By classifier; replaced, never changed: others read it from their threads."""
        self.hashes: Mapping[str, str] = dict(hashes or {})
        self.looks = 0
        """Crops that classifiers were asked about, since start."""

    @property
    def heads(self) -> tuple[Head, ...]:
        """What is asked, of the classifiers that work."""
        return tuple(head for classifier in self._classifiers for head in classifier.heads)

    def figures(self) -> dict[str, Any]:
        """For health and info; callable from any thread."""
        return {
            "running": list(self.running),
            "problems": dict(self.problems),
            "looks": self.looks,
        }

    @property
    def running(self) -> tuple[str, ...]:
        """The classifiers that work."""
        return tuple(classifier.name for classifier in self._classifiers)

    def see(self, frame: Frame, vehicles: Iterable[VehicleTrack]) -> None:
        """Cut out the vehicles of a frame that are worth it.

        Args:
            frame: a pipeline has just followed it.
            vehicles: all that the pipeline follows.
        """
        there = [v for v in vehicles if v.last.captured_at == frame.captured_at]
        there = [v for v in there if v.last.frame_size == frame.size]
        if not there or not self._classifiers:
            return
        boxes = {v.id: v.last.detection.box for v in there}
        for vehicle in there:
            others = [box for known, box in boxes.items() if known != vehicle.id]
            value = worth(boxes[vehicle.id], frame.size, others)
            kept = self._crops.get((frame.camera_id, vehicle.id), ())
            looks = [(crop.worth, crop.t_s) for crop in kept]
            if worth_a_look(value, vehicle.last.t_s, looks, self._most):
                self._keep(frame, vehicle, value, kept)

    def _keep(
        self, frame: Frame, vehicle: VehicleTrack, value: float, kept: tuple[_Crop, ...]
    ) -> None:
        try:
            image = on_host(frame.image)
            box = vehicle.last.detection.box
            pictures = {c.name: c.cut(image, box) for c in self._classifiers}
        except ImageError:  # the detector worked on it; another frame will do
            return
        some = next(iter(pictures.values()))
        crop = _Crop(
            worth=value,
            weight=value * sharp_share(sharpness(some)),
            t_s=vehicle.last.t_s,
            colourless=is_colourless(some[::2, ::2]),
            pictures=pictures,
        )
        best = sorted((*kept, crop), key=lambda c: (-c.worth, c.t_s))[: self._most]
        key = frame.camera_id, vehicle.id
        self._crops[key] = tuple(best)
        self._crops.move_to_end(key)
        while len(self._crops) > MAX_VEHICLES:
            self._crops.popitem(last=False)

    def ask(self) -> None:
        """Ask about what was cut out, unless that waits for events."""
        if not self._only_events:
            self._ask([crop for kept in self._crops.values() for crop in kept if crop.pictures])

    def completed(self, events: Sequence[PlateEvent]) -> list[PlateEvent]:
        """The events with what their vehicles were seen to be."""
        mine = [self._of(event) for event in events]
        self._ask([crop for crops in mine for crop in crops if crop.pictures])
        return [
            described(event, [_answers(crop) for crop in crops], self.heads)
            for event, crops in zip(events, mine, strict=True)
        ]

    def described(self, event: PlateEvent) -> PlateEvent:
        """The pass with what is known of its vehicle by now; asks nothing."""
        return described(event, [_answers(crop) for crop in self._of(event)], self.heads)

    def known(self, camera_id: str, vehicle_id: int) -> tuple[Attribute, ...]:
        """What is known of a vehicle that is still in sight; asks about it if need be."""
        crops = self._crops.get((camera_id, vehicle_id), ())
        self._ask([crop for crop in crops if crop.pictures])
        return vote([_answers(crop) for crop in crops], self.heads)

    def forget(self, camera_id: str) -> None:
        """The camera's vehicles are counted anew."""
        for key in [key for key in self._crops if key[0] == camera_id]:
            del self._crops[key]

    def _of(self, event: PlateEvent) -> list[_Crop]:
        if event.vehicle is None:
            return []
        return [
            c for known in event.vehicle_ids for c in self._crops.get((event.camera_id, known), ())
        ]

    def _ask(self, crops: Sequence[_Crop]) -> None:
        """One call per classifier; one that fails is asked no more."""
        if not crops:
            return
        self.looks += len(crops)
        for classifier in self._classifiers:
            mine = [crop for crop in crops if classifier.name in crop.pictures]
            try:
                found = classifier.classify([crop.pictures[classifier.name] for crop in mine])
            except EngineError as error:
                self._leave_out(classifier, error)
                continue
            for crop, heads in zip(mine, found, strict=True):
                crop.heads.update(heads)
        for crop in crops:
            crop.pictures.clear()

    def _leave_out(self, classifier: NetworkClassifier, error: EngineError) -> None:
        self._classifiers = tuple(c for c in self._classifiers if c is not classifier)
        self.problems = {**self.problems, classifier.name: str(error)}
        log.error("attributes.failed", model=classifier.name, error=str(error))


def _answers(crop: _Crop) -> Answers:
    return Answers(weight=crop.weight, colourless=crop.colourless, heads=crop.heads)
