"""``domicile eval`` on a real home, with the real embedder; the language model is not there, so quotes answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from domicile_eval import cli as evaluation
from domicile_eval.answer_metrics import token_f1
from domicile_ingest import cli as ingestion

DOCUMENTS = {
    "leave.md": "# Leave\n\nParental leave lasts 26 weeks. It is paid in full by the firm for the first nine weeks.\n",
    "pumps.md": "# Pumps\n\nThe pump P-40 must be checked every 12 weeks by a technician of the supplier.\n",
    "hr/salaries.md": "---\ndomicile:\n  label:\n    groups: [hr]\n---\n# Salaries\n\n"
    "The salary band of a senior engineer begins at 71000 euros a year.\n",
    "travel.md": "# Travel\n\nThe maximum price of a hotel in Europe is 165 euros per night, breakfast included.\n",
}
QUESTIONS: list[dict[str, Any]] = [
    {"id": "leave", "question": "How long does parental leave last?", "principal": "employee", "answer": "26 weeks",
     "gold": [{"document": "leave.md", "span": "Parental leave lasts 26 weeks."}], "route": "extractive"},
    {"id": "pump", "question": "How often must the pump P-40 be checked?", "principal": "employee",
     "gold": [{"document": "pumps.md", "span": "every 12 weeks"}]},
    {"id": "hotel", "question": "What is the maximum price of a hotel in Europe?", "principal": "employee",
     "gold": [{"document": "travel.md", "span": "165 euros per night"}]},
    {"id": "band", "question": "Where does the salary band of a senior engineer begin?", "principal": "hr",
     "kinds": ["access"], "gold": [{"document": "hr/salaries.md", "span": "71000 euros"}]},
    {"id": "weather", "question": "Will it rain in Lisbon tomorrow?", "principal": "employee", "kinds": ["off_corpus"],
     "abstain": True, "route": "extractive"},
]  # fmt: skip
ITEMS = [{**row, "split": "test"} for row in QUESTIONS]
FACTS = [
    {"document": uri, "split": "test", "readers": ["hr"] if uri.startswith("hr/") else [], "sinks": []}
    for uri in DOCUMENTS
]
DEFINITION = """
version = "1"
collection = "shelf"
documents = "documents.jsonl"
generated = 0
[floors]
quote_validity = 1.0
no_leak = 1.0
[principals.employee]
[principals.hr]
groups = ["hr"]
"""


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Path:
    """A home with the collection in generation 1, the embedder, and no language model; its documents beside it."""
    place = tmp_path_factory.mktemp("ingested")
    (place / "home" / "models").mkdir(parents=True)
    (place / "home" / "models" / "all-minilm-l6-v2").symlink_to(models_dir / "all-minilm-l6-v2")
    for name, text in DOCUMENTS.items():
        (place / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "source" / name).write_text(text, encoding="utf-8")
    assert ingestion.main(["run", str(place / "source"), "--collection", "shelf", "--home", str(place / "home")]) == 0
    return place


@pytest.fixture
def place(tmp_path: Path, ingested: Path) -> Path:
    shutil.copytree(ingested, tmp_path, symlinks=True, dirs_exist_ok=True)
    folder = tmp_path / "suites" / "golden" / "own"
    (folder / "items").mkdir(parents=True)
    (folder / "suite.toml").write_text(DEFINITION)
    write_rows(folder / "items" / "a.jsonl", ITEMS)
    write_rows(folder / "documents.jsonl", FACTS)
    return tmp_path


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def told(place: Path, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run a command, and return its one JSON object."""
    capsys.readouterr()
    assert evaluation.main([*arguments, "--home", str(place / "home"), "--json"]) == code
    value = json.loads(capsys.readouterr().out)
    assert isinstance(value, dict)
    return value


def suite(place: Path, *more: str) -> tuple[str, ...]:
    return ("--suite", "own", "--suites", str(place / "suites"), *more)


