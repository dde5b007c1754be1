"""Gates that other packages provide: ``ingest`` asks one, and knows none of them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol

from domicile.bootstrap import Home
from domicile.console import Console
from domicile.errors import MissingExtra, UsageError
from domicile.ports import Gate

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

        Raises:
            UsageError: the suite is not there, is of another collection, or has no baseline.
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
        raise MissingExtra("eval", "--gate: the evaluation")
    if len(found) > 1:
        raise UsageError(f"--gate: several packages provide a gate ({', '.join(sorted(found))}): keep one")
    [point] = found.values()
    try:
        opened: OpenGate = point.load()
    except ModuleNotFoundError as error:
        raise MissingExtra("eval", f"--gate: {error.name}") from None
    return opened
