"""Passwords stay where they belong, whatever goes wrong."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from support.daemon import Daemon, alprd
from support.heard import statuses
from support.subscriber import Subscriber

MakeConfig = Callable[..., str]
MakeDaemon = Callable[..., Daemon]

SECRETS = ("hush-url", "hush-key", "hush-file", "hush-broker")


def test_no_secret_reaches_a_log_a_message_or_an_error(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    tmp_path: Path,
) -> None:
    secret = tmp_path / "camera.password"
    secret.write_text("hush-file\n")
    secret.chmod(stat.S_IRUSR)
    config = make_config(
        {"id": "url", "source": "rtsp://admin:hush-url@127.0.0.1:1/main"},
        {"id": "key", "source": "rtsp://127.0.0.1:1/x", "username": "u", "password": "hush-key"},
        {
            "id": "file",
            "source": "rtsp://127.0.0.1:1/y",
            "username": "u",
            "password_file": str(secret),
        },
        extra="[log]\nlevel = 'debug'",
    ).replace("[outbox]", 'username = "edge"\npassword = "hush-broker"\n[outbox]')
    daemon = make_daemon(config)
    daemon.start()
    subscriber.wait_until(
        lambda seen: all(
            any(status["last_error"] for status in statuses(seen, name))
            for name in ("url", "key", "file")
        ),
        timeout_s=30.0,
    )
    daemon.reload()
    assert daemon.stop()[0] == 0
    said = daemon.log + "".join(daemon.notifications.received)
    said += "".join(m.topic + m.payload.decode() for m in subscriber.messages)
    assert "rtsp://admin:***@127.0.0.1:1/main" in said
    for name in SECRETS:
        assert name not in said
    checked = alprd("check-config", "--config", str(daemon.config_path))
    assert checked.returncode == 0
    for name in SECRETS:
        assert name not in checked.stdout + checked.stderr
