"""``domicile ingest run --gate`` on a real home, with the real embedder: what a user and a script see."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from domicile.bootstrap import Home
from domicile.commands import generations
from domicile.console import Console
from domicile.domain import Scope
from domicile.errors import MissingExtra, UsageError
from domicile.ports import Embedder, Gate, GateReport, Index
from domicile_ingest import cli as ingestion
from domicile_ingest.gates import OpenGate, registered_gate

FACTS = {
    "leave.md": "# Leave\n\nParental leave lasts 26 weeks and is paid in full.\n",
    "pumps.md": "# Pumps\n\nPump P-40 is checked every 12 weeks.\n",
    "office.md": "# Office\n\nThe office in Bern closes at 18:00.\n",
}
QUESTIONS = {"How long is parental leave?": "leave.md", "How often is P-40 checked?": "pumps.md"}


@dataclass(slots=True)
class Suite:
    """A gate that asks the candidate ``QUESTIONS``, by meaning, and wants the right document first.

    Attributes:
        embedder: loaded once for all tests.
        meanwhile: is done while it is asked.
        opened: how it was opened: collection, suite, folder of suites, whether in full.
        asked: the generations that it was asked of.
    """

    embedder: Embedder
    meanwhile: Callable[[], None] = lambda: None
    opened: list[tuple[str, str, Path | None, bool]] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    def __call__(
        self, home: Home, collection: str, suite: str, suites: Path | None, full: bool, console: Console
    ) -> Gate:
        self.opened.append((collection, suite, suites, full))

        def gate(candidate: Index) -> GateReport:
            self.asked.append(candidate.generation)
            self.meanwhile()
            vectors = self.embedder.embed(list(QUESTIONS), "query")
            nearest = [candidate.dense(vector, 1, Scope(None))[0].ref for vector in vectors]
            found = [chunk.document for chunk in candidate.chunks(nearest)]
            right = [document == wanted for document, wanted in zip(found, QUESTIONS.values(), strict=True)]
            value = sum(right) / len(right)
            findings = () if value == 1 else (f"p@1 fell from 1.000 to {value:.3f}",)
            return GateReport(suite, "0" * 64, not findings, "change", {"p@1": value, "n": 2}, findings, {"p@1": 0.1})

        return gate


class PlantedError(Exception):
    """A gate that breaks."""


def no_such_suite(home: Home, collection: str, suite: str, suites: Path | None, full: bool, console: Console) -> Gate:
    raise UsageError(f"--gate {suite}: there is no such suite")


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Path:
    place = tmp_path_factory.mktemp("ingested")
    (place / "home").mkdir()
    (place / "home" / "models").symlink_to(models_dir)
    write(place / "source", FACTS)
    assert ingestion.main(["run", str(place / "source"), "--collection", "docs", "--home", str(place / "home")]) == 0
    return place


@dataclass(frozen=True, slots=True)
class Place:
    """A home that serves ``FACTS`` as generation 1, and their source."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    embedder: Embedder

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def source(self) -> Path:
        return self.folder / "source"

    def suite(self, meanwhile: Callable[[], None] = lambda: None) -> Suite:
        return Suite(self.embedder, meanwhile)

    def run(self, *flags: str, gate: OpenGate | None = None, expect: int = 0) -> dict[str, Any]:
        """``ingest run --json``; the one object."""
        self.capsys.readouterr()
        arguments = ["run", str(self.source), "--collection", "docs", "--home", str(self.home), "--json", *flags]
        assert ingestion.main(arguments, gate) == expect
        out = self.capsys.readouterr().out
        value = json.loads(out)
        assert isinstance(value, dict)
        assert len(out.splitlines()) == 1
        return value

    def generations(self, action: str, *flags: str, expect: int = 0) -> dict[str, Any]:
        self.capsys.readouterr()
        arguments = [action, "--collection", "docs", "--home", str(self.home), "--json", *flags]
        assert generations.main(arguments) == expect
        value = json.loads(self.capsys.readouterr().out)
        assert isinstance(value, dict)
        return value

    def index(self) -> dict[str, bytes]:
        """Every file of the index."""
        data = self.home / "data"
        return {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}

    def serving(self) -> int:
        return Home.open(self.home, {}).indexes().generation("docs")


