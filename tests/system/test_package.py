"""The packages: what Debian's own judges say of them, upgrades, and what a purge leaves behind."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from support.broker import Broker
from support.heard import assert_no_gap, events
from support.machine import BUILD_TIMEOUT_S, REPOSITORY, Machine, call
from support.packages import Installed, build, files_of
from support.subscriber import Subscriber

pytestmark = [pytest.mark.once, pytest.mark.slow, pytest.mark.timeout(1800)]

BootMachine = Callable[[], Machine]
QUEUED = 500
EXPOSURE = 2.5
SUPPORT = Path(__file__).parents[1] / "support"


def test_lintian_finds_nothing(packages: list[Path]) -> None:
    assert call("lintian", "--allow-root", "--pedantic", *map(str, packages), timeout_s=600) == ""


def test_the_units_are_sound_and_expose_little(boot_machine: BootMachine) -> None:
    machine = boot_machine()
    for unit in ("alprd.service", "alprd-engines.service"):
        file = f"/lib/systemd/system/{unit}"
        assert machine.run("systemd-analyze", "verify", "--man=no", file) == ""
        said = machine.run("systemd-analyze", "security", "--no-pager", unit)
        exposure = re.search(rf"Overall exposure level for {unit}: ([0-9.]+)", said)
        assert exposure is not None
        assert float(exposure[1]) <= EXPOSURE
    assert machine.property("UnitFileState") == "disabled"  # no camera is configured yet


@pytest.mark.soak
def test_two_builds_give_the_same_bytes(packages: list[Path], tmp_path: Path) -> None:
    def digests(files: list[Path]) -> dict[str, str]:
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    assert digests(build(tmp_path)) == digests(packages)


def next_version(package: Path, folder: Path) -> Path:
    """The same package rebuilt with a higher version and another default configuration."""
    tree = folder / package.stem
    call("dpkg-deb", "--raw-extract", str(package), str(tree))
    control = tree / "DEBIAN/control"
    text = control.read_text()
    version = re.search(r"^Version: (.*)$", text, re.MULTILINE)
    assert version is not None
    higher = version[1].replace("0.1.0", "0.1.1")
    control.write_text(text.replace(version[1], higher))
    reference = tree / "etc/alprd/alprd.toml"
    if reference.exists():
        reference.write_text(reference.read_text() + "# New in this version.\n")
    built = folder / package.name.replace("0.1.0", "0.1.1")
    call(
        *("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(built)),
        timeout_s=BUILD_TIMEOUT_S,
    )
    return built


class Repository:
    """A signed flat repository that a machine sees under /srv/repository."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        self._keys = folder / "keys"
        self._keys.mkdir(mode=0o700)
        self._machine = machine
        self.folder = machine.root / "srv/repository"
        quietly = ("--batch", "--passphrase", "", "--quick-gen-key")
        self._call("gpg", *quietly, "packages@example.org", "ed25519", "sign")

    def add(self, packages: Sequence[Path]) -> None:
        script = str(REPOSITORY / "packaging/apt-repo")
        self._call(script, str(self.folder), "packages@example.org", *map(str, packages))

    def offer(self) -> None:
        """As packaging/FLEET.md tells, with a folder in place of a web server."""
        key = "/usr/share/keyrings/alprd.gpg"
        shutil.copy(self.folder / "alprd.gpg", self._machine.root / key.lstrip("/"))
        self._machine.write(
            "/etc/apt/sources.list", f"deb [signed-by={key}] file:/srv/repository ./\n"
        )
        self._machine.run("apt-get", "update")

    def roll(self, version: str) -> None:
        """Move the pin, forwards or back."""
        pin = f"Package: alprd alprd-models\nPin: version {version}*\nPin-Priority: 1001\n"
        self._machine.write("/etc/apt/preferences.d/alprd", pin)
        self._machine.run(
            *("apt-get", "-y", "--allow-downgrades", "-o", "Dpkg::Options::=--force-confold"),
            "upgrade",
            timeout_s=BUILD_TIMEOUT_S,
        )

    def _call(self, *command: str) -> None:
        call("env", f"GNUPGHOME={self._keys}", *command)

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, *_: object) -> None:
        self._call("gpgconf", "--kill", "all")


def version_of(machine: Machine) -> str:
    return machine.run("dpkg-query", "--show", "--showformat=${Version}", "alprd")


def test_queued_events_and_edits_survive_rolling_on_and_back_and_a_purge_leaves_nothing(
    boot_machine: BootMachine,
    installed: Installed,
    packages: list[Path],
    make_broker: Callable[..., Broker],
    tmp_path: Path,
) -> None:
    broker = make_broker()  # down
    machine = boot_machine()
    higher = [next_version(package, tmp_path) for package in packages]
    toml = machine.root / "etc/alprd/alprd.toml"
    toml.write_text(
        f'device_id = "machine"\n[mqtt]\nurl = "{broker.url}"\nreconnect_max_s = 1.0\n'
        '[[cameras]]\nid = "demo"\nsource = "/srv/demo.mp4"\nenabled = false\n'
    )
    edited = toml.read_text()
    machine.run("systemctl", "start", "alprd")
    machine.run("systemctl", "stop", "alprd")
    for program in ("fill_outbox.py", "plate_events.py"):
        machine.write(f"/srv/{program}", (SUPPORT / program).read_text())
    python = ("runuser", "-u", "alprd", "--", "/usr/lib/alprd/bin/python3")
    machine.run(*python, "/srv/fill_outbox.py", str(QUEUED))
    machine.run("systemctl", "start", "alprd")
    before = machine.property("MainPID")

    with Repository(tmp_path, machine) as repository:
        repository.add([*packages, *higher])
    repository.offer()
    repository.roll("0.1.1")
    assert version_of(machine).startswith("0.1.1")
    assert machine.property("ActiveState") == "active"
    assert machine.property("MainPID") != before  # the new code runs
    assert toml.read_text() == edited
    repository.roll("0.1.0")
    assert version_of(machine).startswith("0.1.0")
    assert machine.property("ActiveState") == "active"
    assert toml.read_text() == edited
    signed = repository.folder / "InRelease"
    signed.write_text(signed.read_text().replace("Label: alprd", "Label: forged"))
    assert "BADSIG" in machine.run("apt-get", "update", check=False)

    broker.start()
    with Subscriber(broker, "alpr/#") as subscriber:
        heard = subscriber.wait_until(lambda seen: len(events(seen)) >= QUEUED, timeout_s=120)
    assert_no_gap(events(heard))

    machine.run("apt-get", "remove", "-y", "alprd", "alprd-models")
    assert machine.property("ActiveState") == "inactive"
    assert toml.read_text() == edited
    assert (machine.root / "var/lib/alprd/outbox.sqlite").exists()
    machine.run("apt-get", "purge", "-y", "alprd", "alprd-models")
    of_the_test = {"/usr/share/keyrings/alprd.gpg", "/etc/apt/preferences.d/alprd"}
    assert sorted(files_of(machine) - installed.files_before - of_the_test) == []
    assert not (machine.root / "var/cache/alprd").exists()
