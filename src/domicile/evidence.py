"""Choosing the sentences that answer: the same embedder once more, sentence by sentence, inside the best chunks."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from domicile import definitions, editions
from domicile.confidence import NONE, Features, confidence, features
from domicile.domain import Chunk, Evidence, Hit
from domicile.grounding import words
from domicile.ports import Embedder, Index, SentenceSplitter, Vectors
from domicile.retrieval import Question, Ranking
from domicile.sentence_vectors import SentenceVectors

MAX_CHUNKS = 4
"""Of 300 questions to squad-dev, chunks 5 and 6 held the answer to 5 more."""
MAX_READ = 64
"""Sentences of one chunk that are looked at: no chunk keeps another one from being read."""
MAX_EMBEDDED = 12
"""Of them, those that are embedded: the ones that share most words with the question."""
MIN_CHARACTERS = 12
LEXICAL_WEIGHT = 0.7
WORDING_WEIGHT = 0.5
RANK_WEIGHT = 0.02
REMEMBERED_SENTENCES = 16_384
"""Vectors of sentences that are kept: 25 MB for 384 dimensions."""
_TOKEN = re.compile(r"\w+")
_ENTRY = re.compile(r"(?:[|;=\t]|,(?=\S)|:\s|\s[–—-]\s)\s*\w")
_DENIALS = frozenset({"no", "not"})

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Selection:
    """Evidence, best first and numbered from 1, and how likely it is that it answers at all.

    Attributes:
        confidence: 0 to 1; see ``domicile.confidence``.
        features: of which the confidence was made.
    """

    evidence: tuple[Evidence, ...]
    confidence: float
    features: Features = NONE


class EvidenceSelector:
    """Scores the sentences of retrieved chunks against the question. Safe to call from several threads."""

    def __init__(self, embedder: Embedder, splitter: SentenceSplitter) -> None:
        self._embedder = embedder
        self._splitter = splitter
        self._vectors = SentenceVectors(REMEMBERED_SENTENCES)

    def select(self, question: Question, ranking: Ranking, index: Index, said: tuple[str, ...] = ()) -> Selection:
        """The sentences of the best chunks, best first.

        A sentence's score is its cosine with the question; plus the share of the question's words that it holds, rare
        ones counting more; plus the share of its words as they are written, small ones included; less a little for the
        rank of its chunk. Heading, term and table header count as its words. What says the same as a better one is left
        out, and what an outdated edition says where the current one says as much (``domicile.editions``).

        Args:
            ranking: of this question, or of the one that it was made into for the search.
            index: that was searched.
            said: what may name an edition, most telling first, where that is not the question alone.
        """
        said = said or (question.text,)
        hits = _with_current_editions(said, ranking.hits)
        asked = _Asked.of(question.text)
        sentences = [item for hit in hits for item in self._sentences(hit, asked)[:MAX_READ]]
        sentences, lexical, overlaps = _nearest_in_words(sentences, asked)
        if not sentences:
            return Selection((), 0.0)
        cosines = self._embed(sentences, index) @ question.vector
        scores = cosines + lexical
        order = sorted(range(len(sentences)), key=lambda i: (-scores[i], sentences[i].chunk.id, sentences[i].start))
        ranked = [replace(sentences[i], score=float(scores[i])) for i in order]
        chosen = _distinct(_current(said, ranked) or ranked)
        best = order[ranked.index(chosen[0])]
        found = features(float(cosines[best]), float(overlaps[best]), ranking.dense, ranking.lexical)
        numbered = tuple(replace(item, n=n) for n, item in enumerate(chosen, start=1))
        return Selection(numbered, confidence(found, index.tuning.evidence), found)

    def _sentences(self, hit: Hit, asked: _Asked) -> list[Evidence]:
        """The candidates of a chunk, not numbered yet; their score is only what the rank of their chunk costs them."""
        chunk, score = hit.chunk, -RANK_WEIGHT * (min(hit.rank, MAX_CHUNKS) - 1)
        terms = definitions.terms(chunk.text)
        found = []
        for start, end in self._splitter.split(chunk.text):
            text = chunk.text[start:end]
            if _may_answer(text, asked.words):
                term = definitions.in_force(terms, start)
                context = _context(chunk, chunk.context if term is None else terms[term].name)
                found.append(Evidence(0, text, chunk.start + start, chunk.start + end, score, chunk, context))
        return found

    def _embed(self, sentences: Sequence[Evidence], index: Index) -> Vectors:
        """One row a sentence; only those that were not met in this generation are embedded."""
        keys = [(item.chunk.id, item.start) for item in sentences]
        known = self._vectors.get(index, keys)
        texts = {key: _in_context(item) for key, item in zip(keys, sentences, strict=True) if key not in known}
        if texts:
            vectors = self._embedder.embed(list(texts.values()), "document")
            new = {key: vector.copy() for key, vector in zip(texts, vectors, strict=True)}
            self._vectors.put(index, new)
            known |= new
        return np.array([known[key] for key in keys], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The words of a question: content words, stemmed and each once; and all words as they are written."""

    words: tuple[str, ...]
    written: frozenset[str]

    @classmethod
    def of(cls, question: str) -> _Asked:
        return cls(tuple(dict.fromkeys(words(question))), _written(question))