@pytest.fixture(scope="module")
def embedder(ingested: Path) -> Embedder:
    return Home.open(ingested / "home", {}).embedder()


@pytest.fixture
def place(tmp_path: Path, ingested: Path, embedder: Embedder, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(Path(shutil.copytree(ingested, tmp_path / "place", symlinks=True)), capsys, embedder)


def write(folder: Path, documents: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in documents.items():
        (folder / name).write_text(text, encoding="utf-8")


GOOD = {"visitors.md": "# Visitors\n\nVisitors sign in at the desk.\n"}
WORSE = {"leave.md": "# Canteen\n\nThe canteen serves soup on Fridays.\n"}
TORN = {"torn.pdf": "%PDF-1.7\n1 0 obj\n<< /Type /Cat"}


def test_a_generation_that_passes_serves_with_what_was_said_of_it(place: Place) -> None:
    write(place.source, GOOD)
    suite = place.suite()
    said = place.run("--gate", "facts", "--suites", "/suites", "--full", gate=suite)
    assert (suite.opened, suite.asked) == ([("docs", "facts", Path("/suites"), True)], [2])
    figures = {"p@1": 1.0, "n": 2.0}
    report = {"suite": "facts", "suite_hash": "0" * 64, "passed": True, "lane": "change", "figures": figures,
              "findings": [], "detectable": {"p@1": 0.1}}  # fmt: skip
    assert (said["generation"], said["previous"], said["documents"]["added"]) == (2, 1, 1)
    assert said["gate"] == report
    rows = place.generations("list")["generations"]
    assert [row["gate"] for row in rows] == [None, report]
    generations.main(["list", "--collection", "docs", "--home", str(place.home)])
    first, second = place.capsys.readouterr().out.splitlines()
    assert "passed" not in first
    assert second.endswith("passed facts p@1 1.000")


def test_a_generation_that_does_not_pass_is_not_published(place: Place) -> None:
    write(place.source, GOOD | WORSE)
    before = place.index()
    arguments = ["run", str(place.source), "--collection", "docs", "--home", str(place.home), "--gate", "facts"]
    assert ingestion.main(arguments, place.suite()) == 5
    told = place.capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[-2:] == [
        "domicile: docs: the new generation, asked facts, did not pass: p@1 fell from 1.000 to 0.500",
        "nothing was published: generation 1 serves on",
    ]
    said = place.run("--gate", "facts", gate=place.suite(), expect=5)
    assert said.keys() == {"collection", "generation", "gate", "failures"}
    assert (said["collection"], said["generation"], said["failures"]) == ("docs", 1, [])
    assert (said["gate"]["passed"], said["gate"]["figures"]["p@1"]) == (False, 0.5)
    assert said["gate"]["findings"] == ["p@1 fell from 1.000 to 0.500"]
    assert place.index() == before
    assert place.serving() == 1
    assert place.generations("verify")["ok"] is True
    again = place.run()
    assert (again["generation"], again["embedded"], again["reused"]) == (2, 0, 2)
    assert "gate" not in again


def test_a_first_generation_that_does_not_pass_leaves_nothing_serving(place: Place) -> None:
    shutil.rmtree(place.home / "data")
    write(place.source, WORSE)
    assert place.run("--gate", "facts", gate=place.suite(), expect=5)["generation"] == 0
    assert Home.open(place.home, {}).indexes().names() == []
    write(place.source, FACTS)
    assert place.run("--gate", "facts", gate=place.suite())["generation"] == 1


def test_the_gate_outranks_failed_documents_which_are_listed_all_the_same(place: Place) -> None:
    write(place.source, GOOD | TORN)
    passed = place.run("--gate", "facts", gate=place.suite(), expect=3)
    assert (passed["generation"], passed["gate"]["passed"]) == (2, True)
    write(place.source, WORSE)
    refused = place.run("--gate", "facts", gate=place.suite(), expect=5)
    assert refused["generation"] == 2
    assert [failure["document"] for failure in refused["failures"]] == ["torn.pdf"]
    assert refused["failures"] == passed["failures"]


def test_a_gate_that_breaks_publishes_nothing(place: Place) -> None:
    write(place.source, GOOD)
    before = place.index()

    def break_down() -> None:
        raise PlantedError

    with pytest.raises(PlantedError):
        place.run("--gate", "facts", gate=place.suite(break_down))
    assert place.index() == before
    said = place.run("--gate", "facts", gate=place.suite())
    assert (said["generation"], said["embedded"], said["reused"]) == (2, 0, 1)


def test_where_nothing_changed_the_gate_is_not_asked(place: Place) -> None:
    suite = place.suite()
    said = place.run("--gate", "facts", gate=suite)
    assert (said["generation"], suite.asked, len(suite.opened)) == (1, [], 1)
    assert "gate" not in said
    write(place.source, TORN)
    assert place.run("--gate", "facts", gate=suite, expect=3)["generation"] == 1
    assert suite.asked == []


def test_while_the_gate_is_asked_the_old_generation_serves_whole(place: Place) -> None:
    write(place.source, GOOD)
    reader = Home.open(place.home, {}).indexes()
    seen = []

    def look() -> None:
        listed = [row["generation"] for row in place.generations("list")["generations"]]
        seen.append((reader.generation("docs"), place.serving(), listed, place.generations("verify")["ok"]))
        assert "another process" in place.generations("gc", expect=75)["error"]["message"]

    place.run("--gate", "facts", gate=place.suite(look))
    assert seen == [(1, 1, [1], True)]
    assert place.generations("verify")["ok"] is True
    assert place.generations("gc", "--keep", "1")["kept"] == [1, 2]  # the first stands by


def test_a_plan_may_be_gated_when_it_is_done(place: Place) -> None:
    write(place.source, WORSE)
    file = place.folder / "plan.json"
    flags = ["--collection", "docs", "--home", str(place.home)]
    assert ingestion.main(["plan", str(place.source), *flags, "--out", str(file)]) == 0
    suite = place.suite()
    assert ingestion.main(["run", "--plan", str(file), "--gate", "facts", *flags], suite) == 5
    assert (suite.asked, place.serving()) == ([2], 1)
    with pytest.raises(UsageError, match="--gate"):
        ingestion.main(["plan", str(place.source), *flags, "--gate", "facts"])


@pytest.mark.parametrize(
    ("flags", "gate", "says"),
    [
        (["--gate", "nothing"], no_such_suite, "--gate nothing: there is no such suite"),
        (["--gate", "no suite is called so"], None, "no suite is called so"),  # the gate that is installed
        (["--gate", ""], None, "there are: handbook, smoke"),
        (["--suites", "x"], no_such_suite, "--gate SUITE"),
        (["--full"], no_such_suite, "--gate SUITE"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_read(
    place: Place, flags: list[str], gate: OpenGate | None, says: str
) -> None:
    shutil.rmtree(place.home / "data")
    write(place.source, WORSE)
    assert says in place.run(*flags, gate=gate, expect=2)["error"]["message"]
    assert not (place.home / "data").exists()


def test_an_evaluation_that_is_not_whole_is_refused_before_anything_is_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(place.home / "data")
    monkeypatch.setitem(sys.modules, "ir_measures", None)  # as if it were not installed
    message = place.run("--gate", "smoke", expect=2)["error"]["message"]
    assert message == "--gate: the evaluation is not installed: pip install 'domicile[eval]'"
    assert not (place.home / "data").exists()


def test_the_installed_gate_is_found_by_its_entry_point() -> None:
    assert registered_gate().__module__ == "domicile_eval.gating"  # type: ignore[attr-defined]
    for nothing in ([], [EntryPoint("eval", "not_installed.gating:open_gate", "domicile.gates")]):
        with pytest.raises(MissingExtra, match=r" is not installed: pip install 'domicile\[eval\]'"):
            registered_gate(nothing)
    two = [EntryPoint("eval", f"{name}:open_gate", "domicile.gates") for name in ("one", "another")]
    with pytest.raises(UsageError, match="several packages provide a gate"):
        registered_gate(two)
