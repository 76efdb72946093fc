"""Whether something keeps the machine's clock right: what the kernel was told by NTP or PTP."""

from __future__ import annotations

import ctypes
from typing import Any, Final

_STA_UNSYNC: Final = 0x40
_MICROSECONDS: Final = 1e-6


class _Timex(ctypes.Structure):
    """The head of struct timex, adjtimex(2); the rest is room for what follows."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def clock_state() -> dict[str, Any] | None:
    """`{"synchronised", "max_error_s"}`; None where the kernel does not tell."""
    timex = _Timex()  # modes 0: nothing is set, everything is told
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):  # no such call in this C library
        return None
    if state < 0:  # a sandbox forbids it
        return None
    synchronised = not timex.status & _STA_UNSYNC
    return {
        "synchronised": synchronised,
        # It grows without bounds while nobody corrects the clock, so it then means nothing.
        "max_error_s": round(timex.maxerror * _MICROSECONDS, 6) if synchronised else None,
    }
