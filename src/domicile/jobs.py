"""The queue of ingestion: its nouns, and the port between whoever wants something ingested and the workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from domicile.uris import is_or_lies_in

JobKind = Literal["run", "put", "delete"]
JobState = Literal["queued", "running", "done", "failed", "cancelled", "dead"]

MAX_PAYLOAD_BYTES = 64_000
PUT_BACK_SECONDS = 1.0
"""Until a job that was put back may be taken again."""


@dataclass(frozen=True, slots=True)
class Order:
    """Work for the ingestion worker, as it was asked for.

    Attributes:
        kind: ``run`` makes the collection what a source holds, ``put`` and ``delete`` concern one document.
        document: the URI of that document; ``None`` for ``run``.
        submitter: the name of the principal who asked.
        payload: what else the worker needs, as JSON has it.
    """

    kind: JobKind
    collection: str
    document: str | None
    submitter: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """An order in the queue, as it was at one instant.

    Attributes:
        state: ``failed`` for a reason that trying again does not mend, ``dead`` after too many attempts.
        attempts: how often a worker began it.
        cancelling: it runs, and was asked to end.
        created, started, finished: seconds since the epoch, for people; nothing is decided by them.
        waiting: seconds since it was queued; 0 once it began.
        position: 1 for the job that is next; ``None`` when it does not wait.
        progress: the last that its worker said, see ``Progress.to_json`` of the worker.
        report: what it did, where it came to an end of its own.
        error: ``type`` and ``message`` of the last failed attempt.
    """

    id: str
    order: Order
    state: JobState
    attempts: int
    cancelling: bool
    created: float
    started: float | None
    finished: float | None
    waiting: float
    position: int | None
    progress: Mapping[str, Any] | None
    report: Mapping[str, Any] | None
    error: Mapping[str, Any] | None

    @property
    def ended(self) -> bool:
        return self.state not in ("queued", "running")


class Upload(Protocol):
    """A document on its way into the queue."""

    def write(self, data: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Lease:
    """A job that is this worker's for as long as it says ``beat`` often enough.

    Attributes:
        token: tells this taking of the job from any other.
    """

    job: Job
    token: str


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """The bounds of a queue.

    Attributes:
        queued: jobs that may wait.
        kept: finished jobs that are remembered, and as many that failed.
        attempts: before a job is dead.
        lease_seconds: after this long without a word from its worker a job is given to another.
        upload_bytes: that all kept uploads may have together.
    """

    queued: int = 1_000
    kept: int = 1_000
    attempts: int = 5
    lease_seconds: float = 15.0
    upload_bytes: int = 5_000_000_000


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """The queue in numbers.

    Attributes:
        jobs: how many there are of each state; finished ones are kept for a while.
        oldest_seconds: how long the oldest queued job has waited.
        failed_documents: that the last run of each collection listed as failed.
    """

    jobs: Mapping[JobState, int]
    oldest_seconds: float
    failed_documents: int


class Jobs(Protocol):
    """The durable queue between whoever wants something ingested and the workers. Safe to use from several threads.

    A job that was acknowledged is never lost, and may run more than once: a worker may die after its work and before
    its word. The jobs of one collection run one at a time, in the order in which they came.
    """

    def receive(self) -> AbstractContextManager[Upload]:
        """A place for a document to be uploaded to; leaving the block forgets it unless a job has taken it."""
        ...

    def submit(self, order: Order, upload: Upload | None = None) -> Job:
        """Queue an order; it is durable when this returns.

        Raises:
            Overloaded: too many jobs wait, or too many bytes of uploads.
            InvalidRequest: the payload is too large.
        """
        ...

    def get(self, job: str) -> Job:
        """
        Raises:
            UnknownJob: there is none of this id (any more).
        """
        ...

    def newest(self, limit: int, of: Callable[[str], bool] = lambda collection: True) -> list[Job]:
        """The newest jobs of the collections that ``of`` accepts."""
        ...

    def pending(self, collection: str, document: str, submitter: str | None = None) -> bool:
        """Whether a job that concerns this document has not ended; with ``submitter``, one of theirs."""
        ...

    def upload(self, job: str) -> bytes:
        """The document that came with a job.

        Raises:
            UsageError: it is not kept any more.
        """
        ...

    def take(self) -> Lease | None:
        """The job that is next, now running; ``None`` when no job may run."""
        ...

    def beat(self, lease: Lease, progress: Mapping[str, Any] | None) -> Literal["held", "cancelled", "lost"]:
        """Renew a lease; ``cancelled`` where the job is to end, ``lost`` where it is not this worker's any more."""
        ...

    def finish(
        self,
        lease: Lease,
        state: Literal["done", "failed", "cancelled"],
        report: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> Job | None:
        """End a job; ``None`` where the lease is lost, and then nothing changes."""
        ...

    def again(self, lease: Lease, error: Mapping[str, Any]) -> Job | None:
        """Give a job back after an attempt that failed: queued for later, or ``dead`` after too many attempts."""
        ...

    def put_back(self, lease: Lease) -> None:
        """Give a job back through no fault of its own; the attempt does not count."""
        ...

    def cancel(self, job: str) -> Job:
        """End a queued job at once, and ask the worker of a running one to end it.

        Raises:
            UnknownJob: there is none.
            UsageError: it has ended.
        """
        ...

    def retry(self, job: str) -> Job:
        """Queue a job anew that is failed, dead or cancelled, behind all others.

        Raises:
            UnknownJob: there is none.
            UsageError: it is in another state, its upload is gone, or a later job concerns the same document.
        """
        ...

    def erase(self, collection: str, document: str) -> int:
        """Remove every job that holds a document or what is inside it, and every mention of it; how many were touched."""
        ...

    def figures(self) -> QueueFigures: ...


def retry_seconds(attempts: int) -> float:
    """How long a job waits after so many attempts that failed."""
    return min(2.0**attempts, 60.0)


def failed_documents(report: Mapping[str, Any] | None) -> int:
    """How many documents a report lists as failed."""
    return 0 if report is None else int(report.get("documents", {}).get("failed", 0))


def without(
    report: Mapping[str, Any] | None, error: Mapping[str, Any] | None, document: str
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """A report and an error that say nothing of a document."""
    if report is not None:
        failures, warnings = report.get("failures", []), report.get("warnings", [])
        report = {
            **report,
            "failures": [row for row in failures if not is_or_lies_in(row["document"], document)],
            "warnings": [text for text in warnings if document not in text],
        }
    if error is not None and document in str(error.get("message")):
        error = {**error, "message": "about a document that was erased"}
    return None if report is None else dict(report), None if error is None else dict(error)
