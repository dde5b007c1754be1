"""Sentences, list items and table rows with exact offsets. The only home of ``sentencex``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_MAX_SENTENCE = 600
_MIN_PART = 200
_BULLET = re.compile(r"[ \t]*[-*+•◦▪‣][ \t]+(?=\S)")
_NUMBER = re.compile(r"[ \t]*\(?(?:\d{1,3}(?:\.\d{1,3}){0,3}|[A-Za-z]|[ivx]{1,4})[.)][ \t]+")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(?=\S)")
_FENCE = re.compile(r" {0,3}(?:```|~~~)")
_RULE = re.compile(r"[ \t]*(?:[-=*_:|+~][ \t]*){3,}$")
_QUOTE = re.compile(r"[ \t]*(?:>[ \t]?)+")
_CLAUSE_END = re.compile(r"[;:,][)\"'”\u2019\]]*\s+|\s[\u2013—]\s+")
_BLANK = re.compile(r"\s+")
# Abbreviations that the library takes for the end of a sentence when a number or a small letter follows.
_ABBREVIATION = re.compile(
    r"\b(?:Nos?|Nr|Arts?|Secs?|Figs?|Eqs?|Refs?|Vols?|pp?|Ch|[Aa]pprox|ca|cf|vs|al|St|resp|incl|Abs|Tel|Ext|Para)\.\s*$"
)
_LATIN = re.compile(r"\b(?:e\.\s?g|i\.\s?e|z\.\s?B|d\.\s?h)\.\s*$")


class SentencexSplitter:
    """Implements ``domicile.ports.SentenceSplitter``.

    Args:
        language: ISO 639-1; decides which abbreviations do not end a sentence.
    """

    def __init__(self, language: str = "en") -> None:
        from sentencex import segment

        self._segment = segment
        self._language = language

    def split(self, text: str) -> list[tuple[int, int]]:
        """Offsets of the sentences, list items, table rows and headings of ``text``, in order.

        A paragraph of fenced code is one unit. No span is empty, has blanks around it, or begins with the mark of
        a bullet or a quote; lines that only draw are left out. A heading keeps its mark, by which a caller knows it.
        None is longer than 600 characters.
        """
        spans: list[tuple[int, int]] = []
        for start, end, prose in _units(text):
            for first, last in self._sentences(text, start, end) if prose else [(start, end)]:
                spans.extend(_bounded(text, *_trimmed(text, first, last)))
        return spans

    def _sentences(self, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Sentences of a run of prose; the library's pieces add up to the text, which gives their offsets."""
        parts: Sequence[str] = self._segment(self._language, text[start:end])
        if sum(map(len, parts)) != end - start:  # without exact offsets the whole run is one sentence
            parts = [text[start:end]]
        first = position = start
        for number, part in enumerate(parts, 1):
            position += len(part)
            following = parts[number][:1] if number < len(parts) else ""
            numbered = first == start and _NUMBER.fullmatch(text, start, position) is not None
            if not numbered and not _goes_on(text[max(first, position - 16) : position], following):
                yield first, position
                first = position
        if first < end:
            yield first, end


def _goes_on(tail: str, following: str) -> bool:
    if not following:
        return False
    if tail[-1].isascii() and not tail[-1].isspace() and not following.isspace():  # a dotted name, such as os.path
        return True
    if _LATIN.search(tail):
        return True
    return not following.isupper() and _ABBREVIATION.search(tail) is not None


def _units(text: str) -> Iterator[tuple[int, int, bool]]:
    """Cut a text into ``(start, end, is it prose)`` at blank lines, marks and rows."""
    fenced = False
    for lines in _paragraphs(text):
        first = 0
        for number, (start, end) in enumerate(lines):
            if _FENCE.match(text, start, end):
                yield from _code(lines[first:number]) if fenced else _lines_of_prose(text, lines[first:number])
                fenced, first = not fenced, number + 1
        yield from _code(lines[first:]) if fenced else _lines_of_prose(text, lines[first:])


