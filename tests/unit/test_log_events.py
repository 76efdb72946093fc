"""Every event that the daemon logs is described, by the name it has in the log."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import alprd

DOCUMENT = Path(__file__).parents[2] / "etc" / "LOG-EVENTS.md"
METHODS = {"debug", "info", "warning", "error", "critical", "exception"}


def logged() -> dict[str, str]:
    """Event -> where it is logged."""
    package = Path(str(alprd.__file__)).parent
    found: dict[str, str] = {}
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in METHODS
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "log"
            ):
                assert node.args, f"{path}:{node.lineno} logs no event"
                name = node.args[0]
                assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: no constant name"
                found[str(name.value)] = f"{path.relative_to(package)}:{node.lineno}"
    return found


def test_every_event_is_a_dotted_noun_and_described() -> None:
    events = logged()
    assert len(events) > 40
    described = set(re.findall(r"(?m)^\| `([^`]+)` \|", DOCUMENT.read_text()))
    assert {name: where for name, where in events.items() if name not in described} == {}
    for name in events:
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", name), name
