"""What a running daemon tells others about itself: info, health's own figures, the status line."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from alprd.camera_set import CameraBook
from alprd.config import Settings
from alprd.core.backlog import WaitMeter
from alprd.delivery import delivery_notice
from alprd.extras import Extras
from alprd.inference.drift import ModelDrift
from alprd.inference.models import Models
from alprd.info import info_payload, read_boot_id, status_line
from alprd.ports import Clock
from alprd.publish.commands import TokenBucket
from alprd.publish.thread import PublisherThread
from alprd.rules import Rules
from alprd.sight import Sight
from alprd.versions import versions

NOTICES_PER_MINUTE: Final = 6


class Notices:
    """Which changes of what `info` says about delivery are worth a message.

    The first ones at once; while they go on, one now and then, which says the newest. An event
    that a broker refuses changes the notice, and a camera may bring many of them.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self._said: dict[str, Any] | None = None
        self._bucket = TokenBucket(NOTICES_PER_MINUTE, clock)

    def say(self, notice: dict[str, Any]) -> None:
        """This was told."""
        self._said = notice

    def is_due(self, notice: dict[str, Any]) -> bool:
        """Whether this is to be told now; nothing is before something was."""
        return self._said is not None and notice != self._said and self._bucket.take()


class Telling:
    """Made when everything is there; `figures` is called in the health thread.

    Args:
        settings: gives those in force.
        publisher: sends info; says how delivery goes.
        models: in use.
        book: the cameras' states.
        sight: says how inference goes.
        rules: says how the lists are.
        extras: say how pictures and live tracks go.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        *,
        publisher: PublisherThread,
        models: Models,
        book: CameraBook,
        sight: Sight,
        rules: Rules,
        extras: Extras,
        clock: Clock = time.monotonic,
    ) -> None:
        self._settings = settings
        self._publisher = publisher
        self._models = models
        self._book = book
        self._sight = sight
        self._rules = rules
        self._extras = extras
        self._drift = ModelDrift(settings().inference, models.hashes)
        self._waits = WaitMeter()
        self._notices = Notices(clock)
        # The first message tells of those that could not be loaded.
        self._failed_classifiers = self._count_failed()

    def info(self) -> None:
        """Publish the info message."""
        notice = delivery_notice(self._publisher.stats())
        self._notices.say(notice)
        payload = info_payload(
            self._settings(),
            backend=self._models.backend,
            reason=self._models.reason,
            details=self._models.details,
            models=self._models.hashes,
            versions=versions(),
            boot_id=read_boot_id(),
            delivery=notice,
            attributes=self._models.attributes,
        )
        self._publisher.device("info", payload, retain=True)

    def trouble(self) -> None:
        """Publish it again when what it says of delivery or classifiers has changed."""
        failed = self._count_failed()
        news = failed != self._failed_classifiers
        self._failed_classifiers = failed
        if self._notices.is_due(delivery_notice(self._publisher.stats())) or news:
            self.info()

    def _count_failed(self) -> int:
        stage = self._models.attributes
        return 0 if stage is None else len(stage.problems)

    def figures(self) -> dict[str, Any]:
        """For health, but for the cameras'."""
        stats = self._publisher.stats()
        waited_s = self._waits.look(
            time.monotonic(),
            waiting=stats.pending,
            left=stats.published + stats.refused + stats.dropped + stats.lost,
        )
        return {
            "models": {
                "backend": self._models.backend,
                "running": dict(self._models.hashes),
                "mismatch": self._drift.mismatch(),
            },
            "inference": self._sight.inference.figures(),
            "lines": self._sight.line_counts(),
            "rules": self._rules.figures(),
            "extras": self._extras.figures(),
            "outbox": {
                "pending": stats.pending,
                "oldest_age_s": None if waited_s is None else round(waited_s, 1),
                "parked": stats.parked,
                # Numbers that will not come: consumers were told.
                "gaps": stats.dropped + stats.lost,
            },
            "delivery": asdict(stats),
        }

    def status_line(self) -> str:
        """For the service manager."""
        return status_line(
            online=self._book.count("online"),
            enabled=sum(camera.enabled for camera in self._settings().cameras),
            events=self._sight.inference.figures()["events"],
            stats=self._publisher.stats(),
        )
