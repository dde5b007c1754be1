"""What one scope may find in one generation: a bitmap over the rows of every segment, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

ROW_BITS = 32
ROW = (1 << ROW_BITS) - 1


def ref_of(segment: int, row: int) -> int:
    """The number of a chunk: of its segment, and its row there."""
    return segment << ROW_BITS | row


@dataclass(frozen=True)
class Visible:
    """The chunks that may be found.

    Attributes:
        masks: for each segment by its number, one boolean a row.
    """

    masks: Mapping[int, NDArray[np.bool_]]

    @cached_property
    def count(self) -> int:
        return sum(int(mask.sum()) for mask in self.masks.values())

    def refs(self) -> NDArray[np.int64]:
        """The numbers of all of them, ascending."""
        found = [ref_of(number, 0) + np.flatnonzero(self.masks[number]) for number in sorted(self.masks)]
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def holds(self, refs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these chunks are among them."""
        held = np.zeros(len(refs), dtype=bool)
        for number, mask in self.masks.items():
            inside = refs >> ROW_BITS == number
            held[inside] = mask[refs[inside] & ROW]
        return held
