"""What a backend gives for the two models of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from alprd.inference.attribute_manifest import AttributeManifest
from alprd.inference.cuda import Device
from alprd.inference.network import Network
from alprd.ports import Detector, PlateReader


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendModels:
    """Both models, loaded; used by one thread at a time.

    Attributes:
        detector: finds plates and vehicles.
        reader: reads plates, each as often as it is asked to.
        networks: the bare networks by task ("detect", "read"), for the self-test and the bench.
        details: what `info` tells of it: GPU, versions, the plans' identities.
        open_engine: opens one more engine on the same GPU, a classifier's; None on the CPU.
        close: gives back what it holds; the networks are of no use afterwards.
        gpu: that they run on; None on the CPU.
    """

    detector: Detector
    reader: PlateReader
    networks: Mapping[str, Network]
    details: Mapping[str, Any]
    close: Callable[[], None]
    gpu: Device | None = None
    open_engine: Callable[[str, AttributeManifest], Network] | None = None
