"""``domicile ingest worker|submit|status|retry|cancel``: the queue on the command line."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from domicile import wire
from domicile.bootstrap import Home
from domicile.console import Console, prepare_home, subparser
from domicile.domain import OWNER
from domicile.errors import UsageError
from domicile.jobs import Job, Jobs, Order, failed_documents
from domicile_ingest.worker import Worker

EXIT_SOME_FAILED = 3
LISTED = 20
FOLLOW_SECONDS = 0.5
UNTAKEN_SECONDS = 10.0
"""After this long a job that is next and that nobody takes has no worker."""


def add_to(actions: Any) -> None:
    """Register the commands with the subparsers of ``domicile ingest``."""
    worker = subparser(
        actions,
        "worker",
        _worker,
        "do the jobs of the queue until stopped; several may run at once",
        "  domicile ingest worker\n  domicile ingest worker --once     # for cron: exit 3 when something failed",
    )
    worker.add_argument("--once", action="store_true", help="end when the queue is empty")
    submit = subparser(
        actions,
        "submit",
        _submit,
        "queue an `ingest run` for a worker",
        "  domicile ingest submit /srv/docs --collection docs --wait",
    )
    submit.add_argument("source", type=Path, metavar="SOURCE", help="as for `ingest run`; where the worker finds it")
    submit.add_argument("--collection", required=True, metavar="C")
    submit.add_argument("--no-delete", action="store_true", help="keep documents that SOURCE does not hold any more")
    submit.add_argument("--allow-empty", action="store_true", help="let an empty SOURCE delete every document")
    submit.add_argument("--wait", action="store_true", help="follow the job to its end")
    status = subparser(
        actions,
        "status",
        _status,
        "show a job, or the queue: its age, progress, dead letters",
        "  domicile ingest status\n  domicile ingest status 3f2a9c41b7d0e655 --follow",
    )
    status.add_argument("id", nargs="?", metavar="ID")
    status.add_argument("--follow", action="store_true", help="until the job, or every job, has ended")
    retry = subparser(
        actions,
        "retry",
        _retry,
        "queue a job anew that failed, died or was cancelled",
        "  domicile ingest retry 3f2a9c41b7d0e655",
    )
    retry.add_argument("id", metavar="ID")
    cancel = subparser(
        actions,
        "cancel",
        _cancel,
        "take a job from the queue, or end it where it runs",
        "  domicile ingest cancel 3f2a9c41b7d0e655",
    )
    cancel.add_argument("id", metavar="ID")


def _worker(parsed: argparse.Namespace, console: Console) -> int:
    from domicile_ingest.gates import Gates
    from domicile_ingest.ingestion import Ingestion
    from domicile_ingest.job_work import work_for

    home = Home.open(console.home, console.environment)
    prepare_home(console.home)
    gates = Gates(home)
    gates.require()  # or each job of such a collection would fail, where another worker could do it
    jobs = home.jobs()
    jobs.sweep()
    _log("start", home=str(console.home))
    with Ingestion(home, gates) as ingestion:
        tally = Worker(jobs, work_for(home, jobs, ingestion), _stop_on_signals(), _log).run(once=parsed.once)
    _log("stop", jobs=tally.jobs, bad=tally.bad)
    console.result({"stopped": True, "jobs": tally.jobs, "failed": tally.bad})
    return EXIT_SOME_FAILED if parsed.once and tally.bad else 0


def _stop_on_signals() -> threading.Event:
    """Set by the first SIGTERM or SIGINT; the second ends the process, whose lease then runs out."""
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop


def _log(event: str, **fields: object) -> None:
    """One line of JSON on stderr."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    sys.stderr.write(json.dumps({"time": now, "event": event, **fields}) + "\n")
    sys.stderr.flush()


