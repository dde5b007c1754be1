"""What a language model says without documents, and what these add."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from domicile.domain import Answer, Decision
from domicile.errors import DomicileError
from domicile.testing import ScriptedGenerator
from domicile_eval.closed_book import ClosedBook, ask_closed_book
from domicile_eval.items import Gold, Item
from domicile_eval.results import Observation, Result

GOLD = (Gold("leave.md", "Parental leave lasts 26 weeks."),)
LEAVE = Item("leave", "How long does leave last?", gold=GOLD, answer="26 weeks")
PUMP = Item("pump", "How often is the pump checked?", gold=GOLD, answer="Every 12 weeks.")
BARE = Item("bare", "Who checks the pump?", gold=GOLD)


def asked(generator: ScriptedGenerator, *items: Item, seconds: float = 5.0) -> ClosedBook:
    return ask_closed_book(generator, "scripted 1", [Observation(item, ()) for item in items], seconds, 48)


def results(*f1: float) -> list[Result]:
    return [
        Result(
            item.id,
            item.question,
            (),
            None,
            {"exact_match": float(value == 1.0), "token_f1": value},
            abstained=not value,
        )
        for item, value in zip((LEAVE, PUMP), f1, strict=False)
    ]


def test_the_model_gets_the_question_and_nothing_else() -> None:
    generator = ScriptedGenerator(["26 weeks."])
    found = asked(generator, LEAVE, BARE)
    assert [row.item for row in found.rows] == ["leave"], "without a reference there is nothing to compare"
    (prompt,) = generator.prompts
    assert (prompt.evidence, prompt.choices) == ((), ())
    assert [message.role for message in prompt.messages] == ["system", "user"]
    assert prompt.messages[-1].content == LEAVE.question
    assert "26" not in prompt.messages[0].content
    assert found.values("leave") == {"closed_book_exact_match": 1.0, "closed_book_token_f1": 1.0}
    assert found.values("bare") == {}


def test_a_follow_up_is_asked_as_the_answer_understood_it() -> None:
    nobody = Decision("extractive", None, None, None, None)
    answer = Answer("", True, "extractive", "c", 1, (), nobody, asked="How long does parental leave last?")
    generator = ScriptedGenerator([""])
    ask_closed_book(generator, "m", [Observation(replace(LEAVE, question="And that?"), (), answer)], 5.0, 48)
    assert generator.prompts[0].messages[-1].content == "How long does parental leave last?"


def test_what_the_documents_add_is_told_with_its_interval() -> None:
    found = asked(ScriptedGenerator(["26 days", "Every 12 weeks."]), LEAVE, PUMP)
    by_f1 = found.gains(results(1.0, 0.5))["token_f1"]
    assert (by_f1.closed_book.value, by_f1.with_documents.value) == (0.75, 0.75)
    assert by_f1.gain.value == 0.0
    assert by_f1.gain.low <= -0.5 < 0.5 <= by_f1.gain.high
    assert found.gains(results(1.0, 1.0))["exact_match"].gain.value == 0.5
    written = json.loads(json.dumps(found.to_json(results(1.0, 1.0)), allow_nan=False))
    assert (written["model"], written["n"], written["failed"]) == ("scripted 1", 2, 0)
    assert written["metrics"]["token_f1"]["closed_book"]["value"] == 0.75
    assert written["rows"][0]["said"] == "26 days"


def test_questions_that_were_answered_are_told_apart() -> None:
    found = asked(ScriptedGenerator(["26 days", "Every 12 weeks."]), LEAVE, PUMP)
    written = found.to_json(results(1.0, 0.0))
    assert written["metrics"]["token_f1"]["gain"]["value"] == -0.25, "an abstention has no words"
    assert written["answered"]["n"] == 1
    assert written["answered"]["metrics"]["token_f1"]["gain"]["value"] == 0.5
    assert found.to_json(results(0.0, 0.0))["answered"] == {"n": 0, "metrics": {}}


@pytest.mark.parametrize(
    ("generator", "reason"),
    [
        (ScriptedGenerator([DomicileError("no")]), "DomicileError: no"),
        (ScriptedGenerator(state="damaged"), "ModelDamaged: scripted is damaged"),
        (ScriptedGenerator(["26 weeks"], before_token=lambda: time.sleep(0.1)), "ModelSlow: "),
    ],
    ids=["error", "damaged", "slow"],
)
def test_a_question_that_failed_is_counted_as_wrong(generator: ScriptedGenerator, reason: str) -> None:
    found = asked(generator, LEAVE, PUMP, seconds=0.05)
    assert sum(found.reasons().values()) == len(found.rows) == 2
    assert all(told.startswith(reason) for told in found.reasons())
    assert found.values("leave") == {"closed_book_exact_match": 0.0, "closed_book_token_f1": 0.0}
    assert found.gains(results(1.0, 1.0))["token_f1"].gain.value == 1.0


def test_without_questions_there_are_no_figures() -> None:
    found = asked(ScriptedGenerator([""]), BARE)
    assert (found.gains([]), found.to_json([])["n"]) == ({}, 0)
