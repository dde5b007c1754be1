"""Judges over loopback and in this process: what they get, what they may not get, and what is left when they fail."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from provider import Received, RecordingProvider, recording_provider
from residency import KEYS, hashes, records, sink
from scripted_judge import APPLY, CANTEEN, LEAVE, QUESTION, verdict
from services import home_with, ingest, service_over

from domicile.bootstrap import Home
from domicile.cli import main
from domicile.domain import OWNER, Answer, Citation, Message
from domicile.errors import ConfigError, DomicileError, MissingExtra, ModelMissing, UsageError
from domicile.inquiry import AnswerRequest
from domicile.testing import HashEmbedder, ScriptedGenerator
from domicile_eval import judging
from domicile_eval.items import Gold, Item
from domicile_eval.judges import Judge, LocalJudge, SinkJudge, open_judge
from domicile_eval.judging import JudgeReport, judge_observations
from domicile_eval.ragas_suite import BY_JUDGE, NEED_REFERENCE
from domicile_eval.results import Observation

EMBEDDER = HashEmbedder()
OPEN = "{regions: [eu, local], sensitivity: internal, hosted: true, purposes: [answer, eval]}"
CLOSED = "{regions: [eu, local], sensitivity: internal, hosted: true}"
ITEM = Item("q1", QUESTION, gold=(Gold("leave.md", LEAVE),), answer="It lasts 26 weeks.")
PROSE = "I would say that the answer is quite good."
VALUES = {
    "ragas_faithfulness": 1 / 2,
    "ragas_answer_relevancy": 1.0,
    "ragas_context_precision": 1.0,
    "ragas_context_recall": 1 / 3,
    "ragas_factual_correctness": 1 / 2,
}


def paper(title: str, text: str, label: str = OPEN) -> str:
    return f"---\ndomicile:\n  label: {label}\n---\n# {title}\n\n{text}\n"


DOCUMENTS = {"leave.md": paper("Leave", f"{LEAVE} {APPLY}"), "canteen.md": paper("Canteen", CANTEEN)}


def said(received: Received) -> str:
    """The verdict on what came over the wire."""
    return verdict([Message(message["role"], message["content"]) for message in received.json["messages"]])


@pytest.fixture
def server() -> Iterator[RecordingProvider]:
    with recording_provider(said) as server:
        yield server


Make = Callable[..., Home]


@pytest.fixture
def home_of(tmp_path: Path, server: RecordingProvider) -> Make:
    def made(documents: dict[str, str] = DOCUMENTS, environment: dict[str, str] = KEYS) -> Home:
        settings = sink("strict", server.url, kind='"judge"', purposes='["eval"]') + sink("writer", server.url)
        return home_with(tmp_path, documents, settings=settings, environment=environment)

    return made


def observed(home: Home, item: Item = ITEM) -> Observation:
    """What the search and the extractive answer make of an item."""
    service = service_over(home)
    hits = service.retriever.search(item.question, "handbook", OWNER).hits
    *_, answer = service.answering.answer(AnswerRequest(item.question, "handbook", OWNER, "extractive"))
    assert isinstance(answer, Answer)
    assert not answer.abstained
    return Observation(item, hits, answer)


def judge_with(home: Home, *seen: Observation, repeats: int = 1, name: str = "strict") -> JudgeReport:
    with open_judge(home, name) as judge:
        return judge_observations(judge, EMBEDDER, seen, repeats)


def reasons(report: JudgeReport) -> set[str | None]:
    return {row.reason for row in report.rows}


def test_five_metrics_by_a_sink_and_every_call_in_the_audit_log(
    home_of: Make, server: RecordingProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    home = home_of()
    seen = observed(home)
    assert {hit.chunk.document for hit in seen.hits} == {"leave.md", "canteen.md"}
    done: list[int] = []
    with open_judge(home, "strict") as judge:
        report = judge_observations(judge, EMBEDDER, [seen], advance=done.append)
    assert done == [1]
    assert reasons(report) == {None}
    assert report.values("q1") == pytest.approx(VALUES, abs=1e-6)
    figures = report.figures()
    assert {name: figure.value for name, figure in figures.items()} == pytest.approx(VALUES, abs=1e-5)
    assert {(figure.n, figure.failed, figure.sd) for figure in figures.values()} == {(1, 0, 0.0)}

    calls = (
        2 + 1 + 2 + 1 + 4
    )  # statements, verdicts; a question; a verdict for each context; sentences; claims both ways
    assert len(server.received) == 3 * calls
    egress = records(home, "egress")
    assert sorted(record["body_sha256"] for record in egress) == sorted(hashes(server.bodies))
    assert {(record["purpose"], record["sink"], record["collection"]) for record in egress} == {
        ("eval", "strict", "handbook")
    }
    parts = {(part["kind"], part["name"]) for part in egress[0]["parts"]}
    assert parts == {
        ("ceiling", ""), ("question", ""), ("document", "leave.md"), ("document", "canteen.md"), ("answer", "")
    }  # fmt: skip
    assert {received.json["temperature"] for received in server.received} == {0}
    booked = sum(total.calls for total in home.ledger().totals(*[_today(home)] * 2) if total.sink == "strict")
    assert booked == 3 * calls

    written = json.loads(json.dumps(report.to_json(), allow_nan=False))
    pinned = {name: written[name] for name in ("judge", "version", "repeats", "temperature", "abstained")}
    assert pinned == {"judge": "strict", "version": "openai/gpt-x", "repeats": 3, "temperature": 0, "abstained": 0}
    assert written["prompts"].startswith("ragas-0.4.3+")
    assert written["metrics"]["ragas_context_recall"]["value"] == pytest.approx(1 / 3, abs=1e-5)
    assert len(written["rows"]) == 5
    assert main(["--home", str(home.path), "--json", "audit", "verify"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def _today(home: Home) -> object:
    return home.routing().clock().date()


def test_the_noise_of_a_judge_is_told(home_of: Make, server: RecordingProvider) -> None:
    turn = count()

    def fickle(received: Received) -> str:
        text = said(received)
        if '"noncommittal"' in text and next(turn) % 3 == 0:
            return text.replace('"noncommittal": 0', '"noncommittal": 1')
        return text

    server.answer = fickle
    home = home_of()
    figures = judge_with(home, observed(home), repeats=3).figures()
    noisy = figures.pop("ragas_answer_relevancy")
    assert noisy.value == pytest.approx(2 / 3, abs=1e-5)
    assert noisy.sd == pytest.approx((1 / 3) ** 0.5, abs=1e-5)  # of 0, 1, 1
    assert {figure.sd for figure in figures.values()} == {0.0}


def test_a_document_that_may_not_be_evaluated_goes_to_no_judge(home_of: Make, server: RecordingProvider) -> None:
    home = home_of(DOCUMENTS | {"canteen.md": paper("Canteen", CANTEEN, CLOSED)})
    seen = observed(home)
    assert {citation.document for citation in seen.answer.citations if seen.answer} == {"leave.md"}
    report = judge_with(home, seen)
    assert server.received == []
    assert records(home, "egress") == []
    assert reasons(report) == {"denied: purpose"}
    assert {(figure.value, figure.judged, figure.n, figure.failed) for figure in report.figures().values()} == {
        (0.0, None, 1, 1)
    }
    # and the local model may read it
    local = LocalJudge(ScriptedGenerator([PROSE]), "1")
    assert reasons(judge_observations(local, EMBEDDER, [seen], 1)) == {"no_json"}


def test_a_reference_answer_has_the_labels_of_its_documents(home_of: Make, server: RecordingProvider) -> None:
    home = home_of()
    seen = observed(home)
    held = replace(ITEM, gold=(*ITEM.gold, Gold("board.md")))
    assert reasons(judge_with(home, replace(seen, item=held))) == {
        "denied: region, storage, sensitivity, purpose, hosted"
    }
    assert server.received == []  # nobody knows what a document is that is not there
    assert reasons(judge_with(home, seen)) == {None}


def test_a_document_that_was_closed_after_the_run_goes_to_no_judge(
    home_of: Make, server: RecordingProvider, tmp_path: Path
) -> None:
    home = home_of()
    seen = observed(home)
    (tmp_path / "source" / "canteen.md").write_text(paper("Canteen", CANTEEN, CLOSED), encoding="utf-8")
    ingest(home, tmp_path / "source")
    assert reasons(judge_with(home, seen)) == {"denied: purpose"}
    (tmp_path / "source" / "canteen.md").write_text(paper("Canteen", "It is closed for good."), encoding="utf-8")
    ingest(home, tmp_path / "source")
    assert reasons(judge_with(home, seen)) == {"denied: region, storage, sensitivity, purpose, hosted"}
    assert server.received == []


def test_a_judge_that_writes_prose_is_asked_again_once_and_then_given_up(
    home_of: Make, server: RecordingProvider
) -> None:
    server.answer = PROSE
    home = home_of()
    seen = observed(home)
    many = [replace(seen, item=replace(ITEM, id=f"q{n}")) for n in range(6)]
    report = judge_with(home, *many, repeats=3)
    assert len(server.received) == 2 * 5 * judging.GIVE_UP, (
        "no second repeat of what failed, and two answers are enough"
    )
    for figure in report.figures().values():
        assert (figure.n, figure.failed, figure.value) == (6, 6, 0.0)
        assert figure.reasons == {"given_up": 6 - judging.GIVE_UP, "no_json": judging.GIVE_UP}


def test_a_judge_that_answers_now_and_then_is_not_given_up(home_of: Make, server: RecordingProvider) -> None:
    server.answer = lambda received: said(received) if '"noncommittal' in said(received) else PROSE
    home = home_of()
    seen = observed(home)
    report = judge_with(home, *(replace(seen, item=replace(ITEM, id=f"q{n}")) for n in range(5)))
    figures = report.figures()
    assert figures["ragas_answer_relevancy"].failed == 0
    assert {figure.failed for name, figure in figures.items() if name != "ragas_answer_relevancy"} == {5}
    assert "given_up" not in reasons(report)


def test_a_judge_that_hangs_is_a_timeout(home_of: Make, server: RecordingProvider) -> None:
    home = home_of()
    seen = observed(home)
    assert reasons(judge_with(home, seen)) == {None}  # loaded, and well
    server.script = ("hang",)
    began = time.monotonic()
    (strict,) = (one for one in home.sinks() if one.name == "strict")
    with closing(home.judging(0.5, 100)) as routing:
        report = judge_observations(SinkJudge(strict, routing, home.indexes()), EMBEDDER, [seen], 3)
    assert time.monotonic() - began < 5
    assert reasons(report) == {"timeout"}
    assert server.landed["hang"] == 5


def test_a_judge_without_its_secret_is_not_called(home_of: Make, server: RecordingProvider) -> None:
    home = home_of(environment={})
    assert reasons(judge_with(home, observed(home))) == {"unready"}
    assert server.received == []


@pytest.mark.parametrize("name", ["writer", "nobody"])
def test_only_what_is_declared_judges(home_of: Make, name: str) -> None:
    with pytest.raises(UsageError, match=f"no judge '{name}': there are strict, local"), open_judge(home_of(), name):
        pass


def test_a_judge_that_promises_to_redact_is_refused(tmp_path: Path, server: RecordingProvider) -> None:
    declared = sink("strict", server.url, kind='"judge"', purposes='["eval"]', redact="true")
    (tmp_path / "domicile.toml").write_text(declared, encoding="utf-8")
    with pytest.raises(ConfigError, match="redact"), open_judge(Home.open(tmp_path, KEYS), "strict"):
        pass


def test_local_needs_a_model(home_of: Make) -> None:
    with pytest.raises(ModelMissing), open_judge(home_of(), "local"):
        pass


class LocalVerdicts(ScriptedGenerator):
    """Says the verdict on each prompt."""

    def generate(self, prompt, **given):  # type: ignore[no-untyped-def]
        self.replies = [verdict(prompt.messages)]
        return super().generate(prompt, **given)


def test_five_metrics_by_the_local_port_leave_nothing_in_the_audit_log(
    home_of: Make, server: RecordingProvider
) -> None:
    home = home_of(DOCUMENTS | {"canteen.md": paper("Canteen", CANTEEN, CLOSED)})
    report = judge_observations(LocalJudge(LocalVerdicts(), "v", max_tokens=400), EMBEDDER, [observed(home)], 2)
    assert (report.judge, report.version) == ("local", "v")
    assert report.values("q1") == pytest.approx(VALUES, abs=1e-6)
    assert server.received == []
    assert records(home, "egress") == []


@pytest.mark.parametrize(
    ("generator", "reason"),
    [
        (ScriptedGenerator([PROSE]), "no_json"),
        (ScriptedGenerator(['{"statements": ["' + "word " * 400]), "no_json"),  # cut off at the most tokens
        (ScriptedGenerator([PROSE], before_token=lambda: time.sleep(0.2)), "timeout"),
        (ScriptedGenerator([MissingExtra("x", "y")]), "MissingExtra"),
        (ScriptedGenerator(state="damaged"), "ModelDamaged"),
    ],
    ids=["prose", "endless", "slow", "error", "damaged"],
)
def test_a_local_judge_that_fails_is_counted(home_of: Make, generator: ScriptedGenerator, reason: str) -> None:
    began = time.monotonic()
    report = judge_observations(LocalJudge(generator, "v", seconds=0.3), EMBEDDER, [observed(home_of())], 3)
    assert time.monotonic() - began < 8
    assert reasons(report) == {reason}
    assert {row.values for row in report.rows} == {()}


def test_the_local_model_judges_in_bounded_time(home_of: Make, models_dir: Path) -> None:
    """It is far too small to judge: what counts is that this is counted, and soon."""
    home = home_of()
    (home.path / "models").symlink_to(models_dir)
    seen = observed(home)
    with open_judge(home, "local") as judge:
        assert isinstance(judge, LocalJudge)
        assert judge.version.startswith("smollm2-135m ")
        judge._await_loaded()
        quick = LocalJudge(judge._generator, judge.version, seconds=1.0, max_tokens=16)
        began = time.monotonic()
        report = judge_observations(quick, EMBEDDER, [seen], 3)
    assert time.monotonic() - began < 30
    assert len(report.rows) == 5
    assert reasons(report) <= {"no_json", "timeout"}
    assert [part.failed for part in report.figures().values()] == [1] * 5


class Refusing:
    """A judge that nobody should ask."""

    name, version, at_once = "refusing", "1", 2

    def ask(self, messages: Sequence[Message], shown: object) -> str:
        raise AssertionError("asked")


def test_what_there_is_nothing_to_judge_of(home_of: Make) -> None:
    seen = observed(home_of())
    assert seen.answer is not None
    nothing = replace(seen.answer, abstained=True)
    judge: Judge = Refusing()
    abstained = judge_observations(judge, EMBEDDER, [replace(seen, answer=nothing)])
    assert (abstained.abstained, abstained.rows, abstained.figures()) == (1, (), {})
    lost = Observation(ITEM, (), failure="NoIntactGeneration: all of them")
    assert reasons(judge_observations(judge, EMBEDDER, [lost])) == {"no_answer"}
    bare = replace(seen, hits=())
    many = judge_observations(judge, EMBEDDER, [bare] * 5)
    assert reasons(many) == {"no_contexts"}, "that is no fault of the judge's, which is not given up"
    assert len(many.rows) == 25
    without = judge_observations(judge, EMBEDDER, [replace(bare, item=replace(ITEM, answer=None))])
    assert {row.metric for row in without.rows} == {*BY_JUDGE} - NEED_REFERENCE
    with pytest.raises(UsageError):
        judge_observations(judge, EMBEDDER, [seen], 0)


def test_what_the_answer_cites_is_among_the_contexts(home_of: Make) -> None:
    seen = observed(home_of())
    assert seen.answer is not None
    first = seen.hits[0]
    texts = [f"Passage {n} of many." for n in range(9)]
    hits = tuple(
        replace(first, rank=n, chunk=replace(first.chunk, id=f"many.md#{n}", document="many.md", text=text))
        for n, text in enumerate(texts, start=1)
    )
    cited = Citation(1, "many.md", "Many", None, "Passage 7", 0, 9, True)
    shown = judging._exhibit(replace(seen, hits=hits, answer=replace(seen.answer, citations=(cited,))))
    assert [chunk.text for chunk in shown.chunks] == [*texts[:5], texts[7]]


def test_an_error_that_nobody_foresaw_is_a_failed_row(home_of: Make) -> None:
    class Broken(Refusing):
        def ask(self, messages: Sequence[Message], shown: object) -> str:
            raise KeyError("what")

    class Failing(Refusing):
        def ask(self, messages: Sequence[Message], shown: object) -> str:
            raise DomicileError("no")

    seen = observed(home_of())
    assert reasons(judge_observations(Broken(), EMBEDDER, [seen])) == {"KeyError"}
    assert reasons(judge_observations(Failing(), EMBEDDER, [seen])) == {"DomicileError"}
