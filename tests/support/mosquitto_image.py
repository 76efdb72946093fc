"""A container image with Mosquitto: pulled where a registry answers, else built on the spot.

Building needs no registry and no internet beyond the distribution's own package mirror: mmdebstrap
unpacks the mosquitto package with its libraries into a tar, which becomes an image.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PULLED = "docker.io/library/eclipse-mosquitto:2"
PROGRAM = "/usr/sbin/mosquitto"
PULL_TIMEOUT_S = 30.0
BUILD_TIMEOUT_S = 300.0
COMMAND_TIMEOUT_S = 60.0

# Set by hand, because a limited root may not raise them to what the engine would choose.
ULIMITS = ("--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1024:2048")
# crun refuses hosts that mount cgroups of both versions; runc without systemd does not.
PLAIN_ROOT = ("--runtime", "runc", "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs")


class NoContainerError(Exception):
    """No container can be run here; the message says what was tried and what to install."""


@dataclass(frozen=True)
class Engine:
    """How to call a container engine, and an image that was seen to run with it."""

    command: tuple[str, ...]
    run_options: tuple[str, ...]
    image: str

    def run_command(self, name: str, folder: Path, arguments: Sequence[str]) -> list[str]:
        """A foreground container on the host's network that sees `folder` under the same path."""
        return [
            *self.command,
            "run",
            "--rm",
            "--name",
            name,
            "--label",
            f"alprd-test={os.getpid()}",
            "--network",
            "host",
            *self.run_options,
            "--volume",
            f"{folder}:{folder}",
            "--entrypoint",
            PROGRAM,
            self.image,
            *arguments,
        ]


def find_engine() -> Engine:
    """The first engine that really runs Mosquitto. Raises NoContainerError."""
    tried = []
    for command, options in (
        (("docker",), ()),
        (("podman",), ULIMITS),
        (("podman", *PLAIN_ROOT), ULIMITS),
    ):
        if shutil.which(command[0]) is None:
            tried.append(f"{command[0]} is not installed")
            continue
        try:
            _call([*command, "info"])
            image = _image(command)
            engine = Engine(command, options, image)
            _probe(engine)
        except NoContainerError as error:
            tried.append(str(error))
        else:
            _remove_orphans(command)
            return engine
    tried = list(dict.fromkeys(tried))
    raise NoContainerError(
        "no Mosquitto container can be run; install podman, runc and mmdebstrap (or docker), or "
        "set ALPRD_TEST_BROKER=binary and install mosquitto. Tried: " + "; ".join(tried)
    )


def _image(command: tuple[str, ...]) -> str:
    if _has_image(command, PULLED):
        return PULLED
    try:
        _call([*command, "pull", PULLED], timeout_s=PULL_TIMEOUT_S)
    except NoContainerError:
        return _own_image(command)
    return PULLED


def _has_image(command: tuple[str, ...], image: str) -> bool:
    try:
        _call([*command, "image", "inspect", image])
    except NoContainerError:
        return False
    return True


def _own_image(command: tuple[str, ...]) -> str:
    tar = _tar()
    digest = hashlib.sha256(tar.read_bytes()).hexdigest()[:12]
    image = f"localhost/alprd-test-mosquitto:{digest}"
    if not _has_image(command, image):
        _call([*command, "import", str(tar), image])
    return image


def _tar() -> Path:
    release = platform.freedesktop_os_release()
    distribution, suite = release.get("ID", "debian"), release.get("VERSION_CODENAME", "bookworm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alprd" / "tests"
    tar = cache / f"mosquitto-{distribution}-{suite}-{platform.machine()}.tar"
    if tar.exists():
        return tar
    if shutil.which("mmdebstrap") is None:
        raise NoContainerError("no registry answers, and mmdebstrap to build an image is missing")
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = tar.with_name(f"{tar.name}.{os.getpid()}.tar")
    # Only unpacked: no maintainer script and no shell is needed to run one program.
    _call(
        [
            "mmdebstrap",
            "--variant=extract",
            "--include=mosquitto",
            "--components=main,universe" if distribution == "ubuntu" else "--components=main",
            suite,
            str(unfinished),
        ],
        timeout_s=BUILD_TIMEOUT_S,
    )
    return unfinished.rename(tar)


def _probe(engine: Engine) -> None:
    """Mosquitto prints its version for -h, with an exit status that differs between releases."""
    command = [*engine.command, "run", "--rm", "--network", "host", *engine.run_options]
    command += ["--entrypoint", PROGRAM, engine.image, "-h"]
    said = _call(command, check=False)
    if "mosquitto version" not in said:
        raise NoContainerError(f"{' '.join(engine.command)}: {said.strip()[-300:]}")


def _remove_orphans(command: tuple[str, ...]) -> None:
    """Containers of test runs that were killed."""
    query = ["--filter", "label=alprd-test", "--format", '{{.ID}} {{.Label "alprd-test"}}']
    listing = _call([*command, "ps", "--all", *query], check=False)
    for line in listing.splitlines():
        identity, _, owner = line.partition(" ")
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            _call([*command, "rm", "--force", identity], check=False)


def _call(
    command: Sequence[str], *, timeout_s: float = COMMAND_TIMEOUT_S, check: bool = True
) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NoContainerError(f"{' '.join(command)}: no end after {timeout_s:g} s") from error
    if check and done.returncode != 0:
        raise NoContainerError(f"{' '.join(command)}: {done.stdout.strip()[-300:]}")
    return done.stdout
