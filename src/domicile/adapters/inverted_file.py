"""The inverted file of a new generation: the parent's, the parent's with more rows, or one that is learnt anew."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domicile.adapters.approximation import CANDIDATES, Approximation, Coverage, Rows, lists_for
from domicile.adapters.calibration import Part, blocks, calibrate, gather
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
        """What a generation of these segments needs; ``None`` where it is too small, or exact search is asked for.

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
        if usable is not None and usable.file is not None and step == "extend":
            extended = self._extended(segments, usable, name)
            return extended if extended.file is not None else self._trained(segments, name)
        return self._trained(segments, name) if step == "train" else usable

    def _extended(self, segments: Sequence[SegmentEntry], parent: ApproximateEntry, name: str) -> ApproximateEntry:
        held = {part.id for part in parent.segments}
        new = [entry for entry in segments if entry.id not in held]
        writer = ApproximateWriter.continued(self.folder / str(parent.file))
        order = (*parent.segments, *_covered(new))
        return self._finished(writer, self._parts(_covered(new), segments), order, segments, parent.trained, name)

    def _trained(self, segments: Sequence[SegmentEntry], name: str) -> ApproximateEntry:
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
    ) -> ApproximateEntry:
        """Take in the new parts, write the file and measure how far it must be searched.

        One that does not reach the target is not kept, but the entry is: it is not tried again with every commit.
        """
        for _, block in blocks(new):
            writer.add(block)
        path = self.folder / name
        writer.write(path)
        parts, live = self._parts(order, segments), self._live(order, segments)
        measured = calibrate(ApproximateFile(path, writer.rows), parts, live, self.target, CANDIDATES)
        if measured is None:
            logger.warning("%s: an inverted file does not reach a recall of %g", self.folder.name, self.target)
            path.unlink()
            return ApproximateEntry(
                file=None,
                trained=trained,
                target=self.target,
                segments=(),
                probes=0,
                recall=0.0,
                filtered=0.0,
                near=-1.0,
            )
        return ApproximateEntry(
            file=name,
            trained=trained,
            target=self.target,
            segments=order,
            probes=measured.probes,
            recall=measured.recall,
            filtered=measured.filtered,
            near=measured.near,
        )

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
