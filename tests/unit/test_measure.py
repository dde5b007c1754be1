"""Engines compared: what counts as the same, and what is proposed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from domicile.models.measure import Candidate, Measurement, measure, overlap, propose
from domicile.testing import HashEmbedder

PORTABLE = Measurement("onnxruntime", "f32", 100.0, 50.0, 5.0, 1.0, 1.0, 1.0)
FAST = Measurement("openvino", "bf16", 200.0, 100.0, 5.0, 0.9999, 0.99999, 0.996)


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize(
    ("measurements", "current", "expected"),
    [
        pytest.param([PORTABLE, FAST], PORTABLE, FAST, id="faster and faithful"),
        pytest.param([PORTABLE, replace(FAST, overlap=0.98)], PORTABLE, None, id="not faithful"),
        pytest.param([PORTABLE, replace(FAST, texts_per_second=109.0)], PORTABLE, None, id="hardly faster"),
        pytest.param([PORTABLE, FAST], FAST, None, id="set already"),
        pytest.param([PORTABLE, replace(FAST, overlap=0.98)], FAST, PORTABLE, id="set, and not faithful"),
        pytest.param([PORTABLE], FAST, PORTABLE, id="set, and not possible here"),
    ],
)
def test_the_fastest_faithful_engine_is_proposed(
    measurements: list[Measurement], current: Measurement, expected: Measurement | None
) -> None:
    assert propose(measurements, (current.engine, current.precision)) == expected


def test_overlap_is_that_of_the_nearest() -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(60, 8)))
    assert overlap(vectors, vectors) == 1.0
    other = unit(np.random.default_rng(1).normal(size=(60, 8)))
    assert overlap(other, vectors) < 0.5
    assert 0.8 < overlap(unit(vectors + 0.05 * other), vectors) < 1.0


def test_the_order_of_equally_near_texts_is_no_loss() -> None:
    vectors = np.repeat(unit(np.random.default_rng(0).normal(size=(4, 8))), 20, axis=0)
    noise = np.random.default_rng(1).normal(scale=1e-7, size=vectors.shape).astype(np.float32)
    assert overlap(unit(vectors + noise), vectors) == 1.0


def test_each_candidate_is_measured_against_the_first() -> None:
    lines: list[str] = []
    texts = [f"pump {number} of the board {number % 7}" for number in range(40)]
    candidates = [Candidate("onnxruntime", "f32", HashEmbedder), Candidate("openvino", "bf16", HashEmbedder)]
    first, second = measure(candidates, rounds=2, progress=lines.append, texts=texts)
    assert (first.engine, second.engine, second.precision) == ("onnxruntime", "openvino", "bf16")
    assert (second.cosine_min, second.overlap) == (pytest.approx(1.0), 1.0)
    assert min(first.texts_per_second, first.texts_per_cpu_second, first.query_ms) > 0
    assert lines == ["measuring, round 1 of 2", "measuring, round 2 of 2"]
