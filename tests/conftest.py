"""Fixtures that every kind of test may use."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.broker import Broker, Launcher, choose_launcher

BrokerFactory = Callable[..., Broker]

WAITING = (
    "adapters/cameras",
    "adapters/commands",
    "adapters/faults",
    "adapters/publish",
    "daemon",
    "system",
)
"""Folders of tests that wait for daemons, brokers and machines more than they compute."""


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs under test.

    A suite that was started in the background ignores SIGINT, and its children would inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to one interpreter what no other Python changes, where several run the suite.

    The others run the unit tests and what is marked `everywhere`, but nothing marked `once`. The
    one's tests can be halved (ALPRD_TEST_PART): those that wait, and those that work meanwhile.
    """
    tests = Path(__file__).parent
    chosen = os.environ.get("ALPRD_TEST_ONCE", "")
    if not chosen:
        return
    if chosen == f"{sys.version_info.major}.{sys.version_info.minor}":
        part = os.environ.get("ALPRD_TEST_PART", "")
        if part not in ("", "waiting", "working"):
            raise pytest.UsageError(f"ALPRD_TEST_PART is {part!r}; it is waiting or working")
        wanted = {"": (True, False), "waiting": (True,), "working": (False,)}[part]
        kept = [
            item
            for item in items
            if any(item.path.is_relative_to(tests / each) for each in WAITING) in wanted
        ]
    else:
        kept = [
            item
            for item in items
            if (item.path.is_relative_to(tests / "unit") or item.get_closest_marker("everywhere"))
            and not item.get_closest_marker("once")
        ]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


@pytest.fixture(scope="session")
def broker_launcher() -> Launcher:
    """How Mosquitto is started in this test run: in a container or as a program."""
    return choose_launcher()


@pytest.fixture(scope="session")
def broker(broker_launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One running Mosquitto for the whole test run.

    Tests share it: use `topic_prefix` and never stop it; `fresh_broker` is for that.
    """
    with Broker(broker_launcher, tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def topic_prefix() -> str:
    """A first topic level that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def make_broker(broker_launcher: Launcher, tmp_path: Path) -> Iterator[BrokerFactory]:
    """Makes Mosquittos of the test's own, not started: make_broker(config="...", port=...)."""
    with ExitStack() as brokers:

        def make(*, config: str = "", port: int | None = None) -> Broker:
            folder = tmp_path / f"broker-{uuid.uuid4().hex[:8]}"
            folder.mkdir()
            made = Broker(broker_launcher, folder, port=port, config=config)
            brokers.callback(made.close)
            return made

        yield make


@pytest.fixture
def fresh_broker(make_broker: BrokerFactory) -> Broker:
    """A running Mosquitto of the test's own, to be stopped, killed and restarted."""
    made = make_broker()
    made.start()
    return made
