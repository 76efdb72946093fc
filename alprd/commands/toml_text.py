"""Plain values as TOML text for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def toml_text(table: Mapping[str, Any]) -> str:
    """The table as TOML: its own keys first, then [tables] and [[arrays of tables]]."""
    return "\n".join(_table(table, "")).strip()


def _table(table: Mapping[str, Any], path: str) -> list[str]:
    lines: list[str] = []
    tables: list[str] = []
    for key, value in table.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            tables += ["", f"[{name}]", *_table(value, name)]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for item in value:
                tables += ["", f"[[{name}]]", *_table(item, name)]
        else:
            lines.append(f"{key} = {_value(value)}")
    return lines + tables


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are a subset of a TOML basic string's; DEL alone needs one more.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return str(value)
