"""The gate on damaged systems: what is worse is stopped, what is not worse passes. ``-s`` prints what found each plant.

All goes the way that it goes in production: a suite is asked of a real generation through the use cases, and compared with
the baseline that the healthy system made. Candidates are gated on their way to become current.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path

import pytest
from gate.answer_plants import OtherJudge
from gate.healthy import COLLECTION, Healthy, Put, Trial
from gate.plants import PLANTS, Plant
from processes import DOMICILE

from domicile.console import Console
from domicile.ports import NewChunk
from domicile_eval.baselines import accepted
from domicile_eval.gating import decide, open_with_baseline
from domicile_eval.measuring import Options, measure
from domicile_eval.results import Run
from domicile_eval.suites import Suite, open_suite
from domicile_ingest import cli as ingestion

DROPPED = 0.05
UNRELATED = (
    "The lighthouse keeper of Skomvaer wound the clockwork of the lens every four hours.",
    "In winter the supply boat came once a month, with paraffin, flour and letters.",
)


@dataclass(slots=True)
class Table:
    """What became of every plant."""

    rows: list[tuple[str, ...]] = field(default_factory=list)
    stopped: dict[str, bool] = field(default_factory=dict)

    def add(self, name: str, suite: str, trial: Trial) -> None:
        falls = [
            f"{one.metric} {one.difference.value:+.3f}"
            for one in trial.verdict.changes
            if one.metric in ("ndcg@10", "correct", "current", "kept", "no_leak", "route", "quote_validity")
            and one.difference.value
        ]
        first = next(iter((*trial.figures, *trial.verdict.findings)), "nothing")
        self.stopped[name] = not trial.verdict.passed
        self.rows.append(
            (name, suite, trial.verdict.lane, "yes" if trial.figures else "no", ", ".join(falls) or "-", first)
        )


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    made = Table()
    yield made
    print("\n\n| plant | suite | lane | figures alone | fall | first finding |\n|---|---|---|---|---|---|")
    for row in made.rows:
        print(f"| {' | '.join(row)} |")


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_planted_regression_is_stopped(
    healthy: Healthy, table: Table, monkeypatch: pytest.MonkeyPatch, plant: Plant, tmp_path: Path
) -> None:
    base = healthy.copied(tmp_path / "home")
    trial = base.ask(plant.grow(base, monkeypatch), plant.suite)
    table.add(plant.name, plant.suite, trial)
    assert trial.verdict.passed is not plant.caught
    assert trial.published in (None, not plant.caught)
    assert bool(trial.figures) or not plant.figures


def test_a_missing_twentieth_of_the_documents_is_stopped_by_the_command(
    healthy: Healthy, table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = healthy.copied(tmp_path / "home")
    source = tmp_path / "source"
    files = sorted(path for path in healthy.source.rglob("*") if path.is_file() and path.suffix != ".toml")
    gone = frozenset(random.Random(1).sample(files, ceil(DROPPED * len(files))))
    assert len(gone) == 3
    for path in healthy.source.rglob("*"):
        if path.is_file() and path not in gone:
            target = source / path.relative_to(healthy.source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    arguments = ["run", str(source), "--collection", COLLECTION, "--home", str(base.home.path), "--json"]
    assert ingestion.main([*arguments, "--gate", "found", "--suites", str(healthy.suites)]) == 5
    said = json.loads(capsys.readouterr().out)
    assert (said["generation"], said["gate"]["passed"], said["gate"]["lane"]) == (1, False, "change")
    table.stopped["a twentieth of the documents is missing"] = True
    assert base.home.indexes().generation(COLLECTION) == 1


def test_another_judge_is_stopped(healthy: Healthy, table: Table) -> None:
    suite = open_suite("answered", healthy.suites)
    suite = replace(suite, items=suite.items[:4], floors={})
    runs = [_judged(healthy, suite, version) for version in ("1", "1", "2")]
    first = accepted(runs[0], "what the first judge says")
    same, other = (decide(suite, first, run) for run in runs[1:])
    assert same.passed
    table.stopped["another judge"] = not other.passed
    assert [finding.split(":")[0] for finding in other.findings] == ["the judge is judge 2, and was judge 1"]


def _judged(healthy: Healthy, suite: Suite, version: str) -> Run:
    console = Console(healthy.home.path, False, {})
    return measure(healthy.home, suite, healthy.index, console, Options(judge=OtherJudge(version))).run


def test_nineteen_in_twenty_are_stopped(table: Table) -> None:
    if len(table.stopped) < len(PLANTS) + 2:
        pytest.skip("not all of them were planted in this run")
    assert len(table.stopped) >= 22
    assert sum(table.stopped.values()) >= 0.95 * len(table.stopped)


def test_the_figures_alone_find_what_the_change_lane_finds(healthy: Healthy, monkeypatch: pytest.MonkeyPatch) -> None:
    """``Trial.figures`` is what the tests above take for the change lane."""
    plant = next(one for one in PLANTS if one.name == "three candidates")
    variant = plant.grow(healthy, monkeypatch)
    trial = healthy.ask(variant, plant.suite)
    suite, baseline = open_with_baseline(plant.suite, healthy.suites)
    run = measure(variant.home, suite, variant.index, Console(healthy.home.path, False, {}), Options()).run
    verdict = decide(suite, replace(baseline, fingerprint={}), run)
    assert (trial.verdict.lane, verdict.lane) == ("identity", "change")
    assert list(verdict.findings) == trial.figures != []


# Controls


@pytest.mark.parametrize("suite", ["answered", "guarded"])
def test_the_healthy_system_passes_once_more(healthy: Healthy, tmp_path: Path, suite: str) -> None:
    anew = healthy.copied(tmp_path / "home")
    trial = anew.ask(anew.variant, suite)
    assert (trial.verdict.lane, trial.verdict.findings) == ("identity", ())


def test_the_healthy_system_passes_in_a_process_of_its_own(healthy: Healthy, tmp_path: Path) -> None:
    """With the embedder as it is shipped, nothing remembered, and the command that operators use."""
    anew = healthy.copied(tmp_path / "home")
    flags = ["--suite", "found", "--suites", healthy.suites, "--home", anew.home.path, "--json"]
    done = subprocess.run([DOMICILE, "eval", "gate", *flags], capture_output=True, text=True, check=False)
    said = json.loads(done.stdout)
    assert (done.returncode, said["gate"]["lane"], said["gate"]["findings"]) == (0, "identity", [])


def the_same_documents_in_another_order(healthy: Healthy) -> list[Put]:
    return healthy.puts()[::-1]


def an_unrelated_document_more(healthy: Healthy) -> list[Put]:
    puts = healthy.puts()
    text = "\n\n".join(UNRELATED)
    chunks = [
        NewChunk((), None, text.index(one), text.index(one) + len(one), one, "", f"Lighthouses\n{one}")
        for one in UNRELATED
    ]
    document = replace(puts[0].document, uri="other/lighthouses.md", title="Lighthouses", text=text, digest="new")
    vectors = healthy.embedder().embed([chunk.indexed for chunk in chunks], "document")
    return [*puts, Put(document, "new", chunks, vectors)]


@pytest.mark.parametrize(
    ("change", "lane"),
    [(the_same_documents_in_another_order, "identity"), (an_unrelated_document_more, "change")],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_a_harmless_change_passes(
    healthy: Healthy, tmp_path: Path, change: Callable[[Healthy], list[Put]], lane: str
) -> None:
    anew = healthy.copied(tmp_path / "home")
    trial = anew.ask(replace(anew.variant, candidate=change(anew)), "found")
    assert (trial.verdict.lane, trial.verdict.findings, trial.published) == (lane, (), True)
