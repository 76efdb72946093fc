"""Messages at which a broker hangs up: found one at a time, then kept from blocking the others.

Some brokers answer a message that they forbid by closing the connection, without a reason. With
several messages in flight nobody can tell which one it was. So after a second connection within a
minute that the broker ended, messages go one by one; one at which the broker hangs up several times
in a row is given up, and its topic with it, until a later probe shows that the broker takes it now.
A link that breaks at random passes this, only a little slower.

Of a message with QoS 0 nobody hears whether the broker has taken it. So the topics of those that
went out before a hang-up without any answer behind them are watched: the next message on each asks
for an answer and goes alone, however much later that is. Others (Mosquitto 2.0) first say
what they forbid and hang up then: that topic is given up at once. So is one of the device's state
that a broker refuses in words: it is offered again ever more rarely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from alprd.ports import Clock

STRIKES: Final = 3
PROBE_FIRST_S: Final = 30.0
PROBE_MAX_S: Final = 3600.0
MOST_TOPICS: Final = 1000
LEAST_ONE_BY_ONE: Final = 8
AGAIN_WITHIN_S: Final = 60.0
HANGS_UP_WITHIN_S: Final = 1.0
MOST_TOLD: Final = 20
WATCHED_S: Final = 3600.0
"""A topic of which nothing is heard for so long has not made the broker hang up often."""


@dataclass(slots=True, kw_only=True)
class _Topic:
    probe_at_s: float
    pause_s: float
    hangs_up: bool


@dataclass(slots=True, kw_only=True)
class _Watched:
    until_s: float
    strikes: int = 0


class Suspects:
    """Over all connections to a broker; owned by the publisher thread."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._one_by_one = 0
        self._struck: tuple[str, int | None] | None = None
        self._strikes = 0
        self._last_at_s = clock() - AGAIN_WITHIN_S
        self._topics: dict[str, _Topic] = {}
        self._refused: tuple[str, float] | None = None
        self._watched: dict[str, _Watched] = {}

    @property
    def one_by_one(self) -> bool:
        """Whether a message must be alone in flight."""
        return self._one_by_one > 0

    @property
    def asks_for_answers(self) -> bool:
        """Whether a message with QoS 0 goes with QoS 1: else nobody knows when it is through."""
        return self.one_by_one or self.watches_any

    @property
    def watches_any(self) -> bool:
        """Whether there is a topic whose messages must be alone in flight."""
        now_s = self._clock()
        over = [topic for topic, known in self._watched.items() if known.until_s <= now_s]
        for topic in over:
            del self._watched[topic]
        return bool(self._watched)

    def watches(self, topic: str) -> bool:
        """Whether messages to this topic must be alone in flight."""
        known = self._watched.get(topic)
        return known is not None and self._clock() < known.until_s

    @property
    def given_up(self) -> tuple[str, ...]:
        """Topics that the broker does not take at the moment, some of them."""
        return tuple(sorted(self._topics)[:MOST_TOLD])

    def forbids(self, topic: str) -> bool:
        """Whether messages to this topic are not to be sent now."""
        known = self._topics.get(topic)
        return known is not None and self._clock() < known.probe_at_s

    def sends(self, topic: str) -> None:
        """A message goes out; one at which the broker hung up must be alone."""
        known = self._topics.get(topic)
        if self.watches(topic) or (known is not None and known.hangs_up):
            self._one_by_one = max(1, self._one_by_one)

    def connected(self) -> None:
        """A new connection: what was only refused in words may be taken now."""
        for known in self._topics.values():
            if not known.hangs_up:
                known.probe_at_s = self._clock()

    def taken(self, topic: str) -> bool:
        """The broker has answered a message; returns whether its topic was a suspect until now."""
        self._one_by_one = max(0, self._one_by_one - 1)
        self._watched.pop(topic, None)
        if self._struck is not None and self._struck[0] == topic:
            self._struck, self._strikes = None, 0
        return self._topics.pop(topic, None) is not None

    def refused(self, topic: str, *, is_state: bool = False) -> bool:
        """The broker has answered a message, and does not want it.

        Args:
            topic: of the message.
            is_state: all messages on this topic are alike, so it is given up for a while.

        Returns:
            Whether it is given up only now.
        """
        self._one_by_one = max(0, self._one_by_one - 1)
        self._watched.pop(topic, None)
        self._refused = topic, self._clock()
        known = self._topics.get(topic)
        if known is not None:
            if not self.forbids(
                topic
            ):  # it was a probe, and not sent before the topic was given up
                self._give_up(topic, hangs_up=known.hangs_up)
        elif is_state:
            self._give_up(topic, hangs_up=False)
        return known is None and is_state

    def hung_up(
        self, in_flight: Sequence[tuple[str, int | None]], unproven: Sequence[str] = ()
    ) -> str | None:
        """The broker ended the connection.

        Args:
            in_flight: (topic, number) of every message without an answer.
            unproven: topics of those that do not ask for one and may not have arrived.

        Returns:
            The topic that is given up now; None when nothing is certain.
        """
        if self._refused is not None:
            refused, at_s = self._refused
            self._refused = None
            if self._clock() - at_s <= HANGS_UP_WITHIN_S:
                self._give_up(refused, hangs_up=True)
                return refused
        for topic in unproven[:MOST_TOPICS]:
            if topic not in self._watched:
                self._watched[topic] = _Watched(until_s=self._clock() + WATCHED_S)
        was_alone = self.one_by_one and len(in_flight) == 1 and not unproven
        again = self._clock() - self._last_at_s < AGAIN_WITHIN_S
        self._last_at_s = self._clock()
        if not again and not was_alone:
            return None
        # At least some: what was sent without asking for an answer is not among these.
        self._one_by_one = max(self._one_by_one, len(in_flight), LEAST_ONE_BY_ONE)
        if not was_alone:
            return None
        (accused,) = in_flight
        if accused[0] in self._watched:
            return self._struck_again(accused[0])
        self._strikes = self._strikes + 1 if accused == self._struck else 1
        self._struck = accused
        topic = accused[0]
        if topic not in self._topics and self._strikes < STRIKES:
            return None
        self._give_up(topic, hangs_up=True)
        self._struck, self._strikes = None, 0
        return topic

    def _struck_again(self, topic: str) -> str | None:
        """Counted for each topic: two cameras' tracks may take turns, with hours in between."""
        known = self._watched[topic]
        known.until_s = self._clock() + WATCHED_S
        known.strikes += 1
        if topic not in self._topics and known.strikes < STRIKES:
            return None
        self._give_up(topic, hangs_up=True)
        known.until_s = self._topics[topic].probe_at_s + WATCHED_S
        return topic

    def _give_up(self, topic: str, *, hangs_up: bool) -> None:
        known = self._topics.get(topic)
        pause_s = PROBE_FIRST_S if known is None else min(PROBE_MAX_S, known.pause_s * 2.0)
        if len(self._topics) < MOST_TOPICS or known is not None:
            self._topics[topic] = _Topic(
                probe_at_s=self._clock() + pause_s, pause_s=pause_s, hangs_up=hangs_up
            )

    def forget(self) -> None:
        """Another broker: nothing is known about it."""
        self._one_by_one = 0
        self._struck, self._strikes = None, 0
        self._refused = None
        self._watched.clear()
        self._topics.clear()
