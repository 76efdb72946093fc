"""Prints the completion for bash, from the command line's own parsers."""

from __future__ import annotations

import argparse
import sys

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
    local options
    case $command in
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


def main() -> None:
    """Write it to standard output."""
    parser = build_parser()
    subparsers = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    commands: dict[str, argparse.ArgumentParser] = dict(subparsers.choices)
    taking: dict[str, list[str]] = {"_filedir": [], "_filedir -d": [], "": []}
    options: dict[str, list[str]] = {}
    for name, command in commands.items():
        options[name] = []
        for action in command._actions:
            options[name] += action.option_strings
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
    for name, known in options.items():
        text += f"        {name}) options='{' '.join(known)}' ;;\n"
    sys.stdout.write(text + TAIL)


if __name__ == "__main__":
    main()
