"""The answer cache: the newest in memory, more in one SQLite file that the processes of a home share.

The file holds text of documents, so what an erasure takes away must leave it, too: deleted pages are overwritten and the
log is emptied. A generation that was retained is remembered, so that an answer that was long in the making is not
written after what it was made from is gone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from domicile.adapters.database_file import Database, DatabaseFile
from domicile.answer_codec import from_record, to_record
from domicile.domain import Answer
from domicile.errors import Damaged, Overloaded, StorageError

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
"""How long an erasure waits for readers of the file before it is removed under them."""
_BUSY_SECONDS = 0.5
_TROUBLE = (StorageError, Overloaded, Damaged, OSError)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, collection TEXT NOT NULL,
    generation INTEGER NOT NULL, made REAL NOT NULL, record TEXT NOT NULL, digest BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS answers_by_generation ON answers (collection, generation);
CREATE TABLE IF NOT EXISTS retained (collection TEXT PRIMARY KEY, generation INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS totals (only INTEGER PRIMARY KEY CHECK (only = 1), entries INTEGER, bytes INTEGER);
INSERT OR IGNORE INTO totals VALUES (1, 0, 0);
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON answers BEGIN
    UPDATE totals SET entries = entries + 1, bytes = bytes + length(new.record); END;
CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON answers BEGIN
    UPDATE totals SET entries = entries - 1, bytes = bytes - length(old.record); END;
"""


@dataclass(frozen=True, slots=True)
class _Entry:
    answer: Answer
    made: float
    size: int


class SqliteAnswerCache:
    """``ports.AnswerCache``. Safe to call from several threads, and beside other processes.

    Args:
        path: of the file; made at the first answer, for its owner only.
        clock: wall clock with its time zone.
        entries: on disk; the oldest go first. 0 keeps none anywhere.
        memory_entries: in memory.
        max_bytes: on disk; a fifth of it in memory.
        max_age: after which an answer is made again.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], datetime],
        entries: int = 10_000,
        memory_entries: int = 1_000,
        max_bytes: int = 100_000_000,
        max_age: timedelta = timedelta(days=7),
    ) -> None:
        self._file = DatabaseFile(path, _SCHEMA, "the answer cache", "it is a cache and is begun anew", _BUSY_SECONDS)
        self._clock = clock
        self._entries, self._memory_entries = entries, memory_entries
        self._max_bytes, self._memory_bytes = max_bytes, max_bytes // 5
        self._max_seconds = max_age.total_seconds()
        self._lock = threading.Lock()
        self._memory: OrderedDict[str, _Entry] = OrderedDict()
        self._bytes = 0
        self._floors: dict[str, int] = {}
        self._retained: dict[str, int] = {}
        self._warned = False

    def get(self, key: str) -> Answer | None:
        with self._lock:
            held = self._memory.get(key)
            if held is not None:
                self._memory.move_to_end(key)
        if held is not None and not self._is_old(held.made):
            return held.answer
        found = self._read(key)
        if found is None or self._is_old(found.made):
            return None
        self._keep(key, found)
        return found.answer

    def put(self, key: str, answer: Answer) -> None:
        record = json.dumps(to_record(answer), separators=(",", ":"))
        entry = _Entry(answer, self._clock().timestamp(), len(record))
        if not self._entries or entry.size > self._max_bytes:
            return
        self._keep(key, entry)
        row = (key, answer.collection, answer.generation, entry.made, record, _digest(key, record))
        try:
            with self._file.writing(durable=False) as database:
                database.execute("DELETE FROM answers WHERE key = ?", (key,))
                database.execute(
                    "INSERT INTO answers (key, collection, generation, made, record, digest) SELECT ?1, ?2, ?3, ?4, ?5, ?6"
                    " WHERE NOT EXISTS (SELECT 1 FROM retained WHERE collection = ?2 AND generation > ?3)",
                    row,
                )
                self._bound(database)
        except _TROUBLE as error:
            self._trouble(error)

    def retain(self, collection: str, generation: int) -> None:
        if self._retained.get(collection) == generation:
            return
        self._drop(collection, generation)
        try:
            self._delete(collection, generation)
        except _TROUBLE as error:
            self._trouble(error)

    def forget(self, collection: str, generation: int) -> None:
        self._drop(collection, generation)
        until = time.monotonic() + FLUSH_SECONDS
        while time.monotonic() < until:
            try:
                return self._delete(collection, generation)
            except Overloaded:
                time.sleep(0.05)
            except _TROUBLE:
                break
        try:
            self._file.remove()
            self._delete(collection, generation)
        except _TROUBLE as error:
            raise StorageError(f"{error}: stop the services of this home and erase again") from error

    def _delete(self, collection: str, generation: int) -> None:
        """Take the other generations out of the file; what was deleted before is still in its log until that is emptied."""
        with self._file.writing() as database:
            database.execute("DELETE FROM answers WHERE collection = ? AND generation != ?", (collection, generation))
            database.execute("INSERT OR REPLACE INTO retained VALUES (?,?)", (collection, generation))
        self._file.flush()
        self._retained[collection] = generation

    def _drop(self, collection: str, generation: int) -> None:
        with self._lock:
            self._floors[collection] = generation
            for key, entry in list(self._memory.items()):
                if entry.answer.collection == collection and entry.answer.generation != generation:
                    self._bytes -= self._memory.pop(key).size

    def _keep(self, key: str, entry: _Entry) -> None:
        with self._lock:
            if entry.answer.generation < self._floors.get(entry.answer.collection, 0):
                return
            if (old := self._memory.pop(key, None)) is not None:
                self._bytes -= old.size
            self._memory[key] = entry
            self._bytes += entry.size
            while len(self._memory) > self._memory_entries or self._bytes > self._memory_bytes:
                self._bytes -= self._memory.popitem(last=False)[1].size

    def _read(self, key: str) -> _Entry | None:
        try:
            with self._file.reading() as database:
                row = database.execute("SELECT made, record, digest FROM answers WHERE key = ?", (key,)).fetchone()
        except _TROUBLE as error:
            self._trouble(error)
            return None
        if row is None or row["digest"] != _digest(key, row["record"]):
            return None
        with suppress(KeyError, TypeError, ValueError):  # written by another version
            return _Entry(from_record(json.loads(row["record"])), row["made"], len(row["record"]))
        return None

    def _is_old(self, made: float) -> bool:
        return abs(self._clock().timestamp() - made) > self._max_seconds  # or the clock was set back

    def _bound(self, database: Database) -> None:
        while True:
            entries, size = database.execute("SELECT entries, bytes FROM totals").fetchone()
            oldest = database.execute("SELECT number, made FROM answers ORDER BY number LIMIT 1").fetchone()
            fits = entries <= self._entries and size <= self._max_bytes
            if oldest is None or (fits and not self._is_old(oldest["made"])):
                return
            database.execute("DELETE FROM answers WHERE number = ?", (oldest["number"],))

    def _trouble(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("answers are not kept on disk: %s", error)
        if isinstance(error, Damaged):
            with suppress(*_TROUBLE):
                self._file.remove()


def _digest(key: str, record: str) -> bytes:
    """A row of which a byte was changed is no answer: its quotes would be shown as verified."""
    return hashlib.blake2b(f"{key}\0{record}".encode(), digest_size=16).digest()
