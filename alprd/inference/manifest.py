"""Model manifests: what a network expects, what it returns and how that is checked.

A model is a folder with `manifest.toml` and the ONNX file that it names. Wrong normalisation runs
without any error and returns nonsense, so the manifest is mandatory and complete: whatever is
missing, misspelt or contradictory is refused here, with the key and the remedy.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import Field, ValidationError, model_validator

from alprd.inference.decoders import AnyDetectorDecoder, AnyReaderDecoder
from alprd.inference.section import FileName, Fraction, Section, problem
from alprd.ports import EngineError, EngineUnavailable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

MANIFEST = "manifest.toml"
SCHEMA = "alprd.model/1"


class InputSpec(Section):
    """[input]: how a picture becomes the network's input, `(pixel * scale - mean) / std`.

    A network that takes pixels as they are (uint8) normalises by itself.
    """

    name: str = Field(min_length=1)
    type: Literal["float32", "float16", "uint8"] = "float32"
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
        plain = self.scale == 1.0 and not any(self.mean) and all(v == 1.0 for v in self.std)
        if self.type == "uint8" and not plain:
            raise ValueError(
                'a network of type "uint8" takes pixels as they are and normalises by itself: set '
                "scale = 1.0, mean to zeros and std to ones, or type to what it takes"
            )
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
    file; INT8 is built from the int8 file (Q/DQ nodes) everywhere. `model_sha256` is that of the
    model that it was made from.
    """

    file: FileName
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    model_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


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

    @model_validator(mode="after")
    def _variants_of_this_model(self) -> Manifest:
        for kind, variant in self.variants.items():
            if variant.model_sha256 != self.sha256:
                tool = "halve" if kind == "fp16" else "quantize"
                raise ValueError(
                    f"variants.{kind} was made from another model (model_sha256 is not sha256): "
                    f"make it again with python -m engines.training.{tool} and the model's folder, "
                    f"or remove the table [variants.{kind}]"
                )
        return self


class DetectorManifest(Manifest):
    """A model that finds plates (and vehicles)."""

    task: Literal["detect"]
    decoder: AnyDetectorDecoder
    selftest: DetectorSelfTest


class ReaderManifest(Manifest):
    """A model that reads rectified plates."""

    task: Literal["read"]
    decoder: AnyReaderDecoder
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
    folder = find_model(name, models_dir)
    return parse_manifest(DetectorManifest, folder / MANIFEST), folder


def load_reader_manifest(name: str, models_dir: Path | None) -> tuple[ReaderManifest, Path]:
    """The manifest of a reader and its folder. Raises EngineError."""
    folder = find_model(name, models_dir)
    return parse_manifest(ReaderManifest, folder / MANIFEST), folder


def is_attribute_model(name: str, models_dir: Path | None) -> bool:
    """Whether a model says what vehicles are. Raises EngineError."""
    return _tables(find_model(name, models_dir) / MANIFEST).get("task") == "attribute"


def load_manifest(
    name: str, models_dir: Path | None
) -> tuple[DetectorManifest | ReaderManifest, Path]:
    """The manifest of a model of either task and its folder. Raises EngineError."""
    folder = find_model(name, models_dir)
    path = folder / MANIFEST
    if _tables(path).get("task") == "read":
        return parse_manifest(ReaderManifest, path), folder
    return parse_manifest(DetectorManifest, path), folder


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


def find_model(name: str, models_dir: Path | None) -> Path:
    """The folder of a model. Raises EngineError."""
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


def parse_manifest(kind: type[AnyManifest], path: Path) -> AnyManifest:
    """A manifest file of a task. Raises EngineError naming the keys that are wrong."""
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
        problems = "\n".join(f"{path}: {problem(kind, found)}" for found in error.errors())
        raise EngineError(problems) from None
