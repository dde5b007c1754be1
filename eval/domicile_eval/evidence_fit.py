"""Fits to one collection how evidence becomes a probability, and measures what that is worth."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domicile.confidence import SHIPPED, Features, confidence, fit, operating_points
from domicile.domain import EvidenceCurve, Scope
from domicile.errors import UsageError
from domicile.evidence import MAX_CHUNKS, EvidenceSelector
from domicile.ports import Index
from domicile.retrieval import Retriever, Stopwatch
from domicile_eval.items import Item
from domicile_eval.statistics import SEED, Figure, paired_gain

TOP = 10
MIN_QUESTIONS = 30
MAX_QUESTIONS = 300
"""Of each kind: reading the evidence of one takes a tenth of a second, and six numbers are fitted."""
_CERTAIN = 1e-6


@dataclass(frozen=True, slots=True)
class Judged:
    """The evidence for some questions, and whether the collection answers each."""

    features: tuple[Features, ...]
    answered: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class EvidenceFit:
    """A fit and what it gains. Losses are logarithmic, both kinds of questions weighing the same.

    Attributes:
        fitted: the coefficients for all questions, and the operating points of the held-out probabilities.
        before: mean loss of the curve that serves now.
        held_out: mean loss where every question is judged by a curve that was fitted without it.
        gain: of the latter over the former, paired by question.
    """

    fitted: EvidenceCurve
    answered: int
    unanswered: int
    before: float
    held_out: float
    gain: Figure

    @property
    def certain(self) -> bool:
        """Whether questions that the fit has not seen are judged better, with 95 % confidence."""
        return self.gain.low > 0


def read_evidence(
    retriever: Retriever,
    selector: EvidenceSelector,
    index: Index,
    cases: Sequence[Item],
    unanswerable: Sequence[str],
    advance: Callable[[int], None] = lambda questions: None,
) -> Judged:
    """The evidence for up to ``MAX_QUESTIONS`` of both kinds.

    A judged question of which no relevant document is among the passages that are read says nothing of the evidence and is
    left out.

    Args:
        unanswerable: questions of which the collection knows nothing.

    Raises:
        InvalidRequest: a question is too long for the embedder.
        UsageError: too few questions of a kind.
    """
    asked: list[tuple[str, Mapping[str, int] | None]] = [
        *((cases[n].question, cases[n].relevant) for n in _some_of(len(cases))),
        *((unanswerable[n], None) for n in _some_of(len(unanswerable))),
    ]
    features: list[Features] = []
    answered: list[bool] = []
    for text, relevant in asked:
        question = retriever.ask(text)
        ranking = retriever.rank(question, index, Scope(None), "hybrid", TOP, Stopwatch(time.perf_counter))
        if relevant is None or any(hit.chunk.document in relevant for hit in ranking.hits[:MAX_CHUNKS]):
            features.append(selector.select(question, ranking, index).features)
            answered.append(relevant is not None)
        advance(1)
    if min(sum(answered), len(answered) - sum(answered)) < MIN_QUESTIONS:
        raise UsageError(
            f"{sum(answered)} questions find their relevant document and {len(answered) - sum(answered)} are unanswerable: "
            f"to fit the evidence, {MIN_QUESTIONS} of both are needed"
        )
    return Judged(tuple(features), tuple(answered))


def fit_evidence(judged: Judged, serving: EvidenceCurve | None, folds: int) -> EvidenceFit:
    """Fit a curve, and measure it by cross-validation."""
    truth = np.array(judged.answered)
    held_out = np.zeros(len(truth))
    for fold in _folds(truth, folds):
        rest = np.setdiff1d(np.arange(len(truth)), fold)
        curve = fit([judged.features[n] for n in rest], truth[rest].tolist())
        held_out[fold] = [confidence(judged.features[n], curve) for n in fold]
    now = np.array([confidence(item, serving or SHIPPED) for item in judged.features])
    before, after = _losses(now, truth), _losses(held_out, truth)
    coefficients = fit(judged.features, judged.answered).coefficients
    return EvidenceFit(
        EvidenceCurve(coefficients, operating_points(held_out.tolist(), judged.answered)),
        int(truth.sum()),
        int((~truth).sum()),
        float(before.mean()),
        float(after.mean()),
        paired_gain((-before).tolist(), (-after).tolist()),
    )


def _some_of(count: int) -> list[int]:
    """Up to ``MAX_QUESTIONS`` numbers below ``count``, always the same ones."""
    return sorted(np.random.default_rng(SEED).permutation(count)[:MAX_QUESTIONS].tolist())


def _folds(truth: NDArray[np.bool_], folds: int) -> list[NDArray[np.int64]]:
    """Parts with as many of each kind as there can be."""
    mixed = np.random.default_rng(SEED).permutation(len(truth))
    by_kind = np.concatenate([mixed[truth[mixed]], mixed[~truth[mixed]]])
    return [by_kind[part::folds] for part in range(folds)]


def _losses(chances: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    right = np.clip(np.where(truth, chances, 1 - chances), _CERTAIN, 1.0)
    weights = len(truth) / 2 / np.where(truth, truth.sum(), (~truth).sum())
    losses: NDArray[np.float64] = -np.log(right) * weights
    return losses
