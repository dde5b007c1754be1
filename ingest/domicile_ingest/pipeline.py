"""One ingestion, in order: read, compare, parse, label, chunk, embed, write, commit.

Only what changed costs anything: a document is known by its URI, and is unchanged while its bytes, the labels that are
said about it from outside, the parser and the chunker are.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from domicile import labels
from domicile.domain import Collection, Document, Label
from domicile.errors import DocumentError, UsageError
from domicile.labels import PartialLabel
from domicile.ports import Commit, DocumentState, Embedder, IndexChange, IndexWriter, NewChunk, SentenceSplitter
from domicile_ingest.chunking import CHUNKING, chunk
from domicile_ingest.labelling import Labeller
from domicile_ingest.parsing.parsed import Parsed
from domicile_ingest.sources import Failure, Item, Source

logger = logging.getLogger(__name__)

_KEPT = "!"
"""Marks the state of a document that was relabelled while it could not be read."""

BATCH_CHUNKS = 512
"""Chunks embedded at once: enough to sort by length, little enough to keep the memory flat."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to run.

    Attributes:
        no_delete: keep documents that the source does not hold any more.
        allow_empty: an empty source may delete everything.
    """

    no_delete: bool = False
    allow_empty: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did; ``to_json`` is the contract's object."""

    collection: str
    commit: Commit
    counts: Mapping[str, int]
    failures: tuple[Failure, ...]
    warnings: tuple[str, ...]
    embedded: int
    seconds: float

    def to_json(self) -> dict[str, object]:
        return {
            "collection": self.collection,
            "generation": self.commit.generation,
            "previous": self.commit.previous,
            "documents": dict(self.counts),
            "failures": [{"document": f.document, "kind": f.kind, "reason": f.reason} for f in self.failures],
            "warnings": list(self.warnings),
            "chunks": self.commit.chunks,
            "embedded": self.embedded,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class _Ready:
    """A document that waits for its vectors."""

    document: Document
    state: str
    chunks: list[NewChunk]


@dataclass(slots=True)
class _Run:
    change: IndexChange
    states: Mapping[str, DocumentState]
    waiting: list[_Ready] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("added", "changed", "unchanged", "deleted", "failed"), 0)
    )
    embedded: int = 0
    file: str | None = None
    outside: list[PartialLabel] = field(default_factory=list)
    state: str = ""


