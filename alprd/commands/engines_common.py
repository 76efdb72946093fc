"""What the commands of `alprd engines` share: options, settings, and which models are meant."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alprd.commands.common import (
    EXIT_BAD_CONFIG,
    EXIT_USAGE,
    CommandError,
    add_config_option,
    quiet_native_libraries,
)

if TYPE_CHECKING:
    from alprd.config import InferenceSettings
    from alprd.inference.engines import Device


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add --config and --dir."""
    add_config_option(parser)
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        help="folder of the engines (default: inference.engines_dir)",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add NAME..., --precision and what else an engine is chosen by."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="models (default: the configured ones)",
    )
    add_common_options(parser)
    parser.add_argument("--models-dir", type=Path, metavar="DIR", help="default: the built-in ones")
    parser.add_argument(
        "--precision",
        choices=("fp16", "fp32", "int8"),
        help="instead of inference.precision",
    )
    parser.add_argument(
        "--max-batch",
        type=_max_batch,
        metavar="N",
        help="frames in one call, instead of inference.max_batch",
    )


def _max_batch(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 64:
        raise argparse.ArgumentTypeError(f"{text} is not within 1..64")
    return value


def inference_settings(arguments: argparse.Namespace) -> InferenceSettings:
    """[inference] with what the options change. Needs no cameras: engines come before them."""
    quiet_native_libraries()
    from alprd.config import ConfigError, load_inference  # noqa: PLC0415 -- pydantic takes 0.2 s

    try:
        settings = load_inference(arguments.config)
    except ConfigError as error:
        raise CommandError(str(error), EXIT_BAD_CONFIG) from error
    changes: dict[str, Any] = {"engines_dir": arguments.dir}
    for name in ("models_dir", "precision", "max_batch", "workspace_mib"):
        changes[name] = getattr(arguments, name, None)
    given = {name: value for name, value in changes.items() if value is not None}
    return settings.model_copy(update=given)


def configured_names(settings: InferenceSettings) -> list[str]:
    """Every model that the daemon runs by this configuration."""
    return list(dict.fromkeys([settings.detector, settings.reader, *settings.attributes]))


def wanted_names(names: list[str], settings: InferenceSettings) -> list[str]:
    """The named models, or the configured ones. Raises CommandError, exit code 2, for no model."""
    from alprd.inference.engines import model_names  # noqa: PLC0415 -- takes OpenCV along

    known = model_names(settings)
    for name in names:
        if name not in known:
            raise CommandError(
                f"there is no model {name!r}; models there: {', '.join(known) or 'none'}",
                EXIT_USAGE,
            )
    return list(dict.fromkeys(names)) or configured_names(settings)


def this_device() -> Device:
    """TensorRT and the GPU. Raises CommandError: there is nothing to do without them."""
    from alprd.inference.engines import find_device  # noqa: PLC0415 -- takes OpenCV along
    from alprd.ports import EngineError  # noqa: PLC0415

    try:
        return find_device()
    except EngineError as error:
        raise CommandError(str(error)) from error


def figures_line(figures: dict[str, Any]) -> str:
    """The figures of a check in one line."""
    parts = []
    if "texts" in figures:
        parts.append(f"{figures['texts']['same']} of {figures['texts']['of']} texts the same")
    if "plates" in figures:
        parts.append(f"{figures['plates']['same']} of {figures['plates']['of']} plates the same")
    if "corner_px" in figures:
        corner = figures["corner_px"]
        parts.append(f"corners {corner['mean']:.2f} px off (at most {corner['max']:.2f})")
    parts += [f"{ms:.2f} ms for a batch of {count}" for count, ms in figures.get("ms", {}).items()]
    return ", ".join(parts)
