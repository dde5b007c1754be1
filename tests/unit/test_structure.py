"""Blocks: exact offsets, the headings in force, and no text that slips between them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domicile_ingest.parsing.parsed import Parsed, clean
from domicile_ingest.parsing.structure import Block, blocks, heading_words

MARKDOWN = """Intro words.

# Leave

First paragraph
goes on.

| Site | Days |
| --- | --- |
| Lyon | 25 |

## Parental *leave*

- one
  - nested

- two

```py
# no heading

x = 1
```

# Other

[link]: http://example.org
Last words
a | b
--|--
1 | 2
"""


def of(text: str, *, markdown: bool = True, table: bool = False) -> list[tuple[str, str, tuple[str, ...]]]:
    parsed = Parsed("t", text, markdown=markdown, table=table)
    return [(block.kind, text[block.start : block.end], block.heading) for block in blocks(parsed)]


def test_markdown() -> None:
    leave, parental = ("Leave",), ("Leave", "Parental leave")
    assert of(MARKDOWN) == [
        ("paragraph", "Intro words.", ()),
        ("heading", "# Leave", leave),
        ("paragraph", "First paragraph\ngoes on.", leave),
        ("table", "| Site | Days |\n| --- | --- |\n| Lyon | 25 |", leave),
        ("heading", "## Parental *leave*", parental),
        ("list", "- one\n  - nested\n\n- two", parental),
        ("code", "```py\n# no heading\n\nx = 1\n```", parental),
        ("heading", "# Other", ("Other",)),
        ("paragraph", "[link]: http://example.org", ("Other",)),
        ("paragraph", "Last words", ("Other",)),
        ("table", "a | b\n--|--\n1 | 2", ("Other",)),
    ]


def test_plain_text_and_tables_have_no_headings() -> None:
    assert of("# a\n\n \nb\nc", markdown=False) == [("paragraph", "# a", ()), ("paragraph", "b\nc", ())]
    assert of("a,b\n1,2", markdown=False, table=True) == [("table", "a,b\n1,2", ())]


def test_setext_headings_and_levels_that_skip() -> None:
    found = blocks(Parsed("t", "Top\n===\n\n#### Deep\n\nwords\n\nSecond\n---\n\nmore", markdown=True))
    assert [(block.level, block.heading) for block in found] == [
        (1, ("Top",)),
        (4, ("Top", "Deep")),
        (0, ("Top", "Deep")),
        (2, ("Top", "Second")),
        (0, ("Top", "Second")),
    ]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("## The `code` of **law** ##", "The code of law"),
        ("# [Linked](http://x.y/z) name", "Linked name"),
        ("# snake_case_name stays", "snake_case_name stays"),
        ("# Anchored {#anchor}", "Anchored"),
        ("Setext\n======", "Setext"),
        ("#", ""),
    ],
)
def test_heading_words(source: str, words: str) -> None:
    assert heading_words(source) == words


marked = st.text(alphabet=st.sampled_from(list("ab \n\n#->*|`~=_[](){}<!1.:\t\\")), max_size=200)


@settings(max_examples=500, deadline=None)
@given(marked, st.booleans())
def test_blocks_are_ordered_and_cover_everything(source: str, markdown: bool) -> None:
    text = clean(source)
    found: list[Block] = blocks(Parsed("t", text, markdown=markdown))
    position = 0
    for block in found:
        assert not text[position : block.start].strip()
        assert block.start < block.end
        assert text[block.start : block.end] == text[block.start : block.end].strip()
        position = block.end
    assert not text[position:].strip()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        ">" * 1_000_000,
        "- " * 500_000,
        "| a " * 200_000,
        "`" * 1_000_000,
        "#" * 1_000_000,
        "# " * 500_000,
        "\n".join("  " * depth + "- a" for depth in range(700)),
        "\n".join(">" * depth + " a" for depth in range(1000)),
        "[a]: <\n" * 30_000,
        "a\n" * 100_000,
        "|a|b|\n|-|-|\n" * 20_000,
    ],
    ids=lambda text: text[:12].replace("\n", "/"),
)
def test_hostile_input_takes_linear_time(text: str) -> None:
    started = time.process_time()
    blocks(Parsed("t", clean(text), markdown=True))
    assert time.process_time() - started < 8


def test_beyond_the_bounds_the_plainest_marks_still_count() -> None:
    rows = "\n".join(f"| {number} | x |" for number in range(100_001))
    text = f"# Sheet\n\n| a | b |\n| --- | --- |\n{rows}\n\nWords"
    found = blocks(Parsed("t", text, markdown=True))
    assert [(block.kind, block.heading) for block in found] == [
        ("heading", ("Sheet",)),
        ("table", ("Sheet",)),
        ("paragraph", ("Sheet",)),
    ]
