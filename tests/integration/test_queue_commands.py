"""`domicile serve` and `domicile ingest worker` as processes over one home, with a small embedder of the user's own."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import tiny_models
from services import until

from domicile.bootstrap import Home
from domicile.domain import OWNER
from domicile.errors import EmbedderMismatch, ModelDamaged
from domicile.files import writer_lock
from domicile.jobs import Job, JobKind, Order
from domicile_ingest.cli import main
from domicile_ingest.ingestion import Ingestion, Upload
from domicile_ingest.job_work import work_for
from domicile_ingest.worker import Worker

DOMICILE = Path(sys.executable).with_name("domicile")


@dataclass(frozen=True, slots=True)
class Place:
    """A home, a folder of documents, and the commands."""

    home: Path
    source: Path

    def run(self, *arguments: str | Path) -> tuple[int, dict[str, Any], str]:
        """Exit code, the JSON object of stdout, and stderr; in this process, but for workers, which handle signals."""
        words = ["--home", str(self.home), "--json", *map(str, arguments[1:])]
        if arguments[1] == "worker":
            done = subprocess.run([DOMICILE, "ingest", *words], capture_output=True, text=True, check=False, timeout=60)
            return done.returncode, json.loads(done.stdout), done.stderr
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(words)
        return code, json.loads(out.getvalue()), err.getvalue()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [DOMICILE, "--home", self.home, "--json", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @property
    def jobs(self) -> Any:
        return Home.open(self.home, {}).jobs()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    embedder = tiny_models.write_embedder(tmp_path / "tiny")
    home, source = tmp_path / "home", tmp_path / "docs"
    home.mkdir()
    source.mkdir()
    (home / "domicile.toml").write_text(
        f'[models]\nembedder = "{embedder}"\n[ingestion]\nlease_seconds = 3\nattempts = 2\n'
    )
    (source / "pump.md").write_text("# Pump\n\nThe pump is checked every week.\n")
    return Place(home, source)


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that is gone after the block, whatever happened."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def events(stderr: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]


def test_a_queue_is_drained_by_a_worker_that_ends(place: Place) -> None:
    code, job, _ = place.run("ingest", "submit", place.source, "--collection", "docs")
    assert (code, job["state"], job["source"]) == (0, "queued", str(place.source))
    _, waiting, _ = place.run("ingest", "status")
    assert (waiting["queued"], [row["id"] for row in waiting["jobs"]]) == (1, [job["id"]])
    code, result, stderr = place.run("ingest", "worker", "--once")
    assert (code, result) == (0, {"stopped": True, "jobs": 1, "failed": 0})
    assert [event["event"] for event in events(stderr)] == ["start", "begin", "done", "stop"]
    assert "pump" not in stderr  # ids and counts, no names
    code, after, _ = place.run("ingest", "status", job["id"])
    assert (code, after["state"], after["report"]["documents"]["added"]) == (0, "done", 1)


def test_failed_documents_make_the_drain_exit_with_3(place: Place) -> None:
    (place.source / "broken.pdf").write_bytes(b"%PDF-1.7 nothing of it")
    _, job, _ = place.run("ingest", "submit", place.source, "--collection", "docs")
    assert place.run("ingest", "worker", "--once")[0] == 3
    assert place.run("ingest", "status", job["id"])[1]["state"] == "done"
    code, _, stderr = place.run("ingest", "status", job["id"], "--follow")
    assert code == 3
    assert "failed: broken.pdf" in stderr


def test_what_cannot_be_is_refused_at_once_or_fails_with_its_reason(place: Place) -> None:
    code, error, _ = place.run("ingest", "submit", place.source / "nowhere", "--collection", "docs")
    assert (code, error["error"]["type"]) == (2, "UsageError")
    assert place.run("ingest", "submit", place.source, "--collection", "No Name")[0] == 2
    for command in ("status", "retry", "cancel"):
        code, error, _ = place.run("ingest", command, "nothing")
        assert (code, error["error"]["type"]) == (2, "UnknownJob")
    place.run("ingest", "submit", place.source, "--collection", "docs")
    (place.source / "pump.md").rename(place.source.parent / "elsewhere.md")
    place.source.rmdir()
    assert place.run("ingest", "worker", "--once")[0] == 3
    [job] = place.jobs.newest(9)
    assert (job.state, job.attempts, job.error["type"]) == ("failed", 1, "UsageError")


def test_a_job_waits_for_who_writes_by_hand_and_can_be_cancelled_and_brought_back(place: Place) -> None:
    folder = place.home / "data" / "collections" / "docs"
    folder.mkdir(parents=True)
    _, job, _ = place.run("ingest", "submit", place.source, "--collection", "docs")
    with writer_lock(folder / "lock", "by hand"), ended(place.start("ingest", "worker")) as worker:
        seen = threading.Event()
        assert worker.stderr is not None
        thread = threading.Thread(target=lambda: [seen.set() for line in worker.stderr if "gave_back" in line])  # type: ignore[union-attr]
        thread.start()
        assert seen.wait(30)
        until(lambda: place.jobs.get(job["id"]).state == "queued")
        assert place.jobs.get(job["id"]).attempts == 0
        assert place.run("ingest", "cancel", job["id"])[1]["state"] == "cancelled"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0
        thread.join(10)
    assert place.run("ingest", "retry", job["id"])[1]["state"] == "queued"
    assert place.run("ingest", "worker", "--once")[0] == 0


def test_submit_can_wait_for_the_end(place: Place) -> None:
    with ended(place.start("ingest", "worker")) as worker:
        code, job, stderr = place.run("ingest", "submit", place.source, "--collection", "docs", "--wait")
        assert (code, job["state"]) == (0, "done")
        assert job["id"] in stderr
        worker.send_signal(signal.SIGINT)
        assert worker.wait(10) == 0


def test_a_key_cannot_leave_its_roots_by_a_link_that_comes_later(place: Place, tmp_path: Path) -> None:
    """What the service saw is not what the worker finds."""
    with (place.home / "domicile.toml").open("a") as settings:
        settings.write(f'roots = ["{place.source}"]\n')
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "salary.md").write_text("# Salary\n\nThe salary of the board.\n")
    payload = {"source": str(place.source / "new"), "from_key": True}
    (place.source / "new").symlink_to(tmp_path / "secret")
    key = Home.open(place.home, {}).keys().create("default", frozenset(), None, may_ingest=True)
    job = place.jobs.submit(Order("run", "docs", None, key.id, payload))
    assert place.run("ingest", "worker", "--once")[0] == 3
    assert place.jobs.get(job.id).error["type"] == "Forbidden"
    (place.source / "new").unlink()
    (place.source / "new").mkdir()
    (place.source / "new" / "valve.md").write_text("# Valve\n\nThe valve.\n")
    place.jobs.retry(job.id)
    assert place.run("ingest", "worker", "--once")[0] == 0  # control


@pytest.mark.parametrize("kind", ["put", "delete"])
def test_a_key_touches_nothing_that_it_may_not_read_by_the_time_the_worker_comes(place: Place, kind: JobKind) -> None:
    """The service looked when the job was queued; the document came between that and the worker."""
    (place.source / "pay.md").write_text("---\ndomicile:\n  label:\n    groups: [hr]\n---\n# Pay\n\nThe salary.\n")
    assert place.run("ingest", "run", place.source, "--collection", "docs")[0] == 0
    home = Home.open(place.home, {})
    jobs = home.jobs()
    key = home.keys().create("default", frozenset({"staff"}), None, may_ingest=True)

    def work_as(group: str) -> Job:
        with jobs.receive() as upload:
            upload.write(b"# Pay\n\nNothing.\n")
            job = jobs.submit(Order(kind, "docs", "pay.md", key.id, {"groups": [group]}), upload)
        return worked(home, job)

    def text() -> str | None:
        found = home.indexes().pin("docs", OWNER).document("pay.md", None)
        return None if found is None else found.text

    before = text()
    refused = work_as("staff")
    # deleting what is hidden looks like deleting what is not there
    assert (refused.error and refused.error["type"], refused.report) == ("Forbidden" if kind == "put" else None, None)
    assert text() == before
    allowed = work_as("hr")  # control: what then stands in the way of a put is that the document came from a source
    assert (allowed.error and allowed.error["type"]) == ("DocumentError" if kind == "put" else None)
    assert text() == (before if kind == "put" else None)


def worked(home: Home, job: Job) -> Job:
    """The job, when a worker in this process has done it and all before it."""
    jobs = home.jobs()
    with Ingestion(home) as ingestion:
        work = work_for(home, jobs, ingestion)
        Worker(jobs, work, threading.Event(), lambda event, **fields: None).run(once=True)
    return jobs.get(job.id)


def test_what_a_key_left_in_the_queue_ends_with_the_key(place: Place) -> None:
    home = Home.open(place.home, {})
    jobs, leaked, other = home.jobs(), *(home.keys().create("default", frozenset(), None) for _ in range(2))

    def put_by(key: str) -> Job:
        with jobs.receive() as upload:
            upload.write(b"# Valve\n\nThe valve.\n")
            return jobs.submit(Order("put", "docs", f"{key}.md", key, {"groups": []}), upload)

    waiting, control = put_by(leaked.id), put_by(other.id)
    home.keys().revoke(leaked.id)
    refused = worked(home, waiting)
    assert (refused.state, refused.error and refused.error["type"]) == ("failed", "Forbidden")
    assert jobs.get(control.id).state == "done"


def test_a_worker_loads_a_model_once_and_anew_when_it_changed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    home, loaded = Home.open(place.home, {}), []
    load = Home.embedder
    monkeypatch.setattr(Home, "embedder", lambda self: (loaded.append(1), load(self))[1])
    upload, folder = Upload("a.txt", b"The pump."), place.home.parent / "tiny"
    with Ingestion(home) as ingestion:
        for uri in ("a", "b", "c"):
            assert ingestion.put("docs", uri, upload).counts["added"] == 1
        assert len(loaded) == 1
        weights = next(folder.glob("**/*.onnx"))
        weights.write_bytes(weights.read_bytes()[:-1] + b"!")
        with pytest.raises(ModelDamaged, match=weights.name):
            ingestion.put("docs", "d", upload)
        shutil.rmtree(folder)
        shutil.rmtree(place.home / "state" / "models")  # the pin of the first one
        tiny_models.write_embedder(folder, rows=tiny_models.table()[::-1].copy())
        with pytest.raises(EmbedderMismatch):
            ingestion.put("docs", "d", upload)
        assert len(loaded) == 2
        assert ingestion.put("others", "d", upload).counts["added"] == 1
        assert len(loaded) == 2


@contextmanager
def serving(place: Place) -> Iterator[httpx.Client]:
    with ended(place.start("serve", "--port", "0")) as process:
        assert process.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
        assert found is not None
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        with httpx.Client(base_url=found[0], trust_env=False, timeout=30) as client:
            yield client
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        drain.join(5)


def test_a_document_that_is_put_is_found_and_one_that_is_deleted_is_gone(place: Place) -> None:
    def found(query: str) -> set[str]:
        reply = client.post("/v1/search", json={"collection": "docs", "query": query, "mode": "lexical"})
        return {hit["document"] for hit in reply.json()["hits"]}

    assert place.run("ingest", "run", place.source, "--collection", "docs")[0] == 0
    with serving(place) as client, ended(place.start("ingest", "worker")) as worker:
        assert found("boiler") == set()
        started = time.monotonic()
        put = client.put("/v1/collections/docs/documents/boiler.md?wait=30", content=b"# Boiler\n\nThe boiler hums.\n")
        assert put.status_code == 201, put.text
        until(lambda: found("boiler") == {"boiler.md"}, 2.0)
        assert time.monotonic() - started < 15
        assert client.get("/v1/collections/docs/documents/boiler.md").json()["origin"] == "api"

        text = client.put("/v1/collections/docs/documents/note?wait=30", json={"title": "Note", "text": "# no heading"})
        assert text.status_code == 201
        assert client.get("/v1/collections/docs/documents/note").json()["text"] == "# no heading"
        again = client.put(
            "/v1/collections/docs/documents/note?wait=30", json={"title": "Note", "text": "# no heading"}
        )
        assert (again.status_code, again.json()["report"]["documents"]["unchanged"]) == (200, 1)

        broken = client.put("/v1/collections/docs/documents/a.pdf?wait=30", content=b"%PDF-1.7 nothing of it")
        assert (broken.status_code, broken.json()["kind"]) == (422, "broken")
        spoken = client.put("/v1/collections/docs/documents/a%E2%80%AEb?wait=30", content=b"# A\n\nThe valve.\n")
        assert (spoken.status_code, spoken.json()["kind"]) == (422, "name")
        taken = client.put("/v1/collections/docs/documents/pump.md?wait=30", content=b"# Pump\n\nAnother pump.\n")
        assert (taken.status_code, taken.json()["kind"]) == (422, "duplicate")

        assert place.run("ingest", "run", place.source, "--collection", "docs")[0] == 0
        assert found("boiler") == {"boiler.md"}  # a run leaves alone what was put
        assert client.delete("/v1/collections/docs/documents/boiler.md?wait=30").status_code == 200
        until(lambda: found("boiler") == set(), 2.0)
        assert client.get("/v1/collections/docs/documents/boiler.md").status_code == 404
        assert client.delete("/v1/collections/docs/documents/boiler.md").status_code == 404
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0


def test_a_stopped_or_killed_worker_loses_no_job_of_a_real_ingestion(place: Place) -> None:
    for number in range(200):
        (place.source / f"{number}.md").write_text(f"# Pump {number}\n\n" + "The pump is checked every week.\n\n" * 40)
    _, job, _ = place.run("ingest", "submit", place.source, "--collection", "docs")

    def embedding() -> bool:
        return (place.jobs.get(job["id"]).progress or {}).get("stage") == "embedding"

    with ended(place.start("ingest", "worker")) as worker:
        until(embedding, 30)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(5) == 0
    assert (place.jobs.get(job["id"]).state, place.jobs.get(job["id"]).attempts) == ("queued", 0)
    with ended(place.start("ingest", "worker")) as worker:
        until(embedding, 30)
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait(10)
    assert place.jobs.get(job["id"]).state == "running"  # the fault landed
    assert not (place.home / "data" / "collections" / "docs" / "CURRENT").exists()
    assert place.run("ingest", "worker", "--once")[0] == 0
    done = place.jobs.get(job["id"])
    assert (done.state, done.attempts, done.report["documents"]["added"]) == ("done", 2, 201)
