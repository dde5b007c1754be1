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
from domicile.domain import Chunk, Document, Label
from domicile.errors import IndexDamaged
from domicile.files import write_refused
from domicile.ports import DocumentState, NewChunk

_SCHEMA = """
PRAGMA page_size = 8192;
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA user_version = 1;
CREATE TABLE labels (id INTEGER PRIMARY KEY, record TEXT NOT NULL UNIQUE);
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, uri TEXT NOT NULL UNIQUE, origin TEXT NOT NULL, title TEXT NOT NULL, digest TEXT NOT NULL,
    state TEXT NOT NULL, label INTEGER NOT NULL REFERENCES labels, text BLOB NOT NULL,
    first INTEGER NOT NULL, rows INTEGER NOT NULL);
CREATE TABLE chunks (
    row INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents, ordinal INTEGER NOT NULL,
    heading TEXT NOT NULL, page INTEGER,
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, text TEXT NOT NULL, context TEXT NOT NULL);
"""


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

    def put(self, document: Document, state: str, chunks: Sequence[NewChunk]) -> int:
        """Add a document and its chunks; returns the row of the first one."""
        first, number = self.rows, self.documents
        with self._writing():
            self._connection.execute(
                "INSERT INTO documents VALUES (?,?,?,?,?,?,?,?,?,?)",
                (
                    number,
                    document.uri,
                    document.origin,
                    document.title,
                    document.digest,
                    state,
                    self._label(document.label),
                    zlib.compress(document.text.encode("utf-8"), 6),
                    first,
                    len(chunks),
                ),
            )
            self._connection.executemany(
                "INSERT INTO chunks VALUES (?,?,?,?,?,?,?,?,?)",
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
                    )
                    for i, c in enumerate(chunks)
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
        for title, text, label, digest, origin, first in self._query(
            "SELECT title, text, label, digest, origin, first FROM documents WHERE uri = ?", (uri,)
        ):
            return Document(
                uri, title, zlib.decompress(text).decode("utf-8"), self._labels[label], digest, origin
            ), first
        return None

    def states(self) -> Iterator[tuple[DocumentState, int]]:
        """Every document with its first row, in the order in which they were written."""
        for uri, origin, digest, state, first, rows in self._query(
            "SELECT uri, origin, digest, state, first, rows FROM documents ORDER BY id"
        ):
            yield DocumentState(uri, origin, digest, state, rows), first


def _close_all(connections: list[sqlite3.Connection]) -> None:
    for connection in connections:
        connection.close()
