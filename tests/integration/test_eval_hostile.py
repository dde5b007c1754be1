"""``domicile eval`` and ``ingest run --gate`` with input that is broken, hostile or hand-edited, and with parts that are gone."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domicile.answering import Answering
from domicile.errors import MissingExtra
from domicile.retrieval import Retriever
from domicile_eval import cli as evaluation
from domicile_eval import runner
from domicile_eval.baselines import read_baseline, write_baseline
from domicile_eval.scratch import scratch_folder
from domicile_ingest import cli as ingestion

LEAVE, PUMP = "Parental leave lasts 26 weeks.", "The pump P-40 is checked every 12 weeks."
GOOD = {"question": "How long does parental leave last?", "documents": ["leave.md"]}
DEFINITION = 'version = "1"\ncollection = "shelf"\ngenerated = 0\n'
TOO_DEEP = "[" * 100_000


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Path:
    """A home with a collection and the embedder, without a language model."""
    place = tmp_path_factory.mktemp("hostile")
    (place / "home" / "models").mkdir(parents=True)
    (place / "home" / "models" / "all-minilm-l6-v2").symlink_to(models_dir / "all-minilm-l6-v2")
    (place / "source").mkdir()
    (place / "source" / "leave.md").write_text(f"# Leave\n\n{LEAVE}\n")
    (place / "source" / "pumps.md").write_text(f"# Pumps\n\n{PUMP}\n")
    assert ingestion.main(["run", str(place / "source"), "--collection", "shelf", "--home", str(place / "home")]) == 0
    return place


@pytest.fixture
def place(tmp_path: Path, ingested: Path) -> Path:
    shutil.copytree(ingested, tmp_path, symlinks=True, dirs_exist_ok=True)
    folder = tmp_path / "suites" / "golden" / "own"
    (folder / "items").mkdir(parents=True)
    (folder / "suite.toml").write_text(DEFINITION)
    (folder / "items" / "a.jsonl").write_text(f"{json.dumps(GOOD)}\n")
    return tmp_path


def told(place: Path, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run a command, and return its one JSON object."""
    capsys.readouterr()
    assert evaluation.main([*arguments, "--home", str(place / "home"), "--json"]) == code
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    value = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert isinstance(value, dict)
    return value


def own(place: Path, *more: str) -> tuple[str, ...]:
    return ("--suite", "own", "--suites", str(place / "suites"), *more)


def refusal(place: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    message = told(place, capsys, *arguments, code=2)["error"]["message"]
    assert isinstance(message, str)
    return message


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (TOO_DEEP, "own.jsonl:1: is not JSON: it nests too deeply"),
        ('{"question": "What?", "documents": ["\\ud800"]}', "own.jsonl:1: is not JSON: it holds half a character"),
        ("\0", "own.jsonl:1: is not JSON"),
    ],
)
def test_a_hostile_row_is_named(place: Path, capsys: pytest.CaptureFixture[str], row: str, says: str) -> None:
    (place / "own.jsonl").write_text(f"{row}\n")
    assert says in refusal(place, capsys, "run", "--suite", str(place / "own.jsonl"), "--collection", "shelf")


def test_a_file_of_another_editor_is_read(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "own.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n")
    found = told(place, capsys, "run", "--suite", str(place / "own.jsonl"), "--collection", "shelf")
    assert (found["n"], found["failed"]) == (1, 0)


@pytest.mark.parametrize("name", ["x" * 300, "/" + "y/" * 3_000])
def test_a_name_that_no_path_can_have_is_refused(place: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert "longer than a path can be" in refusal(place, capsys, "run", "--suite", name)


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ("primary = []", "suite.toml: primary: "),
        ("[floors]\ncorrect = nan", "suite.toml: floors.correct: "),
        ("[floors]\ncorrect = -inf", "suite.toml: floors.correct: "),
        ("[principals.owner]\ngroups = []", "suite.toml: principals.owner: "),
    ],
)
def test_a_definition_that_says_nothing_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], added: str, says: str
) -> None:
    (place / "suites" / "golden" / "own" / "suite.toml").write_text(f"{DEFINITION}{added}\n")
    assert says in refusal(place, capsys, "run", *own(place))


