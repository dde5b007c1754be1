"""The queue of ingestion in one SQLite file, shared by the processes of a home; uploads lie in files beside it.

A lease is measured with the kernel's monotonic clock, which all processes of a machine read alike and nobody sets. It
begins anew at a reboot, so each lease names its boot, and one of another boot is over: its worker cannot live.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from domicile import uris
from domicile.adapters.queue_file import Change, Database, QueueFile, Row
from domicile.adapters.spool import Spool, SpoolFile
from domicile.errors import InvalidRequest, Overloaded, UnknownJob, UsageError
from domicile.jobs import (
    MAX_PAYLOAD_BYTES,
    PUT_BACK_SECONDS,
    Job,
    Lease,
    Order,
    QueueFigures,
    QueueLimits,
    Upload,
    failed_documents,
    retry_seconds,
    without,
)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_SELECT = """SELECT *, CASE state WHEN 'queued' THEN
    (SELECT count(*) FROM jobs AS before WHERE before.state = 'queued' AND before.number <= jobs.number) END AS position
    FROM jobs """
# `until` is when a lease ends, or when a job that waits may be tried again.
_OVER = "(boot != :boot OR until <= :now)"
# Strictly in order within a collection: an older version of a document must not come after a newer one.
_NEXT = f"""SELECT * FROM jobs WHERE state = 'queued' AND {_OVER} AND NOT EXISTS (
    SELECT 1 FROM jobs AS other WHERE other.collection = jobs.collection
    AND (other.state = 'running' OR other.state = 'queued' AND other.number < jobs.number))
    ORDER BY number LIMIT 1"""


class SqliteJobs:
    """The queue of a home; see ``Jobs``.

    Args:
        folder: ``state`` of the home; made at the first job, for its owner only.
        clock: seconds that nobody can set, the same for all processes of the machine.
        wall: seconds since the epoch, for what people read.
        boot: names this run of the machine.
    """

    def __init__(
        self,
        folder: Path,
        limits: QueueLimits,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        boot: str | None = None,
    ) -> None:
        self._file = QueueFile(folder / "jobs.sqlite")
        self._spool = Spool(folder / "spool")
        self._limits = limits
        self._clock = clock
        self._wall = wall
        self._boot = _BOOT_ID.read_text(encoding="ascii").strip() if boot is None else boot

    @contextmanager
    def receive(self) -> Iterator[Upload]:
        with self._file.reading() as database:
            self._refuse_when_full(database)
        with self._spool.receive(secrets.token_hex(8)) as file:
            yield file

    def submit(self, order: Order, upload: Upload | None = None) -> Job:
        payload = json.dumps(order.payload)
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise InvalidRequest("payload", f"must not be longer than {MAX_PAYLOAD_BYTES:,} bytes")
        file = upload if isinstance(upload, SpoolFile) else None
        if file is not None:
            file.settle()
        identifier = secrets.token_hex(8) if file is None else file.name
        now = self._wall()
        with self._writing() as change:
            self._refuse_when_full(change.database)
            if file is not None:
                self._make_room(change, file.size)
            change.database.execute(
                "INSERT INTO jobs (id, kind, collection, document, submitter, payload, created, queued, spooled)"
                " VALUES (?,?,?,?,?,?,?,?,?)",
                (
                    identifier,
                    order.kind,
                    order.collection,
                    order.document,
                    order.submitter,
                    payload,
                    now,
                    now,
                    -1 if file is None else file.size,
                ),
            )
        if file is not None:
            file.kept = True
        return self.get(identifier)

    def get(self, job: str) -> Job:
        with self._file.reading() as database:
            return self._job(_row(database, job))

    def newest(self, limit: int, of: Callable[[str], bool] = lambda collection: True) -> list[Job]:
        found: list[Job] = []
        with self._file.reading() as database:
            for row in database.execute(f"{_SELECT} ORDER BY number DESC"):
                if len(found) == limit:
                    break
                if of(row["collection"]):
                    found.append(self._job(row))
        return found

    def pending(self, collection: str, document: str, submitter: str | None = None) -> bool:
        query = (
            "SELECT 1 FROM jobs WHERE collection = ? AND document = ? AND submitter = coalesce(?, submitter)"
            " AND state IN ('queued', 'running')"
        )
        with self._file.reading() as database:
            return database.execute(query, (collection, document, submitter)).fetchone() is not None

    def upload(self, job: str) -> bytes:
        try:
            return self._spool.read(job)
        except FileNotFoundError:
            raise UsageError("the uploaded document is not kept any more: put it again") from None

    def take(self) -> Lease | None:
        token, clock = secrets.token_hex(8), self._clock()
        now = {"boot": self._boot, "now": clock}
        with self._writing() as change:
            for row in change.database.execute(f"{_SELECT} WHERE state = 'running' AND {_OVER}", now).fetchall():
                self._take_from_the_dead(change, row)
            row = change.database.execute(_NEXT, now).fetchone()
            if row is None:
                return None
            change.database.execute(
                "UPDATE jobs SET state = 'running', attempts = attempts + 1, token = ?, boot = ?, until = ?,"
                " started = ?, progress = NULL WHERE id = ?",
                (token, self._boot, clock + self._limits.lease_seconds, self._wall(), row["id"]),
            )
            return Lease(self._job(_row(change.database, row["id"])), token)

    def beat(self, lease: Lease, progress: Mapping[str, Any] | None) -> Literal["held", "cancelled", "lost"]:
        # not durable: after a power loss the lease is over anyway
        with self._writing(durable=False) as change:
            row = _held(change.database, lease)
            if row is None:
                return "lost"
            change.database.execute(
                "UPDATE jobs SET until = ?, progress = coalesce(?, progress) WHERE id = ?",
                (self._clock() + self._limits.lease_seconds, _dumps(progress), lease.job.id),
            )
            return "cancelled" if row["cancel"] else "held"

    def finish(
        self,
        lease: Lease,
        state: Literal["done", "failed", "cancelled"],
        report: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> Job | None:
        with self._writing() as change:
            row = _held(change.database, lease)
            return None if row is None else self._end(change, row, state, report, error)

    def again(self, lease: Lease, error: Mapping[str, Any]) -> Job | None:
        with self._writing() as change:
            row = _held(change.database, lease)
            if row is None:
                return None
            if row["cancel"]:
                return self._end(change, row, "cancelled", None, error)
            if row["attempts"] >= self._limits.attempts:
                return self._end(change, row, "dead", None, error)
            return self._wait(change, row, retry_seconds(row["attempts"]), row["attempts"], error)

    def put_back(self, lease: Lease) -> None:
        with self._writing() as change:
            row = _held(change.database, lease)
            if row is not None and row["cancel"]:
                self._end(change, row, "cancelled", None, None)
            elif row is not None:
                self._wait(change, row, PUT_BACK_SECONDS, row["attempts"] - 1, None)

    def cancel(self, job: str) -> Job:
        with self._writing() as change:
            row = _row(change.database, job)
            if row["state"] not in ("queued", "running"):
                raise UsageError(f"job {job} has ended: it is {row['state']}")
            if row["state"] == "queued" or row["boot"] != self._boot or row["until"] <= self._clock():
                return self._end(change, row, "cancelled", None, None)
            change.database.execute("UPDATE jobs SET cancel = 1 WHERE id = ?", (job,))
            return self._job(_row(change.database, job))

    def retry(self, job: str) -> Job:
        with self._writing() as change:
            row = _row(change.database, job)
            if row["state"] not in ("failed", "dead", "cancelled"):
                raise UsageError(
                    f"job {job} is {row['state']}: only one that failed, died or was cancelled is tried again"
                )
            if row["kind"] == "put" and row["spooled"] < 0:
                raise UsageError("the uploaded document is not kept any more: put it again")
            later = change.database.execute(
                "SELECT id FROM jobs WHERE collection = ? AND document = ? AND number > ?"
                " AND state IN ('queued', 'running', 'done')",
                (row["collection"], row["document"], row["number"]),
            ).fetchone()
            if later is not None:
                raise UsageError(f"job {later['id']} is newer and concerns the same document: put it again if need be")
            self._refuse_when_full(change.database)
            change.database.execute(
                "UPDATE jobs SET number = (SELECT max(number) + 1 FROM jobs), state = 'queued', attempts = 0, cancel = 0,"
                " boot = '', queued = ?, started = NULL, finished = NULL, ended = NULL, progress = NULL, report = NULL,"
                " error = NULL, failed = 0 WHERE id = ?",
                (self._wall(), job),
            )
            return self._job(_row(change.database, job))

    def erase(self, collection: str, document: str) -> int:
        touched = 0
        with self._writing() as change:
            rows = change.database.execute(f"{_SELECT} WHERE collection = ?", (collection,)).fetchall()
            for row in rows:
                held = row["document"]
                if held is not None and (uris.is_or_lies_in(held, document) or uris.is_or_lies_in(document, held)):
                    self._forget(change, row)
                    touched += 1
                elif (said := (_loads(row["report"]), _loads(row["error"]))) != (less := without(*said, document)):
                    written = (_dumps(less[0]), _dumps(less[1]), row["id"])
                    change.database.execute("UPDATE jobs SET report = ?, error = ? WHERE id = ?", written)
                    touched += 1
        if touched:
            with self._file.reading() as database:  # what was deleted is zeroed there, and gone from the log with this
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return touched

    def figures(self) -> QueueFigures:
        with self._file.reading() as database:
            states = dict(database.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
            oldest = database.execute("SELECT min(queued) FROM jobs WHERE state = 'queued'").fetchone()[0]
            failed = database.execute(
                "SELECT coalesce(sum(failed), 0) FROM jobs WHERE number IN"
                " (SELECT max(number) FROM jobs WHERE kind = 'run' AND state = 'done' GROUP BY collection)"
            ).fetchone()[0]
        return QueueFigures(states, 0.0 if oldest is None else max(self._wall() - oldest, 0.0), failed)

    def sweep(self) -> None:
        """Remove what killed services left of uploads."""
        with self._file.reading() as database:
            wanted = {row["id"] for row in database.execute("SELECT id FROM jobs WHERE spooled >= 0")}
        self._spool.sweep(wanted)

    def _take_from_the_dead(self, change: Change, row: Row) -> None:
        """A worker that does not say a word is taken for dead; its attempt counts, or a killer job would go on for ever."""
        error = {"type": "WorkerLost", "message": f"its worker died, at attempt {row['attempts']}"}
        if row["cancel"]:
            self._end(change, row, "cancelled", None, error)
        elif row["attempts"] >= self._limits.attempts:
            self._end(change, row, "dead", None, error)
        else:
            self._wait(change, row, 0.0, row["attempts"], error)

    def _wait(self, change: Change, row: Row, seconds: float, attempts: int, error: Mapping[str, Any] | None) -> Job:
        change.database.execute(
            "UPDATE jobs SET state = 'queued', attempts = ?, token = NULL, boot = ?, until = ?, progress = NULL, error = ?"
            " WHERE id = ?",
            (attempts, self._boot, self._clock() + seconds, _dumps(error), row["id"]),
        )
        return self._job(_row(change.database, row["id"]))

    def _end(
        self,
        change: Change,
        row: Row,
        state: Literal["done", "failed", "cancelled", "dead"],
        report: Mapping[str, Any] | None,
        error: Mapping[str, Any] | None,
    ) -> Job:
        change.database.execute(
            "UPDATE jobs SET state = ?, token = NULL, finished = ?, report = ?, error = ?, failed = ?,"
            " ended = (SELECT coalesce(max(ended), 0) + 1 FROM jobs) WHERE id = ?",
            (state, self._wall(), _dumps(report), _dumps(error), failed_documents(report), row["id"]),
        )
        if state == "done":
            self._drop_upload(change, row)
        ended = self._job(_row(change.database, row["id"]))
        for states in ("('done', 'cancelled')", "('failed', 'dead')"):
            gone = change.database.execute(
                f"SELECT * FROM jobs WHERE state IN {states} ORDER BY ended DESC LIMIT -1 OFFSET ?",
                (self._limits.kept,),
            )
            for old in gone.fetchall():
                self._forget(change, old)
        return ended

    def _forget(self, change: Change, row: Row) -> None:
        change.unneeded.append(row["id"])
        change.database.execute("DELETE FROM jobs WHERE id = ?", (row["id"],))

    def _drop_upload(self, change: Change, row: Row) -> None:
        change.unneeded.append(row["id"])
        change.database.execute("UPDATE jobs SET spooled = -1 WHERE id = ?", (row["id"],))

    def _make_room(self, change: Change, size: int) -> None:
        """Give up the uploads of the oldest jobs that have ended, as far as it takes."""
        query = "SELECT * FROM jobs WHERE spooled > 0 AND {} state IN ('queued', 'running') ORDER BY number"
        held = change.database.execute(query.format("")).fetchall()
        ended = change.database.execute(query.format("NOT")).fetchall()
        free = self._limits.upload_bytes - sum(row["spooled"] for row in (*held, *ended))
        for row in ended:
            if free >= size:
                break
            self._drop_upload(change, row)
            free += row["spooled"]
        if free < size:
            raise Overloaded("the room for uploads", retry_after=60)

    def _refuse_when_full(self, database: Database) -> None:
        waiting = database.execute("SELECT count(*) FROM jobs WHERE state = 'queued'").fetchone()[0]
        if waiting >= self._limits.queued:
            raise Overloaded("the queue of ingestion", retry_after=30)

    def _job(self, row: Row) -> Job:
        return Job(
            id=row["id"],
            order=Order(
                row["kind"], row["collection"], row["document"], row["submitter"], _loads(row["payload"]) or {}
            ),
            state=row["state"],
            attempts=row["attempts"],
            cancelling=bool(row["cancel"]) and row["state"] == "running",
            created=row["created"],
            started=row["started"],
            finished=row["finished"],
            waiting=max(self._wall() - row["queued"], 0.0) if row["state"] == "queued" else 0.0,
            position=row["position"],
            progress=_loads(row["progress"]),
            report=_loads(row["report"]),
            error=_loads(row["error"]),
        )

    @contextmanager
    def _writing(self, *, durable: bool = True) -> Iterator[Change]:
        with self._file.writing(durable=durable) as change:
            yield change
        self._spool.remove(change.unneeded)


def _row(database: Database, job: str) -> Row:
    row: Row | None = database.execute(f"{_SELECT} WHERE id = ?", (job,)).fetchone()
    if row is None:
        raise UnknownJob(job)
    return row


def _held(database: Database, lease: Lease) -> Row | None:
    """The job, if it is still this worker's."""
    row: Row | None = database.execute(
        f"{_SELECT} WHERE id = ? AND token = ? AND state = 'running'", (lease.job.id, lease.token)
    ).fetchone()
    return row


def _dumps(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)


def _loads(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    value: dict[str, Any] = json.loads(text)
    return value
