"""Documents to passages: cut where the structure allows it, of even sizes, never beyond what the embedder reads.

The text is tokenised once; from there on everything is arithmetic on offsets. Cuts are chosen by dynamic programming
over the places where a reader would accept one, so that two passages of 150 word pieces are preferred to 250 + 50.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, inf

import numpy as np

from domicile import definitions
from domicile.errors import DocumentError
from domicile.ports import Embedder, NewChunk, Offsets, SentenceSplitter
from domicile_ingest.parsing.parsed import Parsed
from domicile_ingest.parsing.structure import Block, blocks

CHUNKING = "3"
"""Version of text and chunking: part of the pipeline's fingerprint, raised whenever either yields something else."""

_SPECIALS = 2  # [CLS] and [SEP]
_SEAMS = 8  # pieces that some tokenizers make more where two parts meet
_TINY = 16
_MERGED = 64
_STEP = 6  # word pieces between two places to cut; closer ones only cost time
_FILL = 0.92  # sections beyond one passage are cut so that passages fill this part of the budget
_LONG = 64
# What a cut costs, on the scale of a passage that has twice its proper size (1.0).
_ROW, _BLANK_LINE, _NOTE, _SENTENCE, _LINE, _AFTER_COLON, _WORD, _ANYWHERE = 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0, 3.0


@dataclass(frozen=True, slots=True)
class _Section:
    """Blocks under one heading path, or a few tiny siblings under their parent's."""

    path: tuple[str, ...]
    blocks: tuple[Block, ...]
    merged: bool = False

    @property
    def start(self) -> int:
        return self.blocks[0].start

    @property
    def end(self) -> int:
        return self.blocks[-1].end


def chunk(parsed: Parsed, title: str, embedder: Embedder, splitter: SentenceSplitter) -> list[NewChunk]:
    """Cut a document into passages, in order; a function of its arguments alone.

    Raises:
        DocumentError: there is no text.
    """
    if not parsed.text.strip():
        raise DocumentError("empty", "the document holds no text")
    return _Chunker(parsed, title, embedder, splitter).drafts()


class _Ruler:
    """Counts word pieces between two offsets of a text.

    A word that the tokenizer gives up on is one piece however long it is, and so is a desert of blanks no piece at all;
    both are measured by their length, so that no passage grows without bound.
    """

    def __init__(self, pieces: Offsets) -> None:
        starts, ends = pieces[:, 0], pieces[:, 1]
        before = np.concatenate(([0], np.maximum.accumulate(ends)[:-1])) if len(pieces) else starts
        self.starts = array("i")
        kept = 0
        for at in np.flatnonzero((starts - before > _LONG) | (ends - starts > _LONG)).tolist():
            self.starts.frombytes(np.ascontiguousarray(starts[kept:at]).tobytes())
            self.starts.extend(range(int(before[at]) + _LONG, int(starts[at]), _LONG))
            self.starts.append(int(starts[at]))
            if ends[at] - starts[at] > _LONG:
                self.starts.extend(range(int(starts[at]) + 3, int(ends[at]), 3))
            kept = at + 1
        self.starts.frombytes(np.ascontiguousarray(starts[kept:]).tobytes())

    def at(self, offset: int) -> int:
        """The number of pieces before an offset."""
        return bisect_left(self.starts, offset)


