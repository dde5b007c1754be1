"""Which of two editions of a document is the one to quote."""

from __future__ import annotations

import pytest

from domicile.domain import Chunk, Label, Scalar, Sensitivity
from domicile.editions import ASSUMED_MARGIN, STATED_MARGIN, Preference, preferences

LABEL = Label(frozenset({"local"}), Sensitivity.INTERNAL, False, 0, frozenset(), frozenset({"answer"}), None)


def chunk(uri: str, title: str, **metadata: Scalar) -> Chunk:
    return Chunk(f"{uri}#0", uri, title, (), None, 0, 4, "Text", LABEL, "", tuple(metadata.items()))


def preferred(first: Chunk, second: Chunk, question: str = "What is the maximum?") -> str | None:
    found = preferences((question,), [first, second])
    assert found == [Preference(p.quote, p.instead_of, p.margin) for p in preferences((question,), [second, first])]
    return found[0].quote if found else None


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (chunk("a.md", "Travel policy 2023"), chunk("b.md", "Travel policy 2024")),
        (chunk("a.csv", "price-list-2025"), chunk("b.csv", "price-list-2026")),
        (chunk("a", "Firmware 5.4 release notes"), chunk("b", "Firmware 5.10 release notes")),
        (chunk("a", "Data sheet, revision C"), chunk("b", "Data sheet, revision D")),
        (chunk("a", "Data sheet (rev C, withdrawn)"), chunk("b", "Data sheet (rev D)")),
        (chunk("x/a", "Travel policy", date="2023-01-01"), chunk("x/b", "Travel policy", date="2023-01-02")),
        (chunk("x/a", "Travel policy", date=2023), chunk("x/b", "Travel policy", date=2025)),
        (chunk("x/a", "Travel policy", version="9"), chunk("x/b", "Travel policy", version="10")),
        (chunk("x/a", "Travel policy", status="Superseded", date="2024-01-01"), chunk("x/b", "Travel policy")),
        (chunk("hr/old.md", "Leave"), chunk("hr/new.md", "Absence", supersedes="old.md")),
        (chunk("hr/old.md", "Leave", superseded_by="new.md"), chunk("hr/new.md", "Absence")),
    ],
)
def test_the_newer_one(older: Chunk, newer: Chunk) -> None:
    assert preferred(older, newer) == newer.document


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (chunk("a", "Corrant 4 data sheet", date="2023-01-01"), chunk("b", "Corrant 8 data sheet", date="2024-01-01")),
        (chunk("a/readme", "Readme", date="2023-01-01"), chunk("b/readme", "Readme", date="2024-01-01")),
        (chunk("a", "Travel policy"), chunk("b", "Travel policy")),
        (chunk("a", "2023"), chunk("b", "2024")),
        (chunk("a", "Normans"), chunk("b", "Normans")),
    ],
)
def test_other_documents_are_no_editions_of_each_other(first: Chunk, second: Chunk) -> None:
    assert preferred(first, second) is None


def test_the_question_may_name_the_edition() -> None:
    older, newer = chunk("a", "Travel policy 2023"), chunk("b", "Travel policy 2024")
    assert preferred(older, newer, "What was the maximum in 2023?") == "a"
    assert preferred(older, newer, "What was the maximum in 2024?") == "b"
    assert preferred(older, newer, "What changed from 2023 to 2024?") == "b"
    assert preferred(older, newer, "What was the maximum in 1999?") == "b"


@pytest.mark.parametrize(
    ("older", "newer", "question"),
    [
        (chunk("a", "Minutes 2024-01-10"), chunk("b", "Minutes 2024-02-14"), "What was decided on 2024-01-10?"),
        (chunk("a", "Price list 2024-03"), chunk("b", "Price list 2024-06"), "What did a pump cost in 2024-03?"),
        (chunk("a", "Prices 2024 v3"), chunk("b", "Prices 2024 v4"), "What does v3 of the 2024 prices say?"),
        (chunk("x/a", "Minutes", date="2024-01-10"), chunk("x/b", "Minutes", date="2024-02-14"), "And on 2024-01-10?"),
    ],
)
def test_two_editions_of_one_year_are_told_apart_by_what_the_question_names_in_full(
    older: Chunk, newer: Chunk, question: str
) -> None:
    assert preferred(older, newer, question) == older.document
    assert preferred(older, newer, "What was decided in 2024?") == newer.document  # control


def test_an_earlier_turn_names_the_edition_where_the_question_does_not() -> None:
    both = [chunk("a", "Travel policy 2023"), chunk("b", "Travel policy 2024")]
    assert preferences(("What is its maximum?", "What is its maximum? (Travel 2023)"), both)[0].quote == "a"
    assert preferences(("And in 2024?", "And in 2024? (Travel 2023)"), both)[0].quote == "b"
    assert preferences(("And in 2023?", "And in 2023? (Travel 2024)"), both)[0].quote == "a"


def test_what_is_stated_counts_for_more_than_what_titles_suggest() -> None:
    stated = [chunk("a", "Policy 2023", superseded_by="b"), chunk("b", "Policy 2024")]
    suggested = [chunk("a", "Policy 2023"), chunk("b", "Policy 2024")]
    assert preferences(("",), stated)[0].margin == STATED_MARGIN
    assert preferences(("",), suggested)[0].margin == ASSUMED_MARGIN


def test_a_folder_for_each_year_is_told_apart_by_whole_paths() -> None:
    old = chunk("2023/travel.md", "Travel")
    middle = chunk("2024/travel.md", "Travel", supersedes="2023/travel.md")
    new = chunk("2025/travel.md", "Travel", supersedes="../2024/travel.md")
    for first, second in ((old, middle), (middle, new)):
        assert preferred(first, second) == preferred(second, first) == second.document


def test_a_bare_name_means_the_same_folder_or_file() -> None:
    new = chunk("hr/new.md", "Rules", supersedes="index.md")
    assert preferred(new, chunk("hr/index.md", "Overview")) == "hr/new.md"
    assert preferred(new, chunk("it/index.md", "Overview")) is None
    row = chunk("rows.jsonl#b", "B", supersedes="a")
    assert preferred(chunk("rows.jsonl#a", "A"), row) == "rows.jsonl#b"
    assert preferred(chunk("other/a", "A"), row) is None


def test_a_version_may_be_as_long_as_it_likes() -> None:
    assert preferred(chunk("a", f"Guide v{'9' * 5000}"), chunk("b", "Guide v2")) is not None


def test_two_that_replace_each_other_are_not_believed() -> None:
    first, second = chunk("a", "One thing", supersedes="b"), chunk("b", "Another", supersedes="a")
    assert preferred(first, second) is None
