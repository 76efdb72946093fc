"""Which backend runs the models; imports none of them, so that asking costs nothing."""

from __future__ import annotations

from alprd.config.models import InferenceSettings
from alprd.ports import EngineError


def choose_backend(settings: InferenceSettings) -> tuple[str, str]:
    """The backend and the reason for it, for people.

    Raises:
        EngineError: the configuration asks for one that this version cannot run.
    """
    if settings.backend == "tensorrt":
        raise EngineError(
            'inference.backend is "tensorrt", which this version of alprd cannot run; set it to '
            '"auto" or "onnxruntime"'
        )
    if settings.backend == "onnxruntime":
        return "onnxruntime", "inference.backend asks for it"
    return "onnxruntime", "it runs on every machine, and this version of alprd has no other"
