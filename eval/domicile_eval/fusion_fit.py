"""Fits the weight of the fusion to the judged questions of one collection, and measures what that is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domicile.domain import Candidate, Chunk, FusionWeights, Scope
from domicile.errors import UsageError
from domicile.fusion import fuse, lexical_only
from domicile.ports import Index
from domicile.retrieval import DEPTH, Retriever, in_order
from domicile_eval.items import Item
from domicile_eval.metrics import per_question
from domicile_eval.statistics import SEED, Figure, paired_gain

GRID = tuple(FusionWeights(dense=step / 20) for step in range(21))
"""Finer steps differ by less than a thousandth of nDCG@10."""
TOP = 10
MEASURE = f"nDCG@{TOP}"
MIN_QUESTIONS_A_FOLD = 4

Rankings = dict[FusionWeights | None, dict[str, list[str]]]
"""What each weight (``None``: by ranks) finds: question id to documents, best first."""


@dataclass(frozen=True, slots=True)
class FusionFit:
    """A fit and what it gains.

    Attributes:
        serving: what the collection uses now; ``None`` is reciprocal rank fusion.
        fitted: the best weight for all questions.
        before: mean nDCG@10 with what serves now.
        held_out: mean nDCG@10 where every question is ranked with a weight that was fitted without it.
        gain: of the latter over the former, paired by question.
    """

    serving: FusionWeights | None
    fitted: FusionWeights
    before: float
    held_out: float
    gain: Figure

    @property
    def certain(self) -> bool:
        """Whether questions that the fit has not seen gain, with 95 % confidence."""
        return self.gain.low > 0


def rank_with_each(
    retriever: Retriever,
    index: Index,
    cases: Sequence[Item],
    options: Sequence[FusionWeights | None],
    advance: Callable[[int], None] = lambda questions: None,
) -> Rankings:
    """The first documents of every question under each option; the index is searched once a question.

    Raises:
        InvalidRequest: a question is too long for the embedder.
    """
    rankings: Rankings = {option: {} for option in options}
    chunks: dict[int, Chunk] = {}
    for case in cases:
        question = retriever.ask(case.question)
        dense = index.dense(question.vector, DEPTH, Scope(None))
        lexical = index.lexical(question.text, DEPTH, Scope(None))
        alone = lexical_only(dense, lexical)
        cosines = dict(zip(alone, index.cosines(question.vector, alone), strict=True))
        new = [ref for ref in (*(candidate.ref for candidate in dense), *alone) if ref not in chunks]
        chunks.update(zip(new, index.chunks(new), strict=True))
        for option in options:
            rankings[option][case.id] = _first(fuse(dense, lexical, cosines, option), chunks)
        advance(1)
    return rankings


def fit_fusion(cases: Sequence[Item], rankings: Rankings, serving: FusionWeights | None, folds: int) -> FusionFit:
    """Choose the best weight of ``GRID``, and measure the choice by cross-validation.

    A fold is ranked with the weight that is best for the other folds' questions, without those that share a relevant
    document with it: what is known of its documents must not help.

    Args:
        rankings: of ``rank_with_each`` for ``serving`` and all of ``GRID``.

    Raises:
        UsageError: too few questions for so many folds.
        MissingExtra: the ``eval`` extra is not installed.
    """
    if folds < 2 or len(cases) < MIN_QUESTIONS_A_FOLD * folds:
        raise UsageError(
            f"{len(cases)} questions cannot make {folds} folds: "
            f"there must be 2 folds or more, of {MIN_QUESTIONS_A_FOLD} questions or more"
        )
    before = _ndcg(cases, rankings[serving])
    table = np.array([_ndcg(cases, rankings[weights]) for weights in GRID])
    held_out = before.copy()
    for fold in np.array_split(np.random.default_rng(SEED).permutation(len(cases)), folds):
        judged = {document for number in fold for document in cases[number].relevant}
        unseen = [number for number, case in enumerate(cases) if judged.isdisjoint(case.relevant)]
        if unseen:
            held_out[fold] = table[_best(table[:, unseen], serving)][fold]
    fitted = GRID[_best(table, serving)]
    gain = paired_gain(before.tolist(), held_out.tolist())
    return FusionFit(serving, fitted, float(before.mean()), float(held_out.mean()), gain)


def _first(ranked: Sequence[Candidate], chunks: Mapping[int, Chunk]) -> list[str]:
    found: dict[str, None] = {}
    for _, chunk in in_order(ranked, [chunks[candidate.ref] for candidate in ranked]):
        found[chunk.document] = None
        if len(found) == TOP:
            break
    return list(found)


def _ndcg(cases: Sequence[Item], ranking: Mapping[str, Sequence[str]]) -> NDArray[np.float64]:
    return np.array(per_question(cases, ranking, [MEASURE])[MEASURE])


def _best(table: NDArray[np.float64], serving: FusionWeights | None) -> int:
    """The row of ``GRID`` with the best mean; among equals the nearest to what serves, so that nothing moves for nothing."""
    means = table.mean(axis=1).round(9)
    anchor = serving.dense if serving is not None else 0.5
    return min(range(len(GRID)), key=lambda row: (-means[row], abs(GRID[row].dense - anchor)))
