"""A real Debian with a real systemd: a tree by mmdebstrap, booted by systemd-nspawn on an overlay.

Takes root. The tree is made once and kept in the user's cache folder; every machine writes into a
layer of its own. It shares this machine's network, so a broker here is at 127.0.0.1 there too.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

PROGRAMS = (
    "mmdebstrap",
    "systemd-nspawn",
    "nsenter",
    "dpkg-buildpackage",
    "dh_python3",
    "lintian",
    "gpg",
)
# What the packages rest on and a bare tree lacks: so that they are installed without any network.
INCLUDE = ("systemd-sysv", "dbus", "python3", "procps")
BUILD_TIMEOUT_S = 900.0
BOOT_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 120.0
REPOSITORY = Path(__file__).resolve().parents[2]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def why_not() -> str | None:
    """Why no machine can be booted here; None where one can."""
    if os.geteuid() != 0:
        return "booting a machine takes root"
    if platform.freedesktop_os_release().get("ID") != "debian":
        return "the tests boot Debian, whose packages are built on Debian"
    missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    return f"{', '.join(missing)} missing: make test installs them" if missing else None


def base_tree() -> Path:
    """The bare tree of this distribution's release; nobody writes into it."""
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alprd" / "tests"
    tree = cache / f"system-{suite}-{platform.machine()}"
    if tree.is_dir():
        return tree
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = cache / f"{tree.name}.{os.getpid()}"
    try:
        # Not its lists of packages alone: apt resolves with them, though it fetches nothing.
        call(
            *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(INCLUDE)}"),
            *("--skip=cleanup/apt/lists", suite, str(unfinished)),
            timeout_s=BUILD_TIMEOUT_S,
        )
        unfinished.rename(tree)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return tree


def call(
    *command: str, timeout_s: float = COMMAND_TIMEOUT_S, check: bool = True, cwd: Path | None = None
) -> str:
    """Run a command of this machine with the system's own programs; what it printed."""
    environ = {key: value for key, value in os.environ.items() if key != "MAKEFLAGS"}
    done = subprocess.run(
        command,
        env={**environ, "PATH": PATH, "LC_ALL": "C.UTF-8"},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


class Machine:
    """A booted Debian; a context manager that leaves neither process nor mount.

    Args:
        folder: for its layer.
        lower: the trees below its layer, the upper one first.
    """

    def __init__(self, folder: Path, *lower: Path) -> None:
        self.root = folder / "root"
        self.layer = folder / "layer"
        self._work = folder / "work"
        self._lower = lower
        self._log = folder / "console.log"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self.name = f"alprd-{uuid.uuid4().hex[:8]}"

    def boot(self, *, alone: bool = False) -> None:
        """Returns when every unit has started.

        Args:
            alone: without a network, until `connect` is called.
        """
        with self._log.open("ab") as log:
            self._nspawn = subprocess.Popen(
                [
                    *("systemd-nspawn", "--quiet", "--directory", str(self.root), "--boot"),
                    # Without machined and a unit: the host's systemd may not even run.
                    *("--register=no", "--keep-unit", "--console=pipe", "--resolv-conf=off"),
                    *("--link-journal=no", f"--machine={self.name}"),
                    *(("--private-network",) if alone else ()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"PATH": PATH, "TERM": "dumb"},
            )
        nspawn = self._nspawn.pid
        children = Path(f"/proc/{nspawn}/task/{nspawn}/children")

        def booted() -> bool:
            if self._nspawn is None or self._nspawn.poll() is not None:
                raise AssertionError(f"it ended:\n{self._log.read_text(errors='replace')}")
            inside = children.read_text().split()
            self._leader = int(inside[0]) if inside else 0
            state = self._try("systemctl", "is-system-running") if inside else ""
            return state.strip() in ("running", "degraded")

        self.wait_until(booted, "it did not boot", BOOT_TIMEOUT_S)

    def connect(self) -> str:
        """Give a machine that is alone a cable to this one; this one's address on it."""
        here, there = "198.51.100.1", "198.51.100.2"
        inside = ("nsenter", "--net", "--target", str(self._leader))
        call(
            *("ip", "link", "add", self.name, "type", "veth"),
            *("peer", "name", "host0", "netns", str(self._leader)),
        )
        call("ip", "address", "add", f"{here}/30", "dev", self.name)
        call("ip", "link", "set", self.name, "up")
        call(*inside, "ip", "address", "add", f"{there}/30", "dev", "host0")
        call(*inside, "ip", "link", "set", "host0", "up")
        return here

    def shut_down(self) -> None:
        """As somebody who presses the button."""
        if self._nspawn is not None:
            if self._nspawn.poll() is None:
                self._try("systemctl", "poweroff")
            try:
                self._nspawn.wait(COMMAND_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
            self._nspawn = None

    def run(self, *command: str, timeout_s: float = COMMAND_TIMEOUT_S, check: bool = True) -> str:
        """Run a command in it; what it printed. Its failure is one, unless told not to check."""
        return call(
            *("nsenter", "--all", "--target", str(self._leader), "env", "-i", f"PATH={PATH}"),
            *("HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", *command),
            timeout_s=timeout_s,
            check=check,
        )

    def install(self, *files: Path, options: Sequence[str] = ()) -> str:
        """`apt install ./FILE...`."""
        folder = self.root / "srv" / "packages"
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, folder)
        names = [f"/srv/packages/{file.name}" for file in files]
        command = ("apt-get", "install", "-y", "--no-install-recommends", "--allow-downgrades")
        said = self.run(*command, *options, *names, timeout_s=BUILD_TIMEOUT_S)
        shutil.rmtree(folder)
        return said

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file in it."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def property(self, name: str, unit: str = "alprd") -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", "--value", "--property", name, unit).strip()

    def journal(self, unit: str = "alprd") -> str:
        """What a unit has written since the boot."""
        return self.run("journalctl", "--boot", "--no-pager", "--output=cat", "--unit", unit)

    def main_process(self) -> int:
        """The daemon's process id, as this machine outside counts."""
        inside = self.property("MainPID")
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                lines = status.read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue
            ids = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
            if len(ids) > 1 and ids[-1] == inside and self._holds(int(ids[0])):
                return int(ids[0])
        raise AssertionError(f"no process {inside} in {self.name}")

    def _holds(self, pid: int) -> bool:
        def namespace(process: int) -> str:
            return os.readlink(f"/proc/{process}/ns/pid")

        return namespace(pid) == namespace(self._leader)

    def _try(self, *command: str) -> str:
        return self.run(*command, timeout_s=20.0, check=False)

    @staticmethod
    def wait_until(holds: Callable[[], bool], problem: str, timeout_s: float) -> None:
        """Nobody tells us what happens in there: ask now and then."""
        give_up_at_s = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > give_up_at_s:
                raise AssertionError(f"{problem} within {timeout_s:g} s")
            time.sleep(0.25)

    def __enter__(self) -> Machine:
        for folder in (self.root, self.layer, self._work):
            folder.mkdir(parents=True)
        call(
            *("mount", "-t", "overlay", "overlay", "-o"),
            f"lowerdir={':'.join(map(str, self._lower))},upperdir={self.layer},"
            f"workdir={self._work}",
            str(self.root),
        )
        try:
            self.boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.shut_down()
        call("umount", str(self.root))
