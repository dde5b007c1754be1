"""The blocks of a text with exact offsets. The only home of ``markdown_it``."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from domicile_ingest.parsing.parsed import Parsed

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

BlockKind = Literal["heading", "paragraph", "list", "table", "code", "quote", "html", "rule"]

# Parsing costs 12 microseconds a line of words and 100 an item of a list; beyond this only the plainest marks count.
_MAX_LINES = 100_000
_MAX_CHARACTERS = 8_000_000
_DELIMITER = re.compile(r"^ {0,3}\|?(?: ?:?-+:? ?\|)+(?: ?:?-+:?)? ?$")
_ATX = re.compile(r"(#{1,6})[ \t][^\n]{0,900}\Z")
_KINDS: dict[str, BlockKind] = {
    "heading_open": "heading",
    "paragraph_open": "paragraph",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "blockquote_open": "quote",
    "fence": "code",
    "code_block": "code",
    "html_block": "html",
    "hr": "rule",
}


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a text: ``text[start:end]``, without blanks around it.

    Attributes:
        heading: the headings in force, outermost first; for a heading its own is the last.
        level: 1 to 6 for a heading, 0 for anything else.
    """

    kind: BlockKind
    start: int
    end: int
    heading: tuple[str, ...]
    level: int = 0


def blocks(parsed: Parsed) -> list[Block]:
    """The blocks of a document in order; together they cover every non-blank character of its text."""
    text = parsed.text
    if parsed.table:
        whole = _trimmed(text, 0, len(text))
        return [Block("table", *whole, ())] if whole else []
    readable = parsed.markdown and len(text) <= _MAX_CHARACTERS and text.count("\n") <= _MAX_LINES
    if readable:
        found = _markdown(text)
    else:
        found = _coarse(text) if parsed.markdown else _plain(text, 0, len(text))
    return list(_with_headings(text, found))


_Found = tuple[BlockKind, int, int, int]
"""Kind, start, end, level."""


def _plain(text: str, start: int, end: int) -> Iterator[_Found]:
    """Paragraphs between blank lines."""
    position = start
    for gap in re.compile(r"\n[^\S\n]*\n\s*").finditer(text, start, end):
        if span := _trimmed(text, position, gap.start()):
            yield ("paragraph", *span, 0)
        position = gap.end()
    if span := _trimmed(text, position, end):
        yield ("paragraph", *span, 0)


def _coarse(text: str) -> Iterator[_Found]:
    """Headings, tables and paragraphs between blank lines, for texts too long to be parsed in full."""
    for _, start, end, _ in _plain(text, 0, len(text)):
        if end - start < 900 and (mark := _ATX.match(text[start:end])):
            yield ("heading", start, end, len(mark[1]))
        else:
            yield from _tables(text, start, end)


def _markdown(text: str) -> Iterator[_Found]:
    """The top-level blocks of Markdown; whatever lies between them is kept as paragraphs."""
    lines = text.split("\n")
    starts = [0, *accumulate(len(line) + 1 for line in lines)]
    position = 0
    for kind, first, last, level in _tokens(text):
        start, end = starts[first], min(starts[min(last, len(lines))], len(text))
        if end <= position:
            continue
        yield from _plain(text, position, max(start, position))  # link definitions yield no token
        start = max(start, position)
        position = end
        span = _trimmed(text, start, end)
        if span is None:
            continue
        if kind == "paragraph":
            yield from _tables(text, *span)
        elif kind != "heading" or level:
            yield (kind, *span, level)
    yield from _plain(text, position, len(text))


def _tokens(text: str) -> Iterator[tuple[BlockKind, int, int, int]]:
    for token in _parser().parse(text):
        kind = _KINDS.get(token.type)
        if token.level == 0 and token.map is not None and kind is not None:
            level = int(token.tag[1]) if kind == "heading" else 0
            yield kind, token.map[0], token.map[1], level


def _tables(text: str, start: int, end: int) -> Iterator[_Found]:
    """Split a paragraph into words and a table: a header row, a row of dashes, rows to the end.

    The table rule of markdown-it makes several objects for each cell; this finds the same tables at a tenth of it.
    """
    header_start = line_start = start
    while line_start < end:
        newline = text.find("\n", line_start, end)
        line_end = end if newline < 0 else newline
        is_dashes = line_end - line_start < 10_000 and _DELIMITER.match(text[line_start:line_end])
        if is_dashes and line_start > start and "|" in text[header_start:line_start]:
            if span := _trimmed(text, start, header_start):
                yield ("paragraph", *span, 0)
            if span := _trimmed(text, header_start, end):
                yield ("table", *span, 0)
            return
        header_start, line_start = line_start, line_end + 1
    yield ("paragraph", start, end, 0)


def _with_headings(text: str, found: Iterator[_Found]) -> Iterator[Block]:
    path: list[tuple[int, str]] = []
    for kind, start, end, level in found:
        if kind == "heading":
            while path and path[-1][0] >= level:
                path.pop()
            path.append((level, heading_words(text[start:end])))
        yield Block(kind, start, end, tuple(words for _, words in path if words), level)


def heading_words(source: str) -> str:
    """A heading's words: without its marks, emphasis, code marks and link targets."""
    words = source[:2000]
    words = words.rsplit("\n", 1)[0] if "\n" in words and not words.rsplit("\n", 1)[1].strip("=- \t") else words
    words = re.sub(r"^#{1,6}(?=\s|$)", "", words.strip())
    words = re.sub(r"(?<=\s)#+$", "", words.rstrip())
    words = re.sub(r"!?\[([^\[\]]{0,300})\]\([^()\s]{0,1000}\)", r"\1", words)
    words = re.sub(r"\{#[^{}]{0,200}\}$", "", words.rstrip())
    words = re.sub(r"`+|\*\*|__|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)", "", words)
    return " ".join(words.split())[:300]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The range without blanks around it; None where nothing is left."""
    piece = text[start:end]
    stripped = piece.strip()
    if not stripped:
        return None
    start += len(piece) - len(piece.lstrip())
    return start, start + len(stripped)


@functools.cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser
