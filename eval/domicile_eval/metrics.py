"""Retrieval metrics by an established library, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from domicile.errors import MissingExtra
from domicile_eval.suites import Case

MEASURES = ("nDCG@10", "R@1", "R@5", "R@10", "R@100", "RR@10", "AP@100", "P@5")
RESAMPLES = 1_000
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
    measures = [ir_measures.parse_measure(name) for name in MEASURES]
    values: dict[str, dict[str, float]] = {str(measure): {} for measure in measures}
    for metric in ir_measures.iter_calc(measures, qrels, run):
        values[str(metric.measure)][metric.query_id] = metric.value
    rng = np.random.default_rng(SEED)
    return {name.lower(): _figure([found.get(case.id, 0.0) for case in cases], rng) for name, found in values.items()}


def _figure(values: Sequence[float], rng: np.random.Generator) -> Figure:
    sample = np.asarray(values)
    means = [float(sample[rng.integers(0, len(sample), len(sample))].mean()) for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Figure(round(float(sample.mean()), 6), round(float(low), 6), round(float(high), 6))
