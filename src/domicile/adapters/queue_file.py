"""The SQLite file of a queue: its schema, its transactions, and what can be wrong with it."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from domicile.errors import Damaged, DomicileError, Overloaded, StorageError
from domicile.files import fsync_path, make_folders, storage_errors, write_refused

Database = sqlite3.Connection
Row = sqlite3.Row

BUSY_SECONDS = 5.0
"""How long one process waits for the other to finish its transaction."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL, collection TEXT NOT NULL, document TEXT, submitter TEXT NOT NULL, payload TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued', attempts INTEGER NOT NULL DEFAULT 0, cancel INTEGER NOT NULL DEFAULT 0,
    token TEXT, boot TEXT NOT NULL DEFAULT '', until REAL NOT NULL DEFAULT 0,
    created REAL NOT NULL, queued REAL NOT NULL, started REAL, finished REAL, ended INTEGER,
    spooled INTEGER NOT NULL DEFAULT -1, progress TEXT, report TEXT, error TEXT, failed INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, collection, number);
CREATE INDEX IF NOT EXISTS jobs_by_document ON jobs (collection, document);
"""


@dataclass(slots=True)
class Change:
    """An open transaction, and the uploads that nobody needs once it is committed."""

    database: Database
    unneeded: list[str] = field(default_factory=list)


class QueueFile:
    """One connection, used by one thread at a time.

    Args:
        path: made at the first change, for its owner only; looking makes none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._opened: Database | None = None

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Change]:
        """One transaction. SQLite flushes its log at each commit (FULL); without that a power loss takes the last ones.

        Raises:
            StorageError: the disk refused.
            Overloaded: another process holds the file for too long.
            Damaged: it is no queue.
        """
        with self._lock, self._errors():
            change = Change(self._connection())
            change.database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            change.database.execute("BEGIN IMMEDIATE")
            try:
                yield change
                change.database.execute("COMMIT")
            except BaseException:
                if change.database.in_transaction:
                    change.database.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[Database]:
        """
        Raises:
            StorageError, Overloaded, Damaged: as for ``writing``.
        """
        with self._lock, self._errors():
            if self._opened is None and not self._path.exists():
                with closing(sqlite3.connect(":memory:")) as empty:
                    yield _prepared(empty)
            else:
                yield self._connection()

    def _connection(self) -> Database:
        if self._opened is None:
            make_folders(self._path.parent, mode=0o700)
            # SQLite gives its log the mode of the file. Made without opening it: closing any descriptor of a file takes away
            # the locks that this process may hold on it by another connection, and SQLite lives by them.
            with suppress(FileExistsError):
                os.mknod(self._path, stat.S_IFREG | 0o600)
                fsync_path(self._path.parent)
            opened = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                opened.execute("PRAGMA journal_mode = WAL")
                opened.execute("PRAGMA secure_delete = ON")
                self._opened = _prepared(opened)
            except BaseException:
                opened.close()
                raise
            weakref.finalize(self, opened.close)
        return self._opened

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with storage_errors(str(self._path)):
                yield
        except sqlite3.DatabaseError as error:
            raise self._named(error) from error

    def _named(self, error: sqlite3.DatabaseError) -> DomicileError:
        # the low byte of an extended code is the plain one
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Overloaded("the queue of ingestion", retry_after=1)
        # SQLITE_ERROR: a table that is not ours
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            return Damaged(f"{self._path}: {error}: stop services and workers, move it away, and submit again")
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            return StorageError(f"cannot write {self._path}: {error}: this user must be able to write its folder")
        return write_refused(self._path, error)


def _prepared(database: Database) -> Database:
    database.row_factory = Row
    database.executescript(_SCHEMA)
    return database
