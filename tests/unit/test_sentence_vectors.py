"""The vectors of sentences that are kept."""

from __future__ import annotations

import gc

import numpy as np
from corpora import Shelf

from domicile.domain import OWNER
from domicile.ports import Index
from domicile.sentence_vectors import SentenceVectors

ONE = np.ones(4, np.float32)


def opened(shelf: Shelf) -> Index:
    shelf.commit({"a": "pump"})
    return shelf.reader().pin("c", OWNER)


def test_the_vectors_that_were_used_last_are_kept(shelf: Shelf) -> None:
    kept, index = SentenceVectors(capacity=2), opened(shelf)
    kept.put(index, {("x", 0): ONE, ("y", 0): ONE})
    assert set(kept.get(index, [("x", 0)])) == {("x", 0)}
    kept.put(index, {("z", 0): ONE})
    assert set(kept.get(index, [("x", 0), ("y", 0), ("z", 0)])) == {("x", 0), ("z", 0)}


def test_each_generation_has_its_own_and_takes_them_with_it(shelf: Shelf) -> None:
    kept, old = SentenceVectors(capacity=10), opened(shelf)
    kept.put(old, {("x", 0): ONE})
    new = opened(shelf)
    assert kept.get(new, [("x", 0)]) == {}
    kept.put(new, {("y", 0): ONE})
    assert set(kept.get(old, [("x", 0)])) == {("x", 0)}  # an answer that is under way goes on with its own
    del old
    gc.collect()
    assert len(kept._kept) == 1
