"""etc/alprd.toml is complete, tells the defaults, and loads."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from alprd.config import load_settings
from alprd.config.environment import inner_model
from alprd.config.models import (
    CameraSettings,
    LineSettings,
    ListSettings,
    Settings,
    ZoneSettings,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REFERENCE = Path(__file__).parents[3] / "etc" / "alprd.toml"
# Values that stand for another one: the reference shows an example and says what is the default.
ONLY_AN_EXAMPLE = {
    "device_id",
    "cameras.speed.points",
    "cameras.speed.metres",
    "cameras.speed.lines",
    "cameras.speed.plate_widths_m",
}


def uncommented(text: str) -> str:
    """The reference with every setting in force: a `#` directly before a key is taken away."""
    return re.sub(r"(?m)^#(?=\[|[a-z_]+ = )", "", text)


TABLES: dict[str, type[BaseModel]] = {
    "cameras": CameraSettings,
    "cameras.lines": LineSettings,
    "cameras.zones": ZoneSettings,
    "lists": ListSettings,
}


def settings_of(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        inner = TABLES.get(above + name) or inner_model(field)
        if inner is None:
            yield above + name, field
        else:
            yield from settings_of(inner, f"{above}{name}.")


SETTINGS = dict(settings_of(Settings))


def documented() -> dict[str, Any]:
    def flat(value: object, above: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from flat(inner, f"{above}.{key}" if above else key)
        elif above in TABLES and isinstance(value, list):
            yield from flat(value[0], above)
        else:
            yield above, value

    return dict(flat(tomllib.loads(uncommented(REFERENCE.read_text())), ""))


def comment_above(name: str) -> str:
    """The comment lines directly above a setting, as one text."""
    table, _, key = name.rpartition(".")
    here, comment = "", []
    for line in REFERENCE.read_text().splitlines():
        heading = re.match(r"#?\[+([a-z.]+)\]+", line)
        if heading:
            here, comment = heading[1], []
        elif re.match(rf"#?{key} = ", line) and here == table:
            return " ".join(comment)
        elif line.startswith("# "):
            comment.append(line[2:])
        else:
            comment = []
    raise AssertionError(f"{name} is not documented")


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert set(documented()) == set(SETTINGS)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_reference_shows_the_default_or_says_what_it_is(name: str) -> None:
    field = SETTINGS[name]
    if field.is_required():
        return
    default = None if name in ONLY_AN_EXAMPLE else field.get_default(call_default_factory=True)
    if default is None:
        assert "Default: " in comment_above(name)
        return
    shown = documented()[name]
    expected = json.loads(json.dumps(default, default=str))
    assert (shown, type(shown)) == (expected, type(expected))


@pytest.mark.parametrize("name", [n for n in SETTINGS if not n.startswith("cameras.tracking.")])
def test_the_reference_tells_the_range_of_every_number(name: str) -> None:
    limits = [
        getattr(limit, side)
        for limit in SETTINGS[name].metadata
        for kind, side in ((Ge, "ge"), (Gt, "gt"), (Le, "le"), (Lt, "lt"))
        if isinstance(limit, kind)
    ]
    numbers = {float(n) for n in re.findall(r"\d+(?:\.\d+)?", comment_above(name))}
    assert {float(limit) for limit in limits} <= numbers


@pytest.mark.parametrize("name", [n for n in SETTINGS if n.endswith(("_s", "_px", "_deg"))])
def test_a_unit_in_a_name_is_also_in_its_description(name: str) -> None:
    unit = {"s": "seconds", "px": "pixels", "deg": "degrees"}[name.rpartition("_")[2]]
    assert unit in (SETTINGS[name].description or "")


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_describes_itself(name: str) -> None:
    assert SETTINGS[name].description


def test_the_reference_loads_as_shipped() -> None:
    settings = load_settings(REFERENCE, environ={})
    assert [camera.id for camera in settings.cameras] == ["gate-in"]
    assert settings == Settings(
        cameras=(CameraSettings(id="gate-in", source="rtsp://192.0.2.10/stream1"),)
    )


def test_the_reference_loads_with_every_setting_in_force(tmp_path: Path) -> None:
    for name in ("mqtt.password", "gate-in.password", "broker-ca.pem", "device.crt", "device.key"):
        (tmp_path / name).write_text("s3cret\n")
    (tmp_path / "privacy.key").write_text("k" * 32)
    (tmp_path / "staff.txt").write_text("LS15 EBC\n")
    text = uncommented(REFERENCE.read_text()).replace("/etc/alprd/", f"{tmp_path}/")
    # Alternatives of which only one may be given, and a certificate that only TLS uses.
    text = re.sub(r"(?m)^(password|key) = .*$", "", text).replace('"mqtt://', '"mqtts://')
    text = re.sub(r"(?m)^(rectangle_m|lines|distance_m) = .*$", "", text)
    path = tmp_path / "alprd.toml"
    path.write_text(text)
    settings = load_settings(path, environ={})
    password = settings.cameras[0].password
    assert password is not None
    assert password.get_secret_value() == "s3cret"
    assert settings.cameras[0].tracking == settings.tracking
