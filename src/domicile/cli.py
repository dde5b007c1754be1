"""The root command. Built-in commands and those of other packages are imported only when they are chosen."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from domicile import __version__
from domicile.console import Command, Console, settle_streams
from domicile.errors import UsageError

BUILT_IN = {
    "ask": "ask a collection; the answer comes with checked quotes",
    "audit": "verify the signed log of answers and of what left, or export evidence from it",
    "collections": "list the collections of this home",
    "cost": "report tokens and money of answers, and project a month of them",
    "generations": "list, verify or roll back the generations of a collection",
    "keys": "create or revoke API keys",
    "models": "build, verify or list the model artefacts",
    "receipts": "show or verify the signed record of an answer",
    "policy": "check where bytes may go, and explain why they went there",
    "search": "find the passages that fit a question",
    "serve": "serve the OpenAI-compatible API",
}
PLUGGED_IN_HELP = {"ingest": "bring documents into a collection", "eval": "measure retrieval and answers"}


def plugged_in() -> dict[str, EntryPoint]:
    """The commands that other packages register in the entry-point group ``domicile.commands``."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group="domicile.commands"):
        earlier = found.get(point.name)
        if point.name in BUILT_IN or (earlier is not None and earlier.value != point.value):
            raise SystemExit(f"domicile: two packages provide the command {point.name!r}")
        found[point.name] = point
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``domicile``; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    settle_streams()
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except UsageError as error:
        Console(Path(), "--json" in arguments, {}).fail("UsageError", str(error), str(error))
        return error.exit_code
    except BrokenPipeError:
        # the reader of a pipe such as `| head` left; nothing more can be said to it
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
        return 0


def _run(arguments: list[str]) -> int:
    points = plugged_in()
    flags, rest = _leading_flags(arguments)
    if rest and rest[0] in ("--version", "-V"):
        sys.stdout.write(f"domicile {__version__}\n")
        return 0
    name = rest[0] if rest else "--help"
    commands = ", ".join(sorted({*BUILT_IN, *points}))
    if not rest and "--json" in flags:
        raise UsageError(f"domicile: no command: use one of {commands}")
    if name in ("--help", "-h", "help"):
        sys.stdout.write(_help(points))
        sys.stdout.flush()
        return 0 if rest else 2
    if name not in BUILT_IN and name not in points:
        raise UsageError(f"domicile: there is no command {name!r}: use one of {commands}")
    from domicile.bootstrap import guard_sockets

    guard_sockets()
    command: Command = import_module(f"domicile.commands.{name}").main if name in BUILT_IN else points[name].load()
    return command([*flags, *rest[1:]])


def _leading_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split off ``--home DIR`` and ``--json`` where they stand before the command."""
    position = 0
    while position < len(arguments):
        if arguments[position] == "--home":
            position += 2
        elif arguments[position] == "--json" or arguments[position].startswith("--home="):
            position += 1
        else:
            break
    return list(arguments[:position]), list(arguments[position:])


def _help(points: dict[str, EntryPoint]) -> str:
    commands = BUILT_IN | {name: PLUGGED_IN_HELP.get(name, "") for name in points}
    lines = [f"  {name:<12} {commands[name]}" for name in sorted(commands)]
    return "\n".join(
        [
            "usage: domicile [--home DIR] [--json] COMMAND ...",
            "",
            "Answers over your documents, with checked quotes and a guarantee of where each byte may travel.",
            "",
            *lines,
            "",
            "`domicile COMMAND --help` explains each with examples.",
            "",
        ]
    )
