"""The file of a queue: its table, and which uploads nobody needs once a transaction is committed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from domicile.adapters.database_file import Database, DatabaseFile, Row

__all__ = ["Change", "Database", "QueueFile", "Row"]

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
    """Transactions on one queue; errors as for ``DatabaseFile``."""

    def __init__(self, path: Path) -> None:
        advice = "stop services and workers, move it away, and submit again"
        self._file = DatabaseFile(path, _SCHEMA, "the queue of ingestion", advice)

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Change]:
        """One transaction, see ``DatabaseFile.writing``."""
        with self._file.writing(durable=durable) as database:
            yield Change(database)

    def reading(self) -> AbstractContextManager[Database]:
        """See ``DatabaseFile.reading``."""
        return self._file.reading()