class _Chunker:
    def __init__(self, parsed: Parsed, title: str, embedder: Embedder, splitter: SentenceSplitter) -> None:
        self._parsed = parsed
        self._text = parsed.text
        self._title = " ".join(title[:600].split())
        self._embedder = embedder
        self._splitter = splitter
        self._window = embedder.max_pieces - _SPECIALS
        self._ruler = _Ruler(embedder.pieces(parsed.text))
        self._page_starts = [page.start for page in parsed.pages]
        self._lengths: dict[str, int] = {}

    def drafts(self) -> list[NewChunk]:
        return [draft for section in self._sections() for draft in self._cut(section)]

    # Sections

    def _sections(self) -> list[_Section]:
        found = blocks(self._parsed)
        sections: list[_Section] = []
        body: list[Block] = []
        for number, block in enumerate(found):
            if block.kind != "heading":
                body.append(block)
                continue
            self._close(body, sections)
            following = found[number + 1] if number + 1 < len(found) else None
            if following is None or (following.kind == "heading" and following.level <= block.level):
                # A heading with nothing under it is a statement of its own: nowhere else would it be found.
                self._add(_Section(block.heading, (block,)), sections)
        self._close(body, sections)
        return sections or [_Section((), (Block("paragraph", *_trim(self._text, 0, len(self._text)), ()),))]

    def _close(self, body: list[Block], sections: list[_Section]) -> None:
        if any(block.kind != "rule" for block in body):
            self._add(_Section(body[0].heading, tuple(body)), sections)
        body.clear()

    def _add(self, section: _Section, sections: list[_Section]) -> None:
        """Append a section, or join it to the one before where both are stubs with one parent."""
        last = sections[-1] if sections else None
        if last is not None and self._size(section) <= _TINY:
            parent = section.path[:-1]
            related = last.path == parent or (not last.merged and last.path[:-1] == parent)
            whole = self._ruler.at(section.end) - self._ruler.at(last.start)
            if related and whole <= _MERGED and (last.merged or self._size(last) <= _TINY):
                common = last.path if last.path == parent else parent
                sections[-1] = _Section(common, last.blocks + section.blocks, merged=True)
                return
        sections.append(section)

    def _size(self, section: _Section) -> int:
        return self._ruler.at(section.end) - self._ruler.at(section.start)

    # Cutting

    def _cut(self, section: _Section) -> Iterator[NewChunk]:
        prefix = self._prefix(section.path)
        budget = self._window - self._length(prefix)
        if self._size(section) <= budget:
            yield from self._draft(section, prefix, section.start, section.end, "")
            return
        headers = _Headers(self._text, section.blocks, self._parsed.table, self._ruler, budget // 2)
        places = self._places(section, budget - headers.longest)
        bounds = [*_best_cuts(places, section.end, self._ruler, budget, headers), section.end]
        for start, end in pairwise(bounds):
            yield from self._draft(section, prefix, start, end, headers.at(start)[0])

    def _places(self, section: _Section, most: int) -> list[tuple[int, float]]:
        """Where the section may be cut, with the cost of each cut; no two are more than ``most`` pieces apart."""
        found: list[tuple[int, float]] = []
        for block in section.blocks:
            found.append((block.start, self._cost_before(block)))
            found.extend(self._inside(block))
        kept = [found[0]]
        for place in found[1:]:
            if self._ruler.at(place[0]) - self._ruler.at(kept[-1][0]) >= _STEP:
                kept.append(place)
            elif place[1] < kept[-1][1]:
                kept[-1] = place
        return list(self._refined(kept, section.end, most))

    def _cost_before(self, block: Block) -> float:
        if block.kind == "heading":
            return 0.0
        if self._text[max(0, block.start - 80) : block.start].rstrip().endswith(":"):
            return _AFTER_COLON
        is_note = block.kind == "paragraph" and self._ruler.at(block.end) - self._ruler.at(block.start) < 2 * _STEP
        return _NOTE if is_note and self._text[block.end - 1] in ".)" else 0.0

    def _inside(self, block: Block) -> Iterator[tuple[int, float]]:
        if self._ruler.at(block.end) - self._ruler.at(block.start) < 2 * _STEP:
            return
        if block.kind in ("code", "table"):
            skip = _header_end(self._text, block, self._parsed.table) if block.kind == "table" else block.start
            for match in re.compile(r"\n(\s*\n)?").finditer(self._text, block.start, block.end):
                cost = _ROW if block.kind == "table" else _BLANK_LINE if match[1] else _LINE
                if match.end() > skip:
                    yield match.end(), cost
            return
        for start, _ in self._splitter.split(self._text[block.start : block.end]):
            offset = block.start + start
            line = self._text.rfind("\n", block.start, offset) + 1
            marks = self._text[line:offset] if line else ""
            if line and not any(map(str.isalnum, marks)):  # a bullet or a quote mark goes with its words
                depth = len(marks) - len(marks.lstrip())
                yield line, _ROW * (1 + min(depth // 2, 3)) if marks.strip() else _SENTENCE / 2
            elif offset > block.start:
                yield offset, _SENTENCE

    def _refined(self, places: list[tuple[int, float]], end: int, most: int) -> Iterator[tuple[int, float]]:
        """Add places between words, at last between characters, where the others are too far apart."""
        starts = self._ruler.starts
        step = max(1, min(_STEP, most // 4))
        for number, place in enumerate(places):
            yield place
            first = self._ruler.at(place[0])
            last = self._ruler.at(places[number + 1][0] if number + 1 < len(places) else end)
            if last - first <= most:
                continue
            previous = first
            for index in range(first + 1, last):
                offset = starts[index]
                if index - previous >= step and self._text[offset - 1].isspace() and not self._text[offset].isspace():
                    yield offset, _WORD
                    previous = index
                elif index - previous >= max(1, most // 2):
                    yield offset, _ANYWHERE
                    previous = index

    # Passages

    def _draft(self, section: _Section, prefix: str, start: int, end: int, context: str) -> Iterator[NewChunk]:
        start, end = _trim(self._text, start, end)
        if start == end:
            return
        text = self._text[start:end]
        indexed = "\n".join(part for part in (prefix, context, text) if part)
        if not self._surely_fits(prefix, context, start, end) and len(self._embedder.pieces(indexed)) > self._window:
            # A word that was one unknown piece may be many known ones once it is cut.
            if end - start < 2:
                raise AssertionError(f"a passage of one character exceeds {self._window} word pieces: {prefix!r}")
            middle = self._middle(start, end)
            yield from self._draft(section, prefix, start, middle, context)
            yield from self._draft(section, prefix, middle, end, context)
            return
        page = (
            self._parsed.pages[max(0, bisect_right(self._page_starts, start) - 1)].number if self._page_starts else None
        )
        yield NewChunk(section.path, page, start, end, text, context, indexed)

    def _surely_fits(self, prefix: str, context: str, start: int, end: int) -> bool:
        """Whether a passage of whole words fits by the pieces of its parts, so that it need not be tokenised again."""
        whole = (start == 0 or self._text[start - 1].isspace()) and (
            end == len(self._text) or self._text[end].isspace()
        )
        body = self._ruler.at(end) - self._ruler.at(start)
        return whole and self._length(prefix) + self._length(context) + body + _SEAMS <= self._window

    def _middle(self, start: int, end: int) -> int:
        middle = (start + end) // 2
        blank = self._text.rfind(" ", start + 1, middle)
        return blank if blank > (start + middle) // 2 else middle

    def _prefix(self, path: tuple[str, ...]) -> str:
        """Title and heading path, shortened to half the window: the end of the path says most."""
        half = self._window // 2
        shown = list(path)
        if shown and shown[0].casefold() == self._title.casefold():
            del shown[0]
        while len(shown) > 1 and self._length(_join(self._title, shown)) > half:
            del shown[0]
        title = self._title
        if self._length(_join(title, shown)) > half:
            if shown:
                shown = [self._shortened(shown[0], half // 2)]
            title = self._shortened(title, half - self._length(_join("", shown)))
        return _join(title, shown)

    def _length(self, text: str) -> int:
        """Word pieces of a short text, remembered: a document has few headings and many passages."""
        if text not in self._lengths:
            self._lengths[text] = len(self._embedder.pieces(text))
        return self._lengths[text]

    def _shortened(self, text: str, most: int) -> str:
        pieces = self._embedder.pieces(text)
        return text if len(pieces) <= most else text[: int(pieces[most - 1, 1])] if most > 0 else ""


class _Headers:
    """What stands above the passages that begin inside a table or a definition: its header row, or its term."""

    def __init__(self, text: str, found: Sequence[Block], whole: bool, ruler: _Ruler, most: int) -> None:
        self._tables: list[tuple[int, int, str, int]] = []
        for block in found:
            if block.kind == "table":
                header = text[block.start : block.end].split("\n", 1)[0]
                first, last = ruler.at(block.start), ruler.at(block.start + len(header))
                if last - first > most:
                    header, last = text[block.start : ruler.starts[first + most]].rstrip(), first + most
                self._tables.append((_header_end(text, block, whole), block.end, header, last - first))
        self._starts = [start for start, *_ in self._tables]
        self._origin = found[0].start
        paragraphs = any(block.kind == "paragraph" for block in found)
        self._terms = definitions.terms(text[self._origin : found[-1].end]) if paragraphs else []
        self._sizes = [self._size(term, ruler, most) for term in self._terms]
        self.longest = max([*(size for *_, size in self._tables), *self._sizes], default=0)

    def at(self, offset: int) -> tuple[str, int]:
        """The header or the term above an offset, and its word pieces."""
        place = bisect_right(self._starts, offset) - 1
        if place >= 0 and offset < self._tables[place][1]:
            return self._tables[place][2:]
        number = definitions.in_force(self._terms, offset - self._origin)
        if number is not None and self._sizes[number]:
            return self._terms[number].name, self._sizes[number]
        return "", 0

    def _size(self, term: definitions.Term, ruler: _Ruler, most: int) -> int:
        """The word pieces of a term, and of the marks between its lines; 0 where it has no place beside a passage."""
        size = ruler.at(self._origin + term.end) - ruler.at(self._origin + term.start) + definitions.MAX_TERM_LINES
        return size if term.name and size <= most else 0


def _header_end(text: str, block: Block, whole: bool) -> int:
    """Where the first row under the header begins."""
    position = block.start
    for _ in range(1 if whole else 2):
        newline = text.find("\n", position, block.end)
        if newline < 0:
            return block.end
        position = newline + 1
    return position


def _best_cuts(
    places: Sequence[tuple[int, float]], end: int, ruler: _Ruler, budget: int, headers: _Headers
) -> list[int]:
    """The starts of the passages that cost least together: deviation from an even size, plus the cost of each cut."""
    positions = [*(ruler.at(offset) for offset, _ in places), ruler.at(end)]
    costs = [*(cost for _, cost in places), 0.0]
    budgets = [budget - headers.at(offset)[1] for offset, _ in places]
    whole = positions[-1] - positions[0]
    even = whole / max(1, ceil(whole / (_FILL * (budget - headers.longest))))
    best = [0.0] + [inf] * len(places)
    before = [0] * len(positions)
    for last in range(1, len(positions)):
        for first in range(last - 1, -1, -1):
            size = positions[last] - positions[first]
            if size > budget and first < last - 1:
                break
            # Two neighbouring places are never too far apart, but for a word that counts anew once it is cut.
            if size > budgets[first] and first < last - 1:
                continue
            cost = best[first] + (size / even - 1) ** 2 + costs[last]
            if cost < best[last]:
                best[last], before[last] = cost, first
    cuts = []
    place = before[-1]
    while place > 0:
        cuts.append(places[place][0])
        place = before[place]
    return [places[0][0], *reversed(cuts)]


def _join(title: str, path: Sequence[str]) -> str:
    return "\n".join(part for part in (title, " > ".join(path)) if part)


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    stripped = piece.strip()
    start += len(piece) - len(piece.lstrip())
    return start, start + len(stripped)
