"""Model manifests: what a network expects, what it returns and how that is checked.

A model is a folder with `manifest.toml` and the ONNX file that it names. Wrong normalisation runs
without any error and returns nonsense, so the manifest is mandatory and complete: whatever is
missing, misspelt or contradictory is refused here, with the key and the remedy.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from alprd.core.types import ALPHABET, PLATE_LABEL
from alprd.ports import EngineError, EngineUnavailable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

MANIFEST = "manifest.toml"
SCHEMA = "alprd.model/1"

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class Section(BaseModel):
    """A table of a manifest; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(Section):
    """[input]: how a picture becomes the network's input, `(pixel * scale - mean) / std`."""

    name: str = Field(min_length=1)
    layout: Literal["NCHW", "NHWC"]
    colour: Literal["RGB", "BGR", "GRAY"]
    width: int = Field(ge=8, le=8192)
    height: int = Field(ge=8, le=8192)
    resize: Literal["letterbox", "stretch"] = "stretch"
    pad_value: int = Field(default=114, ge=0, le=255)
    scale: float = Field(gt=0.0, allow_inf_nan=False)
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def channels(self) -> int:
        """1 for grey networks, else 3."""
        return 1 if self.colour == "GRAY" else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """The input's shape without the batch."""
        if self.layout == "NCHW":
            return (self.channels, self.height, self.width)
        return (self.height, self.width, self.channels)

    @model_validator(mode="after")
    def _per_channel(self) -> InputSpec:
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(
                    f"{key} has {len(values)} values; give {self.channels}, one per channel of "
                    f"{self.colour}"
                )
        if any(value <= 0.0 for value in self.std):
            raise ValueError("std must be greater than 0; use 1.0 where nothing is divided")
        return self


class DetectorOutputs(Section):
    """Names of the detector's output tensors; without corners a plate's box gives them."""

    boxes: str
    scores: str
    corners: str | None = None


