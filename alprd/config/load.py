"""Reads the configuration: TOML file, drop-ins, environment, credentials; all mistakes at once.

Later wins: the file, `conf.d/*.toml` beside it in the order of their names, `ALPRD_*` variables. A
password may stand in the configuration (`password`), in a file that it names (`password_file`) or
in a credential that systemd hands over (`mqtt.password`, `camera.<id>.password` in
$CREDENTIALS_DIRECTORY); a credential wins over the other two, which exclude each other. The key of
the pseudonyms is found in the same ways (`privacy.key`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alprd.config.environment import VariableError, table_of, variables
from alprd.config.layers import ConfigError, Layers, Table, camera_name, drop_ins, read_toml
from alprd.config.models import InferenceSettings, Settings
from alprd.config.plate_lists import read_plates
from alprd.config.problems import problem_lines
from alprd.core.lists import PlateListError
from alprd.core.secrets import MASK, has_credentials, mask_credentials

__all__ = ["ConfigError", "load_inference", "load_settings", "public_dump"]

DEFAULT_PATH = Path("/etc/alprd/alprd.toml")
_MAX_SECRET_BYTES = 4096


def main_file(path: Path | None = None, *, environ: Mapping[str, str] = os.environ) -> Path:
    """The main TOML file: the one that is named, else $ALPRD_CONFIG_FILE, else the usual one."""
    return path if path is not None else Path(environ.get("ALPRD_CONFIG_FILE") or DEFAULT_PATH)


def load_settings(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    planned: tuple[Path, Table] | None = None,
) -> Settings:
    """The complete, checked configuration.

    Args:
        path: the TOML file; None takes $ALPRD_CONFIG_FILE, else /etc/alprd/alprd.toml, which may
            be absent when ALPRD_CAMERAS names the cameras.
        environ: the environment variables.
        planned: a drop-in that is not written yet, and what it is going to say: what would be in
            force with it?

    Raises:
        ConfigError: every problem that was found, one line each.
    """
    layers = Layers()
    _lay_files(layers, path, environ, planned)
    _lay_environment(layers, environ)
    file_problems = _put_secrets(layers, environ) + _put_key(layers.data, environ)
    file_problems += _certificate_problems(layers.data)
    settings = None
    try:
        text = json.dumps(layers.data, default=str)  # TOML's dates are the only foreign values
        settings = Settings.model_validate_json(text, strict=True)
    except ValidationError as error:
        layers.problems += problem_lines(error, layers)
    layers.problems += file_problems
    if settings is not None:
        layers.problems += _list_problems(settings)
    # Raised out here, so that no traceback drags along an error that quotes a value.
    if settings is None or layers.problems:
        raise ConfigError(list(dict.fromkeys(layers.problems)))
    return settings


def load_inference(
    path: Path | None = None, *, environ: Mapping[str, str] = os.environ
) -> InferenceSettings:
    """[inference] alone, for what is done before there are cameras; defaults without a file.

    Args:
        path: as for `load_settings`.
        environ: the environment variables.

    Raises:
        ConfigError: a file cannot be read, or what is wrong in [inference].
    """
    layers = Layers()
    named = path is not None or bool(environ.get("ALPRD_CONFIG_FILE"))
    if named or os.path.lexists(main_file(path, environ=environ)):
        _lay_files(layers, path, environ, None)
    _lay_environment(layers, environ)
    # What else there is may be wrong, and shall stand in nobody's way here.
    layers.problems.clear()
    kept = {key: value for key, value in layers.data.items() if key == "inference"}
    layers.data.clear()
    layers.data.update(kept)
    layers.data["cameras"] = [{"id": "none", "source": "/dev/null"}]
    settings = None
    try:
        text = json.dumps(layers.data, default=str)
        settings = Settings.model_validate_json(text, strict=True)
    except ValidationError as error:
        layers.problems += problem_lines(error, layers)
    if settings is None:
        raise ConfigError(list(dict.fromkeys(layers.problems)))
    return settings.inference


def _lay_files(
    layers: Layers,
    path: Path | None,
    environ: Mapping[str, str],
    planned: tuple[Path, Table] | None,
) -> None:
    named = path is not None or bool(environ.get("ALPRD_CONFIG_FILE"))
    main = main_file(path, environ=environ)
    files = [main]
    if not named and environ.get("ALPRD_CAMERAS") and not os.path.lexists(main):
        files = []
    problems: list[str] = []
    try:
        files += drop_ins(main)
    except ConfigError as error:
        problems += error.problems
    tables: dict[Path, Table] = {}
    if planned is not None:
        tables[planned[0]] = planned[1]
        rest = {*files[1:], planned[0]}
        files = [*files[:1], *sorted(rest, key=lambda file: file.name)]
    for file in files:
        try:
            layers.lay(tables[file] if file in tables else read_toml(file), str(file))
        except ConfigError as error:
            problems += error.problems
    if problems:  # what a file that cannot be read would have said is unknown: stop here
        raise ConfigError(problems)


def _lay_environment(layers: Layers, environ: Mapping[str, str]) -> None:
    names = variables(environ)
    for name in names:
        if name.upper().endswith("PASSWORD") and f"{name}_FILE" in names:
            layers.problems.append(f"{name}_FILE: {name} is set too; keep one")
        try:
            table = table_of(name, environ[name], _camera_ids(layers.data))
        except VariableError as error:
            layers.problems.append(str(error))
            continue
        if name.upper() == "ALPRD_CAMERAS":
            layers.data.pop("cameras", None)
        layers.lay(table, name)


def _camera_ids(data: Table) -> list[str]:
    cameras = data.get("cameras")
    if not isinstance(cameras, list):
        return []
    return [c["id"] for c in cameras if isinstance(c, dict) and isinstance(c.get("id"), str)]


def _secret_tables(data: Table) -> Iterator[tuple[str, str, Table, str]]:
    """(name to show, credential, table, key of its URL) of every table that takes a password."""
    mqtt = data.setdefault("mqtt", {})
    if isinstance(mqtt, dict):
        yield "mqtt", "mqtt.password", mqtt, "url"
    cameras = data.get("cameras")
    for index, camera in enumerate(cameras if isinstance(cameras, list) else []):
        if isinstance(camera, dict):
            name = camera_name(camera, index)
            yield f"cameras[{name}]", f"camera.{name}.password", camera, "source"


def _put_secrets(layers: Layers, environ: Mapping[str, str]) -> list[str]:
    """Put the passwords from files and credentials into the tables; returns the problems."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    problems = []
    for shown, credential, table, url_key in _secret_tables(layers.data):
        file = table.get("password_file")
        if "password" in table and file is not None:
            problems.append(
                f"{shown}.password_file: the password is also given as {shown}.password; keep one"
            )
            continue
        given = "password" in table or file is not None
        source, key = file, f"{shown}.password_file"
        if folder and _holds(folder, credential):
            source, key = str(Path(folder) / credential), f"credential {credential}"
            given = True
        if isinstance(source, str):
            try:
                table["password"] = _read_secret(Path(source))
            except ConfigError as error:
                problems.append(f"{key}: {error}")
        in_url = any(has_credentials(url) for url in _texts(table.get(url_key)))
        if given and "username" not in table and not in_url:
            problems.append(
                f"{shown}.username: is missing, but a password is given; add the user's name"
            )
        if (given or "username" in table) and in_url:
            problems.append(
                f"{shown}.{url_key}: holds a user name or password, and so do other settings; "
                "keep one place"
            )
    return problems


