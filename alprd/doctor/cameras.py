"""The cameras: opened and looked at, or asked of the daemon that has them open."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from alprd.cameras.pictures import grey_of
from alprd.cameras.sources import SourceKind, kind_of, open_source, path_of
from alprd.config import CameraSettings, Settings
from alprd.core.blindness import Picture, judge, look
from alprd.core.calibration import measure_of
from alprd.core.plate_size import COMMON_WIDTH_M, widest_plate_px
from alprd.core.types import PLATE_LABEL, Frame
from alprd.doctor.findings import Finding, ok, problem, warning
from alprd.doctor.person import READ, WRITE, Person
from alprd.ports import CameraError, Detector

LOOK_S: Final = 3.0
"""A live camera is watched for so long."""

MOST_FRAMES: Final = 60
_HANG_S: Final = 5.0
_COMFORTABLE: Final = 2.0

_BLIND: Final[Mapping[Picture, str]] = {
    "black": "the picture is black; look for a cap on the lens, missing light or a dead sensor",
    "covered": "the picture shows nothing; clean the lens and take away what hangs before it",
    "blurred": "the picture is blurred; focus the camera and clean the lens",
}


@dataclass(slots=True)
class Probe:
    """What was seen of one camera; written by its thread, read once that has ended."""

    error: str | None = None
    opened_s: float | None = None
    seconds: float = 0.0
    grabbed: int = 0
    frames: list[Frame] = field(default_factory=list)


def probe(camera: CameraSettings) -> Probe:
    """Open the camera and look at it; hangs for as long as its driver does."""
    found = Probe()

    def grabbed() -> None:
        found.grabbed += 1

    source = open_source(camera, on_grab=grabbed)
    started_s = time.monotonic()
    try:
        source.open()
        while found.grabbed < MOST_FRAMES or source.live:
            frame = source.read()
            if frame is None:
                break
            now_s = time.monotonic()
            if found.opened_s is None:
                found.opened_s, first_s = now_s - started_s, now_s
                found.grabbed = 0  # what was buffered before does not count
            found.seconds = now_s - first_s
            if len(found.frames) < 3 or found.grabbed % 20 == 0:
                found.frames.append(frame)
            if source.live and found.seconds >= LOOK_S:
                break
    except CameraError as error:
        found.error = str(error)
    finally:
        source.close()
    return found


def cameras(
    settings: Settings,
    who: Person,
    *,
    detector: Detector | None,
) -> Iterator[Finding]:
    """Open every enabled camera, all at the same time, and say what is seen.

    Args:
        settings: the whole configuration.
        who: must be allowed to use the devices.
        detector: looks for plates; None: nobody does.
    """
    probes: dict[str, Probe] = {}
    threads = []
    give_up_at_s = time.monotonic()
    for camera in settings.cameras:
        if camera.enabled and not _forbidden(camera, who):
            thread = threading.Thread(
                target=_note_probe, args=(probes, camera), name=f"doctor-{camera.id}", daemon=True
            )
            thread.start()
            threads.append(thread)
            longest_s = camera.open_timeout_s + camera.read_timeout_s + LOOK_S + _HANG_S
            give_up_at_s = max(give_up_at_s, time.monotonic() + longest_s)
    for thread in threads:
        thread.join(max(0.0, give_up_at_s - time.monotonic()))
    for camera in settings.cameras:
        name = f"camera {camera.id}"
        if not camera.enabled:
            yield ok(name, "disabled")
            continue
        forbidden = _forbidden(camera, who)
        seen = probes.get(camera.id)
        if forbidden is not None:
            yield problem(name, forbidden)
        elif seen is None:
            yield problem(name, "hangs in its driver; restart the camera")
        else:
            yield _judged(name, camera, seen, settings, detector)


def _note_probe(probes: dict[str, Probe], camera: CameraSettings) -> None:
    try:
        probes[camera.id] = probe(camera)
    except Exception as error:  # noqa: BLE001 -- a surprise must not pass for a hanging driver
        text = f"could not be looked at: {type(error).__name__}: {error}"
        probes[camera.id] = Probe(error=text)


def _forbidden(camera: CameraSettings, who: Person) -> str | None:
    """Why this user cannot open the source; None when it can, or the opening will say."""
    kind = kind_of(camera.source)
    if kind is SourceKind.DEVICE:
        path, wanted = Path(camera.source), READ | WRITE
    elif kind is SourceKind.PATH:
        path, wanted = path_of(camera.source), READ
    else:
        return None
    try:
        if who.may(path, wanted):
            return None
        group = who.group_that_may(path)
    except OSError:
        return None
    remedy = f"usermod -aG {group} {who.name}" if group else f"check the mode of {path}"
    return f"{who.name} may not use {path}; {remedy}"


def _judged(
    name: str,
    camera: CameraSettings,
    seen: Probe,
    settings: Settings,
    detector: Detector | None,
) -> Finding:
    if not seen.frames:
        return problem(name, seen.error or "opened, but no picture came; check source")
    width, height = seen.frames[-1].size
    said = f"{width} x {height}"
    fps = _fps(camera, seen)
    if fps is not None:
        said += f", {fps:.1f} frames per second"
    if seen.opened_s is not None:
        said += f", first picture after {seen.opened_s:.1f} s"
    if seen.error is not None:
        return problem(name, f"{said}; then lost: {seen.error}")
    blind = _blind(seen.frames)
    if blind is not None:
        return problem(name, f"{said}; {blind}")
    if camera.min_fps is not None and fps is not None and fps < camera.min_fps:
        return warning(
            name,
            f"{said}; min_fps wants {camera.min_fps:g}: raise the camera's own frame rate, or give "
            "it light: many halve it in the dark",
        )
    if detector is None:
        return ok(name, said)
    least = settings.tracking_of(camera).min_plate_width_px
    return _plates(name, said, least, _plate_widths(seen.frames, detector), camera, width)


def _blind(frames: Sequence[Frame]) -> str | None:
    """What most of the pictures suffer from."""
    verdicts = [judge(look(grey_of(frame.host_image()))) for frame in frames]
    return next(
        (text for name, text in _BLIND.items() if verdicts.count(name) * 2 > len(verdicts)), None
    )


def _fps(camera: CameraSettings, seen: Probe) -> float | None:
    if kind_of(camera.source).recorded:
        first, last = seen.frames[0], seen.frames[-1]
        seconds, many = last.t_s - first.t_s, last.seq - first.seq
        return many / seconds if seconds > 0.0 else None
    return seen.grabbed / seen.seconds if seen.seconds > 0.0 else None


def _plate_widths(frames: Sequence[Frame], detector: Detector) -> list[float]:
    return [
        plate.box[2] - plate.box[0]
        for frame in frames
        for plate in detector.detect([frame.image])[0]
        if plate.label == PLATE_LABEL
    ]


def _foretold_width(camera: CameraSettings, width: int) -> float | None:
    """How wide plates get, pixels of a picture of this width; None without a calibration."""
    if camera.speed is None:
        return None
    known_m = max(camera.speed.plate_widths_m or (), default=COMMON_WIDTH_M)
    foretold = widest_plate_px(measure_of(camera.speed.calibration()), known_m)
    return None if foretold is None else foretold * width / camera.speed.frame_size[0]


def _plates(  # noqa: PLR0917 -- all of one line
    name: str,
    said: str,
    least: float,
    widths: Sequence[float],
    camera: CameraSettings,
    width: int,
) -> Finding:
    foretold = _foretold_width(camera, width)
    if widths:
        widest, said = max(widths), f"{said}; plates are"
    elif foretold is not None:
        widest, said = foretold, f"{said}; no plate in sight, by the calibration they get"
    else:
        return ok(name, f"{said}; no plate in sight (they need {least:.0f} pixels in width)")
    said = f"{said} {widest:.0f} pixels wide"
    if widest < least:
        return problem(
            name,
            f"{said}, less than the {least:.0f} that they need: zoom in, move the camera closer or "
            "raise its resolution",
        )
    if widest < _COMFORTABLE * least:
        return warning(
            name,
            f"{said}, hardly more than the {least:.0f} that they need: zoom in or raise the "
            "camera's resolution",
        )
    return ok(name, said)


def cameras_unseen(settings: Settings) -> Iterator[Finding]:
    """Nobody knows whether a daemon has them open, so they are left alone."""
    for camera in settings.cameras:
        name = f"camera {camera.id}"
        if camera.enabled:
            yield warning(
                name,
                "not opened, because a daemon may have it; run the doctor as root, or with "
                "--open-cameras",
            )
        else:
            yield ok(name, "disabled")


def cameras_of_daemon(settings: Settings, sample: Mapping[str, Any] | None) -> Iterator[Finding]:
    """The cameras as the running daemon sees them; none is opened a second time.

    Args:
        settings: the whole configuration.
        sample: the daemon's newest health sample; None where it cannot be had.
    """
    known = {c["id"]: c for c in sample["pipeline"]["cameras"]} if sample is not None else {}
    for camera in settings.cameras:
        name = f"camera {camera.id}"
        seen = known.get(camera.id)
        if not camera.enabled:
            yield ok(name, "disabled")
        elif sample is None:
            yield ok(name, "open in the running daemon, so not opened here; see its status topic")
        elif seen is None:
            yield warning(name, "the running daemon does not know it yet; systemctl reload alprd")
        elif seen["state"] not in ("online", "ended"):
            yield problem(name, f"{seen['state']}: {seen['last_error'] or 'no picture has come'}")
        elif seen["picture"] in _BLIND:
            yield problem(name, _BLIND[seen["picture"]])
        else:
            yield ok(
                name,
                f"{seen['state']} in the running daemon, {seen['fps']} frames per second, "
                f"{seen['processed_fps']} looked at, {seen['dropped']} dropped",
            )
