"""A calibration as a drop-in file: checked by the configuration's own code, then written at once.

The file is laid over the rest exactly as the daemon will lay it, so what the page or the command
line accepts, `alprd run` accepts.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alprd.commands.toml_text import toml_text
from alprd.config import CameraSettings, ConfigError, Settings, load_settings
from alprd.config.limits import limit_problem
from alprd.config.load import main_file

Draft = Mapping[str, Any]
"""A camera's keys as the configuration has them, without its id: speed, roi, zones, lines."""

KEYS = ("roi", "zones", "lines", "speed")
ORDER = 50

_HEAD = "# Written by `alprd calibrate {camera}`; run that again to change it."


def drop_in_path(config: Path | None, camera_id: str, order: int = ORDER) -> Path:
    """The camera's calibration file, or where it is going to be."""
    folder = main_file(config).parent / "conf.d"
    name = re.compile(rf"\d+-calibration-{re.escape(camera_id)}\.toml")
    try:
        found = sorted(p for p in folder.iterdir() if name.fullmatch(p.name))
    except OSError:
        found = []
    return found[0] if found else folder / f"{order:02}-calibration-{camera_id}.toml"


def problems_of(draft: Draft, *, camera_id: str, config: Path | None, path: Path) -> list[str]:
    """What the configuration would say of the draft at that path, without the file's name."""
    table = _table(draft, camera_id)
    too_much = limit_problem(table)
    if too_much is not None:
        return [too_much]
    try:
        settings = load_settings(config, planned=(path, table))
    except ConfigError as error:
        before = _problems_without(config)
        return [
            line.replace(f" (in {path})", "").removeprefix(f"cameras[{camera_id}].")
            for line in error.problems
            if line not in before
        ] or list(error.problems)
    return _overruled(draft, settings, camera_id, path)


def save(draft: Draft, *, camera_id: str, config: Path | None, path: Path) -> list[str]:
    """Write the draft to the path, whole or not at all; the problems that kept it from being."""
    problems = problems_of(draft, camera_id=camera_id, config=config, path=path)
    if problems:
        return problems
    text = f"{_HEAD.format(camera=camera_id)}\n{toml_text(_table(draft, camera_id))}\n"
    try:
        _write(path, text)
    except OSError as error:
        return [f"{path}: cannot be written: {error.strerror}; run it as a user who may (sudo)"]
    return []


def draft_of(camera: CameraSettings) -> dict[str, Any]:
    """What is in force, as a draft."""
    values = camera.model_dump(mode="json", exclude_unset=True)
    return {key: values[key] for key in KEYS if values.get(key) is not None}


def _table(draft: Draft, camera_id: str) -> dict[str, Any]:
    kept = {key: draft[key] for key in KEYS if draft.get(key) is not None}
    return {"cameras": [{"id": camera_id, **kept}]}


def _problems_without(config: Path | None) -> Sequence[str]:
    """What is wrong whatever the draft says."""
    try:
        load_settings(config)
    except ConfigError as error:
        return error.problems
    return ()


def _overruled(draft: Draft, settings: Settings, camera_id: str, path: Path) -> list[str]:
    """The keys that a later file or a variable would replace."""
    camera = next(c for c in settings.cameras if c.id == camera_id)
    own = CameraSettings.model_validate({"id": camera_id, "source": camera.source, **dict(draft)})
    return [
        f"{key}: a later drop-in or a variable says something else; remove it there, or rename "
        f"{path.name} so that it comes last"
        for key in KEYS
        if draft.get(key) is not None and _differs(getattr(camera, key), getattr(own, key))
    ]


def _differs(in_force: object, own: object) -> bool:
    """Whether a value that the draft sets is not what is in force."""
    names = getattr(own, "model_fields_set", None)
    if names is None:
        return in_force != own
    return any(getattr(in_force, name, None) != getattr(own, name) for name in names)


def _write(path: Path, text: str) -> None:
    if not path.parent.exists():
        path.parent.mkdir()
        # Whatever the umask of whoever calibrates: the daemon's own user must list the folder.
        path.parent.chmod(0o755)
    number, name = tempfile.mkstemp(dir=path.parent, prefix=".calibration-", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # The daemon runs as a user of its own; there is nothing secret in it.
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
