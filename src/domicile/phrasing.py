"""From the tokens of a model to sentences that may be said: each tied to a quote, or left out.

What is said comes out sentence by sentence, with the number of the quote that holds it; the numbers count up in the order
in which quotes are first used. What the model itself wrote as a number is only a hint where to look first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from domicile import grounding, prompts
from domicile.domain import Citation, Evidence, Usage

MAX_SENTENCE_CHARACTERS = 2_000
"""A longer one is none: nothing after it is read."""

_MARKS = re.compile(r"\[(\d{1,2})\]")


@dataclass(slots=True)
class Draft:
    """An answer while it is being made.

    Attributes:
        question: that the sentences must add something to.
        cite: the citation of a piece of evidence; ``None`` where it cannot be verified.
        enough: stops the model at its next token; it still counts them.
    """

    question: str
    cite: Callable[[Evidence], Citation | None]
    text: str = ""
    enough: bool = False
    usage: Usage = field(default_factory=Usage)
    citations: list[Citation] = field(default_factory=list)
    _used: dict[tuple[str, int, int], int] = field(default_factory=dict)

    def say(self, text: str) -> str:
        self.text += text
        return text

    def number(self, item: Evidence) -> int | None:
        """The number under which the answer cites this evidence; ``None`` where it cannot."""
        key = (item.chunk.id, item.start, item.end)
        if key not in self._used:
            citation = self.cite(item)
            if citation is None:
                return None
            self._used[key] = len(self._used) + 1
            self.citations.append(replace(citation, n=self._used[key]))
        return self._used[key]

    def quotes(self) -> Iterator[str]:
        """The quotes that were cited, in the order of their numbers."""
        for citation in self.citations:
            lead = "\n\n" if self.text else ""
            yield self.say(lead + prompts.quote_block(citation.quote, citation.n))

    def quote(self, evidence: tuple[Evidence, ...]) -> Iterator[str]:
        """An answer of these quotes alone."""
        for item in evidence:
            self.number(item)
        yield from self.quotes()


def sentences(pieces: Iterator[str | Usage], draft: Draft, most: int) -> Iterator[str]:
    """The sentences in a stream of tokens, at most so many; a last one that was cut off is not one."""
    buffer, said = "", 0
    for piece in pieces:
        if isinstance(piece, Usage):
            draft.usage = piece
            continue
        buffer += "" if draft.enough else piece
        while not draft.enough and (split := grounding.next_sentence(buffer)) is not None:
            buffer, said = split[1], said + 1
            draft.enough = len(split[0]) > MAX_SENTENCE_CHARACTERS
            if not draft.enough:
                yield split[0]
            draft.enough = draft.enough or said == most
        draft.enough = draft.enough or len(buffer) > MAX_SENTENCE_CHARACTERS
    if not draft.enough and grounding.tidy(buffer).endswith((".", "!", "?")):
        yield buffer


def grounded(sentence: str, evidence: tuple[Evidence, ...], draft: Draft) -> str | None:
    """The sentence with the number of the first evidence that supports it; ``None`` where nothing does."""
    plain = grounding.tidy(sentence)
    named = {int(n) - 1 for n in _MARKS.findall(sentence)}
    order = sorted(range(len(evidence)), key=lambda i: i not in named)
    for item in (evidence[i] for i in order):
        if plain and grounding.supports(item, plain, draft.question) and (n := draft.number(item)) is not None:
            return draft.say(f"{' ' if draft.text else ''}{plain} [{n}]")
    return None