def test_a_document_noted_twice_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else a line at the end would open to everybody what a line above keeps to some."""
    folder = place / "suites" / "golden" / "own"
    (folder / "suite.toml").write_text(f'{DEFINITION}documents = "documents.jsonl"\n')
    rows = [{"document": "leave.md", "split": "test", "readers": readers} for readers in (["hr"], [])]
    (folder / "documents.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert "documents.jsonl:2: 'leave.md' is noted twice" in refusal(place, capsys, "run", *own(place))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("queries.jsonl.gz", b"no gzip"),
        ("queries.jsonl.gz", gzip.compress(os.urandom(4_000))[:200]),
        ("queries.jsonl", b"\xff\xfe"),
        ("queries.jsonl", TOO_DEEP.encode()),
        ("qrels/test.tsv", b"\xff\xfe"),
        ("qrels/test.tsv", b"1\t" + b"x" * 200_000 + b"\t1\n"),
        ("qrels/test.tsv", b"1\tleave.md\t2147483648\n"),  # the library that scores it would never end
    ],
)
def test_a_damaged_beir_folder_is_named(
    place: Path, capsys: pytest.CaptureFixture[str], name: str, data: bytes
) -> None:
    folder = place / "beir"
    (folder / "qrels").mkdir(parents=True)
    if not name.startswith("queries"):
        (folder / "queries.jsonl").write_text('{"_id": "1", "text": "How long is parental leave?"}\n')
    if not name.startswith("qrels"):
        (folder / "qrels" / "test.tsv").write_text("1\tleave.md\t1\n")
    (folder / name).write_bytes(data)
    said = refusal(place, capsys, "run", "--suite", str(folder), "--collection", "shelf")
    assert name.split("/")[-1] in said


@pytest.mark.parametrize(
    "feedback",
    ['"citations": null', '"citations": "leave.md"', '"citations": ["leave.md"]', '"documents": 5', '"documents": [[]]',
     '"documents": "leave.md"', '"documents": ["\\ud800"]'],
)  # fmt: skip
def test_feedback_of_another_shape_is_no_suite(place: Path, capsys: pytest.CaptureFixture[str], feedback: str) -> None:
    (place / "feedback.jsonl").write_text(f'{{"question": "What?", "rating": 1, {feedback}}}\n')
    said = refusal(place, capsys, "import", str(place / "feedback.jsonl"), "--out", str(place / "out.jsonl"))
    assert "feedback.jsonl:1: " in said
    assert not (place / "out.jsonl").exists()


@pytest.mark.parametrize("text", ["", TOO_DEEP, "[]", '{"suite": "own"}'])
def test_a_damaged_run_or_baseline_is_named(place: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (place / "run.json").write_text(text)
    assert "run.json: " in refusal(place, capsys, "compare", str(place / "run.json"), str(place / "run.json"))
    (place / "suites" / "baselines").mkdir()
    (place / "suites" / "baselines" / "own.json").write_text(text)
    assert "own.json: " in refusal(place, capsys, "gate", *own(place))


@pytest.mark.parametrize("value", ["NaN", "1e308", "-5"])
def test_a_value_written_by_hand_is_no_figure(place: Path, capsys: pytest.CaptureFixture[str], value: str) -> None:
    told(place, capsys, "run", *own(place, "--report", str(place / "run.json")))
    told(place, capsys, "compare", str(place / "run.json"), str(place / "run.json"))
    told(place, capsys, "baseline", *own(place, "--accept", "--reason", "the first"))
    for path in (place / "run.json", place / "suites" / "baselines" / "own.json"):
        head, values, rest = path.read_text().rpartition('"ndcg@10": 1.0')
        assert values
        path.write_text(f'{head}"ndcg@10": {value}{rest}')
    assert "ndcg@10" in refusal(place, capsys, "compare", str(place / "run.json"), str(place / "run.json"))
    assert "ndcg@10" in refusal(place, capsys, "gate", *own(place))


def test_a_number_of_thousands_of_digits_is_no_generation(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(place, capsys, "compare", "--collection", "shelf", "9" * 5_000, "1")
    assert "give its number" in said


def test_a_row_does_not_steer_the_terminal(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = {"id": "\x1b]0;gone\x07", "question": "pump " * 1_000, "documents": ["leave.md"]}
    (place / "own.jsonl").write_text(f"{json.dumps(hostile)}\n{json.dumps(GOOD)}\n")
    suite = ["--suite", str(place / "own.jsonl"), "--collection", "shelf", "--home", str(place / "home")]
    assert evaluation.main(["run", *suite]) == 0
    shown = capsys.readouterr()
    assert "]0;gone" in shown.err
    assert "\x1b" not in shown.err + shown.out


def test_a_question_that_failed_is_right_in_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failing = {**GOOD, "id": "long", "question": "pump " * 1_000, "kinds": ["poisoned"], "route": "extractive"}
    (place / "own.jsonl").write_text(f"{json.dumps(failing)}\n")
    found = told(place, capsys, "run", "--suite", str(place / "own.jsonl"), "--collection", "shelf")
    judged = ("decided", "quote_validity", "route", "unharmed", "unfooled", "citation_precision", "ndcg@10")
    assert found["failed"] == 1
    assert {name: found["metrics"][name]["value"] for name in judged} == dict.fromkeys(judged, 0.0)
    assert found["metrics"]["false_abstention"]["value"] == 1.0


SECRET = "the words of a document"
OTHER = {
    "id": "pump",
    "question": "How often is the pump P-40 checked?",
    "documents": ["pumps.md"],
    "answer": "12 weeks",
}


def search_of_one(patch: pytest.MonkeyPatch, fault: Exception, landed: list[str]) -> None:
    sound = Retriever.search

    def broken(retriever: Retriever, query: str, *given: Any, **named: Any) -> Any:
        if "pump" in query:
            landed.append(query)
            raise fault
        return sound(retriever, query, *given, **named)

    patch.setattr(Retriever, "search", broken)


def answer_of_one(patch: pytest.MonkeyPatch, fault: Exception, landed: list[str]) -> None:
    sound = Answering.answer

    def broken(answering: Answering, request: Any, *given: Any) -> Any:
        if "pump" in request.question:
            landed.append(request.question)
            raise fault
        return sound(answering, request, *given)

    patch.setattr(Answering, "answer", broken)


def text_of_one(patch: pytest.MonkeyPatch, fault: Exception, landed: list[str]) -> None:
    """The document cannot be read once the answer is there and is to be judged."""
    sound = runner.locate

    def broken(gold: Any, texts: Any) -> Any:
        if gold[0].document == "pumps.md" and texts("pumps.md") is not None:
            landed.append("pumps.md")
            raise fault
        return sound(gold, texts)

    patch.setattr(runner, "locate", broken)


@pytest.mark.parametrize(
    ("plant", "fault"),
    [(search_of_one, ValueError(SECRET)), (answer_of_one, OSError(5, SECRET)), (text_of_one, KeyError(SECRET))],
)
def test_one_question_that_breaks_something_costs_one_question(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch, Exception, list[str]], None],
    fault: Exception,
) -> None:
    items = place / "suites" / "golden" / "own" / "items" / "a.jsonl"
    items.write_text(f"{json.dumps(OTHER)}\n{json.dumps({**GOOD, 'id': 'leave'})}\n")
    sound = told(place, capsys, "run", *own(place))
    assert (sound["failed"], sound["metrics"]["correct"]["value"]) == (0, 1.0)
    told(place, capsys, "baseline", *own(place, "--accept", "--reason", "the first"))
    assert told(place, capsys, "gate", *own(place))["gate"]["passed"]

    landed: list[str] = []
    plant(monkeypatch, fault, landed)
    assert evaluation.main(["run", *own(place), "--home", str(place / "home"), "--json"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert landed
    assert (found["n"], found["failed"], list(found["failures"])) == (2, 1, ["pump"])
    assert found["failures"]["pump"].startswith(f"{type(fault).__name__} in test_eval_hostile.py, line ")
    assert f"failed: pump: {type(fault).__name__}" in shown.err
    assert SECRET not in shown.err + shown.out
    judged = ("ndcg@10", "decided", "correct", "quote_validity", "citation_precision", "held")
    assert {name: found["metrics"][name]["value"] for name in judged} == dict.fromkeys(judged, 0.5)
    assert found["metrics"]["token_f1"]["value"] == 0.0
    assert found["metrics"]["false_abstention"]["value"] == 0.5
    verdict = told(place, capsys, "gate", *own(place), code=5)["gate"]
    assert "1 question failed: pump" in verdict["findings"]


def test_a_question_that_breaks_a_search_without_answers_is_counted_too(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    items = place / "suites" / "golden" / "own" / "items" / "a.jsonl"
    items.write_text(f"{json.dumps(OTHER)}\n{json.dumps({**GOOD, 'id': 'leave'})}\n")
    assert told(place, capsys, "run", *own(place, "--mode", "lexical"))["metrics"]["r@5"]["value"] == 1.0
    landed: list[str] = []
    search_of_one(monkeypatch, ValueError(SECRET), landed)
    found = told(place, capsys, "run", *own(place, "--mode", "lexical"))
    assert landed
    assert (found["n"], found["failed"], list(found["failures"])) == (2, 1, ["pump"])
    assert found["metrics"]["r@5"]["value"] == found["metrics"]["ndcg@10"]["value"] == 0.5


@pytest.mark.parametrize("mode", ["hybrid", "lexical"])
@pytest.mark.parametrize("end", [MemoryError, MissingExtra])
def test_what_no_question_is_to_blame_for_ends_the_run(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mode: str, end: type[Exception]
) -> None:
    (place / "suites" / "golden" / "own" / "items" / "b.jsonl").write_text(f"{json.dumps(OTHER)}\n")
    fault, landed = end("eval", "ragas"), []  # type: ignore[var-annotated]
    search_of_one(monkeypatch, fault, landed)
    if end is MissingExtra:
        assert "eval" in refusal(place, capsys, "run", *own(place, "--mode", mode))
    else:
        with pytest.raises(MemoryError):
            evaluation.main(["run", *own(place, "--mode", mode), "--home", str(place / "home")])
    assert len(landed) == 1


def test_an_interrupted_run_ends(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: Any, **named: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Answering, "answer", interrupted)
    assert told(place, capsys, "run", *own(place), code=130)["error"]["type"] == "Interrupted"


def test_a_run_in_which_all_failed_is_no_baseline(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = place / "suites" / "golden" / "own" / "items" / "a.jsonl"
    items.write_text(f"{json.dumps({**GOOD, 'question': 'pump ' * 1_000})}\n")
    said = refusal(place, capsys, "baseline", *own(place, "--accept", "--reason", "the first"))
    assert "every question failed" in said
    assert not (place / "suites" / "baselines").exists()


def test_a_candidate_without_the_documents_of_its_suite_falls(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(place, capsys, "baseline", *own(place, "--accept", "--reason", "the first"))
    current = place / "home" / "data" / "collections" / "shelf" / "CURRENT"
    before = current.read_bytes()
    (place / "source" / "leave.md").unlink()
    arguments = ["run", str(place / "source"), "--collection", "shelf", "--home", str(place / "home"), "--json"]
    assert ingestion.main([*arguments, "--gate", "own", "--suites", str(place / "suites")]) == 5
    assert not json.loads(capsys.readouterr().out)["gate"]["passed"]
    assert current.read_bytes() == before


def test_other_questions_than_the_baselines_are_refused_before_they_are_asked(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(place, capsys, "baseline", *own(place, "--accept", "--reason", "the first"))
    (place / "suites" / "golden" / "own" / "items" / "b.jsonl").write_text(f"{json.dumps(GOOD)}\n")
    (place / "home" / "models" / "all-minilm-l6-v2").unlink()  # nothing can be asked any more
    assert "changed since the baseline" in refusal(place, capsys, "gate", *own(place))


def test_a_language_model_that_is_gone_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is none in this home, so that the one answer that it was asked for is made of quotes."""
    (place / "suites" / "golden" / "own" / "suite.toml").write_text(
        DEFINITION.replace("generated = 0", "generated = 1")
    )
    found = told(place, capsys, "run", *own(place))
    assert found["metrics"]["kept"]["value"] == 0.0
    assert found["settings"]["answers by"] == "quotes alone"
    assert any("did not write the answer" in note for note in found["notes"])
    told(place, capsys, "baseline", *own(place, "--accept", "--reason", "without a language model"))
    assert told(place, capsys, "gate", *own(place))["gate"]["passed"]
    path = place / "suites" / "baselines" / "own.json"
    baseline = read_baseline(path, "own")
    write_baseline(path, replace(baseline, settings={**baseline.settings, "answers by": "the language model"}))
    findings = told(place, capsys, "gate", *own(place), code=5)["gate"]["findings"]
    assert any("wrote none now" in finding for finding in findings)


