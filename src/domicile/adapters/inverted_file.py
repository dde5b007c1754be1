"""The inverted file of a new generation: the parent's, the parent's with more rows, or one that is learnt anew."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domicile.adapters.approximation import CANDIDATES, Approximation, Coverage, Rows, lists_for
from domicile.adapters.calibration import Part, blocks, calibrate, exact_trial, gather
from domicile.adapters.faiss import SAMPLE_PER_LIST, ApproximateFile, ApproximateWriter, VectorFile
from domicile.adapters.manifest import ApproximateEntry, CoveredSegment, SegmentEntry

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Approximator:
    """Makes inverted files for one collection.

    Args:
        folder: of the collection.
        target: recall@10 against exact search.
    """

    folder: Path
    policy: Approximation
    dimensions: int
    target: float

    def renew(
        self, segments: Sequence[SegmentEntry], parent: ApproximateEntry | None, name: str
    ) -> ApproximateEntry | None:
        """What a generation of these segments needs; ``None`` where exact search is to be used.

        Args:
            segments: all sealed.
            parent: what the parent has and may go on being used.
            name: of a new file, relative to the folder.

        Raises:
            StorageError: the disk refused.
        """
        usable = parent if parent is not None and parent.target == self.target else None
        covered = None
        if usable is not None:
            covered = Coverage(tuple((part.id, part.rows) for part in usable.segments), usable.trained)
        sizes = [Rows(entry.id, entry.rows, entry.rows - entry.dead) for entry in segments]
        step = self.policy.choose(sizes, covered) if self.target < 1 else "exact"
        if step == "exact":
            return None
        if step == "keep":
            return usable
        if step == "extend":
            assert usable is not None
            return self._extended(segments, usable, name) or self._trained(segments, name)
        return self._trained(segments, name)

    def _extended(
        self, segments: Sequence[SegmentEntry], parent: ApproximateEntry, name: str
    ) -> ApproximateEntry | None:
        held = {part.id for part in parent.segments}
        new = [entry for entry in segments if entry.id not in held]
        writer = ApproximateWriter.continued(self.folder / parent.file)
        order = (*parent.segments, *_covered(new))
        return self._finished(writer, self._parts(_covered(new), segments), order, segments, parent.trained, name)

    def _trained(self, segments: Sequence[SegmentEntry], name: str) -> ApproximateEntry | None:
        order = _covered(segments)
        parts, live = self._parts(order, segments), self._live(order, segments)
        rows = int(live.sum())
        lists = lists_for(rows)
        chosen = np.flatnonzero(live)
        if len(chosen) > lists * SAMPLE_PER_LIST:
            chosen = np.sort(np.random.default_rng(0).choice(chosen, lists * SAMPLE_PER_LIST, replace=False))
        writer = ApproximateWriter.train(gather(parts, chosen), lists)
        return self._finished(writer, parts, order, segments, rows, name)

    def _finished(
        self,
        writer: ApproximateWriter,
        new: Sequence[Part],
        order: tuple[CoveredSegment, ...],
        segments: Sequence[SegmentEntry],
        trained: int,
        name: str,
    ) -> ApproximateEntry | None:
        """Take in the new parts, write the file and measure how far it must be searched."""
        for _, block in blocks(new):
            writer.add(block)
        path = self.folder / name
        writer.write(path)
        found = ApproximateFile(path, writer.rows)
        trial = exact_trial(self._parts(order, segments), self._live(order, segments))
        efforts = calibrate(found, trial, self.target, CANDIDATES)
        if efforts is None:
            logger.warning("%s: an inverted file does not reach a recall of %g", self.folder.name, self.target)
            path.unlink()
            return None
        return ApproximateEntry(file=name, trained=trained, target=self.target, segments=order, efforts=efforts)

    def _parts(self, order: Sequence[CoveredSegment], segments: Sequence[SegmentEntry]) -> list[Part]:
        there = {entry.id: entry for entry in segments}
        return [
            (VectorFile(self.folder / there[part.id].vectors, part.rows, self.dimensions), part.rows)
            if part.id in there
            else (None, part.rows)
            for part in order
        ]

    def _live(self, order: Sequence[CoveredSegment], segments: Sequence[SegmentEntry]) -> NDArray[np.bool_]:
        """One boolean for each row of the covered segments: is it a part of the generation?"""
        there = {entry.id: entry for entry in segments}
        return np.concatenate(
            [
                living_rows(self.folder, there[part.id]) if part.id in there else np.zeros(part.rows, dtype=bool)
                for part in order
            ]
        )


def living_rows(folder: Path, entry: SegmentEntry) -> NDArray[np.bool_]:
    """One boolean for each row of a segment: is it not struck out?"""
    if entry.tombstones is None:
        return np.ones(entry.rows, dtype=bool)
    bits = np.frombuffer((folder / entry.tombstones).read_bytes(), dtype=np.uint8)
    return ~np.unpackbits(bits, count=entry.rows, bitorder="little").astype(bool)


def _covered(segments: Sequence[SegmentEntry]) -> tuple[CoveredSegment, ...]:
    return tuple(CoveredSegment(id=entry.id, rows=entry.rows) for entry in segments)
