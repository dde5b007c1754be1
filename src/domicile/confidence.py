"""How likely it is that the evidence answers the question: a logistic function of five numbers. Pure.

It tells what the documents are not about; a question that they touch and do not answer it can hardly tell
(``docs/benchmarks.md`` has both figures).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from domicile.domain import Candidate, EvidenceCurve

SHIPPED = EvidenceCurve((-8.858, 6.241, 3.305, 6.596, 4.111, 4.043))
"""Fitted to seven kinds of text with the embedder that ships; each was also predicted by a fit to the other six."""
RIDGE = 3e-4
THRESHOLDS = tuple(step / 20 for step in range(1, 20))
_STEPS = 100
_FLOOR = 1e-9


@dataclass(frozen=True, slots=True)
class Features:
    """What the confidence is made of; each is 0 to 1, and more is better.

    Attributes:
        cosine: of the best sentence with the question.
        overlap: the share of the question's words that this sentence holds, rare ones counting more.
        nearest: the cosine of the nearest passage.
        share: the best passage's BM25 over the most that the words of the question could reach.
        agreement: the best product of cosine and share of one passage: words and meaning found in the same place.
    """

    cosine: float = 0.0
    overlap: float = 0.0
    nearest: float = 0.0
    share: float = 0.0
    agreement: float = 0.0


NONE = Features()


def features(cosine: float, overlap: float, dense: Sequence[Candidate], lexical: Sequence[Candidate]) -> Features:
    """The features of a best sentence and of the first candidates of both indexes, best first."""
    shares = {candidate.ref: candidate.score for candidate in lexical}
    return Features(
        max(0.0, cosine),
        overlap,
        max(0.0, dense[0].score) if dense else 0.0,
        lexical[0].score if lexical else 0.0,
        max((candidate.score * shares.get(candidate.ref, 0.0) for candidate in dense), default=0.0),
    )


def confidence(found: Features, curve: EvidenceCurve | None = None) -> float:
    """The probability that the best sentence answers the question, by the curve of the collection or the shipped one.

    A curve over other features than these, as another version may have fitted, counts as none.
    """
    intercept, *weights = (curve if curve is not None and _fits(curve) else SHIPPED).coefficients
    z = intercept + sum(weight * value for weight, value in zip(weights, astuple(found), strict=True))
    return float(1.0 / (1.0 + np.exp(-z)))


def fit(found: Sequence[Features], answered: Sequence[bool]) -> EvidenceCurve:
    """The curve that tells these questions apart: ridge logistic regression, both kinds weighing the same.

    No feature may count against an answer: a weight that would be negative is zero.

    Args:
        answered: for each of them, whether the collection answers the question.

    Raises:
        ValueError: all are of one kind.
    """
    truth = np.array(answered, dtype=np.float64)
    if not 0 < truth.sum() < len(truth):
        raise ValueError("needs questions that the collection answers and questions that it does not")
    table = np.array([astuple(item) for item in found], dtype=np.float64)
    weights = np.where(truth == 1, 0.5 / truth.sum(), 0.5 / (1 - truth).sum())
    kept = list(range(table.shape[1]))
    while True:
        fitted = _logistic(table[:, kept], truth, weights)
        worst = int(np.argmin(fitted[1:])) if kept else 0
        if not kept or fitted[1:][worst] >= 0:
            break
        del kept[worst]
    coefficients = np.zeros(1 + len(fields(Features)))
    coefficients[[0, *(1 + column for column in kept)]] = fitted
    curve = EvidenceCurve(tuple(float(value) for value in coefficients.round(4)))
    return EvidenceCurve(curve.coefficients, operating_points([confidence(item, curve) for item in found], answered))


def _fits(curve: EvidenceCurve) -> bool:
    return len(curve.coefficients) == len(SHIPPED.coefficients) and all(map(math.isfinite, curve.coefficients))


def operating_points(confidences: Sequence[float], answered: Sequence[bool]) -> tuple[tuple[float, float, float], ...]:
    """(threshold, share of answerable questions at or above it, share of the others), for ``EvidenceCurve.curve``."""
    values, truth = np.array(confidences), np.array(answered, dtype=bool)
    return tuple(
        (
            threshold,
            round(float((values[truth] >= threshold).mean()), 4),
            round(float((values[~truth] >= threshold).mean()), 4),
        )
        for threshold in THRESHOLDS
    )


def _logistic(
    table: NDArray[np.float64], truth: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Coefficients by Newton's method, the intercept first and not penalised."""
    design = np.column_stack([np.ones(len(table)), table])
    penalty = np.eye(design.shape[1]) * RIDGE
    penalty[0, 0] = _FLOOR
    found = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chance = 1.0 / (1.0 + np.exp(-design @ found))
        slope = design.T @ (weights * (truth - chance)) - penalty @ found
        curvature = (design.T * (weights * chance * (1 - chance))) @ design + penalty
        step = np.linalg.solve(curvature, slope)
        found = found + step
        if np.abs(step).max() < 1e-8:
            break
    return found
