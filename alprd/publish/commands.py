"""Commands over MQTT: what may be asked, by which message, and how it is answered.

A message on <prefix>/devices/<device>/cmd/<name> or <prefix>/<camera>/cmd/<name> is empty or a JSON
object, `{"transaction": "..."}` or `{}`. The answer `{status, data, error, transaction}` goes to
the message's response topic with its correlation data, else to the same topic with `res` for `cmd`.

Whoever may publish there may write anything, so everything is checked before anything is done, and
what is not exactly a command is answered with an error and never executed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import structlog

from alprd.config.policy import CommandsSettings
from alprd.ports import Clock
from alprd.publish.message import Inbound, Message
from alprd.publish.sink import encode

SCHEMA: Final = "alprd.answer/1"
DEVICE_COMMANDS: Final = ("reload", "selftest", "flush")
CAMERA_COMMANDS: Final = ("snapshot", "enable", "disable")
MAX_PAYLOAD_BYTES: Final = 4096
MAX_TRANSACTION_CHARS: Final = 128
MAX_TOPIC_BYTES: Final = 1024
MAX_CORRELATION_BYTES: Final = 1024
COMPLAINT_INTERVAL_S: Final = 60.0
REFUSAL_INTERVAL_S: Final = 1.0

Transaction = str | int | None
"""What a question carries so that its answer can be told from others."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Where an answer goes, and what it repeats of the question."""

    topic: str
    correlation: bytes | None = None
    transaction: Transaction = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A command that was understood; `camera_id` is None for those to the whole device."""

    name: str
    camera_id: str | None
    reply: Reply


class _RefusedError(Exception):
    """The message is no command; the text names the remedy and quotes nothing of it."""


class TokenBucket:
    """Lets through so many a minute, a minute's worth at once; owned by one thread."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._tokens = float(per_minute)
        self._at_s = clock()

    def take(self) -> bool:
        """Whether one more may pass."""
        now_s = self._clock()
        earned = (now_s - self._at_s) * self._per_minute / 60.0
        self._tokens = min(float(self._per_minute), self._tokens + max(0.0, earned))
        self._at_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class CommandDesk:
    """Takes what is sent to the device; `on_message` belongs to the publisher thread.

    Args:
        settings: [commands].
        prefix: first topic level(s).
        device_id: the device's name in topics.
        camera_ids: the configured cameras.
        send: publishes an answer, if a broker is there.
        submit: takes a request to execute; False when there are too many already.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: CommandsSettings,
        *,
        prefix: str,
        device_id: str,
        camera_ids: Collection[str],
        send: Callable[[Message], None],
        submit: Callable[[Request], bool],
        clock: Clock,
    ) -> None:
        self._prefix = prefix
        self._device_id = device_id
        self._send = send
        self._submit = submit
        self._clock = clock
        self._dropped = 0
        self._complain_at_s = self._refuse_at_s = clock()
        self._settings = settings
        self._camera_ids = frozenset(camera_ids)
        self._bucket = TokenBucket(settings.per_minute, clock)

    def use(self, settings: CommandsSettings, camera_ids: Collection[str]) -> None:
        """Go by these from the next message on; callable from any thread."""
        # A new one would be full: whoever may reload could then send as much as he likes.
        if settings.per_minute != self._settings.per_minute:
            self._bucket = TokenBucket(settings.per_minute, self._clock)
        self._settings, self._camera_ids = settings, frozenset(camera_ids)

    def topics(self) -> frozenset[str]:
        """What to subscribe to: this device's and its cameras' commands and nothing else."""
        if not self._settings.enabled:
            return frozenset()
        owners = [f"devices/{self._device_id}", *self._camera_ids]
        return frozenset(f"{self._prefix}/{owner}/cmd/+" for owner in owners)

    def on_message(self, inbound: Inbound) -> None:
        """Hand a command on, or answer what is none. Never raises, never blocks."""
        place = self._place(inbound.topic)
        if place is None or not self._settings.enabled:
            return  # not for us: a subscription that the broker has not ended yet
        owner, name, camera_id = place
        known = name in (DEVICE_COMMANDS if camera_id is None else CAMERA_COMMANDS)
        default = Reply(topic=f"{self._prefix}/{owner}/res/{name if known else 'error'}")
        if not self._bucket.take():
            self._drop(default)
            return
        reply = default
        try:
            reply = self._reply(inbound, default)
            reply, problem = _with_transaction(reply, inbound.payload)
            self._check(name, known=known, retain=inbound.retain, problem=problem)
        except _RefusedError as refused:
            self._refuse(reply, str(refused))
            return
        request = Request(name=name, camera_id=camera_id, reply=reply)
        if not self._submit(request):
            self._refuse(reply, "busy with other commands; try again later")

    def answer(
        self, reply: Reply, *, data: Mapping[str, Any] | None = None, error: str | None = None
    ) -> None:
        """Say how it went; callable from any thread."""
        self._send(_answer(reply, data, error, qos=1))

    def _refuse(self, reply: Reply, error: str) -> None:
        """QoS 0: a flood of them must not take the places of events among those in flight."""
        self._send(_answer(reply, None, error, qos=0))

    def _place(self, topic: str) -> tuple[str, str, str | None] | None:
        """The topic's (owner, command, camera id); None for one that we did not subscribe to."""
        below = topic.removeprefix(f"{self._prefix}/")
        if below == topic:
            return None
        owner, _, rest = below.rpartition("/cmd/")
        if not owner or "/" in rest:
            return None
        if owner == f"devices/{self._device_id}":
            return owner, rest, None
        return (owner, rest, owner) if owner in self._camera_ids else None

    def _reply(self, inbound: Inbound, default: Reply) -> Reply:
        if inbound.correlation is not None and len(inbound.correlation) > MAX_CORRELATION_BYTES:
            raise _RefusedError(
                f"the correlation data is too long; give at most {MAX_CORRELATION_BYTES} bytes"
            )
        topic = inbound.response_topic
        if topic is not None and not self._may_answer_on(topic):
            raise _RefusedError(
                "the response topic cannot be used; name a topic without wildcards outside of "
                f"{self._prefix}/, or none"
            )
        return Reply(topic=topic or default.topic, correlation=inbound.correlation)

    def _may_answer_on(self, topic: str) -> bool:
        """Nobody may have us write where events, states and commands are."""
        if not topic or len(topic.encode("utf-8", "replace")) > MAX_TOPIC_BYTES:
            return False
        if topic.startswith("$") or any(c in "+#" or not c.isprintable() for c in topic):
            return False
        if not f"{topic}/".startswith(f"{self._prefix}/"):
            return True
        owner = topic.removeprefix(f"{self._prefix}/").rpartition("/res/")[0]
        return owner == f"devices/{self._device_id}" or owner in self._camera_ids

    def _check(self, name: str, *, known: bool, retain: bool, problem: str | None) -> None:
        if retain:
            raise _RefusedError(
                "a retained command would be executed at every connect; publish it without retain"
            )
        if not known:
            raise _RefusedError(
                "there is no such command here; devices know "
                f"{', '.join(DEVICE_COMMANDS)}, cameras {', '.join(CAMERA_COMMANDS)}"
            )
        if problem is not None:
            raise _RefusedError(problem)
        if name not in self._settings.allow:
            raise _RefusedError(f"{name} is switched off; add it to commands.allow")

    def _drop(self, reply: Reply) -> None:
        """More than may be looked at: answered now and then, for the answers were a flood too."""
        self._dropped += 1
        if self._clock() >= self._refuse_at_s:
            self._refuse_at_s = self._clock() + REFUSAL_INTERVAL_S
            self._refuse(
                reply,
                f"more than {self._settings.per_minute} commands a minute; send fewer, or raise "
                "commands.per_minute",
            )
        if self._clock() >= self._complain_at_s:
            self._complain_at_s = self._clock() + COMPLAINT_INTERVAL_S
            log.warning(
                "commands.dropped",
                since_start=self._dropped,
                reason=f"more than {self._settings.per_minute} a minute (commands.per_minute)",
            )


