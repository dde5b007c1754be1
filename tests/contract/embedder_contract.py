"""What every Embedder keeps. A test class inherits this and gives the fixture ``embedder``."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from domicile.ports import Embedder

TEXTS = [
    "the pump is checked every week",
    "pump",
    "the board audit the salary contract " * 9,
    "leave",
    "safety valve engine " * 30,
    "",
    "office office office",
]


class EmbedderContract:
    @pytest.fixture
    def embedder(self) -> Embedder:
        raise NotImplementedError

    def test_vectors_are_unit_float32_rows(self, embedder: Embedder) -> None:
        vectors = embedder.embed(TEXTS, "document")
        assert vectors.shape == (len(TEXTS), embedder.dimensions)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)

    def test_no_texts_give_no_rows(self, embedder: Embedder) -> None:
        vectors = embedder.embed([], "query")
        assert vectors.shape == (0, embedder.dimensions)
        assert vectors.dtype == np.float32

    def test_a_vector_does_not_depend_on_order_or_neighbours(self, embedder: Embedder) -> None:
        together = embedder.embed(TEXTS, "document")
        alone = np.concatenate([embedder.embed([text], "document") for text in TEXTS])
        np.testing.assert_allclose(together, alone, atol=1e-5)
        order = list(range(len(TEXTS)))
        random.Random(3).shuffle(order)
        shuffled = embedder.embed([TEXTS[at] for at in order], "document")
        np.testing.assert_allclose(shuffled, together[order], atol=1e-5)

    def test_the_same_call_gives_the_same_bytes(self, embedder: Embedder) -> None:
        assert embedder.embed(TEXTS, "query").tobytes() == embedder.embed(TEXTS, "query").tobytes()

    def test_several_threads_get_what_one_gets(self, embedder: Embedder) -> None:
        expected = embedder.embed(TEXTS, "document")
        with ThreadPoolExecutor(4) as pool:
            for vectors in pool.map(lambda _: embedder.embed(TEXTS, "document"), range(8)):
                np.testing.assert_allclose(vectors, expected, atol=1e-5)

    def test_shared_words_bring_texts_near(self, embedder: Embedder) -> None:
        question = embedder.embed(["pump valve engine"], "query")[0]
        near, far = embedder.embed(["engine pump valve", "salary board contract"], "document") @ question
        assert near > far + 0.1

    def test_what_stands_behind_the_last_piece_does_not_count(self, embedder: Embedder) -> None:
        cut = "pump " * embedder.max_pieces
        vectors = embedder.embed([cut, cut + "salary contract " * 50], "document")
        np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)

    def test_it_says_what_it_is(self, embedder: Embedder) -> None:
        assert embedder.name
        assert embedder.fingerprint == embedder.fingerprint != ""
        assert embedder.dimensions > 0
        assert embedder.max_pieces > 2

    def test_pieces_lie_in_the_text_in_order(self, embedder: Embedder) -> None:
        text = "The pump, checked weekly —\n\tby two engineers (naïve)."
        pieces = embedder.pieces(text).tolist()
        assert all(0 <= start < end <= len(text) for start, end in pieces)
        assert all(before[1] <= after[0] for before, after in pairwise(pieces))
        covered = {at for start, end in pieces for at in range(start, end)}
        assert {at for at, letter in enumerate(text) if letter.isalpha()} <= covered

    def test_pieces_have_no_specials_and_no_end(self, embedder: Embedder) -> None:
        assert embedder.pieces("").tolist() == []
        assert embedder.pieces(" \n ").tolist() == []
        assert embedder.pieces("pump").tolist() == [[0, 4]]
        text = "pump valve " * 30_000
        pieces = embedder.pieces(text).tolist()
        assert [text[start:end] for start, end in pieces] == text.split()

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("\x00", id="nul"),
            pytest.param("a\u0301\u200b", id="combining"),
            pytest.param("🎉👩\u200d💻", id="emoji"),
            pytest.param("[CLS] [SEP]", id="specials"),
            pytest.param("x" * 100_000, id="one word"),
            pytest.param(" " * 100_000, id="blanks"),
        ],
    )
    def test_any_text_has_a_vector_and_pieces(self, embedder: Embedder, text: str) -> None:
        assert np.isfinite(embedder.embed([text], "document")).all()
        assert all(0 <= start <= end <= len(text) for start, end in embedder.pieces(text).tolist())
