"""The gate that a collection's settings name: it holds for whatever publishes, and for an erasure it does not."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from services import until

from domicile.bootstrap import Home
from domicile.console import Console
from domicile.domain import OWNER
from domicile.errors import ConfigError, GateFailed, MissingExtra, UsageError
from domicile.jobs import Job, JobKind, Order
from domicile.ports import Gate, GateReport, Index
from domicile_ingest import cli as ingestion
from domicile_ingest import gates as gates_of_ingestion
from domicile_ingest.gates import Gates, OpenGate
from domicile_ingest.ingestion import Ingestion, Options, Upload
from domicile_ingest.job_work import work_for
from domicile_ingest.progress import Progress, Watch, unwatched
from domicile_ingest.report import Refused
from domicile_ingest.worker import Worker

PUMP, LEAVE = "# Pump\n\nThe pump is checked every week.\n", "# Leave\n\nLeave is by contract.\n"
FELL = "r@5 fell from 1.000 to 0.500"


@dataclass(slots=True)
class Gatekeeper:
    """A gate that says what it is told to say.

    Attributes:
        passes: whether what it is asked of may serve.
        meanwhile: is done while it is asked, with the function that shows how far it is.
        opened: the collection and the suite of each time that it was got ready.
        asked: how many documents each generation had that it was asked of.
    """

    passes: bool = True
    meanwhile: Callable[[Callable[[int], None]], None] = lambda advance: None
    opened: list[tuple[str, str]] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    def __call__(
        self, home: Home, collection: str, suite: str, suites: Path | None, full: bool, console: Console
    ) -> Gate:
        self.opened.append((collection, suite))

        def gate(candidate: Index) -> GateReport:
            self.asked.append(len(candidate.states()))
            with console.progress(f"asking {suite}", 40) as advance:
                self.meanwhile(advance)
            findings = () if self.passes else (FELL,)
            return GateReport(suite, "0" * 64, self.passes, "change", {"r@5": 1.0}, findings)

        return gate


@dataclass(frozen=True, slots=True)
class Place:
    """A home whose collection ``docs`` has the gate ``own`` and serves a run's document and a put one; ``others`` has none."""

    folder: Path

    @property
    def home(self) -> Home:
        return Home.open(self.folder / "home", {})

    @property
    def source(self) -> Path:
        return self.folder / "source"

    def gated(self, gate: OpenGate) -> Ingestion:
        return Ingestion(self.home, Gates(self.home, open_gate=gate))

    def serving(self) -> tuple[int, set[str]]:
        index = self.home.indexes().pin("docs", OWNER)
        return index.generation, set(index.states())

    def submit(self, kind: JobKind, document: str | None = None, data: bytes | None = None) -> Job:
        order = Order(kind, "docs", document, OWNER.name, {"source": str(self.source)} if kind == "run" else {})
        jobs = self.home.jobs()
        if data is None:
            return jobs.submit(order)
        with jobs.receive() as upload:
            upload.write(data)
            return jobs.submit(order, upload)

    def work(self, gate: OpenGate, stop: threading.Event | None = None) -> None:
        """Do what is queued, as ``ingest worker --once`` does."""
        with self.gated(gate) as working:
            jobs = self.home.jobs()
            work = work_for(self.home, jobs, working)
            Worker(jobs, work, stop or threading.Event(), lambda event, **fields: None, beat_seconds=0.02).run(
                once=True
            )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    embedder = tiny_models.write_embedder(folder / "tiny")
    (folder / "source").mkdir()
    (folder / "source" / "pump.md").write_text(PUMP)
    (folder / "home").mkdir()
    (folder / "home" / "domicile.toml").write_text(
        f'[models]\nembedder = "{embedder}"\n[collections.docs]\ngate = "own"\n'
    )
    with Place(folder).gated(Gatekeeper()) as first:
        first.run(folder / "source", "docs", Options())
        first.put("docs", "put.md", Upload("put.md", LEAVE.encode()))
    return folder


@pytest.fixture
def place(tmp_path: Path, made: Path) -> Place:
    here = Place(Path(shutil.copytree(made, tmp_path / "place", symlinks=True)))
    (here.source / "new.md").write_text("# Audit\n\nThe audit is every week.\n")
    return here


Publish = Callable[[Place, Ingestion, Watch], object]


def run(place: Place, working: Ingestion, watch: Watch) -> None:
    working.run(place.source, "docs", Options(), watch)


def apply_plan(place: Place, working: Ingestion, watch: Watch) -> None:
    working.apply(working.plan(place.source, "docs", Options()), watch)


def put(place: Place, working: Ingestion, watch: Watch) -> None:
    working.put("docs", "other.md", Upload("other.md", b"The office."), watch)


def delete(place: Place, working: Ingestion, watch: Watch) -> None:
    working.delete("docs", "put.md", watch)


def reindex(place: Place, working: Ingestion, watch: Watch) -> None:
    working.reindex("docs", watch)


