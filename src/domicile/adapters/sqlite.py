"""The chunk store of one segment: documents, their chunks and labels in one SQLite file, immutable once sealed."""

from __future__ import annotations

import json
import sqlite3
import weakref
import zlib
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing, contextmanager
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domicile import filters, labels
from domicile.adapters import filter_sql
from domicile.domain import Chunk, Condition, Document, Label, Layout, Page, Scalar
from domicile.errors import IndexDamaged
from domicile.files import write_refused
from domicile.metadata import comparable
from domicile.ports import DocumentState, NewChunk

_SCHEMA = """
PRAGMA page_size = 8192;
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA user_version = 3;
CREATE TABLE labels (id INTEGER PRIMARY KEY, record TEXT NOT NULL UNIQUE);
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, uri TEXT NOT NULL UNIQUE, origin TEXT NOT NULL, title TEXT NOT NULL, digest TEXT NOT NULL,
    state TEXT NOT NULL, label INTEGER NOT NULL REFERENCES labels, first INTEGER NOT NULL, rows INTEGER NOT NULL,
    metadata TEXT NOT NULL, layout TEXT NOT NULL, text BLOB NOT NULL);
CREATE TABLE fields (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE kinds (
    field INTEGER NOT NULL REFERENCES fields, kind TEXT NOT NULL, label INTEGER NOT NULL REFERENCES labels,
    PRIMARY KEY (field, kind, label)) WITHOUT ROWID;
CREATE TABLE metadata (
    field INTEGER NOT NULL REFERENCES fields, value NOT NULL, document INTEGER NOT NULL REFERENCES documents,
    PRIMARY KEY (field, value, document)) WITHOUT ROWID;
CREATE TABLE arrays (name TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE chunks (
    row INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents, ordinal INTEGER NOT NULL,
    heading TEXT NOT NULL, page INTEGER,
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, text TEXT NOT NULL, context TEXT NOT NULL,
    lead TEXT NOT NULL, hash BLOB NOT NULL);
"""
_LOOKUPS = 500
"""Values of one query: SQLite allows more, and plans long lists slowly."""
_ARRAYS = ("labels", "rows")
"""Numbers of every document in order, each array as one value: a segment opens without reading its documents."""
_KNOWN_FIELDS = 10_000


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
        self._fields: dict[str, int] = {}
        self._arrays = {name: array("i") for name in _ARRAYS}
        self.rows = 0
        self.documents = 0

    def put(self, document: Document, state: str, chunks: Sequence[NewChunk], hashes: Sequence[bytes]) -> int:
        """Add a document and its chunks with the hashes of what was embedded; returns the row of the first one."""
        first, number = self.rows, self.documents
        with self._writing():
            label = self._label(document.label)
            self._connection.execute(
                "INSERT INTO documents VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    number,
                    document.uri,
                    document.origin,
                    document.title,
                    document.digest,
                    state,
                    label,
                    first,
                    len(chunks),
                    json.dumps(document.metadata, ensure_ascii=False, separators=(",", ":")),
                    _encode_layout(document.layout),
                    zlib.compress(document.text.encode("utf-8"), 6),
                ),
            )
            self._put_metadata(number, label, document)
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
        self._arrays["labels"].append(label)
        self._arrays["rows"].append(len(chunks))
        self.rows += len(chunks)
        self.documents += 1
        return first

    def _put_metadata(self, number: int, label: int, document: Document) -> None:
        values = [(filters.field_of(name), value) for name, value in document.metadata]
        self._connection.executemany(
            "INSERT OR IGNORE INTO kinds VALUES (?,?,?)",
            {(self._field(field), filters.kind_of(value), label) for field, value in values},
        )
        values += [("document", comparable(document.uri)), ("title", comparable(document.title))]
        self._connection.executemany(
            "INSERT OR IGNORE INTO metadata VALUES (?,?,?)",
            [(self._field(field), value, number) for field, value in (*values, ("origin", document.origin))],
        )

    def _label(self, label: Label) -> int:
        if label not in self._labels:
            self._labels[label] = len(self._labels)
            self._connection.execute(
                "INSERT INTO labels VALUES (?,?)", (self._labels[label], json.dumps(labels.to_record(label)))
            )
        return self._labels[label]

    def _field(self, name: str) -> int:
        if name not in self._fields:
            if len(self._fields) == _KNOWN_FIELDS:
                self._fields.clear()
            self._connection.execute("INSERT OR IGNORE INTO fields (name) VALUES (?)", (name,))
            ((self._fields[name],),) = self._connection.execute("SELECT id FROM fields WHERE name = ?", (name,))
        return self._fields[name]

    def seal(self) -> None:
        """Finish the file."""
        with self._writing():
            self._connection.executemany(
                "INSERT INTO arrays VALUES (?,?)",
                [(name, np.array(numbers, "<i4").tobytes()) for name, numbers in self._arrays.items()],
            )
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
            arrays = {
                str(name): np.frombuffer(data, "<i4") for name, data in self._query("SELECT name, data FROM arrays")
            }
            self._label_of, self._rows_of = (arrays[name] for name in _ARRAYS)
        except (sqlite3.DatabaseError, KeyError, ValueError) as error:
            raise IndexDamaged(f"{path}: {error}") from error
        if len(self._label_of) != len(self._rows_of) or int(self._rows_of.sum()) != rows:
            raise IndexDamaged(f"{path}: {int(self._rows_of.sum())} chunks, expected {rows}")
        self._firsts = np.cumsum(self._rows_of) - self._rows_of

    def close(self) -> None:
        self._close()

    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> Generator[tuple[Any, ...]]:
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
        labelled = self._labelled(
            lambda label: readers is None or label.groups is None or not label.groups.isdisjoint(readers)
        )
        return np.repeat(labelled, self._rows_of)

    def labelled(self, allowed: AbstractSet[Label]) -> NDArray[np.bool_]:
        """One boolean a row: does its document have one of these labels?"""
        return np.repeat(self._labelled(allowed.__contains__), self._rows_of)

    def labels(self, rows: NDArray[np.bool_]) -> frozenset[Label]:
        """The labels of the documents of these rows."""
        return frozenset(map(self._labels.__getitem__, self._numbers_of_labels(rows)))

    def census(self, rows: NDArray[np.bool_], listed: int) -> dict[Label, tuple[int, list[str]]]:
        """How many documents of these rows have each label, and the URIs of the first of them."""
        found: dict[Label, tuple[int, list[str]]] = {}
        for number in sorted(self._numbers_of_labels(rows)):
            mine = np.flatnonzero(rows[self._firsts] & (self._label_of == number)).tolist()
            first = mine[:listed]
            named = self._query(
                f"SELECT uri FROM documents WHERE id IN ({','.join('?' * len(first))}) ORDER BY id", first
            )
            found[self._labels[number]] = len(mine), [uri for (uri,) in named]
        return found

    def matching(self, conditions: Sequence[Condition], readers: frozenset[str] | None) -> NDArray[np.bool_]:
        """One boolean a row: does its document meet all these conditions? One that these groups may not read may, too."""
        found = np.ones(len(self._label_of), dtype=bool)
        for condition in conditions:
            if condition.field.startswith(filters.LABEL) and condition.field in filters.BUILT_IN:
                found &= self._labelled(partial(filters.holds_for, condition, readers=readers))
            else:
                found &= self._with_value(condition)
            if not found.any():
                break
        return np.repeat(found, self._rows_of)

    def fields(self, allowed: NDArray[np.bool_], asked: Iterable[str]) -> dict[str, frozenset[filters.Kind]]:
        """Fields of metadata with the kinds of their values, as far as they occur in documents whose rows are allowed.

        Args:
            asked: the fields that matter; beside them come the first few by name, to be shown to people.
        """
        found: dict[str, frozenset[filters.Kind]] = {}
        for field in asked:
            for name, kind in self._kinds(allowed, "WHERE f.name = ?", (field,)):
                found[name] = found.get(name, frozenset()) | {kind}
        shown: dict[str, frozenset[filters.Kind]] = {}
        for name, kind in self._kinds(allowed):
            if len(shown) == filters.SHOWN_FIELDS and name not in shown:
                break
            shown[name] = shown.get(name, frozenset()) | {kind}
        return shown | found

    def _labelled(self, wanted: Callable[[Label], bool]) -> NDArray[np.bool_]:
        """One boolean a document; labels are few."""
        return np.isin(self._label_of, [number for number, label in self._labels.items() if wanted(label)])

    def _numbers_of_labels(self, rows: NDArray[np.bool_]) -> frozenset[int]:
        return frozenset(np.flatnonzero(np.bincount(self._label_of[rows[self._firsts]])).tolist())

    def _with_value(self, condition: Condition) -> NDArray[np.bool_]:
        """One boolean a document."""
        where, values = filter_sql.where(condition)
        # one text of all numbers: four times as fast as a row of the result for each
        ((found,),) = self._query(f"SELECT group_concat(document) FROM metadata WHERE {where}", values)
        mask = np.zeros(len(self._label_of), dtype=bool)
        if found is not None:
            mask[np.fromstring(found, dtype=np.int32, sep=",")] = True
        return mask

    def _kinds(
        self, allowed: NDArray[np.bool_], where: str = "", parameters: Sequence[str] = ()
    ) -> Iterator[tuple[str, filters.Kind]]:
        """Fields by name and kinds of their values. What has another label than all that is allowed costs no look."""
        visible = self._numbers_of_labels(allowed)
        rows = self._query(
            f"SELECT f.name, k.kind, k.label FROM fields f JOIN kinds k ON k.field = f.id {where} ORDER BY f.name, k.kind",
            parameters,
        )
        for (name, kind), of_labels in groupby(rows, key=itemgetter(0, 1)):
            if any(label in visible for _, _, label in of_labels) and self._occurs(name, kind, allowed):
                yield name, kind

    def _occurs(self, field: str, kind: filters.Kind, allowed: NDArray[np.bool_]) -> bool:
        found = self._query(f"SELECT document FROM metadata WHERE {filter_sql.of_kind(kind)}", (field,))
        with closing(found):
            return any(allowed[self._firsts[document]] for (document,) in found)

    def chunks(self, rows: Sequence[int]) -> dict[int, Chunk]:
        """The chunks of these rows."""
        marks = ",".join("?" * len(rows))
        found = self._query(
            f"""SELECT c.row, d.uri, c.ordinal, d.title, c.heading, c.page, c.start, c."end", c.text, c.context, d.label,
                d.metadata FROM chunks c JOIN documents d ON d.id = c.document WHERE c.row IN ({marks})""",
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
                metadata=_decode_metadata(metadata),
            )
            for row, uri, ordinal, title, heading, page, start, end, text, context, label, metadata in found
        }

    def document(self, uri: str) -> tuple[Document, int] | None:
        """The document and its first row."""
        for title, text, label, digest, origin, layout, metadata, first in self._query(
            "SELECT title, text, label, digest, origin, layout, metadata, first FROM documents WHERE uri = ?", (uri,)
        ):
            words = zlib.decompress(text).decode("utf-8")
            about = _decode_layout(layout), _decode_metadata(metadata)
            return Document(uri, title, words, self._labels[label], digest, origin, *about), first
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


def _decode_metadata(stored: str) -> tuple[tuple[str, Scalar], ...]:
    return tuple((field, value) for field, value in json.loads(stored))


def _encode_layout(layout: Layout) -> str:
    pages = [[page.number, page.start, page.end] for page in layout.pages]
    return json.dumps([layout.markdown, layout.table, pages], separators=(",", ":"))


def _decode_layout(stored: str) -> Layout:
    markdown, table, pages = json.loads(stored)
    return Layout(markdown, table, tuple(Page(*page) for page in pages))


def _close_all(connections: list[sqlite3.Connection]) -> None:
    for connection in connections:
        connection.close()
