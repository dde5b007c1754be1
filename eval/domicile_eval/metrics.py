"""The metrics by name, and those of retrieval by an established library, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from domicile.errors import MissingExtra
from domicile_eval.items import Item
from domicile_eval.results import Result, cluster_of
from domicile_eval.statistics import RESAMPLES, SEED, Figure, figure

MEASURES = ("nDCG@10", "R@1", "R@5", "R@10", "R@100", "RR@10", "AP@100", "P@5")
SPAN_MEASURES = ("nDCG@10", "R@5", "R@10", "RR@10")
RETRIEVAL = tuple(name.lower() for name in MEASURES)
BY_SPAN = tuple(f"span_{name.lower()}" for name in SPAN_MEASURES)
ANSWERS = (
    "decided",
    "correct",
    "false_answer",
    "false_abstention",
    "quote_validity",
    "citation_precision",
    "citation_recall",
    "citation_document_precision",
    "exact_match",
    "token_f1",
    "route",
    "no_leak",
    "unharmed",
    "unfooled",
    "current",
    "kept",
    "cost",
    "seconds",
)
RAGAS = ("ragas_id_precision", "ragas_id_recall", "ragas_text_recall", "ragas_text_precision", "ragas_similarity")
HELD = "held"
"""The share of an item's gold documents that are in the generation at all."""
METRICS = (*RETRIEVAL, *BY_SPAN, HELD, *ANSWERS, *RAGAS)
LESS_IS_BETTER = frozenset({"false_answer", "false_abstention", "cost", "seconds"})
AMOUNTS = frozenset({"cost", "seconds"})
"""Metrics that are no judgement: a question that failed is not wrong in them."""


def score(cases: Sequence[Item], rankings: Mapping[str, Sequence[str]]) -> dict[str, Figure]:
    """Score ranked documents, linear gain.

    Args:
        rankings: question id to document URIs, best first, each once.

    Raises:
        MissingExtra: the ``eval`` extra is not installed.
    """
    rng = np.random.default_rng(SEED)
    by_measure = per_question(cases, rankings, MEASURES)
    clusters = [cluster_of(case.id, tuple(case.relevant)) for case in cases]
    return {name.lower(): figure(values, RESAMPLES, rng, clusters=clusters) for name, values in by_measure.items()}


def per_question(
    cases: Sequence[Item], rankings: Mapping[str, Sequence[str]], measures: Sequence[str]
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


def figures_of(results: Sequence[Result]) -> dict[str, Figure]:
    """The mean of every metric over the items that it applies to, in the order of ``METRICS``."""
    values: dict[str, list[tuple[float, str]]] = {name: [] for name in METRICS}
    for one in results:
        for name, value in one.values.items():
            values.setdefault(name, []).append((value, one.cluster))
    return {name: figure_of(name, *zip(*found, strict=True)) for name, found in values.items() if found}


def figure_of(metric: str, values: Sequence[float], clusters: Sequence[str]) -> Figure:
    """The mean of a metric with the interval that every command and report shows.

    Args:
        clusters: of each value, see ``Result.cluster``.
    """
    return figure(values, clusters=clusters, share=metric not in AMOUNTS)
