"""How far the inverted file of a generation must be searched: measured against exact search when it is made."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domicile.adapters.faiss import ApproximateFile, Selector, VectorFile
from domicile.ports import Vectors

BLOCK = 8_192
"""Rows that are decoded at once."""
QUERIES = 256
CALIBRATED_AT = 10
SHARES = (0.5, 0.1)
"""Of the rows, that the filters let through with which the search is measured; fewer are searched exactly."""
_FEWEST_PROBES = 8
_STEP = 1.3
_SUMMED = 4
"""Stored vectors in a question."""
_MISSES = 0.5
"""Of the misses that the target allows."""
_HARDEST = 0.1
"""Of the questions; one that finds nothing as near as they do is harder than what was measured."""
_SAME = 1e-6
"""Cosines that differ by less are of equal vectors."""

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
    """What a calibration compares with: the rows that may be found, and what exact search finds for each query.

    Attributes:
        rows: positions of the ten nearest, in no order.
        scores: of these rows.
    """

    allowed: NDArray[np.bool_]
    scores: NDArray[np.float32]
    rows: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far an inverted file must be searched.

    Attributes:
        probes: lists to look into.
        recall: of the ten nearest, the share that is found so.
        filtered: the least share that is found under a filter, with all lists looked into.
        near: cosine of the nearest row, below which a question is harder than these were.
    """

    probes: int
    recall: float
    filtered: float
    near: float


def calibrate(
    found: ApproximateFile, parts: Sequence[Part], live: NDArray[np.bool_], target: float, depth: int
) -> Calibration | None:
    """Measure against exact search; ``None`` where not even all lists reach the target.

    The questions are sums of four stored vectors. Measured on 200,000 passages, they are about as far from what is stored as
    real questions are; stored vectors themselves are much nearer to each other, and would promise too much.

    A filter may have nothing to do with what is asked, or everything, so that the lists near the question hold nothing that
    it lets through: therefore all lists are looked into under a filter, and it is measured with rows chosen by chance and
    with rows on one side of a plane.

    Args:
        live: one boolean a row, over all parts.
        target: recall@10.
        depth: candidates whose exact cosines are compared.
    """
    living = np.flatnonzero(live)
    rng = np.random.default_rng(1)
    summed = sum(gather(parts, np.sort(rng.choice(living, QUERIES)))[rng.permutation(QUERIES)] for _ in range(_SUMMED))
    queries: Vectors = summed / np.linalg.norm(summed, axis=1, keepdims=True)
    whole, *filtered = exact_trials(parts, live, queries)
    least = min(_recall(found, parts, queries, trial, depth, found.lists) for trial in filtered)
    probes = min(_FEWEST_PROBES, found.lists)
    aim = 1 - _MISSES * (1 - target)
    while (recall := _recall(found, parts, queries, whole, depth, probes)) < aim and probes < found.lists:
        probes = min(math.ceil(probes * _STEP), found.lists)
    near = float(np.quantile(whole.scores.max(axis=1), _HARDEST))
    return None if recall < target else Calibration(probes, round(recall, 4), round(least, 4), round(near, 4))


def exact_trials(parts: Sequence[Part], live: NDArray[np.bool_], queries: Vectors) -> list[Trial]:
    """What exact search finds without a filter, and under each of the filters."""
    rng = np.random.default_rng(2)
    chance = rng.random(len(live))
    normal = rng.standard_normal(queries.shape[1], dtype=np.float32)
    sides = [np.quantile(queries @ normal, 1 - share) for share in SHARES]
    allowed = [live, *(live & (chance < share) for share in SHARES), *(live.copy() for _ in sides)]
    scores = [np.full((len(queries), CALIBRATED_AT), -np.inf, dtype=np.float32) for _ in allowed]
    rows = [np.full((len(queries), CALIBRATED_AT), -1, dtype=np.int64) for _ in allowed]
    for start, block in blocks(parts):
        positions = np.arange(start, start + len(block))
        for mask, side in zip(allowed[1 + len(SHARES) :], sides, strict=True):
            mask[positions] &= block @ normal > side
        found = queries @ block.T
        for i, mask in enumerate(allowed):
            scores[i], rows[i] = _best(scores[i], rows[i], found[:, mask[positions]], positions[mask[positions]])
    return [Trial(*trial) for trial in zip(allowed, scores, rows, strict=True)]


def _best(
    scores: NDArray[np.float32], rows: NDArray[np.int64], more: NDArray[np.float32], positions: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The best of those that are known and some more, for each query."""
    both = np.concatenate([scores, more], axis=1)
    named = np.concatenate([rows, np.broadcast_to(positions, more.shape)], axis=1)
    best = np.argpartition(both, -CALIBRATED_AT, axis=1)[:, -CALIBRATED_AT:]
    line = np.arange(len(both))[:, None]
    return both[line, best], named[line, best]


def _recall(
    found: ApproximateFile, parts: Sequence[Part], queries: Vectors, trial: Trial, depth: int, probes: int
) -> float:
    selector = Selector(trial.allowed)
    hits = 0
    for query, scores, rows in zip(queries, trial.scores, trial.rows, strict=True):
        candidates = found.candidates(query, depth, probes, selector)
        held = len(np.intersect1d(rows, candidates))
        if held < CALIBRATED_AT and len(candidates):
            # equal texts have equal vectors: whichever of them is found is right
            cosines = gather(parts, np.sort(candidates)) @ query
            held = min(int((cosines >= scores.min() - _SAME).sum()), int((rows >= 0).sum()))
        hits += held
    return hits / max(1, int((trial.rows >= 0).sum()))
