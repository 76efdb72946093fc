"""The benchmark's figures as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_HEADS = (
    "rate",
    "batch",
    "cameras",
    "mode",
    "frames/s",
    "(min..max)",
    "ms/frame",
    "CPU ms",
    "detect",
    "p95",
    "read",
    "p95",
    "track",
    "p95",
    "cores",
    "GPU %",
    "limit",
    "of it",
)


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """What `alprd bench` prints."""
    yield from _about(report)
    yield ""
    yield from table([_HEADS, *(_row(run) for run in report["runs"])])
    yield ""
    yield (
        "Times are milliseconds, medians of the rounds: detect and track per frame, read per "
        "plate. limit:"
    )
    yield "frames/s of the bare detector at this batch, or of the way to the GPU if that is less."
    if any(run["limit"]["upload_fps"] is not None for run in report["runs"]):
        yield "That way begins in pinned memory; the copy into it is work of the processor's."
    yield from _own(report["runs"])
    yield from _gain(report["runs"])


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns, the texts aligned to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True))


def _about(report: Mapping[str, Any]) -> Iterator[str]:
    backend, machine, pictures = report["backend"], report["machine"], report["pictures"]
    yield f"{report['software']}, {backend['name']}: {backend['reason']}"
    yield (
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load']:g}; Python "
        f"{machine['python']}, numpy {machine['numpy']}, OpenCV {machine['opencv']}"
    )
    width, height = pictures["size"]
    memory = report["memory"]
    yield (
        f"pictures: {pictures['origin']}, {width}x{height}; memory: at most "
        f"{memory['peak_rss_mib']:g} MiB, {pictures['mib']:g} of them the pictures"
        + (
            f"; on the GPU {memory['gpu_models_mib']:g} MiB"
            + (
                f" and {memory['gpu_context_mib']:g} of CUDA itself"
                if memory.get("gpu_context_mib") is not None
                else ""
            )
            if memory.get("gpu_models_mib") is not None
            else ""
        )
    )


def _row(run: Mapping[str, Any]) -> tuple[str, ...]:
    fps, limit = run["fps"], run["limit"]
    stages = [
        _ms(run["stages_ms"][stage], figure)
        for stage in ("detect", "read", "track")
        for figure in ("median", "p95")
    ]
    return (
        f"{run['rate']:g}",
        str(run["batch"]),
        str(run["cameras"]),
        run["mode"],
        f"{fps['median']:g}",
        f"({fps['min']:g}..{fps['max']:g})",
        f"{run['ms_per_frame']:g}",
        f"{run['cpu_ms_per_frame']:g}",
        *stages,
        f"{run['cpu_cores']:.2f}",
        "-" if run["gpu_percent"] is None else f"{run['gpu_percent']:.0f}",
        f"{limit['fps']:g}",
        f"{limit['reached']:.2f}",
    )


def _ms(figures: Mapping[str, float] | None, which: str) -> str:
    return "-" if figures is None else f"{figures[which]:g}"


def _own(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for run in runs:
        own = run["networks"]
        if own is not None:
            yield (
                f"rate {run['rate']:g}, batch {run['batch']}: the networks themselves take "
                f"{own['detect_ms']:g} + {own['read_ms']:g} ms a frame "
                f"({own['read_rows_per_frame']:g} reads); the whole takes "
                f"{own['whole_to_own']:g} times as long, {own['cpu_whole_to_own']:g} times as "
                "much of the processor"
            )


def _gain(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What rate and overlap do to the throughput, where both sides were measured."""
    fps = {
        (run["batch"], run["cameras"], run["mode"], run["rate"]): run["fps"]["median"]
        for run in runs
    }
    for (batch, cameras, mode, rate), here in fps.items():
        words = f"batch {batch}, {cameras} camera{'' if cameras == 1 else 's'}"
        none = fps.get((batch, cameras, mode, 0.0))
        if rate == 1.0 and none is not None:
            yield f"{words}, {mode}: rate 1 keeps {here / none:.2f} of the frames/s of rate 0"
        apart = fps.get((batch, cameras, "sequential", rate))
        if mode == "parallel" and apart is not None:
            yield f"{words}, rate {rate:g}: parallel is {here / apart:.2f} times sequential"
