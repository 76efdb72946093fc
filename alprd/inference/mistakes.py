"""The usual mistakes in a manifest, tried out, so that an error can name the one that it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, TypeVar, get_args

from alprd.core.box_forms import BoxForm, Units
from alprd.inference.decoders import RowsDecoder, SsdDecoder, YoloDecoder
from alprd.inference.manifest import DetectorManifest, InputSpec, ReaderManifest
from alprd.ports import EngineError

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

TriedManifest = TypeVar("TriedManifest", DetectorManifest, ReaderManifest)


def explanation(manifest: TriedManifest, passes: Callable[[TriedManifest], bool]) -> str | None:
    """The remedy when one of the usual mistakes explains why a self-test fails.

    Args:
        manifest: of the model that fails.
        passes: whether the self-test passes with another manifest.
    """
    for table, changes in (
        *(("input", changes) for changes in _of_input(manifest.input)),
        *(("decoder", changes) for changes in _of_decoder(manifest.decoder)),
    ):
        section = getattr(manifest, table)
        tried = manifest.model_copy(update={table: section.model_copy(update=changes)})
        try:
            fits = passes(tried)
        except EngineError:
            continue  # another form may not even have the right shape
        if fits:
            wanted = ", ".join(
                f"{key} = {_toml(value)}"
                for key, value in changes.items()
                if value != getattr(section, key)
            )
            return f"with {wanted} it passes: correct [{table}] in its manifest"
    return None


def _of_input(spec: InputSpec) -> Iterator[dict[str, Any]]:
    """Other colour orders and normalisations, the smallest changes first."""
    colours = (spec.colour,) if spec.colour == "GRAY" else (spec.colour, _swapped(spec.colour))
    count = spec.channels
    normalisations: list[dict[str, Any]] = [{}]
    if spec.type != "uint8":
        zeros, ones = (0.0,) * count, (1.0,) * count
        normalisations += [
            {"scale": 1.0 / 255.0, "mean": zeros, "std": ones},
            {"scale": 1.0, "mean": zeros, "std": ones},
            {"scale": 1.0 / 127.5, "mean": ones, "std": ones},
            {"scale": 1.0 / 255.0, "mean": _IMAGENET[0][:count], "std": _IMAGENET[1][:count]},
        ]
    for normalisation, colour in product(normalisations, colours):
        changes = {"colour": colour, **normalisation}
        if any(value != getattr(spec, key) for key, value in changes.items()):
            yield changes


def _of_decoder(decoder: object) -> Iterator[dict[str, Any]]:
    """Other forms of a detector's boxes."""
    if isinstance(decoder, (YoloDecoder, SsdDecoder)):
        for units, boxes in product(get_args(Units), get_args(BoxForm)):
            if (units, boxes) != (decoder.units, decoder.boxes):
                yield {"units": units, "boxes": boxes}
    elif isinstance(decoder, RowsDecoder):
        swapped = {"class": "score", "score": "class"}
        columns = tuple(swapped.get(column, column) for column in decoder.columns)
        for units, told in product(get_args(Units), (decoder.columns, columns)):
            if (units, told) != (decoder.units, decoder.columns):
                yield {"units": units, "columns": told}


def _swapped(colour: str) -> str:
    return "BGR" if colour == "RGB" else "RGB"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return f"{value:.6g}" if isinstance(value, float) else f'"{value}"'
