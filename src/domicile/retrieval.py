"""The search use case: one question, one pinned generation, ranked chunks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from domicile.domain import Candidate, Hit, Mode, Principal, SearchResult
from domicile.errors import EmbedderMismatch, InvalidRequest
from domicile.fusion import reciprocal_rank
from domicile.ports import Embedder, Index, Indexes, Vectors

DEPTH = 200
"""Candidates that each index proposes: fixed, so that ``top_k`` never changes an order."""
MAX_TOP_K = 200
MAX_QUESTION_CHARACTERS = 10_000


@dataclass(frozen=True, slots=True)
class Question:
    """A question that fits the embedder, with its vector.

    Attributes:
        vector: float32 of shape (dimensions,); empty where only words are to be searched.
    """

    text: str
    vector: Vectors


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranked chunks, and the cosine of the nearest one (0 where none was looked for)."""

    hits: tuple[Hit, ...]
    nearest: float


@dataclass(slots=True)
class Stopwatch:
    """Wall time of each stage in milliseconds."""

    clock: Callable[[], float]
    timings: dict[str, float] = field(default_factory=dict)
    _last: float = 0.0

    def __post_init__(self) -> None:
        self._last = self.clock()

    def lap(self, stage: str) -> None:
        now = self.clock()
        self.timings[stage] = round(self.timings.get(stage, 0.0) + (now - self._last) * 1e3, 3)
        self._last = now


class Retriever:
    """Searches collections.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, indexes: Indexes, embedder: Embedder, clock: Callable[[], float] = time.perf_counter) -> None:
        self._indexes = indexes
        self._embedder = embedder
        self._clock = clock

    def pin(self, collection: str, principal: Principal) -> Index:
        """The generation that one request uses from start to end.

        Raises:
            UnknownCollection, NoIntactGeneration: see ``Indexes.pin``.
            EmbedderMismatch: it was made by another embedder; searching it would return nonsense.
        """
        index = self._indexes.pin(collection, principal)
        if index.fingerprint != self._embedder.fingerprint:
            raise EmbedderMismatch(
                f"collection {collection!r} was embedded by another model ({index.fingerprint}) than {self._embedder.name} "
                f"({self._embedder.fingerprint}): set models.embedder back, or ingest it again into a new collection"
            )
        return index

    def ask(self, text: str, name: str = "query", mode: Mode = "hybrid") -> Question:
        """Check a question and, where the mode needs it, embed it; ``name`` is the parameter that an error should name.

        Raises:
            InvalidRequest: empty, or longer than the embedder can read.
        """
        cleaned = "".join(c if c.isprintable() else " " for c in text).strip()
        if not cleaned:
            raise InvalidRequest(name, "is empty: ask something")
        if len(cleaned) > MAX_QUESTION_CHARACTERS:
            raise InvalidRequest(name, f"has {len(cleaned):,} characters: at most {MAX_QUESTION_CHARACTERS:,} are read")
        limit = self._embedder.max_pieces - 2
        if (pieces := len(self._embedder.pieces(cleaned))) > limit:
            raise InvalidRequest(name, f"has {pieces} word pieces: {self._embedder.name} reads {limit}; shorten it")
        words_only = mode == "lexical"
        return Question(cleaned, np.empty(0, np.float32) if words_only else self._embedder.embed([cleaned], "query")[0])

    def search(
        self, text: str, collection: str, principal: Principal, mode: Mode = "hybrid", top_k: int = 10
    ) -> SearchResult:
        """The best ``top_k`` chunks that this principal may read.

        Raises:
            InvalidRequest: the question or ``top_k`` is out of bounds.
            UnknownCollection, NoIntactGeneration, EmbedderMismatch: see ``pin``.
        """
        if not 1 <= top_k <= MAX_TOP_K:
            raise InvalidRequest("top_k", f"must be from 1 to {MAX_TOP_K}")
        watch = Stopwatch(self._clock)
        index = self.pin(collection, principal)
        question = self.ask(text, mode=mode)
        watch.lap("embed")
        hits = self.rank(question, index, principal, mode, top_k, watch).hits
        return SearchResult(collection, index.generation, mode, hits, watch.timings)

    def rank(
        self, question: Question, index: Index, principal: Principal, mode: Mode, top_k: int, watch: Stopwatch
    ) -> Ranking:
        """Rank the chunks of a pinned generation."""
        lists: list[list[Candidate]] = []
        if mode != "lexical":
            lists.append(index.dense(question.vector, DEPTH, principal.groups))
            watch.lap("dense")
        if mode != "dense":
            lists.append(index.lexical(question.text, DEPTH, principal.groups))
            watch.lap("lexical")
        ranked = (reciprocal_rank(lists) if mode == "hybrid" else lists[0])[:top_k]
        chunks = index.chunks([candidate.ref for candidate in ranked])
        watch.lap("fetch")
        hits = tuple(Hit(rank, c.score, chunk) for rank, (c, chunk) in enumerate(zip(ranked, chunks, strict=True), 1))
        return Ranking(hits, lists[0][0].score if mode != "lexical" and lists[0] else 0.0)
