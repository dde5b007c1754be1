"""The gate: whether a run is as good as the baseline, as far as so many questions can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from domicile.errors import UsageError
from domicile.ports import GateReport
from domicile_eval.baselines import Baseline, acceptance, found_nothing
from domicile_eval.comparison import LEAST, Change, Row, aligned, change_of, differing, folder_of, means, rows_of, wrong
from domicile_eval.metrics import HELD, LESS_IS_BETTER
from domicile_eval.results import NOBODY, WRITER, Run
from domicile_eval.statistics import PAIRED_RESAMPLES, chance_of_drop, holm
from domicile_eval.suites import PRIMARY

Lane = Literal["identity", "change"]
Pairs = Sequence[tuple[Row, Row]]
ALARM = 0.05
"""How often all the pooled intervals together may miss, on either side."""
SLICE_ALARM = 0.01
"""How often any of the slices may alarm where nothing changed."""
JUDGE = "judge"
"""The setting that names the model, with its version, that judges answers."""
_NAMED = 5
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class SliceChange:
    """What became of one metric on one kind of questions (``kind table``) or one folder of documents (``folder hr``).

    Attributes:
        difference: after less before, of the means.
        chance: of a drop like this where nothing changed, adjusted for all slices and primary metrics.
    """

    slice: str
    metric: str
    n: int
    difference: float
    chance: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate found.

    Attributes:
        lane: ``identity`` where nothing that rankings depend on changed, so that they have to be the same.
        figures: metric to its mean in the run.
        changes: of every metric that both have; a primary one's interval is that of the decision, see ``judge``.
        findings: what is wrong, a line each.
        notes: what whoever reads the figures should know, a line each.
    """

    suite: str
    suite_hash: str
    lane: Lane
    questions: int
    figures: Mapping[str, float]
    changes: tuple[Change, ...]
    slices: tuple[SliceChange, ...]
    findings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        return {"passed": self.passed, **asdict(self)}

    def report(self) -> GateReport:
        """What is kept with a generation."""
        detectable = {change.metric: change.detectable for change in self.changes}
        return GateReport(
            self.suite,
            self.suite_hash,
            self.passed,
            self.lane,
            self.figures,
            self.findings,
            {metric: effect for metric, effect in detectable.items() if effect is not None},
        )


def judge(
    baseline: Baseline,
    run: Run,
    floors: Mapping[str, float],
    *,
    metrics: Sequence[str] = PRIMARY,
    resamples: int = PAIRED_RESAMPLES,
) -> Verdict:
    """Compare a run with the baseline.

    Where the fingerprints are equal, the first ten chunks of every question must be the same (identity lane). In either lane a
    run fails where

    - a primary metric is lower over all questions, beyond chance. The intervals of the ``k`` primary metrics hold together with
      95 % confidence: each is one of ``1 - 0.05 / k`` (Bonferroni), and fails where all of it is below zero and a permutation
      test agrees, which of less than half a dozen questions it never does. So a run as good as the baseline fails here at most
      once in forty, in so far as its questions are right or wrong independently;
    - a primary metric is lower on a slice: a kind of questions or a top-level folder of the documents that answer them, of ten
      questions or more; one-sided permutation test, p < .01 after Holm over all slices and primary metrics;
    - nothing is left of a primary metric, and more than half of the questions lost it: so do suites fail that have too few
      questions for a test;
    - a floor is broken;
    - another model judges than judged the baseline, or the language model wrote answers in the baseline and is silent now;
    - every question failed, or none that documents answer found anything, also where that was so in the baseline;
    - a document that answers a question is not in the generation any more, though it was in the baseline's;
    - a question failed that did not fail in the baseline, or was not asked, or has no value of a primary metric any more;
    - a question is not in the baseline: the suite is the same, so the baseline is of a part of it.

    A slice of which fewer than about twelve questions fell cannot fail alone: chance does as much too often.

    Args:
        floors: metric to the least mean, or the largest where less is better.
        metrics: the primary ones.
        resamples: fewer than a hundred for each slice, and no slice can fail.

    Raises:
        UsageError: they cannot be compared: another suite or collection, a value that is not a number, no primary metric.
    """
    check_comparable(baseline, run.suite_hash, run.collection)
    new = rows_of(run)
    pairs = aligned(baseline.rows, new)
    now = {**new, **{row.id: row for _, row in pairs}}
    primary = [name for name in metrics if any(name in old.values and name in row.values for old, row in pairs)]
    if not primary:
        raise UsageError(
            f"suite {run.suite!r}: no question has {' or '.join(metrics)} in both the run and the baseline"
        )
    names = dict.fromkeys((*primary, *sorted({name for _, row in pairs for name in row.values})))
    confidence = {name: 1 - ALARM / (len(primary) if name in primary else 1) for name in names}
    # Questions are drawn one by one here, though what is shown of a run draws those about one document together. Of 1,000
    # comparisons of equal sides (tests/gate) 32 alarm where a coin is thrown for each question, and 100 where it is thrown
    # for each document. With signs flipped by document it would be 39 of these; but then three more of the planted faults pass
    # (a stale generation, outdated editions that are quoted, missing documents), and slices of few documents cannot fail.
    found = (change_of(pairs, name, confidence[name], resamples) for name in names)
    changes = tuple(change for change in found if change is not None)
    slices = _slices(pairs, _folders(run), primary, resamples)
    figures = means(now.values())
    lane: Lane = "identity" if baseline.fingerprint == run.fingerprint else "change"
    moved = [old.id for old, row in pairs if old.ranking != row.ranking]
    findings = [
        *([_unlike(moved, len(pairs), run.suite)] if lane == "identity" and moved else ()),
        *_other_judge(baseline, run),
        *_nothing_judged(baseline, run),
        *_missing(baseline, now, metrics),
        *(line for change in changes if change.metric in primary for line in _pooled(pairs, change)),
        *(_slice_fell(one) for one in slices if one.chance < SLICE_ALARM),
        *broken(floors, figures),
    ]
    return Verdict(
        run.suite,
        run.suite_hash,
        lane,
        len(new),
        figures,
        changes,
        slices,
        tuple(findings),
        tuple(_notes(baseline, run, now, moved)),
    )


