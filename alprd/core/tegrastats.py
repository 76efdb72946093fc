"""One line of tegrastats as values.

The line's form differs with every L4T release, so this is a tokenizer that takes what it knows,
keeps what it does not know verbatim, and says how much of the line it understood. It never raises,
and what the line does not say is None, never 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# The board's input, by what the releases call it; a board without one has no total.
_INPUT_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")
# What tegrastats shows for the temperature of a block that is switched off.
_OFF_C = -256.0
# PMIC@100C is a constant in every release, no measurement.
_CONSTANT_ZONES = frozenset({"pmic"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """RAM, SWAP or IRAM.

    `free_blocks` blocks of `free_block_kb` are the largest free ones ("lfb").
    """

    used_kb: int
    total_kb: int
    free_blocks: int | None = None
    free_block_kb: int | None = None
    cached_kb: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """A CPU core; `online` is None where the line is unintelligible."""

    online: bool | None
    load_pct: int | None = None
    mhz: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The memory controller, a GPU or another engine; several clocks where it has several parts."""

    name: str
    on: bool
    load_pct: int | None = None
    mhz: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A temperature; `c` is None while its block is off. `constant`: not a measurement."""

    name: str
    c: float | None
    max_c: float | None = None
    constant: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rail:
    """A supply's power; several may share one name."""

    name: str
    mw: float
    mean_mw: float
    peak_mw: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TegraSample:
    """What one line says.

    Attributes:
        local_time: the line's own date and time, verbatim; it names no zone.
        unknown: the parts that were not understood, verbatim, in order.
        coverage: understood part of the line's characters, 0..1; None for an empty line.
    """

    local_time: str | None = None
    ram: Memory | None = None
    swap: Memory | None = None
    iram: Memory | None = None
    cores: tuple[Core, ...] = ()
    emc: Unit | None = None
    gpus: tuple[Unit, ...] = ()
    engines: tuple[Unit, ...] = ()
    mts_foreground_pct: int | None = None
    mts_background_pct: int | None = None
    zones: tuple[Zone, ...] = ()
    rails: tuple[Rail, ...] = ()
    unknown: tuple[str, ...] = ()
    coverage: float | None = None

    @property
    def input_mw(self) -> float | None:
        """Power of the whole board; None where no rail measures it (a sum would leave out some)."""
        for name in _INPUT_RAILS:
            for rail in self.rails:
                if rail.name == name:
                    return rail.mw
        return None


_INT = r"[0-9]{1,9}"
_DEC = r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?"
_LIST = rf"\[{_INT}(?:,{_INT})*\]"
_CLOCKS = rf"(?:{_INT}|{_LIST})"
_END = r"(?=\s|$)"

_LOCAL_TIME = re.compile(
    rf"[0-9]{{2}}-[0-9]{{2}}-[0-9]{{4}} [0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}{_END}"
)
_MEMORY = re.compile(
    rf"(?P<name>RAM|SWAP|IRAM) (?P<used>{_INT})/(?P<total>{_INT})(?P<unit>kB|MB)"
    rf"(?: ?\((?:lfb (?:(?P<blocks>{_INT})x)?(?P<block>{_INT})(?P<block_unit>kB|MB)"
    rf"|cached (?P<cached>{_INT})(?P<cached_unit>kB|MB))\))?{_END}"
)
_CPU = re.compile(rf"CPU \[(?P<cores>[^\[\]]*)\](?:@(?P<mhz>{_INT}))?{_END}")
_CORE = re.compile(rf"(?P<load>{_INT})%(?:@(?P<mhz>{_INT}))?")
_MTS = re.compile(rf"MTS fg (?P<fg>{_INT})% bg (?P<bg>{_INT})%{_END}")
_UNIT = re.compile(
    rf"(?P<name>EMC|GR3D[0-9]?|NVENC[0-9]?|NVDEC[0-9]?|NVJPG[0-9]?|MSENC|VIC[0-9]?|OFA[0-9]?"
    rf"|NVDLA[0-9]?|PVA[0-9]?|APE)(?:_FREQ)? "
    rf"(?:(?P<off>off)|(?P<load>{_INT})%(?:@(?P<at>{_CLOCKS}))?|@(?P<only>{_CLOCKS})"
    rf"|(?P<bare>{_INT})){_END}"
)
_ZONE = re.compile(rf"(?P<name>[A-Za-z]\w*)@(?P<c>{_DEC})C(?:/(?P<max>{_DEC})C)?{_END}", re.ASCII)
_RAIL = re.compile(
    rf"(?P<name>[A-Za-z]\w*) (?P<now>{_DEC})(?P<unit>(?:mW)?)/(?P<mean>{_DEC})(?P=unit)"
    rf"(?:/(?P<peak>{_DEC})(?P=unit))?{_END}",
    re.ASCII,
)
_BLANKS = re.compile(r"\s*")
_WORD = re.compile(r"\S+")


def parse_line(line: str) -> TegraSample:
    """The values of a line; total, for any text."""
    found = _Found()
    position = _blanks_end(line, 0)
    while position < len(line):
        end = next((e for e in (take(line, position, found) for take in _TAKERS) if e), None)
        if end is None:
            word = _WORD.match(line, position)
            end = word.end() if word is not None else len(line)
            found.unknown.append(line[position:end])
        position = _blanks_end(line, end)
    return found.sample(line)


