"""What answers cost, in one SQLite file that the processes of a home share: sums for each day, and money set aside.

Money is counted in whole billionths, rounded up. A reservation counts as spent from its first moment, on the day when it was
made, until what it was for is booked in its place. One that is never booked, since its process died, stays spent: the
bytes may have left, and then the provider bills them. Budgets are of a day or a month, so it blocks none of them for long.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from domicile.adapters.database_file import Database, DatabaseFile
from domicile.errors import Damaged, Overloaded, StorageError
from domicile.labels import LOCAL
from domicile.ports import Account, Booking, Total

SETTLING = timedelta(minutes=10)
"""A reservation that is older is of a call that has ended, one way or another."""
_NANO = 1_000_000_000
_ADVICE = (
    "no provider is called until it is mended: stop the services, restore the file or move it away; "
    "without it every budget starts at nothing spent, so lower the budgets for the rest of the month"
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS totals (
    tenant TEXT, day TEXT, key TEXT, collection TEXT, sink TEXT, model TEXT, currency TEXT,
    calls INTEGER, answers INTEGER, estimated INTEGER, prompt_tokens INTEGER, completion_tokens INTEGER,
    cpu_micros INTEGER, nano INTEGER, highest INTEGER,
    PRIMARY KEY (tenant, day, key, collection, sink, model, currency)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reservations (id TEXT PRIMARY KEY, tenant TEXT, day TEXT, key TEXT, at REAL, nano INTEGER);
CREATE INDEX IF NOT EXISTS reservations_by_day ON reservations (tenant, day);
"""
_BOOK = """INSERT INTO totals VALUES (?,?,?,?,?,?,?,1,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET
    calls = calls + 1, answers = answers + excluded.answers, estimated = estimated + excluded.estimated,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens,
    cpu_micros = cpu_micros + excluded.cpu_micros, nano = nano + excluded.nano,
    highest = max(highest, excluded.highest)"""
_SPENT = f"""SELECT
    (SELECT coalesce(sum(nano), 0) FROM totals
     WHERE tenant = :tenant AND day BETWEEN :first AND :last AND sink != '{LOCAL}' AND key = coalesce(:key, key)) +
    (SELECT coalesce(sum(nano), 0) FROM reservations
     WHERE tenant = :tenant AND day BETWEEN :first AND :last AND key = coalesce(:key, key))"""


class SqliteLedger:
    """``ports.Ledger``.

    Args:
        path: of the file; made at the first booking, for its owner only.
        days: that bookings are kept.
    """

    def __init__(self, path: Path, days: int = 400) -> None:
        self._file = DatabaseFile(path, _SCHEMA, "the ledger", _ADVICE, replaceable=False)
        self._days = days
        self._pruned: date | None = None

    def reserve(self, account: Account, amount: float, now: datetime) -> str | None:
        wanted, day = _nano(amount), now.astimezone(UTC).date()
        today, month = (f"{day}", f"{day}"), (f"{day:%Y-%m}-01", f"{day:%Y-%m}-31")
        budgets = (
            (account.key, today, account.key_day),
            (account.key, month, account.key_month),
            (None, today, account.tenant_day),
            (None, month, account.tenant_month),
        )
        with self._changing(durable=True) as database:
            for key, (first, last), budget in budgets:
                if budget is None:
                    continue
                asked = {"tenant": account.tenant, "key": key, "first": first, "last": last}
                ((spent,),) = database.execute(_SPENT, asked)
                if spent + wanted > math.floor(round(budget * _NANO, 3)):
                    return None
            reservation = secrets.token_hex(8)
            row = (reservation, account.tenant, str(day), account.key, now.timestamp(), wanted)
            database.execute("INSERT INTO reservations VALUES (?,?,?,?,?,?)", row)
            return reservation

    def book(self, reservation: str | None, entry: Booking, now: datetime) -> None:
        day, usage = now.astimezone(UTC).date(), entry.usage
        billed = entry.sink == LOCAL or usage.prompt_tokens > 0 or usage.completion_tokens > 0
        nano = _nano(entry.cost.amount)
        with self._changing(durable=entry.sink != LOCAL) as database:
            reserved = database.execute("SELECT day FROM reservations WHERE id = ?", (reservation,)).fetchone()
            database.execute("DELETE FROM reservations WHERE id = ?", (reservation,))
            database.execute(
                _BOOK,
                (
                    entry.tenant,
                    # the day whose budget it was taken from, or the next day's might be overdrawn
                    str(day) if reserved is None else reserved["day"],
                    entry.key,
                    entry.collection,
                    entry.sink,
                    entry.model,
                    entry.cost.currency,
                    int(billed),
                    int(entry.cost.estimated),
                    usage.prompt_tokens,
                    usage.completion_tokens,
                    round(usage.cpu_seconds * 1e6),
                    nano,
                    nano,
                ),
            )
            if self._pruned != day:
                self._prune(database, day)

    def totals(self, since: date, until: date) -> list[Total]:
        with self._reading() as database:
            rows = database.execute(
                "SELECT * FROM totals WHERE day BETWEEN ? AND ? ORDER BY day, tenant, key, collection, sink, model",
                (str(since), str(until)),
            ).fetchall()
        return [
            Total(
                date.fromisoformat(row["day"]),
                row["tenant"],
                row["key"],
                row["collection"],
                row["sink"],
                row["model"],
                row["currency"],
                row["calls"],
                row["answers"],
                row["estimated"],
                row["prompt_tokens"],
                row["completion_tokens"],
                row["cpu_micros"] / 1e6,
                row["nano"] / _NANO,
                row["highest"] / _NANO,
            )
            for row in rows
        ]

    def unsettled(self, since: date, until: date, now: datetime) -> float:
        with self._reading() as database:
            ((nano,),) = database.execute(
                "SELECT coalesce(sum(nano), 0) FROM reservations WHERE day BETWEEN ? AND ? AND at < ?",
                (str(since), str(until), (now - SETTLING).timestamp()),
            )
        return float(nano / _NANO)

    def _prune(self, database: Database, day: date) -> None:
        kept = (str(day - timedelta(days=self._days)),)
        database.execute("DELETE FROM totals WHERE day < ?", kept)
        database.execute("DELETE FROM reservations WHERE day < ?", kept)
        self._pruned = day

    @contextmanager
    def _changing(self, *, durable: bool) -> Iterator[Database]:
        with _refusals(), self._file.writing(durable=durable) as database:
            yield database

    @contextmanager
    def _reading(self) -> Iterator[Database]:
        with _refusals(), self._file.reading() as database:
            yield database


@contextmanager
def _refusals() -> Iterator[None]:
    """Whatever is wrong with the file, nothing can be paid for: it is never begun anew, which would reset every budget."""
    try:
        yield
    except (Damaged, Overloaded, OSError) as error:
        raise StorageError(str(error)) from error


def _nano(amount: float) -> int:
    """
    Raises:
        ValueError: no amount of money.
    """
    if not 0 <= amount < 1e9:
        raise ValueError(f"{amount} is no amount of money")
    return math.ceil(round(amount * _NANO, 3))  # 0.1 is no whole number of billionths in binary
