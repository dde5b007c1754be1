"""Runs a suite through the production search."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from domicile.domain import OWNER, Hit, Mode
from domicile.retrieval import Retriever
from domicile_eval.suites import Case

TOP_K = 100


def rank_documents(
    retriever: Retriever,
    collection: str,
    cases: Sequence[Case],
    mode: Mode,
    advance: Callable[[int], None] = lambda questions: None,
) -> tuple[int, dict[str, list[str]]]:
    """The generation that was searched, and the ranked documents of every question."""
    rankings: dict[str, list[str]] = {}
    generation = 0
    for case in cases:
        result = retriever.search(case.question, collection, OWNER, mode, TOP_K)
        rankings[case.id] = documents_of(result.hits)
        generation = result.generation
        advance(1)
    return generation, rankings


def documents_of(hits: Sequence[Hit]) -> list[str]:
    """The documents of ranked chunks; a document's rank is its first occurrence."""
    return list(dict.fromkeys(hit.chunk.document for hit in hits))
