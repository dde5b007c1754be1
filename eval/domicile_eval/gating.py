"""The gate: a suite asked of what serves, or of a candidate, against its baseline."""

from __future__ import annotations

from pathlib import Path

from domicile.bootstrap import Home
from domicile.console import Console
from domicile.errors import UsageError
from domicile.models.offline import require_modules
from domicile.ports import Gate, GateReport, Index
from domicile_eval.baselines import Baseline, read_baseline
from domicile_eval.gate import Verdict, check_comparable, judge
from domicile_eval.measuring import Options, measure
from domicile_eval.results import Run
from domicile_eval.suites import Suite, open_suite

_NEEDED = ("ir_measures", "scipy", "ragas", "rapidfuzz")
"""Without which a gate would fail after minutes of work."""


def open_gate(home: Home, collection: str, suite: str, suites: Path | None, full: bool, console: Console) -> Gate:
    """Get ready to ask a suite of a candidate of this collection.

    Raises:
        UsageError: the suite is not there, is of another collection, or has no baseline of these questions.
        MissingExtra: the ``eval`` extra is not installed.
    """
    require_modules("eval", _NEEDED)
    opened, baseline = open_with_baseline(suite, suites)
    if opened.collection not in (None, collection):
        raise UsageError(f"--gate {suite}: is of collection {opened.collection!r}, not of {collection!r}")

    check_comparable(baseline, opened.hash, collection)

    def ask(candidate: Index) -> GateReport:
        return decide(opened, baseline, measure(home, opened, candidate, console, Options(full=full)).run).report()

    return ask


def open_with_baseline(name: str, root: Path | None) -> tuple[Suite, Baseline]:
    """
    Raises:
        UsageError: there is no such suite, or it has no baseline.
    """
    suite = open_suite(name, root)
    return suite, read_baseline(suite.baseline, suite.name)


def decide(suite: Suite, baseline: Baseline, run: Run) -> Verdict:
    """Whether the run may take the place of what the baseline describes."""
    return judge(baseline, run, suite.floors, metrics=suite.primary)
