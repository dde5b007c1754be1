"""One SQLite file that the processes of a home share: how it is opened, its transactions, and what can be wrong with it."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from domicile.errors import Damaged, DomicileError, Overloaded, StorageError, WriterBusy
from domicile.files import fsync_path, make_folders, storage_errors, write_refused, writer_lock

Database = sqlite3.Connection
Row = sqlite3.Row

BUSY_SECONDS = 5.0
_PAUSE_SECONDS = 0.01
"""How long one process waits for the other to finish its transaction."""


class DatabaseFile:
    """One connection, used by one thread at a time.

    Args:
        path: made at the first change, for its owner only; looking makes none.
        schema: statements that make what is not there yet.
        what: the file is, for messages.
        advice: what to do where it is damaged.
        replaceable: whether a file that was taken away under us is begun anew; else that is damage.
    """

    def __init__(
        self,
        path: Path,
        schema: str,
        what: str,
        advice: str,
        busy_seconds: float = BUSY_SECONDS,
        *,
        replaceable: bool = True,
    ) -> None:
        self._path = path
        self._schema = schema
        self._what = what
        self._advice = advice
        self._busy_seconds = busy_seconds
        self._replaceable = replaceable
        self._lock = threading.Lock()
        self._opened: Database | None = None
        self._inode = 0

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Database]:
        """One transaction. SQLite flushes its log at each commit (FULL); without that a power loss takes the last ones.

        Raises:
            StorageError: the disk refused.
            Overloaded: another process holds the file for too long.
            Damaged: it is no such file.
        """
        with self._lock, self._errors():
            database = self._connection()
            database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
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
                    yield self._prepared(empty)
            else:
                yield self._connection()

    def flush(self) -> None:
        """Bring the log into the file and empty it: what was deleted before is then in neither.

        Raises:
            Overloaded: a reader still looks at what was.
            StorageError, Damaged: as for ``writing``.
        """
        with self._lock, self._errors():
            database = self._connection()
            database.execute("PRAGMA synchronous = FULL")
            if database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise Overloaded(self._what, retry_after=1)

    def remove(self) -> None:
        """Close and delete the file; one that another process began anew meanwhile stays.

        Raises:
            StorageError: the disk refused.
        """
        with self._lock, self._errors(), suppress(FileNotFoundError, WriterBusy):
            if self._opened is not None:
                self._opened.close()
                self._opened = None
            with writer_lock(self._path.with_suffix(".lock"), self._what):
                if self._inode in (0, self._path.stat().st_ino):
                    for name in ("-wal", "-shm", ""):
                        Path(f"{self._path}{name}").unlink(missing_ok=True)
            self._inode = 0

    def _connection(self) -> Database:
        if self._opened is not None and self._was_taken_away():
            if not self._replaceable:
                raise Damaged(f"{self._path}: was taken away while it was in use: {self._advice}")
            self._opened.close()
            self._opened = None
        if self._opened is None:
            make_folders(self._path.parent, mode=0o700)
            # SQLite gives its log the mode of the file. Made without opening it: closing any descriptor of a file takes away
            # the locks that this process may hold on it by another connection, and SQLite lives by them.
            with suppress(FileExistsError):
                os.mknod(self._path, stat.S_IFREG | 0o600)
                fsync_path(self._path.parent)
            self._inode = self._path.stat().st_ino
            opened = sqlite3.connect(
                self._path, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False
            )
            try:
                self._set_up(opened)
                self._opened = self._prepared(opened)
            except BaseException:
                opened.close()
                raise
            weakref.finalize(self, opened.close)
        return self._opened

    def _set_up(self, opened: Database) -> None:
        """Where two begin the file at once, SQLite tells one of them at once that it is busy, and does not wait."""
        until = time.monotonic() + self._busy_seconds
        while True:
            try:
                opened.execute("PRAGMA journal_mode = WAL")
                opened.execute("PRAGMA secure_delete = ON")
                return
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(_PAUSE_SECONDS)

    def _was_taken_away(self) -> bool:
        try:
            return self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            return True

    def _prepared(self, database: Database) -> Database:
        database.row_factory = Row
        database.executescript(self._schema)
        return database

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
            return Overloaded(self._what, retry_after=1)
        # SQLITE_ERROR: a table that is not ours
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            return Damaged(f"{self._path}: {error}: {self._advice}")
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            return StorageError(f"cannot write {self._path}: {error}: this user must be able to write its folder")
        return write_refused(self._path, error)
