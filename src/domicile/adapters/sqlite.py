"""The chunk store of one segment: documents, their chunks and labels in one SQLite file, immutable once sealed."""

from __future__ import annotations

import json
import sqlite3
import weakref
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domicile import labels
from domicile.domain import Chunk, Document, Label, Layout, Page
from domicile.errors import IndexDamaged
from domicile.files import write_refused
from domicile.ports import DocumentState, NewChunk

_SCHEMA = """
PRAGMA page_size = 8192;
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA user_version = 2;
CREATE TABLE labels (id INTEGER PRIMARY KEY, record TEXT NOT NULL UNIQUE);
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, uri TEXT NOT NULL UNIQUE, origin TEXT NOT NULL, title TEXT NOT NULL, digest TEXT NOT NULL,
    state TEXT NOT NULL, label INTEGER NOT NULL REFERENCES labels, text BLOB NOT NULL,
    layout TEXT NOT NULL, first INTEGER NOT NULL, rows INTEGER NOT NULL);
CREATE TABLE chunks (
    row INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents, ordinal INTEGER NOT NULL,
    heading TEXT NOT NULL, page INTEGER,
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, text TEXT NOT NULL, context TEXT NOT NULL,
    lead TEXT NOT NULL, hash BLOB NOT NULL);
"""
_LOOKUPS = 500
"""Values of one query: SQLite allows more, and plans long lists slowly."""


