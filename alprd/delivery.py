"""The delivering half of the daemon, built from the settings: outbox, sink and publisher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from alprd.config import Settings
from alprd.core.alerts import KINDS
from alprd.ports import Beat, OutboxError
from alprd.publish.courier import Subscriptions
from alprd.publish.discovery import discovery_topic
from alprd.publish.loop import PublisherStats
from alprd.publish.message import Inbound
from alprd.publish.outbox import Outbox
from alprd.publish.rows import Bounds
from alprd.publish.sink import OutboxSink
from alprd.publish.thread import PublisherThread


def open_outbox(
    settings: Settings,
    *,
    now: Callable[[], datetime],
    boot_id: str | None,
    on_progress: Callable[[], None],
) -> Outbox:
    """Where events wait. Raises OutboxError."""
    bounds = settings.outbox
    return Outbox(
        bounds.path,
        bounds=Bounds(
            max_events=bounds.max_events,
            max_bytes=bounds.max_bytes,
            max_age_s=bounds.max_age_s,
            when_full=bounds.when_full,
        ),
        now=now,
        boot_id=boot_id,
        on_progress=on_progress,
    )


def new_publisher(
    settings: Settings,
    outbox: Outbox,
    *,
    beat: Beat,
    on_failure: Callable[[Exception], None],
    subscriptions: Subscriptions = frozenset,
    on_message: Callable[[Inbound], None] | None = None,
    in_force: Callable[[], Settings] | None = None,
) -> PublisherThread:
    """What empties the outbox; `in_force` tells the settings of now where they may change."""
    return PublisherThread(
        settings.mqtt,
        outbox=outbox,
        device_id=settings.device_id,
        beat=beat,
        on_failure=on_failure,
        backlog_share=settings.outbox.backlog_share,
        subscriptions=subscriptions,
        on_message=on_message,
        health_expiry_s=lambda: health_expiry_s(in_force() if in_force else settings),
    )


def health_expiry_s(settings: Settings) -> int:
    """A health message outlives two that are missing, and not for much longer."""
    return max(60, round(3.0 * settings.health.interval_s))


def new_sink(
    settings: Settings,
    outbox: Outbox,
    publisher: PublisherThread,
    *,
    software: str,
    models: Mapping[str, str],
    on_stored: Callable[[str, int], None] | None = None,
) -> OutboxSink:
    """What fills it."""
    return OutboxSink(
        outbox,
        wake_publisher=publisher.wake,
        prefix=settings.mqtt.prefix,
        device_id=settings.device_id,
        software=software,
        models=models,
        on_stored=on_stored,
    )


def retained_topics(settings: Settings) -> frozenset[str]:
    """Where this configuration leaves messages on the broker."""
    device = f"{settings.mqtt.prefix}/devices/{settings.device_id}"
    topics = {f"{device}/{name}" for name in ("availability", "info", "health")}
    topics |= {f"{device}/alerts/{kind}" for kind in KINDS}
    topics |= {f"{settings.mqtt.prefix}/{camera.id}/status" for camera in settings.cameras}
    if settings.homeassistant.enabled:
        topics.add(discovery_topic(settings.homeassistant.prefix, settings.device_id))
    return frozenset(topics)


def unsent(publisher: PublisherThread, outbox: Outbox) -> int:
    """Events that no broker has taken, also when the publisher died and its figures with it."""
    if publisher.failed is not None:
        with suppress(OutboxError):  # which it may have died of
            return outbox.counts().pending
    return publisher.stats().pending


def delivery_notice(stats: PublisherStats) -> dict[str, Any]:
    """What `info` says about delivery: only what somebody should look into; rarely changes."""
    return {
        "outbox_set_aside": stats.set_aside,
        "lost": stats.lost,
        "parked": stats.parked,
        "last_refusal": stats.last_refusal,
        "given_up": list(stats.given_up),
        "outbox_error": stats.outbox_error,
    }
