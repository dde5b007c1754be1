"""Merging ranked lists. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from domicile.domain import Candidate

RRF_K = 60
"""The constant of reciprocal rank fusion as published; it damps the weight of the first ranks."""


def reciprocal_rank(lists: Iterable[Sequence[Candidate]], k: int = RRF_K) -> list[Candidate]:
    """Reciprocal rank fusion: the score of a candidate is the sum of 1 / (k + rank), ranks from 1; ties by ``ref``.

    Source: Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
    Learning Methods", SIGIR 2009.
    """
    scores: dict[int, float] = {}
    for ranked in lists:
        for rank, candidate in enumerate(ranked, start=1):
            scores[candidate.ref] = scores.get(candidate.ref, 0.0) + 1.0 / (k + rank)
    return sorted((Candidate(ref, score) for ref, score in scores.items()), key=lambda c: (-c.score, c.ref))
