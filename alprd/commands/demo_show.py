"""One demonstration from its start to its verdict; see `alprd.commands.demo`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from alprd.commands.common import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    write_error,
    write_line,
)
from alprd.commands.demo import DemoInput
from alprd.commands.toml_text import toml_text
from alprd.commands.watch_view import speed_text
from alprd.core.secrets import mask_credentials
from alprd.demo.broker import CHILD as BROKER
from alprd.demo.broker import HOST, start_broker
from alprd.demo.children import Children, Ended, StopAsked
from alprd.demo.subscriber import TOPICS, Heard, HeardAll, Subscriber

CAMERA = "demo"
DAEMON, ANNOTATION = "daemon", "annotation"
NEXT = (
    "Next: make run SOURCE=your-clip.mp4 (or an RTSP URL); .venv/bin/alprd recognize PHOTO...; "
    "etc/alprd.toml for a configuration of your own."
)


class Show:
    """Runs the daemon on `chosen`, prints what a subscriber hears, and judges it.

    Args:
        chosen: what the daemon looks at.
        out: folder for the logs and the annotated clip.
    """

    def __init__(self, chosen: DemoInput, out: Path) -> None:
        self._input = chosen
        self._out = out
        self._state = out / "state"
        self._log = out / "alprd.log"
        self._news: SimpleQueue[Any] = SimpleQueue()
        self._plates: list[str] = []
        self._said: tuple[str, str | None] | None = None
        self._stops = 0
        self._broker_lost = False
        self._daemon_code: int | None = None
        self._annotation_code: int | None = None
        self._heard_all = False

    def run(self) -> int:
        """Returns the exit code. Raises OSError when a part cannot be started."""
        with ExitStack() as stack:
            self._children = stack.enter_context(Children(self._news))
            port = start_broker(self._children, self._state)
            write_line(f"Mosquitto listens on mqtt://{HOST}:{port}, for this demonstration only.")
            self._subscriber = stack.enter_context(Subscriber(HOST, port, self._news.put))
            write_line(f"A subscriber hears {TOPICS[0]}; the daemon starts.")
            if self._input.recording is None:
                source = mask_credentials(self._input.source)
                write_line(f"Watching {source}; Ctrl-C ends it.")
            self._start_daemon(port)
            if self._input.recording is not None:
                self._start_annotation(self._input.recording)
            while not self._is_over():
                self._take(self._news.get())
        return self._verdict()

    # -- the children --------------------------------------------------------------------------

    def _start_daemon(self, port: int) -> None:
        for old in self._state.glob("outbox.sqlite*"):
            old.unlink()
        config = self._state / "alprd.toml"
        camera: dict[str, Any] = {"id": CAMERA, "source": self._input.source}
        if self._input.speed is not None:
            camera["speed"] = self._input.speed
        text = toml_text(
            {
                "device_id": "demo",
                "mqtt": {"url": f"mqtt://{HOST}:{port}"},
                "outbox": {"path": str(self._state / "outbox.sqlite")},
                "cameras": [camera],
            }
        )
        write_private(config, text + "\n")
        command = [sys.executable, "-m", "alprd", "run", "--config", str(config)]
        if self._input.recording is not None:
            command.append("--until-end")
        self._children.start(DAEMON, command, output=self._log, environ=plain_environment())

    def _start_annotation(self, recording: Path) -> None:
        """Beside the daemon, which goes first: one process alone leaves a core half idle."""
        self._drawing = self._state / "drawing"
        shutil.rmtree(self._drawing, ignore_errors=True)
        command = [sys.executable, "-m", "alprd", "recognize", "--quiet"]
        command += ["--annotate", str(self._drawing), "--", str(recording)]
        nice = shutil.which("nice")
        self._children.start(
            ANNOTATION,
            [nice, "-n", "10", *command] if nice else command,
            output=self._state / "annotation.log",
            environ=plain_environment(),
        )

    # -- the news ------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        if self._daemon_code is None or self._children.is_running(ANNOTATION):
            return False
        return self._heard_all or self._broker_lost

    def _take(self, news: object) -> None:
        match news:
            case Heard(topic, payload):
                self._print(topic, json.loads(payload))
            case HeardAll():
                self._heard_all = True
                if self._children.is_running(ANNOTATION):
                    write_line("Drawing what was seen into a copy of it (Ctrl-C skips that) ...")
            case StopAsked():
                self._stop()
            case Ended(name, code) if name == DAEMON:
                self._daemon_code = code
                if code != EXIT_DONE:
                    self._children.kill(ANNOTATION)
                if not self._broker_lost:
                    self._subscriber.hear_all()
            case Ended(name, code) if name == ANNOTATION:
                self._annotation_code = code
            case Ended(name) if name == BROKER:
                self._broker_lost = True
                write_error(f"mosquitto has ended by itself; its log: {self._state}/mosquitto.log")
                self._children.kill(DAEMON)
                self._children.kill(ANNOTATION)

    def _stop(self) -> None:
        self._stops += 1
        self._children.kill(ANNOTATION)
        if self._daemon_code is not None:
            return
        if self._stops == 1:
            write_line("Stopping; the vehicles in sight are reported first ...")
            self._children.terminate(DAEMON)
        else:
            self._children.kill(DAEMON)

    def _print(self, topic: str, message: dict[str, Any]) -> None:
        if topic.endswith("/plates"):
            self._plates.append(message["plate"])
            direction = (message["direction"] or {}).get("label", "-")
            speed = "" if message["speed"] is None else f"{speed_text(message['speed']):<9}"
            reads = message["reads"]
            write_line(
                f"  {topic}  {message['plate']:<9} confidence {message['confidence']:.2f}  "
                f"{direction:<11} {speed}reads {reads['agreeing']}/{reads['count']}"
                f"  seq {message['seq']}"
            )
            return
        state, error = said = message["state"], message["last_error"]
        # A clip's coming and going is no news; a live camera's is, and so is every trouble.
        if said != self._said and (error is not None or self._input.recording is None):
            reason = "" if error is None else f": {mask_credentials(error)}"
            write_line(f"  {topic}  {state}{reason}")
        self._said = said

    # -- the verdict ---------------------------------------------------------------------------

    def _verdict(self) -> int:
        stopped = self._stops > 0
        if self._broker_lost:
            return EXIT_FAILED
        if self._daemon_code != EXIT_DONE:
            if stopped and (self._daemon_code or 0) < 0:
                return EXIT_INTERRUPTED
            self._explain_daemon()
            return EXIT_FAILED
        annotated = self._keep_annotation()
        count = len(self._plates)
        write_line(f"\n{count} {'event' if count == 1 else 'events'}. Log: {self._log}")
        if annotated is not None:
            write_line(f"What was seen, drawn: {annotated}")
        if self._input.recording is not None and stopped:
            return EXIT_INTERRUPTED
        right = self._input.expected is None or self._as_rendered(self._input.expected)
        write_line(NEXT)
        drawn = annotated is not None or self._input.recording is None
        return EXIT_DONE if right and drawn else EXIT_FAILED

    def _explain_daemon(self) -> None:
        code = self._daemon_code or 0
        end = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        for line in complaints(self._log):
            write_error(line)
        write_error(f"the daemon {end}; its log: {self._log}")

    def _keep_annotation(self) -> Path | None:
        """Put what was drawn where the user looks for it; None when nothing was."""
        if self._input.recording is None or self._stops:
            return None
        drawn = sorted(self._drawing.iterdir()) if self._drawing.is_dir() else []
        if not drawn or (self._annotation_code or 0) < 0:
            for line in complaints(self._state / "annotation.log"):
                write_error(line)
            write_error("nothing could be drawn")
            return None
        target = self._out / "annotated"
        target.mkdir(exist_ok=True)
        for file in drawn:
            file.replace(target / file.name)
        return target / drawn[0].name if len(drawn) == 1 else target

    def _as_rendered(self, texts: tuple[str, ...]) -> bool:
        expected, seen = Counter(texts), Counter(self._plates)
        if seen != expected:
            missing = ", ".join(sorted((expected - seen).elements())) or "none"
            surplus = ", ".join(sorted((seen - expected).elements())) or "none"
            write_line(f"Not as rendered: missing {missing}; too many: {surplus}.")
            return False
        write_line(f"All {expected.total()} vehicles were reported once, with the right text.")
        return True


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read: it may hold a camera's password."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def plain_environment() -> dict[str, str]:
    """The environment without what would lead the daemon elsewhere than the demonstration."""
    strange = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith("ALPRD_") and name not in strange
    }


def complaints(log: Path) -> list[str]:
    """The lines by which a command of alprd says what went wrong."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.removeprefix("alprd: ") for line in lines if line.startswith("alprd: ")]