class ChunkStoreWriter:
    """Writes the file of a new segment. No journal: the file counts only once a manifest names it.

    Raises:
        StorageError: the disk refused.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = sqlite3.connect(path, isolation_level=None)
        with self._writing():
            self._connection.executescript(_SCHEMA)
            self._connection.execute("BEGIN")
        self._labels: dict[Label, int] = {}
        self.rows = 0
        self.documents = 0

    def put(self, document: Document, state: str, chunks: Sequence[NewChunk], hashes: Sequence[bytes]) -> int:
        """Add a document and its chunks with the hashes of what was embedded; returns the row of the first one."""
        first, number = self.rows, self.documents
        with self._writing():
            self._connection.execute(
                "INSERT INTO documents VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                (
                    number,
                    document.uri,
                    document.origin,
                    document.title,
                    document.digest,
                    state,
                    self._label(document.label),
                    zlib.compress(document.text.encode("utf-8"), 6),
                    _encode_layout(document.layout),
                    first,
                    len(chunks),
                ),
            )
            self._connection.executemany(
                "INSERT INTO chunks VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                (
                    (
                        first + i,
                        number,
                        i,
                        json.dumps(c.heading, ensure_ascii=False),
                        c.page,
                        c.start,
                        c.end,
                        c.text,
                        c.context,
                        c.indexed.removesuffix(c.text),
                        text_hash,
                    )
                    for i, (c, text_hash) in enumerate(zip(chunks, hashes, strict=True))
                ),
            )
        self.rows += len(chunks)
        self.documents += 1
        return first

    def _label(self, label: Label) -> int:
        if label not in self._labels:
            self._labels[label] = len(self._labels)
            self._connection.execute(
                "INSERT INTO labels VALUES (?,?)", (self._labels[label], json.dumps(labels.to_record(label)))
            )
        return self._labels[label]

    def seal(self) -> None:
        """Finish the file."""
        with self._writing():
            self._connection.execute("CREATE INDEX chunks_by_hash ON chunks (hash)")
            self._connection.execute("COMMIT")
        self._connection.close()

    def abandon(self) -> None:
        self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise write_refused(self._path, error) from error


class ChunkStore:
    """A sealed file, read-only; a connection serves one query at a time, and all are closed with the store.

    Raises:
        IndexDamaged: not a chunk store of this many rows.
    """

    def __init__(self, path: Path, rows: int) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._close = weakref.finalize(self, _close_all, self._idle)
        try:
            self._labels = {
                int(i): labels.from_record(json.loads(record))
                for i, record in self._query("SELECT id, record FROM labels")
            }
            self._label_of_row = np.fromiter(
                (
                    label
                    for (label,) in self._query(
                        "SELECT d.label FROM chunks c JOIN documents d ON d.id = c.document ORDER BY c.row"
                    )
                ),
                dtype=np.int32,
            )
        except sqlite3.DatabaseError as error:
            raise IndexDamaged(f"{path}: {error}") from error
        if len(self._label_of_row) != rows:
            raise IndexDamaged(f"{path}: {len(self._label_of_row)} chunks, expected {rows}")

    def close(self) -> None:
        self._close()

    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            connection = self._idle.pop()
        except IndexError:
            # immutable: no lock files beside a sealed segment; used by whichever thread takes it, one at a time
            connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
        try:
            yield from connection.execute(sql, parameters)
        except sqlite3.OperationalError as error:  # such as a file that an erasure took from under a slow reader
            raise IndexDamaged(f"{self._path}: {error}") from error
        finally:
            self._idle.append(connection)

    def readable(self, readers: frozenset[str] | None) -> NDArray[np.bool_]:
        """One boolean a row: may these groups read it (``None``: the owner, who may read all)?"""
        open_labels = [
            i
            for i, label in self._labels.items()
            if readers is None or label.groups is None or not label.groups.isdisjoint(readers)
        ]
        return np.isin(self._label_of_row, np.array(open_labels, dtype=np.int32))

    def chunks(self, rows: Sequence[int]) -> dict[int, Chunk]:
        """The chunks of these rows."""
        marks = ",".join("?" * len(rows))
        found = self._query(
            f"""SELECT c.row, d.uri, c.ordinal, d.title, c.heading, c.page, c.start, c."end", c.text, c.context, d.label
                FROM chunks c JOIN documents d ON d.id = c.document WHERE c.row IN ({marks})""",
            rows,
        )
        return {
            row: Chunk(
                id=f"{uri}#{ordinal}",
                document=uri,
                title=title,
                heading=tuple(json.loads(heading)),
                page=page,
                start=start,
                end=end,
                text=text,
                label=self._labels[label],
                context=context,
            )
            for row, uri, ordinal, title, heading, page, start, end, text, context, label in found
        }

    def document(self, uri: str) -> tuple[Document, int] | None:
        """The document and its first row."""
        for title, text, label, digest, origin, layout, first in self._query(
            "SELECT title, text, label, digest, origin, layout, first FROM documents WHERE uri = ?", (uri,)
        ):
            words = zlib.decompress(text).decode("utf-8")
            return Document(uri, title, words, self._labels[label], digest, origin, _decode_layout(layout)), first
        return None

    def passages(self, rows: range) -> list[NewChunk]:
        """The chunks of these rows as they came, so that they can go into another segment."""
        found = self._query(
            """SELECT heading, page, start, "end", text, context, lead FROM chunks
               WHERE row BETWEEN ? AND ? ORDER BY row""",
            (rows.start, rows.stop - 1),
        )
        return [
            NewChunk(tuple(json.loads(heading)), page, start, end, text, context, lead + text)
            for heading, page, start, end, text, context, lead in found
        ]

    def rows_with(self, hashes: Sequence[bytes]) -> dict[bytes, int]:
        """A row for each of these text hashes that the file holds, struck out or not."""
        found: dict[bytes, int] = {}
        for at in range(0, len(hashes), _LOOKUPS):
            some = hashes[at : at + _LOOKUPS]
            marks = ",".join("?" * len(some))
            found.update(self._query(f"SELECT hash, min(row) FROM chunks WHERE hash IN ({marks}) GROUP BY hash", some))
        return found

    def states(self) -> Iterator[tuple[DocumentState, int]]:
        """Every document with its first row, in the order in which they were written."""
        for uri, origin, digest, state, first, rows in self._query(
            "SELECT uri, origin, digest, state, first, rows FROM documents ORDER BY id"
        ):
            yield DocumentState(uri, origin, digest, state, rows), first


def _encode_layout(layout: Layout) -> str:
    pages = [[page.number, page.start, page.end] for page in layout.pages]
    return json.dumps([layout.markdown, layout.table, pages], separators=(",", ":"))


def _decode_layout(stored: str) -> Layout:
    markdown, table, pages = json.loads(stored)
    return Layout(markdown, table, tuple(Page(*page) for page in pages))


def _close_all(connections: list[sqlite3.Connection]) -> None:
    for connection in connections:
        connection.close()
