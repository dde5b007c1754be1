"""How likely evidence is to answer."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from domicile.confidence import Features, confidence, features, fit
from domicile.domain import Candidate, EvidenceCurve


def test_confidence_grows_with_each_of_its_signs() -> None:
    assert confidence(Features()) < 0.01
    assert confidence(Features(0.9, 0.9, 0.8, 0.6, 0.5)) > 0.95
    middle = Features(0.4, 0.4, 0.4, 0.2, 0.1)
    for feature in fields(Features):
        assert confidence(replace(middle, **{feature.name: 0.6})) > confidence(middle), feature.name


@pytest.mark.parametrize(
    "coefficients", [(0.5, 1.0), (50.0,) * 7, (), (float("nan"), *(1.0,) * 5), (float("inf"),) * 6]
)
def test_a_curve_over_other_features_counts_as_none(coefficients: tuple[float, ...]) -> None:
    found = Features(0.4, 0.4, 0.4, 0.2, 0.1)
    assert confidence(found, EvidenceCurve(coefficients)) == confidence(found)
    assert confidence(found, EvidenceCurve((0.5,) * 6)) != confidence(found)  # control


def test_agreement_needs_one_passage_that_both_indexes_found() -> None:
    dense = [Candidate(1, 0.8), Candidate(2, 0.5)]
    assert features(0.7, 0.6, dense, [Candidate(2, 0.4), Candidate(3, 0.3)]) == Features(0.7, 0.6, 0.8, 0.4, 0.2)
    assert features(0.7, 0.6, dense, [Candidate(3, 0.4)]).agreement == 0.0
    assert features(-0.1, 0.0, [], []) == Features()


def sample() -> tuple[list[Features], list[bool]]:
    rng = np.random.default_rng(1)
    answered = [bool(number % 3) for number in range(300)]
    found = [
        Features(*np.clip(rng.normal([0.6, 0.5, 0.6, 0.4, 0.3] if yes else [0.4, 0.3, 0.4, 0.2, 0.1], 0.1), 0, 1))
        for yes in answered
    ]
    return found, answered


def test_a_fit_tells_the_two_kinds_apart_and_keeps_the_operating_points() -> None:
    found, answered = sample()
    curve = fit(found, answered)
    right = [(confidence(item, curve) >= 0.5) == yes for item, yes in zip(found, answered, strict=True)]
    assert np.mean(right) > 0.95
    thresholds, kept, wrong = zip(*curve.curve, strict=True)
    assert list(thresholds) == sorted(thresholds)
    assert list(kept) == sorted(kept, reverse=True)
    assert list(wrong) == sorted(wrong, reverse=True)
    assert kept[9] > 0.9 > 0.1 > wrong[9]


def test_no_feature_counts_against_an_answer() -> None:
    found, answered = sample()
    turned = [replace(item, share=1 - item.share) for item in found]
    assert fit(turned, answered).coefficients[4] == 0.0
    assert fit(found, answered).coefficients[4] > 0.0  # control


def test_a_fit_needs_both_kinds() -> None:
    found, answered = sample()
    for same in (True, False):
        with pytest.raises(ValueError, match="questions that it does not"):
            fit(found, [same] * len(answered))


def test_a_curve_of_its_own_replaces_the_shipped_one() -> None:
    assert confidence(Features(), EvidenceCurve((0.0, 1.0, 1.0, 1.0, 1.0, 1.0))) == 0.5
