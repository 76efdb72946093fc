"""Checks of single values whose form a type cannot express; each says what would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from urllib.parse import SplitResult, urlsplit

Polygon = Sequence[tuple[float, float]]

CAMERA_ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
DEVICE_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_BROKER_SCHEMES = ("mqtt", "mqtts", "ws", "wss")
_BROKER_PATH_SCHEMES = ("ws", "wss")
# Of these the host and port are checked; the others write their addresses in ways of their own.
_HOST_SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps")
_STREAM_SCHEMES = (*_HOST_SCHEMES, "udp", "tcp", "rtp", "srt", "file")
# What other programs call the same thing.
_BROKER_ALIASES = {"tcp": "mqtt", "ssl": "mqtts", "tls": "mqtts", "http": "mqtt", "https": "mqtts"}
_MAX_POLYGON_POINTS = 100


def nearest(name: str, valid: Collection[str]) -> str | None:
    """The valid name that looks most like this one; None when none is near."""
    matches = difflib.get_close_matches(name.lower(), sorted(valid), n=1, cutoff=0.6)
    return matches[0] if matches else None


def check_camera_id(value: str) -> str:
    """A camera's id is a level of MQTT topics and stays readable in file names."""
    if not re.match(CAMERA_ID_PATTERN, value) or value.endswith("\n"):
        raise ValueError(
            f"{value!r} cannot be a camera's id; use a-z, 0-9, '_' and '-', starting with a letter "
            "or digit, at most 63 characters"
        )
    if value == "devices":
        raise ValueError("'devices' is a topic of its own; choose another id")
    return value


def check_device_id(value: str) -> str:
    """A device's id is a level of MQTT topics."""
    if not re.match(DEVICE_ID_PATTERN, value) or value.endswith("\n"):
        raise ValueError(
            f"{value!r} cannot be a device's id; use letters, digits, '_' and '-', starting with a "
            "letter or digit, at most 63 characters"
        )
    return value


def check_list_name(value: str) -> str:
    """A list's name goes into events, and into other systems' rules from there."""
    if not re.match(CAMERA_ID_PATTERN, value) or value.endswith("\n"):
        raise ValueError(
            f"{value!r} cannot be a list's name; use a-z, 0-9, '_' and '-', starting with a letter "
            "or digit, at most 63 characters"
        )
    return value


def check_prefix(value: str) -> str:
    """The topics' first levels: what MQTT forbids or reserves is refused."""
    if not 1 <= len(value) <= 100:
        raise ValueError("must have 1 to 100 characters; for example 'alpr' or 'site-a/alpr'")
    if any(c in "+#\0" or c.isspace() or not c.isprintable() for c in value):
        raise ValueError(
            "must not contain '+', '#', blanks or control characters; MQTT reserves them"
        )
    if value.startswith("$"):
        raise ValueError("must not start with '$'; brokers reserve such topics for themselves")
    if "" in value.split("/"):
        raise ValueError("must not start or end with '/' or contain '//'; remove the empty level")
    return value


def check_broker_url(value: str) -> str:
    """mqtt://[user:password@]host[:port], mqtts://, ws://.../path or wss://.

    The value is never quoted: credentials.
    """
    scheme = _SCHEME.match(value)
    if scheme is None:
        raise ValueError(
            "a broker's URL starts with mqtt://, mqtts:// (TLS), ws:// or wss:// (WebSockets)"
        )
    name = scheme[1].lower()
    if name not in _BROKER_SCHEMES:
        instead = _BROKER_ALIASES.get(name) or nearest(name, _BROKER_SCHEMES) or "mqtt"
        raise ValueError(f"{name}:// is no scheme for a broker; write {instead}://")
    parts = _split(value)
    if parts.fragment or (
        name not in _BROKER_PATH_SCHEMES and (parts.path not in ("", "/") or parts.query)
    ):
        raise ValueError(
            "nothing may follow the broker's host and port; remove it (a '/', '?' or '#' in a "
            "password is written %2F, %3F, %23)"
        )
    return value


