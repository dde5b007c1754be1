"""Our figures of retrieval against the definitions, the library's two back ends, and RAGAS."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import ir_measures
import pytest

from domicile.domain import Chunk, Hit, Label, Sensitivity
from domicile_eval.items import Gold, Item
from domicile_eval.metrics import BY_SPAN, LESS_IS_BETTER, MEASURES, METRICS, RETRIEVAL, figures_of, per_question, score
from domicile_eval.results import Result
from domicile_eval.spans import as_ranking, locate

LABEL = Label(frozenset({"local"}), Sensitivity.INTERNAL, False, 0, frozenset(), frozenset({"answer"}), None)


def cases(seed: int, count: int = 60) -> tuple[list[Item], dict[str, list[str]]]:
    """Questions with graded judgements, and rankings with some, all or none of what is relevant."""
    rng = random.Random(seed)
    pool = [f"d{n}" for n in range(150)]
    items = [
        Item.judged(str(n), "?", {uri: rng.randint(1, 3) for uri in rng.sample(pool, rng.randint(1, 40))})
        for n in range(count)
    ]
    return items, {item.id: rng.sample(pool, rng.choice((0, 1, 7, 100))) for item in items}


def gains(item: Item, ranking: Sequence[str], depth: int) -> list[int]:
    return [item.relevant.get(uri, 0) for uri in ranking[:depth]]


def by_definition(name: str, item: Item, ranking: Sequence[str]) -> float:
    """Manning, Raghavan, Schütze: Introduction to Information Retrieval, chapter 8; linear gain."""
    kind, _, depth = name.partition("@")
    found = gains(item, ranking, int(depth))
    hits = [gain > 0 for gain in found]
    if kind == "nDCG":
        best = sorted(item.relevant.values(), reverse=True)[: int(depth)]
        ideal = sum(gain / math.log2(rank + 1) for rank, gain in enumerate(best, 1))
        return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(found, 1)) / ideal
    if kind == "R":
        return sum(hits) / len(item.relevant)
    if kind == "P":
        return sum(hits) / int(depth)
    if kind == "RR":
        return next((1 / rank for rank, hit in enumerate(hits, 1) if hit), 0.0)
    return sum(sum(hits[:rank]) / rank for rank, hit in enumerate(hits, 1) if hit) / len(item.relevant)


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_is_what_its_definition_says(name: str) -> None:
    items, rankings = cases(seed=1)
    values = per_question(items, rankings, [name])[name]
    assert values == pytest.approx([by_definition(name, item, rankings[item.id]) for item in items], abs=1e-6)
    assert len({round(value, 3) for value in values}) >= 3


@pytest.mark.parametrize("name", ["nDCG@10", "R@5", "P@5", "AP@100", "RR@10"])
def test_a_measure_is_what_the_library_says_when_asked_alone(name: str) -> None:
    items, rankings = cases(seed=2)
    qrels = {item.id: item.relevant for item in items}
    run = {key: {uri: float(-rank) for rank, uri in enumerate(found)} for key, found in rankings.items()}
    alone = ir_measures.calc_aggregate([ir_measures.parse_measure(name)], qrels, run)
    figure = score(items, rankings)[name.lower()]
    assert figure.value == pytest.approx(next(iter(alone.values())), abs=1e-6)
    assert figure.low <= figure.value <= figure.high


def test_what_is_not_found_or_not_ranked_counts_as_nothing() -> None:
    items, _ = cases(seed=3, count=3)
    values = per_question(items, {items[0].id: []}, MEASURES)
    assert {tuple(found) for found in values.values()} == {(0.0, 0.0, 0.0)}


def test_ties_are_by_rank_and_not_by_name() -> None:
    item = Item.judged("q", "?", {"z": 1})
    assert per_question([item], {"q": ["z", "a"]}, ["RR@10"])["RR@10"] == [1.0]
    assert per_question([item], {"q": ["a", "z"]}, ["RR@10"])["RR@10"] == [0.5]


def test_span_measures_are_the_documents_measures_where_chunks_are_documents() -> None:
    texts = {f"d{n}": f"Text of document {n}." for n in range(30)}
    rng = random.Random(4)
    item = Item("q", "?", gold=tuple(Gold(uri, texts[uri]) for uri in ("d3", "d7", "d20")))
    ranking = rng.sample(list(texts), 12)
    hits = [
        Hit(rank, 0.0, Chunk(uri, uri, "", (), None, 0, len(texts[uri]), texts[uri], LABEL))
        for rank, uri in enumerate(ranking, 1)
    ]
    spans = as_ranking(locate(item.gold, texts.get), hits)
    named = Item.judged("q", "?", {str(n): 1 for n in range(3)})
    names = ["nDCG@10", "R@5", "R@10", "RR@10"]
    assert per_question([named], {"q": spans}, names) == per_question([item], {"q": ranking}, names)
    assert tuple(f"span_{name.lower()}" for name in names) == BY_SPAN


def test_figures_are_over_the_items_that_a_metric_applies_to() -> None:
    results = [
        Result(str(n), "?", (), None, values) for n, values in enumerate([{"r@5": 1.0}, {"r@5": 0.0}, {"route": 1.0}])
    ]
    figures = figures_of(results)
    assert list(figures) == ["r@5", "route"]
    assert (figures["r@5"].value, figures["route"].value) == (0.5, 1.0)


def test_every_metric_has_one_name() -> None:
    assert len(set(METRICS)) == len(METRICS)
    assert set(METRICS) >= LESS_IS_BETTER
    assert tuple(name.lower() for name in MEASURES) == RETRIEVAL
