"""Whichever way a filter is applied to BM25, the same chunks come with the same scores."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from domicile.adapters import tantivy
from domicile.adapters.tantivy import LexicalFolder, LexicalWriter

CHUNKS = 1_500
WORDS = "pump valve leave salary board union travel audit".split()
QUESTIONS = ("pump", "valve leave", "rare", "pump valve leave salary board union", "absent")


@dataclass(frozen=True)
class Among:
    """Some chunks, as a filter lets them through."""

    chosen: frozenset[int]

    @property
    def count(self) -> int:
        return len(self.chosen)

    def refs(self) -> NDArray[np.int64]:
        return np.array(sorted(self.chosen), dtype=np.int64)

    def holds(self, refs: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.isin(refs, self.refs())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> LexicalFolder:
    place: Path = tmp_path_factory.mktemp("lexical") / "000001"
    rng = random.Random(1)
    writer = LexicalWriter(place, None, "en")
    for ref in range(CHUNKS):
        words = rng.choices(WORDS, weights=range(1, 9), k=rng.randint(3, 12))
        writer.add((7 << 32) + ref, f"d{ref}", None, " ".join(words + ["rare"] * (ref % 300 == 0)))
    writer.commit(CHUNKS)
    return LexicalFolder(place, "en")


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 1.0])
@pytest.mark.parametrize(
    ("listed", "deepened", "listable"),
    [(0, 10**9, 10**9), (10**9, 0, 10**9), (0, 0, 10**9), (0, 60, 200), (0, 0, 0)],
    ids=["deepened", "always listed", "listed", "either", "deepened to the end"],
)
def test_a_filter_leaves_the_best_that_it_allows(
    folder: LexicalFolder, monkeypatch: pytest.MonkeyPatch, share: float, listed: int, deepened: int, listable: int
) -> None:
    monkeypatch.setattr(tantivy, "MAX_LISTED", listed)
    monkeypatch.setattr(tantivy, "MAX_DEEPENED", deepened)
    monkeypatch.setattr(tantivy, "MAX_LISTABLE", listable)
    rng = random.Random(share)
    chosen = frozenset((7 << 32) + ref for ref in range(CHUNKS) if rng.random() < share) | {(7 << 32) + 300}
    for question in QUESTIONS:
        everything = folder.search(question, CHUNKS, None)
        expected = [(ref, score) for ref, score in everything if ref in chosen]
        for k in (1, 10, 200):
            found = folder.search(question, k, None, Among(chosen))
            assert [score for _, score in found] == pytest.approx([score for _, score in expected[:k]])
            assert set(found) <= set(expected) if share < 1 else len(found) == min(k, len(expected))


def test_a_filter_that_lets_nothing_through_finds_nothing(folder: LexicalFolder) -> None:
    assert folder.search("pump", 10, None, Among(frozenset())) == []
    assert folder.search("pump", 10, None)
