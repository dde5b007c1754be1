"""BM25 over a part of an index as if there were nothing else: no score and no order tells of a chunk outside it.

A library's BM25 counts words, chunks and lengths over the whole index. Where a part of it must not shine through, such as
in what a hosted provider may see, frequencies and lengths are taken from it and weighed anew by what the part holds alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

K1 = 1.2
B = 0.75
"""Of BM25, as tantivy has them."""


class Allowed(Protocol):
    """The chunks that a filter lets through."""

    @property
    def count(self) -> int: ...

    def refs(self) -> NDArray[np.int64]:
        """All of them."""
        ...

    def holds(self, refs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these are among them."""
        ...


@dataclass(frozen=True, slots=True)
class Postings:
    """Where one word stands.

    Attributes:
        refs: the chunks that hold it, ascending.
        frequencies: how often each of them holds it.
        lengths: of each of them in words, as the index rounds it.
    """

    refs: NDArray[np.int64]
    frequencies: NDArray[np.int32]
    lengths: NDArray[np.int32]


def recovered(
    refs: NDArray[np.int64],
    scores: NDArray[np.float64],
    scores_once: NDArray[np.float64],
    idf: float,
    average: float,
) -> Postings:
    """The postings that a library's scores of one word were made from; they are whole numbers, so rounding is exact.

    Args:
        refs: ascending; the scores are in their order.
        scores_once: what the scores would be if each chunk held the word once.
        idf: of the word in the whole index.
        average: length there.
    """
    weight = idf * (K1 + 1)
    norms = weight / scores_once - 1
    shares = scores / weight
    frequencies = norms * shares / (1 - shares)
    lengths = (norms / K1 - (1 - B)) / B * average
    return Postings(refs, np.rint(frequencies).astype(np.int32), np.rint(lengths).astype(np.int32))


def rank(words: Sequence[Postings], allowed: Allowed, k: int) -> list[tuple[int, float]]:
    """The best ``k`` (ref, score) of what is allowed, best first, ties by ref; a score is a share of what could be reached.

    The average length is that of the allowed chunks that hold any of the words.
    """
    inside = [allowed.holds(word.refs) for word in words]
    refs, positions = np.unique(
        np.concatenate([word.refs[held] for word, held in zip(words, inside, strict=True)]), return_inverse=True
    )
    if not len(refs):
        return []
    lengths = np.zeros(len(refs))
    lengths[positions] = np.concatenate([word.lengths[held] for word, held in zip(words, inside, strict=True)])
    norms = K1 * (1 - B + B * lengths / lengths.mean())
    scores, ceiling, at = np.zeros(len(refs)), 0.0, 0
    for word, held in zip(words, inside, strict=True):
        frequencies = word.frequencies[held]
        holding = len(frequencies)
        idf = np.log1p((allowed.count - holding + 0.5) / (holding + 0.5))
        rows = positions[at : at + holding]
        scores[rows] += idf * (K1 + 1) * frequencies / (frequencies + norms[rows])
        ceiling += idf * (K1 + 1)
        at += holding
    order = np.lexsort((refs, -scores))[:k]
    return list(zip(refs[order].tolist(), (scores[order] / ceiling).tolist(), strict=True))
