"""The fit of the evidence: what it claims on questions that it has not seen, and which questions it reads."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from corpora import COLLECTION, EMBEDDER, Shelf

from domicile.adapters.sentencex import SentencexSplitter
from domicile.confidence import Features
from domicile.domain import OWNER, EvidenceCurve
from domicile.errors import UsageError
from domicile.evidence import EvidenceSelector
from domicile.retrieval import Retriever
from domicile_eval.evidence_fit import MAX_QUESTIONS, Judged, fit_evidence, read_evidence
from domicile_eval.items import Item

KNOWS_NOTHING = EvidenceCurve((0.0,) * (1 + len(astuple(Features()))))
"""Says one half of everything."""


def judged(yes: int, no: int, apart: float) -> Judged:
    """Questions whose features lie this far apart, with noise."""
    rng = np.random.default_rng(3)
    truth = [True] * yes + [False] * no
    rows = [np.clip(rng.normal(0.4 + apart * answered, 0.1, len(astuple(Features()))), 0, 1) for answered in truth]
    return Judged(tuple(Features(*map(float, row)) for row in rows), tuple(truth))


@pytest.mark.parametrize(("yes", "no"), [(60, 60), (200, 30)])
def test_what_tells_the_kinds_apart_is_a_certain_gain(yes: int, no: int) -> None:
    fit = fit_evidence(judged(yes, no, 0.2), KNOWS_NOTHING, 5)
    assert (fit.answered, fit.unanswered) == (yes, no)
    assert fit.before == pytest.approx(np.log(2))
    assert fit.held_out < 0.3
    assert fit.certain
    assert fit.gain.value == pytest.approx(fit.before - fit.held_out, abs=1e-6)
    middle = next(point for point in fit.fitted.curve if point[0] == 0.5)
    assert middle[1] > 0.85
    assert middle[2] < 0.15


def test_noise_is_not_taken_for_a_gain() -> None:
    assert not fit_evidence(judged(60, 60, 0.0), KNOWS_NOTHING, 5).certain


def test_a_curve_that_was_fitted_to_these_questions_already_stays() -> None:
    found = judged(200, 200, 0.1)
    again = fit_evidence(found, fit_evidence(found, None, 5).fitted, 5)
    assert not again.certain


def test_questions_without_their_document_are_left_out(shelf: Shelf) -> None:
    names = [f"word{n}" for n in range(40)]
    shelf.commit({f"{name}.md": f"The {name} is oiled every month." for name in names})
    cases = [Item.judged(name, f"How often is {name} oiled?", {f"{name}.md": 1}) for name in names]
    lost = [Item.judged(f"lost {name}", f"How often is {name} oiled?", {"elsewhere.md": 1}) for name in names]
    retriever, selector = Retriever(shelf.reader(), EMBEDDER), EvidenceSelector(EMBEDDER, SentencexSplitter())
    index = retriever.pin(COLLECTION.name, OWNER)
    others = [f"Who painted picture {n}?" for n in range(MAX_QUESTIONS + 5)]
    found = read_evidence(retriever, selector, index, [*cases, *lost], others)
    assert 35 <= found.answered.count(True) <= len(cases)
    assert found.answered.count(False) == MAX_QUESTIONS
    with pytest.raises(UsageError, match="30 of both"):
        read_evidence(retriever, selector, index, lost, others)
    with pytest.raises(UsageError, match="30 of both"):
        read_evidence(retriever, selector, index, cases, others[:29])
