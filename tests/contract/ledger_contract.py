"""What every ledger keeps. A test class inherits this and gives the fixture ``books``."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from domicile.adapters.ledger import SqliteLedger
from domicile.domain import Cost, Usage
from domicile.ports import Account, Booking, Ledger

NOON = datetime(2026, 2, 15, 12, tzinfo=UTC)
ACCOUNT = Account("t", "k", key_day=1.0)
ENTRY = Booking("t", "k", "c", "acme", "m", Usage(100, 10), Cost(0.25))


@dataclass(frozen=True, slots=True)
class Books:
    """A ledger, and another view of the same, as another process has it."""

    ledger: Ledger
    other: Ledger

    def spend(self, amount: float, now: datetime = NOON, account: Account = ACCOUNT) -> bool:
        """Reserve and book as much, in two processes; whether the budget allowed it."""
        reservation = self.ledger.reserve(account, amount, now)
        if reservation is not None:
            entry = replace(ENTRY, tenant=account.tenant, key=account.key, cost=Cost(amount))
            self.other.book(reservation, entry, now)
        return reservation is not None


def at(place: Path, days: int = 400) -> SqliteLedger:
    return SqliteLedger(place / "state" / "ledger.sqlite", days)


def spend_forever(place: Path, to_test: Connection) -> None:
    """Spend hundredths until the budget is gone; tells each one before and after."""
    ledger = at(place)
    to_test.send("ready")
    account = to_test.recv()
    while (reservation := ledger.reserve(account, 0.01, NOON)) is not None:
        to_test.send("reserved")
        ledger.book(reservation, replace(ENTRY, cost=Cost(0.01)), NOON)
        to_test.send("booked")
        time.sleep(0.002)  # or whoever has the file keeps it
    to_test.send("refused")


class LedgerContract:
    @pytest.fixture
    def books(self) -> Books:
        raise NotImplementedError

    def test_a_budget_can_be_spent_to_the_last_cent_and_no_further(self, books: Books) -> None:
        assert [books.spend(0.1) for _ in range(11)] == [True] * 10 + [False]
        assert books.ledger.reserve(ACCOUNT, 0.0, NOON) is not None
        assert books.ledger.reserve(ACCOUNT, 1e-6, NOON) is None

    def test_what_is_set_aside_counts_until_what_it_cost_takes_its_place(self, books: Books) -> None:
        reservation = books.ledger.reserve(ACCOUNT, 0.9, NOON)
        assert books.other.reserve(ACCOUNT, 0.2, NOON) is None
        books.other.book(reservation, ENTRY, NOON)
        assert books.ledger.reserve(ACCOUNT, 0.75, NOON) is not None

    def test_what_is_never_booked_stays_spent_and_is_told_apart(self, books: Books) -> None:
        assert books.ledger.reserve(ACCOUNT, 0.9, NOON) is not None
        later, day = NOON + timedelta(minutes=11), NOON.date()
        assert books.other.unsettled(day, day, NOON) == 0
        assert books.other.unsettled(day, day, later) == pytest.approx(0.9)
        assert books.other.unsettled(day + timedelta(1), day + timedelta(1), later) == 0
        assert books.ledger.reserve(ACCOUNT, 0.2, later) is None
        assert books.ledger.reserve(ACCOUNT, 0.2, NOON + timedelta(days=1)) is not None

    @pytest.mark.parametrize(
        ("account", "others"),
        [
            (Account("t", "k", key_day=1.0), [Account("t", "l", key_day=1.0), Account("u", "k", key_day=1.0)]),
            (Account("t", "k", key_month=1.0), [Account("t", "l", key_month=1.0)]),
            (Account("t", "k", tenant_day=1.0), [Account("u", "k", tenant_day=1.0)]),
            (Account("t", "k", tenant_month=1.0), [Account("u", "k", tenant_month=1.0)]),
        ],
    )
    def test_each_budget_is_its_own(self, books: Books, account: Account, others: list[Account]) -> None:
        assert books.spend(1.0, account=account)
        assert not books.spend(0.1, account=account)
        assert all(books.spend(0.1, account=other) for other in others)
        assert books.spend(5.0, account=Account("t", "k")), "no budget is no bound"
        assert not books.spend(0.1, account=replace(account, tenant="t", key="k"))

    def test_the_keys_of_a_tenant_share_its_budget(self, books: Books) -> None:
        accounts = [Account("t", key, tenant_day=1.0) for key in ("k", "l")]
        assert [books.spend(0.6, account=account) for account in accounts] == [True, False]

    def test_a_day_and_a_month_end_at_midnight_in_utc(self, books: Books) -> None:
        daily, monthly = Account("t", "k", key_day=1.0), Account("t", "m", key_month=1.0)
        last = datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)
        far = last.astimezone(timezone(timedelta(hours=14)))  # 1 March there
        for account in (daily, monthly):
            assert books.spend(1.0, far, account)
            assert not books.spend(0.1, last, account)
            assert books.spend(0.1, last + timedelta(microseconds=1), account)
        assert books.spend(0.1, last - timedelta(days=1), daily)
        assert not books.spend(0.1, last - timedelta(days=27), monthly), "a clock that is set back"

    def test_a_call_over_midnight_is_paid_from_the_day_it_began(self, books: Books) -> None:
        late = datetime(2026, 2, 15, 23, 59, tzinfo=UTC)
        reservation = books.ledger.reserve(ACCOUNT, 1.0, late)
        morning = late + timedelta(minutes=2)
        books.ledger.book(reservation, replace(ENTRY, cost=Cost(1.0)), morning)
        assert books.spend(1.0, morning)
        assert not books.spend(0.1, late)

    def test_what_runs_here_costs_money_and_no_budget(self, books: Books) -> None:
        books.ledger.book(None, replace(ENTRY, sink="local", cost=Cost(5.0)), NOON)
        assert books.spend(1.0)
        books.ledger.book(None, replace(ENTRY, key="l"), NOON)  # such as what an evaluation spent
        assert not books.spend(0.8, account=Account("t", "l", key_day=1.0))

    def test_totals_sum_what_is_alike(self, books: Books) -> None:
        books.ledger.book(None, ENTRY, NOON)
        books.ledger.book(None, replace(ENTRY, usage=Usage(50, 5), cost=Cost(0.5, estimated=True)), NOON)
        books.ledger.book(None, replace(ENTRY, usage=Usage(), cost=Cost(0.0)), NOON)
        books.ledger.book(None, replace(ENTRY, sink="local", usage=Usage(cpu_seconds=1.5), cost=Cost(0.001)), NOON)
        books.ledger.book(None, ENTRY, NOON + timedelta(days=1))
        day = NOON.date()
        found = books.other.totals(day, day)
        assert [(total.sink, total.calls, total.answers, total.estimated) for total in found] == [
            ("acme", 3, 2, 1), ("local", 1, 1, 0),
        ]  # fmt: skip
        assert (found[0].prompt_tokens, found[0].completion_tokens) == (150, 15)
        assert (found[0].amount, found[0].highest) == pytest.approx((0.75, 0.5))
        assert (found[1].cpu_seconds, found[1].amount, found[1].currency) == (1.5, pytest.approx(0.001), "USD")
        assert len(books.other.totals(day, day + timedelta(days=1))) == 3
        assert books.other.totals(date(2020, 1, 1), date(2020, 12, 31)) == []

    def test_whatever_names_there_are_they_are_data(self, books: Books) -> None:
        hostile = "'; DROP TABLE totals; --\x00ü"
        books.ledger.book(None, replace(ENTRY, tenant=hostile, key=hostile, collection=hostile, model=""), NOON)
        assert [total.key for total in books.other.totals(NOON.date(), NOON.date())] == [hostile]
