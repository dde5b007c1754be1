"""What every command shares: the common flags, one-line errors, exit codes, JSON output and progress.

``--json`` prints exactly one JSON object on stdout, as the last thing; logs and progress go to stderr.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from domicile.errors import ConfigError, DomicileError, StorageError, UsageError
from domicile.files import storage_errors

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.progress import TaskID

LINE_SECONDS = 10.0


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
            _write(f"{text}\n".translate(_STEERING))

    def note(self, text: str) -> None:
        """A line beside the result: progress, a warning, advice. On stderr."""
        sys.stderr.write(f"{text}\n".translate(_STEERING))
        sys.stderr.flush()

    def result(self, value: Mapping[str, Any]) -> None:
        """The one JSON object; nothing without ``--json``."""
        if self.json:
            text = json.dumps(value, ensure_ascii=False)
            try:
                text.encode(sys.stdout.encoding or "utf-8")
            except UnicodeEncodeError:  # a locale without these letters, or a path that is no text
                text = json.dumps(value)
            _write(f"{text}\n")

    def fail(self, kind: str, line: str, message: str) -> None:
        """What went wrong: one line on stderr, and the one JSON object."""
        self.note(line)
        with suppress(StorageError):  # stdout itself may be what cannot be written
            self.result({"error": {"type": kind, "message": message}})

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show how far one thing is. Yields a function that advances it."""
        done, began = 0, time.monotonic()
        with self.bars() as show:

            def advance(amount: int) -> None:
                nonlocal done
                done += amount
                eta = (time.monotonic() - began) * (total - done) / done if 0 < done <= total else None
                show(what, "", done, total, eta)

            yield advance

    @contextmanager
    def bars(self) -> Iterator[Show]:
        """Show how far something is, stage by stage: bars on a terminal, else a line every ten seconds. On stderr."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        rich = _terminal()
        if not rich.is_terminal:
            yield _Lines(self.note).show
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} {task.fields[left]}  {task.fields[detail]}"),
        )
        with Progress(*columns, console=rich, transient=True) as bars:
            tasks: dict[str, TaskID] = {}

            def show(stage: str, detail: str, done: int, total: int, eta_seconds: float | None) -> None:
                if stage not in tasks:
                    tasks[stage] = bars.add_task(stage, total=total, rate="", left="", detail="")
                left = "" if eta_seconds is None else f"{timedelta(seconds=round(eta_seconds))} left"
                task = bars.tasks[list(tasks).index(stage)]
                rate = f"{done / task.elapsed:,.1f}/s" if done and task.elapsed else ""
                bars.update(tasks[stage], completed=done, total=total, rate=rate, left=left, detail=detail)

            yield show


@cache
def _terminal() -> RichConsole:
    """One for the process, so that bars that are shown while others are stand below them."""
    from rich.console import Console as RichConsole

    return RichConsole(stderr=True)


Show = Callable[[str, str, int, int, float | None], None]
"""Takes the stage, what to say beside it, how much is done and of how much, and the seconds that are left."""


class _Lines:
    """Progress for logs: a line now and then."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._stage = ""
        self._began = self._said = time.monotonic()

    def show(self, stage: str, detail: str, done: int, total: int, eta_seconds: float | None) -> None:
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._began = stage, now
        if now - self._said < LINE_SECONDS:
            return
        self._said = now
        rate = done / (now - self._began) if now > self._began else 0.0
        left = "" if eta_seconds is None else f", about {eta_seconds:,.0f} s left"
        more = f" ({detail})" if detail else ""
        self._note(f"{stage}: {done:,} of {total:,}, {rate:,.1f}/s{left}{more}")


def _write(text: str) -> None:
    """
    Raises:
        StorageError: stdout is a file on a disk that refuses.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # or the interpreter tries again when it ends
        raise StorageError(f"cannot write to standard output: {error.strerror}") from error


def settle_streams() -> None:
    """Make stdout and stderr take any text: closed ones swallow it, narrow encodings escape it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


_STEERING = {code: "\ufffd" for code in (*range(9), *range(11, 32), 127, *range(128, 160))}
"""Control characters: a document's text must not steer the terminal that shows it."""

Command = Callable[[Sequence[str]], int]
Handler = Callable[[argparse.Namespace, Console], int]


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, and leaves the rest to ``--help``."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message} (see {self.prog} --help)")


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
        console.fail(type(error).__name__, f"domicile: {error}", str(error))
        return error.exit_code
    except KeyboardInterrupt:
        console.fail("Interrupted", "domicile: interrupted", "interrupted")
        return 130
    except BrokenPipeError:
        raise
    except Exception:  # a defect of ours: who reads JSON gets an object all the same, and stderr the traceback
        console.fail("InternalError", "domicile: unexpected error, a defect: please report it", "unexpected error")
        raise


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
