"""One generation, opened for reading: its segments, tombstones and lexical directory behind the ``Index`` port.

A chunk's number (``ref``) is its segment's number and its row there, so it means the same in FAISS, tantivy and SQLite.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domicile import filters
from domicile.adapters.dense import Dense, Reach
from domicile.adapters.faiss import ApproximateFile, VectorFile
from domicile.adapters.inverted_file import living_rows
from domicile.adapters.manifest import Manifest, SegmentEntry
from domicile.adapters.sqlite import ChunkStore
from domicile.adapters.tantivy import LexicalFolder
from domicile.adapters.visible import ROW, ROW_BITS, Visible, ref_of
from domicile.domain import Candidate, Chunk, Collection, Document, Label, Scope, Tuning
from domicile.errors import IndexDamaged
from domicile.ports import DocumentState, NewChunk, Vectors
from domicile.uris import is_erased

REMEMBERED_SCOPES = 64
"""Scopes whose bitmaps are kept; those of others are made anew, some milliseconds for a million rows."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One sealed segment and which of its rows are alive in this generation."""

    entry: SegmentEntry
    vectors: VectorFile
    store: ChunkStore
    alive: NDArray[np.bool_]


def open_segment(folder: Path, entry: SegmentEntry, dimensions: int) -> Segment:
    """Open one segment whose files were verified.

    Raises:
        IndexDamaged: its files disagree with each other.
    """
    alive = living_rows(folder, entry)
    if int((~alive).sum()) != entry.dead:
        raise IndexDamaged(
            f"{folder / str(entry.tombstones)}: strikes out {int((~alive).sum())} rows, expected {entry.dead}"
        )
    vectors = VectorFile(folder / entry.vectors, entry.rows, dimensions)
    return Segment(entry, vectors, ChunkStore(folder / entry.chunks, entry.rows), alive)