def check_source(value: str) -> str:
    """A stream's URL has a known scheme, a host and a possible port; other sources pass."""
    if not value.strip():
        raise ValueError("is empty; give an rtsp:// URL, a file, a folder or /dev/video0")
    scheme = _SCHEME.match(value)
    if scheme is None or "!" in value.split("://", 1)[0]:
        if value.lower().startswith(("rtsp:", "rtsps:")):
            raise ValueError("an RTSP URL looks like rtsp://host/path; put // after the colon")
        return value
    name = scheme[1].lower()
    if name not in _STREAM_SCHEMES:
        raise ValueError(
            f"{name}:// is no known kind of stream; write "
            f"{nearest(name, _STREAM_SCHEMES) or 'rtsp'}://"
        )
    if name in _HOST_SCHEMES:
        _split(value)
    return value


def source_form(source: str) -> str:
    """What a source names, from the string alone: pipeline, network, device or path."""
    if " ! " in source:
        return "pipeline"
    if "://" in source and not source.lower().startswith("file://"):
        return "network"
    return "device" if source.startswith("/dev/") else "path"


def check_decode(decode: str, source: str) -> None:
    """Whoever is asked to decode must be able to decode such a source."""
    form = source_form(source)
    if decode == "gstreamer" and form != "pipeline":
        raise ValueError(
            'decode = "gstreamer" needs a GStreamer pipeline as source ("rtspsrc location=rtsp:'
            '//... ! ... ! appsink"); write one, or set decode = "auto"'
        )
    if decode in ("nvdec", "ffmpeg") and form == "pipeline":
        raise ValueError(
            f'decode = "{decode}" does not go with a GStreamer pipeline, whose own elements decode '
            '(on a Jetson nvv4l2decoder does it on the GPU); set decode = "auto"'
        )
    if decode in ("nvdec", "ffmpeg") and form == "device":
        raise ValueError(
            f'decode = "{decode}" is for video files and network streams, and a device is neither; '
            'set decode = "auto"'
        )


def _split(url: str) -> SplitResult:
    if any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError("a URL contains no blanks; write %20 for one in a password or path")
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise ValueError("not a URL; an IPv6 address goes in brackets: [fd00::7]") from None
    if not host:
        raise ValueError("the URL names no host; for example //10.0.0.7 after the scheme")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError(
            "the port is not a number from 1 to 65535; correct it (a '/', '?' or '#' in a password "
            "is written %2F, %3F, %23)"
        )
    return parts


def check_polygon(points: Polygon) -> Polygon:
    """A polygon with an inside: at least three points, no side crossing another."""
    if len(points) < 3:
        raise ValueError(f"a polygon needs at least 3 points, this has {len(points)}; add some")
    if len(points) > _MAX_POLYGON_POINTS:
        raise ValueError(f"a polygon has at most {_MAX_POLYGON_POINTS} points; simplify it")
    if points[0] == points[-1]:
        raise ValueError("the polygon closes itself; do not repeat its first point at the end")
    if len(set(points)) < len(points):
        raise ValueError("a point appears twice; remove one of the two")
    sides = [(points[i], points[(i + 1) % len(points)]) for i in range(len(points))]
    for i, first in enumerate(sides):
        for j in range(i + 1, len(sides)):
            neighbours = j == i + 1 or (i == 0 and j == len(sides) - 1)
            if not neighbours and _cross(*first, *sides[j]):
                raise ValueError(
                    f"the polygon crosses itself: the side after point {i + 1} meets the one after "
                    f"point {j + 1}; give the points in order around the area"
                )
    if abs(_doubled_area(points)) < 1e-6:
        raise ValueError("the polygon has no area, its points lie on one line; spread them")
    return points


def _doubled_area(points: Polygon) -> float:
    return sum(
        x1 * y2 - x2 * y1
        for (x1, y1), (x2, y2) in zip(points, [*points[1:], points[0]], strict=True)
    )


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> int:
    cross = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return (cross > 0) - (cross < 0)


def _cross(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], d: tuple[float, float]
) -> bool:
    """Whether the segments a-b and c-d share a point."""
    turns = _turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)
    if turns[0] != turns[1] and turns[2] != turns[3]:
        return True
    return any(
        turn == 0
        and min(p[0], q[0]) <= r[0] <= max(p[0], q[0])
        and min(p[1], q[1]) <= r[1] <= max(p[1], q[1])
        for turn, p, q, r in (
            (turns[0], a, b, c),
            (turns[1], a, b, d),
            (turns[2], c, d, a),
            (turns[3], c, d, b),
        )
    )
