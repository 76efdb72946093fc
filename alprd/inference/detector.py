"""The detector: frames in, plates and vehicles out, whatever runs the network."""

from __future__ import annotations

from collections.abc import Sequence

from alprd.core.types import Detection, FrameImage
from alprd.inference.decoding import DetectorDecoding, detector_outputs
from alprd.inference.manifest import DetectorManifest
from alprd.inference.network import Network
from alprd.inference.preprocess import InputBatch, on_host

__all__ = ["NetworkDetector", "detector_outputs"]


class NetworkDetector:
    """Implements the Detector port; used by one thread."""

    def __init__(self, manifest: DetectorManifest, network: Network) -> None:
        self._network = network
        self._decoding = DetectorDecoding(manifest)
        rows = 1 if self._decoding.one_by_one else network.max_batch
        self._input = InputBatch(manifest.input, rows)

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
        return self._decoding.decode(outputs, placements)
