"""False answers against false abstentions, over every threshold that the confidence could have had."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from domicile_eval.reports.figures import row_of
from domicile_eval.results import Result, Run

GOAL = 0.10
"""Of both rates, for questions that are off the corpus."""
MAX_POINTS = 200
OTHERS = "other unanswerable"
_KINDS = ("off_corpus", "close_miss")


@dataclass(frozen=True, slots=True)
class Curve:
    """One kind of unanswerable question against all answerable ones.

    Attributes:
        points: false abstentions and false answers at each threshold, 0 to 1, from the lowest threshold up.
        serving: the two rates of what was decided.
        n: unanswerable questions.
    """

    kind: str
    points: tuple[tuple[float, float], ...]
    serving: tuple[float, float]
    n: int

    def false_answers_at(self, false_abstentions: float) -> float:
        """The least rate of false answers at no more false abstentions than that."""
        return min((answers for abstentions, answers in self.points if abstentions <= false_abstentions), default=1.0)


@dataclass(frozen=True, slots=True)
class Refusals:
    """What abstaining is worth: the share of abstentions that were right, and of unanswerable questions that met one."""

    precision: float | None
    recall: float | None
    answerable: int
    unanswerable: int


def curves(run: Run) -> list[Curve]:
    """A curve for each kind of unanswerable question; empty where there is nothing to set against one another."""
    answerable = [result for result in run.results if "false_abstention" in result.values]
    if not answerable:
        return []
    kinds: dict[str, list[Result]] = {kind: [] for kind in (*_KINDS, OTHERS)}
    for result in run.results:
        if "false_answer" in result.values:
            kinds[next((kind for kind in _KINDS if kind in result.kinds), OTHERS)].append(result)
    return [_curve(kind, answerable, results) for kind, results in kinds.items() if results]


def refusals(run: Run) -> Refusals:
    rows = [row_of(result).values for result in run.results]
    wrong = [values["false_abstention"] for values in rows if "false_abstention" in values]
    missed = [values["false_answer"] for values in rows if "false_answer" in values]
    right = len(missed) - sum(missed)
    abstained = right + sum(wrong)
    return Refusals(
        right / abstained if abstained else None, right / len(missed) if missed else None, len(wrong), len(missed)
    )


def _curve(kind: str, answerable: Sequence[Result], unanswerable: Sequence[Result]) -> Curve:
    kept = np.sort([_answered_up_to(result, "false_abstention") for result in answerable])
    missed = np.sort([_answered_up_to(result, "false_answer") for result in unanswerable])
    confidences = np.concatenate([kept, missed])
    thresholds = np.unique(confidences[np.isfinite(confidences)])
    if len(thresholds) > MAX_POINTS:
        thresholds = np.unique(np.quantile(thresholds, np.linspace(0, 1, MAX_POINTS)))
    thresholds = np.concatenate([thresholds, [np.finfo(np.float64).max]])
    abstained = np.searchsorted(kept, thresholds, side="left") / len(kept)
    answered = 1 - np.searchsorted(missed, thresholds, side="left") / len(missed)
    points = tuple(
        dict.fromkeys((round(float(x), 4), round(float(y), 4)) for x, y in zip(abstained, answered, strict=True))
    )
    return Curve(
        kind, points, (_rate(answerable, "false_abstention"), _rate(unanswerable, "false_answer")), len(missed)
    )


def _answered_up_to(result: Result, metric: str) -> float:
    """The threshold up to which it is answered; where confidence was not told, what was decided stands at every one."""
    if result.confidence is not None and math.isfinite(result.confidence) and result.failure is None:
        return result.confidence
    wrong = row_of(result).values[metric] > 0.0
    answered = wrong == (metric == "false_answer")
    return math.inf if answered else -math.inf


def _rate(results: Sequence[Result], metric: str) -> float:
    return sum(row_of(result).values[metric] for result in results) / len(results)
