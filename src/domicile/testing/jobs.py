"""A job queue in memory."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from domicile.errors import (
    InvalidRequest,
    Overloaded,
    UnknownJob,
    UsageError,
)
from domicile.jobs import (
    MAX_PAYLOAD_BYTES,
    PUT_BACK_SECONDS,
    Job,
    JobState,
    Lease,
    Order,
    QueueFigures,
    QueueLimits,
    Upload,
    failed_documents,
    retry_seconds,
    without,
)
from domicile.uris import is_or_lies_in

_AGAIN = ("failed", "dead", "cancelled")
_RUN_DONE = ("run", "done")


@dataclass(slots=True)
class MemoryUpload:
    """An upload in memory."""

    data: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes) -> None:
        self.data += data


@dataclass(slots=True, eq=False)
class _Entry:
    job: Job
    queued: float
    upload: bytes | None
    token: str = ""
    ended: int = 0
    until: float = float("-inf")


@dataclass(slots=True)
class MemoryJobs:
    """The queue of ingestion without its durability.

    Attributes:
        clock: monotonic seconds, for leases and waiting.
        wall: seconds since the epoch, for what people read.
    """

    limits: QueueLimits = field(default_factory=QueueLimits)
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    _entries: list[_Entry] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @contextmanager
    def receive(self) -> Iterator[Upload]:
        self._refuse_when_full()
        yield MemoryUpload()

    def submit(self, order: Order, upload: Upload | None = None) -> Job:
        if len(json.dumps(order.payload)) > MAX_PAYLOAD_BYTES:
            raise InvalidRequest("payload", f"must not be longer than {MAX_PAYLOAD_BYTES:,} bytes")
        with self._lock:
            self._refuse_when_full()
            data = bytes(upload.data) if isinstance(upload, MemoryUpload) else None
            self._make_room(len(data or b""))
            job = Job(
                id=secrets.token_hex(8), order=order, state="queued", attempts=0, cancelling=False, created=self.wall(),
                started=None, finished=None, waiting=0.0, position=None, progress=None, report=None, error=None,
            )  # fmt: skip
            self._entries.append(_Entry(job, self.wall(), data))
            return self.get(job.id)

    def get(self, job: str) -> Job:
        with self._lock:
            return self._shown(self._entry(job))

    def newest(self, limit: int, of: Callable[[str], bool] = lambda collection: True) -> list[Job]:
        with self._lock:
            found = [entry for entry in reversed(self._entries) if of(entry.job.order.collection)]
            return [self._shown(entry) for entry in found[:limit]]

    def pending(self, collection: str, document: str, submitter: str | None = None) -> bool:
        with self._lock:
            orders = [entry.job.order for entry in self._entries if not entry.job.ended]
            return any(
                (order.collection, order.document) == (collection, document) and submitter in (None, order.submitter)
                for order in orders
            )

    def upload(self, job: str) -> bytes:
        data = next((entry.upload for entry in self._entries if entry.job.id == job), None)
        if data is None:
            raise UsageError("the uploaded document is not kept any more: put it again")
        return data

    def take(self) -> Lease | None:
        with self._lock:
            for entry in [e for e in self._entries if e.job.state == "running" and e.until <= self.clock()]:
                self._settle(entry, {"type": "WorkerLost", "message": "its worker died"}, 0.0)
            busy: set[str] = {entry.job.order.collection for entry in self._entries if entry.job.state == "running"}
            for entry in self._entries:
                collection = entry.job.order.collection
                if entry.job.state != "queued" or collection in busy:
                    continue
                if entry.until <= self.clock():
                    entry.token = secrets.token_hex(8)
                    entry.until = self.clock() + self.limits.lease_seconds
                    self._set(
                        entry, state="running", attempts=entry.job.attempts + 1, started=self.wall(), progress=None
                    )
                    return Lease(self._shown(entry), entry.token)
                busy.add(collection)
            return None

    def beat(self, lease: Lease, progress: Mapping[str, Any] | None) -> Literal["held", "cancelled", "lost"]:
        with self._lock:
            entry = self._held(lease)
            if entry is None:
                return "lost"
            entry.until = self.clock() + self.limits.lease_seconds
            self._set(entry, progress=progress or entry.job.progress)
            return "cancelled" if entry.job.cancelling else "held"

    def finish(
        self,
        lease: Lease,
        state: Literal["done", "failed", "cancelled"],
        report: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> Job | None:
        with self._lock:
            entry = self._held(lease)
            return None if entry is None else self._end(entry, state, report, error)

    def again(self, lease: Lease, error: Mapping[str, Any]) -> Job | None:
        with self._lock:
            entry = self._held(lease)
            return None if entry is None else self._settle(entry, error, retry_seconds(entry.job.attempts))

    def put_back(self, lease: Lease) -> None:
        with self._lock:
            entry = self._held(lease)
            if entry is not None and entry.job.cancelling:
                self._end(entry, "cancelled", None, None)
            elif entry is not None:
                entry.until = self.clock() + PUT_BACK_SECONDS
                self._set(entry, state="queued", attempts=entry.job.attempts - 1, progress=None)

    def cancel(self, job: str) -> Job:
        with self._lock:
            entry = self._entry(job)
            if entry.job.ended:
                raise UsageError(f"job {job} has ended: it is {entry.job.state}")
            if entry.job.state == "queued" or entry.until <= self.clock():
                return self._end(entry, "cancelled", None, None)
            self._set(entry, cancelling=True)
            return self._shown(entry)

    def retry(self, job: str) -> Job:
        with self._lock:
            entry = self._entry(job)
            order = entry.job.order
            if entry.job.state not in ("failed", "dead", "cancelled"):
                raise UsageError(f"job {job} is {entry.job.state}")
            if order.kind == "put":
                self.upload(job)
            later = [e.job for e in self._entries[self._entries.index(entry) + 1 :] if e.job.state not in _AGAIN]
            if order.document and any(
                (other.order.collection, other.order.document) == (order.collection, order.document) for other in later
            ):
                raise UsageError("a newer job concerns the same document")
            self._refuse_when_full()
            self._entries.remove(entry)
            self._entries.append(entry)
            entry.queued, entry.until = self.wall(), float("-inf")
            self._set(
                entry, state="queued", attempts=0, cancelling=False,
                started=None, finished=None, progress=None, report=None, error=None,
            )  # fmt: skip
            return self._shown(entry)

    def erase(self, collection: str, document: str) -> int:
        touched = 0
        with self._lock:
            for entry in [e for e in self._entries if e.job.order.collection == collection]:
                held, said = entry.job.order.document, (entry.job.report, entry.job.error)
                if held is not None and (is_or_lies_in(held, document) or is_or_lies_in(document, held)):
                    self._entries.remove(entry)
                    touched += 1
                elif (less := without(*said, document)) != said:
                    self._set(entry, report=less[0], error=less[1])
                    touched += 1
        return touched

    def figures(self) -> QueueFigures:
        with self._lock:
            waiting = [self.wall() - entry.queued for entry in self._entries if entry.job.state == "queued"]
            runs = {
                e.job.order.collection: e.job for e in self._entries if (e.job.order.kind, e.job.state) == _RUN_DONE
            }
            failed = sum(failed_documents(job.report) for job in runs.values())
            return QueueFigures(Counter(e.job.state for e in self._entries), max([0.0, *waiting]), failed)

    def _settle(self, entry: _Entry, error: Mapping[str, Any], seconds: float) -> Job:
        if entry.job.cancelling:
            return self._end(entry, "cancelled", None, error)
        if entry.job.attempts >= self.limits.attempts:
            return self._end(entry, "dead", None, error)
        entry.token, entry.until = "", self.clock() + seconds
        self._set(entry, state="queued", progress=None, error=error)
        return self._shown(entry)

    def _end(
        self, entry: _Entry, state: JobState, report: Mapping[str, Any] | None, error: Mapping[str, Any] | None
    ) -> Job:
        self._set(entry, state=state, cancelling=False, finished=self.wall(), report=report, error=error)
        entry.ended = max(e.ended for e in self._entries) + 1
        if state == "done":
            entry.upload = None
        for states in (("done", "cancelled"), ("failed", "dead")):
            ended = sorted((e for e in self._entries if e.job.state in states), key=lambda e: e.ended)
            for old in ended[: max(len(ended) - self.limits.kept, 0)]:
                self._entries.remove(old)
        return self._shown(entry)

    def _make_room(self, size: int) -> None:
        free = self.limits.upload_bytes - sum(len(entry.upload or b"") for entry in self._entries)
        for entry in [e for e in self._entries if e.job.ended]:
            if free < size and entry.upload:
                free += len(entry.upload)
                entry.upload = None
        if free < size:
            raise Overloaded("the room for uploads", retry_after=60)

    def _refuse_when_full(self) -> None:
        if sum(entry.job.state == "queued" for entry in self._entries) >= self.limits.queued:
            raise Overloaded("the queue of ingestion", retry_after=30)

    def _entry(self, job: str) -> _Entry:
        found = next((entry for entry in self._entries if entry.job.id == job), None)
        if found is None:
            raise UnknownJob(job)
        return found

    def _held(self, lease: Lease) -> _Entry | None:
        held = (e for e in self._entries if e.token == lease.token and e.job.state == "running")
        return next(held, None)

    def _set(self, entry: _Entry, **changed: Any) -> None:
        entry.job = replace(entry.job, **changed)

    def _shown(self, entry: _Entry) -> Job:
        if entry.job.state != "queued":
            return entry.job
        before = [e for e in self._entries if e.job.state == "queued"]
        position = before.index(entry) + 1
        return replace(entry.job, waiting=max(self.wall() - entry.queued, 0.0), position=position)
