"""Both ways to merge two lists, by their definitions and by what must hold for any lists."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domicile.domain import Candidate, FusionWeights, Tuning
from domicile.fusion import COVERED, SHIPPED, fuse, lexical_only, reciprocal_rank, weights_for

Lists = tuple[list[Candidate], list[Candidate], dict[int, float]]
EVEN = FusionWeights(dense=0.5)
COSINES = st.one_of(st.sampled_from([-1.0, -0.25, 0.0, 0.5, 1.0]), st.floats(-1, 1, allow_subnormal=False))
SHARES = st.one_of(st.sampled_from([0.0, 0.25, 1.0]), st.floats(0, 1, allow_subnormal=False))
WEIGHTS = st.builds(FusionWeights, dense=st.one_of(st.sampled_from([0.0, 0.4, 1.0]), st.floats(0, 1)))


def best_first(scores: dict[int, float]) -> list[Candidate]:
    return sorted((Candidate(ref, score) for ref, score in scores.items()), key=lambda c: (-c.score, c.ref))


@st.composite
def lists(draw: st.DrawFn) -> Lists:
    near = draw(st.dictionaries(st.integers(0, 20), COSINES, max_size=12))
    worded = draw(st.dictionaries(st.integers(0, 20), SHARES, max_size=12))
    return best_first(near), best_first(worded), {ref: draw(COSINES) for ref in worded if ref not in near}


def test_the_score_is_the_weighted_sum_of_cosine_and_coverage() -> None:
    fused = fuse([Candidate(1, 0.8), Candidate(2, 0.5)], [Candidate(2, 0.5), Candidate(3, 0.25)], {3: -0.25}, EVEN)
    assert fused == [Candidate(2, 0.75), Candidate(1, 0.4), Candidate(3, 0.125)]


def test_a_share_beyond_full_coverage_gains_nothing() -> None:
    fused = fuse([Candidate(1, 0.8), Candidate(2, 0.7)], [Candidate(2, 1.0), Candidate(1, 0.5)], {}, EVEN)
    assert fused == [Candidate(1, 0.9), Candidate(2, 0.85)]


def test_the_weight_is_the_share_of_the_dense_score() -> None:
    near, worded = [Candidate(1, 1.0), Candidate(2, 0.0)], [Candidate(2, 0.5)]
    assert [c.ref for c in fuse(near, worded, {}, FusionWeights(dense=0.6))] == [1, 2]
    assert [c.ref for c in fuse(near, worded, {}, FusionWeights(dense=0.4))] == [2, 1]


def test_equal_scores_are_ordered_by_number() -> None:
    fused = fuse([Candidate(7, 0.5), Candidate(5, 0.0)], [Candidate(3, 0.25)], {3: 0.0}, EVEN)
    assert fused == [Candidate(3, 0.25), Candidate(7, 0.25), Candidate(5, 0.0)]


def test_a_lexical_candidate_without_its_cosine_is_refused() -> None:
    with pytest.raises(KeyError):
        fuse([], [Candidate(3, 0.5)], {}, EVEN)


def test_what_needs_a_cosine_is_what_only_the_words_found() -> None:
    assert lexical_only([Candidate(1, 0.9)], [Candidate(4, 0.5), Candidate(1, 0.4), Candidate(2, 0.1)]) == [2, 4]


def test_what_was_fitted_goes_before_what_is_shipped() -> None:
    name, shipped = next(iter(SHIPPED.items()))
    assert weights_for(Tuning(), name) == shipped
    assert weights_for(Tuning(fusion=EVEN), name) == EVEN
    assert weights_for(Tuning(fusion=EVEN), "another") == EVEN


def test_an_embedder_of_unknown_scale_is_fused_by_ranks() -> None:
    assert weights_for(Tuning(), "another") is None
    near, worded = [Candidate(1, 0.9), Candidate(2, 0.8)], [Candidate(2, 0.5)]
    assert fuse(near, worded, {}, None) == reciprocal_rank([near, worded])


def test_cosines_of_others_add_no_candidate() -> None:
    assert fuse([], [], {3: 0.5}, EVEN) == []


@given(lists(), WEIGHTS)
def test_every_candidate_is_ranked_once_with_a_finite_score(found: Lists, weights: FusionWeights) -> None:
    dense, lexical, cosines = found
    fused = fuse(dense, lexical, cosines, weights)
    assert sorted(c.ref for c in fused) == sorted({c.ref for c in dense + lexical})
    assert all(math.isfinite(c.score) for c in fused)
    assert fused == sorted(fused, key=lambda c: (-c.score, c.ref))


@given(lists(), WEIGHTS)
def test_the_order_of_the_lists_does_not_matter(found: Lists, weights: FusionWeights) -> None:
    dense, lexical, cosines = found
    shuffled = (dense[::-1], lexical[::-1], dict(reversed(cosines.items())))
    assert fuse(*shuffled, weights) == fuse(dense, lexical, cosines, weights)


@given(lists(), WEIGHTS, st.data())
def test_a_better_score_never_costs_a_rank(found: Lists, weights: FusionWeights, data: st.DataObject) -> None:
    dense, lexical, cosines = found
    raised = data.draw(st.sampled_from(dense + lexical)) if dense + lexical else None
    if raised is None:
        return
    more = replace(raised, score=raised.score + data.draw(st.floats(0, 1)))
    better = [[more if c is raised else c for c in ranked] for ranked in (dense, lexical)]

    def rank(of: list[Candidate]) -> int:
        return [c.ref for c in of].index(raised.ref)

    assert rank(fuse(better[0], better[1], cosines, weights)) <= rank(fuse(dense, lexical, cosines, weights))


@given(lists())
def test_a_weight_of_one_or_nothing_leaves_one_list_in_its_order(found: Lists) -> None:
    dense, lexical, cosines = found
    assert [c.ref for c in fuse(dense, [], {}, EVEN)] == [c.ref for c in dense]
    worded = {c.ref: c.score for c in lexical}
    by_words = fuse(dense, lexical, cosines, FusionWeights(dense=0.0))
    covered = [min(worded.get(c.ref, 0.0) / COVERED, 1.0) for c in by_words]
    assert covered == sorted(covered, reverse=True) == [c.score for c in by_words]


def test_reciprocal_ranks_are_the_published_formula() -> None:
    fused = reciprocal_rank([[Candidate(1, 9.0), Candidate(2, 8.0)], [Candidate(2, 0.5)]])
    assert fused == [Candidate(2, 1 / 62 + 1 / 61), Candidate(1, 1 / 61)]


def test_reciprocal_ranks_tie_by_number_whatever_the_order_of_the_lists() -> None:
    lists = [[Candidate(7, 1.0)], [Candidate(3, 1.0)]]
    assert [c.ref for c in reciprocal_rank(lists)] == [c.ref for c in reciprocal_rank(lists[::-1])] == [3, 7]


def test_nothing_fuses_to_nothing() -> None:
    assert reciprocal_rank([]) == reciprocal_rank([[], []]) == []
