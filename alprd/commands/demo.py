"""`alprd demo`: the whole way on one screen, from a clip to a subscriber, with its own broker."""

from __future__ import annotations

import argparse
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alprd.commands.common import (
    EXIT_USAGE,
    CommandError,
    Commands,
    quiet_native_libraries,
    write_line,
)
from alprd.core.secrets import mask_credentials


def add_parser(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "demo",
        help="show everything at work on a rendered clip, or on your own",
        description="Render a clip (or take SOURCE), start a Mosquitto on a free loopback port, "
        "run the daemon on the clip, and print the events that a real subscriber received. Needs "
        "no configuration, and takes none: ALPRD_* variables count for nothing here. Needs the "
        "mosquitto program.",
    )
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="clip, picture, folder of pictures, /dev/videoN or RTSP URL",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo-out"),
        metavar="DIR",
        help="where clips and the log go (default: %(default)s)",
    )
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoInput:
    """What the demonstration looks at.

    Attributes:
        source: as the daemon's configuration names it.
        recording: the file or folder; None for a live camera.
        expected: the texts of the rendered vehicles; None for the user's own input.
        speed: what was measured on its road, as [cameras.speed]; None where nothing was.
    """

    source: str
    recording: Path | None
    expected: tuple[str, ...] | None = None
    speed: Mapping[str, object] | None = None


def run(arguments: argparse.Namespace) -> int:
    """Run the demonstration; 0 when every rendered vehicle was reported once and right."""
    quiet_native_libraries()
    # Imported late: `alprd --help` must not wait for OpenCV and paho.
    from alprd.commands.demo_show import Show  # noqa: PLC0415
    from alprd.demo.broker import find_mosquitto  # noqa: PLC0415

    given = None if arguments.source is None else user_input(arguments.source)
    out: Path = arguments.out.absolute()
    try:
        find_mosquitto()
        with _sole_user_of(out):
            return Show(_rendered(out) if given is None else given, out).run()
    except BrokenPipeError:
        raise  # our own output's reader has gone
    except OSError as error:
        raise CommandError(str(error)) from error


def user_input(source: str) -> DemoInput:
    """The user's own SOURCE, checked as far as the file system can tell.

    Raises:
        CommandError: there is nothing of this name.
    """
    from alprd.cameras.sources import SourceKind, kind_of, path_of  # noqa: PLC0415

    kind = kind_of(source)
    if not source or "\0" in source:
        raise CommandError("SOURCE is empty: name a clip, a folder or an RTSP URL", EXIT_USAGE)
    if kind is SourceKind.PATH:
        path = path_of(source).absolute()
        if not path.exists():
            raise CommandError(
                f"{mask_credentials(source)}: no such file or folder; check the path "
                "(a network camera's address starts with rtsp://)"
            )
        return DemoInput(source=str(path), recording=path)
    if kind is SourceKind.DEVICE and not Path(source).exists():
        raise CommandError(f"{source}: no such device; ls /dev/video* shows those that there are")
    return DemoInput(source=source, recording=None)


def _rendered(out: Path) -> DemoInput:
    from alprd.demo.clip import (  # noqa: PLC0415
        DEMO_CARS,
        DEMO_SECONDS,
        clip_path,
        measured_road,
        remove_clips,
        write_clip,
    )

    clip = clip_path(out)
    street = f"a street with {len(DEMO_CARS)} vehicles, {DEMO_SECONDS:.0f} s"
    if clip.exists():
        write_line(f"Using {clip}, {street}.")
    else:
        write_line(f"Rendering {clip}, {street} ...")
        remove_clips(out)
        write_clip(clip)
    return DemoInput(
        source=str(clip),
        recording=clip,
        expected=tuple(car.text for car in DEMO_CARS),
        speed=measured_road(),
    )


@contextmanager
def _sole_user_of(out: Path) -> Iterator[None]:
    """Two demonstrations in one folder would take each other's outbox away."""
    (out / "state").mkdir(parents=True, exist_ok=True)
    lock = os.open(out / "state" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"another demonstration runs in {out}; end it, or choose another folder: "
                "alprd demo --out DIR"
            ) from None
        yield
    finally:
        os.close(lock)
