"""The gate that this checkout must pass: the sample handbook, ingested and asked with the real models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from domicile_eval import cli as evaluation
from domicile_ingest import cli as ingestion

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Path:
    """A fresh home after one ``ingest run``."""
    home = tmp_path_factory.mktemp("handbook") / "home"
    home.mkdir()
    (home / "models").symlink_to(models_dir)
    run = ["run", str(ROOT / "examples" / "handbook"), "--collection", "handbook", "--home", str(home)]
    assert ingestion.main(run) == 0
    return home


def test_the_questions_are_sound(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert evaluation.main(["lint", "--suite", "handbook", "--home", str(home), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    least = {
        "unanswerable": 60, "close_miss": 30, "two_documents": 50, "table": 30, "follow_up": 30, "residency": 50, "injection": 15,
    }  # fmt: skip
    counts = found["counts"]
    assert found["n"] >= 320
    assert {name: counts[name] for name in least if counts[name] < least[name]} == {}
    assert counts["superseded"] + counts["contradiction"] >= 40
    assert counts["injection"] + counts["poisoned"] >= 30
    assert found["own_words"] >= 0.4


def test_nothing_is_worse_than_the_baseline(home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["gate", "--suite", "handbook", "--report", str(tmp_path / "reports"), "--home", str(home), "--json"]
    code = evaluation.main(arguments)
    found = json.loads(capfd.readouterr().out)
    assert (code, found["gate"]["findings"]) == (0, [])
    assert (found["failed"], found["generated"]) == (0, 40)
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {
        "report.html", "summary.md", "run.json", "junit.xml",
    }  # fmt: skip
