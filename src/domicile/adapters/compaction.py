"""When segments are merged: a policy, pure.

Every segment is scanned by every search, and struck-out rows are scanned in vain; merging costs writing. So a few small
segments may lie beside large ones, as in a log-structured merge tree (O'Neil et al., 1996).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """A segment of the parent as the new generation would see it.

    Attributes:
        number: of the segment.
        rows: in its files.
        live: of these, not struck out.
    """

    number: int
    rows: int
    live: int


@dataclass(frozen=True, slots=True)
class Compaction:
    """The policy.

    Attributes:
        segment_rows: a new segment is sealed at this size, and one of half of it is not merged for being small: this
            bounds the memory of a commit (131,072 rows of 384 dimensions are 100 MB in half precision).
        segments: small segments that may lie side by side.
        delta_share: of the largest small segment; once the smaller ones together pass it, they are merged with it.
        dead_share: of its rows; once more are struck out, a segment is written anew.
        worth: rows; less than this is never a reason to merge.
    """

    segment_rows: int = 131_072
    segments: int = 5
    delta_share: float = 0.10
    dead_share: float = 0.30
    worth: int = 1_000

    def choose(self, sizes: Sequence[Size], added: int) -> set[int]:
        """The segments whose living rows go into the new segment.

        Args:
            sizes: every segment that stays otherwise.
            added: rows that the new segment has already.
        """
        chosen = {
            size.number
            for size in sizes
            if size.rows - size.live >= self.worth and size.rows - size.live > self.dead_share * size.rows
        }
        pending = added + sum(size.live for size in sizes if size.number in chosen)
        rest = [size for size in sizes if size.number not in chosen]
        small = sorted((size for size in rest if 2 * size.rows < self.segment_rows), key=lambda size: size.live)
        if small and len(small) == len(rest):
            deltas = pending + sum(size.live for size in small[:-1])
            if deltas >= self.worth and deltas > self.delta_share * small[-1].live:
                return chosen | {size.number for size in small}
        if len(small) + 1 > self.segments:
            chosen |= self._smallest(small, pending)
        return chosen

    def _smallest(self, small: Sequence[Size], pending: int) -> set[int]:
        """From the smallest upwards, while what is being written is not much less than the next one."""
        chosen: set[int] = set()
        for count, size in enumerate(small):
            if size.live > 4 * pending and len(small) + 1 - count <= self.segments:
                break
            chosen.add(size.number)
            pending += size.live
        return chosen