def check_comparable(baseline: Baseline, suite_hash: str, collection: str) -> None:
    """What can be known before minutes of work.

    Raises:
        UsageError: the baseline is of other questions, or of another collection.
    """
    if baseline.suite_hash != suite_hash:
        raise UsageError(
            f"suite {baseline.suite!r} changed since the baseline: look at the run, then accept a new one with "
            f"{acceptance(baseline.suite)}"
        )
    if baseline.collection != collection:
        raise UsageError(
            f"the baseline of suite {baseline.suite!r} is of collection {baseline.collection!r}, the run of {collection!r}"
        )


def _slices(
    pairs: Pairs, folders: Mapping[str, frozenset[str]], primary: Sequence[str], resamples: int
) -> tuple[SliceChange, ...]:
    found: list[SliceChange] = []
    for metric in primary:
        both = [(old, new) for old, new in pairs if metric in old.values and metric in new.values]
        tags = [{f"kind {kind}" for kind in old.kinds} | folders[old.id] for old, _ in both]
        names = [name for name in sorted(set().union(*tags)) if sum(name in own for own in tags) >= LEAST]
        if not names:
            continue
        members = np.array([[name in own for name in names] for own in tags])
        steps = np.array([new.values[metric] - old.values[metric] for old, new in both])
        chances = chance_of_drop((-steps if metric in LESS_IS_BETTER else steps).tolist(), members, resamples)
        found += [
            SliceChange(name, metric, int(inside.sum()), round(float(steps[inside].mean()), 6), float(chance))
            for name, inside, chance in zip(names, members.T, chances, strict=True)
        ]
    adjusted = holm([one.chance for one in found])
    return tuple(
        SliceChange(one.slice, one.metric, one.n, one.difference, round(chance, 6))
        for one, chance in zip(found, adjusted, strict=True)
    )


def _folders(run: Run) -> dict[str, frozenset[str]]:
    return {
        result.id: frozenset(f"folder {folder}" for uri in result.gold if (folder := folder_of(uri)))
        for result in run.results
    }


def _other_judge(baseline: Baseline, run: Run) -> list[str]:
    before, now = baseline.settings.get(JUDGE), run.settings.get(JUDGE)
    if before is None or now is None or before == now:
        return []
    return [
        f"the judge is {now}, and was {before}: what two judges say cannot be compared; accept the new one with "
        f"{acceptance(run.suite)}"
    ]


def _nothing_judged(baseline: Baseline, run: Run) -> list[str]:
    """What a comparison alone would let pass, because there is nothing left to compare."""
    found = []
    if all(result.failure is not None for result in run.results):
        found.append("every question failed: nothing was measured")
    elif found_nothing(run):
        found.append("no question that has an answer found anything")
    if run.settings.get(WRITER) == NOBODY and baseline.settings.get(WRITER, NOBODY) != NOBODY:
        found.append(
            "the language model wrote answers in the baseline and wrote none now: it is missing, damaged or slow"
        )
    return found


