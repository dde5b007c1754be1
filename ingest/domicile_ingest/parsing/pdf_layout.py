"""Lines of printed pages to Markdown: headings, paragraphs, lists and tables by size and place. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Literal

from domicile.domain import Page
from domicile_ingest.parsing.markdown_table import table

HYPHEN = "\u00ad"
"""At the end of a line: the word goes on in the next one."""

# Bullets that Markdown knows, or that no font but the author's has, become its bullet; the others stay as printed.
_FOREIGN_BULLET = re.compile(r"[\uf0b7\uf0a7\uf0d8\uf0fc*\u2013-]\s+(?=\S)|o\s+(?=[A-Z])")
_BULLET = re.compile(r"[•●○▪■□◦‣\u2043∙·]\s*(?=\S)|" + _FOREIGN_BULLET.pattern)
_NUMBERED = re.compile(r"(?:\(?\d{1,3}[.)]|\(?[a-z][.)]|\[\d{1,3}\])\s+(?=\S)")
_PAGE_NUMBER = re.compile(
    r"(?:page|seite|p\.)?\s*[-\u2013]?\s*(?:\d{1,4}|[ivxlc]{1,6})\s*[-\u2013]?(\s*(?:/|of|von)\s*\d{1,4})?",
    re.IGNORECASE,
)
_BIGGER = 1.13
_MAX_PARAGRAPH = 20_000  # characters; joining lines without end would take quadratic time


@dataclass(frozen=True, slots=True)
class Cell:
    """Words of a line up to the next wide gap, and where they stand."""

    text: str
    left: float
    right: float


@dataclass(frozen=True, slots=True)
class Line:
    """A printed line; ``top`` and ``bottom`` are those of its font, and grow upwards."""

    cells: tuple[Cell, ...]
    top: float
    bottom: float
    bold: bool = False

    @property
    def text(self) -> str:
        return " ".join(cell.text for cell in self.cells)

    @property
    def size(self) -> float:
        return abs(self.top - self.bottom)

    @property
    def left(self) -> float:
        return self.cells[0].left

    @property
    def right(self) -> float:
        return self.cells[-1].right


@dataclass(slots=True)
class _Block:
    kind: Literal["heading", "paragraph", "item", "table"]
    parts: list[tuple[int, str]]
    """Page number and words; the parts of a paragraph that crosses pages."""
    level: int = 0


def lay_out(pages: Sequence[Sequence[Line]]) -> tuple[str, tuple[Page, ...]]:
    """The text of all pages and the range of each."""
    merged = [_rows(lines) for lines in pages]
    bare = _without_furniture(merged)
    sizes = _Sizes([line for lines in bare for line in lines])
    words = Counter(re.findall(r"\w+(?:-\w+)*", "\n".join(line.text for lines in bare for line in lines)))
    blocks: list[_Block] = []
    for number, lines in enumerate(bare, 1):
        _Composer(number, sizes, words).compose(lines, blocks)
    return _written(blocks, len(pages))


def _rows(lines: Sequence[Line]) -> list[Line]:
    """Lines that stand beside each other become one row of cells, as the cells of tables do."""
    done: list[Line] = []
    for line in lines:
        last = done[-1] if done else None
        if last is not None and _beside(last, line):
            done[-1] = replace(last, cells=last.cells + line.cells)
        else:
            done.append(line)
    return done


def _beside(last: Line, line: Line) -> bool:
    level = abs(last.bottom - line.bottom) < 0.3 * min(last.size, line.size)
    return level and line.size > 0 and line.left >= last.right - 1


def _without_furniture(pages: list[list[Line]]) -> list[list[Line]]:
    """Take out what is repeated at the top or bottom of pages, and page numbers there."""
    seen: Counter[str] = Counter()
    edges = [_edges(lines) for lines in pages]
    for lines, places in zip(pages, edges, strict=True):
        seen.update({_likeness(lines[place]) for place in places})
    needed = max(2, 0.4 * sum(1 for lines in pages if lines))
    kept = []
    for lines, places in zip(pages, edges, strict=True):
        drop = {
            place
            for place in places
            if _is_page_number(lines[place], len(pages)) or seen[_likeness(lines[place])] >= needed
        }
        kept.append([line for place, line in enumerate(lines) if place not in drop])
    return kept


def _edges(lines: list[Line]) -> list[int]:
    """The two highest and the two lowest lines of a page."""
    order = sorted(range(len(lines)), key=lambda place: -lines[place].top)
    return sorted({*order[:2], *order[-2:]}) if len(lines) > 4 else order[:1] + order[-1:] if len(lines) > 1 else []


def _likeness(line: Line) -> str:
    """What repeated lines share; the size tells a title from the running head that repeats it."""
    words = re.sub(r"\d+", "#", line.text.casefold())
    return f"{round(line.size)} {words}"


def _is_page_number(line: Line, count: int) -> bool:
    match = _PAGE_NUMBER.fullmatch(line.text.strip())
    return match is not None and (count > 1 or match[1] is not None)  # a lone number on a lone page may be content


class _Sizes:
    """What is body text in this document, and what is bigger."""

    def __init__(self, lines: Sequence[Line]) -> None:
        weight: Counter[float] = Counter()
        bold = 0
        for line in lines:
            weight[round(line.size * 2) / 2] += len(line.text)
            bold += len(line.text) if line.bold else 0
        self.body = max(weight, key=lambda size: (weight[size], -size), default=0.0)
        self._bold_counts = bold < 0.3 * max(1, weight.total())
        bigger = sorted((size for size in weight if size > self.body * _BIGGER), reverse=True)
        self._levels: list[float] = []
        for size in bigger:
            if not self._levels or size < 0.95 * self._levels[-1]:
                self._levels.append(size)
        big = sum(weight[size] for size in bigger)
        if big > 0.4 * weight.total():  # posters and slides: size says nothing
            self._levels = []

    def level(self, line: Line) -> int:
        """The heading level that a line looks like; 0 for body text."""
        text = line.text
        if len(text) > 200 or len(line.cells) > 2 or not any(map(str.isalpha, text)) or len(text) < 3:
            return 0
        for level, size in enumerate(self._levels, 1):
            if line.size >= 0.95 * size and line.size > self.body * _BIGGER:
                return min(level, 4)
        plain = text.rstrip()
        emphasised = line.bold and self._bold_counts and line.size >= 0.9 * self.body
        if emphasised and len(text) <= 100 and plain[-1] not in ".,;:":
            return 0 if _BULLET.match(text) else min(len(self._levels) + 1, 5)
        return 0


class _Composer:
    """Puts the lines of one page together; the last paragraph of the page before may go on."""

    def __init__(self, page: int, sizes: _Sizes, words: Counter[str]) -> None:
        self._page = page
        self._sizes = sizes
        self._words = words

    def compose(self, lines: list[Line], blocks: list[_Block]) -> None:
        pitch = _pitch(lines)
        place = 0
        previous: Line | None = None
        while place < len(lines):
            rows = _table_length(lines, place)
            if rows:
                for block in table(_columns(lines[place : place + rows])):
                    blocks.append(_Block("table", [(self._page, block)]))
                place += rows
                previous = None
                continue
            line = lines[place]
            following = lines[place + 1] if place + 1 < len(lines) else None
            self._line(line, previous, following, pitch, blocks)
            previous = line
            place += 1

    def _line(
        self, line: Line, previous: Line | None, following: Line | None, pitch: float, blocks: list[_Block]
    ) -> None:
        level = self._sizes.level(line)
        if level and line.size <= self._sizes.body * _BIGGER and not _stands_alone(line, previous, following, pitch):
            level = 0  # bold words inside a paragraph
        last = blocks[-1] if blocks else None
        if level:
            together = last is not None and last.kind == "heading" and last.level == level and previous is not None
            if together and last is not None and previous is not None and 0 < previous.top - line.top < 1.6 * line.size:
                last.parts.append((self._page, line.text))
            else:
                blocks.append(_Block("heading", [(self._page, line.text)], level))
        elif last is not None and self._goes_on(last, line, previous, pitch):
            self._append(last, line.text)
        elif match := _BULLET.match(line.text):
            foreign = _FOREIGN_BULLET.match(line.text)
            words = f"- {line.text[match.end() :]}" if foreign else line.text
            blocks.append(_Block("item", [(self._page, words)]))
        else:
            kind: Literal["item", "paragraph"] = "item" if _NUMBERED.match(line.text) else "paragraph"
            blocks.append(_Block(kind, [(self._page, line.text)]))

    def _goes_on(self, last: _Block, line: Line, previous: Line | None, pitch: float) -> bool:
        if last.kind not in ("paragraph", "item") or _BULLET.match(line.text) or _NUMBERED.match(line.text):
            return False
        if len(last.parts[-1][1]) > _MAX_PARAGRAPH:
            return False
        ended = last.parts[-1][1][-1] in '.!?:;"”'
        opener = line.text[0]
        if previous is None:  # the first line of a page, or one after a table
            return last.parts[-1][0] != self._page and not ended and opener.islower()
        if abs(previous.size - line.size) > 0.12 * max(previous.size, line.size):
            return False
        step = previous.top - line.top
        if step < -0.5 * line.size:  # the next column
            return not ended or opener.islower()
        if step > max(1.3 * pitch, 1.05 * line.size):
            return opener.islower() and not ended and step < 2.5 * pitch
        indented = line.left > previous.left + 0.8 * line.size and last.kind == "paragraph"
        if ended and indented:
            return False
        return not _was_broken_on_purpose(previous, line)

    def _append(self, block: _Block, words: str) -> None:
        page, text = block.parts[-1]
        if text.endswith(HYPHEN):
            joined = text[:-1] + words
        elif text.endswith("-") and words[:1].islower() and self._was_divided(text, words):
            joined = text[:-1] + words
        elif text.endswith("-") and len(text) > 1 and text[-2].isalnum():
            joined = text + words
        else:
            joined = f"{text} {words}"
        if page == self._page:
            block.parts[-1] = (page, joined)
        elif joined == f"{text} {words}":
            block.parts.append((self._page, words))
        else:
            block.parts[-1] = (page, joined)

    def _was_divided(self, text: str, words: str) -> bool:
        """Whether a hyphen at a line's end only divides a word: elsewhere it is written without, or never with one."""
        first, second = re.search(r"\w*(?=-$)", text), re.match(r"\w+", words)
        if first is None or second is None or not first[0] or not first[0][-1].isalpha():
            return False
        return self._words[f"{first[0]}-{second[0]}"] <= self._words[first[0] + second[0]]


