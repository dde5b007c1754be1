"""What a search asks of the embedder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from corpora import Shelf
from services import home_with

from domicile.domain import OWNER, Mode
from domicile.ports import Vectors
from domicile.retrieval import Retriever
from domicile.testing import HashEmbedder


@dataclass(frozen=True, slots=True)
class Mute(HashEmbedder):
    """Refuses to embed."""

    def embed(self, texts: Sequence[str], role: Literal["query", "document"]) -> Vectors:
        raise AssertionError("embedded")


def test_a_lexical_search_embeds_nothing(tmp_path: Path) -> None:
    retriever = Retriever(home_with(tmp_path).indexes(), Mute())
    assert retriever.search("parental leave", "handbook", OWNER, "lexical").hits[0].chunk.document == "leave.md"
    with pytest.raises(AssertionError, match="embedded"):  # control
        retriever.search("parental leave", "handbook", OWNER, "hybrid")


def test_equal_scores_are_ordered_by_the_ids_of_their_chunks_whatever_their_place_in_the_files(shelf: Shelf) -> None:
    names = [f"d{number:03d}" for number in range(180)]
    for part in (names[90:], names[:90]):
        shelf.commit(dict.fromkeys(part, "pump valve"))
    # with the weights that are shipped for this name; ranks, which stand in for them elsewhere, are never equal
    retriever = Retriever(shelf.reader(), HashEmbedder(name="all-minilm-l6-v2"))
    modes: tuple[Mode, ...] = ("hybrid", "dense", "lexical")
    for mode in modes:
        long = [hit.chunk.document for hit in retriever.search("pump", "c", OWNER, mode, 200).hits]
        assert long == sorted(long)
        short = [hit.chunk.document for hit in retriever.search("pump", "c", OWNER, mode, 7).hits]
        assert short == long[:7]