class DetectorDecoder(Section):
    """[decoder] of a detector whose graph ends in boxes, scores and plate corners."""

    type: Literal["alprd-detector"]
    outputs: DetectorOutputs
    labels: tuple[str, ...] = Field(min_length=1)
    score_threshold: Fraction = 0.4
    scores: Mapping[str, Fraction] = Field(default_factory=dict)
    nms_iou: Fraction = 0.5
    max_detections: int = Field(default=100, ge=1, le=1000)

    @model_validator(mode="after")
    def _labels(self) -> DetectorDecoder:
        if PLATE_LABEL not in self.labels:
            raise ValueError(f"labels must hold {PLATE_LABEL!r}: without plates nothing is read")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels holds a name twice; every class needs a name of its own")
        for label in self.scores:
            if label not in self.labels:
                raise ValueError(f"scores.{label}: no such label; choose from {list(self.labels)}")
        return self

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The least score of each label, in the order of `labels`."""
        return tuple(self.scores.get(label, self.score_threshold) for label in self.labels)


class ReaderOutputs(Section):
    """Names of the reader's output tensors; all but the characters are optional.

    Corners are x0 y0 .. x3 y3, clockwise from the plate's own top left, in parts of the crop's
    width and height from its top left; they may lie outside.
    """

    chars: str
    region: str | None = None
    quality: str | None = None
    corners: str | None = None


class SlotsDecoder(Section):
    """[decoder] of a reader with one posterior per character position, left aligned.

    The classes of a slot are the characters of `alphabet` in that order, with the blank inserted
    at index `blank`. `margin_x` and `margin_y` are the fractions of the crop that lie outside the
    plate's corners on each side.
    """

    type: Literal["slots"]
    outputs: ReaderOutputs
    alphabet: str = ALPHABET
    blank: int = Field(default=len(ALPHABET), ge=0)
    margin_x: float = Field(default=0.0, ge=0.0, lt=0.4)
    margin_y: float = Field(default=0.0, ge=0.0, lt=0.4)
    regions: tuple[str, ...] = ()
    min_quality: Fraction = 0.0

    @field_validator("alphabet")
    @classmethod
    def _known_characters(cls, value: str) -> str:
        if not value or len(set(value)) != len(value):
            raise ValueError("every character must be there exactly once")
        foreign = sorted(set(value) - set(ALPHABET))
        if foreign:
            raise ValueError(
                f"{foreign} are not plate characters; a plate's text is made of A-Z and 0-9 "
                "(the blank is not part of the alphabet, its index is the key blank)"
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> SlotsDecoder:
        if self.blank > len(self.alphabet):
            raise ValueError(
                f"blank = {self.blank} lies outside the {len(self.alphabet) + 1} classes"
            )
        if (self.outputs.region is None) != (not self.regions):
            raise ValueError("outputs.region and regions belong together: give both or neither")
        return self


class DetectorSelfTest(Section):
    """[selftest] of a detector: a picture with one plate and where it is."""

    image: FileName
    quad: tuple[tuple[float, float], ...] = Field(min_length=4, max_length=4)
    min_iou: Fraction = 0.5


class ReaderSelfTest(Section):
    """[selftest] of a reader: a rectified crop and its text."""

    image: FileName
    plate: str = Field(pattern=r"^[A-Z0-9]+$")


class Variant(Section):
    """[variants.fp16] or [variants.int8]: the same network with its precision in the file.

    Inputs and outputs stay float32. TensorRT 10.12 and later builds half precision from the fp16
    file; INT8 is built from the int8 file (Q/DQ nodes) everywhere.
    """

    file: FileName
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(Section):
    """What every manifest holds; `training` and `accuracy` are for people."""

    schema_: Literal["alprd.model/1"] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    version: str = Field(min_length=1)
    file: FileName
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    licence: str
    input: InputSpec
    variants: Mapping[Literal["fp16", "int8"], Variant] = Field(default_factory=dict)
    training: Mapping[str, Any] = Field(default_factory=dict)
    accuracy: Mapping[str, Any] = Field(default_factory=dict)


class DetectorManifest(Manifest):
    """A model that finds plates (and vehicles)."""

    task: Literal["detect"]
    decoder: DetectorDecoder
    selftest: DetectorSelfTest


class ReaderManifest(Manifest):
    """A model that reads rectified plates."""

    task: Literal["read"]
    decoder: SlotsDecoder
    selftest: ReaderSelfTest


AnyManifest = TypeVar("AnyManifest", bound=Manifest)


def builtin_models_dir() -> Path:
    """The models that come with alprd: beside the package in a checkout, inside it in a wheel."""
    packaged = Path(str(files("alprd"))) / "_engines"
    if packaged.is_dir():
        return packaged
    return Path(str(files("alprd"))).parent / "engines"


def available_models(models_dir: Path) -> list[str]:
    """Names of the folders that hold a manifest, sorted."""
    try:
        return sorted(path.parent.name for path in models_dir.glob(f"*/{MANIFEST}"))
    except OSError:
        return []


def load_detector_manifest(name: str, models_dir: Path | None) -> tuple[DetectorManifest, Path]:
    """The manifest of a detector and its folder. Raises EngineError."""
    folder = _find(name, models_dir)
    return _parse(DetectorManifest, folder / MANIFEST), folder


def load_reader_manifest(name: str, models_dir: Path | None) -> tuple[ReaderManifest, Path]:
    """The manifest of a reader and its folder. Raises EngineError."""
    folder = _find(name, models_dir)
    return _parse(ReaderManifest, folder / MANIFEST), folder


def load_manifest(
    name: str, models_dir: Path | None
) -> tuple[DetectorManifest | ReaderManifest, Path]:
    """The manifest of a model of either task and its folder. Raises EngineError."""
    folder = _find(name, models_dir)
    path = folder / MANIFEST
    if _tables(path).get("task") == "read":
        return _parse(ReaderManifest, path), folder
    return _parse(DetectorManifest, path), folder


def load_onnx(
    manifest: Manifest, folder: Path, variant: Literal["fp16", "int8"] | None = None
) -> bytes:
    """The ONNX file's content, so that what was checked is what runs. Raises EngineError.

    Args:
        manifest: of the model.
        folder: where the model lies.
        variant: None: the model itself; otherwise one that the manifest has.
    """
    source = manifest if variant is None else manifest.variants[variant]
    path = folder / source.file
    onnx = _read(path, "put the model there, or correct the key file in the manifest")
    found = hashlib.sha256(onnx).hexdigest()
    if found != source.sha256:
        raise EngineError(
            f"{path} has sha256 {found}, but {folder / MANIFEST} says {source.sha256}: the file "
            "is damaged or another version; restore it, or correct the key sha256 if you replaced "
            "the model on purpose"
        )
    return onnx


def _find(name: str, models_dir: Path | None) -> Path:
    base = models_dir if models_dir is not None else builtin_models_dir()
    folder = base / name
    # A name is one folder below models_dir; anything else would escape it.
    try:
        if Path(name).name == name and (folder / MANIFEST).is_file():
            return folder
    except OSError as error:
        raise unreadable(folder / MANIFEST, error, "let alprd's user read the folder") from None
    there = available_models(base)
    known = f"models there: {', '.join(there)}" if there else "no model is there"
    remedy = (
        "correct the model's name in [inference], or models_dir"
        if models_dir is not None
        else "correct the model's name in [inference], or reinstall alprd"
    )
    raise EngineError(f"{folder / MANIFEST} does not exist ({known}); {remedy}")


def _read(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise EngineError(f"{path} does not exist; {remedy}") from None
    except OSError as error:
        raise unreadable(path, error, remedy) from None


def unreadable(path: Path, error: OSError, remedy: str) -> EngineError:
    """What to raise: a wrong path or mode stays wrong, everything else (a disk, memory) may pass.

    Args:
        path: of the file.
        error: why it cannot be read.
        remedy: for the first kind.
    """
    if isinstance(error, (NotADirectoryError, IsADirectoryError, PermissionError)):
        return EngineError(f"{path} cannot be read ({error.strerror}); {remedy}")
    return EngineUnavailable(
        f"{path} cannot be read now ({error.strerror}); check the disk, and the limits on memory "
        "and open files"
    )


def _tables(path: Path) -> dict[str, Any]:
    text = _read(path, "restore it")
    try:
        return tomllib.loads(text.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise EngineError(f"{path} is not valid TOML: {error}; correct it") from None


def _parse(kind: type[AnyManifest], path: Path) -> AnyManifest:
    data = _tables(path)
    wanted = kind.model_fields["task"].annotation
    if "task" in data and data["task"] not in get_args(wanted):
        raise EngineError(
            f"{path}: task is {data['task']!r}, but a model with task "
            f"{get_args(wanted)[0]!r} is needed here; choose another model in [inference]"
        )
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problems = "\n".join(f"{path}: {_problem(kind, found)}" for found in error.errors())
        raise EngineError(problems) from None


def _problem(kind: type[BaseModel], found: ErrorDetails) -> str:
    """One validation error as `key: what; remedy`."""
    key = ".".join(str(part) for part in found["loc"]) or "the manifest"
    if found["type"] == "extra_forbidden":
        valid = _keys_beside(kind, found["loc"])
        near = get_close_matches(str(found["loc"][-1]), valid, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"valid keys: {', '.join(valid)}"
        return f"{key}: unknown key; {remedy}"
    if found["type"] == "missing":
        return f"{key}: is missing; add it"
    message = found["msg"].removeprefix("Value error, ")
    if found["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}: {message} (found {found['input']!r}); correct it"


def _keys_beside(kind: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Valid keys of the table in which an unknown key was found."""
    table = kind
    for part in location[:-1]:
        field = table.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type):
            return []
        table = field.annotation
    return [field.alias or name for name, field in table.model_fields.items()]
