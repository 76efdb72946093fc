"""Prints the completion for bash, from the command line's own parsers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from alprd.cli import build_parser

# What an option takes when it is a file or a folder; everything else is typed by hand.
FILES = ("FILE", "PATH", "SOURCE")
FOLDERS = ("DIR",)

HEAD = """\
# bash completion for alprd

_alprd()
{
    local cur prev words cword
    _init_completion || return
    local command=${words[1]}
    case $prev in
"""
MIDDLE = """\
    esac
    if [[ $cword -eq 1 ]]; then
        COMPREPLY=($(compgen -W '@COMMANDS@' -- "$cur"))
        return
    fi
"""
SECOND = """\
    if [[ $cword -eq 2 && $command == @COMMAND@ ]]; then
        COMPREPLY=($(compgen -W '@COMMANDS@ --help' -- "$cur"))
        return
    fi
"""
CASE = """\
    local options
    case "$command ${words[2]}" in
"""
TAIL = """\
        *) return ;;
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
    else
        _filedir
    fi
} &&
    complete -F _alprd alprd
"""


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Name to parser of every command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def leaves(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """What stands behind `alprd`, as a pattern of `case`, and the parser of what runs."""
    for name, command in subcommands(parser).items():
        own = subcommands(command)
        yield from (("'" + f"{name} {n}'", each) for n, each in own.items())
        if not own:
            yield f"'{name} '*", command


def main() -> None:
    """Write it to standard output."""
    parser = build_parser()
    commands = subcommands(parser)
    taking: dict[str, list[str]] = {"_filedir": [], "_filedir -d": [], "": []}
    options: dict[str, list[str]] = {}
    for pattern, command in leaves(parser):
        options[pattern] = []
        for action in command._actions:
            options[pattern] += action.option_strings
            if action.option_strings and action.nargs != 0:
                completes = (
                    "_filedir"
                    if action.metavar in FILES
                    else "_filedir -d"
                    if action.metavar in FOLDERS
                    else ""
                )
                taking[completes] += action.option_strings
    text = HEAD
    for completes, names in taking.items():
        if names:
            does = f"{completes}; return" if completes else "return"
            text += f"        {'|'.join(sorted(set(names)))}) {does} ;;\n"
    text += MIDDLE.replace("@COMMANDS@", " ".join([*commands, "--help", "--version"]))
    for name, command in commands.items():
        if own := subcommands(command):
            text += SECOND.replace("@COMMAND@", name).replace("@COMMANDS@", " ".join(own))
    text += CASE
    for pattern, known in options.items():
        text += f"        {pattern}) options='{' '.join(known)}' ;;\n"
    sys.stdout.write(text + TAIL)


if __name__ == "__main__":
    main()
