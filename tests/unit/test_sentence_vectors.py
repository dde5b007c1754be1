"""The vectors of sentences that are kept."""

from __future__ import annotations

import numpy as np

from domicile.sentence_vectors import SentenceVectors

ONE = np.ones(4, np.float32)


def test_the_vectors_that_were_used_last_are_kept() -> None:
    kept = SentenceVectors(capacity=2)
    kept.put("a", 1, {("x", 0): ONE, ("y", 0): ONE})
    assert set(kept.get("a", 1, [("x", 0)])) == {("x", 0)}
    kept.put("b", 1, {("z", 0): ONE})
    assert set(kept.get("a", 1, [("x", 0), ("y", 0)])) == {("x", 0)}
    assert set(kept.get("b", 1, [("z", 0)])) == {("z", 0)}


def test_another_generation_of_a_collection_begins_with_nothing() -> None:
    kept = SentenceVectors(capacity=10)
    for name in ("a", "b"):
        kept.put(name, 1, {("x", 0): ONE})
    assert kept.get("a", 2, [("x", 0)]) == {}
    assert kept.get("a", 1, [("x", 0)]) == {}
    assert set(kept.get("b", 1, [("x", 0)])) == {("x", 0)}  # control
