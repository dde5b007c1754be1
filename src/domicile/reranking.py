"""The best candidates of a search in the order of a model that reads question and passage together, while time allows.

Such a model costs tens of milliseconds a pair, so it reads few of them, the best first, and never beyond the time that
a search has for it: what it did not read stays where it was, and the result says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from domicile.domain import Candidate, Chunk, ModelStatus, Note
from domicile.errors import ModelDamaged, ModelMissing
from domicile.ports import Reranker

SLICE = 4
"""Pairs that are scored between two looks at the clock."""
MAX_HEADING = 300
"""Characters of title and heading before a passage: what is too long for the model loses its end, not these."""
_WARM_UP = "word " * 1_000
"""Fills the window of any model, so that the first estimate is the dearest pair."""

FAILED: Note = "reranker failed"
MISSING: Note = "reranker skipped: missing"
DAMAGED: Note = "reranker skipped: damaged"
NO_TIME: Note = "reranker skipped: no time"
CUT_SHORT: Note = "reranker cut short: no time"


@dataclass(slots=True)
class Pace:
    """How long a pair takes, as far as earlier ones tell. Threads may use it at once: a lost update costs nothing.

    Attributes:
        seconds: for a pair.
    """

    seconds: float

    def pairs_in(self, seconds: float) -> int:
        """As many as fit into this time."""
        return max(0, int(seconds / max(self.seconds, 1e-9)))

    def saw(self, pairs: int, seconds: float) -> None:
        self.seconds += 0.2 * (seconds / pairs - self.seconds)

    def gave_up(self, pairs: int, seconds: float) -> None:
        """They took longer than this; nobody knows how much."""
        self.seconds = max(self.seconds, seconds / pairs)

    def fade(self) -> None:
        """Nothing was tried, so that nothing can be learnt: else one bad minute would be believed for ever."""
        self.seconds *= 0.9


@dataclass(frozen=True, slots=True)
class Reranked:
    """A permutation of the candidates, and what is to be said of it."""

    candidates: list[Candidate]
    notes: tuple[Note, ...] = ()


class Reranking:
    """Puts the best candidates of a search into the order of a reranker. Safe to call from several threads.

    Args:
        name: what ``/readyz`` calls the model.
        load: gives the model; is called here, and the model then scores one long pair.
        depth: candidates that it reads at most.
        seconds: that a search gives it at most.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], Reranker],
        depth: int = 20,
        seconds: float = 1.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._depth = depth
        self._seconds = seconds
        self._clock = clock
        self._lanes = ThreadPoolExecutor(thread_name_prefix="rerank")
        self._pace = Pace(0.0)
        self._reranker: Reranker | None = None
        self._status = ModelStatus(name, "reranker", "ready")
        try:
            reranker = load()
            began = clock()
            reranker.score(_WARM_UP, [_WARM_UP])
            self._pace = Pace(clock() - began)
            self._reranker = reranker
        except ModelMissing as error:
            self._status = ModelStatus(name, "reranker", "missing", str(error))
        except ModelDamaged as error:
            self._status = ModelStatus(name, "reranker", "damaged", str(error))

    @property
    def status(self) -> ModelStatus:
        """Missing or damaged as it was found at the start, or damaged since its last call failed."""
        return self._status

    def reorder(
        self,
        question: str,
        candidates: Sequence[Candidate],
        read: Callable[[Sequence[int]], list[Chunk]],
        within: float = float("inf"),
    ) -> Reranked:
        """The same candidates: first those that the model read, best first, ties in the order that they had, then the rest.

        The score of one that was read is 1 + its probability, and no other one's is above 1, so that scores still fall
        from rank to rank and those of one kind can be compared.

        Args:
            candidates: best first.
            read: the chunks of these numbers, in this order.
            within: seconds, where the request has fewer left than a search gives.
        """
        best = candidates[: self._depth]
        if len(best) < 2:
            return Reranked(list(candidates))
        if self._reranker is None:
            return Reranked(list(candidates), (MISSING if self._status.state == "missing" else DAMAGED,))
        ends = self._clock() + min(within, self._seconds)
        passages = [_passage(chunk) for chunk in read([candidate.ref for candidate in best])]
        try:
            scores = self._score(self._reranker, question, passages, ends)
        except ModelDamaged as error:
            self._status = replace(self._status, state="damaged", reason=str(error))
            return Reranked(list(candidates), (FAILED,))
        if not scores:
            if within >= self._seconds:
                self._pace.fade()
            return Reranked(list(candidates), (NO_TIME,))
        self._status = replace(self._status, state="ready", reason=None)
        return Reranked(_merged(candidates, scores), () if len(scores) == len(best) else (CUT_SHORT,))

    def _score(self, reranker: Reranker, question: str, passages: Sequence[str], ends: float) -> list[float]:
        """The scores of the first passages, as many as there is time for; of at least two, or of none."""
        scores: list[float] = []
        while len(scores) < len(passages):
            left = ends - self._clock()
            part = passages[len(scores) :][: min(SLICE, self._pace.pairs_in(left))]
            if not part or len(scores) + len(part) < 2:
                break
            # in a thread of its own: the model cannot be stopped, but nobody has to wait for it
            future = self._lanes.submit(self._timed, reranker, question, part)
            try:
                scores += future.result(left)
            except TimeoutError:
                future.cancel()
                self._pace.gave_up(len(part), left)
                break
        return scores

    def _timed(self, reranker: Reranker, question: str, passages: Sequence[str]) -> list[float]:
        began = self._clock()
        scores = reranker.score(question, passages)
        self._pace.saw(len(passages), self._clock() - began)
        return scores


def _passage(chunk: Chunk) -> str:
    """What the model reads: title and innermost heading, header of the table, text."""
    heading = " › ".join(dict.fromkeys((chunk.title, *chunk.heading[-1:])))[:MAX_HEADING]
    return "\n".join(part for part in (heading, chunk.context, chunk.text) if part)


def _merged(candidates: Sequence[Candidate], scores: Sequence[float]) -> list[Candidate]:
    read = [Candidate(c.ref, 1.0 + score) for c, score in zip(candidates, scores, strict=False)]
    read.sort(key=lambda candidate: candidate.score, reverse=True)  # stable, so ties stay as they were
    return read + [Candidate(c.ref, min(c.score, 1.0)) for c in candidates[len(scores) :]]