def _paragraphs(text: str) -> Iterator[list[tuple[int, int]]]:
    """Runs of lines that are not blank, as offsets."""
    lines: list[tuple[int, int]] = []
    position = 0
    for line in text.split("\n"):
        if line.strip():
            lines.append((position, position + len(line)))
        elif lines:
            yield lines
            lines = []
        position += len(line) + 1
    if lines:
        yield lines


def _code(lines: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, bool]]:
    if lines:
        yield lines[0][0], lines[-1][1], False


def _lines_of_prose(text: str, lines: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, bool]]:
    """Rows one by one, headings and list items apart, the other lines joined to runs."""
    rows = _are_rows([text[start:end] for start, end in lines])
    width = max((end - start for start, end in lines), default=0)
    run: int | None = None
    previous = 0
    for start, end in lines:
        mark = _mark(text, start, end)
        alone = rows or _HEADING.match(text, start, end) is not None or _RULE.match(text, start, end) is not None
        apart = alone or mark is not None
        if run is not None and (apart or _was_broken_on_purpose(text, run, previous, start, end, width)):
            yield run, previous, True
            run = None
        if alone:
            if not _RULE.match(text, start, end):
                yield start if rows or mark is None else mark, end, False
        elif run is None:
            run = start if mark is None else mark
        previous = end
    if run is not None:
        yield run, previous, True


def _mark(text: str, start: int, end: int) -> int | None:
    """Where the words of a line begin that opens a unit of its own; None for a line that goes on."""
    if quote := _QUOTE.match(text, start, end):
        return quote.end()
    if bullet := _BULLET.match(text, start, end):
        return bullet.end()
    return start if _NUMBER.match(text, start, end) else None


def _was_broken_on_purpose(text: str, run: int, previous: int, start: int, end: int, width: int) -> bool:
    """Whether the line before ``start`` ended although the next word would have fitted: an address, a term, a title."""
    line_start = max(run, text.rfind("\n", 0, previous) + 1)
    word = re.compile(r"\s*\S{0,80}").match(text, start, end)
    room = width - (previous - line_start) - (word.end() - start if word else 0)
    opener = text[start:end].lstrip()[:1]
    return (
        room > 12
        and text[previous - 1] not in ",-\u2013"
        and (opener.isupper() or opener.isdigit() or opener in "“\"'([")
    )


def _are_rows(lines: Sequence[str]) -> bool:
    """Whether every line is a row of a table: pipes, tabs, or commas and semicolons without a blank after them."""
    if all(line.lstrip().startswith("|") for line in lines):
        return True
    if all("\t" in line.strip() for line in lines):
        return True
    if len(lines) > 1 and all("|" in line for line in lines):
        return True
    needed = 2 if len(lines) < 3 else 1
    return any(all(_separators(line, separator) >= needed for line in lines) for separator in ",;") and len(lines) > 1


def _separators(line: str, separator: str) -> int:
    """Separators that no blank follows and that stand not between two digits."""
    return len(re.findall(rf"(?<!\d){separator}(?=\S)|{separator}(?=[^\s\d])", line))


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    stripped = piece.strip()
    start += len(piece) - len(piece.lstrip())
    return start, start + len(stripped)


def _bounded(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The span, cut into parts of at most 600 characters at clauses, else at blanks, else anywhere."""
    while end - start > _MAX_SENTENCE:
        window = (start + _MIN_PART, start + _MAX_SENTENCE)
        cut = start + _MAX_SENTENCE
        for pattern in (_CLAUSE_END, _BLANK):
            found = [match.end() for match in pattern.finditer(text, *window)]
            if found:
                cut = found[-1]
                break
        yield _trimmed(text, start, cut)
        start = _trimmed(text, cut, end)[0]
    if start < end:
        yield start, end
