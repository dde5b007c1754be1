"""What a generated sentence must have in common with a quote."""

from __future__ import annotations

import pytest

from domicile import grounding
from domicile.domain import Chunk, Document, Evidence, Label, Layout, Page, Sensitivity

LABEL = Label(frozenset({"local"}), Sensitivity.INTERNAL, False, 0, frozenset(), frozenset({"answer"}), None)
TEXT = "Intro. The pump must be checked every 12 weeks by a technician. End."


def evidence(text: str, start: int = 0) -> Evidence:
    chunk = Chunk("d#0", "d", "Pumps", (), None, 0, len(TEXT), TEXT, LABEL)
    return Evidence(1, text, start, start + len(text), 1.0, chunk)


QUOTE = evidence("The pump must be checked every 12 weeks by a technician.", 7)
QUESTION = "How often is the pump checked?"


@pytest.mark.parametrize(
    ("sentence", "kept"),
    [
        ("The pump is checked every 12 weeks.", True),
        ("Every 12 weeks.", True),
        ("The pumps must be checked every 12 weeks by a technician.", True),
        ("The pump is checked every 14 weeks.", False),
        ("The pump is checked every 12 months.", False),
        ("The pump is never checked.", False),
        ("The pump must not be checked every 12 weeks.", False),
        ("The pump is checked.", False),
        ("An engineer checks the pump every 12 weeks.", False),
        ("", False),
        ("?!", False),
    ],
)
def test_support_is_every_word_and_number(sentence: str, kept: bool) -> None:
    assert grounding.supports(QUOTE, sentence, QUESTION) is kept


@pytest.mark.parametrize(
    ("quote", "sentence", "kept"),
    [
        (
            "A number is valid for 30 days; parcels without a number are returned.",
            "A number is valid for 30 days.",
            True,
        ),
        (
            "A number is valid for 30 days; parcels without a number are returned.",
            "Parcels with a number are returned.",
            False,
        ),
        ("No parcels are accepted after 17:00.", "Parcels are accepted after 17:00.", False),
        ("The lid must not be opened, even by staff.", "The lid must be opened.", False),
        ("The lid must not be opened, even by staff.", "The lid must not be opened.", True),
    ],
)
def test_a_denial_is_neither_lost_nor_gained(quote: str, sentence: str, kept: bool) -> None:
    assert grounding.supports(evidence(quote), sentence, "What about it?") is kept


def test_names_of_the_question_may_be_repeated_where_the_title_holds_them() -> None:
    chunk = Chunk("d#0", "d", "Corrant 8 data sheet: page exposed", (), None, 0, 99, "", LABEL)
    item = Evidence(1, "The standby unit takes over within 3 seconds.", 0, 45, 1.0, chunk)
    question = "How quickly does the standby Corrant 8 take over?"
    assert grounding.supports(item, "The standby Corrant 8 takes over within 3 seconds.", question)
    assert not grounding.supports(item, "The standby Corrant 9 takes over within 3 seconds.", question)
    assert not grounding.supports(item, "The page was exposed for 3 seconds.", "How long was the page exposed?")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("See [the page](https://evil.example/x) now.", "See now."),
        ("Read https://evil.example/?q=secret today.", "Read today."),
        ("![](http://evil.example/a.png) Fine.", "Fine."),
        ("<img src=x> **Bold** `code`.", "Bold code."),
        ("A claim [3].", "A claim."),
    ],
)
def test_a_models_own_markup_is_never_shown(said: str, shown: str) -> None:
    assert grounding.tidy(said) == shown


def test_sentences_are_taken_off_a_growing_text() -> None:
    assert grounding.next_sentence("It lasts 26 weeks") is None
    assert grounding.next_sentence("It lasts 3.5 weeks") is None
    assert grounding.next_sentence("It lasts. Then") == ("It lasts.", "Then")


def document(text: str, *pages: Page) -> Document:
    return Document("d", "Pumps", text, LABEL, "digest", layout=Layout(pages=pages))


def test_a_quote_is_verified_against_the_document_and_not_assumed() -> None:
    assert grounding.cite(QUOTE, document(TEXT)).verified
    assert not grounding.cite(QUOTE, document(" " + TEXT)).verified
    assert not grounding.cite(QUOTE, None).verified
    assert not grounding.cite(evidence(""), document(TEXT)).verified


def test_a_quote_is_cited_with_its_own_page_and_not_that_of_its_passage() -> None:
    pages = Page(1, 0, 7), Page(2, 7, len(TEXT))
    assert grounding.cite(QUOTE, document(TEXT, *pages)).page == 2
    assert grounding.cite(evidence("Intro."), document(TEXT, *pages)).page == 1


@pytest.mark.parametrize("apostrophe", ["'", "’", "ʼ"])
def test_a_denial_is_one_whatever_its_apostrophe(apostrophe: str) -> None:
    denied = evidence(f"The pump can{apostrophe}t be returned after 12 weeks.")
    assert not grounding.supports(denied, "The pump can be returned after 12 weeks.", QUESTION)
