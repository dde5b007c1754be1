"""What every command shares: the common flags, one-line errors, exit codes, JSON output and progress.

``--json`` prints exactly one JSON object on stdout, as the last thing; logs and progress go to stderr.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from domicile.errors import ConfigError, DomicileError
from domicile.files import storage_errors


@dataclass(frozen=True, slots=True)
class Console:
    """Where a command runs and how it speaks.

    Attributes:
        home: the home directory, not necessarily there yet.
        json: whether stdout belongs to one JSON object.
        environment: the process environment, for settings and secrets by reference.
    """

    home: Path
    json: bool
    environment: Mapping[str, str]

    def say(self, text: str = "") -> None:
        """A line of the result for people; nothing under ``--json``."""
        if not self.json:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def note(self, text: str) -> None:
        """A line beside the result: progress, a warning, advice. On stderr."""
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def result(self, value: Mapping[str, Any]) -> None:
        """The one JSON object; nothing without ``--json``."""
        if self.json:
            sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
            sys.stdout.flush()

    @contextmanager
    def progress(self, what: str, total: float | None) -> Iterator[Callable[[float], None]]:
        """A bar with rate and ETA on stderr for anything that may take longer than two seconds.

        Yields a function that advances it. Nothing is drawn where stderr is not a terminal.
        """
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        rich = RichConsole(stderr=True)
        with Progress(*columns, console=rich, disable=not rich.is_terminal, transient=True) as bars:
            task = bars.add_task(what, total=total, rate="")

            def advance(amount: float) -> None:
                bars.advance(task, amount)
                if speed := bars.tasks[0].speed:
                    bars.update(task, rate=f"{speed:,.0f}/s")

            yield advance


Command = Callable[[Sequence[str]], int]
Handler = Callable[[argparse.Namespace, Console], int]


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, and leaves the rest to ``--help``."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def common_flags() -> argparse.ArgumentParser:
    """The flags that stand before or after any subcommand; a parent for every parser."""
    flags = argparse.ArgumentParser(add_help=False)
    # SUPPRESS, so that a flag given to the outer parser is not reset to a default by the inner one
    flags.add_argument(
        "--home",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="where everything lives (default: $DOMICILE_HOME or ./.domicile)",
    )
    flags.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print exactly one JSON object on stdout"
    )
    return flags


def parser(prog: str, description: str, examples: str = "") -> argparse.ArgumentParser:
    """A parser with the common flags and, in its help, examples."""
    return OneLineParser(
        prog=prog,
        description=description,
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common_flags()],
    )


def subparser(actions: Any, name: str, handler: Handler, help_text: str, examples: str = "") -> argparse.ArgumentParser:
    """A subcommand of ``parser(...).add_subparsers()`` that runs ``handler``."""
    made: argparse.ArgumentParser = actions.add_parser(
        name,
        help=help_text,
        description=help_text,
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common_flags()],
    )
    made.set_defaults(handler=handler)
    return made


def run(parsed: argparse.Namespace) -> int:
    """Run the handler that the parser chose; every expected error is one line and its exit code."""
    console = Console(
        home=Path(getattr(parsed, "home", None) or os.environ.get("DOMICILE_HOME") or ".domicile").absolute(),
        json=getattr(parsed, "json", False),
        environment=dict(os.environ),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    handler: Handler = parsed.handler
    try:
        with storage_errors(str(console.home)):
            return handler(parsed, console)
    except DomicileError as error:
        console.note(f"domicile: {error}")
        console.result({"error": {"type": type(error).__name__, "message": str(error)}})
        return error.exit_code
    except KeyboardInterrupt:
        console.note("domicile: interrupted")
        return 130
    except BrokenPipeError:
        # the reader of a pipe such as `| head` left; nothing more can be said to it
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
        return 0


def prepare_home(home: Path) -> None:
    """Make the home where it is missing, for its owner only.

    Raises:
        ConfigError: it cannot be made or written.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--home {home}: {error.strerror}: choose a directory that this user may write") from None
    if not os.access(home, os.W_OK | os.X_OK):
        raise ConfigError(f"--home {home}: not writable by this user: choose another or change its owner")
