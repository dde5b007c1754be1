"""The splitter: offsets are exact, and what a reader takes for one statement stays one."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domicile.adapters.sentencex import SentencexSplitter
from domicile.ports import SentenceSplitter

splitter: SentenceSplitter = SentencexSplitter()


def parts(text: str) -> list[str]:
    return [text[start:end] for start, end in splitter.split(text)]


@pytest.mark.parametrize(
    "sentence",
    [
        "Dr. Smith met Mr. Jones at 3.5 p.m. on Monday.",
        "Take one of them, e.g. the red one.",
        "He lives in the U.S. Embassy now.",
        "It is dealt with in No. 5 of the list.",
        "See Fig. 3 and pp. 4-5 of the report.",
        "The cost is approx. 20 euros.",
        "Smith et al. 2019 say so.",
        "Call importlib.abc.Loader.exec_module() once.",
        "The rate rose by 3.5 percent.",
    ],
)
def test_abbreviations_and_numbers_do_not_end_a_sentence(sentence: str) -> None:
    assert parts(f"{sentence} Another one follows.") == [sentence, "Another one follows."]


def test_wrapped_lines_are_one_sentence() -> None:
    text = "This sentence is wrapped at a width\nof some forty columns, as in a file\nof old. The second one is short."
    assert parts(text) == [text[: text.index(" The second")], "The second one is short."]


def test_list_items_rows_and_headings_are_apart() -> None:
    text = """## Leave

You may take:

- ten days. They lapse in March.
- unpaid leave
  by agreement
  * for a year
1. First step
2. Second step

| Site | Days |
| --- | --- |
| Lyon | 25. Or more |

> Quoted words. More of them."""
    assert parts(text) == [
        "## Leave",
        "You may take:",
        "ten days.",
        "They lapse in March.",
        "unpaid leave\n  by agreement",
        "for a year",
        "1. First step",
        "2. Second step",
        "| Site | Days |",
        "| Lyon | 25. Or more |",
        "Quoted words.",
        "More of them.",
    ]


def test_rows_of_other_notations() -> None:
    assert parts("Team,Location,Cups\nMaple Leafs,TOR,13") == ["Team,Location,Cups", "Maple Leafs,TOR,13"]
    assert parts("Team\tCups\nLeafs\t13") == ["Team\tCups", "Leafs\t13"]
    assert parts("Item | Price\nApples | 1.99") == ["Item | Price", "Apples | 1.99"]


def test_code_is_one_unit() -> None:
    assert parts("Run this.\n\n```sh\nmake test. Then\nmake demo\n```\nDone.") == [
        "Run this.",
        "make test. Then\nmake demo",
        "Done.",
    ]


def test_a_term_is_apart_from_its_definition() -> None:
    text = "create_module(spec)\nReturns the module that was made for this specification of a module."
    assert parts(text) == text.split("\n")


def test_very_long_sentences_are_cut_at_clauses() -> None:
    text = "; ".join(f"clause number {number} with some words in it" for number in range(60))
    found = parts(text)
    assert max(map(len, found)) <= 600
    assert all(part.endswith(";") for part in found[:-1])
    assert "".join("".join(found).split()) == "".join(text.split())


lines = st.text(
    alphabet=st.one_of(
        st.sampled_from(list(" \n\t.,;:-*#|>`0123456789aZ\"'()é\u00a0\u3002😀")), st.characters(codec="utf-8")
    )
)


@settings(max_examples=400, deadline=None)
@given(lines)
def test_spans_are_ordered_trimmed_bounded_and_lose_no_letter(text: str) -> None:
    spans = splitter.split(text)
    covered: set[int] = set()
    previous = 0
    for start, end in spans:
        assert previous <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip()
        assert end - start <= 600
        covered.update(range(start, end))
        previous = end
    fence = any(line.strip(" ").startswith(("```", "~~~")) for line in text.split("\n"))  # its language is not text
    assert fence or all(index in covered for index, character in enumerate(text) if character.isalnum())


@pytest.mark.parametrize(
    "text", [" " * 300_000 + "x", "x" * 300_000, "a. " * 100_000, "a\n" * 100_000, "|" * 300_000, "- " * 100_000]
)
def test_hostile_input_takes_linear_time(text: str) -> None:
    started = time.process_time()
    splitter.split(text)
    assert time.process_time() - started < 5
