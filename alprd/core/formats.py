"""How likely a text is on a region's plates: their usual serials, as data.

A serial is a pattern: ``#`` digit, ``%`` digit but 0, ``@`` letter of the region, ``&`` letter or
digit, a small letter one of the region's codes (counties, cantons, provinces), anything else
itself; ``:2`` behind it means twice as common as one without. A region's first figure is the share
of its plates whose text is the owner's choice, an older series or misread: nothing here is
impossible anywhere, so a format ranks what the picture leaves open and never forbids.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from alprd.core.types import ALPHABET

LETTERS: Final = ALPHABET[10:]
FREE_LETTER: Final = 0.75
"""Share of letters among the characters of a text that follows no serial."""

FREE_LENGTH: Final = (0.002, 0.01, 0.03, 0.07, 0.12, 0.19, 0.27, 0.24, 0.05, 0.01, 0.005)
"""Of such texts, how many have so many characters; the rest are longer."""

SERIALS: Final[Mapping[str, tuple[float, str]]] = {
    "AD": (0.05, "@####"),
    "AE": (0.05, "@#####:4 @####:2 @###:.5 ##:.1 #####:1 ##### #:.1 #######:1"),
    "AR": (0.02, "@@@###:2 @@###@@:3 @###@@@:.5"),
    "AT": (0.15, "a###@@:2 a####@:2 a##@@ a###@ a#####@:2 @@###@@:.5 @@####@:.5"),
    "AU": (0.15, "@@@###:2 @@##@@:3 @@@##@:3 ###@@@:3 #@@#@@:2 #@@@###:2 S###@@@:2 Y@@##@"),
    "BE": (0.08, "%@@@###:5 @@@###:2 ###@@@:1 @####:.2 @@@@###:.1"),
    "BG": (0.03, "@@####@@:3 @####@@:2"),
    "BR": (0.02, "@@@####:3 @@@#@##:3"),
    "BY": (0.03, "####@@#"),
    "CA": (0.12, "@@@@###:4 @@@###:3 @@@####:2 ###@@@:2 @##@@@:2 @@###@:2 @@##@:.2"),
    "CH": (0.02, "c######:4 c#####:3 c####:1 c###:.3"),
    "CL": (0.02, "@@@@##:3 @@####:2"),
    "CN": (0.03, "@#####:2 @@####:2 @#@###:1 @&&&&&:2 @D#####:1 @##@##:.5"),
    "CO": (0.02, "@@@###"),
    "CZ": (0.05, "%@#####:1 %@#####:4 %@@####:2 @@@####:.5"),
    "DE": (0.03, "@@@###:2 @@####:2 @@@####:3 @@@@##:1 @@@@###:3 @@@@####:2 @@@@@##:1 @@@@@###:1"
           " @@#:.1 @@##:.3 @@@##:1 @@@@#:.2 @@###:1 @@@@@#:.2 @@@@##H:.1 @@@@##E:.1 @@@###E:.1"
           " @@@####E:.1 @@@@###E:.1 @@@@###H:.05 @@@@@##E:.05"),
    "DK": (0.08, "@@#####"),
    "EE": (0.06, "###@@@"),
    "ES": (0.02, "####@@@:6 @####@@:1 @@####@@:1 @@####@:.3"),
    "FI": (0.08, "@@@###:4 @@###:1 @@@##:.5 @@##:.2"),
    "FR": (0.03, "@@###@@:6 ####@@##:1 ###@@@##:1 ###@@##:1 ##@@@##:.3"),
    "GB": (0.08, "@@a@@@:9 @###@@@:1 @##@@@:.6 @#@@@:.4 @@@###@:1 @@@##@:.5 @@@#@:.3 @@@####:.3"
           " @@####:.3 @@@###:.4 @@###:.3 @@##:.2 @@#:.2 @####:.2 @###:.2 @##:.2 @#:.1 #@:.1 ##@:.2"
           " ###@:.2 #@@:.2 ##@@:.2 ###@@:.2 ####@:.2 ####@@:.3 #@@@:.2 ##@@@:.2 ###@@@:.2"),
    "GI": (0.03, "G####@:4 G#####:1"),
    "GR": (0.02, "@@@####"),
    "HK": (0.08, "@@####:4 @@###:1 @@##:.2"),
    "HR": (0.05, "h###@@:3 h####@:1 h####@@:3 h###@:.5"),
    "HU": (0.05, "@@@###:3 @@@@###:2"),
    "ID": (0.03, "@####@@@:3 @####@@:3 @@####@@:2 @####@:.5 @@####@@@:1 @###@@:.5"),
    "IE": (0.03, "##i#####:3 ###i####:2 ###i#####:3 ##i####:2 ##i###:.5 ###i###:.5"
           " ##i######:.3 ###i######:.3"),
    "IL": (0.02, "#######:3 ########:2"),
    "IN": (0.03, "i##@@####:6 i##@####:3 i##@@@####:.3 i######:.2 i#@@####:.5"
           " i#@####:.2 i#@@@####:.3"),
    "IS": (0.1, "@@@##:3 @@###:2"),
    "IT": (0.02, "@@###@@:6 @@#####:.5 @@#####@:.2"),
    "JP": (0.02, "#####:1 ######:1 #######:4 ######:2"),
    "KR": (0.02, "######:4 #######:3"),
    "LB": (0.05, "@######:2 @#####:1 ######:.5"),
    "LT": (0.06, "@@@###"),
    "LU": (0.05, "@@####:4 #####:.5 ####:.3"),
    "LV": (0.1, "@@####:5 @@###:1 @@##:.4"),
    "MD": (0.05, "@@@###:3 @@###:.5"),
    "MX": (0.03, "@@@####:4 @@@###@:3 @##@@@:1 ##@@##:.5 @@#####:1 ###@@@:.5"),
    "MY": (0.06, "@@@####:5 @@@###:1 @@####:1 SAA####@:.6 S@@####@:.4 W@@####@:.5 W@####@:.3"
           " @@@##:.3 @@@#:.2 @####:.2 @@###:.3"),
    "NL": (0.02, "@@###@:3 #@@@##:3 ##@@@#:3 @###@@:2 @@@##@:1 ##@@@@:2 @@@@##:1"
           " ##@@##:.3 @@##@@:.3"),
    "NO": (0.06, "@@#####:5 @@####:.5"),
    "NZ": (0.15, "@@@###:4 @@####:2 @@@##@:.2"),
    "PH": (0.05, "@@@####:4 @@@###:4 @@####:.3"),
    "PK": (0.05, "@@@###:3 @@@####:2 @@####:1 @@#####:.3 @@@##:.5"),
    "PL": (0.05, "@@#####:3 @@@####:2 @@####@:2 @@@@###:1 @@##@@#:.3 @@@##@@:1 @@@#@##:.5 @@###@@:1"
           " @@@@##@:.3 @@@#####:.5 @@@##@#:.5"),
    "PS": (0.05, "#######:3 ######:.5"),
    "PT": (0.02, "@@##@@:2 ##@@##:3 ####@@:2 @@####:2"),
    "QA": (0.03, "######:4 #####:1"),
    "RO": (0.01, "r##@@@:8 B###@@@:4 r0#####:.6 B0#####:.3 r#####:.2"),
    "RS": (0.03, "h###@@:3 h####@@:2"),
    "RU": (0.02, "@###@@##:3 @###@@###:4 @@#####:.3"),
    "SE": (0.08, "@@@###:5 @@@##@:3"),
    "SG": (0.02, "S@@####@:5 S@@###@:1 S@####@:1 S@@##@:.2"),
    "SI": (0.06, "h@####:1 h@@###:3 h##@##:1 h@###@:1 h@#@##:.3 h@##@#:.3 h#@###:.3"),
    "SK": (0.05, "@@###@@"),
    "TH": (0.05, "####:3 #####:1 ###:1"),
    "TR": (0.02, "t@####:1 t@@###:2 t@@@##:3 t@@####:1 t@@@###:2 t@#####:.3"),
    "TW": (0.03, "@@@####:3 ####@@:2 @@####:2 #@####:.3"),
    "UA": (0.04, "@@####@@"),
    "US": (0.25, "@@@####:3 ###@@@:3 @@@###:3 #@@@###:.5 ######:1 #######:1 @@####:1 @#####:1"
           " ##@####:.5 @######:.5 #@#####:.5 ####:.3 #####:.3 #####@:.3 &&&&&&:.5"),
    "US-AZ": (0.2, "@@@####:4 ###@@@:2 @@@###:.5"),
    "US-CA": (0.2, "#@@@###:6 #@#####:2 #####@#:2 ###@@@:.5 @@@###:.5"),
    "US-CO": (0.2, "###@@@:2 @@@###:2 @@@@##:3"),
    "US-CT": (0.2, "@@#####:4 ###@@@:3 #@@@@#:1"),
    "US-FL": (0.2, "@@@@##:3 @###@@:2 @@@###:1 ###@@@:1 @@##@@:1 ####@@:.5 @@@#@@:.5"),
    "US-GA": (0.15, "@@@####:5 ###@@@:.3 #####@@:.3"),
    "US-HI": (0.15, "@@@###"),
    "US-IL": (0.25, "@######:2 @@#####:4 #######:2 ######:1 ######@:1"),
    "US-IN": (0.15, "###@@@:3 ###@@:2 ###@:.5 ##@####:1"),
    "US-KS": (0.2, "###@@@:3 ####@@@:1 @@@###:1"),
    "US-MA": (0.15, "#@@@##:3 ###@@#:2 ####@@:2 ###@@@:1"),
    "US-MD": (0.15, "#@@####:5 @@@###:1 ###@###:.3 #####@@:.5"),
    "US-MI": (0.15, "@@@####:4 #@@@##:3 @@@###:.5"),
    "US-MN": (0.15, "###@@@:3 @@@###:3"),
    "US-NC": (0.2, "@@@####"),
    "US-NH": (0.3, "#######:3 ######:1"),
    "US-NJ": (0.15, "@##@@@:3 @@@##@:4 @@###@:.5"),
    "US-NM": (0.15, "###@@@:2 @@@###:1 @@@@##:2"),
    "US-NV": (0.2, "###@@@:2 ###@##:2 ##@###:2"),
    "US-NY": (0.15, "@@@####"),
    "US-OH": (0.2, "@@@####:5 @@##@@:2 @@@###:.3"),
    "US-OR": (0.15, "###@@@:5 @@@###:1"),
    "US-PA": (0.15, "@@@####"),
    "US-TN": (0.15, "@####@:2 ###@@@:2 @@@####:2 @##@@:.3"),
    "US-TX": (0.15, "@@@####:5 @@#@###:3 @##@@@:1 ###@@@:1 #@@@##:.3 @@@@##:.3"),
    "US-UT": (0.15, "@###@@:2 ###@@@:2 @##@:.1 #@##@:.3"),
    "US-VA": (0.25, "@@@####:5 ######:.5 #####@@:.3"),
    "US-WA": (0.15, "@@@####:4 ###@@@:4 @#####@:1"),
    "US-WI": (0.2, "###@@@:3 @@@####:3"),
    "VN": (0.02, "##@#####:4 ##@####:2 ##@######:3 ##@#####:2 ##@@#####:1"),
    "ZA": (0.05, "@@##@@GP:4 @@@###GP:3 @@@###EC @@@###MP @@@###NC @@@###L CA######:2 ND######:1"),
}  # fmt: skip
"""By ISO 3166 code: share of other texts, then the usual serials; not every plate that exists."""

CODES: Final[Mapping[str, Mapping[str, str]]] = {
    "AT": {"a": "W G L S I K WU GU BN MD SL LL B E GM KB VB WE WL WN"},
    "CH": {"c": "AG AI AR BE BL BS FR GE GL GR JU LU NE NW OW SG SH SO SZ TG TI UR VD VS ZG ZH"},
    "GB": {"a": "01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26"
           " 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76"},
    "HR": {"h": "ZG ST RI OS PU ZD VZ KA DU SI SK VK VT KR KZ BJ CK GS IM KC DE DA NA NG OG"
           " PZ SB VU ZU ZZ"},
    "IE": {"i": "C CE CN CW D DL G KE KK KY L LD LH LK LM LS MH MN MO OY RN SO T TN TS W WH WW WX"},
    "IN": {"i": "AN AP AR AS BR CG CH DD DL DN GA GJ HP HR JH JK KA KL LA LD MH ML MN MP MZ NL OD"
           " OR PB PY RJ SK TN TR TS UK UP WB"},
    "RO": {"r": "AB AG AR B BC BH BN BR BT BV BZ CJ CL CS CT CV DB DJ GJ GL GR HD HR IF IL IS MH MM"
           " MS NT OT PH SB SJ SM SV TL TM TR VL VN VS"},
    "RS": {"h": "BG NS NI KG SU ZR PA CA KV KS LE SM SA UE VA VR ZA PO SO SD PI PK JA"},
    "SI": {"h": "LJ MB KR CE KP NM GO SG KK MS PO"},
    "TR": {"t": " ".join(f"{n:02d}" for n in range(1, 82))},
}  # fmt: skip

ISSUED: Final[Mapping[str, str]] = {
    "BG": "ABCEHKMOPTXY",
    "BY": "ABEIKMHOPCTX",
    "CL": "BCDFGHJKLPRSTVWXYZ",
    "ES": "BCDFGHJKLMNPRSTVWXYZ",
    "FR": "ABCDEFGHJKLMNPQRSTVWXYZ",
    "GB": "ABCDEFGHJKLMNOPRSTUVWXYZ",
    "GR": "ABEHIKMNOPTXYZ",
    "IT": "ABCDEFGHJKLMNPRSTVWXYZ",
    "NL": "BDFGHJKLNPRSTVXZ",
    "RO": "ABCDEFGHIJKLMNOPRSTUVWXYZ",
    "RU": "ABEKMHOPCTYX",
    "SE": "ABCDEFGHJKLMNOPRSTUWXYZ",
    "UA": "ABCEHIKMOPTX",
    "ZA": "BCDFGHJKLMNPRSTVWXYZ",
}
"""The letters of a region's serials, where they are not all."""


