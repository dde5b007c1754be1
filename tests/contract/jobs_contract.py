"""What every queue of jobs keeps. A test class inherits this and gives the fixture ``queue``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from domicile.adapters.jobs import SqliteJobs
from domicile.errors import InvalidRequest, Overloaded, UnknownJob, UsageError
from domicile.jobs import Job, Jobs, JobState, Lease, Order, QueueLimits

LIMITS = QueueLimits(queued=6, kept=4, attempts=3, lease_seconds=10.0, upload_bytes=100)
ERROR = {"type": "StorageError", "message": "the disk is full"}


@dataclass(slots=True)
class Clocks:
    """What a queue reads time from; tests move it."""

    monotonic: float = 1_000.0
    wall: float = 1_700_000_000.0

    def go_on(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue, its clocks, and another view of the same queue, as another process has it."""

    jobs: Jobs
    clocks: Clocks
    other: Jobs

    def run(self, collection: str = "c", submitter: str = "owner") -> Job:
        return self.jobs.submit(Order("run", collection, None, submitter, {"source": "/srv/docs"}))

    def put(self, document: str, data: bytes = b"text", collection: str = "c") -> Job:
        with self.jobs.receive() as upload:
            upload.write(data)
            return self.jobs.submit(Order("put", collection, document, "owner", {"name": document}), upload)

    def take(self) -> Lease:
        lease = self.jobs.take()
        assert lease is not None
        return lease

    def end(self, state: JobState) -> Job:
        """Take the next job and bring it to this end."""
        lease = self.take()
        if state == "dead":
            while lease.job.attempts < LIMITS.attempts:
                self.jobs.again(lease, ERROR)
                self.clocks.go_on(60)
                lease = self.take()
            ended = self.jobs.again(lease, ERROR)
        elif state == "cancelled":
            self.jobs.cancel(lease.job.id)
            ended = self.jobs.finish(lease, "cancelled")
        else:
            assert state in ("done", "failed")
            ended = self.jobs.finish(lease, state, None, ERROR if state == "failed" else None)  # type: ignore[arg-type]
        assert ended is not None
        return ended


def take_whatever_there_is(place: Path, to_test: Connection) -> None:
    """Take job after job until none is left, in a process of its own; tells which."""
    jobs = SqliteJobs(place, QueueLimits())
    to_test.send("ready")
    to_test.recv()
    while (lease := jobs.take()) is not None:
        to_test.send(lease.job.id)
        time.sleep(0.005)  # its work
        jobs.finish(lease, "done")
    to_test.send(None)


def report(failed: int = 0, **fields: object) -> dict[str, object]:
    return {"documents": {"added": 1, "failed": failed}, "failures": [], "warnings": [], **fields}


