"""``domicile eval tune`` on a real home, with the real embedder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from domicile.adapters.generations import Generations
from domicile.adapters.manifest import Manifest
from domicile.bootstrap import Home
from domicile.domain import OWNER, Collection, FusionWeights, Tuning
from domicile.errors import UsageError
from domicile_eval import cli as evaluation
from domicile_ingest import cli as ingestion

NAMES = {
    "automobile": "car", "physician": "doctor", "infant": "baby", "canine": "dog", "feline": "cat", "garbage": "trash",
    "attorney": "lawyer", "residence": "house", "currency": "money", "garments": "clothes", "bicycle": "bike",
    "spectacles": "glasses", "couch": "sofa", "rodent": "mouse", "film": "movie", "ocean": "sea", "snake": "serpent",
    "stone": "rock", "pastor": "priest", "aeroplane": "plane", "pupil": "student", "gift": "present",
    "dollars": "cash", "woods": "forest", "road": "street", "sickness": "illness", "blaze": "fire", "wages": "salary",
    "kid": "child", "monarch": "king", "tale": "story", "soil": "earth", "lad": "boy", "shop": "store",
}  # fmt: skip
"""What stands in the documents, and what the questions call it: no word in common."""
DECOY = "Doctor Doctor"


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Path:
    home = tmp_path_factory.mktemp("ingested") / "home"
    home.mkdir()
    (home / "models").symlink_to(models_dir)
    rows = [{"_id": name, "title": "", "text": f"The {name}."} for name in NAMES]
    rows.append({"_id": DECOY, "title": "", "text": f"{DECOY} is a song of the sixties."})
    source = home.parent / "things.jsonl"
    source.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    assert ingestion.main(["run", str(source), "--collection", "things", "--home", str(home)]) == 0
    return home


@pytest.fixture
def home(tmp_path: Path, ingested: Path) -> Path:
    """A home of its own with the collection in generation 1."""
    return Path(shutil.copytree(ingested, tmp_path / "home", symlinks=True))


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "suite"
    (folder / "qrels").mkdir(parents=True)
    asked = [{"_id": f"q-{name}", "text": f"Where is a {word}?"} for name, word in NAMES.items()]
    (folder / "queries.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in asked), encoding="utf-8")
    judged = "".join(f"q-{name}\t{name}\t1\n" for name in NAMES)
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", encoding="utf-8")
    return folder


def weigh(home: Path, dense: float) -> None:
    """Write a weight as the next generation."""
    with Home.open(home, {}).index_writer().change(Collection("things"), None) as change:
        change.tune(Tuning(fusion=FusionWeights(dense)))
        change.commit()


def tune(home: Path, suite: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    arguments = ["tune", "--home", str(home), "--collection", "things", "--suite", str(suite), "--json", *flags]
    assert evaluation.main(arguments) == 0
    value = json.loads(capsys.readouterr().out)
    assert isinstance(value, dict)
    return value


def manifests(home: Path) -> list[Manifest]:
    generations = Generations(home / "data" / "collections" / "things", Home.open(home, {}).hashes)
    return [generations.manifest(number) for number in generations.numbers()]


def test_a_certain_gain_becomes_a_generation_over_the_same_segments(
    home: Path, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weigh(home, 0.0)
    tried = tune(home, suite, capsys, "--dry-run")
    assert (tried["previous"], tried["generation"]) == (2, 2)
    done = tune(home, suite, capsys)
    assert done == {**tried, "generation": 3}
    fusion = done["fusion"]
    assert fusion["certain"]
    assert fusion["serving"] == 0.0 < fusion["fitted"]
    assert 0 < fusion["gain"]["low"] <= fusion["gain"]["value"]
    old, new = manifests(home)[-2:]
    assert (new.segments, new.lexical, new.files) == (old.segments, old.lexical, old.files)
    again = tune(home, suite, capsys)
    assert (again["generation"], again["fusion"]["serving"], again["fusion"]["certain"]) == (3, fusion["fitted"], False)


def test_an_uncertain_gain_is_written_only_by_force(
    home: Path, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weigh(home, 0.05)
    tried = tune(home, suite, capsys)
    assert (tried["generation"], tried["fusion"]["certain"]) == (2, False)
    assert tried["fusion"]["fitted"] != 0.05
    assert tune(home, suite, capsys, "--force") == {**tried, "generation": 3}


def test_what_it_reports_is_what_a_run_measures(home: Path, suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def ndcg() -> float:
        arguments = ["run", "--home", str(home), "--collection", "things", "--suite", str(suite), "--json"]
        assert evaluation.main(arguments) == 0
        return float(json.loads(capsys.readouterr().out)["metrics"]["ndcg@10"]["value"])

    weigh(home, 0.0)
    before = ndcg()
    assert tune(home, suite, capsys)["fusion"]["ndcg@10"]["serving"] == pytest.approx(before, abs=1e-5)
    assert ndcg() > before + 0.1


def test_the_evidence_is_fitted_beside_where_there_are_unanswerable_questions(
    home: Path, suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(home, suite, capsys, "--dry-run")["evidence"] is None
    others = tmp_path / "others.jsonl"
    asked = [{"_id": str(n), "text": f"How does law {n} tax imports of steel?"} for n in range(30)]
    others.write_text("".join(f"{json.dumps(row)}\n" for row in asked), encoding="utf-8")
    done = tune(home, suite, capsys, "--force", "--unanswerable", str(others))
    evidence = done["evidence"]
    assert evidence["unanswerable"] == 30 <= evidence["answerable"]
    written = Home.open(home, {}).indexes().pin("things", OWNER).tuning.evidence
    assert written is not None
    assert [list(point) for point in written.curve] == evidence["curve"]
    assert list(written.coefficients) == evidence["fitted"]


def test_for_people_it_says_what_was_written(home: Path, suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weigh(home, 0.0)
    arguments = ["tune", "--home", str(home), "--collection", "things", "--suite", str(suite)]
    assert evaluation.main([*arguments, "--dry-run"]) == 0
    assert capsys.readouterr().out.endswith("nothing written: a dry run\n")
    assert evaluation.main(arguments) == 0
    assert capsys.readouterr().out.endswith("generation 3 uses what is fitted\n")


def test_both_flags_at_once_are_refused(home: Path, suite: Path) -> None:
    with pytest.raises(UsageError, match="not allowed with"):
        evaluation.main(["tune", "--collection", "things", "--suite", str(suite), "--dry-run", "--force"])
