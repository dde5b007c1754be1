"""A run as a Markdown summary for a pull request: what fell, by how much, and where to look."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from domicile_eval.gate import Verdict
from domicile_eval.metrics import METRICS
from domicile_eval.reports.faults import FAULTS, Faulty, counts, faulty, worst
from domicile_eval.reports.figures import Measured, Rows, measured, moved, slices
from domicile_eval.reports.metric_names import SLICED, name_of, written
from domicile_eval.reports.text import in_a_line
from domicile_eval.results import Run

MAX_LINES = 60
_FINDINGS = 6
_FIGURES = 18
_SLICES = 6
_WORST = 5
_FAILED = 5
_BACKTICKS = re.compile("`+")
_LEAD = ("correct", "decided", "false_answer", "false_abstention", "quote_validity", "citation_precision", "no_leak", "route",
         "unharmed", "ndcg@10", "r@5", "r@10", "span_ndcg@10", "span_r@5", "seconds", "cost")  # fmt: skip
"""What a summary shows of the figures, in so far as the run has them; then what else moved."""


def markdown(run: Run, before: Rows, verdict: Verdict | None) -> str:
    """The summary, of at most ``MAX_LINES`` lines."""
    figures = measured(run, before, verdict)
    items = faulty(run, before)
    lines = [
        *_verdict(run, verdict),
        *_table(figures),
        *_moved(run, before),
        *_faults(items, before),
        *_failed(run),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _verdict(run: Run, verdict: Verdict | None) -> Iterator[str]:
    if verdict is None:
        said = "not gated"
    else:
        said = "**passed**" if verdict.passed else f"**failed**, {len(verdict.findings)} findings"
    yield f"### Evaluation {_code(run.suite)}: {said}"
    yield ""
    yield (
        f"collection {_code(run.collection)}, generation {run.generation}, {len(run.results):,} questions, "
        f"{sum(result.failure is not None for result in run.results):,} failed"
        + (f", {verdict.lane} lane" if verdict else "")
    )
    yield ""
    if verdict is not None and verdict.findings:
        yield from (f"- {_code(finding, 240)}" for finding in verdict.findings[:_FINDINGS])
        if len(verdict.findings) > _FINDINGS:
            yield f"- and {len(verdict.findings) - _FINDINGS} more"
        yield ""


def _table(figures: Sequence[Measured]) -> Iterator[str]:
    told = [one for metric in _LEAD for one in figures if one.metric == metric]
    told += [one for one in figures if one not in told and one.change and (one.change.worse or one.change.better)]
    if not told:
        return
    yield "| Metric | Before | Now | Difference | n |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for one in told[:_FIGURES]:
        before, step = "–", "–"
        if (change := one.change) is not None:
            before = written(one.metric, change.before)
            parts = (change.difference.value, change.difference.low, change.difference.high)
            value, low, high = (written(one.metric, part, signed=True) for part in parts)
            step = f"{value} [{low}, {high}]{' ▼ worse' if change.worse else ' ▲ better' if change.better else ''}"
        n = f"{one.n}" if change is None or change.n == one.n else f"{one.n}, {change.n} in both"
        name = name_of(one.metric) if one.metric in METRICS else _code(one.metric, 40)
        yield f"| {name} | {before} | {written(one.metric, one.now.value)} | {step} | {n} |"
    yield ""


def _moved(run: Run, before: Rows) -> Iterator[str]:
    found = moved([one for metric in SLICED for one in slices(run, before, metric) if one.group != "all"])
    if not found:
        return
    yield "Slices that moved beyond chance, each alone:"
    yield ""
    for one in found[:_SLICES]:
        if (change := one.measured.change) is not None:
            metric = change.metric
            step = written(metric, change.difference.value, signed=True)
            yield f"- {one.group} {_code(one.name, 60)}: {name_of(metric)} {step} over {change.n} questions"
    if len(found) > _SLICES:
        yield f"- and {len(found) - _SLICES} more"
    yield ""


def _faults(items: Sequence[Faulty], before: Rows) -> Iterator[str]:
    if not items:
        return
    told = (
        f"{one.now} {one.fault}" + (f" ({one.new} new)" if one.new else "") for one in counts(items, before) if one.now
    )
    yield f"{len(items):,} questions with a fault: {', '.join(told)}. The worst:"
    yield ""
    for item in worst(items, _WORST):
        fresh = " (new)" if item.new else ""
        yield f"- {_code(item.result.id)} {_code(item.result.question, 120)}: {FAULTS[item.faults[0]]}{fresh}"
    yield ""


def _failed(run: Run) -> Iterator[str]:
    failed = [result for result in run.results if result.failure is not None]
    if not failed:
        return
    yield f"Failed, and counted as wrong: {len(failed):,}"
    yield ""
    for result in failed[:_FAILED]:
        yield f"- {_code(result.id)} {_code(result.failure or '', 160)}"
    if len(failed) > _FAILED:
        yield f"- and {len(failed) - _FAILED:,} more"


def _code(text: str, limit: int = 80) -> str:
    """Text in a code span, where nothing links, loads, mentions anybody or borders a cell."""
    line = in_a_line(text, limit).replace("|", "¦") or " "
    fence = "`" * (1 + max((len(run) for run in _BACKTICKS.findall(line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"
