"""Why a network camera cannot be opened: OpenCV says only that it could not.

`connect` is tried before OpenCV is (it finds the dead hosts, cheaply and with a reason);
`explain_rtsp` asks an RTSP server that OpenCV could not use what is wrong.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import socket
import time
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from alprd.ports import CameraError, Clock

DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935}
"""Schemes that run over TCP, so that a connection can be tried; others are left to OpenCV."""

_MAX_REPLY_BYTES = 65_536


class CameraTimeoutError(CameraError):
    """The camera was reached but went silent."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a URL points; `url` has no credentials."""

    url: str
    scheme: str
    host: str
    port: int
    username: str | None
    password: str | None

    @property
    def shown(self) -> str:
        """host:port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def silence(limit_s: float) -> str:
    """What is said of a camera that went silent."""
    return f"no frame for {limit_s:g} s; reconnecting"


def endpoint_of(url: str) -> Endpoint | None:
    """The TCP endpoint of a URL; None for a scheme without one (udp, rtp, srt).

    Raises:
        CameraError: the URL has no host or an impossible port.
    """
    try:
        parts: SplitResult = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise CameraError(
            "the source is not a valid URL; write rtsp://host:port/path "
            "with special characters of the password as %XX, or use username and password"
        ) from error
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS:
        return None
    if not host:
        raise CameraError(f"the source names no host; write {scheme}://host:port/path")
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return Endpoint(
        url=plain,
        scheme=scheme,
        host=host,
        port=DEFAULT_PORTS[scheme] if port is None else port,
        username=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


def connect(endpoint: Endpoint, timeout_s: float) -> socket.socket:
    """A TCP connection to the camera.

    Raises:
        CameraError: the reason and what to check.
    """
    try:
        return socket.create_connection((endpoint.host, endpoint.port), timeout=timeout_s)
    except socket.gaierror as error:
        raise CameraError(
            f"{endpoint.host}: unknown host name; check the name in source and the DNS"
        ) from error
    except ConnectionRefusedError as error:
        raise CameraError(
            f"{endpoint.shown}: connection refused; check the port, and that the camera's "
            f"{endpoint.scheme.upper()} service is on"
        ) from error
    except TimeoutError as error:
        raise CameraError(
            f"{endpoint.shown}: no answer (timeout after {timeout_s:g} s); "
            "check the address, the cable and the camera's power"
        ) from error
    except OSError as error:
        raise CameraError(
            f"{endpoint.shown}: cannot connect ({error.strerror or error}); "
            "check the address and the network"
        ) from error


def explain_rtsp(endpoint: Endpoint, timeout_s: float, *, clock: Clock = time.monotonic) -> str:
    """One line: why this RTSP server's stream could not be opened, and what to do.

    Takes at most `timeout_s`, however slowly the server answers.
    """
    until_s = clock() + timeout_s

    def left_s() -> float:
        left = until_s - clock()
        if left <= 0.0:
            raise TimeoutError
        return left

    try:
        status = _describe(endpoint, left_s, authorization=None)
        if status.code == 401 and endpoint.username is not None and status.challenge:
            answer = _authorization(endpoint, status.challenge)
            status = _describe(endpoint, left_s, authorization=answer)
    except TimeoutError:
        return (
            f"{endpoint.shown}: accepts the connection but does not answer (timeout); "
            "check the port, or restart the camera"
        )
    except CameraError as error:
        return str(error)
    except OSError as error:
        return f"{endpoint.shown}: the connection broke ({error.strerror or error}); check the port"
    return f"{endpoint.shown}: {_meaning(status, given=endpoint.username is not None)}"


@dataclass(frozen=True, slots=True)
class _Status:
    code: int
    challenge: str = ""


def _meaning(status: _Status, *, given: bool) -> str:
    if status.code == 401:
        if given:
            return "unauthorised (401): wrong user name or password; check username and password"
        return "unauthorised (401): the camera wants a login; set username and password_file"
    known = {
        0: "answers, but not with RTSP; check the port and the scheme of source",
        200: "has the stream, but it cannot be decoded; choose H.264, H.265 or MJPEG in the camera",
        403: "forbidden (403): this user may not see the stream; check the rights in the camera",
        404: "no such stream (404 not found); check the path in source",
        453: "has no bandwidth or session left (453); close other viewers of the camera",
        503: "is not ready or its encoder failed (503); check the stream settings in the camera",
    }
    return known.get(status.code, f"refuses the stream (RTSP error {status.code}); see its log")


def _describe(endpoint: Endpoint, left_s: Clock, *, authorization: str | None) -> _Status:
    lines = [f"DESCRIBE {endpoint.url} RTSP/1.0", "CSeq: 1", "Accept: application/sdp"]
    if authorization is not None:
        lines.append(f"Authorization: {authorization}")
    request = "\r\n".join([*lines, "", ""]).encode("utf-8", "replace")
    reply = b""
    with connect(endpoint, left_s()) as connection:
        connection.sendall(request)
        while b"\r\n\r\n" not in reply and len(reply) < _MAX_REPLY_BYTES:
            connection.settimeout(left_s())
            received = connection.recv(4096)
            if not received:
                break
            reply += received
    head = reply.partition(b"\r\n\r\n")[0].decode("latin-1")
    first = re.match(r"RTSP/\d\.\d (\d{3})", head)
    if first is None:
        return _Status(code=0)
    challenges = re.findall(r"(?im)^WWW-Authenticate:\s*(.+?)\s*$", head)
    digest = [c for c in challenges if c.lower().startswith("digest")]
    return _Status(code=int(first[1]), challenge=(digest or challenges or [""])[0])


def _authorization(endpoint: Endpoint, challenge: str) -> str:
    """The answer to a Basic or Digest (MD5) challenge."""
    user, password = endpoint.username or "", endpoint.password or ""
    if not challenge.lower().startswith("digest"):
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    given = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm, nonce = given.get("realm", ""), given.get("nonce", "")
    secret = _md5(f"{user}:{realm}:{password}")
    asked = _md5(f"DESCRIBE:{endpoint.url}")
    answer = {"username": user, "realm": realm, "nonce": nonce, "uri": endpoint.url}
    if "auth" in given.get("qop", "").split(","):
        client_nonce = secrets.token_hex(8)
        answer["response"] = _md5(f"{secret}:{nonce}:00000001:{client_nonce}:auth:{asked}")
        extra = f', qop=auth, nc=00000001, cnonce="{client_nonce}"'
    else:
        answer["response"] = _md5(f"{secret}:{nonce}:{asked}")
        extra = ""
    if "opaque" in given:
        answer["opaque"] = given["opaque"]
    return "Digest " + ", ".join(f'{key}="{value}"' for key, value in answer.items()) + extra


def _md5(text: str) -> str:
    # RTSP's Digest scheme prescribes MD5; nothing here is protected by it.
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
