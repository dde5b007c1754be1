"""The same questions in two runs: how far each metric moved, and on which questions."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from domicile.errors import UsageError
from domicile_eval.metrics import AMOUNTS, LESS_IS_BETTER
from domicile_eval.results import Result, Run
from domicile_eval.statistics import CONFIDENCE, PAIRED_RESAMPLES, Figure, detectable, figure, stratified_gain
from domicile_eval.suites import PRIMARY

PLAIN = "plain"
"""The stratum of questions of no kind, and of the kinds with few of them."""
LEAST = 10
"""Questions of a stratum or a slice: the spread of fewer is not known."""
LARGEST = 1e12
"""No metric is more, nor less than nothing: such a value was written by hand, and sums of it would be no numbers."""
_DIGITS = 6
_MOVED = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One question of a run, reduced to what comparing needs.

    Attributes:
        values: as in ``Result``, rounded as a baseline writes them, so that a written run equals itself.
        ranking: a hash of the first ten chunks; empty where nothing was found.
        failed: it counts as wrong in every metric that it could have.
    """

    id: str
    values: Mapping[str, float]
    kinds: tuple[str, ...] = ()
    ranking: str = ""
    failed: bool = False

    @property
    def kind(self) -> str:
        return self.kinds[0] if self.kinds else PLAIN


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one metric.

    Attributes:
        before, after: means over the questions that have a value in both runs, ``n`` of them.
        difference: after less before, in the metric's own direction.
        confidence: of the interval of ``difference``.
        detectable: the smallest difference that these questions show four times in five; ``None`` where not one differs.
    """

    metric: str
    n: int
    before: float
    after: float
    difference: Figure
    confidence: float
    detectable: float | None

    @property
    def worse(self) -> bool:
        """Whether it is worse than chance explains."""
        return self.difference.low > 0 if self.metric in LESS_IS_BETTER else self.difference.high < 0

    @property
    def better(self) -> bool:
        """Whether it is better than chance explains."""
        return self.difference.high < 0 if self.metric in LESS_IS_BETTER else self.difference.low > 0


@dataclass(frozen=True, slots=True)
class Moved:
    """A question of which a primary metric changed, with its values before and after."""

    id: str
    question: str
    before: Mapping[str, float]
    after: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        moved: the questions that changed most in the primary metrics, worst first.
        only_before, only_after: ids of the questions of one run alone.
        rankings: how many of the questions have other chunks in their first ten.
        notes: what else differs between the runs, a line each.
    """

    changes: tuple[Change, ...]
    moved: tuple[Moved, ...] = ()
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()
    rankings: int = 0
    notes: tuple[str, ...] = field(default=())


def compare(before: Run, after: Run, metrics: Sequence[str] = PRIMARY, resamples: int = PAIRED_RESAMPLES) -> Comparison:
    """Every metric that both runs have.

    Args:
        metrics: the primary ones, which say what changed most.

    Raises:
        UsageError: they have no question in common, or a value is not a number.
    """
    old, new = rows_of(before), rows_of(after)
    both = [key for key in old if key in new]
    if not both:
        raise UsageError(f"{before.suite} and {after.suite}: the runs have no question in common")
    pairs = aligned(old, new)
    names = dict.fromkeys(name for one in pairs for row in one for name in row.values)
    clusters = {result.id: result.cluster for result in after.results}
    changes = [change_of(pairs, name, CONFIDENCE, resamples, clusters) for name in names]
    notes = differing("fingerprint", before.fingerprint, after.fingerprint)
    notes += differing("setting", before.settings, after.settings)
    if before.suite_hash != after.suite_hash:
        notes.insert(0, "the suite changed in between: only questions of the same id are compared")
    return Comparison(
        tuple(change for change in changes if change is not None),
        _most_moved(pairs, {result.id: result.question for result in after.results}, metrics),
        tuple(key for key in old if key not in new),
        tuple(key for key in new if key not in old),
        sum(one.ranking != other.ranking for one, other in pairs),
        tuple(notes),
    )


def rows_of(run: Run) -> dict[str, Row]:
    """The rows of a run by id.

    Raises:
        UsageError: a value is not a number, or an id stands twice.
    """
    rows = {result.id: _row(result) for result in run.results}
    if len(rows) != len(run.results):
        twice, _ = Counter(result.id for result in run.results).most_common(1)[0]
        raise UsageError(f"{run.suite}: question {twice!r} stands in the run twice")
    return rows


