"""Terms of definition lists, as manuals have them: what "The default is 100" is the default of. Pure.

A term is the short first line (or up to three) of a paragraph that goes on below it although there was room beside it::

    max_connections (integer)
    Determines the maximum number of concurrent connections to the database server. The default is typically 100.

It is in force until the next term or heading, over as many paragraphs as that takes.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAX_TERM_CHARACTERS = 80
MAX_TERM_LINES = 3
_ROOM = 20
"""Characters that stayed free at the end of a line; where a text is merely wrapped, less than a word's length does."""

_PARAGRAPH = re.compile(r"\S.*(?:\n(?!\s*\n).*)*")
_MARKED = re.compile(r"[ \t]*(?:#|\||```|~~~|>|[-*+•][ \t]|\d+[.)][ \t])")
_HEADING = re.compile(r"#{1,6}[ \t]")
_OPENS = re.compile(r"[ \t]*[\"'“(]?[A-Z0-9]")


@dataclass(frozen=True, slots=True)
class Term:
    """A term and the half-open range of its own lines; an empty name ends the one before it."""

    name: str
    start: int
    end: int


def terms(text: str) -> list[Term]:
    """The terms of a text in order, and where they end."""
    return list(_terms(text))


def in_force(found: Sequence[Term], offset: int) -> int | None:
    """Which of these terms the words at an offset define; ``None`` for a term's own lines and where there is none."""
    place = bisect_right(found, offset, key=lambda term: term.start) - 1
    return place if place >= 0 and found[place].name and offset >= found[place].end else None


def _terms(text: str) -> Iterator[Term]:
    for paragraph in _PARAGRAPH.finditer(text):
        if _HEADING.match(paragraph[0]):
            yield Term("", paragraph.start(), paragraph.start())
        elif not _MARKED.match(paragraph[0]):
            lines = paragraph[0].split("\n")
            count = _term_lines(lines)
            if count:
                end = paragraph.start() + sum(len(line) + 1 for line in lines[:count])
                yield Term("; ".join(line.strip() for line in lines[:count]), paragraph.start(), end)


def _term_lines(lines: Sequence[str]) -> int:
    """How many of the first lines of a paragraph are terms."""
    width = max(map(len, lines))
    for number, line in enumerate(lines[: MAX_TERM_LINES + 1]):
        shown = line.rstrip()
        if len(shown) > MAX_TERM_CHARACTERS or shown.endswith((".", ":", ";", ",", "!")) or width - len(shown) <= _ROOM:
            return number if number and _OPENS.match(line) else 0
    return 0
