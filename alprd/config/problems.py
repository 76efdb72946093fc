"""What pydantic found, said to the person who wrote the file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails as Details

from alprd.config.checks import nearest
from alprd.config.environment import inner_model, item_model
from alprd.config.layers import Layers, camera_name
from alprd.config.models import CameraSettings, Settings
from alprd.core.secrets import mask_credentials

# Fields whose value may hold a password even where it is malformed: never quoted.
_NEVER_QUOTED = frozenset({"password", "key", "url", "source"})

_WRONG_TYPE = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false, without quotes",
    "string_type": "text in quotes",
    "path_type": "a path in quotes",
    "tuple_type": "a list in [ ]",
    "model_type": "a table",
}
_WRONG_TYPE_AT = {
    ("mqtt", "url"): "a URL in quotes, or a list of them",
    ("cameras",): "a list of tables: [[cameras]], with double brackets",
    ("lists",): "a list of tables: [[lists]], with double brackets",
}
_SPEED_FORMS = {
    "frame_size": "write it as [width, height]",
    "points": "write each point as [x, y]",
    "metres": "write each place as [x, y]",
    "rectangle_m": "write it as [width, length]",
    "lines": "write each line as [[x, y], [x, y]]",
    "lens.centre_px": "write it as [x, y]",
    "lens.distortion": "write it as [k1, k2, p1, p2, k3]",
}
_ITEM_RANGES = {
    "frame_size": "16 to 65535 pixels",
    "plate_widths_m": "0.1 to 2.0 metres",
}
_OUT_OF_RANGE = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal"})
_BAD_LENGTH = frozenset({"string_too_short", "string_too_long", "too_short", "too_long"})


def problem_lines(error: ValidationError, layers: Layers) -> list[str]:
    """One line per wrong value, in the order of the file's tables."""
    lines: dict[tuple[str, ...], str] = {}
    for details in error.errors(include_url=False):
        place = _Place.find(details["loc"], layers.data)
        if place.key not in lines:
            lines[place.key] = _line(place, details, layers)
    if any(key[0] == "cameras" and len(key) > 1 for key in lines if key):
        # pydantic does not count items that are wrong in themselves.
        lines.pop(("cameras",), None)
    return list(lines.values())


class _Place:
    """Where in the models an error lies."""

    def __init__(self) -> None:
        self.key: tuple[str, ...] = ()
        self.shown = ""
        self.model: type[BaseModel] = Settings
        self.field: FieldInfo | None = None

    @property
    def name(self) -> str:
        return self.key[-1] if self.key else ""

    @classmethod
    def find(cls, loc: Sequence[str | int], data: Mapping[str, Any]) -> _Place:
        """Follow an error's location through the models, as far as they know it."""
        place = cls()
        model: type[BaseModel] | None = Settings
        value: object = data
        for part in loc:
            if model is not None and isinstance(part, str):
                place.model, place.field = model, model.model_fields.get(part)
                place._step(part, ("." if place.shown else "") + part)
                model = inner_model(place.field) if place.field is not None else None
                value = value.get(part) if isinstance(value, dict) else None
            elif isinstance(part, int):
                value = value[part] if isinstance(value, list) and part < len(value) else None
                item = item_model(place.field)
                if item is CameraSettings:
                    name = camera_name(value, part)
                    place._step(name, f"[{name}]")
                else:
                    shown = part if item is None else _list_name(value, part)
                    place._step(str(part), f"[{shown}]")
                if item is not None:
                    model, place.field = item, None
            else:
                break  # the name of a union's member
        return place

    def _step(self, key: str, shown: str) -> None:
        self.key += (key,)
        self.shown += shown


def _line(place: _Place, details: Details, layers: Layers) -> str:
    origin = layers.origin(place.key)
    source = f" (in {origin})" if origin is not None else ""
    problem, remedy = _problem(place, details)
    if details["type"] == "missing" and place.name == "source":
        other = nearest(place.key[1], _other_cameras(layers.data, place.key[1]))
        remedy += f' (or is the id meant to be "{other}"?)' if other is not None else ""
    shown = place.shown or "configuration"
    return f"{mask_credentials(shown)}: {problem}{source}; {remedy}"


def _problem(place: _Place, details: Details) -> tuple[str, str]:
    """What is wrong, and the remedy."""
    kind = details["type"]
    shown = _quoted(place.name, details["input"])
    wrong_type = _WRONG_TYPE.get(kind)
    if wrong_type is not None:
        wrong_type = _WRONG_TYPE_AT.get(place.key, wrong_type)
    if kind == "extra_forbidden":
        result = _unknown_key(place)
    elif kind == "missing":
        result = "is missing", _missing_remedy(place.key)
    elif kind == "value_error":
        problem, _, remedy = str(details["ctx"]["error"]).rpartition("; ")
        result = (problem, remedy) if problem else (remedy, "correct it")
    elif kind == "literal_error":
        result = f"{shown} is not possible", _choose(place, details["input"])
    elif kind in _OUT_OF_RANGE:
        result = f"{shown} is out of range", f"give {_range(place)}"
    elif kind in _BAD_LENGTH:
        result = _length_problem(place, details)
    elif wrong_type is not None:
        result = f"{shown} is not {wrong_type}", f"write {wrong_type}"
    else:  # no field has a type that fails otherwise, but a later one may
        result = str(details["msg"]).lower(), "correct it"
    return result


