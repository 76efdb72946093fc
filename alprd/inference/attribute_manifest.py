"""Manifests of classifiers: what they are asked, how a vehicle is cut out for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from alprd.core.attributes import Head
from alprd.inference.manifest import (
    MANIFEST,
    Manifest,
    available_models,
    builtin_models_dir,
    find_model,
    is_attribute_model,
    parse_manifest,
)
from alprd.inference.section import FileName, Fraction, Section
from alprd.ports import EngineError

TAKEN = ("box", "confidence", "confidences", "reversing")
"""Fields of the event's vehicle that are no attributes."""

HeadName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class HeadSpec(Section):
    """[decoder.heads.NAME]: one output, and the event's field `vehicle.NAME`."""

    output: str = Field(min_length=1)
    labels: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = Field(min_length=2)
    unknown: tuple[str, ...] = ()
    min_confidence: Fraction = 0.5
    needs_colour: bool = False

    @model_validator(mode="after")
    def _labels(self) -> HeadSpec:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels holds a name twice; every class needs a name of its own")
        foreign = [label for label in self.unknown if label not in self.labels]
        if foreign:
            raise ValueError(f"unknown: {foreign} are no labels; choose from {list(self.labels)}")
        return self


class ClassesDecoder(Section):
    """[decoder] of a classifier: one (N, labels) output per head.

    A square crop's side is the longer side of the vehicle's box, a box crop is the box; both are
    larger by the fraction `margin`. What lies outside the picture is padding.
    """

    type: Literal["classes"]
    values: Literal["probabilities", "logits"] = "probabilities"
    crop: Literal["square", "box"] = "box"
    margin: float = Field(default=0.0, ge=0.0, le=2.0)
    heads: Mapping[HeadName, HeadSpec] = Field(min_length=1)

    @model_validator(mode="after")
    def _names(self) -> ClassesDecoder:
        taken = [name for name in self.heads if name in TAKEN]
        if taken:
            raise ValueError(
                f"heads: {taken} are other fields of an event's vehicle; choose another name"
            )
        return self


class AttributeSelfTest(Section):
    """[selftest] of a classifier: a crop, and what some of its heads must say."""

    image: FileName
    expect: Mapping[str, str] = Field(min_length=1)


class AttributeManifest(Manifest):
    """A model that says what a vehicle is."""

    task: Literal["attribute"]
    decoder: ClassesDecoder
    selftest: AttributeSelfTest | None = None

    @model_validator(mode="after")
    def _expected(self) -> AttributeManifest:
        for name, label in {} if self.selftest is None else self.selftest.expect.items():
            head = self.decoder.heads.get(name)
            if head is None or label not in head.labels:
                raise ValueError(f"selftest.expect: no head {name!r} has the label {label!r}")
        return self

    def on_engine(self) -> AttributeManifest:
        """With the float32 input that every engine has, whatever the file takes."""
        spec = self.input.model_copy(update={"type": "float32"})
        return self.model_copy(update={"input": spec})

    @property
    def heads(self) -> tuple[Head, ...]:
        """The questions, as the vote wants them."""
        return tuple(
            Head(
                name=name,
                labels=head.labels,
                unknown=frozenset(head.unknown),
                min_confidence=head.min_confidence,
                needs_colour=head.needs_colour,
            )
            for name, head in self.decoder.heads.items()
        )


def load_attribute_manifest(name: str, models_dir: Path | None) -> tuple[AttributeManifest, Path]:
    """The manifest of a classifier and its folder. Raises EngineError."""
    folder = find_model(name, models_dir)
    return parse_manifest(AttributeManifest, folder / MANIFEST), folder


def attribute_models(models_dir: Path | None) -> tuple[str, ...]:
    """Every classifier that there is, by name. Raises EngineError where there is none."""
    folder = models_dir or builtin_models_dir()
    found = tuple(name for name in available_models(folder) if is_attribute_model(name, models_dir))
    if not found:
        raise EngineError(
            f"{folder} has no classifier that says what vehicles are; add one, or leave "
            "--attributes out"
        )
    return found
