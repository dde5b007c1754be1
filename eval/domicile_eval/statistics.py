"""What may be said of a mean over questions: intervals, chances, and the smallest effect that so many questions show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from domicile.errors import MissingExtra

RESAMPLES = 1_000
PAIRED_RESAMPLES = 10_000
SEED = 20_260_101
CONFIDENCE = 0.95
POWER = 0.8
_CELLS = 1 << 20
"""Numbers that are drawn at once: 8 MiB."""
_DIGITS = 6
_SAME = 1e-9
"""Sums that differ by less are equal: they are the same numbers, added in another order."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over the questions with its bootstrap interval, of 95 % unless it is said otherwise."""

    value: float
    low: float
    high: float


def figure(
    values: Sequence[float],
    resamples: int = RESAMPLES,
    rng: np.random.Generator | None = None,
    *,
    clusters: Sequence[str] | None = None,
    share: bool = True,
) -> Figure:
    """The mean of one metric.

    Questions of one cluster are drawn together, since they are right or wrong together (Miller 2024, "Adding Error Bars to
    Evals", arXiv:2411.00640). The percentiles are widened for few clusters (Hesterberg 2015, "What Teachers Should Know About
    the Bootstrap", arXiv:1411.5279), and the interval is never narrower than that of questions drawn alone: three documents
    that happen to agree prove little. Where every value is 0, or every one 1, resampling finds no spread at all; the interval
    is then that of Clopper and Pearson, of as many trials as there are clusters, since nothing tells how far they agree.

    Args:
        rng: to draw from; by default a new one, so that the same values have the same interval.
        clusters: of each value; by default each is its own. A single one says nothing of others, and its questions are drawn.
        share: whether values are shares, from 0 to 1; amounts and differences are none.

    Raises:
        ValueError: there is no value, or one is not a number.
        MissingExtra: the ``eval`` extra is not installed.
    """
    sample = _checked(values)
    alone, owners = np.arange(len(sample)), _owners(clusters, len(sample))
    if share and not np.ptp(sample) and sample[0] in (0.0, 1.0):
        return _unanimous(float(sample[0]), int(owners.max()) + 1)
    rng = rng or np.random.default_rng(SEED)
    drawn = [_drawn_together(sample, alone, resamples, rng)]
    if owners.max() + 1 < len(sample):
        drawn.append(_drawn_together(sample, owners, resamples, rng))
    lows, highs = zip(*drawn, strict=True)
    return _rounded(sample.mean(), min(lows), max(highs))


def paired_gain(before: Sequence[float], after: Sequence[float]) -> Figure:
    """The mean difference of the same questions, resampled together.

    Raises:
        ValueError: as in ``figure``, or they are not equally many.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} values before, {len(after)} after: pairs are needed")
    steps = _checked((np.asarray(after) - np.asarray(before)).tolist())
    return _bootstrap(steps, [np.arange(len(steps))], PAIRED_RESAMPLES, CONFIDENCE)


def stratified_gain(
    differences: Sequence[float],
    strata: Sequence[str],
    resamples: int = PAIRED_RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Figure:
    """The mean difference, where as many questions of each stratum are drawn as there are.

    Deviations from a stratum's mean are stretched by ``sqrt(n / (n - 1))``: drawn from ten questions they would seem to vary
    five percent too little (Rao and Wu 1988, "Resampling Inference With Complex Survey Data").

    Args:
        strata: of each difference.
        confidence: of the interval, two-sided.

    Raises:
        ValueError: as in ``figure``.
    """
    sample, names = _checked(differences).copy(), np.asarray(strata)
    groups = [np.flatnonzero(names == name) for name in sorted(set(strata))]
    for group in groups:
        mean = sample[group].mean()
        sample[group] = mean + (sample[group] - mean) * sqrt(len(group) / max(1, len(group) - 1))
    return _bootstrap(sample, groups, resamples, confidence)


def chance_of_drop(gains: Sequence[float], members: NDArray[np.bool_], resamples: int = PAIRED_RESAMPLES) -> Values:
    """How likely chance alone makes a mean gain as low as it is, for several groups of questions.

    A one-sided paired permutation test: where nothing changed, before and after of a question could as well be the other way
    round, so signs are flipped at random. It is ``scipy.stats.permutation_test`` with ``permutation_type="samples"``
    for all groups at once, which is what makes a gate with forty groups take a fraction of a second.

    Args:
        gains: of each question.
        members: of shape (questions, groups).

    Returns:
        p of each group; never 0, since what is seen counts as one of the resamples.

    Raises:
        ValueError: as in ``figure``.
    """
    sample = _checked(gains)
    grouped = np.where(members, sample[:, None], 0.0)
    seen, rng = grouped.sum(axis=0), np.random.default_rng(SEED)
    as_low = np.ones(grouped.shape[1])
    for rows in _chunks(resamples, len(sample)):
        kept = rng.integers(0, 2, (rows, len(sample)), dtype=np.int8).astype(np.float64)
        flipped = 2 * (kept @ grouped) - seen
        as_low += (flipped <= seen + _SAME).sum(axis=0)
    return as_low / (resamples + 1)


def holm(chances: Sequence[float]) -> list[float]:
    """The p-values adjusted for being several, after Holm (1979); in the order given.

    Raises:
        ValueError: one is not a number.
    """
    if not chances:
        return []
    p = _checked(chances)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return [float(one) for one in adjusted]


def detectable(
    differences: Sequence[float], confidence: float = CONFIDENCE, clusters: Sequence[str] | None = None
) -> float | None:
    """The smallest mean difference that a test of this confidence (two-sided) sees four times in five.

    2.8 standard errors at 95 % (Miller 2024, "Adding Error Bars to Evals", arXiv:2411.00640).

    Args:
        clusters: as in ``figure``.

    Returns:
        ``None`` where it cannot be known: there are less than two questions, or not one differs.

    Raises:
        ValueError: as in ``figure``.
    """
    sample = _checked(differences)
    if len(sample) < 2 or not np.ptp(sample):
        return None
    normal = NormalDist()
    errors = normal.inv_cdf((1 + confidence) / 2) + normal.inv_cdf(POWER)
    apart = np.bincount(_owners(clusters, len(sample)), sample - sample.mean())
    spread = sqrt(len(apart) / (len(apart) - 1) * float(apart @ apart))
    return round(errors * spread / len(sample), _DIGITS)


def _owners(clusters: Sequence[str] | None, questions: int) -> NDArray[np.int64]:
    """The number of each question's cluster, from 0."""
    if clusters is None or len(set(clusters)) < 2:
        return np.arange(questions)
    return np.unique(np.asarray(clusters), return_inverse=True)[1]


