"""The vector side of one generation: candidates from the inverted file, exact cosines for them, exact search for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domicile.adapters.approximation import CANDIDATES, WIDE
from domicile.adapters.calibration import SHARES
from domicile.adapters.faiss import ApproximateFile, Selector, VectorFile
from domicile.adapters.manifest import ApproximateEntry
from domicile.adapters.visible import ROW, ROW_BITS, Visible, ref_of
from domicile.domain import Candidate
from domicile.ports import Vectors

_NEARLY = 0.9
"""A filter that lets this share through is searched like none, and so is what is left after some deletions."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What a search may find, as FAISS wants it.

    Attributes:
        masks: one boolean a row, for each segment by its number; ``None`` where all may.
        selector: the same over the rows of the inverted file.
        probes: of its lists; ``None`` where all is searched exactly.
    """

    masks: Mapping[int, NDArray[np.bool_] | None]
    selector: Selector
    probes: int | None


class Dense:
    """Searches the vectors of a generation; any number of threads may.

    Args:
        vectors: of each segment, by its number.
        approximate: what the manifest says of the inverted file, and the file.
    """

    def __init__(
        self, vectors: Mapping[int, VectorFile], approximate: tuple[ApproximateEntry, ApproximateFile] | None
    ) -> None:
        self._vectors = vectors
        self._entry = None if approximate is None else approximate[0]
        self._file = None if approximate is None else approximate[1]
        covered = () if self._entry is None else self._entry.segments
        self._covered = tuple((segment.number, segment.rows) for segment in covered)
        refs = [ref_of(number, 0) + np.arange(rows, dtype=np.int64) for number, rows in self._covered]
        self._refs = np.concatenate(refs) if refs else np.empty(0, dtype=np.int64)

    def reach(self, visible: Visible) -> Reach:
        """Prepare the search of what is visible; costs some milliseconds for a million rows, so it is kept."""
        masks = {number: None if mask.all() else mask for number, mask in visible.masks.items()}
        if self._entry is None:
            return Reach(masks, Selector(None), None)
        # a segment that is covered, and no part of this generation any more, is not visible
        nothing = {number: np.zeros(rows, dtype=bool) for number, rows in self._covered}
        allowed = np.concatenate([visible.masks.get(number, nothing[number]) for number, _ in self._covered])
        share = int(allowed.sum()) / len(allowed)
        return Reach(masks, Selector(None if allowed.all() else allowed), self._probes(share))

    def _probes(self, share: float) -> int | None:
        """A filter may leave nothing in the lists near a question, so all of them are looked into under one."""
        assert self._entry is not None
        assert self._file is not None
        if share >= _NEARLY:
            return self._entry.probes
        wide = share >= _NEARLY * min(SHARES) and self._entry.filtered >= self._entry.target
        return self._file.lists if wide else None

    def search(self, vector: Vectors, k: int, reach: Reach) -> list[Candidate]:
        """The ``k`` nearest, best first, ties by ``ref``."""
        refs: list[NDArray[np.int64]] = []
        scores: list[NDArray[np.float32]] = []
        covered: set[int] = set()
        if reach.probes is not None:
            covered = {number for number, _ in self._covered}
            near, cosines = self._approximate(vector, k, reach.probes, reach.selector)
            refs.append(near)
            scores.append(cosines)
        for number, vectors in self._vectors.items():
            if number not in covered:
                rows, cosines = vectors.search(vector, k, reach.masks[number])
                refs.append(ref_of(number, 0) + rows)
                scores.append(cosines)
        return _best(np.concatenate(refs), np.concatenate(scores), k) if refs else []

    def _approximate(
        self, vector: Vectors, k: int, probes: int, selector: Selector
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Candidates from the inverted file with their exact cosines."""
        assert self._file is not None
        assert self._entry is not None
        depth = max(CANDIDATES, 2 * k)
        refs = self._refs[self._file.candidates(vector, depth, probes, selector)]
        cosines = self.cosines(vector, refs)
        # what was near is struck out or hidden, or the question is farther from everything than those of the calibration
        if len(refs) < depth or cosines.max() < self._entry.near:
            refs = self._refs[self._file.candidates(vector, max(WIDE, depth), self._file.lists, selector)]
            cosines = self.cosines(vector, refs)
        return refs, cosines

    def cosines(self, vector: Vectors, refs: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """The exact cosine of each of these chunks with the vector."""
        wanted = np.asarray(refs, dtype=np.int64)
        segments, rows = wanted >> ROW_BITS, wanted & ROW
        cosines = np.empty(len(wanted), dtype=np.float32)
        for number in np.unique(segments).tolist():
            inside = segments == number
            cosines[inside] = self._vectors[number].rows(rows[inside]) @ vector
        return cosines


def _best(refs: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> list[Candidate]:
    order = np.lexsort((refs, -scores))[:k]
    return list(map(Candidate, refs[order].tolist(), scores[order].tolist()))