def text_likelihood(text: str, region: str, free: float | None = None) -> float | None:
    """P(text | region) of a text A-Z0-9; None of a region whose serials are not known here.

    A state that is not listed is answered with its country's serials.

    Args:
        text: what may be on the plate.
        region: its code.
        free: the text's `free_likelihood`, for who asks about many regions.
    """
    known = region if region in SERIALS else region.split("-", maxsplit=1)[0]
    if known not in SERIALS:
        return None
    other = SERIALS[known][0]
    serials = _serials(known).get(len(text), ())
    by_serial = sum([p for pattern, p in serials if pattern.fullmatch(text)])
    free = free_likelihood(text) if free is None else free
    return (1.0 - other) * by_serial + other * free


def follows_serial(text: str, region: str) -> bool:
    """Whether the text is one of the region's usual serials; False where none are known.

    A state that is not listed has its country's.
    """
    known = region if region in SERIALS else region.split("-", maxsplit=1)[0]
    if known not in SERIALS:
        return False
    return any(pattern.fullmatch(text) for pattern, _ in _serials(known).get(len(text), ()))


def free_likelihood(text: str) -> float:
    """P(text) of one that follows no serial: its length, and letters likelier than digits."""
    long_ones = max(1e-4, 1.0 - sum(FREE_LENGTH))
    length = FREE_LENGTH[len(text)] if len(text) < len(FREE_LENGTH) else long_ones
    letters = sum([character in LETTERS for character in text])
    logarithm = letters * math.log(FREE_LETTER / 26) + (len(text) - letters) * math.log(
        (1.0 - FREE_LETTER) / 10
    )
    return length * math.exp(logarithm)


