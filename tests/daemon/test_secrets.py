"""Passwords stay where they belong, whatever goes wrong."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from support.broker import free_port
from support.daemon import Daemon, alprd
from support.heard import statuses
from support.subscriber import Subscriber

MakeConfig = Callable[..., str]
MakeDaemon = Callable[..., Daemon]

SECRETS = ("hush-url", "hush-key", "hush-file", "hush-broker")


def test_no_secret_reaches_a_log_a_message_a_metric_the_doctor_or_an_error(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    port = free_port()
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
        extra="[log]\nlevel = 'debug'\n[health]\ninterval_s = 1\n[alerts]\nraise_after_s = 0\n"
        f"[metrics]\nenabled = true\nport = {port}",
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
    daemon.wait_for_log_where("alert.raised", kind="camera_stalled", subject="file")
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        shown = answer.read().decode()
    shown += (tmp_path / "health.json").read_text()
    for command in (("doctor",), ("doctor", "--json"), ("doctor", "--open-cameras")):
        examined = alprd(*command, "--config", str(daemon.config_path))
        assert examined.returncode == 1, examined.stderr
        shown += examined.stdout + examined.stderr
    assert daemon.stop()[0] == 0
    said = shown + daemon.log + "".join(daemon.notifications.received)
    said += "".join(m.topic + m.payload.decode() for m in subscriber.messages)
    assert "rtsp://admin:***@127.0.0.1:1/main" in said
    for name in SECRETS:
        assert name not in said
    checked = alprd("check-config", "--config", str(daemon.config_path))
    assert checked.returncode == 0
    for name in SECRETS:
        assert name not in checked.stdout + checked.stderr
