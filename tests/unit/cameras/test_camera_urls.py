"""What a source string means, and the OpenCV options that go with it."""

from __future__ import annotations

import pytest

from alprd.cameras.network import endpoint_of
from alprd.cameras.opencv_setup import capture_options
from alprd.cameras.sources import SourceKind, kind_of, path_of
from alprd.ports import CameraError


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("rtsp://10.0.0.7/main", SourceKind.NETWORK),
        ("http://10.0.0.7/mjpeg", SourceKind.NETWORK),
        ("udp://@239.0.0.1:1234", SourceKind.NETWORK),
        ("/dev/video0", SourceKind.DEVICE),
        ("/dev/v4l/by-id/usb-cam", SourceKind.DEVICE),
        ("v4l2src device=/dev/video0 ! appsink", SourceKind.PIPELINE),
        ("rtspsrc location=rtsp://a/b ! decodebin ! appsink", SourceKind.PIPELINE),
        ("clips/gate.mp4", SourceKind.PATH),
        ("file:///clips/gate%20in.mp4", SourceKind.PATH),
        ("what!.mp4", SourceKind.PATH),
    ],
)
def test_the_string_says_which_kind_of_source_it_is(source: str, kind: SourceKind) -> None:
    assert kind_of(source) is kind
    assert kind.recorded == (kind is SourceKind.PATH)


def test_a_file_url_is_a_path() -> None:
    assert str(path_of("file:///clips/gate%20in.mp4")) == "/clips/gate in.mp4"


def test_an_unknown_home_folder_is_no_crash() -> None:
    assert str(path_of("~nobody-has-this-name/x.mp4")) == "~nobody-has-this-name/x.mp4"


def test_an_endpoint_has_the_default_port_and_no_credentials_in_its_url() -> None:
    endpoint = endpoint_of("rtsp://ad%40min:p%3Aw%2F@cam.example/main?x=1")
    assert endpoint is not None
    assert (endpoint.shown, endpoint.username, endpoint.password) == (
        "cam.example:554",
        "ad@min",
        "p:w/",
    )
    assert endpoint.url == "rtsp://cam.example/main?x=1"


def test_an_ipv6_endpoint_is_shown_in_brackets() -> None:
    endpoint = endpoint_of("rtsp://[fe80::1]:8554/a")
    assert endpoint is not None
    assert endpoint.shown == "[fe80::1]:8554"


def test_a_scheme_without_a_connection_has_no_endpoint() -> None:
    assert endpoint_of("udp://@239.0.0.1:1234") is None


@pytest.mark.parametrize("url", ["rtsp://cam:99999/x", "rtsp://cam:port/x", "rtsp://[::1/x"])
def test_an_impossible_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(CameraError, match="not a valid URL") as caught:
        endpoint_of(url.replace("//", "//me:geheim@"))
    assert "geheim" not in str(caught.value)


def test_a_url_without_a_host_is_refused() -> None:
    with pytest.raises(CameraError, match="names no host"):
        endpoint_of("rtsp:///main")


@pytest.mark.parametrize(
    ("present", "wanted"),
    [
        (None, "rtsp_transport;tcp"),
        ("", "rtsp_transport;tcp"),
        ("max_delay;5", "max_delay;5|rtsp_transport;tcp"),
        ("rtsp_transport;udp|max_delay;5", "rtsp_transport;udp|max_delay;5"),
    ],
)
def test_rtsp_goes_over_tcp_unless_the_user_chose(present: str | None, wanted: str) -> None:
    assert capture_options(present) == wanted
