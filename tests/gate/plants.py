"""Faults as they happen: each makes a variant of the healthy system, and asserts that it is another one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate.healthy import Healthy, PooledEmbedder, Put, Variant, mean, unit

from domicile import retrieval
from domicile.adapters import tantivy
from domicile.domain import OWNER, Candidate, Chunk, Scope
from domicile.ports import Index, NewChunk, Vectors
from domicile.reranking import Reranking

WIDE = Scope(None)
PROBE = "What does a service visit cost at the weekend?"


@dataclass(frozen=True, slots=True)
class Plant:
    """One fault.

    Attributes:
        suite: that has to find it.
        grow: makes the variant, and asserts that it is another system. Where it only patches a function, that the gate stops
            it says so, since the same system unpatched passes.
        figures: whether the figures alone find it, so that it is also found where the fingerprint changed.
        caught: whether the gate stops it.
    """

    name: str
    suite: str
    grow: Callable[[Healthy, pytest.MonkeyPatch], Variant]
    figures: bool = True
    caught: bool = True


PLANTS: list[Plant] = []


def plant(suite: str, *, figures: bool = True, caught: bool = True) -> Callable[[Any], Any]:
    def keep(grow: Callable[[Healthy, pytest.MonkeyPatch], Variant]) -> Any:
        PLANTS.append(Plant(grow.__name__.replace("_", " "), suite, grow, figures and caught, caught))
        return grow

    return keep


class OtherIndex:
    """``ports.Index``: another one, of which a subclass changes something."""

    def __init__(self, index: Index) -> None:
        self.whole = index

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)


# Vectors: the generation and the questions are embedded by the same code


def reembedded(healthy: Healthy, embedder: PooledEmbedder, puts: Sequence[Put] | None = None) -> Variant:
    """A generation whose vectors another embedder made, which also embeds the questions."""
    made = [replace(put, vectors=_embedded(embedder, put.chunks)) for put in puts or healthy.puts()]
    assert _distance(made, healthy.puts()) > 0.01
    path = healthy.home.path / f"{sha256(repr(embedder).encode()).hexdigest()[:12]}.npz"
    return Variant(healthy.home.having(embedder=embedder, vectors=path), healthy.index, made)


def _embedded(embedder: PooledEmbedder, chunks: Sequence[NewChunk]) -> Vectors:
    return embedder.embed([chunk.indexed for chunk in chunks], "document")


def _distance(made: Sequence[Put], before: Sequence[Put]) -> float:
    """The largest difference of a coordinate, of the documents that have as many chunks as before."""
    old = {put.document.uri: put.vectors for put in before}
    same = [put for put in made if put.vectors.shape == old[put.document.uri].shape]
    return max(float(np.abs(put.vectors - old[put.document.uri]).max()) for put in same)


def firsts(means: Vectors, firsts: Vectors) -> Vectors:
    return unit(firsts)


@plant("found")
def first_piece_instead_of_mean(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    """Wrong pooling in the card of the model."""
    return reembedded(healthy, healthy.embedder("pooled-by-first-piece", pool=firsts))


@plant("found")
def no_normalisation(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    return reembedded(healthy, healthy.embedder(pool=lambda means, firsts: means))


@plant("found")
def bytes_that_overflow(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    """Vectors as 8-bit numbers, scaled by the mean coordinate and not by the largest, so that large ones wrap around."""

    def wrapped(means: Vectors, firsts: Vectors) -> Vectors:
        scaled = mean(means, firsts) / np.abs(mean(means, firsts)).mean() * 100
        return unit(scaled.astype(np.int32).astype(np.int8).astype(np.float32))

    return reembedded(healthy, healthy.embedder(pool=wrapped))


@plant("found", figures=False)
def prefix_on_questions_alone(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    """The prompt of another model family."""
    prefix = "Represent this sentence for searching relevant passages: "
    changed = healthy.embedder(read=lambda text, role: prefix + text if role == "query" else text)
    assert not np.allclose(changed.embed([PROBE], "query"), healthy.embedder().embed([PROBE], "query"), atol=0.01)
    return Variant(healthy.home.having(embedder=changed, vectors=healthy.home.path / "prefixed.npz"), healthy.index)


@plant("found")
def remembered_by_first_words(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    """A cache of vectors whose key is cut, so that questions get each other's."""
    known: dict[str, str] = {}
    changed = healthy.embedder(read=lambda text, role: known.setdefault(text[:8], text) if role == "query" else text)
    changed.embed(["What is the price of a probe?"], "query")
    assert (changed.embed(["What is the period of notice?"], "query") == known_vector(healthy, known)).all()
    return Variant(healthy.home.having(embedder=changed, vectors=healthy.home.path / "cut.npz"), healthy.index)


