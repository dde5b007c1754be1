"""The fit of the fusion: what it chooses, what it claims, and that it ranks as the production search does."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from corpora import COLLECTION, EMBEDDER, Shelf

from domicile.domain import OWNER, FusionWeights, Tuning
from domicile.errors import UsageError
from domicile.retrieval import Retriever
from domicile_eval.fusion_fit import GRID, Rankings, fit_fusion, rank_with_each
from domicile_eval.items import Item
from domicile_eval.runner import rank_documents
from domicile_eval.statistics import paired_gain

SERVING = FusionWeights(dense=0.4)
BETTER = FusionWeights(dense=0.7)
OTHERS = [f"other{n}" for n in range(9)]


def questions(count: int, shared: bool = False) -> list[Item]:
    return [Item.judged(f"q{n}", "?", {"gold" if shared else f"gold{n}": 1}) for n in range(count)]


def with_gold_at(cases: list[Item], rank: int) -> dict[str, list[str]]:
    return {case.id: [*OTHERS[:rank], *case.relevant, *OTHERS[rank:]] for case in cases}


def one_better(cases: list[Item]) -> Rankings:
    return {weights: with_gold_at(cases, 0 if weights == BETTER else 4) for weights in (None, *GRID)}


@pytest.mark.parametrize("serving", [SERVING, None])
def test_the_best_weight_is_chosen_and_its_gain_measured(serving: FusionWeights | None) -> None:
    cases = questions(40)
    fit = fit_fusion(cases, one_better(cases), serving, 5)
    assert (fit.serving, fit.fitted, fit.held_out) == (serving, BETTER, 1.0)
    assert fit.before == pytest.approx(1 / np.log2(6))
    assert fit.gain.value == pytest.approx(fit.held_out - fit.before, abs=1e-6)
    assert fit.certain


def test_where_nothing_is_better_the_serving_weight_stays() -> None:
    cases = questions(40)
    fit = fit_fusion(cases, {weights: with_gold_at(cases, 2) for weights in (None, *GRID)}, SERVING, 5)
    assert fit.fitted == SERVING
    assert (fit.gain.value, fit.certain) == (0.0, False)


def test_luck_is_not_taken_for_a_gain() -> None:
    cases, rng = questions(60), np.random.default_rng(5)
    rankings: Rankings = {}
    for weights in GRID:
        places = rng.integers(0, 9, len(cases))
        rankings[weights] = {case.id: with_gold_at([case], n)[case.id] for case, n in zip(cases, places, strict=True)}
    fit = fit_fusion(cases, rankings, SERVING, 5)
    seen = fit_fusion(cases, rankings, fit.fitted, 5).before
    assert seen > fit.before + 0.03  # control: on the questions that it was fitted to, it looks like a gain
    assert not fit.certain


def test_questions_that_share_a_relevant_document_do_not_vouch_for_each_other() -> None:
    cases = questions(40, shared=True)
    fit = fit_fusion(cases, one_better(cases), SERVING, 5)
    assert (fit.gain.value, fit.certain) == (0.0, False)
    assert fit.fitted == BETTER


@pytest.mark.parametrize(("count", "folds"), [(19, 5), (40, 1), (40, 0), (3, 2)])
def test_too_few_questions_for_the_folds_are_refused(count: int, folds: int) -> None:
    cases = questions(count)
    with pytest.raises(UsageError, match=f"{count} questions cannot make {folds} folds"):
        fit_fusion(cases, one_better(cases), SERVING, folds)


def test_a_gain_is_paired_by_question() -> None:
    before = [0.1 * n for n in range(10)]
    gain = paired_gain(before, [value + 0.01 for value in before])
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.01, 0.01, 0.01))


def test_each_option_ranks_as_the_search_does_that_uses_it(shelf: Shelf) -> None:
    words = ["pump", "valve", "pipe", "gauge", "filter", "hose"]
    shelf.commit(
        {f"{a}-{b}.md": f"The {a} {a} feeds the {b}.\n\nA {b} is checked weekly." for a in words for b in words}
    )
    cases = [
        Item.judged(f"q{n}", f"Which {a} feeds a {b} weekly?", {"x": 1}) for n, (a, b) in enumerate(pairwise(words))
    ]
    weights = FusionWeights(dense=0.9)
    retriever = Retriever(shelf.reader(), EMBEDDER)
    rankings = rank_with_each(retriever, retriever.pin(COLLECTION.name, OWNER), cases, [None, weights])
    assert rankings[None] != rankings[weights]
    assert rankings[None] == {
        case: found[:10] for case, found in rank_documents(retriever, "c", cases, "hybrid")[1].items()
    }
    with shelf.writer.change(COLLECTION, None) as change:
        change.tune(Tuning(fusion=weights))
        change.commit()
    assert rankings[weights] == {
        case: found[:10] for case, found in rank_documents(retriever, "c", cases, "hybrid")[1].items()
    }
