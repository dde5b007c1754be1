"""Intervals, chances and adjusted chances, against hand-computed cases, scipy, and simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from domicile_eval.statistics import (
    SEED,
    chance_of_drop,
    detectable,
    figure,
    holm,
    paired_gain,
    stratified_gain,
)

REPEATS = 500
QUESTIONS = 120


def test_a_figure_is_the_mean_with_scipys_percentile_interval() -> None:
    values = np.random.default_rng(1).beta(2, 1, 150)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    ours = figure(values.tolist(), 20_000)
    assert ours.value == pytest.approx(values.mean(), abs=1e-6)
    assert ours.low == pytest.approx(theirs.low, abs=0.002)
    assert ours.high == pytest.approx(theirs.high, abs=0.002)


def test_values_that_are_all_the_same_have_no_interval() -> None:
    found = figure([0.25] * 40)
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


def in_clusters(rng: np.random.Generator, clusters: int, agreement: float = 0.3) -> tuple[list[float], list[str]]:
    """Questions that are right four times in five, of clusters of one to seven that agree so far (their correlation)."""
    sizes = rng.integers(1, 8, clusters)
    rates = rng.beta(0.8 * (1 - agreement) / agreement, 0.2 * (1 - agreement) / agreement, clusters)
    values = [float(right) for size, rate in zip(sizes, rates, strict=True) for right in rng.random(size) < rate]
    return values, [f"{n}" for n, size in enumerate(sizes) for _ in range(size)]


@pytest.mark.parametrize(("clusters", "least"), [(60, 0.92), (6, 0.88)], ids=["many", "few"])
def test_the_interval_of_questions_in_clusters_covers_the_truth(clusters: int, least: float) -> None:
    rng = np.random.default_rng(12)
    together = alone = 0
    for _ in range(REPEATS):
        values, owners = in_clusters(rng, clusters)
        found, control = figure(values, 400, clusters=owners), figure(values, 400)
        together += found.low <= 0.8 <= found.high
        alone += control.low <= 0.8 <= control.high
    assert together / REPEATS >= least
    assert alone / REPEATS <= 0.85  # control: drawn one by one they seem surer than they are


def test_clusters_are_drawn_whole() -> None:
    """The figures are those of the plain loop over resamples, where clusters make the interval wider."""
    values, owners = in_clusters(np.random.default_rng(13), 40)
    members = [
        [value for value, own in zip(values, owners, strict=True) if own == name] for name in dict.fromkeys(owners)
    ]
    rng = np.random.default_rng(14)
    means = [np.mean(np.concatenate([members[n] for n in rng.integers(0, 40, 40)])) for _ in range(20_000)]
    low, high = np.percentile(means, [2.5, 97.5])
    found, alone = figure(values, 20_000, clusters=owners), figure(values, 20_000)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.006)
    assert found.high - found.low > 1.15 * (alone.high - alone.low)
    assert found.value == alone.value


def test_an_interval_is_never_narrower_than_that_of_questions_alone() -> None:
    values, owners = [1.0, 0.0] * 20, [f"{n // 2}" for n in range(40)]  # every cluster is half right
    assert figure(values, clusters=owners) == figure(values)
    assert figure(values, clusters=["one"] * 40) == figure(values)
    assert figure(values, clusters=[f"{n}" for n in range(40)]) == figure(values)


@pytest.mark.parametrize("questions", [1, 3, 30, 541])
def test_where_all_are_right_or_wrong_the_interval_is_scipys_exact_one(questions: int) -> None:
    for value in (0.0, 1.0):
        theirs = stats.binomtest(round(value * questions), questions).proportion_ci(0.95, "exact")
        found = figure([value] * questions)
        assert (found.value, found.low, found.high) == pytest.approx((value, theirs.low, theirs.high), abs=1e-6)
        doubled = figure([value] * 2 * questions, clusters=[f"{n // 2}" for n in range(2 * questions)])
        assert doubled == found or questions == 1  # of one cluster the questions count
        amounts = figure([value] * questions, share=False)
        assert (amounts.low, amounts.high) == (value, value)


def test_the_same_values_have_the_same_interval_each_time() -> None:
    values = np.random.default_rng(3).random(70).tolist()
    assert figure(values) == figure(values)
    assert figure(values) == figure(values, rng=np.random.default_rng(SEED))
    assert stratified_gain(values, ["a", "b"] * 35) == stratified_gain(values, ["a", "b"] * 35)


def test_drawing_in_several_rounds_is_drawing_at_once() -> None:
    """So many questions do not fit into one round; the figures are those of the plain loop over resamples."""
    values, rng = np.random.default_rng(4).random(30_000), np.random.default_rng(SEED)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(60)]
    low, high = np.percentile(means, [2.5, 97.5])
    found = figure(values.tolist(), 60)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_a_gain_is_of_pairs() -> None:
    rng = np.random.default_rng(5)
    before = rng.random(200)
    found = paired_gain(before.tolist(), (before + 0.01).tolist())
    assert (found.value, found.low, found.high) == pytest.approx(
        (0.01, 0.01, 0.01)
    )  # however much the questions differ
    with pytest.raises(ValueError, match="2 values before, 1 after"):
        paired_gain([0.1, 0.2], [0.1])


@pytest.mark.parametrize("size", [10, QUESTIONS], ids=["strata of ten", "one stratum"])
def test_the_interval_covers_the_truth_as_often_as_it_says(size: int) -> None:
    """Questions whose strata differ; 95 % of the intervals must hold the true mean, up to 3 standard errors and the
    percent that percentile intervals are known to miss."""
    rng = np.random.default_rng(6)
    strata = [f"{n // size}" for n in range(QUESTIONS)]
    levels = np.array([(n // size) % 5 * 0.05 for n in range(QUESTIONS)])
    covered = 0
    for _ in range(REPEATS):
        found = stratified_gain((levels + rng.normal(0, 0.2, QUESTIONS)).tolist(), strata, 500)
        covered += found.low <= levels.mean() <= found.high
    slack = 3 * math.sqrt(0.95 * 0.05 / REPEATS)
    assert 0.95 - slack - 0.01 <= covered / REPEATS <= 0.95 + slack


def test_strata_take_their_differences_out_of_the_interval() -> None:
    """As many of each stratum are drawn as there are: what differs between strata makes the mean no less certain."""
    rng = np.random.default_rng(7)
    values = np.concatenate([rng.normal(-0.5, 0.01, 50), rng.normal(0.5, 0.01, 50)]).tolist()
    apart = stratified_gain(values, ["a"] * 50 + ["b"] * 50)
    together = stratified_gain(values, ["a"] * 100)
    assert apart.value == together.value
    assert (apart.high - apart.low) * 20 < together.high - together.low


def test_more_confidence_is_a_wider_interval() -> None:
    values, strata = np.random.default_rng(8).normal(0, 1, 100).tolist(), ["a"] * 100
    usual, wide = stratified_gain(values, strata), stratified_gain(values, strata, confidence=0.99)
    assert wide.low < usual.low < usual.high < wide.high


def test_the_chance_of_a_drop_is_scipys() -> None:
    """On 12 questions scipy counts all 4,096 ways; ours draws, and must come close for each group at once."""
    rng = np.random.default_rng(9)
    gains = rng.normal(-0.08, 0.15, 60)
    members = np.zeros((60, 3), dtype=bool)
    members[:12, 0] = members[20:32, 1] = members[:, 2] = True
    ours = chance_of_drop(gains.tolist(), members, 40_000)
    for own, inside in zip(ours[:2], members.T, strict=False):
        exact = stats.permutation_test(
            (gains[inside],), np.mean, permutation_type="samples", alternative="less", n_resamples=math.inf
        )
        assert exact.pvalue > 0.001
        assert own == pytest.approx(exact.pvalue, abs=4 * math.sqrt(exact.pvalue / 40_000))
    drawn = stats.permutation_test(
        (gains,), lambda x, axis: np.mean(x, axis=axis), vectorized=True, permutation_type="samples",
        alternative="less", n_resamples=20_000, batch=1_000, rng=np.random.default_rng(10),
    )  # fmt: skip
    assert ours[2] == pytest.approx(drawn.pvalue, abs=0.002)


def test_chances_by_hand() -> None:
    everyone = np.ones((3, 1), dtype=bool)
    assert chance_of_drop([-1.0, -1.0, -1.0], everyone, 40_000)[0] == pytest.approx(1 / 8, abs=0.007)
    assert chance_of_drop([1.0, 1.0, 1.0], everyone)[0] == 1.0
    assert chance_of_drop([0.0, 0.0, 0.0], everyone)[0] == 1.0  # nothing changed: certainly chance
    lost = chance_of_drop([-1.0] * 40, np.ones((40, 1), dtype=bool), 999)[0]
    assert lost == pytest.approx(1 / 1_000)  # never 0


def test_equal_sums_are_equal_in_whatever_order_they_are_added() -> None:
    """0.1 + 0.2 is not 0.3: without a tolerance sums that are the same would be called lower or higher."""
    gains = [-0.1, -0.2, 0.3, -0.3, 0.1, 0.2]
    exact = stats.permutation_test(
        (np.array([-1, -2, 3, -3, 1, 2]),),
        np.mean,
        permutation_type="samples",
        alternative="less",
        n_resamples=math.inf,
    )
    assert chance_of_drop(gains, np.ones((6, 1), dtype=bool), 40_000)[0] == pytest.approx(exact.pvalue, abs=0.01)


def test_holm_by_hand() -> None:
    # sorted .001 .01 .02 .04 times 4 3 2 1: .004 .03 .04 .04
    assert holm([0.02, 0.001, 0.04, 0.01]) == pytest.approx([0.04, 0.004, 0.04, 0.03])
    # .01 * 3 = .03; .015 * 2 = .03; .9: an adjusted chance is never below one before it
    assert holm([0.9, 0.01, 0.011]) == pytest.approx([0.9, 0.03, 0.03])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_detectable_effect_is_seen_four_times_in_five() -> None:
    """2.8 standard errors by the formula, and by simulation of what the interval then says."""
    rng = np.random.default_rng(11)
    sample = rng.normal(0, 0.2, QUESTIONS)
    effect = detectable(sample.tolist())
    assert effect == pytest.approx(2.8016 * sample.std(ddof=1) / math.sqrt(QUESTIONS), abs=1e-5)
    assert effect is not None
    drops = [rng.normal(-effect, sample.std(ddof=1), QUESTIONS).tolist() for _ in range(REPEATS)]
    seen = sum(stratified_gain(one, ["a"] * QUESTIONS, 500).high < 0 for one in drops) / REPEATS
    assert seen == pytest.approx(0.8, abs=0.06)


def test_questions_that_only_repeat_others_detect_no_more() -> None:
    sample = np.random.default_rng(15).normal(0, 0.2, QUESTIONS)
    twice, owners = sample.repeat(2).tolist(), [f"{n // 2}" for n in range(2 * QUESTIONS)]
    assert detectable(twice, clusters=owners) == pytest.approx(detectable(sample.tolist()), abs=2e-6)
    assert detectable(twice) == pytest.approx(detectable(sample.tolist()) / math.sqrt(2), rel=0.01)  # type: ignore[operator]


def test_what_can_be_detected_is_not_known_where_nothing_differs() -> None:
    assert detectable([0.0] * 50) is None
    assert detectable([0.1]) is None
    assert detectable([0.1, 0.2], 0.99) > detectable([0.1, 0.2], 0.95)  # type: ignore[operator]


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [math.inf]])
def test_what_is_no_number_is_refused(values: list[float]) -> None:
    for call in (figure, holm, detectable):
        if values or call is not holm:
            with pytest.raises(ValueError, match="value"):
                call(values)
    with pytest.raises(ValueError, match="value"):
        stratified_gain(values, ["a"] * len(values))
    with pytest.raises(ValueError, match="value"):
        chance_of_drop(values, np.ones((len(values), 1), dtype=bool))
