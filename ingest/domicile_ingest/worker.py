"""The worker: takes jobs from the queue, one at a time, and says how each ended. Several may run at once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from domicile.errors import Cancelled, DocumentError, DomicileError, GateFailed, Overloaded, StorageError, WriterBusy
from domicile.jobs import Job, Jobs, Lease, failed_documents
from domicile_ingest.progress import Progress, Watch

logger = logging.getLogger(__name__)

BEAT_SECONDS = 0.5
"""Between two signs of life; a cancelled job ends about this much later."""
POLL_SECONDS = 0.1
"""Between two looks into an empty queue; a look costs a tenth of a millisecond."""
TROUBLE_SECONDS = 5.0
"""Until a queue that cannot be used is tried again."""
MAX_LISTED = 1_000
"""Failures and warnings that a stored report lists; the counts are always whole."""


Work = Callable[[Job, Watch], Mapping[str, Any] | None]
"""Does a job and returns its report; raises ``Cancelled`` soon after the watch did."""
Log = Callable[..., None]
"""One event and its fields; ids and counts only."""


@dataclass(slots=True)
class Tally:
    """What a worker did.

    Attributes:
        jobs: that came to an end here.
        bad: of these, those that failed, died or left documents behind.
    """

    jobs: int = 0
    bad: int = 0


class Heartbeat:
    """Renews a lease from a thread of its own, and passes on what the queue answers.

    Attributes:
        answer: the last that the queue said; other than ``held`` the job must end.
    """

    def __init__(self, jobs: Jobs, lease: Lease, log: Log, seconds: float) -> None:
        self.answer: Literal["held", "cancelled", "lost"] = "held"
        self.told: Progress | None = None
        self._jobs = jobs
        self._lease = lease
        self._log = log
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="domicile-heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(self._seconds) and self.answer == "held":
            told = self.told
            try:
                self.answer = self._jobs.beat(self._lease, None if told is None else told.to_json())
            except DomicileError as error:  # the index has its own lock, so going on without a lease is safe
                self._log("beat_failed", job=self._lease.job.id, error=type(error).__name__)


class Worker:
    """Works until it is stopped, or until nothing is left.

    Args:
        stop: set by whoever wants it to end; the job under way is given back.
    """

    def __init__(
        self,
        jobs: Jobs,
        work: Work,
        stop: threading.Event,
        log: Log,
        *,
        beat_seconds: float = BEAT_SECONDS,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._jobs = jobs
        self._work = work
        self._stop = stop
        self._log = log
        self._beat_seconds = beat_seconds
        self._poll_seconds = poll_seconds
        self._tally = Tally()

    def run(self, *, once: bool) -> Tally:
        """
        Args:
            once: end when no job waits or runs, here or in another worker.

        Raises:
            Damaged: the queue is.
        """
        while not self._stop.is_set():
            try:
                lease = self._jobs.take()
                if lease is None and once and not self._unfinished():
                    break
            except (StorageError, Overloaded) as error:
                self._log("queue_unusable", error=type(error).__name__)
                self._stop.wait(TROUBLE_SECONDS)
                continue
            if lease is None:
                self._stop.wait(self._poll_seconds)
            else:
                self._do(lease)
        return self._tally

    def _unfinished(self) -> int:
        states = self._jobs.figures().jobs
        return states.get("queued", 0) + states.get("running", 0)

    def _do(self, lease: Lease) -> None:
        job, started = lease.job, time.monotonic()
        about = {"job": job.id, "kind": job.order.kind, "collection": job.order.collection, "attempt": job.attempts}
        self._log("begin", **about)
        try:
            with Heartbeat(self._jobs, lease, self._log, self._beat_seconds) as heart:
                ended = self._attempt(lease, heart)
        except (StorageError, Overloaded) as error:
            # it ended, and that could not be written: the lease runs out and the job runs again, which costs little
            self._log("end_not_written", **about, error=type(error).__name__)
            return
        seconds = round(time.monotonic() - started, 3)
        if ended is None or not ended.ended:
            self._log("gave_back" if ended is None else "again_later", **about, seconds=seconds)
            return
        self._tally.jobs += 1
        self._tally.bad += ended.state in ("failed", "dead") or failed_documents(ended.report) > 0
        self._log(ended.state, **about, seconds=seconds, **_figures(ended))

    def _attempt(self, lease: Lease, heart: Heartbeat) -> Job | None:
        """Do the work and tell the queue how it ended; ``None`` where the job is not ours any more."""

        def watch(told: Progress) -> None:
            heart.told = told
            if self._stop.is_set() or heart.answer != "held":
                raise Cancelled("the job is to end")

        try:
            report = self._work(lease.job, watch)
        except Cancelled:
            if heart.answer == "cancelled":
                return self._jobs.finish(lease, "cancelled")
            self._jobs.put_back(lease)
        except WriterBusy:
            self._jobs.put_back(lease)
        except (StorageError, Overloaded) as error:
            return self._jobs.again(lease, _error(error))
        except DomicileError as error:
            return self._jobs.finish(lease, "failed", None, _error(error))
        except Exception as error:
            logger.exception("job %s failed", lease.job.id)
            return self._jobs.again(lease, _error(error))
        else:
            return self._finished(lease, report)
        return None

    def _finished(self, lease: Lease, report: Mapping[str, Any] | None) -> Job | None:
        kept = None if report is None else _bounded(report)
        if kept is not None and lease.job.order.kind == "put":
            for failure in kept["failures"]:
                if failure["document"] == lease.job.order.document:  # and not just something attached to it
                    error = {"type": "DocumentError", "kind": failure["kind"], "message": failure["reason"]}
                    return self._jobs.finish(lease, "failed", kept, error)
        return self._jobs.finish(lease, "done", kept)


def _error(error: Exception) -> dict[str, str]:
    """What people and programs read of an error; of one that nobody foresaw only its name, for its text may be anything."""
    expected = isinstance(error, DomicileError | OSError)
    kind = GateFailed if isinstance(error, GateFailed) else type(error)
    told = {"type": kind.__name__, "message": str(error) if expected else "unexpected: see the worker's log"}
    return told | ({"kind": error.kind} if isinstance(error, DocumentError) else {})


def _bounded(report: Mapping[str, Any]) -> dict[str, Any]:
    listed = {key: list(report.get(key, ())) for key in ("failures", "warnings")}
    cut = any(len(rows) > MAX_LISTED for rows in listed.values())
    shown = {key: rows[:MAX_LISTED] for key, rows in listed.items()}
    return {**report, **shown, **({"truncated": True} if cut else {})}


def _figures(job: Job) -> dict[str, object]:
    """What the log says of an ended job."""
    if job.error is not None:
        return {"error": job.error["type"]}
    report = job.report or {}
    return {key: report[key] for key in ("generation", "documents", "embedded") if key in report}