def _submit(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    collection = home.collection(parsed.collection)
    if not parsed.source.exists():
        raise UsageError(f"SOURCE {parsed.source}: there is no such file or folder")
    prepare_home(console.home)
    jobs = home.jobs()
    payload = {
        "source": str(parsed.source.absolute()),
        "no_delete": parsed.no_delete,
        "allow_empty": parsed.allow_empty,
    }
    job = jobs.submit(Order("run", collection.name, None, OWNER.name, payload))
    if parsed.wait:
        console.note(f"{job.id}: queued")
        return _end(_follow(jobs, job, console), console)
    console.result(wire.job(job, OWNER))
    console.say(job.id)
    return 0


def _status(parsed: argparse.Namespace, console: Console) -> int:
    jobs = Home.open(console.home, console.environment).jobs()
    if parsed.id is not None:
        job = jobs.get(parsed.id)
        return _end(_follow(jobs, job, console) if parsed.follow else job, console, strict=parsed.follow)
    if parsed.follow:
        _follow_all(jobs, console)
    figures, newest = jobs.figures(), jobs.newest(LISTED)
    console.result(
        {
            "queued": figures.jobs.get("queued", 0),
            "running": figures.jobs.get("running", 0),
            "dead": figures.jobs.get("dead", 0),
            "oldest_seconds": round(figures.oldest_seconds, 1),
            "failed_documents": figures.failed_documents,
            "jobs": [wire.job(job, OWNER, listed=True) for job in newest],
        }
    )
    for state in ("queued", "running", "dead"):
        console.say(f"{state:8} {figures.jobs.get(state, 0)}")
    console.say(f"oldest   {figures.oldest_seconds:.0f} s in the queue")
    for job in newest:
        console.say(line(job))
    return 0


def _retry(parsed: argparse.Namespace, console: Console) -> int:
    return _changed(Home.open(console.home, console.environment).jobs().retry(parsed.id), console)


def _cancel(parsed: argparse.Namespace, console: Console) -> int:
    return _changed(Home.open(console.home, console.environment).jobs().cancel(parsed.id), console)


def _changed(job: Job, console: Console) -> int:
    console.result(wire.job(job, OWNER))
    console.say(line(job))
    return 0


def _follow(jobs: Jobs, job: Job, console: Console) -> Job:
    """Say on stderr how far a job is, until it has ended."""
    said, warned = "", False
    while not job.ended:
        if (now := line(job)) != said:
            console.note(said := now)
        if not warned and job.position == 1 and job.waiting > UNTAKEN_SECONDS:
            console.note("nobody takes it: is a worker running? `domicile ingest worker`")
            warned = True
        time.sleep(FOLLOW_SECONDS)
        job = jobs.get(job.id)
    return job


def _follow_all(jobs: Jobs, console: Console) -> None:
    while unfinished := [job for job in jobs.newest(LISTED) if not job.ended]:
        _follow(jobs, unfinished[-1], console)


def _end(job: Job, console: Console, *, strict: bool = True) -> int:
    console.result(wire.job(job, OWNER))
    for failure in (job.report or {}).get("failures", ()):
        console.note(f"failed: {printable(failure['document'])}: {failure['kind']}: {printable(failure['reason'])}")
    console.say(line(job))
    bad = job.state in ("failed", "dead", "cancelled") or failed_documents(job.report) > 0
    return EXIT_SOME_FAILED if strict and bad else 0


def line(job: Job) -> str:
    """A job in one line, for people."""
    what = f"{job.id}  {job.state:9} {job.order.kind:6} {job.order.collection}"
    if job.order.document is not None:
        what += f" {printable(job.order.document)}"
    if job.state == "queued":
        return f"{what}  number {job.position} in the queue"
    if job.state == "running" and job.progress is not None:
        return f"{what}  {_progress(job.progress)}"
    if job.error is not None:
        return f"{what}  {job.error['type']}: {printable(str(job.error['message']))}"
    if job.report is not None:
        counts = ", ".join(f"{number:,} {name}" for name, number in job.report["documents"].items())
        return f"{what}  generation {job.report['generation']} ({counts})"
    return what


def _progress(told: Any) -> str:
    """The numbers of ``Progress.to_json``, with the rate that its ETA means."""
    done, total, eta = told["documents"], told["documents_total"], told["eta_seconds"]
    failed = f", {told['failed']:,} failed" if told["failed"] else ""
    rate = f", {(total - done) / eta:,.1f}/s, about {eta:,.0f} s left" if eta else ""
    what = "questions" if told["stage"] == "asking" else "documents"
    return f"{told['stage']} {done:,} of {total:,} {what}{failed}{rate}"


def printable(text: str) -> str:
    """What a terminal may be given of a name that somebody chose."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