def _missing(baseline: Baseline, now: Mapping[str, Row], metrics: Sequence[str]) -> list[str]:
    found: list[str] = []
    if gone := [key for key in baseline.rows if key not in now]:
        found.append(f"{_counted(gone)} of the baseline {_was(gone)} not asked: {_few(gone)}")
    if more := [key for key in now if key not in baseline.rows]:
        found.append(
            f"{_counted(more)} {_was(more)} not in the baseline, which is of a part of the suite: {_few(more)}; make it anew "
            f"with {acceptance(baseline.suite)}"
        )
    if lost := [
        key for key, row in now.items() if not row.failed and row.values.get(HELD, 1.0) < _before(baseline, key, HELD)
    ]:
        found.append(f"{_counted(lost)} lost a document that answers: {_few(lost)}")
    if failed := [key for key, row in now.items() if row.failed and not _failed(baseline, key)]:
        found.append(f"{_counted(failed)} failed: {_few(failed)}")
    for metric in metrics:
        kept = [key for key, row in baseline.rows.items() if key in now and metric in row.values]
        if none := [key for key in kept if metric not in now[key].values]:
            found.append(
                f"{_counted(none)} had a value of {metric} in the baseline and {_has(none)} none now: {_few(none)}"
            )
    return found


def _before(baseline: Baseline, key: str, metric: str) -> float:
    return baseline.rows[key].values.get(metric, 0.0) if key in baseline.rows else 0.0


def _failed(baseline: Baseline, key: str) -> bool:
    return key in baseline.rows and baseline.rows[key].failed


def broken(floors: Mapping[str, float], figures: Mapping[str, float]) -> list[str]:
    """A line for each floor that the figures break, or have no value for."""
    found: list[str] = []
    for metric, floor in sorted(floors.items()):
        value, less = figures.get(metric), metric in LESS_IS_BETTER
        if value is None:
            found.append(
                f"floor {metric}: no question has a value, at {'most' if less else 'least'} {floor:g} is asked for"
            )
        elif not (
            value <= floor + _SAME if less else value >= floor - _SAME
        ):  # so that a floor that is no number breaks
            found.append(f"floor {metric}: {value:.4f} is {'above' if less else 'below'} {floor:g}")
    return found


def _unlike(moved: Sequence[str], of: int, suite: str) -> str:
    return (
        f"{len(moved)} of {of} rankings differ, although nothing that they depend on changed (first {_few(moved)}): "
        f"where the search was changed on purpose, accept it with {acceptance(suite)}"
    )


def _pooled(pairs: Pairs, change: Change) -> list[str]:
    steps = [
        new.values[change.metric] - old.values[change.metric]
        for old, new in pairs
        if change.metric in old.values and change.metric in new.values
    ]
    gains = [-step for step in steps] if change.metric in LESS_IS_BETTER else steps
    if change.worse and _unlikely(gains):
        return [_fell(change)]
    if change.after == wrong(change.metric) and 2 * sum(gain < 0 for gain in gains) > len(gains):
        return [
            f"{change.metric} has nothing left: {change.before:.4f} -> {change.after:.4f} over {change.n} questions"
        ]
    return []


def _unlikely(gains: Sequence[float]) -> bool:
    """Whether a permutation test agrees: of a handful of questions the bootstrap alone is too sure."""
    return float(chance_of_drop(gains, np.ones((len(gains), 1), dtype=np.bool_))[0]) <= ALARM / 2


def _fell(change: Change) -> str:
    step, which = change.difference, "rose" if change.metric in LESS_IS_BETTER else "fell"
    return (
        f"{change.metric} {which} by {abs(step.value):.4f} [{step.low:+.4f}, {step.high:+.4f}] over {change.n} questions: "
        f"{change.before:.4f} -> {change.after:.4f}"
    )


def _slice_fell(one: SliceChange) -> str:
    which = "rose" if one.metric in LESS_IS_BETTER else "fell"
    return f"slice {one.slice}: {one.metric} {which} by {abs(one.difference):.4f} over {one.n} questions (p = {one.chance:.4f})"


def _notes(baseline: Baseline, run: Run, now: Mapping[str, Row], moved: Sequence[str]) -> list[str]:
    notes = differing("fingerprint", baseline.fingerprint, run.fingerprint)
    notes += differing("setting", baseline.settings, run.settings)
    if moved:
        notes.append(f"{_counted(moved)} {_has(moved)} other chunks among the first ten")
    if failed := [key for key, row in now.items() if row.failed and _failed(baseline, key)]:
        notes.append(
            f"{_counted(failed)} failed as in the baseline, and {_was(failed)} counted as wrong: {_few(failed)}"
        )
    return notes


def _counted(ids: Sequence[str]) -> str:
    return f"{len(ids)} question{'s' if len(ids) > 1 else ''}"


def _was(ids: Sequence[str]) -> str:
    return "were" if len(ids) > 1 else "was"


def _has(ids: Sequence[str]) -> str:
    return "have" if len(ids) > 1 else "has"


def _few(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (", ..." if len(ids) > _NAMED else "")
