"""Retrieval metrics by an established library, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from domicile.errors import MissingExtra
from domicile_eval.suites import Case

MEASURES = ("nDCG@10", "R@1", "R@5", "R@10", "R@100", "RR@10", "AP@100", "P@5")
RESAMPLES = 1_000
PAIRED_RESAMPLES = 10_000
SEED = 20_260_101


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over the questions with its 95 % percentile-bootstrap interval."""

    value: float
    low: float
    high: float


def score(cases: Sequence[Case], rankings: Mapping[str, Sequence[str]]) -> dict[str, Figure]:
    """Score ranked documents, linear gain.

    Args:
        rankings: question id to document URIs, best first, each once.

    Raises:
        MissingExtra: the ``eval`` extra is not installed.
    """
    rng = np.random.default_rng(SEED)
    by_measure = per_question(cases, rankings, MEASURES)
    return {name.lower(): _figure(values, RESAMPLES, rng) for name, values in by_measure.items()}


def per_question(
    cases: Sequence[Case], rankings: Mapping[str, Sequence[str]], measures: Sequence[str]
) -> dict[str, list[float]]:
    """Each measure of each question, in the order of ``cases``; arguments and errors as in ``score``."""
    try:
        import ir_measures
    except ModuleNotFoundError as error:
        if error.name != "ir_measures":
            raise
        raise MissingExtra("eval", "ir_measures") from None
    qrels = [ir_measures.Qrel(case.id, document, gain) for case in cases for document, gain in case.relevant.items()]
    run = [
        ir_measures.ScoredDoc(query, document, -rank)
        for query, documents in rankings.items()
        for rank, document in enumerate(documents)
    ]
    parsed = [ir_measures.parse_measure(name) for name in measures]
    values: dict[str, dict[str, float]] = {str(measure): {} for measure in parsed}
    for metric in ir_measures.iter_calc(parsed, qrels, run):
        values[str(metric.measure)][metric.query_id] = metric.value
    return {name: [found.get(case.id, 0.0) for case in cases] for name, found in values.items()}


def paired_gain(before: Sequence[float], after: Sequence[float]) -> Figure:
    """The mean difference of the same questions, resampled together."""
    differences = np.asarray(after) - np.asarray(before)
    return _figure(differences.tolist(), PAIRED_RESAMPLES, np.random.default_rng(SEED))


def _figure(values: Sequence[float], resamples: int, rng: np.random.Generator) -> Figure:
    sample = np.asarray(values)
    means = [float(sample[rng.integers(0, len(sample), len(sample))].mean()) for _ in range(resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Figure(round(float(sample.mean()), 6), round(float(low), 6), round(float(high), 6))