def _answer(
    reply: Reply, data: Mapping[str, Any] | None, error: str | None, *, qos: int
) -> Message:
    payload = {
        "status": "ok" if error is None else "error",
        "data": None if data is None else dict(data),
        "error": error,
        "transaction": reply.transaction,
    }
    return Message(
        topic=reply.topic,
        payload=encode(payload),
        qos=qos,
        user={"schema": SCHEMA},
        correlation=reply.correlation,
    )


def _with_transaction(reply: Reply, payload: bytes) -> tuple[Reply, str | None]:
    """The reply with the payload's transaction, and what is wrong with the payload."""
    try:
        body = _body(payload)
    except _RefusedError as refused:
        return reply, str(refused)
    transaction = body.pop("transaction", None)
    if not _is_transaction(transaction):
        return reply, (
            "transaction must be a whole number of at most 64 bits, or a text of at most "
            f"{MAX_TRANSACTION_CHARS} printable characters"
        )
    reply = Reply(topic=reply.topic, correlation=reply.correlation, transaction=transaction)
    return reply, "the only key is transaction; remove the others" if body else None


def _body(payload: bytes) -> dict[str, Any]:
    if not payload:
        return {}
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise _RefusedError(f"the payload is too long; send at most {MAX_PAYLOAD_BYTES} bytes")
    try:
        body = json.loads(payload.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _RefusedError("the payload is no JSON; send {} or nothing") from None
    if not isinstance(body, dict):
        raise _RefusedError("the payload is no JSON object; send {} or nothing")
    return body


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are no JSON


def _is_transaction(value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, str):
        return len(value) <= MAX_TRANSACTION_CHARS and value.isprintable()
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
