"""A connection that only takes notes, for looking at what a courier sends and when."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from alprd.publish.message import Ack, Inbound, Message, Refusal

NOT_AUTHORIZED = Refusal(code=0x87, text="Not authorized")


@dataclass
class Wire:
    """Answers are given by hand."""

    receive_maximum: int = 16
    maximum_packet_bytes: int | None = None
    lost: str | None = None
    backlog_bytes: int = 0
    passes_marks: bool = True
    subscription: int | None = None
    """The id of what subscribes; None: nothing does."""

    def __post_init__(self) -> None:
        self.sent: list[tuple[int, Message]] = []
        self._answered: set[int] = set()
        self._acks: list[Ack] = []

    @property
    def topics(self) -> list[str]:
        """Of everything that was sent, in order."""
        return [message.topic for _, message in self.sent]

    def answer(self, ending: str = "", refusal: Refusal | None = None) -> int:
        """Answer what was not answered yet and whose topic ends so; returns how many."""
        chosen = [
            mid
            for mid, message in self.sent
            if mid not in self._answered and message.qos > 0 and message.topic.endswith(ending)
        ]
        for mid in chosen:
            self.answer_one(mid, refusal)
        return len(chosen)

    def answer_one(self, mid: int, refusal: Refusal | None = None) -> None:
        """Answer this one."""
        self._answered.add(mid)
        self._acks.append(Ack(mid=mid, refusal=refusal))

    def publish(self, message: Message) -> int | None:
        """Note it."""
        self.sent.append((len(self.sent) + 1, message))
        return len(self.sent)

    def packet_bytes(self, message: Message) -> int:
        """About."""
        return len(message.topic) + len(message.payload) + 10

    def mark(self) -> int | None:
        """All marks are alike."""
        return 0

    def has_passed(self, mark: int) -> bool:
        """At once, unless it is told otherwise."""
        return self.passes_marks

    def take_acks(self) -> list[Ack]:
        """The answers that were given."""
        taken, self._acks = self._acks, []
        return taken

    def take_inbound(self) -> list[Inbound]:
        """Nobody sends anything."""
        return []

    def take_refused_filters(self) -> list[str]:
        """Nothing is refused."""
        return []

    def subscribe(self, filters: Collection[str]) -> int | None:
        """What is subscribed to is not noted."""
        return self.subscription

    def unsubscribe(self, filters: Collection[str]) -> None:
        """Nothing is subscribed to."""
