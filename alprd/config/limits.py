"""What a value may be at all, whatever setting it is meant for.

Python's parsers let through what later breaks far from its line: numbers too long to be written
out again, tables nested deeper than anything can walk, texts that no path or topic can hold.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_DEPTH = 32
"""Tables and lists inside each other; the settings themselves need five."""

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


def limit_problem(value: object) -> str | None:
    """`keys: problem; remedy` of the first value that cannot be used; None when all can.

    No value is quoted: it may be a password.
    """
    waiting: list[tuple[str, int, object]] = [("", 0, value)]
    while waiting:  # a loop of its own: recursion is what the depth would break
        shown, depth, item = waiting.pop()
        if isinstance(item, (dict, list)):
            if depth >= MAX_DEPTH:
                return f"nests more than {MAX_DEPTH} deep; flatten it"
            waiting += ((key, depth + 1, inner) for key, inner in _items(shown, item))
        else:
            problem = _problem(item)
            if problem is not None:
                return f"{shown}: {problem}" if shown else problem
    return None


def _items(above: str, value: dict[str, object] | list[object]) -> Iterator[tuple[str, object]]:
    """The items with how they are called in a message, the last one first."""
    if isinstance(value, list):
        for index in range(len(value) - 1, -1, -1):
            yield f"{above}[{index}]", value[index]
    else:
        for key in reversed(value):
            yield f"{above}.{key}" if above else key, value[key]


def _problem(value: object) -> str | None:
    if isinstance(value, int) and not _LOWEST <= value <= _HIGHEST:
        return "the number is too large for 64 bits; shorten it"
    if isinstance(value, str):
        if "\0" in value:
            return "holds a NUL character; remove it"
        if any("\ud800" <= character <= "\udfff" for character in value):
            return "holds half of a surrogate pair, which is no character; write it as UTF-8"
    return None
