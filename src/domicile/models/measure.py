"""Engines compared on this machine: how fast each embeds, and how near it comes to the portable one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from domicile.models.card import Engine, Precision
from domicile.models.parity_texts import parity_texts
from domicile.ports import Embedder, Vectors

MIN_OVERLAP = 0.99
"""Of the ten nearest texts, the share that must be the same: the loss is then below what any test set can show."""
MIN_GAIN = 1.1
"""Times as fast: less is not worth embedding everything again."""
ROUNDS = 3
_NEAREST = 10
_TIE = 1e-5


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine and a precision that this machine has."""

    engine: Engine
    precision: Precision
    load: Callable[[], Embedder]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one candidate did.

    Attributes:
        texts_per_second: median of the rounds.
        texts_per_cpu_second: the same by processor time of the whole process, which other programs disturb less.
        query_ms: median time of one short text.
        cosine_min, cosine_mean: of each vector with the one of the first candidate.
        overlap: share of the ten nearest texts that are those of the first candidate.
    """

    engine: Engine
    precision: Precision
    texts_per_second: float
    texts_per_cpu_second: float
    query_ms: float
    cosine_min: float
    cosine_mean: float
    overlap: float


def measure(
    candidates: Sequence[Candidate],
    rounds: int = ROUNDS,
    progress: Callable[[str], None] = lambda line: None,
    texts: Sequence[str] | None = None,
) -> list[Measurement]:
    """Measure the candidates in turns, so that whatever else runs disturbs all of them alike.

    Args:
        candidates: the first is the reference.
        rounds: how often each embeds the texts.
        progress: told each round.
        texts: ``parity_texts()`` by default.

    Raises:
        DomicileError: one of them cannot be loaded or run.
    """
    chosen = parity_texts() if texts is None else list(texts)
    embedders = [candidate.load() for candidate in candidates]
    vectors = [embedder.embed(chosen, "document") for embedder in embedders]  # the first, slow round
    short = min(chosen, key=lambda text: abs(len(text) - 40))
    walls: list[list[float]] = [[] for _ in candidates]
    cpus: list[list[float]] = [[] for _ in candidates]
    queries: list[list[float]] = [[] for _ in candidates]
    for number in range(1, rounds + 1):
        progress(f"measuring, round {number} of {rounds}")
        for at, embedder in enumerate(embedders):
            wall, cpu = time.perf_counter(), time.process_time()
            embedder.embed(chosen, "document")
            walls[at].append(time.perf_counter() - wall)
            cpus[at].append(time.process_time() - cpu)
            queries[at] += (_seconds(embedder, short) for _ in range(10))
    return [
        Measurement(
            candidate.engine,
            candidate.precision,
            round(len(chosen) / statistics.median(wall), 1),
            round(len(chosen) / statistics.median(cpu), 1),
            round(statistics.median(query) * 1e3, 2),
            *_likeness(found, vectors[0]),
        )
        for candidate, wall, cpu, query, found in zip(candidates, walls, cpus, queries, vectors, strict=True)
    ]


def propose(measurements: Sequence[Measurement], current: tuple[Engine, Precision]) -> Measurement | None:
    """The fastest faithful one; ``None`` where what is set now is as good as it gets."""
    faithful = [one for one in measurements if one.overlap >= MIN_OVERLAP]
    fastest = max(faithful, key=lambda one: one.texts_per_second)
    now = next((one for one in faithful if (one.engine, one.precision) == current), None)
    if now is not None and fastest.texts_per_second < MIN_GAIN * now.texts_per_second:
        return None
    return fastest


def overlap(found: Vectors, reference: Vectors, nearest: int = _NEAREST) -> float:
    """Share of each row's nearest other rows that are so in the reference, too; equally near ones count as the same."""
    mine, true = (_similarities(vectors) for vectors in (found, reference))
    last = -np.sort(-true, axis=1)[:, nearest - 1 : nearest]
    best = np.argsort(-mine, axis=1)[:, :nearest]
    return float((np.take_along_axis(true, best, axis=1) >= last - _TIE).mean())


def _similarities(vectors: Vectors) -> Vectors:
    found: Vectors = vectors @ vectors.T
    np.fill_diagonal(found, -2.0)
    return found


def _likeness(found: Vectors, reference: Vectors) -> tuple[float, float, float]:
    cosines = (found * reference).sum(axis=1)
    return round(float(cosines.min()), 6), round(float(cosines.mean()), 6), round(overlap(found, reference), 4)


def _seconds(embedder: Embedder, text: str) -> float:
    began = time.perf_counter()
    embedder.embed([text], "query")
    return time.perf_counter() - began
