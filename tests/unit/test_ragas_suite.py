"""RAGAS behind its fence: the values are the library's own, what goes wrong is counted, and nobody else is told."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted_judge import APPLY, CANTEEN, LEAVE, verdict

from domicile.adapters.sentencex import SentencexSplitter
from domicile.domain import Answer, Chunk, Citation, Decision, Hit, Label, Message, Sensitivity
from domicile.errors import MissingExtra
from domicile.testing import HashEmbedder
from domicile_eval import ragas_suite
from domicile_eval.items import Gold, Item
from domicile_eval.ragas_suite import BY_JUDGE, JudgedTexts, NoVerdict, judged, prompts_version, score_without_llm
from domicile_eval.results import Observation

TEXTS = JudgedTexts("How long is parental leave?", LEAVE, (f"{LEAVE} {APPLY}", CANTEEN), "It lasts 26 weeks.")
SPLITTER = SentencexSplitter()
LABEL = Label(
    frozenset({"de"}), Sensitivity.INTERNAL, True, 0, frozenset(), frozenset({"answer", "eval"}), None
)  # fmt: skip
IDS = ("ragas_id_precision", "ragas_id_recall")
WORDS = ("ragas_text_recall", "ragas_text_precision")


def hit(rank: int, document: str, text: str) -> Hit:
    return Hit(rank, 1.0, Chunk(f"{document}#{rank}", document, document, (), None, 0, len(text), text, LABEL))


def hits(*found: tuple[str, str]) -> tuple[Hit, ...]:
    return tuple(hit(rank, document, text) for rank, (document, text) in enumerate(found, start=1))


def answered(text: str, *, abstained: bool = False) -> Answer:
    cited = () if abstained else (Citation(1, "leave.md", "Leave", None, LEAVE, 0, len(LEAVE), True),)
    decision = Decision("extractive", None, None, None, None if abstained else LABEL)
    return Answer(text, abstained, "extractive", "handbook", 1, cited, decision)


FOUND = hits(("leave.md", f"{LEAVE} {APPLY}"), ("canteen.md", CANTEEN), ("leave.md", "Leave is a right."))
ITEM = Item("q1", TEXTS.question, gold=(Gold("leave.md", LEAVE), Gold("hr.md", "Ask the office.")), answer=LEAVE)
SEEN = Observation(ITEM, FOUND, answered(f"{LEAVE} [1]\n\n> {LEAVE} [1]"))


def test_values_by_hand() -> None:
    scores = score_without_llm(SEEN, SPLITTER)
    assert scores.failures == {}
    assert scores.values == pytest.approx(
        {
            "ragas_id_precision": 1 / 2,  # leave.md of leave.md, canteen.md
            "ragas_id_recall": 1 / 2,  # leave.md of leave.md, hr.md
            "ragas_text_recall": 1 / 2,  # one of two gold sentences
            "ragas_text_precision": 1.0,  # the first of four sentences is right, and what comes after costs nothing
            "ragas_similarity": 1.0,
        },
        abs=1e-6,
    )


CASES = [
    SEEN,
    Observation(ITEM, FOUND[1:], answered("Leave lasts half a year. [1]")),
    Observation(ITEM, hits(*((f"{n}.md", f"{CANTEEN} {n}.") for n in range(9)), ("hr.md", "Ask the office."))),
    Observation(
        Item("q2", "?", gold=(Gold("a.md", f"{CANTEEN} {APPLY}"), Gold("a.md")), answer="At half past eleven."),
        hits(("a.md", f"{CANTEEN[:30]} {APPLY}"), ("b.md", LEAVE)),
        answered(CANTEEN),
    ),
]


@pytest.mark.parametrize("seen", CASES, ids=range(len(CASES)))
def test_values_are_those_of_ragas_itself(seen: Observation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ragas._analytics import get_userid

    get_userid.cache_clear()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    scores = score_without_llm(seen, SPLITTER)
    assert scores.failures == {}
    assert not list(tmp_path.iterdir())
    theirs = {name: _by_ragas(name, seen) for name in scores.values}
    assert (tmp_path / "ragas" / "uuid.json").exists(), "what the library's own way leaves behind, and ours does not"
    assert scores.values == pytest.approx(theirs, abs=1e-6)
    assert {*IDS, *WORDS} <= scores.values.keys()
    assert ("ragas_similarity" in scores.values) == (seen.answer is not None)


def _by_ragas(name: str, seen: Observation) -> float:
    """The library's documented way, with a sample that is made here."""
    from ragas import SingleTurnSample
    from ragas.metrics._context_precision import IDBasedContextPrecision, NonLLMContextPrecisionWithReference
    from ragas.metrics._context_recall import IDBasedContextRecall, NonLLMContextRecall
    from ragas.metrics._string import NonLLMStringSimilarity

    metric: Any = {
        "ragas_id_precision": IDBasedContextPrecision,
        "ragas_id_recall": IDBasedContextRecall,
        "ragas_text_recall": NonLLMContextRecall,
        "ragas_text_precision": NonLLMContextPrecisionWithReference,
        "ragas_similarity": NonLLMStringSimilarity,
    }[name]()
    first: list[str] = []
    for one in seen.hits:
        if one.chunk.document not in first and len(first) < 5:
            first.append(one.chunk.document)
    said = "" if seen.answer is None else seen.answer.answer.split(" [1]")[0]
    sample = SingleTurnSample(
        response=said,
        reference=seen.item.answer,
        retrieved_contexts=_sentences([one.chunk.text for one in seen.hits[:5]]),
        reference_contexts=_sentences([gold.span for gold in seen.item.gold if gold.span]),
        retrieved_context_ids=first,
        reference_context_ids=[gold.document for gold in seen.item.gold],
    )
    return float(asyncio.run(metric.single_turn_ascore(sample)))


