"""Reciprocal rank fusion by its definition."""

from __future__ import annotations

from domicile.domain import Candidate
from domicile.fusion import reciprocal_rank


def test_scores_are_the_published_formula() -> None:
    fused = reciprocal_rank([[Candidate(1, 9.0), Candidate(2, 8.0)], [Candidate(2, 0.5)]])
    assert fused == [Candidate(2, 1 / 62 + 1 / 61), Candidate(1, 1 / 61)]


def test_ties_break_by_number_whatever_the_order_of_the_lists() -> None:
    lists = [[Candidate(7, 1.0)], [Candidate(3, 1.0)]]
    assert [c.ref for c in reciprocal_rank(lists)] == [c.ref for c in reciprocal_rank(lists[::-1])] == [3, 7]


def test_nothing_fuses_to_nothing() -> None:
    assert reciprocal_rank([]) == []
