"""The figures of whole streams as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from alprd.bench.report import table

_HEADS = (
    "cameras",
    "decode",
    "on GPU",
    "frames",
    "frames/s",
    "(min..max)",
    "per camera",
    "CPU ms/frame",
    "cores",
    "GPU %",
    "plates/frame",
    "events",
)


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """What `alprd bench --source` prints."""
    backend, machine = report["backend"], report["machine"]
    yield f"{report['software']}, {backend['name']}: {backend['reason']}"
    yield f"{machine['processor']}, {machine['cores']} cores, load {machine['load']:g}"
    yield (
        f"{report['source']}, played once per camera and round; memory: at most "
        f"{report['memory']['peak_rss_mib']:g} MiB"
    )
    yield ""
    rows = [
        (
            str(run["cameras"]),
            run["decode"],
            "yes" if run["decoded_on_gpu"] else "no",
            str(run["frames"]),
            f"{run['fps']['median']:g}",
            f"({run['fps']['min']:g}..{run['fps']['max']:g})",
            f"{run['fps_per_camera']:g}",
            f"{run['cpu_ms_per_frame']:g}",
            f"{run['cpu_cores']:.2f}",
            "-" if run["gpu_percent"] is None else f"{run['gpu_percent']:.0f}",
            f"{run['plates_per_frame']:g}",
            f"{len(run['events'])}{'' if run['same_events_in_all_rounds'] else ' (not always)'}",
        )
        for run in report["runs"]
    ]
    yield from table([_HEADS, *rows])
    kinds: dict[int, set[tuple[str, ...]]] = {}
    for run in report["runs"]:
        kinds.setdefault(run["cameras"], set()).add(tuple(run["events"]))
    if len({run["decode"] for run in report["runs"]}) > 1:
        yield ""
        for cameras, events in kinds.items():
            same = "the same" if len(events) == 1 else "DIFFERENT"
            yield f"{cameras} cameras: {same} plates whatever decodes"
