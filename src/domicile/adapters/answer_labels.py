"""Which label each answer had, by the hash of its text, in one SQLite file; the text itself is nowhere in it.

An answer that comes back as a turn of a conversation gets its label from here. One that is not found is treated as most
restrictive, so trouble with this file costs routes and never confidentiality, and a damaged file is begun anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from domicile import labels
from domicile.adapters.database_file import Database, DatabaseFile
from domicile.domain import Label
from domicile.errors import Damaged, Overloaded, StorageError

logger = logging.getLogger(__name__)

MAX_DISTRUSTED = 10_000
"""Texts whose label became stricter and could not be written; beyond it no label is given any more."""
_TROUBLE = (StorageError, Overloaded, Damaged, OSError)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS labels (id INTEGER PRIMARY KEY, record TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE, label INTEGER NOT NULL REFERENCES labels,
    digest BLOB NOT NULL);
"""
_FIND = "SELECT record, digest FROM answers JOIN labels ON labels.id = answers.label WHERE hash = ?"


class SqliteAnswerLabels:
    """``ports.AnswerLabels``. Safe to call from several threads, and beside other processes.

    Args:
        path: of the file; made at the first answer, for its owner only.
        answers: that are kept; the oldest go first.
    """

    def __init__(self, path: Path, answers: int = 1_000_000) -> None:
        self._file = DatabaseFile(path, _SCHEMA, "the labels of answers", "it is begun anew")
        self._answers = answers
        self._distrusted: set[bytes] = set()

    def remember(self, tenant: str, texts: Sequence[str], label: Label) -> None:
        keys = [_key(tenant, text) for text in texts if self.find(tenant, text) != label]
        if not keys:
            return
        try:
            # synced to the disk, or a power loss could take back that a label became stricter
            with self._file.writing() as database:
                for key in keys:
                    known = _read(database, key)
                    joined = labels.join([label, *([known] if known else [])])
                    assert joined is not None
                    self._write(database, key, joined)
            self._distrusted.difference_update(keys)
        except _TROUBLE as error:
            self._distrusted.update(keys)
            self._trouble(error)

    def find(self, tenant: str, text: str) -> Label | None:
        key = _key(tenant, text)
        if key in self._distrusted or len(self._distrusted) > MAX_DISTRUSTED:
            return None
        try:
            with self._file.reading() as database:
                return _read(database, key)
        except _TROUBLE as error:
            self._trouble(error)
            return None

    def _write(self, database: Database, key: bytes, label: Label) -> None:
        record = json.dumps(labels.to_record(label))
        database.execute("INSERT OR IGNORE INTO labels (record) VALUES (?)", (record,))
        database.execute(
            "INSERT INTO answers (hash, label, digest) SELECT ?1, id, ?3 FROM labels WHERE record = ?2"
            " ON CONFLICT (hash) DO UPDATE SET label = excluded.label, digest = excluded.digest",
            (key, record, _digest(key, record)),
        )
        database.execute("DELETE FROM answers WHERE number <= (SELECT max(number) FROM answers) - ?", (self._answers,))

    def _trouble(self, error: Exception) -> None:
        logger.warning("what an answer was made from will not be known in the next turn: %s", error)
        if isinstance(error, Damaged):
            with suppress(*_TROUBLE):
                self._file.remove()


def _read(database: Database, key: bytes) -> Label | None:
    row = database.execute(_FIND, (key,)).fetchone()
    if row is None or row["digest"] != _digest(key, row["record"]):
        return None
    with suppress(KeyError, TypeError, ValueError):  # written by another version
        return labels.from_record(json.loads(row["record"]))
    return None


def _key(tenant: str, text: str) -> bytes:
    """Clients change white space, and send the answer back all the same."""
    return hashlib.sha256(f"{tenant}\0{' '.join(text.split())}".encode("utf-8", "surrogatepass")).digest()


def _digest(key: bytes, record: str) -> bytes:
    """A row of which a byte was changed says nothing: it might allow more than it did."""
    return hashlib.blake2b(key + record.encode(), digest_size=8).digest()
