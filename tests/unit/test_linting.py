"""The linter of suites: each fault is found, and a sound suite has none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from domicile_eval.items import Gold, Item, Split
from domicile_eval.linting import MAX_OF_A_TEMPLATE, lint, overlap, template
from domicile_eval.suites import Facts, Suite

TEXTS = {"a.md": "Leave lasts 26 weeks.", "b.md": "Pumps are oiled weekly."}
FACTS = {"a.md": Facts("a.md", "test", frozenset(), frozenset({"eu"})), "b.md": Facts("b.md", "tune")}
ASKED = Item(
    "1", "How much time off do parents get?", split="test", gold=(Gold("a.md", "26 weeks"),), answer="26", abstain=False
)
DECLINED = Item("2", "Who won?", ("off_corpus",), "test", abstain=True, route="extractive")


def faults(*items: Item, facts: dict[str, Facts] = FACTS) -> list[str]:
    stage = {"sinks": [{"name": "eu"}]}
    suite = Suite("s", Path(), items, "h", stage=stage, documents=facts)
    return [fault.partition(": ")[2] or fault for fault in lint(suite, TEXTS.get).faults]


def test_a_sound_suite_has_no_faults() -> None:
    hosted = replace(ASKED, id="3", kinds=("residency",), route="hosted", sink="eu")
    assert faults(ASKED, DECLINED, hosted) == []


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (replace(ASKED, gold=(Gold("a.md", "27 weeks"),)), "its span does not stand in a.md"),
        (replace(ASKED, gold=(Gold("c.md", "26 weeks"),)), "there is no document 'c.md'"),
        (replace(DECLINED, about=("c.md",)), "there is no document 'c.md'"),
        (replace(ASKED, kinds=("two_documents",)), "two_documents with fewer"),
        (replace(ASKED, kinds=("follow_up",)), "follow_up without history"),
        (replace(ASKED, kinds=("close_miss",)), "is answered, and of a kind that is not"),
        (replace(DECLINED, kinds=()), "no kind says why"),
        (replace(DECLINED, route="local"), "is to be declined by route 'local'"),
        (replace(ASKED, route="hosted", sink="eu"), "hosted without kind residency"),
        (replace(ASKED, kinds=("residency",), route="hosted"), "sink None with route 'hosted'"),
        (replace(ASKED, kinds=("residency",), route="hosted", sink="us"), "sink 'us' with route 'hosted'"),
        (replace(ASKED, kinds=("residency",), route="local", sink="eu"), "sink 'eu' with route 'local'"),
        (replace(ASKED, gold=(Gold("b.md", "oiled"),)), "is of split test, and its document b.md of tune"),
        (replace(ASKED, split=None), "1: is of no split"),
    ],
)
def test_a_fault_is_found(item: Item, says: str) -> None:
    assert any(says in fault for fault in (*faults(item, DECLINED), *lint_of(item)))


def lint_of(item: Item) -> tuple[str, ...]:
    return lint(Suite("s", Path(), (item,), "h", documents=FACTS), TEXTS.get).faults


def test_a_suite_that_notes_no_documents_need_not_say_why_an_item_is_declined() -> None:
    assert lint(Suite("s", Path(), (replace(DECLINED, kinds=()),), "h"), TEXTS.get).faults == ()


def test_what_may_not_go_to_a_sink_by_the_facts_is_a_fault() -> None:
    item = replace(ASKED, split="tune", kinds=("residency",), route="hosted", sink="eu", gold=(Gold("b.md", "oiled"),))
    assert "b.md may not go to eu, by what is noted of it" in faults(item)


def test_nothing_noted_of_a_document_is_a_fault() -> None:
    assert "nothing is noted of document 'a.md'" in faults(ASKED, facts={"b.md": FACTS["b.md"]})


def test_of_one_template_there_are_few() -> None:
    def asked(count: int) -> list[Item]:
        return [replace(ASKED, id=word, question=f"How long does {word} last?") for word in "bcdefghj"[:count]]

    assert faults(*asked(MAX_OF_A_TEMPLATE)) == []
    (fault,) = lint_all(asked(MAX_OF_A_TEMPLATE + 1))
    assert fault == "6 questions of one template (how _ does _): at most 5"


def test_a_template_is_the_small_words() -> None:
    assert template("How long does parental leave last?") == template(
        "How long does THE pump last, Anna?".replace("THE ", "")
    )
    assert template("How long is it?") != template("How is it?")


def test_questions_that_copy_their_spans_are_too_easy() -> None:
    split: Split = "test"
    copied = [
        Item(str(n), f"Leave lasts weeks {'x' * n}?", split=split, gold=(Gold("a.md", TEXTS["a.md"]),), abstain=False)
        for n in range(5)
    ]
    assert any("in their own words" in fault for fault in lint_all(copied))
    assert not any("in their own words" in fault for fault in lint_all([ASKED, *copied[:1]]))


def lint_all(items: list[Item]) -> tuple[str, ...]:
    return lint(Suite("s", Path(), tuple(items), "h", documents=FACTS), TEXTS.get).faults


def test_overlap_is_of_content_words() -> None:
    assert overlap(
        replace(ASKED, question="How long is the leave in weeks?", gold=(Gold("a.md", TEXTS["a.md"]),))
    ) == pytest.approx(2 / 3)
    assert overlap(replace(ASKED, question="And?")) == 0.0
