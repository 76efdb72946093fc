"""The passwords that systemd hands to the daemon, and to no doctor on the command line."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

UNIT: Final = "alprd.service"
_FOLDERS: Final = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
_VARIABLE: Final = "CREDENTIALS_DIRECTORY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """What the unit's credentials are.

    Attributes:
        sources: credential -> the file that systemd reads, as root, for those that hold something.
        unreadable: credentials whose file is there, or may be, and is not ours to read.
    """

    sources: Mapping[str, Path]
    unreadable: frozenset[str] = frozenset()


NOTHING: Final = Handed(sources={})


def handed(root: Path = Path("/")) -> Handed:
    """What the unit on this machine loads (`LoadCredential=`).

    Args:
        root: of the file system that holds the unit.
    """
    sources: dict[str, Path] = {}
    unreadable = set()
    for name, path in _loaded(root).items():
        try:
            with path.open("rb") as file:
                if file.read().strip():  # an empty one counts as none
                    sources[name] = path
        except PermissionError:
            unreadable.add(name)
        except OSError:
            continue  # not there: systemd takes the unit's default, which is none
    return Handed(sources=sources, unreadable=frozenset(unreadable))


@contextmanager
def as_the_daemon_has_them(
    given: Handed, environ: Mapping[str, str]
) -> Iterator[Mapping[str, str]]:
    """The environment with a folder of credentials, as systemd makes one; it holds links only.

    Args:
        given: what the unit loads.
        environ: the environment; a folder that it names already stays.
    """
    if environ.get(_VARIABLE) or not given.sources:
        yield environ
        return
    with tempfile.TemporaryDirectory(prefix="alprd-doctor-") as folder:
        for name, path in given.sources.items():
            Path(folder, name).symlink_to(path)
        yield {**environ, _VARIABLE: folder}


def _loaded(root: Path) -> dict[str, Path]:
    """Credential -> file, of the unit and its drop-ins; the last one of a name counts."""
    folders = [root / folder for folder in _FOLDERS]
    units = [folder / UNIT for folder in folders if (folder / UNIT).is_file()]
    # Of two drop-ins with the same name the one in the earlier folder hides the other.
    drop_ins = {
        path.name: path
        for folder in reversed(folders)
        for path in (folder / f"{UNIT}.d").glob("*.conf")
    }
    found: dict[str, Path] = {}
    for path in (*units[:1], *(drop_ins[name] for name in sorted(drop_ins))):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, value = line.partition("=")
            if key.strip() != "LoadCredential":
                continue
            name, _, source = value.strip().partition(":")
            if not name:
                found.clear()
            elif source.startswith("/") and "/" not in name:
                found[name] = Path(source)
    return found
