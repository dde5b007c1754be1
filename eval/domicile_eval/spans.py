"""Where gold spans stand in documents, and which chunks and quotes meet them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from domicile.domain import Citation, Hit
from domicile_eval.items import Gold

Texts = Callable[[str], str | None]
"""The text of a document of the generation that was asked; ``None`` where there is none."""

COVERED = 0.5
"""The share of a span that a chunk must hold: a longer span may stand in two chunks."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A gold passage in its document. Without places the document alone is judged.

    Attributes:
        places: every ``[start, end)`` at which the span stands.
    """

    document: str
    places: tuple[tuple[int, int], ...] = ()

    def within(self, document: str, start: int, end: int) -> bool:
        """Whether this stretch of a document holds the passage, or enough of it."""
        return document == self.document and (
            not self.places or any(min(b, end) - max(a, start) >= COVERED * (b - a) for a, b in self.places)
        )

    def meets(self, document: str, start: int, end: int) -> bool:
        """Whether this stretch of a document has anything of the passage."""
        return document == self.document and (
            not self.places or any(min(b, end) > max(a, start) for a, b in self.places)
        )


def locate(gold: Sequence[Gold], texts: Texts) -> tuple[Passage, ...]:
    """The passages of an item. One that is not there any more has the place ``(-1, -1)``, which nothing meets."""
    return tuple(
        Passage(one.document, () if one.span is None else _places(texts(one.document) or "", one.span)) for one in gold
    )


def _places(text: str, span: str) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    at = text.find(span)
    while at >= 0:
        found.append((at, at + len(span)))
        at = text.find(span, at + 1)
    return tuple(found) or ((-1, -1),)


def as_ranking(passages: Sequence[Passage], hits: Sequence[Hit]) -> list[str]:
    """The hits as a ranking of the names of the passages that they hold, ``0``, ``1``, ...; other chunks are themselves."""
    ranking: dict[str, None] = {}
    for hit in hits:
        chunk = hit.chunk
        held = [str(n) for n, one in enumerate(passages) if one.within(chunk.document, chunk.start, chunk.end)]
        ranking.update(dict.fromkeys(held or [chunk.id]))
    return list(ranking)


def cited(passages: Sequence[Passage], citations: Sequence[Citation]) -> tuple[float, float]:
    """Share of the citations that meet a passage, and share of the passages that a citation meets."""
    good = [any(p.meets(c.document, c.start, c.end) for p in passages) for c in citations]
    met = [any(p.meets(c.document, c.start, c.end) for c in citations) for p in passages]
    return sum(good) / len(good) if good else 0.0, sum(met) / len(met) if met else 0.0
