"""Passages: slices of the text, within the window, whole where they can be, of even sizes where they cannot."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domicile.adapters.sentencex import SentencexSplitter
from domicile.errors import DocumentError
from domicile.ports import NewChunk, Offsets
from domicile.testing import HashEmbedder
from domicile_ingest.chunking import chunk
from domicile_ingest.parsing.parsed import Page, Parsed, clean
from domicile_ingest.parsing.structure import blocks

splitter = SentencexSplitter()
SENTENCE = "The quick brown fox jumps over the lazy dog today. "  # 15 pieces


@dataclass(frozen=True, slots=True)
class Subwords(HashEmbedder):
    """Like WordPiece: words fall into pieces of four letters, and one beyond 100 letters is a single unknown piece."""

    def pieces(self, text: str) -> Offsets:
        found: list[tuple[int, int]] = []
        for match in re.finditer(r"\w+|[^\w\s]", text):
            start, end = match.span()
            step = 4 if end - start <= 100 else end - start
            found.extend((first, min(first + step, end)) for first in range(start, end, step))
        return np.array(found, dtype=np.int32).reshape(-1, 2)


def cut(
    text: str, *, title: str = "Title", markdown: bool = True, table: bool = False, most: int = 256
) -> list[NewChunk]:
    embedder = Subwords(max_pieces=most)
    parsed = Parsed(title, clean(text), markdown=markdown, table=table)
    drafts = chunk(parsed, title, embedder, splitter)
    for draft in drafts:
        assert draft.text == parsed.text[draft.start : draft.end] == draft.text.strip() != ""
        assert len(embedder.pieces(draft.indexed)) + 2 <= most
        assert draft.indexed.endswith(draft.text)
    assert drafts == chunk(parsed, title, embedder, splitter)
    return drafts


def sizes(drafts: list[NewChunk]) -> list[int]:
    return [len(HashEmbedder().pieces(draft.text)) for draft in drafts]


def test_what_fits_is_whole() -> None:
    text = "# Leave\n\nFirst paragraph.\n\n- one\n- two\n\n| a | b |\n| - | - |\n| c | d |"
    (only,) = cut(text)
    assert only.text == text.partition("\n\n")[2]
    assert only.heading == ("Leave",)
    assert only.indexed.startswith("Title\nLeave\nFirst paragraph.")


def test_a_long_paragraph_is_cut_evenly_at_sentence_ends() -> None:
    drafts = cut(SENTENCE * 20, markdown=False, most=200)  # 300 pieces of text
    assert len(drafts) == 2
    assert max(sizes(drafts)) - min(sizes(drafts)) <= 15
    assert all(draft.text.endswith("today.") for draft in drafts)


def test_paragraphs_stay_whole_where_they_can() -> None:
    paragraphs = [(SENTENCE * number).strip() for number in (5, 5, 6, 5)]
    drafts = cut("\n\n".join(paragraphs), most=180)
    assert [draft.text for draft in drafts] == ["\n\n".join(paragraphs[:2]), "\n\n".join(paragraphs[2:])]


def test_sections_are_not_mixed_unless_they_are_stubs() -> None:
    stubs = "## C\n\nNone.\n\n## D\n\nNone either.\n\n# End\n\nBye."
    text = f"# Top\n\n## A\n\n{SENTENCE * 3}\n\n## B\n\n{SENTENCE * 3}\n\n{stubs}"
    assert [draft.heading for draft in cut(text)] == [("Top", "A"), ("Top", "B"), ("Top",), ("End",)]


def test_headings_without_text_are_found_too() -> None:
    assert [draft.text for draft in cut("# A\n\n## A one\n\n# B")] == ["## A one", "# B"]


def test_a_long_table_is_cut_by_rows_and_repeats_its_header() -> None:
    rows = [f"| site {number} | {number} days of leave |" for number in range(60)]
    drafts = cut("\n".join(["| Site | Leave |", "| --- | --- |", *rows]), most=100)
    assert len(drafts) > 3
    assert drafts[0].context == ""
    assert all(draft.context == "| Site | Leave |" for draft in drafts[1:])
    assert [line for draft in drafts for line in draft.text.split("\n")][2:] == rows


def test_the_header_of_a_csv_is_repeated() -> None:
    text = "\n".join(["site,days", *(f"site {number},{number}" for number in range(60))])
    drafts = cut(text, markdown=False, table=True, most=64)
    assert {draft.context for draft in drafts} == {"", "site,days"}
    assert "\n".join(draft.text for draft in drafts) == text


def test_an_endless_header_leaves_room_for_rows() -> None:
    head = " | ".join(f"column {number}" for number in range(100))
    drafts = cut(f"| {head} |\n| --- | --- |\n" + "\n".join(f"| row {number} | x |" for number in range(40)), most=64)
    assert all(len(draft.context) < 300 for draft in drafts)


def test_a_passage_that_begins_inside_a_definition_has_its_term_as_context() -> None:
    names = [f"setting_{number} (integer)" for number in range(8)]
    drafts = cut(
        "# Settings\n\n" + "\n\n".join(f"{name}\n{SENTENCE * 4}\n\n{SENTENCE * 4}" for name in names), most=100
    )
    assert len(drafts) > 8
    inside = [draft for draft in drafts if not draft.text.startswith("setting")]
    assert {draft.context for draft in inside} == set(names)
    assert all(f"\n{draft.context}\n" in draft.indexed for draft in inside)
    assert {draft.context for draft in drafts if draft not in inside} == {""}
    prose = cut("# Settings\n\n" + "\n\n".join([SENTENCE * 4] * 8), most=100)  # control
    assert {draft.context for draft in prose} == {""}


def test_an_endless_term_leaves_room_for_its_definition() -> None:
    terms = "\n".join("--" + "x" * 70 for _ in range(3))
    drafts = cut(f"{terms}\n{SENTENCE * 30}", most=48)
    assert {draft.context for draft in drafts} == {""}
    assert {draft.context for draft in cut(f"--short\n{SENTENCE * 30}", most=48)} == {"", "--short"}  # control


def test_code_is_cut_at_lines() -> None:
    lines = [f"call({number}, other)" for number in range(60)]
    drafts = cut("```py\n" + "\n".join(lines) + "\n```", most=64)
    assert [line for draft in drafts for line in draft.text.split("\n")] == ["```py", *lines, "```"]


@pytest.mark.parametrize(
    "monster", ["x" * 20_000, "ab " * 5000, "." * 5000, "\u4e2d" * 5000, " ".join(["y" * 99] * 100)]
)
def test_monsters_are_cut_somehow(monster: str) -> None:
    drafts = cut(f"Before. {monster} After.", markdown=False, most=64)
    assert max(len(draft.text) for draft in drafts) < 5000
    assert "".join("".join(draft.text for draft in drafts).split()) == "".join(f"Before. {monster} After.".split())


def test_titles_and_paths_leave_half_the_window_to_the_text() -> None:
    text = f"# {'Long heading ' * 20}\n\n## {'Longer heading ' * 20}\n\n### The end\n\n{SENTENCE * 30}"
    drafts = cut(text, title="Endless title " * 40, most=128)
    assert all("The end" in draft.indexed for draft in drafts)
    assert min(sizes(drafts)) > 30


def test_a_title_that_repeats_as_heading_counts_once() -> None:
    (only,) = cut("# Leave policy\n\n## Sick\n\nCall in.", title="Leave policy")
    assert only.indexed == "Leave policy\nSick\nCall in."
    assert only.heading == ("Leave policy", "Sick")


def test_pages() -> None:
    first, second = (SENTENCE * 10).strip(), (SENTENCE * 10).strip()
    text = f"{first}\n\n{second}"
    pages = (Page(1, 0, len(first) + 2), Page(2, len(first) + 2, len(text)))
    drafts = chunk(Parsed("t", text, markdown=True, pages=pages), "t", Subwords(max_pieces=180), splitter)
    assert [draft.page for draft in drafts] == [1, 2]


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_nothing_is_an_error(text: str) -> None:
    with pytest.raises(DocumentError) as caught:
        chunk(Parsed("t", text, markdown=False), "t", HashEmbedder(), splitter)
    assert caught.value.kind == "empty"


words = st.text(alphabet=st.sampled_from(list("abcdeé中 .,;\n\n#-|`>*\t1😀")), max_size=1500)


@settings(max_examples=300, deadline=None)
@given(words, st.text(max_size=80), st.booleans(), st.booleans(), st.integers(12, 64))
def test_every_text_is_covered_within_the_window(
    source: str, title: str, markdown: bool, table: bool, most: int
) -> None:
    text = clean(source)
    if not text.strip():
        return
    drafts = cut(source, title=title, markdown=markdown, table=table, most=most)
    covered = {index for draft in drafts for index in range(draft.start, draft.end)}
    passed = {
        index
        for block in blocks(Parsed(title, text, markdown=markdown, table=table))
        if block.kind in ("heading", "rule")
        for index in range(block.start, block.end)
    }
    assert all(index in covered or index in passed for index, character in enumerate(text) if not character.isspace())
    assert all(before.end <= after.start for before, after in pairwise(drafts))


@pytest.mark.parametrize(
    "text",
    [
        "a\n" * 30_000,
        "a. " * 30_000,
        "# a\n" * 10_000,
        "- a\n" * 20_000,
        " " * 10**6 + "b",
        "a|b\n-|-\n\n" * 10_000,
        "-a\nA definition that goes on.\n\n" * 10_000,
    ],
)
def test_large_input_takes_linear_time(text: str) -> None:
    started = time.process_time()
    cut(text)
    assert time.process_time() - started < 20
