"""The worker against a real queue: threads and processes, killed, stopped and cancelled in the middle of a job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from services import until

from domicile.adapters.jobs import SqliteJobs
from domicile.errors import (
    Cancelled,
    EmbedderMismatch,
    StorageError,
    UsageError,
    WriterBusy,
)
from domicile.jobs import Job, JobState, Order, QueueLimits
from domicile_ingest.progress import Progress, Watch
from domicile_ingest.worker import Tally, Worker

REPORT: dict[str, Any] = {
    "generation": 1, "documents": {"added": 1, "failed": 0}, "failures": [], "warnings": [], "embedded": 1,
}  # fmt: skip
FAILURE = {"document": "a.pdf", "kind": "encrypted", "reason": "it is"}
FAILED = {**REPORT, "documents": {"added": 0, "failed": 1}, "failures": [FAILURE]}
LEASE_SECONDS = 3.0


def far(documents: int) -> Progress:
    return Progress("embedding", documents, 2_000, 0, 0, 0, 0, 0, 1.0, None)


@dataclass(slots=True)
class Scene:
    """A queue, and a worker in a thread whose work a test decides."""

    folder: Path
    jobs: SqliteJobs
    stop: threading.Event = field(default_factory=threading.Event)
    events: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def at(cls, folder: Path, lease_seconds: float = 15.0) -> Scene:
        return cls(folder, SqliteJobs(folder, QueueLimits(attempts=2, lease_seconds=lease_seconds)))

    def submit(self, kind: str = "run", collection: str = "c", document: str | None = None) -> Job:
        return self.jobs.submit(Order(kind, collection, document, "owner", {}))  # type: ignore[arg-type]

    def log(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})

    def worker(self, work: Callable[[Job, Watch], Mapping[str, Any] | None]) -> Worker:
        return Worker(self.jobs, work, self.stop, self.log, beat_seconds=0.02, poll_seconds=0.02)

    @contextmanager
    def working(self, work: Callable[[Job, Watch], Mapping[str, Any] | None]) -> Iterator[None]:
        thread = threading.Thread(target=self.worker(work).run, kwargs={"once": False})
        thread.start()
        try:
            yield
        finally:
            self.stop.set()
            thread.join(10)
            assert not thread.is_alive()

    def state(self, job: Job) -> JobState:
        return self.jobs.get(job.id).state


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene.at(tmp_path)


def until_ended(watch: Watch) -> None:
    """Work that goes on until the watch says that it must end."""
    for done in range(2_000):
        watch(far(done))
        time.sleep(0.005)
    raise AssertionError("nobody ended it")


def test_a_job_is_done_and_its_report_and_progress_are_kept(scene: Scene) -> None:
    job, told = scene.submit(), threading.Event()

    def work(job: Job, watch: Watch) -> Mapping[str, Any]:
        watch(far(7))
        until(lambda: scene.jobs.get(job.id).progress == far(7).to_json())
        told.set()
        return REPORT

    assert scene.worker(work).run(once=True) == Tally(1, 0)
    assert told.is_set()
    done = scene.jobs.get(job.id)
    assert (done.state, done.report, done.attempts, done.error) == ("done", REPORT, 1, None)
    assert [event["event"] for event in scene.events] == ["begin", "done"]


def test_documents_that_failed_leave_a_run_done_and_a_put_failed(scene: Scene) -> None:
    run, put = scene.submit(), scene.submit("put", document="a.pdf")
    assert scene.worker(lambda job, watch: FAILED).run(once=True) == Tally(2, 2)
    assert (scene.state(run), scene.state(put)) == ("done", "failed")
    error = scene.jobs.get(put.id).error
    assert error == {"type": "DocumentError", "kind": "encrypted", "message": "it is"}


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (UsageError("the source is not there"), "failed"),
        (EmbedderMismatch("another"), "failed"),
        (StorageError("the disk is full"), "queued"),
        (OSError(5, "I/O error"), "queued"),
        (ValueError("zanzibar"), "queued"),
        (MemoryError(), "queued"),
    ],
)
def test_what_trying_again_may_mend_is_tried_again(scene: Scene, error: Exception, state: JobState) -> None:
    job = scene.submit()

    def work(job: Job, watch: Watch) -> None:
        raise error

    with scene.working(work):
        until(lambda: scene.jobs.get(job.id).error is not None)
    left = scene.jobs.get(job.id)
    assert (left.state, left.attempts) == (state, 1)
    assert left.error is not None
    assert left.error["type"] == type(error).__name__
    assert "zanzibar" not in json.dumps(left.error)  # what nobody foresaw may quote a document


def test_a_job_that_never_works_is_dead_and_can_be_brought_back(scene: Scene) -> None:
    job = scene.submit()
    fail = True

    def work(job: Job, watch: Watch) -> Mapping[str, Any]:
        if fail:
            raise StorageError("the disk is full")
        return REPORT

    assert scene.worker(work).run(once=True) == Tally(1, 1)
    dead = scene.jobs.get(job.id)
    assert (dead.state, dead.attempts) == ("dead", 2)
    fail = False
    scene.jobs.retry(job.id)
    assert scene.worker(work).run(once=True) == Tally(1, 0)
    assert scene.state(job) == "done"


def test_a_collection_that_somebody_else_writes_costs_no_attempt(scene: Scene) -> None:
    job, busy = scene.submit(), iter([True, True, False])

    def work(job: Job, watch: Watch) -> Mapping[str, Any]:
        if next(busy):
            raise WriterBusy("by hand")
        return REPORT

    assert scene.worker(work).run(once=True) == Tally(1, 0)
    assert scene.jobs.get(job.id).attempts == 1


def test_a_running_job_is_cancelled_within_a_second(scene: Scene) -> None:
    job = scene.submit()
    with scene.working(lambda job, watch: until_ended(watch)):
        until(lambda: scene.jobs.get(job.id).progress is not None)
        started = time.monotonic()
        assert scene.jobs.cancel(job.id).cancelling
        until(lambda: scene.state(job) == "cancelled", 1.0)
    assert time.monotonic() - started < 1.0


def test_a_worker_that_is_stopped_gives_its_job_back(scene: Scene) -> None:
    job = scene.submit()
    with scene.working(lambda job, watch: until_ended(watch)):
        until(lambda: scene.jobs.get(job.id).progress is not None)
        scene.stop.set()
        until(lambda: scene.state(job) == "queued", 1.0)
    assert scene.jobs.get(job.id).attempts == 0


def test_a_job_that_is_erased_under_way_is_let_go(scene: Scene) -> None:
    job, ended = scene.submit("put", document="a.md"), threading.Event()

    def work(job: Job, watch: Watch) -> None:
        try:
            until_ended(watch)
        except Cancelled:
            ended.set()
            raise

    with scene.working(work):
        until(lambda: scene.jobs.get(job.id).progress is not None)
        scene.jobs.erase("c", "b.md")  # control: that was another document
        assert not ended.wait(0.2)
        scene.jobs.erase("c", "a.md")
        assert ended.wait(2)
    assert scene.jobs.newest(9) == []


def test_long_lists_are_cut_and_say_so(scene: Scene) -> None:
    job = scene.submit()
    rows = [{"document": f"{n}.pdf", "kind": "broken", "reason": "?"} for n in range(1_500)]
    report = {**REPORT, "documents": {"failed": 1_500}, "failures": rows}
    assert scene.worker(lambda job, watch: report).run(once=True) == Tally(1, 1)
    kept = scene.jobs.get(job.id).report
    assert kept is not None
    assert (len(kept["failures"]), kept["truncated"], kept["documents"]) == (1_000, True, {"failed": 1_500})


# --- processes

WORKING = """
import os, sys, threading, time
from pathlib import Path
sys.path[:0] = {path!r}
from domicile.adapters.jobs import SqliteJobs
from domicile.jobs import QueueLimits
from domicile_ingest.progress import Progress
from domicile_ingest.worker import Worker
place = Path({place!r})

