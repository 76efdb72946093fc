"""Of thousands of cells only those with a score that counts leave the GPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alprd.core.decode import Candidates, DetectorRules, Placement, best_class, placed
from alprd.core.types import Detection
from alprd.inference.cuda import Device, Stream
from alprd.inference.decoders import DetectorDecoder
from alprd.inference.gpu_memory import Memory, PinnedBlock
from alprd.inference.gpu_network import DeviceNetwork
from alprd.inference.manifest import DetectorManifest

_USUAL = 128
"""Records per frame that are copied at once; a busy street has about a hundred."""
_HEAD = 16  # bytes: how many there are, and what keeps the records aligned
_THREADS = 128


def gatherable(manifest: DetectorManifest, network: DeviceNetwork) -> bool:
    """Whether the GPU can pick the cells: boxes and scores of cells apart, as plain numbers."""
    decoder = manifest.decoder
    if not isinstance(decoder, DetectorDecoder):
        return False
    names = [decoder.outputs.boxes, decoder.outputs.scores]
    if decoder.outputs.corners is not None:
        names.append(decoder.outputs.corners)
    shapes = [network.shape(name, network.max_batch) for name in names]
    return (
        all(network.kind(name) == np.float32 for name in names)
        and all(len(shape) == 3 and min(shape) > 0 for shape in shapes)
        and len({shape[:2] for shape in shapes}) == 1
    )


class GpuCandidates:
    """The candidates of one batch on its way.

    Args:
        manifest: of a model that is `gatherable`.
        network: whose outputs.
        device: the GPU.
        memory: where it is taken from.
    """

    def __init__(
        self, manifest: DetectorManifest, network: DeviceNetwork, device: Device, memory: Memory
    ) -> None:
        decoder = manifest.decoder
        if not isinstance(decoder, DetectorDecoder):
            raise TypeError(f"{decoder.type} has no cells to gather")
        names = decoder.outputs
        self._device = device
        self._addresses = (
            network.output(names.boxes),
            network.output(names.scores),
            0 if names.corners is None else network.output(names.corners),
        )
        self._corners = 0 if names.corners is None else 8
        self._classes = len(decoder.labels)
        self._width = 2 + 4 + self._corners + self._classes
        self._cells = network.shape(names.boxes, network.max_batch)[1]
        self._rules = DetectorRules(
            labels=decoder.names,
            thresholds=decoder.thresholds,
            nms_iou=decoder.nms_iou,
            max_detections=decoder.max_detections,
        )
        # On the GPU there is room for every cell, so whatever the scene none is lost.
        self._capacity = network.max_batch * self._cells
        self._usual = min(_USUAL, self._cells)
        self._records = memory.on_device(_HEAD + 4 * self._width * self._capacity)
        self._host = memory.pinned(_HEAD + 4 * self._width * network.max_batch * self._usual)
        self._rest = PinnedBlock(memory)
        self._copied = 0
        thresholds = np.array(decoder.thresholds, np.float32)
        self._least = memory.on_device(thresholds.nbytes)
        stream = device.stream()
        device.upload(self._least, thresholds, stream)
        stream.synchronize()
        self._stream = stream

    def fetch(self, count: int, stream: Stream) -> None:
        """Let the stream gather and copy the candidates of a call of `count` rows."""
        device, width = self._device, self._width
        device.zero(self._records, _HEAD, stream)
        device.launch(
            "gather",
            (-(-self._cells // _THREADS), 1, count),
            (_THREADS, 1, 1),
            stream,
            (
                *self._addresses,
                self._least,
                self._cells,
                self._classes,
                self._capacity,
                self._records,
                self._records + _HEAD,
            ),
        )
        self._copied = count * self._usual
        device.download(self._host[: _HEAD + 4 * width * self._copied], self._records, stream)

    def detections(self, placements: Sequence[Placement]) -> list[list[Detection]]:
        """What was fetched, decoded as `decode_detections` does it.

        Call it where the context is current, once the stream has done its work.
        """
        count = int(self._host[:4].view(np.int32)[0])
        if not count:  # an empty road, most of the time
            return [[] for _ in placements]
        records = self._fetched(count)
        cells = records.view(np.int32).reshape(-1, self._width)
        # Threads came in any order: by image and cell the result does not depend on it.
        cells = cells[np.lexsort((cells[:, 1], cells[:, 0]))]
        values = cells[:, 2:].view(np.float32)
        scores = values[:, 4 + self._corners :]
        cell, label, score = best_class(scores, self._rules.thresholds)
        candidates = Candidates(
            image=cells[cell, 0].astype(np.intp),
            box=values[cell, :4],
            quad=values[cell, 4:12].reshape(-1, 4, 2) if self._corners else None,
            label=label,
            score=score,
        )
        return placed(candidates, placements, self._rules)

    def _fetched(self, count: int) -> NDArray[np.uint8]:
        """(count * record,) bytes."""
        size = 4 * self._width * count
        if count <= self._copied:
            return self._host[_HEAD : _HEAD + size]
        rest = self._rest.reserve(size)[:size]
        self._device.download(rest, self._records + _HEAD, self._stream)
        self._stream.synchronize()
        return rest
