"""`alprd bench`: how fast this machine is, and what bounds it."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alprd.commands.common import (
    EXIT_DONE,
    CommandError,
    Commands,
    add_attributes_option,
    asked_classifiers,
    quiet_native_libraries,
    write_error,
    write_line,
)

if TYPE_CHECKING:
    from alprd.config import InferenceSettings

RATES = (0.0, 0.2, 0.5, 0.7, 1.0)
"""Of `--table`: those that the field publishes."""


def add_parser(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "bench",
        help="measure how fast this machine is",
        description="Send pictures from memory through everything but decoding and delivery, as "
        "fast as they go, and print frames per second, the time of each stage, what it costs, and "
        "how far it is from what the bare network would do. With --source whole streams are "
        "measured, decoding included. Needs no broker and no configuration. Options that take "
        "several values measure every combination, all of them in every round.",
    )
    parser.add_argument(
        "--positive", type=Path, metavar="IMG", help="picture with plates (default: a rendered one)"
    )
    parser.add_argument(
        "--negative", type=Path, metavar="IMG", help="picture without, of the same size"
    )
    parser.add_argument(
        "--rate",
        type=_fraction,
        nargs="+",
        default=[1.0],
        metavar="0..1",
        help="share of pictures with plates (default: 1.0)",
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help=f"all of the rates {', '.join(map(str, RATES))}",
    )
    parser.add_argument(
        "--batch",
        type=_batch,
        nargs="+",
        default=[8],
        metavar="N",
        help="most frames in one call of the detector (default: 8)",
    )
    parser.add_argument(
        "--cameras",
        type=_positive,
        nargs="+",
        default=[],
        metavar="N",
        help="cameras that take turns (default: as many as a batch holds; with --source 1)",
    )
    parser.add_argument(
        "--parallel",
        action="store_true",
        help="follow one batch while the next is looked for, as the daemon does on a GPU; on the "
        "CPU all is sequential",
    )
    parser.add_argument(
        "--sequential",
        action="store_true",
        help="do one thing after the other; with --parallel too, both are measured",
    )
    parser.add_argument(
        "--loops", type=_positive, metavar="N", help="frames in one measurement; see --seconds"
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=2.0,
        metavar="S",
        help="about so long takes one measurement (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds",
        type=_positive,
        default=3,
        metavar="N",
        help="measure everything so often (default: %(default)s)",
    )
    parser.add_argument(
        "--source", type=Path, metavar="CLIP", help="measure this clip's stream as every camera's"
    )
    parser.add_argument(
        "--decode",
        nargs="+",
        default=["auto"],
        choices=("auto", "nvdec", "ffmpeg"),
        help="what decodes it; several are compared (default: auto)",
    )
    parser.add_argument("--backend", choices=("auto", "onnxruntime", "tensorrt"), default="auto")
    parser.add_argument(
        "--precision", choices=("fp16", "fp32", "int8"), help="of the engines of TensorRT"
    )
    parser.add_argument(
        "--threads", type=_number, metavar="N", help="of ONNX Runtime; 0: one per core"
    )
    parser.add_argument(
        "--max-batch",
        type=_batch,
        metavar="N",
        help="that the engine was built for (default: the greatest --batch)",
    )
    parser.add_argument("--models-dir", type=Path, metavar="DIR", help="default: the built-in ones")
    parser.add_argument("--engines-dir", type=Path, metavar="DIR", help="where the engines lie")
    parser.add_argument(
        "--no-cuda-graphs",
        action="store_false",
        default=None,
        dest="cuda_graphs",
        help="let the CPU launch an engine layer by layer",
    )
    parser.add_argument("--detector", metavar="NAME", help="detector model (plate-detector)")
    parser.add_argument("--reader", metavar="NAME", help="reader model (plate-reader)")
    add_attributes_option(parser)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    quiet_native_libraries()
    from alprd.config import LogSettings  # noqa: PLC0415 -- pydantic takes 0.2 s
    from alprd.logs import configure_logging  # noqa: PLC0415
    from alprd.ports import CameraError, EngineError  # noqa: PLC0415 -- numpy is for work only

    # What the cameras and models have to say goes beside the figures, not between them.
    configure_logging(LogSettings(level="warning", format="console"))
    try:
        report, text = _measured(arguments)
    except (CameraError, EngineError) as error:
        raise CommandError(str(error)) from error
    if arguments.json:
        write_line(json.dumps(report))
    else:
        for line in text(report):
            write_line(line)
    return EXIT_DONE


def _measured(
    arguments: argparse.Namespace,
) -> tuple[dict[str, Any], Callable[[dict[str, Any]], Any]]:
    # Imported late: `alprd --help` must not pay for OpenCV, and OpenCV reads the environment.
    from alprd.bench import report, stream_report  # noqa: PLC0415
    from alprd.bench.session import measure_pictures, measure_streams  # noqa: PLC0415

    settings = inference_settings(arguments)
    if arguments.source is not None:
        return measure_streams(
            settings,
            source=arguments.source,
            cameras=arguments.cameras or [1],
            decoders=arguments.decode,
            rounds=arguments.rounds,
            progress=_progress,
        ), stream_report.lines
    return measure_pictures(
        settings,
        positive=arguments.positive,
        negative=arguments.negative,
        rates=RATES if arguments.table else arguments.rate,
        batches=arguments.batch,
        cameras=arguments.cameras,
        # Without a word: as the daemon does it.
        modes=[
            *([True] if arguments.parallel or not arguments.sequential else []),
            *([False] if arguments.sequential else []),
        ],
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        loops=arguments.loops,
        progress=_progress,
    ), report.lines


def inference_settings(arguments: argparse.Namespace) -> InferenceSettings:
    """[inference] as the options say."""
    from alprd.config import InferenceSettings  # noqa: PLC0415 -- pydantic takes 0.2 s

    names = ("backend", "precision", "threads", "models_dir", "engines_dir", "detector", "reader")
    chosen = {name: getattr(arguments, name) for name in (*names, "cuda_graphs")}
    if arguments.attributes is not None:
        chosen["attributes"] = asked_classifiers(arguments.attributes, arguments.models_dir)
    chosen["max_batch"] = arguments.max_batch or max(arguments.batch)
    return InferenceSettings(**{name: value for name, value in chosen.items() if value is not None})


def _progress(message: str) -> None:
    if sys.stderr.isatty():
        write_error(message, program="alprd bench")


def _fraction(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and 0.0 <= value <= 1.0):
        raise argparse.ArgumentTypeError(f"{text} is not within 0..1")
    return value


def _batch(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 64:
        raise argparse.ArgumentTypeError(f"{text} is not within 1..64")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not within 1..1000000")
    return value


def _number(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 64:
        raise argparse.ArgumentTypeError(f"{text} is not within 0..64")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and 0.01 <= value <= 3600.0):
        raise argparse.ArgumentTypeError(f"{text} is not within 0.01..3600")
    return value
