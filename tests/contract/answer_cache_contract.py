"""What every answer cache keeps. A test class inherits this and gives the fixture ``cache``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from corpora import OPEN

from domicile.adapters.answer_cache import SqliteAnswerCache
from domicile.domain import Answer, Citation, Cost, Decision, Usage
from domicile.ports import AnswerCache

ENTRIES = 5
MAX_AGE = timedelta(hours=1)


@dataclass(slots=True)
class Clock:
    """Tests move it."""

    now: datetime = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass(frozen=True, slots=True)
class Cached:
    """A cache of ``ENTRIES`` entries and ``MAX_AGE``, its clock, and another view of it, as another process has it."""

    cache: AnswerCache
    other: AnswerCache
    clock: Clock


def answer(text: str = "Ten days [1].", collection: str = "c", generation: int = 1) -> Answer:
    quote = Citation(1, "leave.md", "Leave", None, text, 3, 3 + len(text), True)
    decision = Decision("hosted", "acme", "m", "de", OPEN, (("other", ("region", "budget")),))
    return Answer(
        text, False, "kept", collection, generation, (quote,), decision,
        receipt="r_1", usage=Usage(100, 7, 0.25), cost=Cost(0.1 + 0.2, "EUR"), timings_ms={"dense": 1.25},
    )  # fmt: skip


def at(path: Path, clock: Clock | None = None, memory: int = 3, **bounds: int) -> SqliteAnswerCache:
    entries = bounds.pop("entries", ENTRIES)
    return SqliteAnswerCache(
        path / "cache" / "answers.sqlite", clock=clock or Clock(), entries=entries, memory_entries=memory,
        max_age=MAX_AGE, **bounds,
    )  # fmt: skip


def put_forever(place: Path, to_test: Connection) -> None:
    """Cache answers of generations that come and go until killed; say so after each."""
    cache = at(place)
    for number in range(10**9):
        cache.put(f"k{number % 50}", answer(f"{number} " * 300, generation=number // 100))
        if number % 100 == 99:
            cache.retain("c", number // 100 + 1)
        to_test.send(number)


class AnswerCacheContract:
    @pytest.fixture
    def cached(self) -> Cached:
        raise NotImplementedError

    def test_what_was_put_is_found_by_all_and_nothing_else_is(self, cached: Cached) -> None:
        assert cached.cache.get("k") is None
        cached.cache.put("k", answer())
        assert cached.cache.get("k") == cached.other.get("k") == answer()
        assert cached.cache.get("other") is None

    def test_a_newer_answer_takes_the_place_of_an_older_one(self, cached: Cached) -> None:
        for text in ("one", "two"):
            cached.cache.put("k", answer(text))
        assert cached.other.get("k") == answer("two")

    def test_a_generation_that_is_retained_leaves_the_answers_of_no_other(self, cached: Cached) -> None:
        for generation in (1, 2, 3):
            cached.cache.put(f"c{generation}", answer(generation=generation))
        cached.cache.put("d1", answer(collection="d"))
        cached.cache.retain("c", 2)
        assert [bool(cached.cache.get(key)) for key in ("c1", "c2", "c3", "d1")] == [False, True, False, True]
        cached.cache.retain("c", 2)
        assert cached.other.get("d1") == answer(collection="d")

    def test_an_answer_that_comes_too_late_is_not_kept(self, cached: Cached) -> None:
        cached.cache.retain("c", 2)
        cached.cache.put("k1", answer(generation=1))
        cached.other.put("k2", answer(generation=1))
        cached.other.put("k3", answer(generation=3))  # another process may be ahead
        assert [bool(cached.cache.get(key)) for key in ("k1", "k2", "k3")] == [False, False, True]
        cached.cache.retain("c", 1)  # a rollback
        cached.cache.put("k1", answer(generation=1))
        assert cached.cache.get("k1") == answer(generation=1)

    def test_what_is_forgotten_is_gone_and_does_not_come_back(self, cached: Cached) -> None:
        cached.cache.put("old", answer())
        cached.cache.put("d", answer(collection="d"))
        cached.cache.forget("c", 2)
        cached.cache.put("old", answer())
        assert cached.cache.get("old") is None
        assert cached.cache.get("d") == answer(collection="d")

    def test_it_is_bounded_and_the_oldest_go_first(self, cached: Cached) -> None:
        for number in range(ENTRIES + 2):
            cached.cache.put(f"k{number}", answer(str(number)))
        assert [bool(cached.other.get(f"k{number}")) for number in range(ENTRIES + 2)] == [False] * 2 + [True] * ENTRIES

    def test_an_answer_gets_too_old_and_the_clock_may_be_set_back(self, cached: Cached) -> None:
        cached.cache.put("k", answer())
        cached.clock.go_on(minutes=59)
        assert cached.cache.get("k") == cached.other.get("k") == answer()
        cached.clock.go_on(minutes=2)
        assert cached.cache.get("k") is cached.other.get("k") is None
        cached.clock.go_on(hours=-30)
        assert cached.cache.get("k") is cached.other.get("k") is None
        cached.cache.put("k", replace(answer(), abstained=True))
        assert cached.other.get("k") == replace(answer(), abstained=True)
