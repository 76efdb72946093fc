"""The plate lists and the policy in force in a running daemon."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from alprd.config import Settings
from alprd.policy.sink import Policy, PolicySink
from alprd.policy.watcher import ListWatcher
from alprd.ports import EventSink


class Rules:
    """What becomes of events by the configuration; a context manager; `use` after a reload.

    Args:
        settings: in force.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._watcher = ListWatcher(settings.lists)
        self._sink: PolicySink | None = None

    def guard(self, sink: EventSink) -> PolicySink:
        """The sink for the inference thread, in front of the one given."""
        self._sink = PolicySink(sink, self._policy())
        return self._sink

    @property
    def policy(self) -> Policy:
        """What events go by; callable from any thread."""
        return self._policy() if self._sink is None else self._sink.policy

    def use(self, settings: Settings) -> None:
        """Go by other settings from the next event on."""
        before, self._settings = self._settings, settings
        former = self._watcher
        if settings.lists != before.lists:
            self._watcher = ListWatcher(settings.lists)
            self._watcher.__enter__()
        if self._sink is not None:
            self._sink.use(self._policy())
        if self._watcher is not former:
            former.__exit__(None, None, None)

    def figures(self) -> dict[str, Any]:
        """For health; callable from any thread."""
        return {
            "lists": self._watcher.figures(),
            "not_published": 0 if self._sink is None else self._sink.dropped,
        }

    def __enter__(self) -> Rules:
        self._watcher.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watcher.__exit__(kind, error, trace)

    def _policy(self) -> Policy:
        privacy = self._settings.privacy
        hides = privacy.plates == "hmac" and privacy.key is not None
        return Policy(
            lists=self._watcher.lists,
            drop_unlisted=privacy.drop_unlisted,
            key=privacy.key.get_secret_value().encode() if hides and privacy.key else None,
        )
