"""Which candidates a reranker reads in the time that there is, and what becomes of the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domicile.domain import Candidate, Chunk, Label, Sensitivity
from domicile.errors import ModelDamaged, ModelMissing
from domicile.ports import Reranker
from domicile.reranking import CUT_SHORT, DAMAGED, FAILED, MISSING, NO_TIME, Pace, Reranking

LABEL = Label(frozenset(), Sensitivity.PUBLIC, True, 0, frozenset(), frozenset(), None)


@dataclass(slots=True)
class PlannedReranker:
    """Scores a passage by the number that it ends with, and takes ``cost`` seconds of its own clock for each.

    Attributes:
        fail: raised instead.
    """

    cost: float = 0.01
    now: float = 0.0
    fail: ModelDamaged | None = None
    name: str = "planned"
    read: list[list[str]] = field(default_factory=list)
    scores: Callable[[int], float] = lambda number: number / 1000

    def clock(self) -> float:
        return self.now

    def score(self, question: str, passages: Sequence[str]) -> list[float]:
        self.read.append(list(passages))
        self.now += self.cost * len(passages)
        if self.fail:
            raise self.fail
        return [self.scores(int(text.split()[-1])) if text.split()[-1].isdigit() else 0.0 for text in passages]

    @property
    def pairs(self) -> int:
        """That were scored since the warm-up."""
        return sum(map(len, self.read[1:]))


def reranking(model: PlannedReranker, depth: int = 20, seconds: float = 1.0) -> Reranking:
    return Reranking("own", lambda: model, depth, seconds, model.clock)


def chunks(refs: Sequence[int]) -> list[Chunk]:
    return [Chunk(f"d#{ref}", "d", "Title", ("Part", "Section"), None, 0, 9, f"text {ref}", LABEL) for ref in refs]


def candidates(count: int) -> list[Candidate]:
    """The fused order: by number, so that a reranker that likes high ones turns it round."""
    return [Candidate(ref, 0.5 - ref / 1000) for ref in range(count)]


def refs(given: Sequence[Candidate]) -> list[int]:
    return [candidate.ref for candidate in given]


def test_the_best_are_put_into_the_models_order_and_the_rest_follow() -> None:
    found = reranking(PlannedReranker(), depth=5).reorder("q", candidates(8), chunks)
    assert refs(found.candidates) == [4, 3, 2, 1, 0, 5, 6, 7]
    assert [c.score for c in found.candidates[:2]] == [1.004, 1.003]
    assert found.candidates[5:] == candidates(8)[5:]
    assert found.notes == ()


@given(
    st.lists(st.floats(-1, 1.1), max_size=40),
    st.lists(st.floats(0, 1), min_size=40, max_size=40),
    st.integers(1, 30),
    st.floats(0.01, 0.3),
)
def test_it_is_a_permutation_and_scores_never_rise(
    fused: list[float], scores: list[float], depth: int, seconds: float
) -> None:
    model = PlannedReranker(scores=scores.__getitem__)
    given = [Candidate(ref, score) for ref, score in enumerate(sorted(fused, reverse=True))]
    found = reranking(model, depth, seconds).reorder("q", given, chunks).candidates
    assert sorted(refs(found)) == refs(given)
    shown = [candidate.score for candidate in found]
    assert shown == sorted(shown, reverse=True)
    assert model.pairs <= depth


def test_ties_keep_the_fused_order() -> None:
    found = reranking(PlannedReranker(scores=lambda number: number % 2)).reorder("q", candidates(6), chunks)
    assert refs(found.candidates) == [1, 3, 5, 0, 2, 4]


def test_it_reads_title_heading_and_text_and_the_text_is_what_gets_cut() -> None:
    model = PlannedReranker()
    reranking(model).reorder("q", candidates(2), chunks)
    assert model.read[1][0] == "Title › Section\ntext 0"


@pytest.mark.parametrize("count", [0, 1])
def test_there_is_nothing_to_put_in_order(count: int) -> None:
    model = PlannedReranker()
    found = reranking(model).reorder("q", candidates(count), chunks)
    assert (found.candidates, found.notes, model.pairs) == (candidates(count), (), 0)


class TestTime:
    def test_as_many_are_read_as_there_is_time_for(self) -> None:
        model = PlannedReranker(cost=0.1)
        began = (stage := reranking(model)).reorder("q", candidates(30), chunks)
        assert model.pairs == pytest.approx(10, abs=1)
        assert refs(began.candidates) == [*reversed(range(model.pairs)), *range(model.pairs, 30)]
        assert began.notes == (CUT_SHORT,)
        assert stage.status.state == "ready"

    def test_it_ends_within_what_a_request_has_left(self) -> None:
        model = PlannedReranker(cost=0.1)
        stage = reranking(model)
        began = model.now
        stage.reorder("q", candidates(30), chunks, within=0.45)
        assert model.pairs == 4
        assert model.now - began <= 0.45

    @pytest.mark.parametrize("within", [-1.0, 0.0, 0.19])
    def test_where_not_two_fit_it_is_left_out(self, within: float) -> None:
        model = PlannedReranker(cost=0.1)
        found = reranking(model).reorder("q", candidates(9), chunks, within)
        assert (found.candidates, found.notes, model.pairs) == (candidates(9), (NO_TIME,), 0)

    def test_a_model_that_became_slow_is_asked_for_less(self) -> None:
        model = PlannedReranker(cost=0.01)
        stage = reranking(model)
        assert stage.reorder("q", candidates(20), chunks).notes == ()
        model.cost = 0.2
        read = []
        for _ in range(8):
            before = model.pairs
            stage.reorder("q", candidates(20), chunks)
            read.append(model.pairs - before)
        assert read[0] > read[-1] >= 4
        assert read[-1] * model.cost <= 1.0

    def test_a_model_that_was_slow_for_a_while_is_tried_again(self) -> None:
        model = PlannedReranker(cost=2.0)
        stage = reranking(model)  # the warm-up takes two seconds
        model.cost = 0.01
        notes = [stage.reorder("q", candidates(20), chunks).notes for _ in range(40)]
        assert notes[0] == (NO_TIME,)
        assert notes[-1] == ()

    def test_requests_in_a_hurry_do_not_make_it_look_fast(self) -> None:
        model = PlannedReranker(cost=0.3)
        stage = reranking(model)
        for _ in range(50):
            stage.reorder("q", candidates(20), chunks, within=0.4)
        assert model.pairs == 0

    def test_nobody_waits_for_a_model_that_hangs(self) -> None:
        go = threading.Event()

        class Hanging(PlannedReranker):
            def score(self, question: str, passages: Sequence[str]) -> list[float]:
                if len(passages) > 1:  # not the warm-up
                    go.wait(20)
                return [0.5] * len(passages)

        stage = Reranking("own", Hanging, seconds=0.1)
        began = time.perf_counter()
        try:
            found = stage.reorder("q", candidates(9), chunks)
            waited = time.perf_counter() - began
            assert (found.candidates, found.notes) == (candidates(9), (NO_TIME,))
            assert 0.09 <= waited < 10
        finally:
            go.set()

    def test_the_pace_follows_what_it_sees(self) -> None:
        pace = Pace(0.1)
        assert [pace.pairs_in(seconds) for seconds in (-1, 0, 0.05, 0.25)] == [0, 0, 0, 2]
        for _ in range(50):
            pace.saw(4, 0.08)
        assert pace.seconds == pytest.approx(0.02, rel=0.01)
        pace.gave_up(2, 1.0)
        assert pace.seconds == 0.5
        pace.gave_up(2, 0.1)  # more than a twentieth is no news
        assert pace.seconds == 0.5


class TestTrouble:
    @pytest.mark.parametrize(
        ("error", "state", "note"),
        [(ModelMissing("not there"), "missing", MISSING), (ModelDamaged("not whole"), "damaged", DAMAGED)],
    )
    def test_a_model_that_cannot_be_loaded_is_gone_without(self, error: Exception, state: str, note: str) -> None:
        def load() -> Reranker:
            raise error

        stage = Reranking("own", load)
        found = stage.reorder("q", candidates(9), chunks)
        assert (found.candidates, found.notes) == (candidates(9), (note,))
        assert (stage.status.name, stage.status.kind, stage.status.state) == ("own", "reranker", state)
        assert stage.status.reason == str(error)

    def test_a_model_that_fails_when_it_is_tried_is_damaged(self) -> None:
        stage = reranking(PlannedReranker(fail=ModelDamaged("no numbers")))
        assert (stage.status.state, stage.status.reason) == ("damaged", "no numbers")

    def test_a_failure_costs_the_new_order_and_shows_until_it_works_again(self) -> None:
        model = PlannedReranker()
        stage = reranking(model)
        model.fail = ModelDamaged("no numbers")
        found = stage.reorder("q", candidates(9), chunks)
        assert (found.candidates, found.notes) == (candidates(9), (FAILED,))
        assert (stage.status.state, stage.status.reason) == ("damaged", "no numbers")
        model.fail = None
        assert stage.reorder("q", candidates(9), chunks).notes == ()
        assert (stage.status.state, stage.status.reason) == ("ready", None)
