"""Merging the dense and the lexical list. Pure. ADR 12 has the alternatives and what they were worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

from domicile.domain import Candidate, FusionWeights, Tuning

RRF_K = 60
"""The constant of reciprocal rank fusion as published; it damps the weight of the first ranks."""

COVERED = 0.5
"""The share from which a chunk counts as holding all words of the question.

One of average length that has each of them once reaches .45. What lies beyond is repetition and brevity, which say
little of meaning, and where the words are few, as in "What is X?", every chunk about X is there.
"""

SHIPPED: Mapping[str, FusionWeights] = {"all-minilm-l6-v2": FusionWeights(dense=0.55)}
"""By the name of the embedder, since each has a scale of cosines of its own; any other one is fused by ranks."""


def weights_for(tuning: Tuning, embedder: str) -> FusionWeights | None:
    """What was fitted to the collection, else what is shipped for the embedder of this name, else ``None``."""
    return tuning.fusion or SHIPPED.get(embedder)


def lexical_only(dense: Sequence[Candidate], lexical: Sequence[Candidate]) -> list[int]:
    """The candidates whose cosines ``fuse`` needs beside the two lists."""
    return sorted({candidate.ref for candidate in lexical} - {candidate.ref for candidate in dense})


def fuse(
    dense: Sequence[Candidate],
    lexical: Sequence[Candidate],
    cosines: Mapping[int, float],
    weights: FusionWeights | None,
) -> list[Candidate]:
    """A convex combination of scores, best first, ties by ``ref``; without weights, ``reciprocal_rank``.

    ``score = w * cosine + (1 - w) * min(share / COVERED, 1)``, where ``share`` is BM25 over the most that the words of
    the question could reach. Neither part depends on the other candidates, so a weak list stays weak: nothing
    stretches it to 0..1.

    Args:
        dense: scores are cosines.
        lexical: scores are shares, 0 to 1; who is not among them has a share of 0.
        cosines: of the candidates of ``lexical_only``.

    Raises:
        KeyError: a candidate has no cosine.
    """
    if weights is None:
        return reciprocal_rank([dense, lexical])
    covered = {candidate.ref: min(candidate.score / COVERED, 1.0) for candidate in lexical}
    near = {candidate.ref: candidate.score for candidate in dense}
    near.update((ref, cosines[ref]) for ref in covered if ref not in near)
    w = weights.dense
    return _ranked({ref: w * cosine + (1.0 - w) * covered.get(ref, 0.0) for ref, cosine in near.items()})


def reciprocal_rank(lists: Iterable[Sequence[Candidate]], k: int = RRF_K) -> list[Candidate]:
    """Reciprocal rank fusion: the score of a candidate is the sum of 1 / (k + rank), ranks from 1; ties by ``ref``.

    Source: Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
    Learning Methods", SIGIR 2009.
    """
    scores: dict[int, float] = {}
    for ranked in lists:
        for rank, candidate in enumerate(ranked, start=1):
            scores[candidate.ref] = scores.get(candidate.ref, 0.0) + 1.0 / (k + rank)
    return _ranked(scores)


def _ranked(scores: Mapping[int, float]) -> list[Candidate]:
    ordered = sorted(scores.items(), key=itemgetter(0))
    ordered.sort(key=itemgetter(1), reverse=True)  # stable, so ties stay by ref
    return [Candidate(ref, score) for ref, score in ordered]