def work(job, watch):
    # an exclusive file: it is there already where two do the same collection at once
    held = os.open(place / job.order.collection, os.O_CREAT | os.O_EXCL)
    with open(place / "done", "a") as log:
        log.write(f"{{job.id}} begin {{os.getpid()}}\\n")
    until = time.monotonic() + {seconds}
    while time.monotonic() < until:
        watch(Progress("embedding", 1, 2, 0, 0, 0, 0, 0, 1.0, None))
        time.sleep(0.01)
    os.close(held)
    os.unlink(place / job.order.collection)
    return {report!r}

jobs = SqliteJobs(place / "state", QueueLimits(attempts=3, lease_seconds={lease}))
print("ready", flush=True)
tally = Worker(jobs, work, threading.Event(), lambda event, **fields: None, poll_seconds=0.05).run(once=True)
sys.exit(3 if tally.bad else 0)
"""


@contextmanager
def process(place: Path, seconds: float = 0.05) -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own; its work takes so long."""
    script = WORKING.format(path=sys.path, place=str(place), seconds=seconds, lease=LEASE_SECONDS, report=REPORT)
    started = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    try:
        assert started.stdout.readline() == "ready\n"
        yield started
    finally:
        started.kill()
        started.communicate()


def test_the_job_of_a_killed_worker_is_taken_again_and_not_lost(tmp_path: Path) -> None:
    scene = Scene.at(tmp_path / "state", LEASE_SECONDS)
    job = scene.submit()
    with process(tmp_path, seconds=60) as victim:
        until(lambda: scene.jobs.get(job.id).progress is not None)
        victim.kill()
        assert victim.wait(10) == -signal.SIGKILL
    assert scene.state(job) == "running"  # the fault landed: it died in the middle
    (tmp_path / "c").unlink()
    killed = time.monotonic()
    with process(tmp_path) as other:
        assert other.wait(20) == 0
    assert time.monotonic() - killed > LEASE_SECONDS / 2, "the lease was not waited for"
    done = scene.jobs.get(job.id)
    assert (done.state, done.attempts) == ("done", 2)


