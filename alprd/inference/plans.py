"""The folder of engine plans: written whole or not at all, and never handed out to a wrong device.

A file is `ALPRDPLAN`, a line of JSON (identity, size and sha256 of the plan, figures of its check)
and the plan. Everything is compared before the plan leaves here, because TensorRT deserialises
what it is given: a damaged plan can crash the process.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from alprd.inference.identity import PRECISIONS, EngineIdentity, Precision
from alprd.ports import EngineError, EngineUnavailable

_MAGIC = b"ALPRDPLAN 1 "
_HEADER_BYTES = 1 << 16
_SUFFIX = ".plan"
_UNFINISHED = ".unfinished"
_LOCK = ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A plan file as its header describes it.

    Attributes:
        name: of the model.
        precision: that it stands for.
        path: the file.
        size: of the whole file, bytes.
        identity: what it belongs to; None when the file is no plan of ours or damaged.
        built_at: when, ISO 8601; None as above.
        figures: of the check that it passed before it was kept.
        problem: why the file cannot be used anywhere; None when it is whole.
    """

    name: str
    precision: Precision
    path: Path
    size: int
    identity: EngineIdentity | None = None
    built_at: str | None = None
    figures: Mapping[str, Any]
    problem: str | None = None


class PlanStore:
    """Plans of one folder: one file per model and precision.

    Args:
        folder: where they lie; made when the first one is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str, precision: Precision) -> Path:
        """Where the plan of a model lies."""
        return self.folder / f"{name}.{precision}{_SUFFIX}"

    def load(self, name: str, identity: EngineIdentity) -> bytes:
        """The plan of this model for this device and these settings.

        Raises:
            EngineUnavailable: there is none, or it does not fit, or is damaged: build it.
            EngineError: it may not be read.
        """
        with self._fitting(name, identity) as (file, header):
            return _plan(file, header)

    def look(self, name: str, identity: EngineIdentity) -> None:
        """Refuse what `load` would refuse by the header and the size, without reading the plan.

        Raises:
            EngineError: as `load` does.
        """
        with self._fitting(name, identity) as (file, header):
            _check_size(os.fstat(file.fileno()).st_size - file.tell(), header)

    def need(self, name: str, precision: Precision) -> None:
        """Refuse where there is no plan at all; needs no device. Raises EngineUnavailable."""
        path = self.path(name, precision)
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise EngineUnavailable(f"{path} does not exist; {_remedy(name)}") from None
        except OSError:
            pass  # whoever loads it says what is wrong

    @contextmanager
    def _fitting(
        self, name: str, identity: EngineIdentity
    ) -> Iterator[tuple[BinaryIO, Mapping[str, Any]]]:
        """The file of a plan that fits, at the plan, and its header. Raises EngineError."""
        path = self.path(name, identity.settings.precision)
        try:
            with path.open("rb") as file:
                header = _header(file)
                differences = _identity(header).differences(identity)
                if differences:
                    raise EngineUnavailable(
                        f"{path} was built for {'; '.join(differences)}; {_remedy(name)}"
                    )
                yield file, header
        except (FileNotFoundError, NotADirectoryError):
            raise EngineUnavailable(f"{path} does not exist; {_remedy(name)}") from None
        except _DamagedError as damage:
            raise EngineUnavailable(f"{path} {damage}; {_remedy(name)}") from None
        except PermissionError:
            raise EngineError(
                f"{path} cannot be read by this user; let alprd's user read it: chmod a+r {path}"
            ) from None
        except OSError as error:
            raise EngineUnavailable(
                f"{path} cannot be read now ({error.strerror}); check the disk"
            ) from None

    def fits(self, name: str, identity: EngineIdentity) -> str | None:
        """None when `load` would give a plan, else why not."""
        try:
            self.load(name, identity)
        except EngineError as error:
            return str(error)
        return None

    def entries(self) -> list[Entry]:
        """Every plan file, whole or not, by name. Raises EngineError when nobody may look."""
        try:
            # A glob would find nothing, silently, where this user may not look.
            names = sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise EngineError(
                f"{self.folder} cannot be read ({error.strerror}); let this user read it"
            ) from None
        found = []
        for path in (self.folder / each for each in names if each.endswith(_SUFFIX)):
            name, dot, kind = path.name.removesuffix(_SUFFIX).rpartition(".")
            precision = next((each for each in PRECISIONS if each == kind), None)
            if dot and precision is not None and path.is_file():
                found.append(_entry(name, precision, path))
        return found

    def save(
        self,
        name: str,
        identity: EngineIdentity,
        plan: bytes,
        *,
        figures: Mapping[str, Any],
        built_at: datetime,
    ) -> Path:
        """Keep a plan that has been checked; the old one is replaced in one step.

        Args:
            name: of the model.
            identity: what the plan belongs to.
            plan: what TensorRT serialised.
            figures: of its check, plain values.
            built_at: now, aware.

        Raises:
            EngineError: the folder cannot be written.
            EngineUnavailable: the disk is full or fails. The old plan is untouched.
        """
        header = {
            "model": name,
            "identity": identity.to_dict(),
            "key": identity.key,
            "bytes": len(plan),
            "sha256": hashlib.sha256(plan).hexdigest(),
            "built_at": built_at.isoformat(timespec="seconds"),
            "figures": dict(figures),
        }
        line = json.dumps(header, sort_keys=True).encode() + b"\n"
        path = self.path(name, identity.settings.precision)
        self.write(path, _MAGIC + line, plan)
        return path

    def write(self, path: Path, *parts: bytes) -> None:
        """Put a file of this folder in place whole, on disk. Raises EngineError."""
        temporary: Path | None = None
        try:
            _make(self.folder)
            handle, made = tempfile.mkstemp(suffix=_UNFINISHED, dir=self.folder)
            temporary = Path(made)
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), 0o644)  # root builds, alprd's user loads
                _give_to_owner(file.fileno(), self.folder)
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            temporary = None
            _sync_folder(self.folder)
        except OSError as error:
            _refuse(self.folder, error)
        finally:
            if temporary is not None:
                with suppress(OSError):
                    temporary.unlink()

    @contextmanager
    def building(self) -> Iterator[None]:
        """Be the only one who builds here; what a killed build left behind is cleared away.

        Raises:
            EngineError: the folder cannot be written: said before minutes are spent.
            EngineUnavailable: another build is under way.
        """
        try:
            _make(self.folder)
            lock = os.open(self.folder / _LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            _refuse(self.folder, error)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EngineUnavailable(
                    f"another alprd builds engines in {self.folder}; wait until it is done"
                ) from None
            try:
                for leftover in self.folder.glob(f"*{_UNFINISHED}"):
                    leftover.unlink(missing_ok=True)
                with tempfile.TemporaryFile(dir=self.folder):
                    pass  # an old lock opens also where nothing new can be made
            except OSError as error:
                _refuse(self.folder, error)
            yield
        finally:
            os.close(lock)


class _DamagedError(Exception):
    """A file is no plan, or no whole one; the text goes after its path."""


def _header(file: BinaryIO) -> Mapping[str, Any]:
    if file.read(len(_MAGIC)) != _MAGIC:
        raise _DamagedError("is no engine plan of alprd's")
    line = file.readline(_HEADER_BYTES)
    if not line.endswith(b"\n"):
        raise _DamagedError("is damaged: its header is cut off")
    try:
        header = json.loads(line)
    except ValueError:
        raise _DamagedError("is damaged: its header is unreadable") from None
    if not isinstance(header, dict):
        raise _DamagedError("is damaged: its header is unreadable")
    return header


def _identity(header: Mapping[str, Any]) -> EngineIdentity:
    try:
        identity = EngineIdentity.from_dict(header["identity"])
        if identity.key != header["key"]:
            raise ValueError("the key is of another identity")
    except (KeyError, TypeError, ValueError):
        raise _DamagedError("is damaged: its header says nonsense") from None
    return identity


def _plan(file: BinaryIO, header: Mapping[str, Any]) -> bytes:
    plan = file.read()
    _check_size(len(plan), header)
    if hashlib.sha256(plan).hexdigest() != header.get("sha256"):
        raise _DamagedError("is damaged: its content is not what was written")
    return plan


def _check_size(size: int, header: Mapping[str, Any]) -> None:
    wanted = header.get("bytes")
    if size != wanted:
        raise _DamagedError(f"is damaged: it holds {size} bytes of {wanted}")


def _entry(name: str, precision: Precision, path: Path) -> Entry:
    size = 0
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = _header(file)
            identity = _identity(header)
            _plan(file, header)
    except _DamagedError as damage:
        problem = str(damage)
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    else:
        figures = header.get("figures")
        return Entry(
            name=name,
            precision=precision,
            path=path,
            size=size,
            identity=identity,
            built_at=str(header.get("built_at", "")) or None,
            figures=figures if isinstance(figures, dict) else {},
        )
    return Entry(name=name, precision=precision, path=path, size=size, figures={}, problem=problem)


def _remedy(name: str) -> str:
    return f"build it on this device: alprd engines build {name}"


def _refuse(folder: Path, error: OSError) -> NoReturn:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise EngineUnavailable(
            f"{folder} has no room for the engine plan ({error.strerror}); free some space there, "
            "or give another folder (inference.engines_dir, or --dir); what was there is untouched"
        ) from error
    if isinstance(error, (PermissionError, NotADirectoryError, FileExistsError)) or (
        error.errno == errno.EROFS
    ):
        raise EngineError(
            f"{folder} cannot be written ({error.strerror}); run as root or as alprd's user, or "
            "give another folder (inference.engines_dir, or --dir)"
        ) from error
    raise EngineUnavailable(
        f"{folder} cannot be written now ({error.strerror}); check the disk"
    ) from error


def _make(folder: Path) -> None:
    """The folder, if it is not there; what root makes belongs to whom the place belongs to.

    Otherwise alprd's own service could not build where root has built once.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder.mkdir(mode=0o755, exist_ok=True)
    _give_to_owner(folder, folder.parent)


def _give_to_owner(made: Path | int, place: Path) -> None:
    if os.geteuid() == 0:
        owner = place.stat()
        os.chown(made, owner.st_uid, owner.st_gid)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