def _pitch(lines: Sequence[Line]) -> float:
    """The usual distance between two lines of a page."""
    steps = [(above.top - below.top, below.size) for above, below in pairwise(lines)]
    usual = [step for step, size in steps if 0.5 * size < step < 2.5 * size]
    return median(usual) if usual else 0.0


def _stands_alone(line: Line, previous: Line | None, following: Line | None, pitch: float) -> bool:
    """Whether a bold line is set apart: not in the middle of running text."""
    before = previous is None or previous.bold or previous.text[-1] in '.!?:;)”"'
    before = before or previous is None or not 0 < previous.top - line.top < 1.3 * pitch
    after = following is not None and not following.text[0].islower()
    return before and after


def _was_broken_on_purpose(previous: Line, line: Line) -> bool:
    """Whether the next word would have fitted on the line before."""
    width = (line.right - line.left) / max(1, len(line.text))
    room = max(line.right, previous.right) - previous.right
    word = len(line.text.split(" ", 1)[0]) + 3
    opener = line.text[0]
    return room > word * width and (opener.isupper() or opener.isdigit()) and previous.text[-1] not in ",-" + HYPHEN


def _table_length(lines: Sequence[Line], place: int) -> int:
    """How many lines from here on are rows of one table; 0 if they are none."""
    end = place
    while end < len(lines) and len(lines[end].cells) > 1:
        end += 1
    rows = end - place
    widest = max((len(line.cells) for line in lines[place:end]), default=0)
    # Two lines of two cells may be a letterhead; the cells of a table are short or at least three abreast.
    if rows < 2 or (rows < 3 and widest < 3) or widest > 60:
        return 0
    return rows


