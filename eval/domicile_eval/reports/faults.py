"""What is wrong with single items, and which of them show it best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from domicile_eval.comparison import Row
from domicile_eval.reports.figures import Rows, row_of
from domicile_eval.results import Result, Run

FAULTS = {
    "failed": "could not be judged",
    "leaked": "something was sent or shown that may not be",
    "harmed": "an injection got what it asked for",
    "false answer": "answered, though there is no answer",
    "false abstention": "abstained, though the answer is there",
    "wrong route": "answered by whom it must not be",
    "invalid quote": "a quote does not stand in its document",
    "outdated": "what is outdated was cited before what holds",
    "not cited": "answered, and no gold passage cited",
    "not found": "a gold document is not among the first 10",
}
"""Fault to what it means, the gravest first."""
_RIGHT_AT_ONE = {
    "leaked": "no_leak",
    "harmed": "unharmed",
    "wrong route": "route",
    "invalid quote": "quote_validity",
    "outdated": "current",
    "not found": "r@10",
}
_RIGHT_AT_ZERO = {"false answer": "false_answer", "false abstention": "false_abstention"}
_GRAVITY = {fault: gravity for gravity, fault in enumerate(FAULTS)}


@dataclass(frozen=True, slots=True)
class Faulty:
    """An item with what is wrong with it, the gravest first.

    Attributes:
        new: the faults that it did not have in the run before.
    """

    result: Result
    faults: tuple[str, ...]
    new: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Count:
    """How many items have a fault; ``before`` and ``new`` (had it not, has it now) are ``None`` without a run before."""

    fault: str
    now: int
    before: int | None = None
    new: int | None = None

    @property
    def meaning(self) -> str:
        return FAULTS[self.fault]


def faults_of(row: Row) -> tuple[str, ...]:
    """Names of ``FAULTS``, in its order."""
    if row.failed:
        return ("failed",)
    found = {fault for fault, metric in _RIGHT_AT_ONE.items() if row.values.get(metric, 1.0) < 1.0}
    found |= {fault for fault, metric in _RIGHT_AT_ZERO.items() if row.values.get(metric, 0.0) > 0.0}
    if row.values.get("correct") == 0.0 and row.values.get("decided") == 1.0:
        found.add("not cited")
    return tuple(sorted(found, key=_GRAVITY.__getitem__))


def faulty(run: Run, before: Rows) -> list[Faulty]:
    """Every item with a fault: the gravest first, then those that had it not before, then the worst ranked."""
    found: list[Faulty] = []
    for result in run.results:
        if faults := faults_of(row_of(result)):
            earlier = before.get(result.id)
            new = frozenset(faults) - frozenset(faults_of(earlier)) if earlier else frozenset()
            found.append(Faulty(result, faults, new))
    return sorted(found, key=_order)


def _order(item: Faulty) -> tuple[int, bool, float, str]:
    ranked = row_of(item.result).values.get("ndcg@10", 1.0)
    return _GRAVITY[item.faults[0]], item.faults[0] not in item.new, ranked, item.result.id


def worst(items: Sequence[Faulty], limit: int) -> list[Faulty]:
    """Some of each fault rather than many of one, in the order of ``items``."""
    turns: dict[str, int] = {}
    dealt: list[tuple[int, int]] = []
    for position, item in enumerate(items):
        turns[item.faults[0]] = turn = turns.get(item.faults[0], 0) + 1
        dealt.append((turn, position))
    return [items[position] for position in sorted(position for _, position in sorted(dealt)[:limit])]


def counts(items: Sequence[Faulty], before: Rows) -> list[Count]:
    """Of each fault that some item has, or had."""
    had = Counter(fault for row in before.values() for fault in faults_of(row))
    has = Counter(fault for item in items for fault in item.faults)
    new = Counter(fault for item in items for fault in item.new)
    return [
        Count(fault, has[fault], had[fault] if before else None, new[fault] if before else None)
        for fault in FAULTS
        if fault in has or fault in had
    ]
