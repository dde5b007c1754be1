"""What an evaluation remembers of an embedder is bit by bit what that embedder said, and of no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from domicile.ports import Vectors
from domicile.testing import HashEmbedder
from domicile_eval.vector_cache import PROBES, RememberingEmbedder

TEXTS = ["The pump is oiled.", "Leave lasts 26 weeks.", "The pump is oiled."]


@dataclass(frozen=True, slots=True)
class Counting(HashEmbedder):
    """Notes what it embeds; ``turned`` is a fault that its fingerprint does not tell."""

    embedded: list[str] = field(default_factory=list)
    turned: bool = False

    def embed(self, texts: Sequence[str], role: Literal["query", "document"]) -> Vectors:
        self.embedded.extend(texts)
        vectors = HashEmbedder().embed(texts, role)
        return vectors[:, ::-1] if self.turned else vectors


def asked(embedder: Counting, path: Path) -> list[str]:
    """What the embedder itself was asked for, beside the probes; the vectors must be its own."""
    remembering = RememberingEmbedder(embedder, path)
    found = remembering.embed(TEXTS, "document")
    said = [text for text in embedder.embedded if text not in {text for _, text in PROBES}]
    assert np.array_equal(found, embedder.embed(TEXTS, "document"))
    remembering.save()
    return said


def test_nothing_is_embedded_twice(tmp_path: Path) -> None:
    assert asked(Counting(), tmp_path / "v.npz") == TEXTS[:2]
    assert (tmp_path / "v.npz").stat().st_mode & 0o077 == 0
    assert asked(Counting(), tmp_path / "v.npz") == []


def test_a_question_is_not_a_document(tmp_path: Path) -> None:
    remembering = RememberingEmbedder(embedder := Counting(), tmp_path / "v.npz")
    remembering.embed(["a"], "document")
    remembering.embed(["a"], "query")
    assert embedder.embedded.count("a") == 2


@pytest.mark.parametrize("other", [Counting(fingerprint="another"), Counting(turned=True)])
def test_what_another_embedder_said_is_forgotten(tmp_path: Path, other: Counting) -> None:
    asked(Counting(), tmp_path / "v.npz")
    assert asked(replace(other, embedded=[]), tmp_path / "v.npz") == TEXTS[:2]


@pytest.mark.parametrize("at", [0, 200, -1])
def test_a_damaged_file_is_none(tmp_path: Path, at: int) -> None:
    path = tmp_path / "v.npz"
    asked(Counting(), path)
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(bytes(data))
    assert asked(Counting(), path) in ([], TEXTS[:2])
    path.write_bytes(b"torn")
    assert asked(Counting(), path) == TEXTS[:2]
