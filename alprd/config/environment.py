"""The environment's layer: ALPRD_* variables, checked name by name.

pydantic-settings splits and parses a variable, but passes over one that it does not know, so the
names are checked here first, against the models. `ALPRD_CAMERAS` (JSON) replaces the whole list;
`ALPRD_CAMERAS__<ID>__<KEY>` changes one camera that the files define, its id in capitals and with
`_` for `-`. An empty variable counts as unset.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from alprd.config.checks import nearest
from alprd.config.layers import Table
from alprd.config.limits import limit_problem
from alprd.config.models import CameraSettings, Settings

PREFIX = "ALPRD_"
CAMERAS_PREFIX = "ALPRD_CAMERAS__"

# Variables that are read elsewhere and set nothing of the configuration.
RESERVED = frozenset({"ALPRD_CONFIG_FILE", "ALPRD_TRT_TACTIC_SOURCES", "ALPRD_FONT_DIRS"})
_RESERVED_PREFIX = "ALPRD_TEST_"


class _SettingsNames(BaseSettings, Settings):
    """Lends the environment source the fields of `Settings`; never built."""

    model_config = SettingsConfigDict(extra="forbid")


class _CameraNames(BaseSettings, CameraSettings):
    """Lends the environment source the fields of `CameraSettings`; never built."""

    model_config = SettingsConfigDict(extra="forbid")


class VariableError(Exception):
    """One variable cannot be used; the message is `NAME: problem; remedy`."""


def variables(environ: Mapping[str, str]) -> list[str]:
    """The names of the variables that set something, tables before their keys."""
    return sorted(
        name
        for name, value in environ.items()
        if name.upper().startswith(PREFIX)
        and name not in RESERVED
        and not name.startswith(_RESERVED_PREFIX)
        and (value or not _known(name))
    )


def table_of(name: str, value: str, cameras: Sequence[str]) -> Table:
    """The table that one variable stands for.

    Args:
        name: the variable.
        value: its text.
        cameras: the ids of the cameras that are defined so far.
    """
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise VariableError(f"{name}: is not UTF-8; set it as UTF-8 text") from None
    if name.upper().startswith(CAMERAS_PREFIX):
        return _camera_table(name, value, cameras)
    if not _known(name):
        raise VariableError(_unknown(name, [PREFIX + n for n in _names(Settings)]))
    return _table(_SettingsNames, Settings, PREFIX, name, value)


def _known(name: str) -> bool:
    return name.upper().removeprefix(PREFIX) in set(_names(Settings))


def _camera_table(name: str, value: str, cameras: Sequence[str]) -> Table:
    prefixes = {f"{CAMERAS_PREFIX}{variable_part(camera)}__": camera for camera in cameras}
    if len(prefixes) < len(cameras):
        clash = [c for c in cameras if c not in prefixes.values()]
        raise VariableError(
            f"{name}: the ids of several cameras ({clash[0]}, ...) look the same in a variable; "
            "use a file in conf.d"
        )
    keys = [k for k in _names(CameraSettings) if k != "ID"]
    fitting = [p for p in prefixes if name.upper().startswith(p)]
    if not fitting:
        raise VariableError(_unknown(name, [p + k for p in prefixes for k in keys]))
    prefix = max(fitting, key=len)
    if name.upper()[len(prefix) :] not in keys:
        raise VariableError(_unknown(name, [prefix + k for k in keys]))
    table = _table(_CameraNames, CameraSettings, prefix, name, value)
    return {"cameras": [{"id": prefixes[prefix], **table}]}


def variable_part(camera_id: str) -> str:
    """How a camera's id looks inside a variable's name."""
    return camera_id.replace("-", "_").upper()


def _names(model: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield above + name.upper()
        inner = inner_model(field)
        if inner is not None:
            yield from _names(inner, f"{above}{name.upper()}__")


def inner_model(field: FieldInfo) -> type[BaseModel] | None:
    """The table that a field holds, if it holds one (a list of tables is none)."""
    if get_origin(field.annotation) is tuple:
        return None
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def item_model(field: FieldInfo | None) -> type[BaseModel] | None:
    """The table that a list of tables holds; None for every other field."""
    if field is None or get_origin(field.annotation) is not tuple:
        return None
    kind = next(iter(get_args(field.annotation)), None)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _unknown(name: str, valid: Sequence[str]) -> str:
    near = nearest(name, [v.lower() for v in valid])
    remedy = f"the nearest valid name is {near.upper()}" if near else "remove it"
    return f"{name}: no setting has this name; {remedy}"


def _table(
    names: type[BaseSettings], model: type[BaseModel], prefix: str, name: str, value: str
) -> Table:
    parsed = _parsed(names, prefix, name, value)
    _refuse_impossible(name, parsed)
    table = _typed(model, parsed)
    _refuse_impossible(name, table)
    return table


def _refuse_impossible(name: str, table: Table) -> None:
    problem = limit_problem(table)
    if problem is not None:
        raise VariableError(f"{name}: {problem}")


def _parsed(kind: type[BaseSettings], prefix: str, name: str, value: str) -> Table:
    source = EnvSettingsSource(kind, env_prefix=prefix, env_nested_delimiter="__")
    source.env_vars = {name.lower(): value}
    try:
        return source()
    except (ValueError, RecursionError):  # SettingsError, which older releases do not export
        pass  # its message and cause quote the value, which may hold a password
    raise VariableError(f"{name}: not valid JSON; write a table or list as JSON, in double quotes")


def _typed(model: type[BaseModel], table: Table) -> Table:
    """The table with its texts turned into the numbers, switches and lists they stand for."""
    result: Table = {}
    for key, value in table.items():
        field = model.model_fields.get(key)
        inner = inner_model(field) if field is not None else None
        if inner is not None and isinstance(value, dict):
            result[key] = _typed(inner, value)
        elif field is not None and isinstance(value, str):
            result[key] = _typed_text(field, value)
        else:
            result[key] = value
    return result


def _typed_text(field: FieldInfo, text: str) -> object:
    annotation: Any = field.annotation
    adapter = TypeAdapter(annotation)
    candidates: list[object] = [text]
    # Not JSON, or more digits or brackets than Python takes: the text itself, or yes/no.
    with contextlib.suppress(ValueError, RecursionError):
        candidates.append(json.loads(text))
    for candidate in candidates:
        if limit_problem(candidate) is not None:
            continue
        try:
            adapter.validate_json(json.dumps(candidate), strict=True)
        except ValidationError:
            continue
        return candidate
    try:
        return adapter.dump_python(adapter.validate_python(text), mode="json")
    except ValidationError:
        return text  # the final validation reports it, with its path
