"""The ratchet: no figure may fall below what was accepted before.

A JSON file holds for every figure the value that was accepted last and the limit below which (or,
for what should be small, above which) it may not get: the accepted value less the figure's slack.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engines.training.accuracy_figures import Figure, worse

DIGITS = 5


def read_ratchet(path: Path) -> dict[str, dict[str, Any]]:
    """Accepted figures by key; none where there is no file yet."""
    if not path.is_file():
        return {}
    return dict(json.loads(path.read_text(encoding="utf-8"))["figures"])


def fallen(figures: list[Figure], accepted: dict[str, dict[str, Any]]) -> list[str]:
    """What is worse than the ratchet allows, each with its figures; empty if nothing is."""
    said = []
    measured = {figure.key: figure for figure in figures}
    for key, entry in accepted.items():
        figure = measured.get(key)
        if figure is None:
            said.append(f"{key}: accepted at {entry['accepted']}, and measured no more")
        elif worse(figure.value, entry["limit"], figure.better):
            side = "below" if figure.better == "higher" else "above"
            said.append(
                f"{key}: {figure.value:.5f} is {side} the limit {entry['limit']} "
                f"(accepted: {entry['accepted']})"
            )
    return said


def updated(
    figures: list[Figure], accepted: dict[str, dict[str, Any]], *, allow_lower: bool
) -> dict[str, dict[str, Any]]:
    """The accepted figures with what has become better, and what is new.

    With `allow_lower`, also what has become worse, and without what is measured no more.
    """
    out: dict[str, dict[str, Any]] = {} if allow_lower else dict(accepted)
    for figure in figures:
        entry = accepted.get(figure.key)
        if (
            entry is None
            or allow_lower
            or not worse(figure.value, entry["accepted"], figure.better)
        ):
            sign = -1 if figure.better == "higher" else 1
            out[figure.key] = {
                "accepted": round(figure.value, DIGITS),
                "limit": round(figure.value + sign * figure.slack, DIGITS),
            }
    return out


def write_ratchet(path: Path, accepted: dict[str, dict[str, Any]], models: dict[str, str]) -> None:
    """Write the file, one figure a line, sorted, so that a change reads well."""
    lines = [f"  {json.dumps(key)}: {json.dumps(accepted[key])}" for key in sorted(accepted)]
    text = '{\n "command": "make accuracy",\n "models": ' + json.dumps(models, sort_keys=True)
    text += ',\n "figures": {\n' + ",\n".join(lines) + "\n }\n}\n"
    path.write_text(text, encoding="utf-8")
