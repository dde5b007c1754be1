"""What a search asks of the embedder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from services import home_with

from domicile.domain import OWNER
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
