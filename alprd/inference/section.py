"""What the tables of a manifest share, and what is said of a wrong one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import ErrorDetails

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class Section(BaseModel):
    """A table of a manifest; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def problem(kind: type[BaseModel], found: ErrorDetails) -> str:
    """One validation error as `key: what; remedy`."""
    location, table = _place(kind, found["loc"])
    key = ".".join(str(part) for part in location) or "the manifest"
    if found["type"] == "extra_forbidden":
        valid = _keys(table)
        near = get_close_matches(str(location[-1]), valid, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"valid keys: {', '.join(valid)}"
        return f"{key}: unknown key; {remedy}"
    if found["type"] == "missing":
        return f"{key}: is missing; add it"
    if found["type"] == "union_tag_not_found":
        union = None if table is None else table.model_fields[str(location[-1])].annotation
        tags = ", ".join(repr(tag) for tag, _ in _members(union))
        return f"{key}.type: is missing; add it, one of {tags}"
    if found["type"] == "union_tag_invalid":
        context: Mapping[str, Any] = found["ctx"]
        tags = str(context["expected_tags"])  # as 'one', 'two'
        near = get_close_matches(str(context["tag"]), tags.replace("'", "").split(", "), n=1)
        remedy = f"did you mean {near[0]!r}? It must be" if near else "it must be"
        return f"{key}.type: there is no {context['tag']!r}; {remedy} one of {tags}"
    message = found["msg"].removeprefix("Value error, ")
    if found["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}: {message} (found {found['input']!r}); correct it"


def _place(
    kind: type[BaseModel], location: Sequence[int | str]
) -> tuple[list[int | str], type[BaseModel] | None]:
    """The keys without the names of a union's members, and the table that holds the last one."""
    keys: list[int | str] = []
    table: type[BaseModel] | None = kind
    members: dict[str, type[BaseModel]] = {}
    for number, part in enumerate(location):
        if members and part in members:
            table, members = members[str(part)], {}
            continue
        keys.append(part)
        field = None if table is None else table.model_fields.get(str(part))
        if number == len(location) - 1:
            break
        annotation = None if field is None else field.annotation
        members = dict(_members(annotation))
        table = _table(annotation)
    return keys, table


def _table(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _members(annotation: object) -> Iterator[tuple[str, type[BaseModel]]]:
    """(type, table) of each member of a union that its key `type` tells apart."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    for member in get_args(annotation):
        if isinstance(member, type) and issubclass(member, BaseModel):
            field = member.model_fields.get("type")
            for tag in () if field is None else get_args(field.annotation):
                yield str(tag), member


def _keys(table: type[BaseModel] | None) -> list[str]:
    if table is None or not issubclass(table, BaseModel):
        return []
    # A key of its own stands before those that it shares with others.
    names = sorted(table.model_fields, key=lambda name: name not in ("type", "outputs"))
    return [table.model_fields[name].alias or name for name in names]
