"""What models do: embed, rerank, generate, split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from domicile.domain import (
    ModelStatus,
    Prompt,
    Usage,
)

Vectors = NDArray[np.float32]
"""float32 of shape (texts, dimensions), rows of unit length."""


Offsets = NDArray[np.int32]
"""int32 of shape (pieces, 2): ``[start, end)`` of each in code points. An array, since a long text has millions."""


class Embedder(Protocol):
    """Turns texts into vectors. Safe to call from several threads."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """Identifies weights, tokenizer, pooling, prefixes, engine and precision: indexes carry it."""
        ...

    @property
    def dimensions(self) -> int: ...

    @property
    def max_pieces(self) -> int:
        """Word pieces that one text may have, specials included; the rest would be cut off."""
        ...

    def embed(self, texts: Sequence[str], role: Literal["query", "document"]) -> Vectors:
        """Embed the texts in their order; a text's vector does not depend on its neighbours beyond 1e-5."""
        ...

    def pieces(self, text: str) -> Offsets:
        """Offsets of the word pieces of ``text``, without specials, as many as there are (never truncated)."""
        ...


class Reranker(Protocol):
    """Says how well passages answer a question, reading question and passage together. Safe to call from several threads."""

    @property
    def name(self) -> str: ...

    def score(self, question: str, passages: Sequence[str]) -> list[float]:
        """For each passage, in their order, the probability from 0 to 1 that it answers the question.

        It does not depend on the other passages beyond 1e-5. Of a passage that is too long the end is not read.

        Raises:
            ModelDamaged: the model cannot be run, or gave something that is not a number.
        """
        ...


class Generator(Protocol):
    """Turns a prompt into text."""

    @property
    def name(self) -> str: ...

    @property
    def status(self) -> ModelStatus: ...

    def generate(self, prompt: Prompt, *, max_tokens: int, cancelled: Callable[[], bool]) -> Iterator[str | Usage]:
        """Yield pieces of text as they come, then one ``Usage`` as the last item.

        Of ``prompt.choices`` it says one, where it can be held to that; nothing relies on it.
        Stops at the next token once ``cancelled()`` is true, still yielding the usage so far.

        Raises:
            Overloaded: the bounded queue is full.
            ModelMissing, ModelDamaged: there is nothing to generate with.
        """
        ...


class SentenceSplitter(Protocol):
    def split(self, text: str) -> list[tuple[int, int]]:
        """Offsets of the sentences, list items and table rows of ``text``, without surrounding white space."""
        ...
