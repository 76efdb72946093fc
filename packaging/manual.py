"""Writes the manual pages from the command line's own parsers and from the commented configuration.

manual.py FOLDER, with an interpreter that can import alprd, in the root of the source.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from alprd import __version__
from alprd.cli import build_parser

KEY = re.compile(r"^#?([a-z_]+) = (.*)$")
TABLE = re.compile(r"^#?(\[+[a-z_.]+\]+)$")

FILES = """\
.SH FILES
.TP
.I /etc/alprd/alprd.toml
The configuration, see
.BR alprd.toml (5).
.TP
.I /etc/alprd/conf.d/*.toml
Drop-ins, laid over it in the order of their names.
.TP
.I /var/lib/alprd/outbox.sqlite
Events that no broker has acknowledged yet.
.TP
.I /var/cache/alprd/engines
TensorRT engines that were built on this device.
"""
EXIT = """\
.SH EXIT STATUS
0 done, 1 failed, 2 usage, 78 bad configuration, 130 interrupted.
"""


def roff(text: str) -> str:
    """Text as troff takes it for text."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return re.sub(r"^\.", r"\\&.", text, flags=re.MULTILINE)


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Name to parser of every command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Positional arguments and options, a tagged paragraph each."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        value = action.metavar or action.dest.upper()
        shown = value if isinstance(value, str) else value[0]
        if not action.option_strings:
            tag = f"\\fI{roff(shown)}\\fR"
        else:
            tag = ", ".join(f"\\fB{roff(option)}\\fR" for option in action.option_strings)
            if action.nargs != 0:
                tag += f" \\fI{roff(shown)}\\fR"
        yield f".TP\n{tag}\n{roff(action.help or '')}\n"


def command_page(parser: argparse.ArgumentParser, summary: str) -> str:
    """The page of one command."""
    name = parser.prog
    dashed = name.replace(" ", "-")
    usage = " ".join(parser.format_usage().split()).removeprefix(f"usage: {name}").strip()
    parts = [
        f'.TH {dashed.upper()} 1 "" "alprd {__version__}" "alprd"\n',
        f".SH NAME\n{roff(dashed)} \\- {roff(summary)}\n",
        f".SH SYNOPSIS\n.B {name}\n{roff(usage)}\n",
        f".SH DESCRIPTION\n{roff(parser.description or '')}\n",
        ".SH OPTIONS\n",
        *options(parser),
    ]
    commands = subcommands(parser)
    if commands:
        parts.append(".SH COMMANDS\n")
        parts += [
            f".TP\n.BR {roff(dashed)}\\-{roff(n)} (1)\n{roff(summaries(parser)[n])}\n"
            for n in commands
        ]
    parts += [FILES, EXIT, ".SH SEE ALSO\n"]
    others = [dashed.rpartition("-")[0]] if name != "alprd" else []
    others += [f"{dashed}-{n}" for n in commands]
    parts.append(
        ",\n".join(f".BR {roff(other)} (1)" for other in others) + ",\n.BR alprd.toml (5)\n"
    )
    return "".join(parts)


def pages(parser: argparse.ArgumentParser, summary: str) -> Iterator[tuple[str, str]]:
    """File name and text for a command, for its own commands, and so on."""
    yield f"{parser.prog.replace(' ', '-')}.1", command_page(parser, summary)
    lines = summaries(parser)
    for name, each in subcommands(parser).items():
        yield from pages(each, lines[name])


def summaries(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Name to one line of every command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return {choice.dest: choice.help or "" for choice in action._choices_actions}
    return {}


def settings_page(reference: str) -> str:
    """The page of the configuration, from the comments of the reference configuration."""
    parts = [
        f'.TH ALPRD.TOML 5 "" "alprd {__version__}" "alprd"\n',
        ".SH NAME\nalprd.toml \\- configuration of the licence plate recognition daemon\n",
        ".SH SYNOPSIS\n.I /etc/alprd/alprd.toml\n.br\n.I /etc/alprd/conf.d/*.toml\n",
        ".SH DESCRIPTION\n",
    ]
    remarks: list[str] = []
    in_tables = False
    for line in reference.splitlines():
        setting, table = KEY.match(line), TABLE.match(line)
        if setting:
            if not in_tables:
                parts.append(".SH SETTINGS\n")
                in_tables = True
            key, value = setting.groups()
            parts.append(f".TP\n\\fB{key}\\fR = {roff(value)}\n{roff(' '.join(remarks))}\n")
            remarks = []
        elif table:
            text = f"{roff(' '.join(remarks))}\n" if remarks else ""
            parts.append(f".SH {roff(table[1])}\n{text}")
            in_tables, remarks = True, []
        elif line.startswith("#"):
            remarks.append(line.removeprefix("#").removeprefix(" "))
        elif remarks:  # what stands before the first setting, laid out by hand
            parts.append(".PP\n.nf\n" + "".join(f"{roff(each)}\n" for each in remarks) + ".fi\n")
            remarks = []
    parts.append(".SH SEE ALSO\n.BR alprd (1),\n.BR alprd\\-check\\-config (1)\n")
    return "".join(parts)


def main(folder: str) -> None:
    """Write every page."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    for name, page in pages(build_parser(), "licence plate recognition daemon and tools"):
        (out / name).write_text(page)
    (out / "alprd.toml.5").write_text(settings_page(Path("etc/alprd.toml").read_text()))


if __name__ == "__main__":
    main(*sys.argv[1:])
