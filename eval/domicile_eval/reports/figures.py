"""The figures of a run beside what they were before, over all items and slice by slice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from domicile_eval.baselines import Baseline
from domicile_eval.comparison import Change, Row, aligned, change_of, folder_of
from domicile_eval.gate import Verdict
from domicile_eval.metrics import AMOUNTS, LESS_IS_BETTER, figure_of
from domicile_eval.reports.metric_names import in_order
from domicile_eval.results import Result, Run
from domicile_eval.statistics import CONFIDENCE, PAIRED_RESAMPLES, RESAMPLES, Figure

MAX_FOLDERS = 12
OTHER_FOLDERS = "other folders"

Rows = Mapping[str, Row]
_Items = Sequence[tuple[Result, Row]]


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric over ``n`` items.

    Attributes:
        change: against the same items before; ``None`` where there are none.
        unknown: items whose value was no number; they count as wrong.
    """

    metric: str
    now: Figure
    n: int
    change: Change | None = None
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class Slice:
    """Items that have something in common: ``group`` says what, such as ``kind``; ``all`` has one slice, of every item."""

    group: str
    name: str
    measured: Measured


def rows_before(before: Run | Baseline | None) -> Rows:
    """Its items by id; empty where there was nothing before."""
    if isinstance(before, Baseline):
        return before.rows
    return {} if before is None else {result.id: row_of(result) for result in before.results}


def row_of(result: Result) -> Row:
    """The item as it counts: one that failed, and a value that is no number, is wrong, and tells nothing of time and cost."""
    failed = result.failure is not None
    values: dict[str, float] = {}
    for metric, value in result.values.items():
        if math.isfinite(value) and not (failed and metric not in AMOUNTS):
            values[metric] = value
        elif metric not in AMOUNTS:
            values[metric] = 1.0 if metric in LESS_IS_BETTER else 0.0
    return Row(result.id, values, result.kinds, "", failed)


def measured(run: Run, before: Rows, judged: Verdict | None) -> list[Measured]:
    """Every metric that some item has, in the order in which they are read; changes as a gate judged them, where one did."""
    metrics = sorted({metric for result in run.results for metric in result.values}, key=in_order)
    known = {change.metric: change for change in judged.changes} if judged else {}
    items = [(result, row_of(result)) for result in run.results]
    found = (_measure(metric, items, before, PAIRED_RESAMPLES, known.get(metric)) for metric in metrics)
    return [one for one in found if one is not None]


def slices(run: Run, before: Rows, metric: str) -> list[Slice]:
    """The metric over all items, by kind, by split and by the top folder of the gold documents."""
    return [
        Slice(group, name, found)
        for group, members in _members(run).items()
        for name, items in members.items()
        if (found := _measure(metric, items, before, RESAMPLES)) is not None
    ]


def moved(found: Sequence[Slice]) -> list[Slice]:
    """Those that changed more than chance explains, the worst first."""
    sure = [(change, one) for one in found if (change := one.measured.change) and (change.worse or change.better)]
    return [one for _, one in sorted(sure, key=lambda pair: (pair[0].better, -abs(pair[0].difference.value)))]


def _measure(metric: str, items: _Items, before: Rows, resamples: int, change: Change | None = None) -> Measured | None:
    rows = {row.id: row for _, row in items if metric in row.values}
    if not rows:
        return None
    clusters = {result.id: result.cluster for result, _ in items}
    unknown = sum(not math.isfinite(result.values.get(metric, 0.0)) for result, _ in items)
    change = change or change_of(aligned(before, rows), metric, CONFIDENCE, resamples, clusters)
    now = figure_of(metric, [row.values[metric] for row in rows.values()], [clusters[key] for key in rows])
    return Measured(metric, now, len(rows), change, unknown)


def _members(run: Run) -> dict[str, dict[str, _Items]]:
    members: dict[str, dict[str, list[tuple[Result, Row]]]] = {"kind": {}, "split": {}, "folder": {}}
    items = [(result, row_of(result)) for result in run.results]
    for item in items:
        for group, name in _slices_of(item[0]):
            members[group].setdefault(name, []).append(item)
    members["folder"] = _bounded(members["folder"])
    # one slice of everything says nothing that "all" does not
    told: dict[str, dict[str, _Items]] = {
        group: dict(sorted(named.items()))
        for group, named in members.items()
        if any(len(found) < len(items) for found in named.values())
    }
    return {"all": {"all": items}, **told}


def _slices_of(result: Result) -> Iterator[tuple[str, str]]:
    yield from (("kind", kind) for kind in dict.fromkeys(result.kinds))
    if result.split is not None:
        yield "split", result.split
    yield from (("folder", folder) for folder in {folder_of(uri) for uri in result.gold} if folder)


def _bounded(folders: dict[str, list[tuple[Result, Row]]]) -> dict[str, list[tuple[Result, Row]]]:
    largest = sorted(folders, key=lambda name: (-len(folders[name]), name))
    kept = {name: folders[name] for name in largest[:MAX_FOLDERS]}
    if rest := {item[0].id: item for name in largest[MAX_FOLDERS:] for item in folders[name]}:
        kept[OTHER_FOLDERS] = list(rest.values())
    return kept
