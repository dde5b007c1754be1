"""Gates that other packages provide: ``ingest`` asks one, and knows none of them.

Every way in which documents come into a collection, go from it or are cut anew passes the gate of the collection; only an
erasure does not, nor do labels that become narrower, since neither waits for figures.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from domicile.bootstrap import Home
from domicile.console import Console, Show
from domicile.errors import ConfigError, GateFailed, MissingExtra, UsageError
from domicile.ports import Commit, Gate, GateReport, Index, IndexChange
from domicile_ingest.narrowing import Said
from domicile_ingest.progress import Progress, Watch, unwatched
from domicile_ingest.report import Refused
from domicile_ingest.sources import Failure

GROUP = "domicile.gates"
"""The entry-point group in which the evaluation registers itself."""


class OpenGate(Protocol):
    """What is registered."""

    def __call__(
        self, home: Home, collection: str, suite: str, suites: Path | None, full: bool, console: Console
    ) -> Gate:
        """Get ready to ask a suite of a candidate of this collection.

        Args:
            suites: the folder of suites and baselines; ``None``: the checkout's.
            full: generate an answer to every item, not to a fixed part of them.
            console: is shown how far the gate is, and may end it by raising.

        Raises:
            UsageError: the suite is not there, is of another collection, or has no baseline.
            MissingExtra: what it needs is not installed.
        """
        ...


def registered_gate(points: Iterable[EntryPoint] | None = None) -> OpenGate:
    """The one gate that is installed.

    Args:
        points: what is registered in ``GROUP``, where that is known already.

    Raises:
        MissingExtra: there is none, or what it needs is not installed.
        UsageError: two packages provide one.
    """
    found = {point.value: point for point in (entry_points(group=GROUP) if points is None else points)}
    if not found:
        raise MissingExtra("eval", "the evaluation")
    if len(found) > 1:
        raise UsageError(f"several packages provide a gate ({', '.join(sorted(found))}): keep one")
    [point] = found.values()
    try:
        opened: OpenGate = point.load()
    except ModuleNotFoundError as error:
        raise MissingExtra("eval", str(error.name)) from None
    return opened


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command says of the gate.

    Attributes:
        suite: instead of the one that the settings name for the collection.
        ungated: nobody is to be asked, whatever the settings say.
        suites: the folder of suites and baselines.
        full: every answer is generated.
    """

    suite: str | None = None
    ungated: bool = False
    suites: Path | None = None
    full: bool = False


class Gates:
    """The gates of the collections of a home.

    Args:
        open_gate: stands in for the one that is installed.
    """

    def __init__(self, home: Home, asked: Asked = Asked(), open_gate: OpenGate | None = None) -> None:
        self._home = home
        self._asked = asked
        self._open_gate = open_gate

    def suite(self, collection: str) -> str | None:
        """The suite that a new generation of the collection must pass."""
        if self._asked.ungated:
            return None
        return self._home.settings.gate(collection) if self._asked.suite is None else self._asked.suite

    def require(self) -> None:
        """Look whether gates can be asked at all; what is wrong with a suite is told to whoever needs it.

        Raises:
            MissingExtra: a collection has a gate, and the evaluation is not installed.
        """
        for collection in self._home.settings.collections:
            with suppress(UsageError):
                self.open(collection, Heard(unwatched))

    def open(self, collection: str, watch: Heard) -> Gate | None:
        """Get the gate of a collection ready, before anything is ingested.

        Raises:
            UsageError, MissingExtra: it cannot be asked; names the flag or the setting.
        """
        asked, suite = self._asked, self.suite(collection)
        if suite is None:
            return None
        by = f"collections.{collection}.gate" if asked.suite is None else "--gate"
        console = WatchedConsole(self._home.path, json=False, environment=self._home.environment, watch=watch)
        try:
            opened = self._open_gate or registered_gate()
            return opened(self._home, collection, suite, asked.suites, asked.full, console)
        except UsageError as error:
            if asked.suite is not None:
                raise
            raise ConfigError(f"{by} = {suite!r}: {error}") from None
        except MissingExtra as error:
            raise MissingExtra(error.extra, f"{by}: the evaluation") from error


@dataclass(slots=True)
class Heard:
    """A watch that knows what it was told last, so that a gate, which knows nothing of the run, goes on from there."""

    watch: Watch
    last: Progress | None = None
    told: float = field(default_factory=time.monotonic)

    def __call__(self, progress: Progress) -> None:
        self.last, self.told = progress, time.monotonic()
        self.watch(progress)

    def asking(self, done: int, total: int, eta_seconds: float | None) -> None:
        if self.last is not None:
            seconds = self.last.seconds + time.monotonic() - self.told
            questions = {"documents": done, "documents_total": total, "bytes": 0, "bytes_total": 0}
            self.watch(replace(self.last, stage="asking", seconds=seconds, eta_seconds=eta_seconds, **questions))


@dataclass(frozen=True, slots=True)
class WatchedConsole(Console):
    """Shows how far a gate is to the watch of the run; so whoever cancels the run ends its gate."""

    watch: Heard

    @contextmanager
    def bars(self) -> Iterator[Show]:
        def show(stage: str, detail: str, done: int, total: int, eta_seconds: float | None) -> None:
            self.watch.asking(done, total, eta_seconds)

        yield show


def commit_through(
    change: IndexChange,
    gate: Gate | None,
    collection: str,
    failures: Iterable[Failure] = (),
    said: Mapping[str, Said] = MappingProxyType({}),
) -> Commit:
    """Commit a change if its gate lets it pass.

    Args:
        failures: of documents, to be listed with a refusal.
        said: of stored documents, for whoever is to narrow their labels after a refusal.

    Raises:
        Refused: the gate said no; nothing was published.
    """
    if gate is None:
        return change.commit()
    reports: list[GateReport] = []

    def asked(candidate: Index) -> GateReport:
        reports.append(gate(candidate))
        return reports[-1]

    serving = change.current
    try:
        return change.commit(asked)
    except GateFailed as error:
        if not reports:
            raise
        number = 0 if serving is None else serving.generation
        raise Refused(collection, number, reports[-1], tuple(failures), said) from error
