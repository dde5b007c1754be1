"""The ledgers: the fake, and the durable one, which must never let a budget be overdrawn."""

from __future__ import annotations

import stat
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from contract.ledger_contract import ACCOUNT, ENTRY, NOON, Books, LedgerContract, at, spend_forever
from faults import SCALE, files_of_at_most, in_memory
from hypothesis import given, settings
from hypothesis import strategies as st
from victims import victim

from domicile.domain import Cost
from domicile.errors import StorageError
from domicile.ports import Account
from domicile.testing import MemoryLedger

KILLS = 50 * SCALE
DAY = NOON.date()


class TestMemoryLedger(LedgerContract):
    @pytest.fixture
    def books(self) -> Books:
        ledger = MemoryLedger()
        return Books(ledger, ledger)


class TestSqliteLedger(LedgerContract):
    @pytest.fixture
    def books(self, tmp_path: Path) -> Books:
        return Books(at(tmp_path), at(tmp_path))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 400), st.integers(0, 400), st.booleans()), min_size=1, max_size=24),
    st.integers(0, 1_500), st.integers(0, 1_500),
)  # fmt: skip
def test_calls_at_once_never_overdraw(calls: list[tuple[int, int, bool]], key_cents: int, tenant_cents: int) -> None:
    """Two ledgers and four threads; some calls cost less than was set aside, and some are never booked."""
    with TemporaryDirectory(dir=in_memory("/tmp")) as folder:
        ledgers = [at(Path(folder)), at(Path(folder))]
        accounts = [Account("t", key, key_day=key_cents / 100, tenant_month=tenant_cents / 100) for key in "kl"]

        def spend(number: int) -> None:
            cents, used, lost = calls[number]
            account, ledger = accounts[number % 2], ledgers[number // 2 % 2]
            reservation = ledger.reserve(account, cents / 100, NOON)
            if reservation is not None and not lost:
                entry = replace(ENTRY, key=account.key, cost=Cost(min(used, cents) / 100))
                ledgers[number % 2].book(reservation, entry, NOON)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(spend, range(len(calls))))
        booked = {key: sum(t.amount for t in ledgers[0].totals(DAY, DAY) if t.key == key) for key in "kl"}
        held = ledgers[0].unsettled(DAY, DAY, NOON + timedelta(days=1))
        assert all(amount <= key_cents / 100 + 1e-9 for amount in booked.values())
        assert sum(booked.values()) + held <= tenant_cents / 100 + 1e-9


def test_two_processes_share_a_budget_to_the_last_cent(tmp_path: Path) -> None:
    account = Account("t", "k", tenant_month=1.0)
    with victim(spend_forever, tmp_path) as (_, one), victim(spend_forever, tmp_path) as (_, two):
        for end in (one, two):
            assert end.recv() == "ready"
        for end in (one, two):
            end.send(account)
        said = [list(iter(end.recv, "refused")) for end in (one, two)]
    assert sum(words.count("booked") for words in said) == 100
    assert all(said), "one of them did everything: this showed nothing"
    assert sum(total.amount for total in at(tmp_path).totals(DAY, DAY)) == pytest.approx(1.0)


def test_no_kill_makes_a_budget_larger(tmp_path: Path) -> None:
    """What was told as reserved is spent or set aside, whatever was killed in the middle of it."""
    account, told = Account("t", "k"), 0
    for kill in range(KILLS):
        with victim(spend_forever, tmp_path) as (process, said):
            assert said.recv() == "ready"
            said.send(account)
            told += said.recv() == "reserved"
            time.sleep(kill % 10 / 1_000)
            process.kill()
            process.join()
            while said.poll():
                try:
                    told += said.recv() == "reserved"
                except EOFError:
                    break
        booked = sum(total.calls for total in at(tmp_path).totals(DAY, DAY))
        held = at(tmp_path).unsettled(DAY, DAY, NOON + timedelta(days=1))
        assert told <= booked + round(held * 100) <= told + kill + 1  # one may have been cut off before it was told
    assert at(tmp_path).unsettled(DAY, DAY, NOON + timedelta(days=1)) > 0, "no kill hit the time between"


