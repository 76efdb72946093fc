"""Keeping credentials out of whatever people get to see, and putting them into a URL."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit, urlunsplit

MASK = "***"

# Everything between "://" and the last "@" of the same word, even past a "/": a password with an
# unescaped slash must not show, and hiding too much of an odd path costs nothing. One slash is what
# a file name made of a URL keeps.
_USERINFO = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{1,20}:/{1,2})(?P<userinfo>(?:(?!://)\S)*)@"
)

# A URL's query. Every maker has a name of its own for the password (`loginpas`, `psw`, `ticket`),
# so every value counts as one. Punctuation at the end belongs to the sentence around the URL.
_QUERY = re.compile(
    r"""(?P<before>[A-Za-z][A-Za-z0-9+.-]{1,20}:/{1,2}[^\s?"'<>]*\?)
    (?P<query>[^\s"'<>]+?)(?=[.,:;)\]}]{0,9}(?:[\s"'<>]|$))""",
    re.VERBOSE,
)

# Outside of a query: properties of GStreamer elements (`user-pw = 1`) and the underscored paths of
# cheap recorders (`/user=admin_password=1_channel=2`).
_PARAMETER = re.compile(
    r"""(?P<key>(?<![A-Za-z0-9])(?:(?:login|user|usr|proxy|admin)?[_-]?
    (?:password|passwort|passwd|passphrase|pass|pas|pwd|psw|pw)
    |p|secret|token|ticket|key|access[_-]?token|api[_-]?key|secret[_-]?key|auth)[ \t]*=[ \t]*)
    (?P<value>"[^"]*"|'[^']*'|[^\s&;"'!,]+)""",
    re.IGNORECASE | re.VERBOSE,
)


def _masked_userinfo(match: re.Match[str]) -> str:
    user, colon, password = match["userinfo"].partition(":")
    # A lone user name may well be an access token.
    shown = f"{user}:{MASK}" if colon and password and user else MASK
    return f"{match['scheme']}{shown}@"


def _masked_query(match: re.Match[str]) -> str:
    parameters = (part.partition("=") for part in match["query"].split("&"))
    shown = "&".join(f"{name}={MASK}" if equals else MASK for name, equals, _ in parameters)
    return match["before"] + shown


def mask_credentials(text: str) -> str:
    """The text with every password that it shows replaced by `***`.

    Found are the user part of URLs, all values in their queries, and `password=`-like parameters
    elsewhere; the user's name before a host stays, because it helps to find a wrong login.
    """
    text = _USERINFO.sub(_masked_userinfo, text)
    text = _QUERY.sub(_masked_query, text)
    return _PARAMETER.sub(lambda match: match["key"] + MASK, text)


def has_credentials(url: str) -> bool:
    """Whether the URL carries a user name or password before its host."""
    try:
        # "udp://@239.0.0.1:5000" is how a multicast group is written.
        return bool(urlsplit(url).netloc.rpartition("@")[0])
    except ValueError:  # not a URL, such as an unclosed bracket
        return False


def with_credentials(url: str, username: str | None, password: str | None) -> str:
    """The URL with a user name and password before its host, percent-encoded.

    Without a user name the URL is returned as it is.
    """
    if username is None:
        return url
    parts = urlsplit(url)
    userinfo = quote(username, safe="")
    if password is not None:
        userinfo += ":" + quote(password, safe="")
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{userinfo}@{host}"))
