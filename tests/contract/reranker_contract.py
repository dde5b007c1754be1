"""What every Reranker keeps. A test class inherits this and gives the fixture ``reranker``."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from domicile.ports import Reranker

QUESTION = "is the pump checked every week"
PASSAGES = [
    "the pump is checked every week",
    "pump",
    "the board audit the salary contract " * 9,
    "leave",
    "safety valve engine " * 30,
    "",
    "the pump is checked",
]


class RerankerContract:
    @pytest.fixture
    def reranker(self) -> Reranker:
        raise NotImplementedError

    def test_each_passage_has_a_probability(self, reranker: Reranker) -> None:
        scores = reranker.score(QUESTION, PASSAGES)
        assert len(scores) == len(PASSAGES)
        assert all(type(score) is float and 0.0 <= score <= 1.0 for score in scores)

    def test_no_passages_have_none(self, reranker: Reranker) -> None:
        assert reranker.score(QUESTION, []) == []

    def test_a_score_does_not_depend_on_order_or_neighbours(self, reranker: Reranker) -> None:
        together = reranker.score(QUESTION, PASSAGES)
        assert together == pytest.approx([reranker.score(QUESTION, [text])[0] for text in PASSAGES], abs=1e-5)
        order = list(range(len(PASSAGES)))
        random.Random(3).shuffle(order)
        shuffled = reranker.score(QUESTION, [PASSAGES[at] for at in order])
        assert shuffled == pytest.approx([together[at] for at in order], abs=1e-5)

    def test_the_same_call_gives_the_same_scores(self, reranker: Reranker) -> None:
        assert reranker.score(QUESTION, PASSAGES) == reranker.score(QUESTION, PASSAGES)

    def test_several_threads_get_what_one_gets(self, reranker: Reranker) -> None:
        expected = reranker.score(QUESTION, PASSAGES)
        with ThreadPoolExecutor(4) as pool:
            for scores in pool.map(lambda _: reranker.score(QUESTION, PASSAGES), range(8)):
                assert scores == pytest.approx(expected, abs=1e-5)

    def test_a_score_is_about_the_question(self, reranker: Reranker) -> None:
        passages = ["pump valve engine", "salary board contract"]
        about_pumps = reranker.score("engine pump", passages)
        about_pay = reranker.score("salary contract", passages)
        assert about_pumps[0] > about_pumps[1] + 0.1
        assert about_pay[1] > about_pay[0] + 0.1

    def test_it_says_what_it_is(self, reranker: Reranker) -> None:
        assert reranker.name

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("\x00", id="nul"),
            pytest.param("a\u0301\u200b", id="combining"),
            pytest.param("🎉👩\u200d💻", id="emoji"),
            pytest.param("[CLS] [SEP]", id="specials"),
            pytest.param("\ud800", id="lone surrogate"),
            pytest.param("x" * 100_000, id="one word"),
            pytest.param("pump " * 20_000, id="words"),
            pytest.param(" " * 100_000, id="blanks"),
        ],
    )
    def test_any_question_and_passage_have_a_score(self, reranker: Reranker, text: str) -> None:
        for question, passage in ((text, "pump"), ("pump", text), (text, text)):
            assert 0.0 <= reranker.score(question, [passage])[0] <= 1.0
