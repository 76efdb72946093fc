"""`alprd engines verify`: do the engines still do what their models do, and how fast?"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from alprd.commands.common import EXIT_DONE, EXIT_FAILED, Commands, write_error, write_line
from alprd.commands.engines_common import (
    add_model_options,
    figures_line,
    inference_settings,
    this_device,
    wanted_names,
)


def add_parser(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "verify",
        help="check engines against ONNX Runtime again, with figures",
        description="Run each engine and its model in ONNX Runtime (FP32) on the model's known "
        "plate and variations of it, in full batches; print the largest and the mean error of "
        "every output, and the time per batch. Exit code 1 when an engine does not fit or fails.",
    )
    add_model_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Verify; the exit code is 1 when any engine failed."""
    settings = inference_settings(arguments)
    names = wanted_names(arguments.names, settings)
    device = this_device()
    from alprd.inference.building import verify_engine  # noqa: PLC0415 -- takes OpenCV along
    from alprd.inference.engines import engine  # noqa: PLC0415
    from alprd.inference.plans import PlanStore  # noqa: PLC0415
    from alprd.ports import EngineError  # noqa: PLC0415

    store = PlanStore(settings.engines_dir)
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        try:
            wanted = engine(name, settings)
            check = verify_engine(wanted, device, store, clock=time.perf_counter)
        except EngineError as error:
            found[name] = {"problem": str(error), "figures": {}}
        else:
            found[name] = {"problem": check.problem, "figures": dict(check.figures)}
        if not arguments.json:
            _show(name, found[name])
    if arguments.json:
        write_line(json.dumps(found))
    return EXIT_FAILED if any(each["problem"] for each in found.values()) else EXIT_DONE


def _show(name: str, result: dict[str, Any]) -> None:
    figures = result["figures"]
    if figures:
        write_line(f"{name}: {figures_line(figures)}")
        for output, error in figures.get("outputs", {}).items():
            write_line(f"  {output:<12} error: max {error['max']:.6f}, mean {error['mean']:.6f}")
    if result["problem"]:
        write_error(f"{name}: {result['problem']}")