def _bootstrap(sample: Values, groups: Sequence[NDArray[np.int64]], resamples: int, confidence: float) -> Figure:
    rng = np.random.default_rng(SEED)
    sums = np.zeros(resamples)
    for group in groups:
        start, drawn = 0, sample[group]
        for rows in _chunks(resamples, len(drawn)):
            sums[start : start + rows] += drawn[rng.integers(0, len(drawn), (rows, len(drawn)))].sum(axis=1)
            start += rows
    tail = 50 * (1 - confidence)
    low, high = np.percentile(sums / len(sample), [tail, 100 - tail])
    return _rounded(sample.mean(), low, high)


def _rounded(value: float, low: float, high: float) -> Figure:
    return Figure(round(float(value), _DIGITS), round(float(low), _DIGITS), round(float(high), _DIGITS))


def _drawn_together(
    sample: Values, owners: NDArray[np.int64], resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """The interval of the mean where whole clusters are drawn."""
    sums, counts = np.bincount(owners, sample), np.bincount(owners)
    means = [
        sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
        for rows in _chunks(resamples, len(sums))
        for drawn in [rng.integers(0, len(sums), (rows, len(sums)))]
    ]
    tail = 100 * _tail(len(sums))
    low, high = np.percentile(np.concatenate(means), [tail, 100 - tail])
    return float(low), float(high)


def _unanimous(value: float, trials: int) -> Figure:
    reach = float(_special().bdtri(0, trials, (1 - CONFIDENCE) / 2))
    return _rounded(value, 1 - reach, 1.0) if value else _rounded(value, 0.0, reach)


def _tail(clusters: int) -> float:
    """Of the resamples that are beyond the interval on either side."""
    if clusters < 2:
        return (1 - CONFIDENCE) / 2
    special = _special()
    quantile = special.stdtrit(clusters - 1, (1 - CONFIDENCE) / 2)
    return float(special.ndtr(quantile * sqrt(clusters / (clusters - 1))))


def _special() -> ModuleType:
    try:
        from scipy import special
    except ModuleNotFoundError as error:
        if error.name != "scipy":
            raise
        raise MissingExtra("eval", "scipy") from None
    found: ModuleType = special
    return found


def _chunks(resamples: int, questions: int) -> Iterator[int]:
    """How many resamples to draw at once, one after the other."""
    at_once = max(1, _CELLS // questions)
    for start in range(0, resamples, at_once):
        yield min(at_once, resamples - start)


def _checked(values: Sequence[float]) -> Values:
    sample = np.asarray(values, dtype=np.float64)
    if not len(sample):
        raise ValueError("there is no value")
    if not np.isfinite(sample).all():
        raise ValueError("a value is not a number")
    return sample
