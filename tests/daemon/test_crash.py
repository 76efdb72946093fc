"""kill -9: whatever reached the outbox arrives, and no number is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.daemon import Daemon
from support.heard import assert_no_gap, availability, events
from support.outboxes import peek
from support.subscriber import Subscriber

MakeConfig = Callable[..., str]
MakeDaemon = Callable[..., Daemon]

KILLS = 3


def test_events_survive_kill_9_while_they_flow(
    make_config: MakeConfig,
    make_daemon: MakeDaemon,
    subscriber: Subscriber,
    street: Path,
    topic_prefix: str,
) -> None:
    cameras = [
        {"id": name, "source": str(street), "folder_fps": 12, "loop": True} for name in ("a", "b")
    ]
    daemon = make_daemon(make_config(*cameras))
    waiting: set[str] = set()
    for _ in range(KILLS):
        before = len(events(subscriber.messages))
        daemon.start()
        subscriber.wait_until(lambda seen, n=before: len(events(seen)) >= n + 5)
        daemon.kill()
        subscriber.wait_until(lambda seen: availability(seen)[-1:] == ["offline"], 60.0)
        waiting |= set(peek(daemon.outbox_path))
    daemon.start()
    code, _ = daemon.stop()
    assert code == 0
    heard = subscriber.wait_until(lambda seen: availability(seen)[-1:] == ["stopped"])
    found = events(heard)
    assert_no_gap(found)
    assert waiting <= {event["event_id"] for event in found}
    assert peek(daemon.outbox_path) == []