def _blanks_end(line: str, position: int) -> int:
    blanks = _BLANKS.match(line, position)
    return blanks.end() if blanks is not None else position


@dataclass(slots=True)
class _Found:
    """What has been found so far."""

    local_time: str | None = None
    memories: dict[str, Memory] = field(default_factory=dict)
    cores: tuple[Core, ...] = ()
    units: list[Unit] = field(default_factory=list)
    mts: tuple[int, int] | None = None
    zones: list[Zone] = field(default_factory=list)
    rails: list[Rail] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def sample(self, line: str) -> TegraSample:
        total = sum(len(word) for word in line.split())
        missed = sum(len(word) for part in self.unknown for word in part.split())
        gpus = tuple(u for u in self.units if u.name.startswith("GR3D"))
        return TegraSample(
            local_time=self.local_time,
            ram=self.memories.get("RAM"),
            swap=self.memories.get("SWAP"),
            iram=self.memories.get("IRAM"),
            cores=self.cores,
            emc=next((u for u in self.units if u.name == "EMC"), None),
            gpus=gpus,
            engines=tuple(u for u in self.units if u.name != "EMC" and u not in gpus),
            mts_foreground_pct=self.mts[0] if self.mts is not None else None,
            mts_background_pct=self.mts[1] if self.mts is not None else None,
            zones=tuple(self.zones),
            rails=tuple(self.rails),
            unknown=tuple(self.unknown),
            coverage=1.0 - missed / total if total else None,
        )


def _take_local_time(line: str, position: int, found: _Found) -> int | None:
    match = _LOCAL_TIME.match(line, position)
    if match is None or found.local_time is not None:
        return None
    found.local_time = match[0]
    return match.end()


def _take_memory(line: str, position: int, found: _Found) -> int | None:
    match = _MEMORY.match(line, position)
    if match is None or match["name"] in found.memories:
        return None
    block = _kb(match["block"], match["block_unit"])
    found.memories[match["name"]] = Memory(
        used_kb=int(match["used"]) * _UNIT_KB[match["unit"]],
        total_kb=int(match["total"]) * _UNIT_KB[match["unit"]],
        # "(lfb 252kB)" is one block.
        free_blocks=None if block is None else int(match["blocks"] or 1),
        free_block_kb=block,
        cached_kb=_kb(match["cached"], match["cached_unit"]),
    )
    return match.end()


_UNIT_KB = {"kB": 1, "MB": 1024}


def _kb(number: str | None, unit: str | None) -> int | None:
    return None if number is None or unit is None else int(number) * _UNIT_KB[unit]


def _take_cpu(line: str, position: int, found: _Found) -> int | None:
    match = _CPU.match(line, position)
    if match is None or found.cores or not match["cores"].strip():
        return None
    cores = []
    for item in match["cores"].split(","):
        core = _CORE.fullmatch(item.strip())
        if core is not None:
            mhz = _number(core["mhz"] or match["mhz"])
            cores.append(Core(online=True, load_pct=int(core["load"]), mhz=mhz))
        elif item.strip() == "off":
            cores.append(Core(online=False))
        else:  # its place counts, so that the others keep their numbers
            cores.append(Core(online=None))
            found.unknown.append(item)
    found.cores = tuple(cores)
    return match.end()


def _take_mts(line: str, position: int, found: _Found) -> int | None:
    match = _MTS.match(line, position)
    if match is None or found.mts is not None:
        return None
    found.mts = int(match["fg"]), int(match["bg"])
    return match.end()


def _take_unit(line: str, position: int, found: _Found) -> int | None:
    match = _UNIT.match(line, position)
    if match is None:
        return None
    clocks = match["at"] or match["only"] or match["bare"]
    found.units.append(
        Unit(
            name=match["name"],
            on=match["off"] is None,
            load_pct=_number(match["load"]),
            mhz=tuple(int(n) for n in clocks.strip("[]").split(",")) if clocks else (),
        )
    )
    return match.end()


def _take_zone(line: str, position: int, found: _Found) -> int | None:
    match = _ZONE.match(line, position)
    if match is None:
        return None
    found.zones.append(
        Zone(
            name=match["name"],
            c=_celsius(match["c"]),
            max_c=_celsius(match["max"]),
            constant=match["name"].lower() in _CONSTANT_ZONES,
        )
    )
    return match.end()


def _take_rail(line: str, position: int, found: _Found) -> int | None:
    match = _RAIL.match(line, position)
    if match is None or match["name"] in _MEMORY_NAMES:
        return None
    found.rails.append(
        Rail(
            name=match["name"],
            mw=float(match["now"]),
            mean_mw=float(match["mean"]),
            peak_mw=None if match["peak"] is None else float(match["peak"]),
        )
    )
    return match.end()


# "RAM 5/7" without a unit is a damaged memory token, not a supply.
_MEMORY_NAMES = frozenset({"RAM", "SWAP", "IRAM"})


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _celsius(text: str | None) -> float | None:
    if text is None or float(text) == _OFF_C:
        return None
    return float(text)


_TAKERS = (
    _take_local_time,
    _take_memory,
    _take_cpu,
    _take_mts,
    _take_unit,
    _take_zone,
    _take_rail,
)