def known_vector(healthy: Healthy, known: dict[str, str]) -> Vectors:
    return healthy.embedder().embed([next(iter(known.values()))], "query")


@plant("found")
def vectors_of_two_models(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    """Every other document has its vectors from a generation that was pooled otherwise."""
    other = healthy.embedder(pool=firsts)
    puts = healthy.puts()
    mixed = [
        replace(put, vectors=_embedded(other, put.chunks)) if number % 2 else put for number, put in enumerate(puts)
    ]
    assert _distance(mixed, puts) > 0.01
    return replace(healthy.variant, candidate=mixed)


@plant("found")
def vectors_shifted_by_one_row(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    puts = healthy.puts()
    rows = np.roll(np.concatenate([put.vectors for put in puts]), 1, axis=0)
    ends = np.cumsum([len(put.vectors) for put in puts])
    shifted = [replace(put, vectors=rows[end - len(put.vectors) : end]) for put, end in zip(puts, ends, strict=True)]
    assert _distance(shifted, puts) > 0.01
    return replace(healthy.variant, candidate=shifted)


# What is embedded and indexed


def _rewritten(healthy: Healthy, shown: Callable[[Put, NewChunk], str]) -> Variant:
    """Every chunk embedded and indexed by another text."""
    puts = healthy.puts()
    made = [replace(put, chunks=[replace(one, indexed=shown(put, one)) for one in put.chunks]) for put in puts]
    texts = [[chunk.indexed for put in side for chunk in put.chunks] for side in (made, puts)]
    assert sum(new != old for new, old in zip(*texts, strict=True)) > 50
    return reembedded(healthy, healthy.embedder(), made)


@plant("found")
def chunks_cut_after_forty_words(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    """In the formats of two folders."""

    def cut(put: Put, chunk: NewChunk) -> str:
        inside = put.document.uri.startswith(("product/", "support/"))
        return " ".join(chunk.indexed.split()[:40]) if inside else chunk.indexed

    return _rewritten(healthy, cut)


@plant("found", figures=False)
def no_titles_and_headings(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    """A parser of one folder's formats that loses them."""
    return _rewritten(
        healthy, lambda put, chunk: chunk.text if put.document.uri.startswith("support/") else chunk.indexed
    )


@plant("found")
def stale_generation(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    """One document in four as it was before its second half was written."""
    puts = healthy.puts()
    stale = [_first_half(put) if number % 4 == 0 else put for number, put in enumerate(puts)]
    assert sum(len(put.chunks) for put in stale) < sum(len(put.chunks) for put in puts) - 20
    return replace(healthy.variant, candidate=stale)


def _first_half(put: Put) -> Put:
    kept = (len(put.chunks) + 1) // 2
    document = replace(put.document, text=put.document.text[: put.chunks[kept - 1].end], digest="older")
    return replace(put, document=document, chunks=put.chunks[:kept], vectors=put.vectors[:kept])


@plant("found")
def folder_ingested_twice(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    """Once more, under the name of a copy."""
    puts = healthy.puts()
    twice = [replace(put, document=replace(put.document, uri=f"a-copy/{put.document.uri}")) for put in puts]
    assert healthy.index.document(twice[0].document.uri, None) is None
    return replace(healthy.variant, candidate=[*puts, *twice])


@plant("found", figures=False)
def chunks_indexed_twice(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    puts = healthy.puts()
    doubled = [replace(put, chunks=put.chunks * 2, vectors=np.tile(put.vectors, (2, 1))) for put in puts]
    assert len(doubled[0].chunks) == len(doubled[0].vectors) == 2 * len(puts[0].chunks)
    return replace(healthy.variant, candidate=doubled)


# Words


@plant("found", caught=False)
def analyser_of_another_language(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    """Documents and questions are stemmed alike, if not well: on this corpus that costs less than .01, and is not seen."""
    stems = [tantivy.analyzer(name, stop_words=True).analyze("travelling expenses") for name in ("de", "en")]
    assert stems[0] != stems[1]
    german = replace(healthy.index.collection, language="de")
    return replace(healthy.variant, candidate=healthy.puts(), collection=german)


@plant("found")
def questions_not_stemmed(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    """The index holds stems, and questions are looked up as they are written."""
    real = tantivy.analyzer

    def plain(language: str, *, stop_words: bool) -> Any:
        from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

        return TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.lowercase()).build()

    patch.setattr(tantivy, "analyzer", plain)
    opened = healthy.home.indexes().pin(healthy.index.collection.name, OWNER)
    patch.setattr(tantivy, "analyzer", real)
    assert opened.lexical("policies", 5, WIDE) != healthy.index.lexical("policies", 5, WIDE)
    return replace(healthy.variant, index=opened)


class SmallWordsAlone(OtherIndex):
    def lexical(self, question: str, k: int, scope: Scope) -> list[Candidate]:
        small = [word for word in question.split() if len(word) < 4]
        return self.whole.lexical(" ".join(small), k, scope)


@plant("found")
def content_words_taken_for_stop_words(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    changed = SmallWordsAlone(healthy.index)
    assert changed.lexical(PROBE, 5, WIDE) != healthy.index.lexical(PROBE, 5, WIDE)
    return replace(healthy.variant, index=changed)


# Ranking


class Distances(OtherIndex):
    """Takes L2 distances for similarities."""

    def dense(self, vector: Vectors, k: int, scope: Scope) -> list[Candidate]:
        every = self.whole.dense(vector, 100_000, scope)
        far = [Candidate(one.ref, float(np.sqrt(max(0.0, 2 - 2 * one.score)))) for one in every]
        return sorted(far, key=lambda one: (-one.score, one.ref))[:k]

    def cosines(self, vector: Vectors, refs: Sequence[int]) -> list[float]:
        return [float(np.sqrt(max(0.0, 2 - 2 * cosine))) for cosine in self.whole.cosines(vector, refs)]


@plant("found")
def distances_taken_for_similarities(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    changed, vector = Distances(healthy.index), healthy.embedder().embed([PROBE], "query")[0]
    assert changed.dense(vector, 5, WIDE) != healthy.index.dense(vector, 5, WIDE)
    return replace(healthy.variant, index=changed)


class NextChunk(OtherIndex):
    """Fetches the chunk behind the one that was found."""

    def chunks(self, refs: Sequence[int]) -> list[Chunk]:
        last = self.whole.manifest.counts.chunks - 1
        first = min(ref for ref in refs) >> 32 << 32 if refs else 0
        return self.whole.chunks([first + min(ref - first + 1, last) for ref in refs])


@plant("found")
def chunk_numbers_off_by_one(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    refs = [one.ref for one in healthy.index.lexical(PROBE, 5, WIDE)]
    assert NextChunk(healthy.index).chunks(refs) != healthy.index.chunks(refs)
    return replace(healthy.variant, index=NextChunk(healthy.index))


@plant("found")
def three_candidates(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    assert retrieval.DEPTH > 3
    patch.setattr(retrieval, "DEPTH", 3)
    return healthy.variant


class Coarse(OtherIndex):
    """Scores of one digit; those that are then equal stand in any order."""

    def __init__(self, index: Index) -> None:
        super().__init__(index)
        self._drawn = random.Random(1)

    def dense(self, vector: Vectors, k: int, scope: Scope) -> list[Candidate]:
        return self._shuffled(self.whole.dense(vector, k, scope))

    def lexical(self, question: str, k: int, scope: Scope) -> list[Candidate]:
        return self._shuffled(self.whole.lexical(question, k, scope))

    def _shuffled(self, found: list[Candidate]) -> list[Candidate]:
        coarse = [Candidate(one.ref, round(one.score, 1)) for one in found]
        return sorted(coarse, key=lambda one: (-one.score, self._drawn.random()))


@plant("found")
def coarse_scores_and_shuffled_ties(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    changed = Coarse(healthy.index)
    assert changed.lexical(PROBE, 20, WIDE) != healthy.index.lexical(PROBE, 20, WIDE)
    return replace(healthy.variant, index=changed)


@dataclass(frozen=True, slots=True)
class Longest:
    """``ports.Reranker`` that finds the longest passage best."""

    name: str = "longest"

    def score(self, question: str, passages: Sequence[str]) -> list[float]:
        return [1 - 1 / (1 + len(passage)) for passage in passages]


@plant("found")
def reranker_that_knows_nothing(healthy: Healthy, patch: pytest.MonkeyPatch) -> Variant:
    settings = healthy.home.settings.staged({"models": {"reranker": "longest"}}, Path("domicile.toml"))
    home = healthy.home.having(reranking=lambda: Reranking("longest", Longest))
    assert healthy.home.reranking() is None
    return replace(healthy.variant, home=replace(home, settings=settings))
