"""`alprd engines`: TensorRT engines of this device: build, list, verify; check foreign models."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from alprd.commands import engines_build, engines_check, engines_verify
from alprd.commands.common import EXIT_DONE, CommandError, Commands, write_line
from alprd.commands.engines_common import add_common_options, configured_names, inference_settings

if TYPE_CHECKING:
    from alprd.config import InferenceSettings
    from alprd.inference.engines import Device
    from alprd.inference.plans import Entry

_MIB = 1 << 20


def add_parser(commands: Commands) -> None:
    """Describe the command and its own commands."""
    parser = commands.add_parser(
        "engines",
        help="build, list and verify TensorRT engines, check a model of your own",
        description="TensorRT runs engines (plans) that are built from the ONNX models on the "
        "device itself, for its GPU and its release of TensorRT. Without engines that fit, ONNX "
        "Runtime runs the models.",
    )
    own = parser.add_subparsers(title="commands", metavar="COMMAND", dest="engines", required=True)
    engines_build.add_parser(own)
    _add_list(own)
    engines_verify.add_parser(own)
    engines_check.add_parser(own)


def _add_list(commands: Commands) -> None:
    parser = commands.add_parser(
        "list",
        help="what is there, and whether it fits this device",
        description="Print every engine with its size, when it was built, whether it fits this "
        "device and the configuration, and why not.",
    )
    add_common_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.set_defaults(run=run_list)


def run_list(arguments: argparse.Namespace) -> int:
    """Print what is in the folder, and what the configuration needs and is not there."""
    settings = inference_settings(arguments)
    from alprd.inference.engines import find_device  # noqa: PLC0415 -- takes OpenCV along
    from alprd.inference.plans import PlanStore  # noqa: PLC0415
    from alprd.ports import EngineError  # noqa: PLC0415

    device: Device | None = None
    trouble: str | None = None
    try:
        device = find_device()
    except EngineError as error:
        trouble = str(error)
    store = PlanStore(settings.engines_dir)
    try:
        entries = store.entries()
    except EngineError as error:
        raise CommandError(str(error)) from error
    rows = [_row(entry, settings, device) for entry in entries]
    there = {(row["model"], row["precision"]) for row in rows}
    rows += [
        _missing(name, settings)
        for name in configured_names(settings)
        if (name, settings.precision) not in there
    ]
    if arguments.json:
        gpu = None
        if device is not None:
            gpu = {
                "tensorrt": device.tensorrt.version,
                "gpu": device.gpu.name,
                "compute_capability": device.gpu.compute_capability,
                "multiprocessors": device.gpu.multiprocessors,
                "driver_cuda": device.gpu.driver,
            }
        report = {"folder": str(store.folder), "device": gpu, "problem": trouble, "engines": rows}
        write_line(json.dumps(report))
        return EXIT_DONE
    write_line(f"{store.folder}, {trouble if device is None else _words(device)}")
    for row in rows:
        write_line(_line(row))
    return EXIT_DONE


def _row(entry: Entry, settings: InferenceSettings, device: Device | None) -> dict[str, Any]:
    """One engine; `fits` is None where that cannot be told."""
    from alprd.inference.engines import engine  # noqa: PLC0415 -- takes OpenCV along
    from alprd.ports import EngineError  # noqa: PLC0415

    fits: bool | None = None
    reasons: list[str] = []
    if entry.identity is None:
        fits, reasons = False, [entry.problem or "is damaged"]
    elif device is not None:
        try:
            wanted = engine(entry.name, settings.model_copy(update={"precision": entry.precision}))
            reasons = entry.identity.differences(wanted.identity(device))
        except EngineError as error:
            reasons = [str(error)]
        fits = not reasons
    return {
        "model": entry.name,
        "precision": entry.precision,
        "file": str(entry.path),
        "bytes": entry.size,
        "built_at": entry.built_at,
        "fits": fits,
        "reasons": reasons,
        "used": bool(fits)
        and entry.precision == settings.precision
        and entry.name in configured_names(settings),
        "identity": None if entry.identity is None else entry.identity.to_dict(),
        "figures": dict(entry.figures),
    }


def _missing(name: str, settings: InferenceSettings) -> dict[str, Any]:
    return {
        "model": name,
        "precision": settings.precision,
        "file": None,
        "bytes": 0,
        "built_at": None,
        "fits": False,
        "reasons": ["is not there"],
        "used": False,
        "identity": None,
        "figures": {},
    }


def _line(row: dict[str, Any]) -> str:
    head = f"{row['model']:<22} {row['precision']}"
    if row["file"] is None:
        return f"{head}  is not there: alprd engines build {row['model']}"
    settings = (row["identity"] or {}).get("settings")
    size = f"{row['bytes'] / _MIB:6.1f} MiB"
    batch = f"  batch 1..{settings['max_batch']}" if settings else ""
    built = f"  built {row['built_at']}" if row["built_at"] else ""
    if row["fits"] is None:
        verdict = "cannot be judged here"
    elif row["fits"]:
        verdict = "fits" if row["used"] else "fits, not configured"
    else:
        verdict = f"does not fit: {'; '.join(row['reasons'])}; alprd engines build {row['model']}"
    return f"{head}  {size}{batch}{built}  {verdict}"


def _words(device: Device) -> str:
    return (
        f"TensorRT {device.tensorrt.version}, {device.gpu.name}, compute capability "
        f"{device.gpu.compute_capability}, {device.gpu.multiprocessors} multiprocessors"
    )