def test_a_stopped_process_that_wakes_up_does_not_touch_what_another_took(tmp_path: Path) -> None:
    """SIGSTOP for longer than the lease: what a swapping machine or a debugger does."""
    scene = Scene.at(tmp_path / "state", LEASE_SECONDS)
    job = scene.submit()
    with process(tmp_path, seconds=60) as sleeper:
        until(lambda: scene.jobs.get(job.id).progress is not None)
        os.kill(sleeper.pid, signal.SIGSTOP)
        (tmp_path / "c").unlink()
        with process(tmp_path) as other:
            assert other.wait(20) == 0
        assert scene.state(job) == "done"
        done = scene.jobs.get(job.id)
        os.kill(sleeper.pid, signal.SIGCONT)
        assert sleeper.wait(10) == 0  # it let go, and found nothing else to do
    assert scene.jobs.get(job.id) == done


def test_two_workers_share_the_work_and_never_one_collection(tmp_path: Path) -> None:
    scene = Scene.at(tmp_path / "state", LEASE_SECONDS)
    jobs = [scene.submit(collection=name) for name in ("a", "b", "c") for _ in range(4)]
    with process(tmp_path) as one, process(tmp_path) as two:
        assert (one.wait(30), two.wait(30)) == (0, 0)
    assert {scene.state(job) for job in jobs} == {"done"}
    begun = [line.split() for line in (tmp_path / "done").read_text().splitlines()]
    assert sorted(identifier for identifier, _, _ in begun) == sorted(job.id for job in jobs)  # each once
    assert len({pid for _, _, pid in begun}) == 2
    assert {job.attempts for job in scene.jobs.newest(99)} == {1}
