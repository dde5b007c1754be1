"""Answers judged by a language model, several times each: the figures, their noise, and every row that failed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from statistics import fmean, variance
from typing import Any

from domicile.errors import AuditUnavailable, EgressDenied, ModelSlow, ProviderError, UsageError
from domicile.ports import Embedder
from domicile_eval.answer_metrics import said_by
from domicile_eval.judges import Exhibit, Judge
from domicile_eval.ragas_suite import (
    BY_JUDGE,
    DEPTH,
    NEED_REFERENCE,
    JudgedTexts,
    NoVerdict,
    judged,
    load_ragas,
    prompts_version,
)
from domicile_eval.results import Observation
from domicile_eval.statistics import figure

REPEATS = 3
GIVE_UP = 2
"""Answers in a row to which the judge had nothing to say; the others are then counted as failed without asking."""
_NEVER_ASKED = ("denied", "no_answer", "no_contexts", "no_reference", "too_long")


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of one answer.

    Attributes:
        values: of the repeats; empty where one of them failed, since a verdict that cannot be repeated is none.
        reason: why it failed: a word, or ``denied:`` and what policy has against it.
    """

    item: str
    metric: str
    values: tuple[float, ...] = ()
    reason: str | None = None

    @property
    def value(self) -> float:
        """A failed row is worth nothing, and never left out."""
        return 0.0 if self.reason is not None else fmean(self.values)


@dataclass(frozen=True, slots=True)
class JudgedFigure:
    """One metric over all answers.

    Attributes:
        value: mean over the rows of the mean over their repeats, failed rows as 0; ``low`` and ``high`` are its 95 %
            interval as ``figure`` draws it, every row on its own.
        judged: the same without the failed rows; ``None`` where all failed.
        sd: pooled standard deviation between the repeats of a row, the judge's noise; ``None`` where nothing was repeated.
        n: rows, failed ones too.
        reasons: why they failed, with counts.
    """

    value: float
    low: float
    high: float
    judged: float | None
    sd: float | None
    n: int
    failed: int
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """What a judge said of a run.

    Attributes:
        judge, version, prompts, embedder: what a figure depends on; figures of another judge are other figures.
        abstained: answers that there was nothing to judge of, which other metrics score.
    """

    judge: str
    version: str
    prompts: str
    embedder: str
    repeats: int
    abstained: int
    rows: tuple[Row, ...]

    def figures(self) -> dict[str, JudgedFigure]:
        """By metric; one that applies to no answer is not there."""
        by_metric = {name: [row for row in self.rows if row.metric == name] for name in BY_JUDGE}
        return {name: _figure(rows) for name, rows in by_metric.items() if rows}

    def values(self, item: str) -> dict[str, float]:
        """Metric to value of one item."""
        return {row.metric: row.value for row in self.rows if row.item == item}

    def to_json(self) -> dict[str, Any]:
        written = asdict(self)
        return written | {
            "temperature": 0,
            "metrics": {name: asdict(one) for name, one in self.figures().items()},
            "rows": [asdict(row) | {"value": row.value} for row in self.rows],
        }


def judge_observations(
    judge: Judge,
    embedder: Embedder,
    observations: Sequence[Observation],
    repeats: int = REPEATS,
    advance: Callable[[int], None] = lambda answers: None,
) -> JudgeReport:
    """Judge the answers among the observations.

    Args:
        embedder: compares questions, for the relevancy of an answer.
        advance: called with 1 after each observation.

    Raises:
        MissingExtra: the ``eval`` extra is not installed.
        UsageError: ``repeats`` is less than 1.
    """
    if repeats < 1:
        raise UsageError("repeats: at least 1")
    load_ragas()
    rows: list[Row] = []
    abstained = speechless = 0
    with ThreadPoolExecutor(judge.at_once) as pool:
        for seen in observations:
            if seen.answer is not None and seen.answer.abstained:
                abstained += 1
            elif speechless >= GIVE_UP:
                rows += [Row(seen.item.id, metric, reason="given_up") for metric in _metrics_for(seen)]
            else:
                made = list(pool.map(partial(_row, judge, embedder, seen, repeats), _metrics_for(seen)))
                speechless = _still_speechless(speechless, made)
                rows += made
            advance(1)
    return JudgeReport(
        judge.name, judge.version, prompts_version(), embedder.fingerprint, repeats, abstained, tuple(rows)
    )


def _metrics_for(seen: Observation) -> list[str]:
    return [metric for metric in BY_JUDGE if seen.item.answer is not None or metric not in NEED_REFERENCE]


def _row(judge: Judge, embedder: Embedder, seen: Observation, repeats: int, metric: str) -> Row:
    try:
        shown = _exhibit(seen)
        ask = partial(judge.ask, shown=shown)
        return Row(seen.item.id, metric, tuple(judged(metric, shown.texts, ask, embedder) for _ in range(repeats)))
    except Exception as error:  # whatever it is: the row failed, and says why
        return Row(seen.item.id, metric, reason=_reason(error))


def _exhibit(seen: Observation) -> Exhibit:
    """The first passages that were found, and behind them those that the answer cites."""
    if seen.answer is None:
        raise NoVerdict("no_answer")
    quotes = [(citation.document, citation.quote) for citation in seen.answer.citations]
    chunks = tuple(
        hit.chunk
        for place, hit in enumerate(seen.hits)
        if place < DEPTH or any(uri == hit.chunk.document and quote in hit.chunk.text for uri, quote in quotes)
    )
    texts = JudgedTexts(
        seen.answer.asked or seen.item.question,
        said_by(seen.answer),
        tuple(chunk.text for chunk in chunks),
        seen.item.answer,
    )
    return Exhibit(texts, seen.answer, chunks, seen.item.documents)


def _reason(error: Exception) -> str:
    if isinstance(error, EgressDenied):
        return f"denied: {', '.join(error.reasons)}"
    if isinstance(error, NoVerdict | ProviderError):
        return error.reason
    if isinstance(error, ModelSlow | TimeoutError):
        return "timeout"
    return "audit" if isinstance(error, AuditUnavailable) else type(error).__name__


def _still_speechless(before: int, rows: Sequence[Row]) -> int:
    """How many answers in a row the judge had nothing to say to; those that it was not asked about tell nothing."""
    if any(row.reason is None for row in rows):
        return 0
    asked = any(not (row.reason or "").startswith(_NEVER_ASKED) for row in rows)
    return before + asked


def _figure(rows: Sequence[Row]) -> JudgedFigure:
    mean = figure([row.value for row in rows])
    whole = [row for row in rows if row.reason is None]
    spread = [variance(row.values) for row in whole if len(row.values) > 1]
    reasons = Counter(row.reason for row in rows if row.reason is not None)
    return JudgedFigure(
        mean.value,
        mean.low,
        mean.high,
        round(fmean(row.value for row in whole), 6) if whole else None,
        round(math.sqrt(fmean(spread)), 6) if spread else None,
        len(rows),
        len(rows) - len(whole),
        dict(reasons.most_common()),
    )