@functools.cache
def _serials(region: str) -> Mapping[int, Sequence[tuple[re.Pattern[str], float]]]:
    """By length of text (pattern, probability of each text that it matches) of its serials."""
    letters, codes = ISSUED.get(region, LETTERS), CODES.get(region, {})
    entries = [entry.partition(":") for entry in SERIALS[region][1].split()]
    weights = [float(weight) if weight else 1.0 for _, _, weight in entries]
    found: dict[int, list[tuple[re.Pattern[str], float]]] = {}
    for (serial, _, _), weight in zip(entries, weights, strict=True):
        if n := _texts(serial, letters, codes):
            pattern = re.compile(_expression(serial, letters, codes))
            for length in _lengths(serial, codes):
                found.setdefault(length, []).append((pattern, weight / sum(weights) / n))
    return found


def _lengths(serial: str, codes: Mapping[str, str]) -> set[int]:
    """How long the texts of a serial are; a region's codes are not all of one length."""
    lengths = {0}
    for character in serial:
        sizes = {len(code) for code in codes[character].split()} if character in codes else {1}
        lengths = {length + size for length in lengths for size in sizes}
    return lengths


def _expression(serial: str, letters: str, codes: Mapping[str, str]) -> str:
    kinds = {"#": "[0-9]", "%": "[1-9]", "@": f"[{letters}]", "&": f"[0-9{letters}]"}
    kinds |= {name: f"(?:{'|'.join(few.split())})" for name, few in codes.items()}
    return "".join(kinds.get(character, character) for character in serial)


def _texts(serial: str, letters: str, codes: Mapping[str, str]) -> float:
    """How many texts a serial stands for."""
    sizes = {"#": 10, "%": 9, "@": len(letters), "&": 10 + len(letters)}
    sizes |= {name: len(few.split()) for name, few in codes.items()}
    return math.prod(float(sizes.get(character, 1)) for character in serial)