def _holds(folder: str, credential: str) -> bool:
    """Whether systemd handed this credential over; an empty one is a unit's default for none."""
    path = os.path.join(folder, credential)
    try:
        with open(path, "rb") as file:
            return file.read(2).strip() != b"" or file.read(1) != b""
    except FileNotFoundError:
        return os.path.lexists(path)
    except OSError:
        return True  # reading it says what is wrong with it


def _put_key(data: Table, environ: Mapping[str, str]) -> list[str]:
    """Put the key of the pseudonyms into its table; returns the problems."""
    table = data.get("privacy", {})
    if not isinstance(table, dict):
        return []
    folder = environ.get("CREDENTIALS_DIRECTORY")
    source, name = table.get("key_file"), "privacy.key_file"
    if "key" in table and source is not None:
        return [f"{name}: the key is also given as privacy.key; keep one"]
    if folder and os.path.lexists(os.path.join(folder, "privacy.key")):
        source, name = os.path.join(folder, "privacy.key"), "credential privacy.key"
    if not isinstance(source, str):
        return []
    try:
        data.setdefault("privacy", table)["key"] = _read_secret(Path(source))
    except ConfigError as error:
        # What is missing because of it is no further problem.
        table["plates"] = "plain"
        return [f"{name}: {error}"]
    return []