def _sentences(texts: Sequence[str]) -> list[str]:
    return [piece.strip() + "." for text in texts for piece in text.split(".") if piece.strip()]


def test_what_does_not_apply_is_not_there() -> None:
    assert score_without_llm(Observation(Item("q", "?", abstain=True), FOUND), SPLITTER).values == {}
    by_document = score_without_llm(Observation(Item("q", "?", gold=(Gold("leave.md"),)), FOUND), SPLITTER)
    assert by_document.values.keys() == set(IDS)


def test_what_fails_is_worth_nothing_and_is_counted() -> None:
    lost = score_without_llm(Observation(ITEM, (), failure="NoIntactGeneration: all of them"), SPLITTER)
    assert lost.values == dict.fromkeys((*IDS, *WORDS, "ragas_similarity"), 0.0)
    assert lost.failures == {
        "ragas_id_precision": "not_a_number",  # RAGAS divides by the number of documents
        "ragas_text_recall": "ValueError",  # RAGAS looks for the largest of no similarities
    }
    withheld = Observation(ITEM, FOUND, answered("I found no evidence.", abstained=True))
    assert score_without_llm(withheld, SPLITTER).values["ragas_similarity"] == 0.0


def test_a_text_that_is_too_long_is_not_compared() -> None:
    long = Observation(Item("q", "?", gold=ITEM.gold, answer="x" * 2_000_000), FOUND, SEEN.answer)
    began = time.monotonic()
    scores = score_without_llm(long, SPLITTER)
    assert time.monotonic() - began < 2
    assert scores.failures == {"ragas_similarity": "too_long"}
    assert scores.values["ragas_similarity"] == 0.0


def test_a_handbook_of_questions_takes_seconds() -> None:
    score_without_llm(SEEN, SPLITTER)
    long = hits(*((f"{n}.md", " ".join(f"{LEAVE[:-1]} {n} {m}." for m in range(12))) for n in range(100)))
    began = time.process_time()
    for _ in range(50):
        score_without_llm(Observation(ITEM, long, SEEN.answer), SPLITTER)
    assert (time.process_time() - began) / 50 * 350 < 20


def by_judge(metric: str, ask: Callable[[Sequence[Message]], str] = verdict, texts: JudgedTexts = TEXTS) -> float:
    return judged(metric, texts, ask, HashEmbedder())


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("ragas_faithfulness", 1 / 2),  # one of two statements
        ("ragas_answer_relevancy", 1.0),  # the question that was made of the answer is the one that was asked
        ("ragas_context_precision", 1.0),  # the first context is useful, the second is not
        ("ragas_context_recall", 1 / 3),  # one of three sentences
        ("ragas_factual_correctness", 1 / 2),  # one true, one false and one missing claim
    ],
)
def test_judged_values_by_hand(metric: str, value: float) -> None:
    assert by_judge(metric) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("verdict", ["2", "-1", "0.5", '"useful"'])
def test_a_verdict_is_yes_or_no(verdict: str) -> None:
    assert by_judge("ragas_context_precision", lambda _: '{"reason": "useful", "verdict": 1}') == pytest.approx(1.0)
    with pytest.raises(NoVerdict, match="no_json"):
        by_judge("ragas_context_precision", lambda _: f'{{"reason": "useful", "verdict": {verdict}}}')