def _written(text: str) -> frozenset[str]:
    return frozenset(_TOKEN.findall(text.lower()))


def _with_current_editions(said: tuple[str, ...], hits: Sequence[Hit]) -> list[Hit]:
    """The best chunks, and the best one of each document that is to be quoted instead of one of theirs."""
    best = list(hits[:MAX_CHUNKS])
    held = {hit.chunk.document for hit in best}
    wanted = {
        choice.quote
        for choice in editions.preferences(said, (hit.chunk for hit in hits))
        if choice.instead_of in held and choice.quote not in held
    }
    for hit in hits[MAX_CHUNKS:]:
        if hit.chunk.document in wanted:
            wanted.discard(hit.chunk.document)
            best.append(hit)
    return best


def _may_answer(text: str, asked: Sequence[str]) -> bool:
    """Headings and scraps do not, nor what says no more than the question. One word may be all that is asked for
    ("The capital is Arvik.", "Capital: Arvik"), but only a sentence or an entry says so: a heading or a term has one, too."""
    if len(text) < MIN_CHARACTERS or text.startswith("#") or text.isupper():
        return False
    added = set(words(text)).difference(asked)
    return (
        len(added) > 1
        or any(word[0].isdigit() for word in added)
        or (len(added) == 1 and (_is_sentence(text) or _is_entry(text)))
    )


def _is_sentence(text: str) -> bool:
    """Whether it ends as one, and has small words, which a term ("naptime (integer).") has not."""
    ended = text.rstrip("\"')]*_»”’").endswith((".", "!", "。"))
    return ended and len(_TOKEN.findall(text)) > len(words(text))


def _is_entry(text: str) -> bool:
    """Whether it says something of something as rows of tables and lines of lists do, with a mark between the two."""
    return not text.rstrip().endswith("?") and _ENTRY.search(text) is not None


def _context(chunk: Chunk, above: str) -> str:
    """What a sentence needs to be understood alone: the end of its heading path, and the term or table header above it."""
    return ": ".join(part for part in (chunk.heading[-1] if chunk.heading else "", above) if part)


def _in_context(item: Evidence) -> str:
    return f"{item.context}: {item.text}" if item.context else item.text


def _nearest_in_words(sentences: Sequence[Evidence], asked: _Asked) -> tuple[list[Evidence], Scores, Scores]:
    """The sentences worth embedding, in their order, with what their words are worth and their overlaps."""
    overlaps = _overlaps(asked.words, sentences)
    scores = np.array([item.score for item in sentences]) + LEXICAL_WEIGHT * overlaps
    scores += WORDING_WEIGHT * np.array([_wording(asked, item) for item in sentences])
    kept = np.sort(np.argsort(-scores, kind="stable")[:MAX_EMBEDDED])
    return [sentences[i] for i in kept], scores[kept], overlaps[kept]


def _overlaps(asked: Sequence[str], sentences: Sequence[Evidence]) -> Scores:
    """For each sentence, the share of the question's words that it holds, rare words counting more; 0 to 1."""
    held = [set(words(f"{item.chunk.title} {item.context} {item.text}")) for item in sentences]
    weights = {word: math.log(1 + len(held) / (1 + sum(word in h for h in held))) for word in asked}
    total = sum(weights.values()) or 1.0
    return np.array([sum(weights[word] for word in asked if word in h) / total for h in held])


def _wording(asked: _Asked, item: Evidence) -> float:
    return len(asked.written & _written(f"{item.context} {item.text}")) / max(1, len(asked.written))


def _current(said: tuple[str, ...], ranked: Sequence[Evidence]) -> list[Evidence]:
    """Without what an edition says that is not the one to quote, where the other one says something nearly as good."""
    best: dict[str, float] = {}
    for item in ranked:
        best.setdefault(item.chunk.document, item.score)
    choices = editions.preferences(said, (item.chunk for item in ranked))
    return [
        item
        for item in ranked
        if not any(
            choice.instead_of == item.chunk.document and best[choice.quote] >= item.score - choice.margin
            for choice in choices
        )
    ]


def _distinct(ranked: Sequence[Evidence]) -> list[Evidence]:
    """Without what says the same as a better one: the same content words in the same order, denied or not."""
    first: dict[tuple[tuple[str, ...], frozenset[str]], Evidence] = {}
    for item in ranked:
        first.setdefault((tuple(words(item.text)), _written(item.text) & _DENIALS), item)
    return list(first.values())