def _unknown_key(place: _Place) -> tuple[str, str]:
    near = nearest(place.name, place.model.model_fields)
    if near is None:
        return "no setting has this name", "remove it"
    valid = place.shown[: -len(place.name)] + near
    return "no setting has this name", f"the nearest valid name is {valid}"


def _choose(place: _Place, value: object) -> str:
    choices = _choices(place.field.annotation) if place.field is not None else []
    listed = ", ".join(_toml(choice) for choice in choices)
    texts = [choice for choice in choices if isinstance(choice, str)]
    near = nearest(value, texts) if isinstance(value, str) else None
    if near is None:
        return f"give one of {listed}"
    return f"did you mean {_toml(near)}? possible are {listed}"


def _missing_remedy(key: tuple[str, ...]) -> str:
    if key == ("cameras",):
        return "add a [[cameras]] table with id and source"
    if key[-1] == "source":
        return 'add source = "rtsp://..."'
    form = _form(key) if key[-1].isdigit() else None
    if form is not None:
        return form
    return f"add {key[-1]} = ..."


def _of_point(key: Sequence[str]) -> bool:
    """Whether this is a point of a polygon or line in fractions of the picture, or part of one."""
    return key[:1] == ("cameras",) and (
        (len(key) > 3 and key[2] == "roi")
        or (len(key) > 5 and (key[2], key[4]) in (("lines", "points"), ("zones", "polygon")))
    )


def _form(key: Sequence[str]) -> str | None:
    """How a list with a fixed number of values, or one of them, is to be written."""
    if _of_point(key):
        return "write each point as [x, y]"
    if len(key) > 3 and (key[0], key[2]) == ("cameras", "speed"):
        # Whole lists of any length have no form; their items do.
        return _SPEED_FORMS.get("lens." + key[4] if key[3] == "lens" and len(key) > 4 else key[3])
    return None


def _list_name(table: object, index: int) -> str:
    name = table.get("name") if isinstance(table, dict) else None
    return name if isinstance(name, str) and name else str(index)


def _other_cameras(data: Mapping[str, Any], name: str) -> list[str]:
    listed = data["cameras"]
    return [n for n in (camera_name(c, i) for i, c in enumerate(listed)) if n != name]


def _length_problem(place: _Place, details: Details) -> tuple[str, str]:
    if place.key == ("cameras",):
        return "the list is empty", _missing_remedy(place.key)
    if not details["input"]:
        return "is empty", "give a value, or remove the line"
    form = _form(place.key)
    if form is not None:
        return "is not a point" if "point" in form else "has a wrong number of values", form
    limits = [str(m.min_length) for m in _metadata(place.field) if isinstance(m, MinLen)]
    limits += [str(m.max_length) for m in _metadata(place.field) if isinstance(m, MaxLen)]
    if "long" in details["type"]:
        return "is too long", f"shorten it to {limits[-1] if limits else 'fit'}"
    return "is too short", f"give at least {limits[0] if limits else 'one'}"


def _metadata(field: FieldInfo | None) -> Sequence[Any]:
    return field.metadata if field is not None else ()


def _range(place: _Place) -> str:
    """The field's whole range, not only the side that was missed."""
    low = high = None
    for limit in _metadata(place.field):
        if isinstance(limit, Ge):
            low = f"at least {limit.ge}"
        elif isinstance(limit, Gt):
            low = f"more than {limit.gt}"
        elif isinstance(limit, Le):
            high = f"at most {limit.le}"
        elif isinstance(limit, Lt):
            high = f"less than {limit.lt}"
    if low is None and high is None:  # the limits of a list's items
        if _of_point(place.key):
            return "fractions from 0.0 to 1.0"
        return _ITEM_RANGES.get(place.key[3] if len(place.key) > 3 else "", "a number in range")
    return " and ".join(part for part in (low, high) if part)


def _choices(annotation: object) -> list[object]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for arg in get_args(annotation) for choice in _choices(arg)]


def _quoted(name: str, value: object) -> str:
    if name in _NEVER_QUOTED or isinstance(value, SecretStr):
        return "the value"
    if isinstance(value, str):
        text = mask_credentials(value)
        return f'"{text}"' if len(text) <= 60 and text.isprintable() else "this text"
    if isinstance(value, (bool, int, float)):
        return _toml(value)
    if value is None:
        return "null"
    return "a table" if isinstance(value, dict) else "a list"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
    return str(value)
