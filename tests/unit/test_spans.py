"""Which runs of words of a quote may stand alone as an answer, and which would say something else than the quote."""

from __future__ import annotations

import pytest

from domicile import grounding, spans
from domicile.domain import Chunk, Evidence, Label, Sensitivity

LABEL = Label(frozenset({"local"}), Sensitivity.INTERNAL, False, 0, frozenset(), frozenset({"answer"}), None)
PUMP = "The pump must be checked every 12 weeks by a technician."


def runs(text: str, question: str = "What about it?") -> tuple[str, ...]:
    return spans.runs(evidence(text), question)


def evidence(text: str, before: str = "These are the rules that our house has. ") -> Evidence:
    whole = before + text
    chunk = Chunk("d#0", "d", "Pumps", (), None, 0, len(whole), whole, LABEL)
    return Evidence(1, text, len(before), len(whole), 1.0, chunk)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PUMP, "Every 12 weeks."),
        (PUMP, PUMP),
        ("Press the bell for five seconds.", "Five seconds."),
        ("Hotels cost at most €165 a night, breakfast included.", "At most €165 a night."),
        ("It drifts between 0.2 and 0.6 V in rest.", "Between 0.2 and 0.6 V."),
        ("| Zurich | €205 |", "€205."),
        ("Invoices name Orrevik B.V. and the site.", "Invoices name Orrevik B.V."),
    ],
)
def test_a_run_that_stands_alone_may_be_said(text: str, said: str) -> None:
    assert said in runs(text)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Hotels cost at most €165 a night.", "€165"),
        ("It takes up to five days to settle.", "Five days"),
        ("The lid must never be opened by visitors.", "Be opened"),
        ("No parcels are accepted after 17:00.", "Parcels"),
        ("No parcels are accepted after 17:00.", "Are accepted"),
        ("If the customer does not pay, we charge interest.", "The customer"),
        ("If the customer pays late, we charge interest.", "The customer"),
        ("The meter showed €21,600 instead of the calculated €27,500.", "€27,500"),
        ("Vans are lent for 12 weeks in summer.", "Weeks"),
        ("It drifts between 0.2 and 0.6 V in rest.", "0.6"),
        ("It warms the air over a hundred years.", "Hundred"),
        ("Work ends on Friday 24 July and starts in August.", "24"),
        ("3. Put the plant in maintenance mode.", "3"),
        (PUMP, "12 weeks"),
        ("Parental leave lasts 26 weeks and is paid in full.", "Is paid"),
    ],
)
def test_no_run_begins_behind_what_limits_or_denies_it(text: str, wrong: str) -> None:
    said = runs(text)
    assert said
    assert not [run for run in said if run.startswith(wrong)]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Dogs are allowed only on the ground floor.", "Dogs are allowed."),
        ("Sessions end after 8 hours, or after 30 minutes without activity.", "Sessions end after 8 hours."),
        ("Refunds are paid, unless the seal is broken.", "Refunds are paid."),
        ("It drifts between 0.2 and 0.6 V in rest.", "It drifts between 0.2."),
        ("Agencies are used when a vacancy has been open for six weeks.", "Agencies are used."),
        ("Parental leave lasts 26 weeks and is paid in full.", "26 weeks and is paid in full."),
    ],
)
def test_no_run_ends_before_what_limits_it(text: str, wrong: str) -> None:
    said = runs(text)
    assert said
    assert wrong not in said


@pytest.mark.parametrize(
    "text",
    [
        "| OC5 | buyer | 3610 | 4560 |",
        "2026-02-16,Monday,,,,Presidents' Day,",
        "| covers at least | 30 months |",
        "**",
        "",
    ],
)
def test_what_only_its_reader_can_read_has_none(text: str) -> None:
    assert runs(text) == ()


def test_a_run_adds_something_to_the_question_and_the_quote_supports_it() -> None:
    question = "How often is the pump checked by a technician?"
    said = runs(PUMP, question)
    assert "Every 12 weeks." in said
    assert all(grounding.supports(evidence(PUMP), run, question) for run in said)
    assert not {"The pump must be checked.", "A technician."} & set(said)


def test_a_run_is_shown_as_it_is_said() -> None:
    said = runs("See [the list](https://evil.example) of `codes` <b>now</b>, or ask the desk. Twice!")
    assert all(grounding.tidy(run) == run for run in said)


@pytest.mark.parametrize(
    "text",
    [
        "Die Pumpe muss mindestens alle 12 Wochen geprüft werden, und zwar von einem Techniker.",
        "La pompe doit être vérifiée au moins toutes les 12 semaines.",
        "De pomp is van ons en moet minstens 12 weken worden gecontroleerd of vervangen.",
        "Pumpen skal kontrolleres for hver 12 uke, men ikke for mer enn 5 dager.",
        "Pompa musi być sprawdzana nie rzadziej niż co 12 tygodni.",
        "Насос проверяют не реже, чем каждые 12 недель.",
        "Mon-Fri 9-17, Sat 9-12",
    ],
)
def test_of_another_language_there_are_no_runs(text: str) -> None:
    """It has other words that limit what follows them, such as "mindestens"."""
    assert spans.runs(evidence(text, before=""), "What about it?") == ()


def test_a_long_quote_gives_a_bounded_number_of_runs() -> None:
    said = runs("the word, " * 2_000)
    assert len(said) <= spans.MAX_STARTS * spans.MAX_WORDS
    assert max(len(run.split()) for run in said) <= spans.MAX_WORDS
