"""A process of `domicile` that is killed while its gate is asked: the old generation serves, and the next run just works.

The gate of the evaluation reads the vectors that it remembers, and nothing else does. Here they are a named pipe: whoever
can open its other end knows that the process is in its gate, and keeps it there.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from processes import DOMICILE, command
from services import until

from domicile.adapters.generations import Generations
from domicile.bootstrap import Home
from domicile.domain import OWNER
from domicile.errors import WriterBusy
from domicile.files import writer_lock
from domicile.jobs import Order

TEXTS = {"pump.md": "# Pump\n\nThe pump is checked every week.\n", "leave.md": "# Leave\n\nLeave is by contract.\n"}
NEW = {"office.md": "# Office\n\nThe office is checked by audit.\n"}
QUESTIONS = {"q1": ("pump checked every week", "pump.md"), "q2": ("leave contract", "leave.md")}
LEASE_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Place:
    """A home that serves ``TEXTS`` as generation 1; its source holds ``NEW`` as well, which passes the collection's gate."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> Place:
        here = cls(folder)
        write(here.source, TEXTS)
        (here.suite / "qrels").mkdir(parents=True)
        rows = [json.dumps({"_id": key, "text": text}) for key, (text, _) in QUESTIONS.items()]
        (here.suite / "queries.jsonl").write_text("\n".join(rows))
        (here.suite / "qrels" / "test.tsv").write_text(
            "".join(f"{key}\t{uri}\t1\n" for key, (_, uri) in QUESTIONS.items())
        )
        embedder = tiny_models.write_embedder(folder / "tiny")
        here.home.mkdir()
        (here.home / "domicile.toml").write_text(
            f'[models]\nembedder = "{embedder}"\n[ingestion]\nlease_seconds = {LEASE_SECONDS}\n'
            f'[collections.c]\ngate = "{here.suite}"\n'
        )
        command(here.home, "ingest", "run", here.source, "--collection", "c", "--no-gate")
        reason = ("--accept", "--reason", "what serves")
        command(here.home, "eval", "baseline", "--suite", here.suite, "--collection", "c", *reason)
        write(here.source, NEW)
        return here

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def suite(self) -> Path:
        return self.folder / "suites" / "golden"

    @property
    def collection(self) -> Path:
        return self.home / "data" / "collections" / "c"

    @property
    def generations(self) -> Generations:
        return Home.open(self.home, {}).generations("c")

    @contextmanager
    def started(self, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
        """``domicile ingest`` as a process, which is gone after the block."""
        call = [DOMICILE, "--home", self.home, "--json", "ingest", *arguments]
        with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        return self.started("run", self.source, "--collection", "c", "--gate", self.suite)

    def worker(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        return self.started("worker", "--once")

    def served(self) -> tuple[int, dict[str, str]]:
        """The generation that serves, and its texts; every byte of it is read before."""
        index = Home.open(self.home, {}).indexes().pin("c", OWNER)
        Home.open(self.home, {}).verifier("c")(index.generation)
        found = {uri: index.document(uri, None) for uri in index.states()}
        return index.generation, {uri: document.text for uri, document in found.items() if document is not None}

    def lock(self) -> AbstractContextManager[None]:
        """That of whoever writes the collection."""
        return writer_lock(self.collection / "lock", "c")

    def is_candidate_there(self) -> bool:
        """Whether the files of generation 2 are on disk, and it is not published."""
        return (self.collection / "lexical" / "000002").is_dir() and self.generations.numbers() == [1]

    @contextmanager
    def gate_held(self, process: subprocess.Popen[bytes], pipe: Path) -> Iterator[None]:
        """Keep the process in its gate until the block ends; it is in there when the block begins."""
        descriptors: list[int] = []

        def opened() -> bool:
            assert process.poll() is None, "it ended before its gate was asked"
            try:
                descriptors.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            except OSError as error:
                if error.errno != errno.ENXIO:  # nobody reads yet
                    raise
            return bool(descriptors)

        try:
            until(opened, 60)
            pipe.unlink()  # whoever comes next remembers nothing, and is not kept
            yield
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def pipe(self) -> Path:
        """Put a pipe where the vectors were that evaluations of the collection remember."""
        place = Home.open(self.home, {}).evaluation_cache("c")
        place.unlink()
        os.mkfifo(place, 0o600)
        return place


def write(folder: Path, texts: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place.made(tmp_path_factory.mktemp("made"))


@pytest.fixture
def place(tmp_path: Path, made: Place) -> Place:
    return Place(Path(shutil.copytree(made.folder, tmp_path / "place", symlinks=True)))


def ended_well(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    told: dict[str, Any] = json.loads(said)
    return told


def killed(process: subprocess.Popen[bytes]) -> bool:
    process.kill()
    return process.wait(10) == -signal.SIGKILL


def check_published(place: Place) -> None:
    """Generation 2 serves whole, and passed its gate."""
    number, texts = place.served()
    assert (number, texts.keys()) == (2, {*TEXTS, *NEW})
    gate = place.generations.manifest(2).gate
    assert gate is not None
    assert gate.passed


def test_a_run_that_is_killed_in_its_gate_leaves_what_served_and_the_next_one_publishes(place: Place) -> None:
    before = place.served()
    with place.run() as process, place.gate_held(process, place.pipe()):
        assert place.is_candidate_there()
        assert place.served() == before
        with pytest.raises(WriterBusy), place.lock():
            pass
        assert killed(process)
    assert place.is_candidate_there(), "nothing was left half done: the test proves nothing"
    assert place.served() == before
    with place.lock():  # it is free
        pass
    with place.run() as process:
        said = ended_well(process)
    assert (said["generation"], said["gate"]["passed"], said["embedded"]) == (2, True, 0)
    check_published(place)


def test_a_run_that_is_only_kept_in_its_gate_publishes(place: Place) -> None:
    with place.run() as process:
        with place.gate_held(process, place.pipe()):
            assert place.is_candidate_there()
        said = ended_well(process)
    assert (said["generation"], said["gate"]["passed"], said["embedded"]) == (2, True, 1)
    check_published(place)


def test_a_worker_that_is_killed_in_a_gate_leaves_its_job_to_the_next(place: Place) -> None:
    before = place.served()
    jobs = Home.open(place.home, {}).jobs()
    job = jobs.submit(Order("run", "c", None, OWNER.name, {"source": str(place.source)}))
    with place.worker() as process, place.gate_held(process, place.pipe()):
        assert place.is_candidate_there()
        assert killed(process)
    assert place.served() == before
    with place.worker() as process:
        assert ended_well(process) == {"stopped": True, "jobs": 1, "failed": 0}
    assert (jobs.get(job.id).state, jobs.get(job.id).attempts) == ("done", 2)
    check_published(place)


def test_a_worker_that_is_stopped_in_a_gate_gives_its_job_back(place: Place) -> None:
    before = place.served()
    jobs = Home.open(place.home, {}).jobs()
    job = jobs.submit(Order("run", "c", None, OWNER.name, {"source": str(place.source)}))
    with place.worker() as process:
        with place.gate_held(process, place.pipe()):
            process.terminate()
            time.sleep(0.2)  # it is heard there, and obeyed when the next question is answered
        assert ended_well(process) == {"stopped": True, "jobs": 0, "failed": 0}
    assert (jobs.get(job.id).state, jobs.get(job.id).attempts) == ("queued", 0)
    assert place.served() == before
    assert not place.is_candidate_there()
