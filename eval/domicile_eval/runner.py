"""Runs a suite through the production search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from domicile.domain import OWNER, Hit, Mode, Note
from domicile.retrieval import Retriever
from domicile_eval.suites import Case

TOP_K = 100


class Ranked(NamedTuple):
    """What a suite found.

    Attributes:
        generation: that was searched.
        rankings: the ranked documents of every question.
        notes: how many searches had to do without something.
    """

    generation: int
    rankings: dict[str, list[str]]
    notes: Counter[Note]


def rank_documents(
    retriever: Retriever,
    collection: str,
    cases: Sequence[Case],
    mode: Mode,
    advance: Callable[[int], None] = lambda questions: None,
) -> Ranked:
    """Ask every question of the suite."""
    rankings: dict[str, list[str]] = {}
    notes: Counter[Note] = Counter()
    generation = 0
    for case in cases:
        result = retriever.search(case.question, collection, OWNER, mode, TOP_K)
        rankings[case.id] = documents_of(result.hits)
        generation = result.generation
        notes.update(result.notes)
        advance(1)
    return Ranked(generation, rankings, notes)


def documents_of(hits: Sequence[Hit]) -> list[str]:
    """The documents of ranked chunks; a document's rank is its first occurrence."""
    return list(dict.fromkeys(hit.chunk.document for hit in hits))
