"""Personal data and secrets in a question: what is found, the label that it makes, the text without it. Pure.

Detection only ever narrows: what is found raises the label of a question and of what was said before. What is not
found proves nothing: names, addresses and stories of people have no pattern.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from domicile.domain import Sensitivity
from domicile.errors import LabelError
from domicile.labels import PartialLabel
from domicile.recognisers.contacts import CONTACTS
from domicile.recognisers.credentials import CREDENTIALS
from domicile.recognisers.detection import CREDENTIAL, Detection, Detector, View
from domicile.recognisers.folding import Folded, fold
from domicile.recognisers.national import NATIONAL_IDS
from domicile.recognisers.payments import PAYMENTS

_ROUNDS = 8
_LINES = 2
_WORD = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


DETECTORS: tuple[Detector, ...] = (*CREDENTIALS, *PAYMENTS, *NATIONAL_IDS, *CONTACTS)
"""Those of the product; a deployment adds its own, see ``custom``."""


def custom(name: str, pattern: str, categories: Iterable[str]) -> Detector:
    """A detector of an operator's own regular expression.

    It is looked for in the folded text (see ``domicile.folding``). Its time is the operator's own risk: a repeated
    group that itself repeats, such as ``(a+)+``, can take minutes on a text of some dozen characters.

    Args:
        name: a lower-case word; a redacted text has it in upper case.

    Raises:
        LabelError: the name, the expression or a category is malformed, or the expression finds the empty text.
    """
    if not _WORD.fullmatch(name):
        raise LabelError("detectors.name", f"{name!r} must be a lower-case word")
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise LabelError(f"detectors.{name}", f"is no regular expression: {error}") from None
    if compiled.search("") is not None:
        raise LabelError(f"detectors.{name}", "must not match the empty text")
    found = frozenset(categories)
    if not found or not all(_WORD.fullmatch(category) for category in found):
        raise LabelError(f"detectors.{name}", "categories must be a list of lower-case words, and not empty")
    return Detector(name.upper(), compiled, found)


def detect(text: str, detectors: Sequence[Detector] = DETECTORS) -> tuple[Detection, ...]:
    """Everything found, in the order of the text; spans may overlap.

    What is found is taken out and its surroundings are looked at again, since that can bring a word and a number
    together: in the text that ``redact`` makes of it the same detectors find nothing.
    """
    found = set(_seen(text, detectors))
    for _ in range(_ROUNDS):
        masked = _masked(text, found)
        covered = _merged(found)
        new = {
            each
            for start, end in masked.surroundings()
            for each in map(masked.original(start), _seen(masked.text[start:end], detectors))
            if not _inside(each, covered)
        }
        if not new:
            return _outermost(found)
        found |= new
    return (Detection("TEXT", frozenset().union(*(each.categories for each in found)), 0, len(text)),)


def _inside(each: Detection, spans: Sequence[tuple[int, int, str]]) -> bool:
    at = bisect_right(spans, each.start, key=lambda span: span[0]) - 1
    return at >= 0 and each.end <= spans[at][1]


def _seen(text: str, detectors: Sequence[Detector]) -> Iterator[Detection]:
    folded = fold(text)
    yield from _seen_in(folded, detectors)
    if folded.invisible:
        yield from _seen_in(fold(text, " "), detectors)


def _seen_in(folded: Folded, detectors: Sequence[Detector]) -> Iterator[Detection]:
    view = View.of(folded.text)
    for detector in detectors:
        for start, end in detector.found(view):
            yield Detection(detector.name, detector.categories, folded.origins[start], folded.origins[end - 1] + 1)


def _outermost(found: Iterable[Detection]) -> tuple[Detection, ...]:
    """Without those inside of another that says as much: a part of an account's number is no telephone's."""
    kept: list[Detection] = []
    outer: Detection | None = None
    for each in sorted(found, key=lambda each: (each.start, -each.end, -len(each.categories), each.name)):
        if outer is None or outer.end < each.end or not outer.categories >= each.categories:
            kept.append(each)
            outer = each if outer is None or outer.end < each.end else outer
    return tuple(kept)


def label_of(detections: Iterable[Detection]) -> PartialLabel:
    """What a text with these in it adds to its label; a secret makes it restricted, and not for a hosted provider."""
    categories = frozenset().union(*(each.categories for each in detections))
    if categories >= CREDENTIAL:
        return PartialLabel(categories=categories, sensitivity=Sensitivity.RESTRICTED, hosted=False)
    return PartialLabel(categories=categories or None)


def redact(text: str, detections: Iterable[Detection]) -> str:
    """The text with ``[NAME]`` instead of each span; of spans that overlap the longest gives the name."""
    return _masked(text, detections).text


@dataclass(frozen=True, slots=True)
class _Masked:
    """A redacted text.

    Attributes:
        starts, ends: for each of its characters, where the original of it starts and ends.
        marks: the spans of what was put into it.
    """

    text: str
    starts: Sequence[int]
    ends: Sequence[int]
    marks: Sequence[tuple[int, int]]

    def surroundings(self) -> Iterator[tuple[int, int]]:
        """Spans of the lines about the marks: what is further away was found, or not, without them."""
        breaks = [-1, *(each.end() - 1 for each in re.finditer("\n", self.text)), len(self.text)]
        top = bottom = 0
        for start, end in self.marks:
            first = max(0, bisect_left(breaks, start) - 1 - _LINES)
            last = min(len(breaks) - 1, bisect_left(breaks, end) + _LINES)
            if first > bottom and bottom:
                yield breaks[top] + 1, breaks[bottom]
            top, bottom = (top if bottom and first <= bottom else first), last
        if bottom:
            yield breaks[top] + 1, breaks[bottom]

    def original(self, offset: int) -> Callable[[Detection], Detection]:
        """Makes of what was found in the text from this offset on what it is in the original."""

        def place(each: Detection) -> Detection:
            return replace(each, start=self.starts[offset + each.start], end=self.ends[offset + each.end - 1])

        return place


def _masked(text: str, detections: Iterable[Detection]) -> _Masked:
    parts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    marks: list[tuple[int, int]] = []
    at = 0
    for start, end, name in _merged(detections):
        mark = f"[{name}]"
        parts += (text[at:start], mark)
        starts += [*range(at, start), *([start] * len(mark))]
        ends += [*range(at + 1, start + 1), *([end] * len(mark))]
        marks.append((len(starts) - len(mark), len(starts)))
        at = end
    return _Masked(
        "".join([*parts, text[at:]]), [*starts, *range(at, len(text))], [*ends, *range(at + 1, len(text) + 1)], marks
    )


def _merged(detections: Iterable[Detection]) -> list[tuple[int, int, str]]:
    merged: list[tuple[int, int, str, int]] = []
    for each in sorted(detections, key=lambda each: (each.start, -each.end, each.name)):
        size = each.end - each.start
        if merged and each.start < merged[-1][1]:
            start, end, name, longest = merged[-1]
            merged[-1] = (start, max(end, each.end), each.name if size > longest else name, max(size, longest))
        else:
            merged.append((each.start, each.end, each.name, size))
    return [(start, end, name) for start, end, name, _ in merged]


__all__ = ["DETECTORS", "Detection", "Detector", "custom", "detect", "label_of", "redact"]