class JobsContract:
    @pytest.fixture
    def queue(self) -> Queue:
        raise NotImplementedError

    def test_a_submitted_job_is_seen_by_all_and_taken_once(self, queue: Queue) -> None:
        job = queue.run()
        assert (job.state, job.attempts, job.position, job.order.payload) == ("queued", 0, 1, {"source": "/srv/docs"})
        assert queue.other.get(job.id) == job
        lease = queue.other.take()
        assert lease is not None
        assert (lease.job.id, lease.job.state, lease.job.attempts) == (job.id, "running", 1)
        assert queue.jobs.take() is None
        ended = queue.other.finish(lease, "done", report())
        assert ended is not None
        assert (ended.state, ended.report, ended.position) == ("done", report(), None)
        assert queue.jobs.take() is None
        assert queue.jobs.get(job.id) == ended

    def test_a_collection_has_one_running_job_and_keeps_its_order(self, queue: Queue) -> None:
        first, second, elsewhere = queue.run("c"), queue.run("c"), queue.run("d")
        lease, other = queue.take(), queue.take()
        assert (lease.job.id, other.job.id) == (first.id, elsewhere.id)
        assert queue.jobs.take() is None
        queue.jobs.again(lease, ERROR)  # the first waits for another attempt, and the second waits for it
        assert queue.jobs.take() is None
        queue.clocks.go_on(60)
        queue.jobs.finish(other, "done")
        again = queue.take()
        assert (again.job.id, again.job.attempts) == (first.id, 2)
        queue.jobs.finish(again, "done")
        assert queue.take().job.id == second.id

    def test_a_silent_worker_loses_its_job_and_the_attempt_counts(self, queue: Queue) -> None:
        job, lost = queue.run(), queue.take()
        queue.clocks.go_on(LIMITS.lease_seconds - 0.1)
        assert queue.other.take() is None
        queue.clocks.go_on(0.2)
        lease = queue.other.take()
        assert lease is not None
        assert (lease.job.id, lease.job.attempts) == (job.id, 2)
        assert queue.jobs.beat(lost, {"documents": 9}) == "lost"
        assert queue.jobs.finish(lost, "done", report()) is None
        assert queue.jobs.again(lost, ERROR) is None
        queue.jobs.put_back(lost)
        assert queue.jobs.get(job.id) == lease.job
        queue.clocks.go_on(60)
        for _ in range(LIMITS.attempts - 2):
            assert queue.jobs.take() is not None
            queue.clocks.go_on(60)
        assert queue.jobs.take() is None
        dead = queue.jobs.get(job.id)
        assert (dead.state, dead.error and dead.error["type"]) == ("dead", "WorkerLost")

    def test_a_beat_keeps_the_lease_and_tells_how_far_it_is(self, queue: Queue) -> None:
        job, lease = queue.run(), queue.take()
        for done in range(5):
            queue.clocks.go_on(LIMITS.lease_seconds - 1)
            assert queue.jobs.beat(lease, {"documents": done} if done < 4 else None) == "held"
            assert queue.other.take() is None
        assert queue.other.get(job.id).progress == {"documents": 3}

    @pytest.mark.parametrize("jump", [-1e8, -3_600, 3_600, 1e8])
    def test_a_clock_that_somebody_sets_moves_no_lease_and_no_waiting(self, queue: Queue, jump: float) -> None:
        queue.run("c")
        queue.run("d")
        held, waiting = queue.take(), queue.take()
        queue.jobs.again(waiting, ERROR)
        queue.clocks.wall += jump
        assert queue.other.take() is None
        queue.clocks.monotonic += 2.1
        again = queue.other.take()
        assert again is not None
        assert again.job.id == waiting.job.id
        assert queue.jobs.beat(held, None) == "held"
        assert queue.jobs.get(held.job.id).waiting >= 0

    def test_what_a_worker_puts_back_costs_no_attempt(self, queue: Queue) -> None:
        job = queue.run()
        for _ in range(3 * LIMITS.attempts):
            lease = queue.take()
            assert lease.job.attempts == 1
            queue.jobs.put_back(lease)
            assert queue.jobs.take() is None
            queue.clocks.go_on(1.1)
        assert queue.jobs.get(job.id).state == "queued"

    def test_an_attempt_that_failed_is_made_again_later_and_later_until_the_job_is_dead(self, queue: Queue) -> None:
        job, waited = queue.run(), []
        while queue.jobs.get(job.id).state != "dead":
            lease = queue.take()
            queue.jobs.again(lease, ERROR)
            assert queue.jobs.take() is None
            waited.append(next(n for n in count() if queue.clocks.go_on(0.5) or self.ready(queue, job)))
        assert waited[:-1] == sorted(set(waited[:-1]))
        assert len(waited) == LIMITS.attempts
        assert queue.jobs.get(job.id).error == ERROR

    @staticmethod
    def ready(queue: Queue, job: Job) -> bool:
        """Whether the job is dead, or could be taken; taking it would count."""
        if queue.jobs.get(job.id).state == "dead":
            return True
        lease = queue.jobs.take()
        if lease is not None:
            queue.jobs.put_back(lease)
            queue.clocks.go_on(1.1)
        return lease is not None

    def test_cancelling_ends_what_waits_and_asks_what_runs(self, queue: Queue) -> None:
        running, waiting = queue.run(), queue.run()
        lease = queue.take()
        assert queue.other.cancel(waiting.id).state == "cancelled"
        assert queue.other.cancel(running.id).cancelling
        assert queue.jobs.beat(lease, None) == "cancelled"
        ended = queue.jobs.finish(lease, "cancelled")
        assert ended is not None
        assert (ended.state, ended.cancelling) == ("cancelled", False)
        with pytest.raises(UsageError, match="has ended"):
            queue.jobs.cancel(running.id)

    @pytest.mark.parametrize("way", ["again", "put_back", "silence", "silence before"])
    def test_a_job_that_was_cancelled_does_not_come_back(self, queue: Queue, way: str) -> None:
        job, lease = queue.run(), queue.take()
        if way == "silence before":
            queue.clocks.go_on(60)
        queue.jobs.cancel(job.id)
        if way == "again":
            queue.jobs.again(lease, ERROR)
        elif way == "put_back":
            queue.jobs.put_back(lease)
        queue.clocks.go_on(60)
        assert queue.jobs.take() is None
        assert queue.jobs.get(job.id).state == "cancelled"

    @pytest.mark.parametrize("state", ["failed", "dead", "cancelled"])
    def test_what_did_not_work_is_tried_again_behind_the_others(self, queue: Queue, state: JobState) -> None:
        job = queue.put("a.md", b"new pump")
        assert queue.end(state).state == state
        assert queue.jobs.take() is None
        other = queue.run()
        again = queue.jobs.retry(job.id)
        assert (again.state, again.attempts, again.error, again.position) == ("queued", 0, None, 2)
        assert queue.end("done").id == other.id
        lease = queue.take()
        assert (lease.job.id, queue.jobs.upload(job.id)) == (job.id, b"new pump")

    def test_what_is_under_way_or_done_is_not_tried_again(self, queue: Queue) -> None:
        job = queue.run()
        with pytest.raises(UsageError, match="queued"):
            queue.jobs.retry(job.id)
        lease = queue.take()
        with pytest.raises(UsageError, match="running"):
            queue.jobs.retry(job.id)
        queue.jobs.finish(lease, "done")
        with pytest.raises(UsageError, match="done"):
            queue.jobs.retry(job.id)

    def test_an_older_version_does_not_come_after_a_newer_one(self, queue: Queue) -> None:
        old = queue.put("a.md", b"old")
        queue.end("failed")
        queue.put("b.md", b"other")
        queue.put("a.md", b"x", collection="d")
        assert queue.jobs.retry(old.id).state == "queued"  # control: those are other documents
        queue.jobs.cancel(old.id)
        queue.put("a.md", b"new")
        with pytest.raises(UsageError, match="newer"):
            queue.jobs.retry(old.id)

    def test_an_upload_is_kept_until_the_job_is_done(self, queue: Queue) -> None:
        with queue.jobs.receive() as upload:
            for part in (b"a" * 10, b"", b"b" * 10):
                upload.write(part)
            job = queue.jobs.submit(Order("put", "c", "a.md", "owner", {}), upload)
        assert queue.other.upload(job.id) == b"a" * 10 + b"b" * 10
        queue.end("done")
        with pytest.raises(UsageError, match="put it again"):
            queue.jobs.upload(job.id)

    def test_the_queue_is_bounded(self, queue: Queue) -> None:
        for _ in range(LIMITS.queued):
            queue.run()
        with pytest.raises(Overloaded) as refused:
            queue.run()
        assert refused.value.retry_after > 0
        with pytest.raises(Overloaded):
            queue.put("a.md")
        queue.take()
        queue.run()

    def test_payloads_and_uploads_are_bounded(self, queue: Queue) -> None:
        with pytest.raises(InvalidRequest, match="payload"):
            queue.jobs.submit(Order("run", "c", None, "owner", {"source": "x" * 64_001}))
        queue.put("a.md", b"x" * 60)
        with pytest.raises(Overloaded):
            queue.put("b.md", b"x" * 60)
        assert len(queue.jobs.newest(9)) == 1

    def test_uploads_of_jobs_that_failed_give_way_to_new_ones(self, queue: Queue) -> None:
        failed = queue.put("a.md", b"x" * 60)
        queue.end("failed")
        job = queue.put("b.md", b"y" * 60)
        assert queue.jobs.upload(job.id) == b"y" * 60
        assert queue.jobs.get(failed.id).state == "failed"
        with pytest.raises(UsageError, match="put it again"):
            queue.jobs.retry(failed.id)

    def test_finished_jobs_are_remembered_for_a_while_and_failures_apart(self, queue: Queue) -> None:
        failed = queue.run()
        queue.end("failed")
        done = []
        for _ in range(LIMITS.kept + 2):
            done.append(queue.run().id)
            queue.end("done")
        assert [job.id for job in queue.jobs.newest(99)] == [*reversed(done[2:]), failed.id]
        with pytest.raises(UnknownJob):
            queue.jobs.get(done[0])

    def test_a_job_that_took_long_is_remembered_when_it_ends(self, queue: Queue) -> None:
        slow, lease = queue.run("slow"), queue.take()
        for _ in range(LIMITS.kept + 2):
            queue.clocks.go_on(1)
            queue.run()
            queue.end("done")
            assert queue.jobs.beat(lease, None) == "held"
        queue.clocks.wall -= 1_000  # and whatever the clock on the wall says
        queue.jobs.finish(lease, "done")
        assert queue.jobs.get(slow.id).state == "done"
        assert len(queue.jobs.newest(99)) == LIMITS.kept

    def test_the_newest_come_first_and_only_of_the_collections_asked_for(self, queue: Queue) -> None:
        first, second, third = queue.run("c"), queue.run("d"), queue.run("c")
        assert [job.id for job in queue.jobs.newest(2)] == [third.id, second.id]
        assert [job.id for job in queue.jobs.newest(2, lambda name: name == "c")] == [third.id, first.id]

    def test_what_is_pending_for_a_document_is_known(self, queue: Queue) -> None:
        queue.put("a.md")
        assert queue.jobs.pending("c", "a.md")
        assert not queue.jobs.pending("c", "b.md")
        assert not queue.jobs.pending("d", "a.md")
        submitter = queue.jobs.newest(1)[0].order.submitter
        assert queue.jobs.pending("c", "a.md", submitter)
        assert not queue.jobs.pending("c", "a.md", "somebody else")
        queue.end("failed")
        assert not queue.jobs.pending("c", "a.md")

    def test_an_erased_document_is_in_no_job_upload_or_report(self, queue: Queue) -> None:
        mail, row, other, elsewhere = (
            queue.put("mail.eml", b"secret"), queue.put("mail.eml!/pay.pdf", b"s"), queue.put("b.md", b"kept"),
            queue.put("mail.eml", b"kept", collection="d"),
        )  # fmt: skip
        run = queue.run()
        for job in (mail, row, other):
            queue.jobs.cancel(job.id)
        lease = next(lease for lease in iter(queue.jobs.take, None) if lease.job.id == run.id)
        failures = [{"document": name, "kind": "broken", "reason": "?"} for name in ("mail.eml!/pay.pdf", "b.md")]
        queue.jobs.finish(lease, "done", report(2, failures=failures, warnings=["mail.eml!/pay.pdf: label", "b.md: x"]))
        assert queue.other.erase("c", "mail.eml!/pay.pdf") == 3
        for job in (mail, row):  # the mail holds it
            with pytest.raises(UnknownJob):
                queue.jobs.get(job.id)
            with pytest.raises(UsageError):
                queue.jobs.upload(job.id)
        left = queue.jobs.get(run.id).report
        assert left is not None
        assert (left["failures"], left["warnings"]) == (failures[1:], ["b.md: x"])
        assert queue.jobs.upload(other.id) == queue.jobs.upload(elsewhere.id) == b"kept"

    def test_erasing_takes_a_running_job_from_its_worker(self, queue: Queue) -> None:
        queue.put("a.md")
        lease = queue.take()
        queue.jobs.erase("c", "a.md")
        assert queue.jobs.beat(lease, None) == "lost"
        assert queue.jobs.finish(lease, "done") is None

    def test_figures_count_what_there_is(self, queue: Queue) -> None:
        empty = queue.jobs.figures()
        assert (dict(empty.jobs), empty.oldest_seconds, empty.failed_documents) == ({}, 0.0, 0)
        for failed in (7, 2):  # only the last run of a collection counts
            queue.run()
            queue.jobs.finish(queue.take(), "done", report(failed))
        queue.run("d")
        queue.jobs.finish(queue.take(), "done", report(3))
        queue.run()
        queue.clocks.go_on(5)
        queue.run()
        queue.clocks.go_on(5)
        figures = queue.other.figures()
        assert (dict(figures.jobs), figures.oldest_seconds, figures.failed_documents) == (
            {"done": 3, "queued": 2},
            10,
            5,
        )

    @pytest.mark.parametrize("call", ["get", "cancel", "retry"])
    def test_an_unknown_job_is_named(self, queue: Queue, call: str) -> None:
        ask: Callable[[str], Job] = getattr(queue.jobs, call)
        with pytest.raises(UnknownJob, match="nothing"):
            ask("nothing")
