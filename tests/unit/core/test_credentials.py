"""Credentials are masked wherever they stand in a text."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alprd.core.secrets import has_credentials, mask_credentials, with_credentials


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("rtsp://u:p@h/x", "rtsp://u:***@h/x"),
        ("no folder rtsp:/u:p@h/x", "no folder rtsp:/u:***@h/x"),
        ("rtsp://token@h/x", "rtsp://***@h/x"),
        ("rtsp://token:@h/x", "rtsp://***@h/x"),
        ("rtsp://:p@h/x", "rtsp://***@h/x"),
        ("rtsp://u:p@ss/w@h/x", "rtsp://u:***@h/x"),
        ("a rtsp://u:p@h, b mqtt://v:q@k", "a rtsp://u:***@h, b mqtt://v:***@k"),
        ("[rtsp://one/x,rtsp://u:p@two/y]", "[rtsp://one/x,rtsp://u:***@two/y]"),
        ("http://h/cgi?user=a&password=b&x=1", "http://h/cgi?user=***&password=***&x=***"),
        ("http://h/cgi?loginuse=a&loginpas=b", "http://h/cgi?loginuse=***&loginpas=***"),
        (
            "rtsp://h/live?what-a-maker-may-think-of=b",
            "rtsp://h/live?what-a-maker-may-think-of=***",
        ),
        ("rtsp://h/live?b", "rtsp://h/live?***"),
        ("http://h/x?a=b==&c=d,e", "http://h/x?a=***&c=***"),
        (
            "http://h/x?a=b: cannot be opened (http://h/y?c=d).",
            "http://h/x?a=***: cannot be opened (http://h/y?c=***).",
        ),
        (
            'souphttpsrc location="http://h/x?a=b" ! y',
            'souphttpsrc location="http://h/x?a=***" ! y',
        ),
        ("rtsp://u:p@h/x?a=b", "rtsp://u:***@h/x?a=***"),
        ("rtsp://h/user=admin&psw=b", "rtsp://h/user=admin&psw=***"),
        ("/stream p=b key=b ticket=b passwort=b", "/stream p=*** key=*** ticket=*** passwort=***"),
        ("rtspsrc user-pw = b ! x", "rtspsrc user-pw = *** ! x"),
        ("rtspsrc user-id=a user-pw='b c' ! x", "rtspsrc user-id=a user-pw=*** ! x"),
        ("rtsp://h/user=admin_password=b_channel=1", "rtsp://h/user=admin_password=***"),
    ],
)
def test_a_password_is_masked(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked


@pytest.mark.parametrize(
    "text", ["http://u:p@h/x?a=b.", "user-pw = x", "[rtsp://a/x?b=c,rtsp://d/e?f=g]: gone"]
)
def test_masking_twice_changes_nothing_more(text: str) -> None:
    assert mask_credentials(mask_credentials(text)) == mask_credentials(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rtsp://h:554/main",
        "why? fps=5 monkey=1",
        "http://h/a?",
        "mail me@example.org",
        "bypass=1",
        "no such file: /a/b@2x.png",
    ],
)
def test_text_without_a_password_stays_as_it_is(text: str) -> None:
    assert mask_credentials(text) == text


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_login_survives_the_way_through_a_url(username: str, password: str) -> None:
    username, password = (t.encode("utf-8", "replace").decode() for t in (username, password))
    url = with_credentials("rtsp://h:554/x?y=1", username, password)
    parts = urlsplit(url)
    assert (parts.hostname, parts.port, parts.path, parts.query) == ("h", 554, "/x", "y=1")
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == (username, password)


@given(st.text(alphabet=st.characters(exclude_categories=["C", "Z"]), min_size=1))
def test_no_password_of_visible_characters_survives_the_mask(password: str) -> None:
    masked = mask_credentials(f"cannot open rtsp://user:{password}@h: refused")
    assert masked.startswith("cannot open rtsp://")
    assert masked.endswith("***@h: refused")


def test_a_url_without_a_user_gets_no_login() -> None:
    assert with_credentials("rtsp://h/x", None, "p") == "rtsp://h/x"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://u@h", True),
        ("rtsp://u:p@h/x", True),
        ("rtsp://h/x@2", False),
        ("udp://@239.0.0.1:5000", False),
        ("/a@b", False),
        ("rtsp://[", False),
    ],
)
def test_a_login_in_a_url_is_found(url: str, expected: bool) -> None:
    assert has_credentials(url) is expected
