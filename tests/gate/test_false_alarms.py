"""How often the gate alarms where nothing changed, and where something did.

Two real variants of the search answer the same questions. Where for each question a coin decides which of the two counts as
"before", neither side is better, though most of their values differ: whatever alarms then is a false alarm.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from gate.healthy import COLLECTION, Healthy

from domicile.domain import Mode
from domicile_eval.baselines import accepted
from domicile_eval.gate import Verdict, judge
from domicile_eval.items import Item
from domicile_eval.metrics import per_question
from domicile_eval.results import Result, Run
from domicile_eval.runner import rank_documents
from domicile_eval.suites import open_suite

COMPARISONS = int(os.environ.get("DOMICILE_COMPARISONS", "200"))
"""A thousand in ``make gate-nightly``."""
PLANTED = 20
METRICS = {"ndcg@10": "nDCG@10", "r@1": "R@1"}
"""The primary metrics here: one that is graded, and one that is 0 or 1 for most questions, as ``correct`` is."""
PAIRS = [("hybrid", "dense"), ("hybrid", "lexical"), ("lexical", "dense")]

Variants = Mapping[str, Run]


@pytest.fixture(scope="module")
def variants(healthy: Healthy) -> Variants:
    """The same index, searched by meaning, by words and by both."""
    items = open_suite("found", healthy.suites).items
    modes: tuple[Mode, ...] = ("hybrid", "dense", "lexical")
    return {mode: searched(healthy, items, mode) for mode in modes}


def searched(healthy: Healthy, items: Sequence[Item], mode: Mode) -> Run:
    retriever = healthy.home.retriever(healthy.home.indexes(), healthy.home.embedder())
    ranked = rank_documents(retriever, COLLECTION, items, mode)
    found = per_question(items, ranked.rankings, list(METRICS.values()))
    results = tuple(
        Result(
            item.id,
            item.question,
            tuple(item.kinds),
            item.split,
            {name: found[measure][n] for name, measure in METRICS.items()},
            ranking=ranked.chunks[item.id],
            gold=tuple(item.relevant),
        )
        for n, item in enumerate(items)
    )
    return Run("found", "h", COLLECTION, 1, {"mode": mode}, {}, results)


def verdict(before: Run, after: Run) -> Verdict:
    found = judge(accepted(before, "this side of a comparison"), after, {}, metrics=tuple(METRICS))
    assert found.lane == "change"
    return found


def dealt(one: Run, other: Run, rng: np.random.Generator, by: str = "id") -> tuple[Run, Run]:
    """For each question, or for each cluster, a coin decides which variant is before and which after."""
    owners = list(dict.fromkeys(getattr(result, by) for result in one.results))
    coins = dict(zip(owners, rng.integers(0, 2, len(owners)), strict=True))
    pairs = [
        pair[::-1] if coins[getattr(pair[0], by)] else pair for pair in zip(one.results, other.results, strict=True)
    ]
    before, after = zip(*pairs, strict=True)
    return replace(one, results=before, fingerprint={"side": "before"}), replace(
        one, results=after, fingerprint={"side": "after"}
    )


def lost(run: Run, share: float, rng: np.random.Generator) -> Run:
    """The run in which that share of the questions finds nothing of what it looks for."""
    chosen = set(rng.permutation(len(run.results))[: round(share * len(run.results))].tolist())
    nothing = dict.fromkeys(METRICS, 0.0)
    results = tuple(replace(result, values=nothing) if n in chosen else result for n, result in enumerate(run.results))
    return replace(run, results=results)


def mean(run: Run, metric: str = "ndcg@10") -> float:
    return float(np.mean(list(run.values(metric).values())))


def alarms(variants: Variants, comparisons: int, by: str) -> int:
    rng = np.random.default_rng(20_260_102)
    found = []
    for n in range(comparisons):
        one, other = (variants[name] for name in PAIRS[n % len(PAIRS)])
        judged = verdict(*dealt(one, other, rng, by))
        assert any(change.difference.value for change in judged.changes)  # the sides do differ
        assert judged.slices
        if not judged.passed:
            found.append(judged.findings)
    print(f"by {by}: {len(found)} alarms in {comparisons} comparisons: {found}")
    return len(found)


def test_equal_sides_alarm_at_most_once_in_twenty(variants: Variants) -> None:
    """The count itself, over all pairs of variants, is at most 5 %. By its rules the gate alarms at most 3.5 % of the time
    (2.5 % pooled, 1 % slices); of 200 comparisons more than ten would then be 1 series in 11, were the seed not fixed."""
    assert alarms(variants, COMPARISONS, "id") <= 0.05 * COMPARISONS


def test_equal_sides_that_differ_by_document_alarm_at_most_once_in_five(variants: Variants) -> None:
    """A known weakness, see ``judge``: one coin for all questions of a document makes for 100 alarms in 1,000. Fewer
    comparisons than above say less, so the bound is wider."""
    comparisons = COMPARISONS // 4
    assert alarms(variants, comparisons, "cluster") <= 0.2 * comparisons


@pytest.mark.parametrize(("better", "worse"), PAIRS[:2])
def test_the_variants_themselves_are_told_apart(variants: Variants, better: str, worse: str) -> None:
    """The control: the same two variants, not dealt but whole, are a real drop, and the other way round a gain."""
    before, after = variants[better], variants[worse]
    assert mean(before) - mean(after) > 0.02
    assert "ndcg@10 fell by" in " ".join(verdict(before, after).findings)
    assert verdict(after, before).passed


def test_a_drop_that_is_planted_in_equal_sides_alarms(variants: Variants) -> None:
    """One question in eight finds nothing any more, behind all the noise of two variants."""
    rng = np.random.default_rng(20_260_103)
    seen = 0
    for _ in range(PLANTED):
        before, after = dealt(variants["hybrid"], variants["lexical"], rng)
        fallen = lost(after, 0.125, rng)
        assert mean(after) - mean(fallen) > 0.05
        seen += not verdict(before, fallen).passed
    assert seen >= 0.95 * PLANTED


def test_a_small_drop_is_seen_where_little_else_changed(variants: Variants) -> None:
    """One question in twenty finds nothing any more; all others are as they were."""
    rng = np.random.default_rng(20_260_104)
    run = variants["hybrid"]
    again = replace(run, fingerprint={"mode": "again"})
    assert verdict(run, again).passed
    assert all(not verdict(run, lost(again, 0.05, rng)).passed for _ in range(PLANTED))
