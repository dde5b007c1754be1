"""Which questions lean on an earlier one, and what they get from it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domicile.conversation import (
    MAX_ADDED_WORDS,
    MAX_FOLLOW_UP_CHARACTERS,
    MAX_TURN_CHARACTERS,
    MAX_TURNS,
    Standalone,
    follow_up,
    standalone,
)

OPERA = "Who designed the Sydney Opera House in 1957?"
LEAVE = "How long is parental leave in Germany?"
QUESTIONS = st.sampled_from(["When did it open?", " and Spain?\n", "Why?"])
TURNS = st.text("aB1 -'\n?", min_size=400, max_size=700)


@pytest.mark.parametrize(
    "question",
    [
        "When did it open?",
        "What were their orders?",
        "Who signed it?",
        "How many people live there?",
        "Is that paid?",
        "What does this church preserve?",
        "And how long is it?",
        "When was it's roof replaced?",
        "When it’s open, who guards the roof?",
        "WHEN did he die?",
    ],
)
def test_what_refers_gets_the_names_and_a_sentence_need_not_hold_them(question: str) -> None:
    assert follow_up(question) == "refers"
    assert standalone(question, [OPERA]) == Standalone(f"{question} (Sydney Opera House 1957)", question, (0,))


@pytest.mark.parametrize(
    "question", ["And in Spain?", "What about Spain?", "Or Spain?", "Why?", "Who else?", "What is it?"]
)
def test_what_is_elliptical_gets_what_was_asked_and_a_sentence_must_speak_of_it(question: str) -> None:
    assert follow_up(question) == "elliptical"
    asked = f"{question} (parental leave Germany)"
    assert standalone(question, [LEAVE]) == Standalone(asked, asked, (0,))


@pytest.mark.parametrize(
    "question",
    [
        LEAVE,
        "Who led the revolt?",
        "Is it possible to carry leave over?",
        "How long does it take to renew a passport?",
        "Are there any exceptions to the travel policy?",
        "Who proposed the bill that passed?",
        "When did Great Britain lose its colonies?",
        "Do plants and fungi exchange sugar through their roots?",
        "What does the IT department do?",
        "And where do employees of the Utrecht office park their bicycles?",
        "Thanks!",
        "ok, great",
        "...",
        "",
        "Und in Spanien?",
        "Est-ce que c'est payé ?",
        "¿Y en España?",
        "フランスの首都はどこですか",
        "А в Испании?",
    ],
)
def test_what_stands_alone_or_is_not_understood_stays_exactly_as_it_is(question: str) -> None:
    assert standalone(question, [OPERA, LEAVE]) == Standalone(question, question)


def test_without_an_earlier_question_nothing_changes() -> None:
    for history in ([], ["Thanks!"], ["?"], ["", " "]):
        assert standalone("When did it open?", history) == Standalone("When did it open?", "When did it open?")


def test_a_collection_in_another_language_gets_questions_as_they_are() -> None:
    assert standalone("When did it open?", [OPERA], "de").turns == ()
    assert standalone("When did it open?", [OPERA], "en").turns == (0,)


def test_the_latest_turn_that_stands_alone_is_the_subject() -> None:
    history = [LEAVE, "Who was Rollo?", "When was he born?", "And where?", "Thanks!"]
    assert standalone("Where did he die?", history) == Standalone(
        "Where did he die? (Rollo)", "Where did he die?", (1,)
    )


def test_where_no_turn_stands_alone_the_latest_one_serves() -> None:
    history = ["What about valves?", "What about pumps?"]
    assert standalone("How often is it checked?", history).text == "How often is it checked? (pumps)"


def test_without_a_name_the_content_words_serve() -> None:
    assert standalone("Is it paid?", ["how long is parental leave?"]).text == "Is it paid? (parental leave)"
    assert standalone("Is it tall?", ["Normandy is where?"]).text == "Is it tall? (Normandy)"


def test_a_number_alone_is_no_name() -> None:
    made = standalone("How often does it do that?", ("The freezer that we keep at -20 defrosts on its own",), "en")
    assert {"freezer", "defrosts"} <= set(made.text.replace("(", " ").replace(")", " ").split())


def test_words_that_the_question_has_are_not_added() -> None:
    assert standalone("Is it in Spain?", ["Where is Madrid in Spain?"]).text == "Is it in Spain? (Madrid)"
    assert standalone("Is it in Madrid?", ["Where is Madrid?"]) == Standalone("Is it in Madrid?", "Is it in Madrid?")


def test_history_is_bounded() -> None:
    old = [OPERA, *["Thanks!"] * MAX_TURNS]
    assert standalone("When did it open?", old).turns == ()
    assert standalone("When did it open?", old[:-1]).turns == (0,)
    pasted = "x " * MAX_TURN_CHARACTERS + "Utrecht"
    assert "Utrecht" not in standalone("When did it open?", [pasted]).text
    assert standalone("When did it open?", ["is P-40 " * MAX_TURN_CHARACTERS]).text == "When did it open? (P-40)"
    assert standalone("When did it open?", [" " * 10_000]).turns == ()
    many = " ".join(f"Name{i}" for i in range(50))
    assert standalone("When did it open?", [f"is {many}"]).text.count("Name") == MAX_ADDED_WORDS


def test_a_long_question_says_all_it_needs() -> None:
    question = "When did it open? " + "x" * MAX_FOLLOW_UP_CHARACTERS
    assert standalone(question, [OPERA]) == Standalone(question, question)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=300) | QUESTIONS, st.lists(st.text(max_size=700) | TURNS, max_size=8))
def test_any_text_gives_a_question_that_begins_with_the_one_asked(question: str, history: list[str]) -> None:
    made = standalone(question, history)
    if not made.turns:
        assert (made.text, made.wanted) == (question, question)
        return
    assert made.text.startswith(question.strip())
    (turn,) = made.turns
    assert turn >= len(history) - MAX_TURNS
    added = made.text.removeprefix(question.strip())
    assert added.startswith(" (")
    assert added.endswith(")")
    assert all(word in history[turn] for word in added[2:-1].split())


@pytest.mark.parametrize(
    "question",
    [
        "What is this year's bonus?",
        "When does this quarter end?",
        "What should an employee do when they are ill?",
        "Who are you?",
    ],
)
def test_the_calendar_the_speakers_and_what_the_question_itself_names_are_no_references(question: str) -> None:
    assert standalone(question, ["What does the Travel policy say about hotels in Norland?"]).text == question