class Pipeline:
    """Brings a collection to what a source holds now."""

    def __init__(
        self,
        writer: IndexWriter,
        embedder: Embedder,
        splitter: SentenceSplitter,
        collection: Collection,
        labeller: Labeller,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._writer = writer
        self._embedder = embedder
        self._splitter = splitter
        self._collection = collection
        self._labeller = labeller
        self._clock = clock

    def run(
        self, source: Source, options: Options, advance: Callable[[float], None] = lambda documents: None
    ) -> Report:
        """Ingest, as one generation, all or nothing; documents that fail are listed and keep their last good version.

        Args:
            advance: told of every document that is done.

        Raises:
            UsageError: the source is empty and would delete everything.
            WriterBusy, EmbedderMismatch, StorageError: see ``IndexWriter``.
        """
        started = self._clock()
        with self._writer.change(self._collection, self._embedder) as change:
            run = _Run(change, change.states())
            run.warnings += self._labeller.orphans(frozenset(source.files))
            for found in source:
                self._take(run, found)
                if sum(len(ready.chunks) for ready in run.waiting) >= BATCH_CHUNKS:
                    self._embed(run)
                advance(1)
            self._embed(run)
            self._narrow_kept(run, source)
            self._delete_missing(run, options)
            commit = change.commit()
        run.counts["failed"] = len(run.failures)
        return Report(
            self._collection.name,
            commit,
            run.counts,
            tuple(run.failures),
            tuple(run.warnings),
            run.embedded,
            self._clock() - started,
        )

    def _take(self, run: _Run, found: Item | Failure) -> None:
        """Decide what to do with one document; a failed one keeps its last good version."""
        run.seen.add(found.uri if isinstance(found, Item) else found.document)
        if isinstance(found, Failure):
            run.failures.append(found)
            return
        self._look_outside(run, found.file)
        old = run.states.get(found.uri)
        if old is not None and (old.digest, old.state, old.origin) == (found.digest, run.state, "run"):
            run.counts["unchanged"] += 1
            return
        try:
            if old is not None and old.origin != "run":
                raise DocumentError("duplicate", "a document that was put through the API has the same URI: rename one")
            ready = self._prepare(run, found)
        except DocumentError as error:
            run.failures.append(Failure(found.uri, error.kind, error.reason))
            return
        run.waiting.append(ready)
        run.counts["added" if old is None else "changed"] += 1

    def _look_outside(self, run: _Run, file: str) -> None:
        """What is said of a file without opening it; once for all the rows of one."""
        if file != run.file:
            run.file = file
            run.outside, warnings = self._labeller.outside(file)
            run.warnings += warnings
            run.state = self._state(run.outside)

    def _state(self, outside: list[PartialLabel]) -> str:
        parts = (CHUNKING, self._collection.language, self._labeller.state(outside))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def _prepare(self, run: _Run, item: Item) -> _Ready:
        parsed = _parsed(item)
        label, warnings = self._labeller.label(item.uri, run.outside, parsed.label)
        chunks = chunk(parsed, parsed.title, self._embedder, self._splitter)
        if not chunks:
            raise DocumentError("empty", "the document holds no text")
        run.warnings += warnings
        return _Ready(_document(item, parsed, label), run.state, chunks)

    def _embed(self, run: _Run) -> None:
        """Embed what waits, and hand it to the index."""
        if not run.waiting:
            return
        texts = [chunk.indexed for ready in run.waiting for chunk in ready.chunks]
        vectors = self._embedder.embed(texts, "document")
        at = 0
        for ready in run.waiting:
            run.change.put(ready.document, ready.state, ready.chunks, vectors[at : at + len(ready.chunks)])
            at += len(ready.chunks)
        run.embedded += len(texts)
        run.waiting.clear()

    def _narrow_kept(self, run: _Run, source: Source) -> None:
        """A document that cannot be read now keeps its text, but not a wider label than what is said about it now.

        Its state is marked, so that it is labelled anew as soon as it can be read.
        """
        failed = {failure.document for failure in run.failures}
        for uri, old in run.states.items():
            if old.origin == "run" and (uri in failed or (uri not in run.seen and uri.startswith(_hidden(run)))):
                outside, _ = self._labeller.outside(source.file_of(uri))
                state = self._state(outside)
                if old.state not in (state, f"{state}{_KEPT}"):
                    narrower = partial(labels.narrow, flags=labels.join_partial(outside))
                    run.change.relabel(uri, narrower, f"{state}{_KEPT}")

    def _delete_missing(self, run: _Run, options: Options) -> None:
        """Delete what the source does not hold any more; what was put through the API has its own origin and stays."""
        if options.no_delete:
            return
        hidden = _hidden(run)
        missing = [
            uri
            for uri, state in run.states.items()
            if state.origin == "run" and uri not in run.seen and not uri.startswith(hidden)
        ]
        if missing and not run.seen and not options.allow_empty:
            raise UsageError(
                f"the source is empty, and {len(missing)} documents would be deleted: "
                "pass --allow-empty if that is meant"
            )
        for uri in missing:
            run.change.delete(uri)
        run.counts["deleted"] = len(missing)


def _hidden(run: _Run) -> tuple[str, ...]:
    """The beginnings of the URIs that lie in what could not be read."""
    return tuple(failure.hides for failure in run.failures if failure.hides is not None)


def _parsed(item: Item) -> Parsed:
    """The text of an item.

    Raises:
        DocumentError: it has none, or a parser failed in a way that nobody foresaw: that is one document's trouble.
    """
    try:
        return item.parse()
    except DocumentError:
        raise
    except Exception as error:
        logger.exception("the parser of %s failed", item.uri)
        raise DocumentError("broken", f"cannot be parsed: {type(error).__name__}") from error


def _document(item: Item, parsed: Parsed, label: Label) -> Document:
    return Document(item.uri, parsed.title, parsed.text, label, item.digest)
