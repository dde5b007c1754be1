"""Choosing the sentences that answer: the same embedder once more, sentence by sentence, inside the best chunks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from domicile.domain import Chunk, Evidence, Hit
from domicile.grounding import words
from domicile.ports import Embedder, SentenceSplitter
from domicile.retrieval import Question

MAX_CHUNKS = 4
MAX_SENTENCES = 32
"""Bounds of what one question may embed. Of 300 questions to squad-dev, chunks 5 and 6 held the answer to 5 more."""
MIN_CHARACTERS = 12
LEXICAL_WEIGHT = 0.7
RANK_WEIGHT = 0.02


@dataclass(frozen=True, slots=True)
class Selection:
    """Evidence, best first and numbered from 1, and how likely it is that it answers at all.

    Attributes:
        confidence: 0 to 1; see ``confidence``.
        scores: cosine and word overlap of the best sentence, of which the confidence was made.
    """

    evidence: tuple[Evidence, ...]
    confidence: float
    scores: tuple[float, float] = (0.0, 0.0)


class EvidenceSelector:
    """Scores the sentences of retrieved chunks against the question."""

    def __init__(self, embedder: Embedder, splitter: SentenceSplitter) -> None:
        self._embedder = embedder
        self._splitter = splitter

    def select(self, question: Question, hits: Sequence[Hit], nearest: float) -> Selection:
        """The sentences of the best chunks, best first.

        A sentence's score is its cosine with the question, plus the share of the question's words that it holds
        (weighted by how rare they are among the sentences), less a little for the rank of its chunk.

        Args:
            nearest: the cosine of the nearest chunk, see ``confidence``.
        """
        sentences = self._sentences(hits, set(words(question.text)))
        if not sentences:
            return Selection((), 0.0)
        vectors = self._embedder.embed(
            [f"{item.context}: {item.text}" if item.context else item.text for item in sentences], "document"
        )
        cosines = vectors @ question.vector
        overlaps = _overlaps(question.text, sentences)
        scores = cosines + LEXICAL_WEIGHT * overlaps + np.array([item.score for item in sentences])
        order = sorted(range(len(sentences)), key=lambda i: (-scores[i], sentences[i].chunk.id, sentences[i].start))
        chosen: list[Evidence] = []
        for i in order:
            if all(sentences[i].text != other.text for other in chosen):
                chosen.append(replace(sentences[i], n=len(chosen) + 1, score=float(scores[i])))
        scored = float(cosines[order[0]]), float(overlaps[order[0]])
        return Selection(tuple(chosen), confidence(*scored, nearest), scored)

    def _sentences(self, hits: Sequence[Hit], asked: set[str]) -> list[Evidence]:
        """The candidates, not numbered yet; their score is only what the rank of their chunk costs them."""
        found: list[Evidence] = []
        for hit in hits[:MAX_CHUNKS]:
            for start, end in self._splitter.split(hit.chunk.text):
                text = hit.chunk.text[start:end]
                if _may_answer(text, asked):
                    found.append(
                        Evidence(
                            0,
                            text,
                            hit.chunk.start + start,
                            hit.chunk.start + end,
                            -RANK_WEIGHT * (hit.rank - 1),
                            hit.chunk,
                            _context(hit.chunk),
                        )
                    )
        return found[:MAX_SENTENCES]


def _may_answer(text: str, asked: set[str]) -> bool:
    """Headings and scraps do not, nor what hardly says more than the question: a number, or two more words."""
    if len(text) < MIN_CHARACTERS or text.startswith("#") or text.isupper():
        return False
    added = set(words(text)) - asked
    return len(added) > 1 or any(word[0].isdigit() for word in added)


def _context(chunk: Chunk) -> str:
    """What a sentence needs to be understood alone: the end of its heading path, and the header of its table."""
    return ": ".join(part for part in (chunk.heading[-1] if chunk.heading else "", chunk.context) if part)


def _overlaps(question: str, sentences: Sequence[Evidence]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """For each sentence, the share of the question's words that it holds, rare words counting more; 0 to 1."""
    asked = list(dict.fromkeys(words(question)))
    held = [set(words(f"{item.chunk.title} {item.context} {item.text}")) for item in sentences]
    weights = {word: math.log(1 + len(held) / (1 + sum(word in h for h in held))) for word in asked}
    total = sum(weights.values()) or 1.0
    return np.array([sum(weights[word] for word in asked if word in h) / total for h in held])


def confidence(cosine: float, overlap: float, nearest: float) -> float:
    """The probability that the best sentence answers the question.

    A logistic function of the sentence's cosine and word overlap with the question and of the cosine of the nearest
    chunk, fitted on 300 answerable questions of squad-dev against 300 questions of four other corpora
    (``benchmarks/evidence.py``): AUROC .994. It tells questions that these documents are not about; it can hardly tell a
    close miss (AUROC .64).
    """
    return 1.0 / (1.0 + math.exp(-(-6.0 + 4.58 * cosine + 5.52 * overlap + 4.48 * nearest)))
