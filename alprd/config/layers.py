"""The configuration's layers: TOML files read and laid over each other, and who said what.

A later layer wins: tables merge key by key, `[[cameras]]` merge by their id (a new id appends),
every other value is replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alprd.config.limits import limit_problem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Table = dict[str, Any]
KeyPath = tuple[str, ...]
"""Keys from the top to one value; a camera is named by its id, an item by its index."""

# Two ways to say one thing: the layer that says it one way takes back the other.
_ALTERNATIVES = {
    "password": ("password_file",),
    "password_file": ("password",),
    "key": ("key_file",),
    "key_file": ("key",),
    "metres": ("rectangle_m", "lines", "distance_m"),
    "rectangle_m": ("metres", "lines", "distance_m"),
    "distance_m": ("points", "metres", "rectangle_m"),
}


class ConfigError(Exception):
    """The configuration cannot be used.

    The message holds one line per problem, `path: problem; remedy`, and no secret.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(slots=True)
class Layers:
    """What has been laid so far.

    Attributes:
        data: the merged tables.
        origins: the file or variable that each value came from.
        problems: what was wrong with a layer, one line each.
    """

    data: Table = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def lay(self, table: Table, origin: str) -> None:
        """Lay a table over what is there."""
        self._check_cameras(table, origin)
        for path in leaf_paths(table):
            self.origins[path] = origin
        self.data = _merged(self.data, table)

    def origin(self, path: KeyPath) -> str | None:
        """Who set the value at this path, or something inside it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        inside = (o for p, o in self.origins.items() if p[: len(path)] == path)
        return next(inside, None)

    def _check_cameras(self, table: Table, origin: str) -> None:
        cameras = table.get("cameras")
        if not isinstance(cameras, list):
            return
        seen = set()
        for camera in cameras:
            name = camera.get("id") if isinstance(camera, dict) else None
            if isinstance(name, str) and name in seen:
                self.problems.append(
                    f"cameras[{name}]: two cameras have this id (in {origin}); rename one, an id "
                    "is unique"
                )
            if isinstance(name, str):
                seen.add(name)


def leaf_paths(value: object, above: KeyPath = ()) -> Iterator[KeyPath]:
    """The paths of all values that are not tables, and of empty tables."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            if key == "cameras" and not above and isinstance(inner, list):
                for index, camera in enumerate(inner):
                    yield from leaf_paths(camera, ("cameras", camera_name(camera, index)))
            else:
                yield from leaf_paths(inner, (*above, key))
    else:
        yield above


def camera_name(camera: object, index: int) -> str:
    """The camera's id, or its index when it has none."""
    name = camera.get("id") if isinstance(camera, dict) else None
    return name if isinstance(name, str) and name else str(index)


def _merged(base: Table, over: Table) -> Table:
    result = dict(base)
    for key, value in over.items():
        for other in _ALTERNATIVES.get(key, ()):
            if other not in over:
                result.pop(other, None)
        below = result.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            result[key] = _merged(below, value)
        elif key == "cameras" and isinstance(value, list):
            result[key] = _merged_cameras(below if isinstance(below, list) else [], value)
        else:
            result[key] = value
    return result


def _merged_cameras(base: list[Any], over: list[Any]) -> list[Any]:
    result = list(base)
    taken = set()
    for camera in over:
        name = camera.get("id") if isinstance(camera, dict) else None
        if not isinstance(name, str):
            result.append(camera)
            continue
        if name in taken:  # reported by the layer's check; the first one stays
            continue
        taken.add(name)
        for index, below in enumerate(result):
            if isinstance(below, dict) and below.get("id") == name:
                result[index] = _merged(below, camera)
                break
        else:
            result.append(camera)
    return result


def read_toml(path: Path) -> Table:
    """The file's tables. Raises ConfigError, with the line and column of a mistake in TOML."""
    try:
        text = path.read_bytes().decode("utf-8")
        tables: Table = tomllib.loads(text)
    except FileNotFoundError:
        problem = (
            "does not exist; create it after the commented reference alprd.toml, or name another "
            "file with --config"
        )
    except IsADirectoryError:
        problem = "is a folder; name the TOML file in it"
    except PermissionError:
        problem = (
            "may not be read by this user; let its group read it: "
            f"chgrp alprd {path} && chmod 640 {path}"
        )
    except OSError as error:
        problem = f"cannot be read: {error.strerror}; check the disk and the path"
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 at byte {error.start}; save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_problem(path, text, error)]) from None
    except ValueError:  # Python's own bound on the digits of a number
        problem = "holds a number with thousands of digits; shorten it"
    except RecursionError:
        problem = "nests too deeply; flatten it"
    else:
        found = limit_problem(tables)
        if found is None:
            return tables
        problem = found
    raise ConfigError([f"{path}: {problem}"])


def _syntax_problem(path: Path, text: str, error: Exception) -> str:
    """`file:line:column: what is wrong; remedy`, from the parser's `... (at line 3, column 5)`."""
    message, _, place = str(error).rpartition(" (at ")
    place = place.rstrip(")")
    if place.startswith("line "):
        line, _, column = place[len("line ") :].partition(", column ")
    else:  # "end of document"
        line, column = str(text.count("\n") + 1), ""
    where = ":".join(part for part in (str(path), line, column) if part)
    return f"{where}: not TOML: {message[:1].lower()}{message[1:]}; correct this line"


def drop_ins(path: Path) -> list[Path]:
    """The files `conf.d/*.toml` beside the main file, in the order in which they apply."""
    folder = path.parent / "conf.d"
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError(
            [f"{folder}: cannot be listed: {error.strerror}; let the daemon's user read it"]
        ) from None
    # A dot file is an editor's, not a person's.
    return [folder / n for n in names if n.endswith(".toml") and not n.startswith(".")]
