"""The detector: frames in, plates and vehicles out, whatever runs the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alprd.core.decode import DetectorRules, decode_detections
from alprd.core.types import Detection, FrameImage
from alprd.inference.manifest import DetectorManifest
from alprd.inference.network import Network, Shape, check_outputs
from alprd.inference.preprocess import InputBatch, on_host
from alprd.ports import EngineError


def detector_outputs(manifest: DetectorManifest) -> Mapping[str, Shape]:
    """Name and shape of every output that the decoder needs."""
    decoder = manifest.decoder
    shapes: dict[str, Shape] = {
        decoder.outputs.boxes: (None, None, 4),
        decoder.outputs.scores: (None, None, len(decoder.labels)),
    }
    if decoder.outputs.corners is not None:
        shapes[decoder.outputs.corners] = (None, None, 8)
    return shapes


class NetworkDetector:
    """Implements the Detector port; used by one thread."""

    def __init__(self, manifest: DetectorManifest, network: Network) -> None:
        decoder = manifest.decoder
        self._network = network
        self._input = InputBatch(manifest.input, network.max_batch)
        self._names = decoder.outputs
        self._shapes = detector_outputs(manifest)
        self._origin = f"{manifest.name}/{manifest.file}"
        self._rules = DetectorRules(
            labels=decoder.labels,
            thresholds=decoder.thresholds,
            nms_iou=decoder.nms_iou,
            max_detections=decoder.max_detections,
        )

    def detect(self, images: Sequence[FrameImage]) -> list[list[Detection]]:
        """Detections of each image, best score first, in the image's own pixels.

        Raises:
            ImageError: a picture cannot be processed; then none of the batch was.
            EngineError: the network failed.
        """
        found: list[list[Detection]] = []
        for start in range(0, len(images), self._input.max_batch):
            found.extend(self._detect_batch(images[start : start + self._input.max_batch]))
        return found

    def _detect_batch(self, images: Sequence[FrameImage]) -> list[list[Detection]]:
        placements = [
            self._input.fill_fitted(row, on_host(image)) for row, image in enumerate(images)
        ]
        outputs = self._network.run(self._input.rows, len(images))
        check_outputs(outputs, self._shapes, len(images), self._origin)
        cells = {name: outputs[name].shape[1] for name in self._shapes}
        if len(set(cells.values())) > 1:
            raise EngineError(
                f"{self._origin}: its outputs disagree on the number of cells ({cells}); correct "
                "decoder.outputs in the manifest, or export the model again"
            )
        corners = self._names.corners
        return decode_detections(
            outputs[self._names.boxes],
            outputs[self._names.scores],
            None if corners is None else outputs[corners],
            placements,
            self._rules,
        )
