"""What every memory of the labels of answers keeps. A test class inherits this and gives the fixture ``known``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from corpora import OPEN

from domicile import labels
from domicile.adapters.answer_labels import SqliteAnswerLabels
from domicile.domain import Label, Sensitivity
from domicile.ports import AnswerLabels

WIDE = replace(OPEN, hosted=True, regions=frozenset({"de", "fr"}), sensitivity=Sensitivity.PUBLIC)
NARROW = replace(WIDE, regions=frozenset({"de"}), groups=frozenset({"hr"}))
SECRET = replace(WIDE, hosted=False, regions=frozenset({"fr"}), categories=frozenset({"pii"}))


@dataclass(frozen=True, slots=True)
class Known:
    """A memory, and another view of the same, as another process has it."""

    labels: AnswerLabels
    other: AnswerLabels


def at(place: Path, answers: int = 1_000_000) -> SqliteAnswerLabels:
    return SqliteAnswerLabels(place / "state" / "answers.sqlite", answers)


def remember_forever(place: Path, to_test: Connection) -> None:
    """Remember answers until killed, each twice, with a second label that is stricter; say so after each."""
    known = at(place)
    to_test.send("ready")
    began = to_test.recv()
    for number in count(began):
        known.remember("t", [f"answer {number}"], WIDE)
        to_test.send((number, False))
        known.remember("t", [f"answer {number}"], SECRET)
        to_test.send((number, True))


def joined(*of: Label) -> Label:
    found = labels.join(of)
    assert found is not None
    return found


class AnswerLabelsContract:
    @pytest.fixture
    def known(self) -> Known:
        raise NotImplementedError

    def test_a_label_is_found_by_the_text_and_by_nothing_less(self, known: Known) -> None:
        assert known.labels.find("t", "Ten days.") is None
        known.labels.remember("t", ["Ten days."], NARROW)
        assert known.labels.find("t", "Ten days.") == known.other.find("t", "Ten days.") == NARROW
        for tenant, text in (("u", "Ten days."), ("t", "Ten days"), ("t", "ten days."), ("t", ""), ("tT", "en days.")):
            assert known.other.find(tenant, text) is None

    def test_white_space_makes_no_difference(self, known: Known) -> None:
        known.labels.remember("t", ["  Ten\n\n days.\t"], NARROW)
        assert known.other.find("t", "Ten days.\u00a0\n") == NARROW
        assert known.other.find("t", "Tendays.") is None

    def test_labels_of_the_same_text_are_joined(self, known: Known) -> None:
        for label in (WIDE, NARROW, WIDE, SECRET):
            known.labels.remember("t", ["Yes."], label)
        assert known.other.find("t", "Yes.") == joined(WIDE, NARROW, SECRET)
        assert joined(WIDE, NARROW, SECRET) != SECRET
        known.other.remember("t", ["Yes."], WIDE)
        assert known.labels.find("t", "Yes.") == joined(WIDE, NARROW, SECRET)

    @pytest.mark.parametrize("text", ["", "\ud800", "a\x00b", "ü😀" * 50_000])
    def test_any_text_has_a_label(self, known: Known, text: str) -> None:
        known.labels.remember("t", [text], WIDE)
        assert known.other.find("t", text) == WIDE
