"""The classifiers that a configuration names: found, checked and proven.

The daemon goes on without those that cannot be used, and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from alprd.config.models import InferenceSettings
from alprd.inference.attribute_manifest import AttributeManifest, load_attribute_manifest
from alprd.inference.attributes import AttributeStage
from alprd.inference.classifier import (
    NetworkClassifier,
    check_classifier,
    classifier_outputs,
)
from alprd.inference.engines import CLASSIFIER_BATCH
from alprd.inference.manifest import load_onnx
from alprd.inference.network import Network
from alprd.inference.onnx import OnnxNetwork
from alprd.ports import EngineError

OpenEngine = Callable[[str, AttributeManifest], Network]
"""The engine of a classifier on the GPU. Raises EngineError."""

log = structlog.get_logger(__name__)


def load_attributes(
    settings: InferenceSettings, open_engine: OpenEngine | None = None
) -> AttributeStage | None:
    """The stage with every classifier that can be used; None where none is configured.

    Args:
        settings: which classifiers, and what they are asked.
        open_engine: where TensorRT runs the other models; a classifier without a plan that fits
            runs on the CPU.
    """
    if not settings.attributes:
        return None
    classifiers: list[NetworkClassifier] = []
    hashes: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name in dict.fromkeys(settings.attributes):
        try:
            manifest, classifier = _load(name, settings, classifiers, open_engine)
        except EngineError as error:
            problems[name] = str(error)
            log.error("attributes.unusable", model=name, error=str(error))
            continue
        classifiers.append(classifier)
        hashes[manifest.name] = f"sha256:{manifest.sha256}"
    return AttributeStage(
        classifiers,
        most=settings.attribute_crops,
        only_events=settings.attributes_for == "events",
        problems=problems,
        hashes=hashes,
    )


def _load(
    name: str,
    settings: InferenceSettings,
    others: list[NetworkClassifier],
    open_engine: OpenEngine | None,
) -> tuple[AttributeManifest, NetworkClassifier]:
    """One classifier, proven. Raises EngineError."""
    manifest, folder = load_attribute_manifest(name, settings.models_dir)
    for head in manifest.heads:
        other = next((o.name for o in others if head.name in {h.name for h in o.heads}), None)
        if other is not None:
            raise EngineError(
                f"{folder}: head {head.name!r} is {other}'s already; rename it in the manifest, or "
                "name only one of the two in inference.attributes"
            )
    if open_engine is not None:
        try:
            served = manifest.on_engine()
            network = open_engine(name, served)
            check_classifier(served, network, folder)
        except EngineError as error:
            log.warning("attributes.on_cpu", model=name, reason=str(error))
        else:
            return served, NetworkClassifier(served, network)
    network = _on_cpu(manifest, folder, settings)
    check_classifier(manifest, network, folder)
    return manifest, NetworkClassifier(manifest, network)


def _on_cpu(manifest: AttributeManifest, folder: Path, settings: InferenceSettings) -> Network:
    return OnnxNetwork(
        load_onnx(manifest, folder),
        path=folder / manifest.file,
        spec=manifest.input,
        outputs=classifier_outputs(manifest),
        max_batch=CLASSIFIER_BATCH,
        threads=settings.threads,
    )
