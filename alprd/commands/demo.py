"""`alprd demo`: the whole way on one screen, from a clip to a subscriber, with its own broker."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from alprd.commands.common import (
    EXIT_DONE,
    EXIT_FAILED,
    Commands,
    quiet_native_libraries,
    write_line,
)
from alprd.core.secrets import mask_credentials

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

    from alprd.demo.broker import Broker

_CAMERA = "demo"


def add_parser(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "demo",
        help="show everything at work on a rendered clip, or on your own",
        description="Render a clip (or take SOURCE), start a Mosquitto on a free loopback port, "
        "run the daemon on the clip, and print the events that a real subscriber received. Needs "
        "no configuration; needs the mosquitto program.",
    )
    parser.add_argument(
        "source", nargs="?", metavar="SOURCE", help="clip, image folder, /dev/videoN or RTSP URL"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo-out"),
        metavar="DIR",
        help="where clips and the log go (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demonstration; 0 when every rendered vehicle was reported once and right."""
    quiet_native_libraries()
    from alprd.demo.broker import Broker  # noqa: PLC0415 -- `alprd --help` must not wait for it

    out: Path = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    expected, source = (None, arguments.source) if arguments.source else _rendered_clip(out)
    live = not Path(source).exists()
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(out))
        write_line(f"Mosquitto listens on {broker.url} (this demonstration's own).")
        events = stack.enter_context(_Subscriber(broker))
        code = _run_daemon(out, source, broker, live=live)
        if code == EXIT_DONE:
            # The daemon has ended after the broker's last PUBACK; the subscriber may lag a moment.
            events.settle()
    if code != EXIT_DONE:
        write_line(f"The daemon ended with exit code {code}; its log: {out / 'alprd.log'}")
        return EXIT_FAILED
    if not live:
        _annotate(Path(source), out)
    return _verdict(events.plates, expected, out)


def _rendered_clip(out: Path) -> tuple[list[str], str]:
    from alprd.demo.clip import DEMO_CARS, DEMO_SECONDS, write_clip  # noqa: PLC0415

    clip = out / "demo.mp4"
    write_line(f"Rendering {len(DEMO_CARS)} vehicles, {DEMO_SECONDS:.0f} s, into {clip} ...")
    write_clip(clip)
    return [car.text for car in DEMO_CARS], str(clip)


class _Subscriber:
    """A real MQTT client on alpr/+/plates that prints what arrives."""

    def __init__(self, broker: Broker) -> None:
        import paho.mqtt.client as mqtt  # noqa: PLC0415
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415

        self.plates: list[str] = []
        self._last_s = time.monotonic()
        self._ready = threading.Event()
        self._broker = broker
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="alprd-demo-subscriber")
        self._client.on_connect = lambda client, *_: client.subscribe("alpr/+/plates", qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._print

    def __enter__(self) -> _Subscriber:
        self._client.connect("127.0.0.1", self._broker.port)
        self._client.loop_start()
        if not self._ready.wait(10.0):
            raise OSError(f"no answer from {self._broker.url} within 10 s")
        write_line("Subscribed to alpr/+/plates. Events:")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def settle(self) -> None:
        """Wait until nothing has arrived for half a second."""
        while time.monotonic() - self._last_s < 0.5:
            threading.Event().wait(0.1)

    def _print(self, _client: object, _userdata: object, message: MQTTMessage) -> None:
        event = json.loads(message.payload)
        self.plates.append(event["plate"])
        self._last_s = time.monotonic()
        direction = (event["direction"] or {}).get("label", "-")
        write_line(
            f"  {message.topic}  {event['plate']:<9} confidence {event['confidence']:.2f}  "
            f"{direction:<11} reads {event['reads']['agreeing']}/{event['reads']['count']}  "
            f"seq {event['seq']}"
        )


def _run_daemon(out: Path, source: str, broker: Broker, *, live: bool) -> int:
    state = out / "state"
    state.mkdir(exist_ok=True)
    for old in state.glob("outbox.sqlite*"):
        old.unlink()
    config = state / "alprd.toml"
    config.write_text(
        f'device_id = "demo"\n[mqtt]\nurl = "{broker.url}"\n'
        f"[outbox]\npath = {json.dumps(str(state / 'outbox.sqlite'))}\n"
        f'[[cameras]]\nid = "{_CAMERA}"\nsource = {json.dumps(source)}\n',
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "alprd", "run", "--config", str(config)]
    if live:
        write_line(f"Watching {mask_credentials(source)}; Ctrl-C ends it.")
    else:
        command.append("--until-end")
    with (out / "alprd.log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 -- our own program
        try:
            return daemon.wait()
        except KeyboardInterrupt:
            # The terminal's Ctrl-C went to the daemon too: it drains and stops by itself.
            daemon.send_signal(signal.SIGTERM)
            return daemon.wait()


def _annotate(source: Path, out: Path) -> None:
    from alprd.commands.recognize import annotate_into  # noqa: PLC0415

    target = out / "annotated"
    write_line(f"Drawing what was seen into {target} ...")
    annotate_into(source, target)


def _verdict(plates: list[str], expected: list[str] | None, out: Path) -> int:
    write_line(f"\n{len(plates)} events. Annotated: {out / 'annotated'}   Log: {out / 'alprd.log'}")
    if expected is not None and Counter(plates) != Counter(expected):
        missing = sorted((Counter(expected) - Counter(plates)).elements())
        surplus = sorted((Counter(plates) - Counter(expected)).elements())
        write_line(f"Not as rendered: missing {missing or 'none'}, too many {surplus or 'none'}.")
        return EXIT_FAILED
    if expected is not None:
        write_line(
            f"All {len(expected)} rendered vehicles were reported once, with the right text."
        )
    write_line(
        "Next: make run SOURCE=your-clip.mp4 (or an RTSP URL), alprd recognize PHOTO..., "
        "and etc/alprd.toml for a configuration of your own."
    )
    return EXIT_DONE
