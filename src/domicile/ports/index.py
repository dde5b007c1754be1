"""The index: reading a pinned generation, and the one open change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from domicile.domain import (
    Candidate,
    Chunk,
    Collection,
    Document,
    Label,
    Principal,
    Scope,
    Tuning,
)
from domicile.ports.models import Embedder, Vectors


class Index(Protocol):
    """One immutable generation of one collection, pinned by a request from start to end.

    Chunks outside the scope of a request are left out inside the index, before anything is ranked.
    """

    @property
    def collection(self) -> Collection: ...

    @property
    def generation(self) -> int: ...

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the embedder that made its vectors."""
        ...

    @property
    def tuning(self) -> Tuning:
        """What was fitted to this generation."""
        ...

    def digest(self) -> str:
        """A hash of the documents that it holds, of their labels, and of how they were parsed and cut."""
        ...

    def dense(self, vector: Vectors, k: int, scope: Scope) -> list[Candidate]:
        """The ``k`` nearest chunks by cosine, best first, ties by ``ref``; ``vector`` has shape (dimensions,)."""
        ...

    def lexical(self, question: str, k: int, scope: Scope) -> list[Candidate]:
        """The ``k`` best chunks by BM25, best first, ties by ``ref``; the question is data, never query syntax.

        A score is the share of what the question's words could reach at most, 0 to 1.
        """
        ...

    def labels(self) -> frozenset[Label]:
        """Every label that a document of it has."""
        ...

    def cosines(self, vector: Vectors, refs: Sequence[int]) -> list[float]:
        """The cosine of each of these chunks with the vector, of shape (dimensions,)."""
        ...

    def chunks(self, refs: Sequence[int]) -> list[Chunk]:
        """The chunks of these numbers, in this order."""
        ...

    def document(self, uri: str, readers: frozenset[str] | None) -> Document | None: ...


class Indexes(Protocol):
    """The collections of a home and their current generations."""

    def names(self) -> list[str]: ...

    def pin(self, collection: str, principal: Principal, *, fresh: bool = False) -> Index:
        """The newest intact generation.

        Args:
            fresh: every commit that ended before this call is seen, at the price of waiting until it is open. Else one of
                the last moments may be missed.

        Raises:
            UnknownCollection: absent, or not open to this principal (the two are not told apart).
            NoIntactGeneration: every retained generation is damaged.
        """
        ...

    def generation(self, collection: str) -> int:
        """The number of what serves now.

        Raises:
            UnknownCollection, NoIntactGeneration: nothing serves.
        """
        ...

    def trouble(self, collection: str) -> str | None:
        """What is wrong with the generation that should serve, where an older one serves instead.

        Raises:
            UnknownCollection, NoIntactGeneration: nothing serves.
        """
        ...


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk on its way into an index.

    Attributes:
        heading: the headings in force at its start, in full.
        page: the page of its start; ``None`` where the document has no pages.
        text: exactly ``document.text[start:end]``.
        context: the header row of a table whose later rows these are, or the term whose definition goes on here.
        indexed: what is embedded and searched, within the embedder's window: title, heading path, context and text.
    """

    heading: tuple[str, ...]
    page: int | None
    start: int
    end: int
    text: str
    context: str
    indexed: str


@dataclass(frozen=True, slots=True)
class DocumentState:
    """What an index knows of a document, to tell whether it changed.

    Attributes:
        digest: sha256 of its source bytes.
        state: hash of everything else that its chunks depend on: label, parser, chunker.
    """

    uri: str
    origin: str
    digest: str
    state: str
    chunks: int


@dataclass(frozen=True, slots=True)
class Commit:
    """What a committed change is: ``previous`` is ``None`` at the first generation.

    Attributes:
        gate: what was said of it before it served; ``None`` where nobody was asked.
    """

    generation: int
    previous: int | None
    chunks: int
    gate: GateReport | None = None


@dataclass(frozen=True, slots=True)
class GateReport:
    """What an evaluation says of a generation before it serves.

    Attributes:
        suite: its name; ``suite_hash`` is the hash of what it asks.
        lane: how it was compared with the baseline: rankings had to be the same, or might change.
        figures: metric to value.
        findings: what fell and by how much, a line each; empty where it passed.
        detectable: the smallest drop of the pooled figures that it could have seen.
    """

    suite: str
    suite_hash: str
    passed: bool
    lane: Literal["identity", "change"]
    figures: Mapping[str, float]
    findings: tuple[str, ...] = ()
    detectable: Mapping[str, float] = field(default_factory=dict)


class Gate(Protocol):
    """An evaluation that a candidate must pass before it serves."""

    def __call__(self, candidate: Index) -> GateReport: ...


class IndexChange(Protocol):
    """The one open change of a collection, under its writer's lock; nothing is visible before ``commit`` returns."""

    @property
    def current(self) -> Commit | None:
        """The generation that the change starts from."""
        ...

    @property
    def erased(self) -> frozenset[str]:
        """Hashes of the URIs that were erased, for ``uris.is_erased``."""
        ...

    def states(self) -> Mapping[str, DocumentState]:
        """The documents of the current generation by URI."""
        ...

    def document(self, uri: str) -> Document | None:
        """A document of the current generation."""
        ...

    def known(self, texts: Sequence[str]) -> dict[int, Vectors]:
        """The vectors, each of shape (dimensions,), of those texts that this embedder embedded before, by position.

        They come from the index itself, and from a change that was never finished.
        """
        ...

    def remember(self, texts: Sequence[str], vectors: Vectors) -> None:
        """Keep vectors until the commit, so that the change after a crash knows them."""
        ...

    def put(self, document: Document, state: str, chunks: Sequence[NewChunk], vectors: Vectors) -> None:
        """Add the document, or replace it."""
        ...

    def delete(self, uri: str) -> None: ...

    def relabel(self, uri: str, label: Callable[[Label], Label], state: str) -> None:
        """Give a document of the current generation another label, made from the one it has; nothing is embedded."""
        ...

    def erase(self, uris: Sequence[str]) -> list[str]:
        """Delete documents and what lies in them for ever: the commit rewrites what held them, and withdraws older generations.

        It comes first in a change.

        Returns:
            Those of them that the current generation held.

        Raises:
            UnknownDocument: no retained generation holds one of them; the change is then to be left without a commit.
        """
        ...

    def restore(self, uri: str) -> None:
        """Let an erased document come back."""
        ...

    def tune(self, tuning: Tuning) -> None:
        """Replace what was fitted to the collection; nothing else changes."""
        ...

    def commit(self, gate: Gate | None = None) -> Commit:
        """Make the change durable and current.

        Without any change the current generation stays; where there is none either, the result is generation 0.

        Args:
            gate: asked with the candidate, searchable but not yet current; what it says is kept with the generation.

        Raises:
            GateFailed: the gate says no. Nothing was published, and the number is not used.
        """
        ...


class IndexWriter(Protocol):
    def change(
        self, collection: Collection, embedder: Embedder | None, *, rebuild: bool = False
    ) -> AbstractContextManager[IndexChange]:
        """Open a change; leaving the block without a commit abandons it and leaves nothing behind.

        Args:
            embedder: of the vectors that are put; ``None`` where nothing will be.
            rebuild: every document will be put again, perhaps by another embedder; nothing else stays.

        Raises:
            WriterBusy: another process writes this collection.
            EmbedderMismatch: its vectors were made by another embedder.
            UnknownCollection: without an embedder: there is none.
        """
        ...
