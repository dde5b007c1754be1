"""When the vectors of a generation get an inverted file: a policy, pure.

Exact search reads every vector. Beyond some ten thousand an inverted file proposes candidates, whose exact cosines then
decide; what it does not cover yet (new, small segments) is searched exactly beside it. See ``docs/adr/0011``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

CANDIDATES = 400
"""From short codes, for each search; their exact cosines are compared."""
WIDE = 1_600
"""For a question that is far from everything: the codes tell what is far from what else is far less well."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A segment as the policy sees it.

    Attributes:
        rows: in its file.
        live: of these, not struck out.
    """

    segment: str
    rows: int
    live: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What an inverted file holds.

    Attributes:
        segments: whose rows it holds, one after the other, with their numbers of rows; none where it was no use.
        trained: rows when its centroids were learnt.
    """

    segments: tuple[tuple[str, int], ...]
    trained: int


Step = Literal["exact", "keep", "extend", "train"]


@dataclass(frozen=True, slots=True)
class Approximation:
    """The policy, pure.

    Attributes:
        rows: with fewer living rows search is exact.
        uncovered_share: of the covered rows; with more than this beside them, they are taken in.
        dead_share: of the covered rows; once more are gone, the file is made anew.
        growth: times the rows that it was learnt from, at which it is learnt anew.
    """

    rows: int = 50_000
    uncovered_share: float = 0.10
    dead_share: float = 0.20
    growth: float = 2.0

    def choose(self, sizes: Sequence[Rows], covered: Coverage | None) -> Step:
        """What to do for a generation of these segments; ``covered`` is what the parent's file holds."""
        live = sum(size.live for size in sizes)
        if live < self.rows:
            return "exact"
        if covered is None or live > self.growth * covered.trained:
            return "train"
        if not covered.segments:
            return "keep"
        kept = {size.segment: size for size in sizes}
        held = sum(rows for _, rows in covered.segments)
        living = sum(kept[name].live for name, _ in covered.segments if name in kept)
        if held - living > self.dead_share * held:
            return "train"
        return "extend" if live - living > self.uncovered_share * held else "keep"


def lists_for(rows: int) -> int:
    """A power of two near 1.8 times the square root."""
    return 1 << max(4, round(math.log2(1.8 * math.sqrt(rows))))
