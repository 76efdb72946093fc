"""What the tests of the real process share: models, a street, a configuration."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.broker import Broker
from support.daemon import Daemon
from support.street import write_folder
from support.subscriber import Subscriber
from support.tiny_models import write_models

PLATES = ("AB12CDE", "K7XLS", "34A3683", "ZZ9PZA")

MakeConfig = Callable[..., str]


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny models."""
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures in which every one of PLATES passes once."""
    return write_folder(tmp_path_factory.mktemp("street") / "pictures", PLATES)


@pytest.fixture
def make_config(tmp_path: Path, models_dir: Path, broker: Broker, topic_prefix: str) -> MakeConfig:
    """Makes the text of an alprd.toml; cameras are dictionaries, `extra` is TOML text."""

    def make(*cameras: dict[str, object], url: str | None = None, extra: str = "") -> str:
        lines = [
            f'device_id = "{topic_prefix}"',
            f'[mqtt]\nurl = "{url or broker.url}"\nprefix = "{topic_prefix}"',
            f'[outbox]\npath = "{tmp_path / "outbox.sqlite"}"',
            f'[inference]\nmodels_dir = "{models_dir}"\nthreads = 1',
            extra,
        ]
        for camera in cameras:
            lines.append("[[cameras]]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in camera.items()]
        return "\n".join(lines) + "\n"

    return make


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons, not started, that are gone after the test."""
    with ExitStack() as daemons:

        def make(config: str, **options: object) -> Daemon:
            daemon = Daemon(tmp_path, config, **options)  # type: ignore[arg-type]
            daemons.push(daemon)
            return daemon

        yield make


@pytest.fixture
def subscriber(broker: Broker, topic_prefix: str) -> Iterator[Subscriber]:
    """Hears everything that the test's daemon says."""
    with Subscriber(broker, f"{topic_prefix}/#") as listening:
        yield listening