def test_a_report_that_cannot_be_written_hides_no_verdict(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() == 0 and not Path("/proc/self/attr").is_dir():
        pytest.skip("there is no place here that root may not write")
    target = "/proc/self/attr/report.html"
    found = told(place, capsys, "run", *own(place, "--report", target), code=1)
    assert found["metrics"]["ndcg@10"]["value"] == 1.0
    told(place, capsys, "baseline", *own(place, "--accept", "--reason", "the first"))
    assert told(place, capsys, "gate", *own(place, "--report", target), code=1)["gate"]["passed"]
    (place / "suites" / "golden" / "own" / "suite.toml").write_text(f"{DEFINITION}[floors]\ntoken_f1 = 1.0\n")
    assert not told(place, capsys, "gate", *own(place, "--report", target), code=5)["gate"]["passed"]


def test_figures_outlive_a_vector_cache_that_cannot_be_written(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "home" / "cache").mkdir(exist_ok=True)
    (place / "home" / "cache" / "evaluation").write_text("a file in its place")
    assert told(place, capsys, "run", *own(place))["metrics"]["ndcg@10"]["value"] == 1.0


@pytest.mark.parametrize(
    "flags", [("--repeats", "0"), ("--mode", "lexical", "--judge", "local"), ("--mode", "dense", "--closed-book")]
)
def test_what_cannot_be_judged_is_refused_before_it_is_asked(
    place: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    assert refusal(place, capsys, "run", *own(place, *flags)).startswith(
        ("--repeats: ", "--judge: ", "--closed-book: ")
    )


def test_a_language_model_that_is_gone_is_said_before_it_is_asked_without_documents(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "smollm2-135m" in refusal(place, capsys, "run", *own(place, "--closed-book"))


def test_what_a_killed_evaluation_left_goes_with_the_next(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from domicile_eval.scratch import scratch_folder\n"
        "with scratch_folder(Path(sys.argv[1])) as made:\n"
        "    (made / 'text').write_text('of documents'); print('there', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    with scratch_folder(tmp_path) as own_folder:  # beside one that is alive
        assert len(list(tmp_path.glob("evaluation-*/text"))) == 1
        assert own_folder.stat().st_mode & 0o077 == 0
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    assert len(list(tmp_path.glob("evaluation-*/text"))) == 1
    with scratch_folder(tmp_path) as own_folder:
        assert list(tmp_path.iterdir()) == [own_folder]
    assert not list(tmp_path.iterdir())