def _list_problems(settings: Settings) -> list[str]:
    """Plate lists that cannot be used."""
    problems = []
    for each in settings.lists:
        try:
            read_plates(each.file)
        except PlateListError as error:
            problems.append(f"lists[{each.name}].file: {each.file}: {error}")
    return problems


def _texts(value: object) -> list[str]:
    listed = value if isinstance(value, list) else [value]
    return [text for text in listed if isinstance(text, str)]


def _certificate_problems(data: Table) -> list[str]:
    """Certificate and key files that cannot be read, or that no connection would use."""
    mqtt = data["mqtt"]
    if not isinstance(mqtt, dict):
        return []
    encrypted = any(url.startswith(("mqtts://", "wss://")) for url in _texts(mqtt.get("url")))
    problems = []
    for key, mode in (("ca_file", "644"), ("cert_file", "644"), ("key_file", "600")):
        file = mqtt.get(key)
        if not isinstance(file, str):
            continue
        if not encrypted:
            problems.append(
                f"mqtt.{key}: is given, but no broker's URL starts with mqtts://; write mqtts://, "
                "or remove the file"
            )
        if not os.access(file, os.R_OK):
            problems.append(
                f"mqtt.{key}: {file} does not exist or may not be read by this user; correct the "
                f"path, or: chmod {mode} {file}"
            )
    return problems


def _read_secret(path: Path) -> str:
    """The file's text without the newline at its end. The message never quotes the content."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SECRET_BYTES + 1)
    except FileNotFoundError:
        problem = "does not exist; create it, or correct the path"
    except PermissionError:
        problem = f"may not be read by this user; chgrp alprd {path} && chmod 640 {path}"
    except (OSError, ValueError) as error:
        problem = f"cannot be read: {getattr(error, 'strerror', error)}; name a plain file"
    else:
        text = content.decode("utf-8", "replace")
        text = text.removesuffix("\n").removesuffix("\r")
        if len(content) > _MAX_SECRET_BYTES:
            problem = f"is longer than {_MAX_SECRET_BYTES} bytes; that is no password file"
        elif not text.strip():
            problem = "is empty; write the password into it"
        elif "\ufffd" in text:
            problem = "is not UTF-8; save it as UTF-8"
        elif "\n" in text or "\0" in text:
            problem = "holds several lines; a password is one line"
        else:
            return text
    raise ConfigError([f"{path} {problem}"])


def public_dump(settings: Settings) -> dict[str, Any]:
    """The configuration as JSON types, every password replaced by `***`."""
    return {key: _public(key, value) for key, value in settings.model_dump(mode="json").items()}


def _public(key: str, value: object) -> object:
    if isinstance(value, dict):
        return {inner: _public(inner, item) for inner, item in value.items()}
    if isinstance(value, list):
        return [_public(key, item) for item in value]
    if isinstance(value, str):
        return MASK if key in ("password", "key") else mask_credentials(value)
    return value