def accept(place: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return told(place, capsys, "baseline", *suite(place, "--accept", "--reason", "the first"))


def test_a_run_has_the_figures_of_search_and_answers(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(place, capsys, "run", *suite(place))
    assert (found["suite"], found["n"], found["generation"], found["failed"]) == ("own", 5, 1, 0)
    assert found["metrics"]["ndcg@10"]["value"] == found["metrics"]["ndcg@10"]["high"] == 1.0
    right = (
        "span_ndcg@10",
        "decided",
        "correct",
        "quote_validity",
        "citation_recall",
        "route",
        "no_leak",
        "ragas_id_recall",
    )
    assert {name: found["metrics"][name]["value"] for name in right} == dict.fromkeys(right, 1.0)
    assert found["metrics"]["false_answer"]["value"] == found["metrics"]["false_abstention"]["value"] == 0.0
    assert "kept" not in found["metrics"]
    assert "closed_book" not in found


def test_what_the_model_knows_by_heart_stands_beside_its_answers(
    place: Path, capsys: pytest.CaptureFixture[str], models_dir: Path
) -> None:
    (place / "home" / "models" / "smollm2-135m").symlink_to(models_dir / "smollm2-135m")
    (place / "suites" / "golden" / "own" / "suite.toml").write_text(
        DEFINITION.replace("generated = 0", "generated = 4")
    )
    report = place / "run.json"
    found = told(place, capsys, "run", *suite(place, "--closed-book", "--report", str(report)))
    closed = found["closed_book"]
    assert (found["generated"], closed["n"], closed["failed"]) == (4, 1, 0), "one of the four has a reference answer"
    (row,) = closed["rows"]
    assert row["item"] == "leave"
    assert row["said"]
    assert closed["model"].startswith("smollm2-135m ")
    figures = closed["metrics"]["token_f1"]
    assert figures["closed_book"]["value"] == found["metrics"]["closed_book_token_f1"]["value"]
    assert figures["closed_book"]["value"] == pytest.approx(token_f1(row["said"], "26 weeks"), abs=1e-6)
    assert figures["with_documents"]["value"] == found["metrics"]["token_f1"]["value"]
    written = {one["id"]: one["values"] for one in json.loads(report.read_text())["results"]}
    assert "closed_book_token_f1" in written["leave"]
    assert "closed_book_token_f1" not in written["pump"]
    assert not (place / "home" / "audit").exists()


def test_a_clean_run_repeats_itself(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, remembered = told(place, capsys, "run", *suite(place)), told(place, capsys, "run", *suite(place))
    shutil.rmtree(place / "home" / "cache" / "evaluation")
    again = told(place, capsys, "run", *suite(place))
    for found in (first, remembered, again):
        del found["seconds"], found["metrics"]["seconds"]
    assert first == remembered == again
    assert not list((place / "home" / "cache").glob("evaluation-*"))


def test_the_homes_own_log_and_cache_hear_nothing_of_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(place, capsys, "run", *suite(place))
    assert not (place / "home" / "audit").exists()
    assert not (place / "home" / "state" / "ledger.sqlite").exists()
    assert not (place / "home" / "cache" / "answers.sqlite").exists()


def test_a_file_of_questions_is_enough(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(place / "mine.jsonl", [{"question": "How long is parental leave?", "documents": ["leave.md"]}])
    found = told(place, capsys, "run", "--suite", str(place / "mine.jsonl"), "--collection", "shelf")
    assert found["metrics"]["r@5"]["value"] == found["metrics"]["correct"]["value"] == 1.0
    refused = told(place, capsys, "run", "--suite", str(place / "mine.jsonl"), code=2)
    assert "give --collection" in refused["error"]["message"]


def test_other_modes_search_and_answer_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(place, capsys, "run", *suite(place, "--mode", "lexical"))
    assert found["metrics"]["r@1"]["value"] == 1.0
    assert "decided" not in found["metrics"]


def test_the_gate_needs_a_baseline(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = told(place, capsys, "gate", *suite(place), code=2)
    assert "eval baseline --suite own --accept" in refused["error"]["message"]
    refused = told(place, capsys, "baseline", *suite(place, "--accept"), code=2)
    assert "--reason" in refused["error"]["message"]
    assert not (place / "suites" / "baselines").exists()


def test_what_did_not_change_passes_and_what_fell_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accept(place, capsys)
    passed = told(place, capsys, "gate", *suite(place))
    assert (passed["gate"]["passed"], passed["gate"]["lane"], passed["gate"]["findings"]) == (True, "identity", [])
    (place / "source" / "leave.md").write_text("# Leave\n\nAsk your manager about leave and holidays.\n")
    run = ["run", str(place / "source"), "--collection", "shelf", "--home", str(place / "home")]
    assert ingestion.main(run) == 0
    (place / "suites" / "golden" / "own" / "suite.toml").write_text(
        DEFINITION.replace("quote_validity", "citation_recall = 1.0\nquote_validity")
    )
    fell = told(place, capsys, "gate", *suite(place), code=5)
    assert (fell["generation"], fell["gate"]["lane"]) == (2, "change")
    assert any("floor citation_recall" in finding for finding in fell["gate"]["findings"])


def test_a_candidate_is_gated_before_it_serves(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accept(place, capsys)
    before = (place / "home" / "data" / "collections" / "shelf" / "CURRENT").read_bytes()
    (place / "source" / "hr" / "salaries.md").write_text(
        DOCUMENTS["hr/salaries.md"].replace("groups: [hr]", "groups: []")
    )
    capsys.readouterr()
    arguments = ["run", str(place / "source"), "--collection", "shelf", "--home", str(place / "home"), "--json"]
    gated = ["--gate", "own", "--suites", str(place / "suites")]
    assert ingestion.main([*arguments, *gated]) == 5
    told_so = json.loads(capsys.readouterr().out)
    assert any("no_leak" in finding for finding in told_so["gate"]["findings"])
    assert (place / "home" / "data" / "collections" / "shelf" / "CURRENT").read_bytes() == before
    (place / "source" / "hr" / "salaries.md").write_text(DOCUMENTS["hr/salaries.md"])
    (place / "source" / "new.md").write_text("# Canteen\n\nThe canteen opens at half past eleven.\n")
    assert ingestion.main([*arguments, *gated]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["generation"], report["gate"]["passed"], report["gate"]["suite"]) == (2, True, "own")
    assert report["gate"]["figures"]["no_leak"] == 1.0


def test_a_suite_of_another_collection_does_not_gate(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accept(place, capsys)
    arguments = ["run", str(place / "source"), "--collection", "other", "--home", str(place / "home"), "--json"]
    assert ingestion.main([*arguments, "--gate", "own", "--suites", str(place / "suites")]) == 2
    assert "is of collection 'shelf', not of 'other'" in capsys.readouterr().out
    assert not (place / "home" / "data" / "collections" / "other").exists()


def test_a_suite_whose_documents_are_not_there_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(place / "mine.jsonl", [{"question": "How long?", "documents": ["elsewhere.md"]}])
    refused = told(place, capsys, "run", "--suite", str(place / "mine.jsonl"), "--collection", "shelf", code=2)
    assert "'elsewhere.md', are not in collection 'shelf'" in refused["error"]["message"]


def test_a_question_that_fails_is_counted_and_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accept(place, capsys)
    long = {**ITEMS[1], "question": "pump " * 1_000}
    write_rows(place / "mine.jsonl", [{k: v for k, v in row.items() if k != "principal"} for row in (ITEMS[0], long)])
    found = told(place, capsys, "run", "--suite", str(place / "mine.jsonl"), "--collection", "shelf")
    assert (found["n"], found["failed"], list(found["failures"])) == (2, 1, ["pump"])
    assert "InvalidRequest" in found["failures"]["pump"]
    assert found["metrics"]["r@5"]["value"] == found["metrics"]["correct"]["value"] == 0.5


def test_reports_are_what_their_suffix_says(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("run.html", "run.md", "run.json", "run.xml")
    told(place, capsys, "run", *suite(place), *(flag for name in names for flag in ("--report", str(place / name))))
    assert (place / "run.html").read_text().lower().startswith("<!doctype html>")
    assert json.loads((place / "run.json").read_text())["suite"] == "own"
    assert (place / "run.html").stat().st_mode & 0o077 == 0
    refused = told(place, capsys, "run", *suite(place), "--report", str(place / "run.docx"), code=2)
    assert "run.docx" in refused["error"]["message"]


def test_two_runs_side_by_side(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = str(place / "before.json"), str(place / "after.json")
    told(place, capsys, "run", *suite(place), "--report", before)
    (place / "source" / "travel.md").unlink()
    assert ingestion.main(["run", str(place / "source"), "--collection", "shelf", "--home", str(place / "home")]) == 0
    told(place, capsys, "run", *suite(place), "--report", after)
    found = told(place, capsys, "compare", before, after)
    by_name = {change["metric"]: change for change in found["changes"]}
    assert by_name["r@5"]["before"] > by_name["r@5"]["after"]
    assert [moved["id"] for moved in found["moved"]] == ["hotel"]
    (place / "broken.json").write_text("{}")
    refused = told(place, capsys, "compare", before, str(place / "broken.json"), code=2)
    assert "broken.json: suite" in refused["error"]["message"]


def test_the_linter_names_what_is_wrong_with_its_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = told(place, capsys, "lint", *suite(place))
    assert (sound["ok"], sound["counts"]["unanswerable"], sound["faults"]) == (True, 1, [])
    items = place / "suites" / "golden" / "own" / "items" / "a.jsonl"
    write_rows(items, [{**ITEMS[0], "gold": [{"document": "leave.md", "span": "27 weeks"}]}, *ITEMS[1:]])
    found = told(place, capsys, "lint", *suite(place), code=2)
    assert any(fault.startswith(f"{items}:1: its span does not stand in leave.md") for fault in found["faults"])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"question": "What?"', "own.jsonl:2: is not JSON"),
        ('{"question": "What?"}', 'own.jsonl:2: has neither "gold"'),
        ('{"question": "What?", "documents": ["leave.md"], "principal": "boss"}', "own.jsonl:2: principal 'boss'"),
        ('{"question": "What?", "documents": ["leave.md"], "flags": {"regions": ["mars"]}}', "own.jsonl:2: flags: "),
    ],
)
def test_a_broken_row_publishes_nothing(place: Path, capsys: pytest.CaptureFixture[str], row: str, says: str) -> None:
    good = json.dumps({"question": "How long is parental leave?", "documents": ["leave.md"]})
    (place / "own.jsonl").write_text(f"{good}\n{row}\n")
    report = str(place / "run.json")
    refused = told(
        place, capsys, "run", "--suite", str(place / "own.jsonl"), "--collection", "shelf", "--report", report, code=2
    )
    assert says in refused["error"]["message"]
    assert not Path(report).exists()
