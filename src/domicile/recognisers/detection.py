"""What a detector is, and what one finds in a folded text. Pure.

A pattern finds where something might begin; ``extent`` says where it ends, or that it is none. Patterns look at each
character a bounded number of times: they repeat possessively, or a bounded number of times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

PERSONAL = frozenset({"pii"})
PAYMENT = frozenset({"pii", "pci"})
CREDENTIAL = frozenset({"credential"})
NONE = -1
"""Instead of an end: what the pattern found is none."""
_NUMBER = re.compile(r"[0-9](?:[^0-9]{0,4}[0-9]){4}")
_BEFORE = 40
_AFTER = 25

Extent = Callable[[re.Match[str]], int]


@dataclass(frozen=True, slots=True)
class Detection:
    """Something found in a text.

    Attributes:
        name: of the detector, such as ``EMAIL``.
        categories: of the label that the text gets, such as ``pii``.
        start, end: code points of the text as it was given, half open.
    """

    name: str
    categories: frozenset[str]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class View:
    """A folded text, with what spares most detectors a look at it.

    Attributes:
        lowered: the text in lower case.
        numbers: whether five digits stand near each other anywhere.
    """

    text: str
    lowered: str
    numbers: bool

    @classmethod
    def of(cls, text: str) -> View:
        return cls(text, text.lower(), _NUMBER.search(text) is not None)


def whole(match: re.Match[str]) -> int:
    return match.end()


@dataclass(frozen=True, slots=True)
class Detector:
    """Finds one kind of thing.

    Attributes:
        name: upper-case; a redacted text has it in square brackets.
        pattern: over a folded text, see ``domicile.recognisers.folding``. What it finds begins with its group
            ``found`` where it has one.
        hints: of which one stands in every text, in lower case, that has something to find; empty is no hint.
        numeric: has five digits near each other.
        extent: where that which the pattern found ends.
        near: of which a match stands shortly before or after, on the same line; ``None`` needs none.
    """

    name: str
    pattern: re.Pattern[str]
    categories: frozenset[str] = PERSONAL
    hints: tuple[str, ...] = ()
    numeric: bool = False
    extent: Extent = whole
    near: re.Pattern[str] | None = None

    def found(self, view: View) -> Iterator[tuple[int, int]]:
        """Spans in a folded text."""
        if self.numeric and not view.numbers:
            return
        if self.hints and not any(hint in view.lowered for hint in self.hints):
            return
        text = view.text
        group = self.pattern.groupindex.get("found", 0)
        for match in self.pattern.finditer(text):
            start, end = match.start(group), self.extent(match)
            if end > start and (self.near is None or has_near(self.near, text, start, end)):
                yield start, end


def has_near(words: re.Pattern[str], text: str, start: int, end: int) -> bool:
    before = text[max(0, start - _BEFORE) : start].rpartition("\n")[2]
    after = text[end : end + _AFTER].partition("\n")[0]
    return words.search(before) is not None or words.search(after) is not None


def words(*alternatives: str) -> re.Pattern[str]:
    """Any of these, each a pattern, from the beginning of a word on, in any case."""
    return re.compile(rf"(?i)(?<![^\W_])(?:{'|'.join(alternatives)})")


def apart(first: str, rest: str) -> re.Pattern[str]:
    """A pattern that is no part of a longer word or number.

    Args:
        first: one character or class. It stands before the look-behind because a search for a class is fast.
    """
    return re.compile(rf"{first}(?<![0-9A-Za-z]{first})(?<![0-9][.,/-]{first}){rest}(?![0-9A-Za-z])(?![.,/-][0-9])")


def checked(valid: Callable[[str], bool], separators: str = " .-/") -> Extent:
    """The whole match, where it is valid without its separators."""
    drop = str.maketrans("", "", separators)

    def extent(match: re.Match[str]) -> int:
        return match.end() if valid(match.group().translate(drop)) else NONE

    return extent
