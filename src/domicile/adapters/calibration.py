"""How far the inverted file of a generation must be searched: measured against exact search when it is made."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domicile.adapters.faiss import ApproximateFile, Selector, VectorFile
from domicile.adapters.manifest import EffortEntry
from domicile.ports import Vectors

BLOCK = 8_192
"""Rows that are decoded at once."""
QUERIES = 256
CALIBRATED_AT = 10
FRACTIONS = (1.0, 0.5, 0.1)
"""Shares of the rows that a filter lets through, for which the search is calibrated; below the last one it is exact."""
_FEWEST_PROBES = 8
_STEP = 1.3
_DEEP = 400
"""Neighbours that are known exactly for each query, so that ten are left of them when nine in ten are filtered out."""

Part = tuple[VectorFile | None, int]
"""A segment's vectors and its number of rows; ``None`` where the inverted file holds rows of a segment that is gone."""


def blocks(parts: Sequence[Part]) -> Iterator[tuple[int, Vectors]]:
    """All rows of the parts, decoded, a block at a time, each with the position of its first row."""
    position = 0
    for vectors, rows in parts:
        for start in range(0, rows if vectors is not None else 0, BLOCK):
            assert vectors is not None
            numbers = np.arange(start, min(start + BLOCK, rows))
            yield position + start, vectors.rows(numbers)
        position += rows


def gather(parts: Sequence[Part], positions: NDArray[np.int64]) -> Vectors:
    """The vectors at these ascending positions."""
    found, start = [], 0
    for vectors, rows in parts:
        inside = positions[(positions >= start) & (positions < start + rows)] - start
        if vectors is not None and len(inside):
            found.append(vectors.rows(inside))
        start += rows
    gathered: Vectors = np.concatenate(found)
    return gathered


@dataclass(frozen=True, slots=True)
class Trial:
    """What a calibration compares with: questions, the rows that may be found, and what exact search finds."""

    queries: Vectors
    truth: list[NDArray[np.int64]]
    live: NDArray[np.bool_]


def exact_trial(parts: Sequence[Part], live: NDArray[np.bool_]) -> Trial:
    """Ask stored vectors for their neighbours, each without itself, by exact search.

    Args:
        live: one boolean a row, over all parts.
    """
    living = np.flatnonzero(live)
    asked = np.sort(np.random.default_rng(1).choice(living, min(QUERIES, len(living)), replace=False))
    queries = gather(parts, asked)
    scores: NDArray[np.float32] = np.empty((len(asked), 0), dtype=np.float32)
    rows: NDArray[np.int64] = np.empty((len(asked), 0), dtype=np.int64)
    for start, block in blocks(parts):
        positions = np.arange(start, start + len(block))
        found = queries @ block.T
        found[:, ~live[positions]] = -np.inf
        found[asked[:, None] == positions] = -np.inf
        scores = np.concatenate([scores, found], axis=1)
        rows = np.concatenate([rows, np.broadcast_to(positions, found.shape)], axis=1)
        if scores.shape[1] > _DEEP:
            best = np.argpartition(scores, -_DEEP, axis=1)[:, -_DEEP:]
            line = np.arange(len(asked))[:, None]
            scores, rows = scores[line, best], rows[line, best]
    order = np.argsort(-scores, axis=1, kind="stable")
    return Trial(queries, [row[ranks] for row, ranks in zip(rows, order, strict=True)], live)


def calibrate(found: ApproximateFile, trial: Trial, target: float, depth: int) -> tuple[EffortEntry, ...] | None:
    """The least effort that reaches the target for each of ``FRACTIONS``; ``None`` where not even all lists do.

    Args:
        target: recall@10.
        depth: candidates whose exact cosines are compared.
    """
    rng = np.random.default_rng(2)
    efforts: list[EffortEntry] = []
    for fraction in FRACTIONS:
        allowed = trial.live & (rng.random(len(trial.live)) < fraction)
        least = efforts[-1].probes if efforts else _FEWEST_PROBES
        effort = _least(found, trial, allowed, fraction, least, target, depth)
        if effort is None:
            return None
        efforts.append(effort)
    return tuple(efforts)


def _least(
    found: ApproximateFile,
    trial: Trial,
    allowed: NDArray[np.bool_],
    fraction: float,
    probes: int,
    target: float,
    depth: int,
) -> EffortEntry | None:
    selector = Selector(allowed)
    wanted = [row[allowed[row]][:CALIBRATED_AT] for row in trial.truth]
    while True:
        probes = min(probes, found.lists)
        hits = sum(
            len(np.intersect1d(right, found.candidates(query, depth, probes, selector)))
            for query, right in zip(trial.queries, wanted, strict=True)
        )
        recall = hits / max(1, sum(map(len, wanted)))
        if recall >= target:
            return EffortEntry(fraction=fraction, probes=probes, recall=round(recall, 4))
        if probes == found.lists:
            return None
        probes = math.ceil(probes * _STEP)