PUBLISHES = [run, apply_plan, put, delete, reindex]


@pytest.mark.parametrize("publish", PUBLISHES)
def test_whatever_publishes_asks_the_gate_of_the_collection(place: Place, publish: Publish) -> None:
    before, gate = place.serving(), Gatekeeper(passes=False)
    with place.gated(gate) as working:
        with pytest.raises(GateFailed, match=r"docs: the new generation, asked own, did not pass: r@5 fell"):
            publish(place, working, unwatched)
        assert (gate.opened, len(gate.asked), place.serving()) == ([("docs", "own")], 1, before)
        gate.passes = True
        publish(place, working, unwatched)  # control: nothing else stood in its way
    assert place.serving()[0] == before[0] + 1
    report = place.home.generations("docs").manifest(before[0] + 1).gate
    assert report is not None
    assert (report.suite, report.passed) == ("own", True)


def test_an_erasure_asks_nobody(place: Place) -> None:
    gate = Gatekeeper(passes=False)
    with place.gated(gate) as working:
        working.erase("docs", ["put.md"])
    assert (gate.opened, place.serving()) == ([], (3, {"pump.md"}))


def test_a_collection_without_a_gate_asks_nobody(place: Place) -> None:
    gate = Gatekeeper(passes=False)
    with place.gated(gate) as working:
        report = working.run(place.source, "others", Options())
    assert (report.commit.generation, gate.opened) == (1, [])


@pytest.mark.parametrize("publish", PUBLISHES)
def test_a_gate_that_cannot_be_asked_stops_everything_but_an_erasure_before_any_work(
    place: Place, publish: Publish
) -> None:
    told: list[Progress] = []

    def no_such_suite(*arguments: object) -> Gate:
        raise UsageError("there is no such suite")

    before = place.serving()
    with place.gated(no_such_suite) as working:
        with pytest.raises(ConfigError, match=r"^collections.docs.gate = 'own': there is no such suite$"):
            publish(place, working, told.append)
        assert (told, place.serving()) == ([], before)
        working.erase("docs", ["put.md"])
    assert place.serving()[1] == before[1] - {"put.md"}


def sensitivity(place: Place, uri: str) -> str:
    found = place.home.indexes().pin("docs", OWNER).document(uri, None)
    assert found is not None
    return str(found.label.sensitivity)


WIDE, NARROW = ('sensitivity = "public"\n', 'sensitivity = "confidential"\n')


def test_labels_that_become_narrower_do_not_wait_for_the_gate(place: Place) -> None:
    gate, sidecar = Gatekeeper(), place.source / "pump.md.label.toml"
    head = "---\ndomicile:\n  label:\n    sensitivity: {}\n---\n"
    sidecar.write_text(WIDE)
    (place.source / "new.md").write_text(head.format("public") + "The office.\n")
    with place.gated(gate) as working:
        working.run(place.source, "docs", Options())
        assert (sensitivity(place, "pump.md"), sensitivity(place, "new.md")) == ("public", "public")
        gate.passes = False
        sidecar.write_text(NARROW)
        (place.source / "new.md").write_text(head.format("restricted") + "The safety.\n")
        (place.source / "third.md").write_text("The contract.\n")
        with pytest.raises(Refused) as refused:
            working.run(place.source, "docs", Options())
        assert (refused.value.serving, refused.value.narrowed) == (4, True)
        assert place.serving() == (4, {"pump.md", "put.md", "new.md"})
        assert (sensitivity(place, "pump.md"), sensitivity(place, "new.md")) == ("confidential", "restricted")
        with pytest.raises(Refused) as again:
            working.run(place.source, "docs", Options())
        assert (again.value.serving, again.value.narrowed) == (4, False)  # as narrow as it is to be
        gate.passes = True
        assert working.run(place.source, "docs", Options()).counts["changed"] == 2
    assert (sensitivity(place, "pump.md"), sensitivity(place, "new.md")) == ("confidential", "restricted")


def test_labels_that_become_wider_wait_for_the_gate(place: Place) -> None:
    gate, sidecar = Gatekeeper(), place.source / "pump.md.label.toml"
    sidecar.write_text(NARROW)
    with place.gated(gate) as working:
        working.run(place.source, "docs", Options())
        gate.passes = False
        sidecar.write_text(WIDE)
        with pytest.raises(Refused) as refused:
            working.run(place.source, "docs", Options())
        assert (refused.value.narrowed, place.serving()[0]) == (False, 3)
    assert sensitivity(place, "pump.md") == "confidential"


