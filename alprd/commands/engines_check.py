"""`alprd engines check`: what is this ONNX file, and what does its manifest still lack?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from alprd.commands.common import (
    EXIT_DONE,
    CommandError,
    Commands,
    quiet_native_libraries,
    write_line,
)

if TYPE_CHECKING:
    from alprd.inference.engines import AnyModel
    from alprd.inference.guessing import Tensor
    from alprd.inference.inspecting import Inspection


def add_parser(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "check",
        help="look at a model of your own: what fits, and what its manifest lacks",
        description="Print what an ONNX file takes and gives, which decoder fits and a manifest to "
        "complete, as one TOML file: what cannot be known from the file starts with '#?'. With "
        "--manifest: check the model against its manifest and run its self-test. Exit code 1 when "
        "something does not fit.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="the ONNX file")
    parser.add_argument(
        "--manifest",
        type=Path,
        metavar="FILE",
        help="check the model against this manifest.toml and run its self-test",
    )
    parser.add_argument(
        "--task",
        choices=("detect", "read"),
        help="what the model is for (default: small inputs read)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look at the file; with a manifest prove that the two fit."""
    quiet_native_libraries()
    from alprd.inference.inspecting import inspect_model  # noqa: PLC0415 -- takes ONNX Runtime
    from alprd.ports import EngineError  # noqa: PLC0415

    path: Path = arguments.model
    try:
        found = inspect_model(_content(path), path, arguments.task)
        if arguments.manifest is None:
            return _propose(found, path)
        manifest = _prove(found, path, arguments.manifest)
    except EngineError as error:
        raise CommandError(str(error)) from error
    for line in _told(found, path):
        write_line(line)
    write_line(f"fits: {arguments.manifest} describes it, and its self-test passes")
    write_line(f"decoder: {manifest.decoder.type}, task: {manifest.task}")
    return EXIT_DONE


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(
            f"{path} cannot be read ({error.strerror}); name an ONNX file that you may read"
        ) from None


def _propose(found: Inspection, path: Path) -> int:
    """Print what it is and a manifest to complete."""
    from alprd.inference.manifest_draft import draft  # noqa: PLC0415 -- as above

    for line in _told(found, path):
        write_line(f"# {line}")
    if found.problems:
        raise CommandError("\n".join(f"{path}: {problem}" for problem in found.problems))
    if found.guess is None:
        raise CommandError(
            f"{path}: no decoder fits its outputs; alprd reads YOLO heads and rows, SSD boxes with "
            "scores, slots and CTC (see engines/README.md). Try --task detect or --task read, or "
            "export the model with one of these"
        )
    write_line(f"# looks like: {found.guess.decoder['type']} ({found.guess.reason})")
    write_line("# To complete: every line that starts with '#?' (remove the mark), then run")
    write_line(f"#   alprd engines check {path} --manifest manifest.toml")
    write_line("")
    for line in draft(found, path):
        write_line(line)
    return EXIT_DONE


def _told(found: Inspection, path: Path) -> list[str]:
    facts = found.facts
    producer = f", written by {facts.producer}" if facts.producer else ""
    lines = [f"{path}: opset {facts.opset}, ONNX IR {facts.ir_version}{producer}"]
    lines += [f"input {_tensor(each)}" for each in found.inputs]
    lines += [f"output {_tensor(each)}" for each in found.outputs]
    lines += [f"note: {note}" for note in found.notes]
    return lines


def _tensor(each: Tensor) -> str:
    shape = ", ".join("?" if size is None else str(size) for size in each.shape)
    kind = each.type.removeprefix("tensor(").removesuffix(")")
    return f"{each.name!r}: {kind} ({shape})"


def _prove(found: Inspection, path: Path, told: Path) -> AnyModel:
    """The manifest, once the model fits it. Raises EngineError, CommandError."""
    from alprd.inference.attribute_manifest import (  # noqa: PLC0415
        AttributeManifest,
        load_attribute_manifest,
    )
    from alprd.inference.classifier import check_classifier, classifier_outputs  # noqa: PLC0415
    from alprd.inference.decoding import detector_outputs, reader_outputs  # noqa: PLC0415
    from alprd.inference.manifest import (  # noqa: PLC0415 -- pydantic takes 0.2 s
        MANIFEST,
        DetectorManifest,
        is_attribute_model,
        load_manifest,
        load_onnx,
    )
    from alprd.inference.onnx import OnnxNetwork  # noqa: PLC0415 -- takes ONNX Runtime
    from alprd.inference.selftest import check_detector, check_reader  # noqa: PLC0415

    place = (told / MANIFEST if told.is_dir() else told).absolute()
    if place.name != MANIFEST:
        raise CommandError(f"{told}: a manifest has to be called {MANIFEST}; rename it")
    name, models_dir = place.parent.name, place.parent.parent
    load = load_attribute_manifest if is_attribute_model(name, models_dir) else load_manifest
    manifest, folder = load(name, models_dir)
    if not (folder / manifest.file).exists() or not path.samefile(folder / manifest.file):
        raise CommandError(
            f"{told} is about {folder / manifest.file}, not about {path}; put the model there, or "
            "correct the key file"
        )
    if isinstance(manifest, AttributeManifest):
        outputs = classifier_outputs(manifest)
    elif isinstance(manifest, DetectorManifest):
        outputs = detector_outputs(manifest)
    else:
        outputs = reader_outputs(manifest)
    network = OnnxNetwork(
        load_onnx(manifest, folder),
        path=path,
        spec=manifest.input,
        outputs=outputs,
        max_batch=1,
        threads=1,
    )
    if isinstance(manifest, AttributeManifest):
        check_classifier(manifest, network, folder)
    elif isinstance(manifest, DetectorManifest):
        check_detector(manifest, network, folder)
    else:
        check_reader(manifest, network, folder)
    if found.problems:
        raise CommandError("\n".join(f"{path}: {problem}" for problem in found.problems))
    return manifest