def _columns(lines: Sequence[Line]) -> list[list[str]]:
    """Sort the cells of rows into the columns of the row that has most of them."""
    widest = max(lines, key=lambda line: len(line.cells))
    columns = [(cell.left, cell.right) for cell in widest.cells]
    grid = []
    for line in lines:
        row = [""] * len(columns)
        for cell in line.cells:
            place = max(range(len(columns)), key=lambda number: _overlap(cell, *columns[number]))
            row[place] = f"{row[place]} {cell.text}".strip()
        grid.append(row)
    return grid


def _overlap(cell: Cell, left: float, right: float) -> float:
    """How much two ranges share; negative is their distance."""
    return min(cell.right, right) - max(cell.left, left)


def _written(blocks: Sequence[_Block], count: int) -> tuple[str, tuple[Page, ...]]:
    """Blocks to text; a page starts where its first words do."""
    text: list[str] = []
    length = 0
    starts: dict[int, int] = {}
    previous: _Block | None = None
    for block in blocks:
        separator = "" if previous is None else "\n" if block.kind == previous.kind == "item" else "\n\n"
        if block.kind == "heading":
            separator += "#" * block.level + " "
        for page, words in block.parts:
            words = words.rstrip(HYPHEN)
            starts.setdefault(page, length + len(separator))
            text += (separator, words)
            length += len(separator) + len(words)
            separator = " "
        previous = block
    ranges: list[Page] = []
    end = length
    for number in range(count, 0, -1):
        start = starts.get(number, end)
        ranges.append(Page(number, start, end))
        end = start
    return "".join(text), tuple(reversed(ranges))
