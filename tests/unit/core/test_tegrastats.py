"""Every release's line is understood; what is not understood is kept, and nothing is invented."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alprd.core.tegrastats import Core, Memory, Rail, TegraSample, Unit, Zone, parse_line

REPOSITORY = Path(__file__).parents[3]
CASES = json.loads((REPOSITORY / "tests" / "data" / "tegrastats" / "lines.json").read_text())
LINES = [case["line"] for case in CASES]
SAMPLES = REPOSITORY.parent / "shared" / "data" / "tegrastats" / "samples.md"


def plain(sample: TegraSample) -> dict[str, Any]:
    """The sample as the fixtures write it."""

    def memory(value: Memory | None) -> list[int | None] | None:
        return None if value is None else list(astuple(value))

    def unit(value: Unit) -> list[Any]:
        return [value.name, value.on, value.load_pct, list(value.mhz)]

    return {
        "local_time": sample.local_time,
        "ram": memory(sample.ram),
        "swap": memory(sample.swap),
        "iram": memory(sample.iram),
        "cores": [[c.online, c.load_pct, c.mhz] for c in sample.cores],
        "emc": None if sample.emc is None else unit(sample.emc),
        "gpus": [unit(u) for u in sample.gpus],
        "engines": [unit(u) for u in sample.engines],
        "mts": [sample.mts_foreground_pct, sample.mts_background_pct],
        "zones": [[z.name, z.c, z.max_c] for z in sample.zones],
        "rails": [[r.name, r.mw, r.mean_mw, r.peak_mw] for r in sample.rails],
        "input_mw": sample.input_mw,
    }


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_line_says_exactly_this(case: dict[str, Any]) -> None:
    sample = parse_line(case["line"])
    found = plain(sample)
    assert {key: found[key] for key in case["expected"]} == case["expected"]
    assert (sample.unknown, sample.coverage) == ((), 1.0)


def real_lines() -> list[str]:
    if not SAMPLES.exists():
        return []
    text = SAMPLES.read_text().partition("## Lines")[2].partition("\n## ")[0]
    return re.findall(r"(?m)^```\n(.*)\n```", text)


@pytest.mark.skipif(not SAMPLES.exists(), reason=f"no recorded lines at {SAMPLES}")
def test_recorded_lines_of_all_releases_are_understood_whole() -> None:
    lines = real_lines()
    assert len(lines) == 24
    unknown = {word for line in lines for word in parse_line(line).unknown}
    assert unknown == {"FUTURE_TOKEN", "value"}  # one line was made to hold them


@pytest.mark.skipif(not SAMPLES.exists(), reason=f"no recorded lines at {SAMPLES}")
def test_recorded_lines_give_every_number_back() -> None:
    """Each number of the line stands in the sample: none was dropped, halved or made up."""
    for line in real_lines():
        sample = parse_line(line.replace(" FUTURE_TOKEN value", ""))
        rest = re.sub(r"^[\d-]+ [\d:]+ ", "", line)
        rest = re.sub(r"\b(RAM|SWAP|IRAM) [^(]*\([^)]*\)", "", rest)
        rest = re.sub(
            r"[A-Za-z_]\w*", " ", re.sub(r"\w+(?=@-?\d|@\[)|\w+_\w+|NV\w+|GR3D\w*", "", rest)
        )
        written = sorted(float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", rest) if n != "-256")
        found: list[float | None] = []
        for core in sample.cores:
            found += [core.load_pct, core.mhz]
        for unit in (*sample.gpus, *sample.engines, *((sample.emc,) if sample.emc else ())):
            found += [unit.load_pct, *unit.mhz]
        for zone in sample.zones:
            found += [zone.c, zone.max_c]
        for rail in sample.rails:
            found += [rail.mw, rail.mean_mw, rail.peak_mw]
        found += [sample.mts_foreground_pct, sample.mts_background_pct]
        assert sorted(float(n) for n in found if n is not None) == written, line


def test_what_is_unknown_stays_verbatim_and_lowers_the_coverage() -> None:
    sample = parse_line("RAM 5/6MB (lfb 1x1MB) NEW_UNIT 7q cpu@41C FUTURE@[")
    assert sample.unknown == ("NEW_UNIT", "7q", "FUTURE@[")
    assert sample.coverage == pytest.approx(25 / 43)
    assert [zone.name for zone in sample.zones] == ["cpu"]


def test_a_damaged_core_keeps_the_others_in_their_places() -> None:
    sample = parse_line("CPU [1%@102,?%@x,3%@104]")
    assert [core.load_pct for core in sample.cores] == [1, None, 3]
    assert sample.cores[1] == Core(online=None)
    assert sample.unknown == ("?%@x",)


@pytest.mark.parametrize(
    "token",
    [
        "RAM 5/7",
        "RAM -5/7MB",
        "RAM 5/MB",
        "CPU []",
        "CPU [1%@102",
        "GR3D_FREQ",
        "GR3D_FREQ %@76",
        "GR3D_FREQ 5%@[76",
        "GR3D_FREQ 5%@[]",
        "NVENC on",
        "GPU@C",
        "GPU@41",
        "GPU@41F",
        "VDD_IN 5/",
        "VDD_IN 5mW/6",
        "VDD_IN 5/6/7/8",
        "MTS fg 1%",
        "EMC_FREQ ٣%",
        "GPU@99999999999999999999C",
    ],
)
def test_a_damaged_token_is_unknown_and_never_a_number(token: str) -> None:
    sample = parse_line(token)
    assert " ".join(sample.unknown) == token
    assert sample.coverage == 0.0
    empty = {k: v for k, v in plain(sample).items() if v not in (None, [], [None, None])}
    assert empty == {}


def test_an_empty_line_says_nothing_about_its_coverage() -> None:
    assert parse_line(" \t ") == TegraSample()


def test_a_load_that_is_not_shown_is_unknown_and_not_zero() -> None:
    (gpu,) = parse_line("GR3D_FREQ @[314,314,314]").gpus
    assert gpu.load_pct is None


def test_a_zone_that_is_off_has_no_temperature() -> None:
    assert parse_line("GPU@-256C").zones == (Zone(name="GPU", c=None),)


def test_the_constant_of_the_power_chip_is_marked() -> None:
    assert [z.constant for z in parse_line("PMIC@50C cpu@50C").zones] == [True, False]


def test_a_negative_temperature_is_a_temperature() -> None:
    assert parse_line("Tboard@-12.5C").zones == (Zone(name="Tboard", c=-12.5),)


def test_the_second_of_a_token_that_can_be_only_once_is_unknown() -> None:
    sample = parse_line("RAM 1/2MB RAM 3/4MB")
    assert sample.ram == Memory(used_kb=1024, total_kb=2048)
    assert sample.unknown == ("RAM", "3/4MB")


def test_a_five_volt_rail_is_not_the_whole_board() -> None:
    sample = parse_line("VIN_SYS_5V0 4025mW/4000mW")
    assert sample.rails == (Rail(name="VIN_SYS_5V0", mw=4025.0, mean_mw=4000.0),)
    assert sample.input_mw is None


@given(st.text())
def test_any_text_is_taken_without_an_error(text: str) -> None:
    sample = parse_line(text)
    assert sample.coverage is None or 0.0 <= sample.coverage <= 1.0


@given(st.sampled_from(LINES), st.data())
def test_a_torn_line_gives_no_value_that_the_whole_line_does_not_give(
    line: str, data: st.DataObject
) -> None:
    words = line.split(" ")
    kept = data.draw(st.integers(0, len(words)))
    torn = parse_line(" ".join(words[:kept]))
    whole = parse_line(line)
    assert set(torn.zones) <= set(whole.zones)
    assert set(torn.rails) <= set(whole.rails)
    assert torn.cores in ((), whole.cores)


def test_a_very_long_line_takes_no_time_to_speak_of() -> None:
    assert parse_line("CPU [" * 3000).coverage == 0.0
    assert len(parse_line("x@1C " * 3000).zones) == 3000


def mutated(line: str, draw: random.Random) -> str:
    """The line after a few damages: bytes lost, doubled, exchanged, torn, spliced or replaced."""
    for _ in range(draw.randint(1, 6)):
        at = draw.randint(0, len(line))
        end = min(len(line), at + draw.randint(0, 12))
        before, chosen, after = line[:at], line[at:end], line[end:]
        line = draw.choice(
            (
                before + after,
                before + chosen + chosen + after,
                before + draw.choice(TOKENS) + after,
                before + chr(draw.randint(0, 0x2FF)) + after,
                before + chosen[::-1] + after,
                before,
                after,
                before + draw.choice(LINES)[at:],
            )
        )
    return line


TOKENS = (
    "off",
    "@",
    "%",
    "C",
    "/",
    "[",
    "]",
    ",",
    " ",
    "0",
    "-",
    ".",
    "mW",
    "MB",
    "-256C",
    "x",
    "٣",
)


def numbers_of(sample: TegraSample) -> list[float]:
    """Every number that the sample holds, in the units of the line."""
    found: list[float | None] = [sample.mts_foreground_pct, sample.mts_background_pct]
    for core in sample.cores:
        found += [core.load_pct, core.mhz]
    for unit in (*sample.gpus, *sample.engines, *((sample.emc,) if sample.emc else ())):
        found += [unit.load_pct, *unit.mhz]
    for zone in sample.zones:
        found += [zone.c, zone.max_c]
    for rail in sample.rails:
        found += [rail.mw, rail.mean_mw, rail.peak_mw]
    return [float(number) for number in found if number is not None]


def memories_of(sample: TegraSample) -> list[int]:
    found = []
    for memory in (sample.ram, sample.swap, sample.iram):
        if memory is not None:
            found += [memory.used_kb, memory.total_kb, memory.free_block_kb, memory.cached_kb]
    return [kb for kb in found if kb is not None]


def assert_nothing_invented(line: str) -> None:
    """Total, honest about its coverage, and no number that does not stand in the line."""
    sample = parse_line(line)
    assert sample.coverage is None or 0.0 <= sample.coverage <= 1.0
    assert all(part in line for part in sample.unknown)
    written = Counter(float(n) for n in re.findall(r"(?a)\d+(?:\.\d+)?", line))
    common = re.search(r"(?a)\]@(\d+)", line)
    for number, times in Counter(map(abs, numbers_of(sample))).items():
        if common is None or number != float(common[1]):  # which stands for every core's clock
            assert times <= written[number], (line, number)
    for kb in memories_of(sample):
        assert written[float(kb)] or (kb % 1024 == 0 and written[kb / 1024]), (line, kb)


@settings(max_examples=1000, deadline=None, database=None)
@given(st.sampled_from(LINES), st.integers(0, 2**64))
def test_a_damaged_line_invents_no_number(line: str, seed: int) -> None:
    assert_nothing_invented(mutated(line, random.Random(seed)))  # noqa: S311 -- no secret


@pytest.mark.soak
@pytest.mark.timeout(1800)
@settings(
    max_examples=200_000,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.sampled_from([*LINES, *real_lines()]), st.integers(0, 2**64))
def test_200000_damaged_lines_of_all_releases_invent_no_number(line: str, seed: int) -> None:
    assert_nothing_invented(mutated(line, random.Random(seed)))  # noqa: S311 -- no secret