class Snapshot:
    """A pinned generation. Immutable, so any number of threads may search it.

    Args:
        folder: of the collection.
        manifest: of a generation whose files were verified.
        held: the descriptor that keeps the generation from being collected; closed with the snapshot.

    Raises:
        IndexDamaged: parts of the generation disagree.
    """

    def __init__(self, folder: Path, manifest: Manifest, collection: Collection, held: int | None = None) -> None:
        self._release = weakref.finalize(self, os.close, held) if held is not None else None
        self.manifest = manifest
        self._collection = collection
        self._segments = {
            entry.number: open_segment(folder, entry, manifest.embedder.dimensions) for entry in manifest.segments
        }
        self._lexical = LexicalFolder(folder / manifest.lexical, manifest.language)
        entry = manifest.approximate
        file = entry.file if entry is not None else None
        approximate = (entry, ApproximateFile(folder / file, entry.rows)) if entry is not None and file else None
        self._dense = Dense({number: segment.vectors for number, segment in self._segments.items()}, approximate)
        self._scopes: dict[Scope, tuple[Visible, Reach]] = {}
        self._lock = threading.Lock()
        alive = sum(int(segment.alive.sum()) for segment in self._segments.values())
        if not alive == manifest.counts.chunks == self._lexical.chunks:
            raise IndexDamaged(
                f"{folder.name}: generation {manifest.generation} has {alive} vectors and {self._lexical.chunks} "
                f"lexical chunks, expected {manifest.counts.chunks}"
            )

    @property
    def collection(self) -> Collection:
        return self._collection

    @property
    def generation(self) -> int:
        return self.manifest.generation

    @property
    def fingerprint(self) -> str:
        return self.manifest.embedder.fingerprint

    @property
    def tuning(self) -> Tuning:
        return self.manifest.tuning.tuning

    def dense(self, vector: Vectors, k: int, scope: Scope) -> list[Candidate]:
        return self._dense.search(vector, k, self._seen(scope)[1])

    def exact(self, vector: Vectors, k: int, scope: Scope) -> list[Candidate]:
        """What ``dense`` approximates: every vector is compared."""
        return self._dense.search(vector, k, replace(self._seen(scope)[1], probes=None))

    def cosines(self, vector: Vectors, refs: Sequence[int]) -> list[float]:
        found: list[float] = self._dense.cosines(vector, refs).tolist()
        return found

    def lexical(self, question: str, k: int, scope: Scope) -> list[Candidate]:
        if scope.labels is not None:  # what goes to a provider must not tell of what may not, nor by a score
            found = self._lexical.search_within(question, k, self._seen(scope)[0])
        else:  # groups are a clause of the query; what else the scope asks is a bitmap
            allowed = self._seen(scope)[0] if scope.conditions else None
            found = self._lexical.search(question, k, scope.readers, allowed)
        return [Candidate(ref, score) for ref, score in found]

    def labels(self) -> frozenset[Label]:
        return self._labels

    @cached_property
    def _labels(self) -> frozenset[Label]:
        return frozenset().union(*(segment.store.labels(segment.alive) for segment in self._segments.values()))

    def census(self, listed: int) -> dict[Label, tuple[int, list[str]]]:
        """How many documents have each label, and the URIs of the first of them."""
        found: dict[Label, tuple[int, list[str]]] = {}
        for segment in self._segments.values():
            for label, (count, uris) in segment.store.census(segment.alive, listed).items():
                before, known = found.get(label, (0, []))
                found[label] = before + count, [*known, *uris][:listed]
        return found

    def chunks(self, refs: Sequence[int]) -> list[Chunk]:
        rows: dict[int, list[int]] = {}
        for ref in refs:
            rows.setdefault(ref >> ROW_BITS, []).append(ref & ROW)
        found = {
            ref_of(number, row): chunk
            for number, wanted in rows.items()
            for row, chunk in self._segments[number].store.chunks(wanted).items()
        }
        return [found[ref] for ref in refs]

    def document(self, uri: str, readers: frozenset[str] | None) -> Document | None:
        for segment in self._segments.values():
            found = segment.store.document(uri)
            if found is not None and segment.alive[found[1]]:
                groups = found[0].label.groups
                return found[0] if readers is None or groups is None or not groups.isdisjoint(readers) else None
        return None

    def digest(self) -> str:
        states = sorted((state.uri, state.digest, state.state) for state, _, _ in self.states().values())
        return hashlib.sha256(json.dumps([self.manifest.language, states]).encode()).hexdigest()

    def states(self) -> dict[str, tuple[DocumentState, int, int]]:
        """Every living document by URI, with its segment's number and its first row there."""
        return {
            state.uri: (state, number, first)
            for number, segment in self._segments.items()
            for state, first in segment.store.states()
            if segment.alive[first]
        }

    def stored(self, segment: int, rows: range) -> tuple[list[NewChunk], Vectors]:
        """The chunks of these rows of a segment as they were put, and their vectors."""
        found = self._segments[segment]
        return found.store.passages(rows), found.vectors.rows(rows)

    def known(self, hashes: Sequence[bytes]) -> dict[bytes, Vectors]:
        """The stored vectors of these text hashes, each of shape (dimensions,); rows that are struck out count, too."""
        found: dict[bytes, Vectors] = {}
        for segment in self._segments.values():
            rows = segment.store.rows_with([text_hash for text_hash in hashes if text_hash not in found])
            found.update(zip(rows, segment.vectors.rows(list(rows.values())), strict=True))
        return found

    def held(self) -> Iterator[tuple[str, int]]:
        """Every document that the files hold, struck out or not, with its segment's number."""
        for number, segment in self._segments.items():
            for state, _ in segment.store.states():
                yield state.uri, number

    def verify(self) -> None:
        """Prove that every side finds the same passages, and that nothing erased is among them.

        Raises:
            IndexDamaged: it is not so.
        """
        living = {
            ref_of(number, row)
            for number, segment in self._segments.items()
            for row in np.flatnonzero(segment.alive).tolist()
        }
        words = self._lexical.refs()
        if len(words) != len(living) or living != set(words):
            odd = len(living.symmetric_difference(words)) or len(words) - len(living)
            raise IndexDamaged(f"generation {self.generation}: {odd} passages are known to one side only")
        documents = self.states()
        if len(documents) != self.manifest.counts.documents:
            raise IndexDamaged(
                f"generation {self.generation}: {len(documents)} documents, not {self.manifest.counts.documents}"
            )
        if any(is_erased(uri, self.manifest.erased) for uri in documents):
            raise IndexDamaged(f"generation {self.generation}: holds a document that was erased")

    def alive(self, segment: int) -> NDArray[np.bool_]:
        return self._segments[segment].alive

    def close(self) -> None:
        """Close the files; the snapshot must not be used any more."""
        for segment in self._segments.values():
            segment.store.close()
        if self._release is not None:
            self._release()

    def _seen(self, scope: Scope) -> tuple[Visible, Reach]:
        """What a scope may find; remembered, since making it looks at every document.

        Raises:
            InvalidRequest: a condition names a field that nothing has which these readers may see.
        """
        with self._lock:
            if (known := self._scopes.get(scope)) is not None:
                return known
        if scope.conditions:
            self._check(scope)
        visible = Visible({number: _mask(segment, scope) for number, segment in self._segments.items()})
        seen = visible, self._dense.reach(visible)
        with self._lock:
            if len(self._scopes) >= REMEMBERED_SCOPES:
                self._scopes.pop(next(iter(self._scopes)))
            self._scopes[scope] = seen
        return seen

    def _check(self, scope: Scope) -> None:
        """Compare the conditions with the fields that there are; of what is hidden or deleted none is known."""
        asked = [condition.field for condition in scope.conditions]
        known: dict[str, frozenset[filters.Kind]] = {}
        for segment in self._segments.values():
            readable = segment.alive & segment.store.readable(scope.readers)
            for name, kinds in segment.store.fields(readable, asked).items():
                known[name] = known.get(name, frozenset()) | kinds
        filters.check(scope.conditions, known)


def _mask(segment: Segment, scope: Scope) -> NDArray[np.bool_]:
    """The rows of a segment that may be found."""
    mask = segment.alive & segment.store.readable(scope.readers)
    if scope.labels is not None:
        mask &= segment.store.labelled(scope.labels)
    return mask & segment.store.matching(scope.conditions, scope.readers) if scope.conditions else mask
