"""The search use case: one question, one pinned generation, ranked chunks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from domicile.domain import Candidate, Chunk, Condition, Hit, Mode, ModelStatus, Note, Principal, Scope, SearchResult
from domicile.errors import EmbedderMismatch, InvalidRequest
from domicile.fusion import fuse, lexical_only, weights_for
from domicile.ports import Embedder, Index, Indexes, Vectors
from domicile.reranking import Reranked, Reranking

DEPTH = 200
"""Candidates that each index proposes: fixed, so that ``top_k`` never changes an order."""
MAX_TOP_K = 200
MAX_QUESTION_CHARACTERS = 10_000
REMEMBERED_QUESTIONS = 2_048
"""Vectors of questions that are kept: 3 MB for 384 dimensions."""


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
    """Ranked chunks, and what each index thought.

    Attributes:
        dense, lexical: the first ten candidates of each, with cosine and share of BM25; empty where it was not asked.
        notes: what it had to do without.
    """

    hits: tuple[Hit, ...]
    dense: tuple[Candidate, ...] = ()
    lexical: tuple[Candidate, ...] = ()
    notes: tuple[Note, ...] = ()


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
        reranking: of hybrid searches; the two others show what one index found.
    """

    def __init__(
        self,
        indexes: Indexes,
        embedder: Embedder,
        clock: Callable[[], float] = time.perf_counter,
        reranking: Reranking | None = None,
    ) -> None:
        self._indexes = indexes
        self._embedder = embedder
        self._clock = clock
        self._reranking = reranking
        self._vector = lru_cache(REMEMBERED_QUESTIONS)(self._embed)
        self._beside = ThreadPoolExecutor(thread_name_prefix="lexical")

    def reranker_status(self) -> ModelStatus | None:
        """The state of the reranker; ``None`` where none is configured."""
        return None if self._reranking is None else self._reranking.status

    def pin(self, collection: str, principal: Principal, *, fresh: bool = False) -> Index:
        """The generation that one request uses from start to end; ``fresh`` as in ``Indexes.pin``.

        Raises:
            UnknownCollection, NoIntactGeneration: see ``Indexes.pin``.
            EmbedderMismatch: it was made by another embedder; searching it would return nonsense.
        """
        index = self._indexes.pin(collection, principal, fresh=fresh)
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
        return Question(cleaned, np.empty(0, np.float32) if mode == "lexical" else self._vector(cleaned))

    def _embed(self, text: str) -> Vectors:
        vector: Vectors = self._embedder.embed([text], "query")[0]
        vector.flags.writeable = False  # it is shared by all who ask the same
        return vector

    def search(
        self,
        text: str,
        collection: str,
        principal: Principal,
        mode: Mode = "hybrid",
        top_k: int = 10,
        conditions: tuple[Condition, ...] = (),
    ) -> SearchResult:
        """The best ``top_k`` chunks that this principal may read, of the documents that meet the conditions.

        Raises:
            InvalidRequest: the question, ``top_k`` or a condition is out of bounds.
            UnknownCollection, NoIntactGeneration, EmbedderMismatch: see ``pin``.
        """
        if not 1 <= top_k <= MAX_TOP_K:
            raise InvalidRequest("top_k", f"must be from 1 to {MAX_TOP_K}")
        watch = Stopwatch(self._clock)
        index = self.pin(collection, principal)
        question = self.ask(text, mode=mode)
        watch.lap("embed")
        found = self.rank(question, index, Scope(principal.groups, conditions), mode, top_k, watch)
        return SearchResult(collection, index.generation, mode, found.hits, watch.timings, found.notes)

    def rank(
        self,
        question: Question,
        index: Index,
        scope: Scope,
        mode: Mode,
        top_k: int,
        watch: Stopwatch,
        deadline: float = float("inf"),
    ) -> Ranking:
        """Rank the chunks of a pinned generation; ``deadline`` is on the clock of ``watch``, for the reranker."""
        beside = self._beside.submit(index.lexical, question.text, DEPTH, scope) if mode == "hybrid" else None
        dense = index.dense(question.vector, DEPTH, scope) if mode != "lexical" else []
        watch.lap("dense")
        lexical = beside.result() if beside else index.lexical(question.text, DEPTH, scope) if mode == "lexical" else []
        watch.lap("lexical")
        ranked = Reranked(self._fused(question, index, dense, lexical) if mode == "hybrid" else dense or lexical)
        watch.lap("fuse")
        if self._reranking is not None and mode == "hybrid":
            left = deadline - watch.clock()
            ranked = self._reranking.reorder(question.text, ranked.candidates, index.chunks, left)
            watch.lap("rerank")
        best = ranked.candidates[: _with_ties(ranked.candidates, top_k)]
        chunks = index.chunks([candidate.ref for candidate in best])
        watch.lap("fetch")
        ordered = in_order(best, chunks)[:top_k]
        hits = tuple(Hit(rank, candidate.score, chunk) for rank, (candidate, chunk) in enumerate(ordered, 1))
        return Ranking(hits, tuple(dense[:10]), tuple(lexical[:10]), ranked.notes)

    def _fused(
        self, question: Question, index: Index, dense: Sequence[Candidate], lexical: Sequence[Candidate]
    ) -> list[Candidate]:
        """By score where the scale of this embedder's cosines is known, else by rank."""
        weights = weights_for(index.tuning, self._embedder.name)
        alone = [] if weights is None else lexical_only(dense, lexical)
        return fuse(dense, lexical, dict(zip(alone, index.cosines(question.vector, alone), strict=True)), weights)


def in_order(candidates: Sequence[Candidate], chunks: Sequence[Chunk]) -> list[tuple[Candidate, Chunk]]:
    """Candidates with their chunks, best first, ties by the chunk's id: numbers change when segments are merged."""
    return sorted(zip(candidates, chunks, strict=True), key=lambda pair: (-pair[0].score, pair[1].id))


def _with_ties(candidates: Sequence[Candidate], k: int) -> int:
    """How many candidates are as good as the ``k``-th."""
    while 0 < k < len(candidates) and candidates[k].score == candidates[k - 1].score:
        k += 1
    return k
