"""Stages keep the order, work ahead by a bounded number, and end when their user does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from domicile_ingest.flow import ordered, threads


def test_results_come_in_order_however_long_each_takes() -> None:
    def work(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number * number

    with threads(3, "test") as pool:
        assert list(ordered(pool, work, range(20), ahead=4)) == [number * number for number in range(20)]
        assert list(ordered(pool, work, [], ahead=4)) == []


def test_no_more_items_are_drawn_than_may_be_under_way() -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for number in range(100):
            drawn += 1
            yield number

    with threads(2, "test") as pool:
        results = ordered(pool, lambda number: number, items(), ahead=5)
        for taken in range(1, 20):
            next(results)
            assert drawn <= taken + 4
        results.close()
    assert drawn < 30


def test_stages_strung_together_overlap() -> None:
    running = threading.Barrier(2, timeout=10)  # passed only when both stages are at work at once

    def first(number: int) -> int:
        if number == 3:
            running.wait()
        return number

    def second(number: int) -> int:
        if number == 0:
            running.wait()
        return number

    with threads(1, "one") as one, threads(1, "two") as two:
        assert list(ordered(two, second, ordered(one, first, range(6), ahead=2), ahead=4)) == list(range(6))


def test_what_work_raises_is_raised_and_what_waits_is_not_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise KeyError("planted")
        time.sleep(0.01)
        return number

    def run() -> None:
        with threads(1, "test") as pool:
            list(ordered(pool, work, range(50), ahead=10))

    with pytest.raises(KeyError, match="planted"):
        run()
    begun_then = len(begun)
    for thread in threading.enumerate():  # what is under way is not waited for, and ends by itself
        if thread.name.startswith("test"):
            thread.join(10)
            assert not thread.is_alive()
    assert len(begun) <= begun_then + 1 < 13
