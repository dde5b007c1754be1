"""Fakes of what models do: an embedder, a reranker, generators."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal
from zlib import crc32

import numpy as np

from domicile.domain import ModelState, ModelStatus, Prompt, Usage
from domicile.errors import (
    DomicileError,
    ModelDamaged,
    ModelMissing,
)
from domicile.ports import Offsets, Vectors

_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class HashEmbedder:
    """A bag of words hashed into a few dimensions: texts that share words are near, and nothing is learnt or loaded."""

    name: str = "hash"
    fingerprint: str = "hash-64"
    dimensions: int = 64
    max_pieces: int = 256

    def embed(self, texts: Sequence[str], role: Literal["query", "document"]) -> Vectors:
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in _WORD.findall(text.lower())[: self.max_pieces - 2] or [""]:
                seed = crc32(word.encode())
                vectors[row, seed % self.dimensions] += 1.0 if seed >> 16 & 1 else -1.0
            if not vectors[row].any():
                vectors[row, 0] = 1.0
        normed: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return normed

    def pieces(self, text: str) -> Offsets:
        return np.array([match.span() for match in _WORD.finditer(text)], dtype=np.int32).reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class WordReranker:
    """The share of the question's words that a passage holds, a little less for a longer passage."""

    name: str = "words"

    def score(self, question: str, passages: Sequence[str]) -> list[float]:
        asked = set(_WORD.findall(question.lower())) or {""}
        held = [_WORD.findall(passage.lower()) for passage in passages]
        return [len(asked & set(words)) / len(asked) * (1.0 - len(words) / (len(words) + 1e4)) for words in held]


@dataclass(slots=True)
class ScriptedGenerator:
    """Says what it was told to say, a word at a time, and remembers what it was asked.

    Attributes:
        replies: texts or errors, one for each prompt; the last one repeats.
        before_token: called before each word, for tests that must act in the middle of an answer.
    """

    replies: list[str | DomicileError] = field(default_factory=lambda: [""])
    name: str = "scripted"
    state: ModelState = "ready"
    before_token: Callable[[], None] = lambda: None
    prompts: list[Prompt] = field(default_factory=list)

    @property
    def status(self) -> ModelStatus:
        return ModelStatus(self.name, "llm", self.state)

    def generate(self, prompt: Prompt, *, max_tokens: int, cancelled: Callable[[], bool]) -> Iterator[str | Usage]:
        self.prompts.append(prompt)
        if self.state in ("missing", "loading"):
            raise ModelMissing(f"{self.name} is {self.state}")
        if self.state == "damaged":
            raise ModelDamaged(f"{self.name} is damaged")
        reply = self.replies[min(len(self.prompts), len(self.replies)) - 1]
        if isinstance(reply, DomicileError):
            raise reply
        said = 0
        for word in re.findall(r"\S+\s*", reply)[:max_tokens]:
            self.before_token()
            if cancelled():
                break
            said += 1
            yield word
        yield Usage(sum(len(message.content.split()) for message in prompt.messages), said)