def test_prose_is_mended_once_and_no_more() -> None:
    asked: list[Sequence[Message]] = []

    def at_last(messages: Sequence[Message]) -> str:
        asked.append(messages)
        return "Of course! It is useful." if len(asked) % 2 else f"```json\n{verdict(messages)}\n```"

    assert by_judge("ragas_context_precision", at_last) == pytest.approx(1.0)
    assert len(asked) == 4  # two contexts, each asked about twice
    first, second = asked[:2]
    assert [message.role for message in second] == ["system", "user", "assistant", "user"]
    assert second[:2] == first
    assert second[2].content == "Of course! It is useful."
    assert '"verdict"' in second[3].content

    def never(messages: Sequence[Message]) -> str:
        asked.append(messages)
        return "I am sure that it is {useful}."

    asked.clear()
    for metric in BY_JUDGE:
        with pytest.raises(NoVerdict) as caught:
            by_judge(metric, never)
        assert caught.value.reason == "no_json"
    assert len(asked) == 2 * len(BY_JUDGE)


def test_nothing_to_judge_is_no_verdict_and_nobody_is_asked() -> None:
    def refuse(messages: Sequence[Message]) -> str:
        raise AssertionError

    for texts, reason in (
        (JudgedTexts("?", "a", ()), "no_contexts"),
        (JudgedTexts("?", " ", ("c",)), "no_answer"),
        (JudgedTexts("?", "a", ("c",)), "no_reference"),
        (JudgedTexts("?", "a", ("c" * 200_000,), "r"), "too_long"),
    ):
        with pytest.raises(NoVerdict) as caught:
            by_judge("ragas_context_recall", refuse, texts)
        assert caught.value.reason == reason


def test_no_statements_are_not_a_number_and_no_value() -> None:
    with pytest.raises(NoVerdict) as caught:
        by_judge("ragas_faithfulness", lambda messages: '{"statements": []}')
    assert caught.value.reason == "not_a_number"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused_and_the_rest_is_clipped(value: float) -> None:
    with pytest.raises(NoVerdict):
        ragas_suite._checked(value)
    assert ragas_suite._checked(1.0000000000000002) == 1.0
    assert ragas_suite._checked(-1e-9) == 0.0


def test_the_library_can_be_imported_as_it_is_pinned() -> None:
    import ragas

    assert ragas.__version__ == "0.4.3"
    assert prompts_version().startswith("ragas-0.4.3+")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ragas_suite, "_MODULES", ("ragas", "no_such_module_here"))
    ragas_suite.load_ragas.cache_clear()
    with pytest.raises(MissingExtra, match=r"no_such_module_here is not installed: pip install 'domicile\[eval\]'"):
        ragas_suite.load_ragas()
    monkeypatch.undo()
    ragas_suite.load_ragas()


QUIET = """
import os, sys, pathlib
os.environ.update(RAGAS_DO_NOT_TRACK="false", LANGSMITH_TRACING="true", LANGSMITH_API_KEY="k",
                  LANGCHAIN_TRACING_V2="true", LANGCHAIN_API_KEY="k", HOME=sys.argv[1], XDG_DATA_HOME=sys.argv[1])
from domicile.adapters.socket_guard import ConnectionStopped, install_socket_guard
guard = install_socket_guard()
from unit.test_ragas_suite import BY_JUDGE, SEEN, SPLITTER, by_judge
from domicile_eval.ragas_suite import score_without_llm
for _ in range(60):  # RAGAS posts every 50 events
    assert not score_without_llm(SEEN, SPLITTER).failures
for metric in ("ragas_faithfulness", "ragas_answer_relevancy", "ragas_context_precision", "ragas_factual_correctness"):
    by_judge(metric)
import ragas._analytics as analytics
assert analytics.do_not_track()
analytics._analytics_batcher.flush()
assert not analytics._analytics_batcher.buffer
assert guard.stopped == 0, guard.stopped
assert not any(pathlib.Path(sys.argv[1]).rglob("*")), list(pathlib.Path(sys.argv[1]).rglob("*"))
assert "litellm" not in sys.modules  # and so nothing of it was set
import socket
try:
    socket.getaddrinfo("t.explodinggradients.com", 443)
except ConnectionStopped:
    pass
assert guard.stopped == 1
print("quiet")
"""


def test_nobody_is_told(tmp_path: Path) -> None:
    """In a process of its own, with every invitation to tell somebody: no look-up, no connection, no file, no callback."""
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-P", "-c", QUIET, str(tmp_path)],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": tests},
        timeout=120,
    )
    assert done.stdout.strip() == "quiet", done.stderr