def means(rows: Iterable[Row]) -> dict[str, float]:
    """Metric to its mean over the rows that have it, by name."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for metric, value in row.values.items():
            found.setdefault(metric, []).append(value)
    return {metric: round(math.fsum(found[metric]) / len(found[metric]), _DIGITS) for metric in sorted(found)}


def aligned(before: Mapping[str, Row], after: Mapping[str, Row]) -> list[tuple[Row, Row]]:
    """The questions of both runs; one that failed is wrong in every metric that it has in the other run."""
    return [(_filled(row, after[key]), _filled(after[key], row)) for key, row in before.items() if key in after]


def change_of(
    pairs: Sequence[tuple[Row, Row]],
    metric: str,
    confidence: float,
    resamples: int,
    clusters: Mapping[str, str] | None = None,
) -> Change | None:
    """What became of a metric, or ``None`` where no question has it in both runs.

    Args:
        clusters: of each question, where whole ones are drawn, at a confidence of 95 %; else questions are, within their strata.
    """
    found = [(old, new) for old, new in pairs if metric in old.values and metric in new.values]
    if not found:
        return None
    before, after = ([row.values[metric] for row in side] for side in zip(*found, strict=True))
    differences = [one - other for one, other in zip(after, before, strict=True)]
    n, owners = len(found), None if clusters is None else [clusters[old.id] for old, _ in found]
    return Change(
        metric,
        n,
        round(math.fsum(before) / n, _DIGITS),
        round(math.fsum(after) / n, _DIGITS),
        stratified_gain(differences, strata([old for old, _ in found]), resamples, confidence)
        if owners is None
        else figure(differences, resamples, clusters=owners, share=False),
        confidence,
        detectable(differences, confidence, owners),
    )


def strata(rows: Sequence[Row]) -> list[str]:
    """The first kind of each row. Kinds of few rows are drawn with the plain ones: alone they would seem to vary too little."""
    counts = Counter(row.kind for row in rows)
    return [row.kind if counts[row.kind] >= LEAST else PLAIN for row in rows]


def folder_of(uri: str) -> str:
    """The top-level folder of a document's file, empty where it lies in none; what ``!/`` and ``#`` name is in the file."""
    folder, slash, _ = uri.split("!/")[0].split("#")[0].partition("/")
    return folder if slash else ""


def differing(what: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """A line for each name that the two do not say the same of."""
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return [f"{what} {name}: {before.get(name, 'none')} -> {after.get(name, 'none')}" for name in names]


def _row(result: Result) -> Row:
    for metric, value in result.values.items():
        if not 0 <= value <= LARGEST:
            raise UsageError(f"question {result.id!r}: {metric} is {value}, which is no figure: its metric is broken")
    failed = result.failure is not None
    values = {
        metric: wrong(metric) if failed and metric not in AMOUNTS else round(value, _DIGITS)
        for metric, value in result.values.items()
    }
    chunks = "\n".join(result.ranking)
    ranking = hashlib.sha256(chunks.encode("utf-8", "surrogatepass")).hexdigest()[:16] if result.ranking else ""
    return Row(result.id, values, result.kinds, ranking, failed)


def _filled(row: Row, other: Row) -> Row:
    if not row.failed:
        return row
    values = {metric: wrong(metric) for metric in other.values if metric not in AMOUNTS}
    return replace(row, values={**values, **row.values})


def wrong(metric: str) -> float:
    """The value of a question that is wrong."""
    return 1.0 if metric in LESS_IS_BETTER else 0.0


def _most_moved(
    pairs: Sequence[tuple[Row, Row]], questions: Mapping[str, str], metrics: Sequence[str]
) -> tuple[Moved, ...]:
    gains: list[tuple[float, Moved]] = []
    for old, new in pairs:
        both = [metric for metric in metrics if metric in old.values and metric in new.values]
        steps = [new.values[name] - old.values[name] for name in both]
        if any(steps):
            gain = sum(-step if name in LESS_IS_BETTER else step for name, step in zip(both, steps, strict=True))
            values = [{name: row.values[name] for name in both} for row in (old, new)]
            gains.append((gain, Moved(old.id, questions[old.id], *values)))
    most = sorted(gains, key=lambda one: (-abs(one[0]), one[1].id))[:_MOVED]
    return tuple(moved for _, moved in sorted(most, key=lambda one: (one[0], one[1].id)))