def test_what_is_put_with_a_narrower_label_narrows_what_it_does_not_replace(place: Place) -> None:
    gate, label = Gatekeeper(), {"sensitivity": "public"}
    with place.gated(gate) as working:
        working.put("docs", "memo.md", Upload("memo.md", b"The office.", label=label))
        gate.passes = False
        label = {"sensitivity": "restricted"}
        with pytest.raises(Refused):
            working.put("docs", "memo.md", Upload("memo.md", b"The salary.", label=label))
        found = place.home.indexes().pin("docs", OWNER).document("memo.md", None)
        assert found is not None
        assert (found.text, sensitivity(place, "memo.md")) == ("The office.", "restricted")
        gate.passes = True
        assert working.put("docs", "memo.md", Upload("memo.md", b"The salary.", label=label)).counts["changed"] == 1


@pytest.mark.parametrize(("kind", "document"), [("run", None), ("put", "other.md"), ("delete", "put.md")])
def test_a_job_that_does_not_pass_fails_with_the_verdict_and_can_be_retried(
    place: Place, kind: JobKind, document: str | None
) -> None:
    job = place.submit(kind, document, b"The office." if kind == "put" else None)
    before, gate = place.serving(), Gatekeeper(passes=False)
    place.work(gate)
    failed = place.home.jobs().get(job.id)
    verdict = f"docs: the new generation, asked own, did not pass: {FELL}"
    assert (failed.state, failed.attempts, failed.error) == ("failed", 1, {"type": "GateFailed", "message": verdict})
    assert (len(gate.asked), place.serving()) == (1, before)
    place.home.jobs().retry(job.id)  # the upload is still there
    gate.passes = True
    place.work(gate)
    assert place.home.jobs().get(job.id).state == "done"
    assert place.serving()[0] == before[0] + 1


def test_a_job_that_is_stopped_or_cancelled_in_its_gate_ends_at_the_next_question(place: Place) -> None:
    job, before, stop, jobs = place.submit("run"), place.serving(), threading.Event(), place.home.jobs()

    def end(how: Callable[[], object]) -> Gatekeeper:
        def ask(advance: Callable[[int], None]) -> None:
            advance(1)
            until(lambda: (jobs.get(job.id).progress or {}).get("stage") == "asking")
            how()
            for _ in range(2_000):
                advance(0)
                threading.Event().wait(0.005)
            raise AssertionError("nobody ended it")

        return Gatekeeper(meanwhile=ask)

    place.work(end(stop.set), stop)
    assert (jobs.get(job.id).state, jobs.get(job.id).attempts) == ("queued", 0)
    place.work(end(lambda: jobs.cancel(job.id)))
    cancelled = jobs.get(job.id)
    assert (cancelled.state, place.serving()) == ("cancelled", before)
    assert cancelled.progress is not None
    assert (cancelled.progress["documents"], cancelled.progress["documents_total"]) == (1, 40)


def not_installed() -> OpenGate:
    raise MissingExtra("eval", "the evaluation")


def test_a_worker_without_the_evaluation_does_not_begin(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = place.submit("run")
    monkeypatch.setattr(gates_of_ingestion, "registered_gate", not_installed)
    assert ingestion.main(["worker", "--once", "--home", str(place.home.path), "--json"]) == 2
    message = json.loads(capsys.readouterr().out)["error"]["message"]
    assert message == "collections.docs.gate: the evaluation is not installed: pip install 'domicile[eval]'"
    assert place.home.jobs().get(job.id).state == "queued"


def told(place: Place, capsys: pytest.CaptureFixture[str], gate: OpenGate, *arguments: str | Path) -> tuple[int, Any]:
    """Exit code and JSON object of ``domicile ingest``."""
    capsys.readouterr()
    code = ingestion.main([*map(str, arguments), "--home", str(place.home.path), "--json"], gate)
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("action", [("run", "SOURCE"), ("reindex",)])
def test_a_command_can_name_another_gate_or_none(
    place: Place, capsys: pytest.CaptureFixture[str], action: tuple[str, ...]
) -> None:
    gate = Gatekeeper(passes=False)
    asked = [place.source if word == "SOURCE" else word for word in action] + ["--collection", "docs"]
    code, refused = told(place, capsys, gate, *asked, "--suites", "/suites")
    assert (code, refused["generation"], refused["gate"]["findings"]) == (5, 2, [FELL])
    assert told(place, capsys, gate, *asked, "--gate", "another")[0] == 5
    assert gate.opened == [("docs", "own"), ("docs", "another")]
    code, said = told(place, capsys, gate, *asked, "--no-gate")
    assert (code, said["generation"], "gate" in said, len(gate.opened)) == (0, 3, False, 2)


def test_a_gate_is_a_name_or_an_absolute_path(place: Place) -> None:
    settings = place.home.path / "domicile.toml"
    written = settings.read_text()
    for gate in ("/srv/suites/golden/own", ""):
        settings.write_text(written.replace("own", gate))
        assert place.home.settings.gate("docs") == (gate or None)
    settings.write_text(written.replace("own", "suites/own"))
    with pytest.raises(ConfigError, match=r"collections.docs.gate: a suite's name or an absolute path"):
        _ = place.home
