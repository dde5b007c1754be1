"""What the gate looked at, one check after the other: those that passed as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from domicile_eval.gate import Verdict
from domicile_eval.reports.metric_names import written


@dataclass(frozen=True, slots=True)
class Check:
    """
    Attributes:
        name: the same in every run, so that a check can be followed over time.
        findings: what is wrong, in the gate's words; empty where it passed.
        told: what was seen, where it passed.
    """

    kind: Literal["pooled", "slice", "floor", "gate"]
    name: str
    findings: tuple[str, ...] = ()
    told: str = ""


def checks(verdict: Verdict, primary: Sequence[str], floors: Mapping[str, float]) -> list[Check]:
    """Every primary metric, slice and floor; what else was found stands in a check of its own.

    Args:
        primary: the metrics that the gate decides on.
        floors: of the suite.
    """
    # a finding begins with the name of what it is about
    open_findings = list(verdict.findings)
    found: list[Check] = []
    for kind, name, begin, told in _looked_at(verdict, primary, floors):
        mine = tuple(finding for finding in open_findings if finding.startswith(begin))
        open_findings = [finding for finding in open_findings if finding not in mine]
        found.append(Check(kind, name, mine, told))
    rest = Check("gate", "everything was asked, and nothing moved that should not", tuple(open_findings))
    return [rest, *found]


def _looked_at(
    verdict: Verdict, primary: Sequence[str], floors: Mapping[str, float]
) -> Iterator[tuple[Literal["pooled", "slice", "floor"], str, str, str]]:
    """Kind, name, the begin of its findings, and what was seen."""
    for one in verdict.slices:
        told = f"{written(one.metric, one.difference, signed=True)} over {one.n} questions, p = {one.chance:.4f}"
        yield "slice", f"{one.slice}: {one.metric}", f"slice {one.slice}: {one.metric} ", told
    for change in verdict.changes:
        if change.metric in primary:
            step = change.difference
            signed = [written(change.metric, value, signed=True) for value in (step.value, step.low, step.high)]
            told = f"{signed[0]} [{signed[1]}, {signed[2]}] over {change.n} questions"
            yield "pooled", change.metric, f"{change.metric} ", told
    for metric, floor in sorted(floors.items()):
        value = verdict.figures.get(metric)
        yield "floor", metric, f"floor {metric}: ", f"{value} against {floor:g}"