def test_looking_makes_no_file_and_files_are_for_their_owner_only(tmp_path: Path) -> None:
    assert at(tmp_path).totals(DAY, DAY) == []
    assert at(tmp_path).unsettled(DAY, DAY, NOON) == 0
    assert list(tmp_path.iterdir()) == []
    ledger = at(tmp_path)
    ledger.book(None, ENTRY, NOON)
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "state").iterdir()} == {0o600}


def test_bookings_are_kept_for_so_many_days(tmp_path: Path) -> None:
    ledger = at(tmp_path, days=400)
    old = NOON - timedelta(days=400)
    assert ledger.reserve(ACCOUNT, 0.5, old - timedelta(days=1)) is not None
    for moment in (old - timedelta(days=1), old, NOON):
        ledger.book(None, ENTRY, moment)
    assert [total.day for total in ledger.totals(date(2000, 1, 1), DAY)] == [old.date(), DAY]
    assert ledger.unsettled(date(2000, 1, 1), DAY, NOON) == 0


@pytest.mark.parametrize("bytes_", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5_000])
def test_a_damaged_ledger_is_never_begun_anew(tmp_path: Path, bytes_: bytes) -> None:
    (tmp_path / "state").mkdir()
    path = tmp_path / "state" / "ledger.sqlite"
    path.write_bytes(bytes_)
    ledger = at(tmp_path)
    for call in (
        lambda: ledger.reserve(ACCOUNT, 0.1, NOON), lambda: ledger.book(None, ENTRY, NOON),
        lambda: ledger.totals(DAY, DAY), lambda: ledger.unsettled(DAY, DAY, NOON),
    ):  # fmt: skip
        with pytest.raises(StorageError, match=r"ledger\.sqlite.*move it away.*lower the budgets"):
            call()
    assert path.read_bytes() == bytes_


def test_a_ledger_that_is_taken_away_is_not_begun_anew_under_a_service(tmp_path: Path) -> None:
    ledger = at(tmp_path)
    assert ledger.reserve(ACCOUNT, 0.1, NOON) is not None
    for file in (tmp_path / "state").glob("ledger.sqlite*"):
        file.unlink()
    with pytest.raises(StorageError, match=r"taken away.*lower the budgets"):
        ledger.reserve(ACCOUNT, 0.1, NOON)


def test_a_full_disk_refuses_and_enlarges_no_budget(tmp_path: Path) -> None:
    ledger = at(tmp_path)
    reservation = ledger.reserve(ACCOUNT, 0.9, NOON)
    with files_of_at_most((tmp_path / "state" / "ledger.sqlite-wal").stat().st_size):
        with pytest.raises(StorageError, match=r"ledger\.sqlite"):
            ledger.reserve(Account("t", "l"), 0.1, NOON)
        with pytest.raises(StorageError, match=r"ledger\.sqlite"):
            ledger.book(reservation, ENTRY, NOON)
    assert ledger.reserve(ACCOUNT, 0.2, NOON) is None
    ledger.book(reservation, ENTRY, NOON)
    assert ledger.reserve(ACCOUNT, 0.2, NOON) is not None


def test_a_folder_that_cannot_be_written_refuses(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot write"):
        at(tmp_path).reserve(ACCOUNT, 0.1, NOON)


@pytest.mark.parametrize("amount", [-0.01, float("nan"), float("inf"), 1e9])
def test_what_is_no_money_is_refused(tmp_path: Path, amount: float) -> None:
    with pytest.raises(ValueError, match="no amount of money"):
        at(tmp_path).reserve(ACCOUNT, amount, NOON)
    assert at(tmp_path).reserve(ACCOUNT, 1.0, datetime(2026, 2, 15, tzinfo=UTC)) is not None


def test_money_is_exact_over_a_million_small_answers(tmp_path: Path) -> None:
    """A float would be off: a hundredth of a cent has no end in binary."""
    ledger = at(tmp_path)
    for _ in range(300):
        ledger.book(None, replace(ENTRY, cost=Cost(0.0001)), NOON)
    assert ledger.totals(DAY, DAY)[0].amount == 0.03
    assert sum([0.0001] * 300) != 0.03, "control"
