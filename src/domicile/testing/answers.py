"""Fakes of what is kept of answers: the cache, their labels, and the ledger."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import count

from domicile import labels
from domicile.domain import Answer, Label, Usage
from domicile.labels import LOCAL
from domicile.ports import Account, Booking, Total


@dataclass(slots=True)
class MemoryAnswerCache:
    """The answer cache without its file."""

    clock: Callable[[], datetime]
    entries: int = 10_000
    max_age: timedelta = timedelta(days=7)
    _answers: OrderedDict[str, tuple[Answer, datetime]] = field(default_factory=OrderedDict)
    _retained: dict[str, int] = field(default_factory=dict)

    def get(self, key: str) -> Answer | None:
        answer, made = self._answers.get(key, (None, self.clock()))
        return None if abs(self.clock() - made) > self.max_age else answer

    def put(self, key: str, answer: Answer) -> None:
        if answer.generation < self._retained.get(answer.collection, 0):
            return
        self._answers.pop(key, None)
        self._answers[key] = answer, self.clock()
        while len(self._answers) > self.entries:
            self._answers.popitem(last=False)

    def retain(self, collection: str, generation: int) -> None:
        self._retained[collection] = generation
        for key, (answer, _) in list(self._answers.items()):
            if answer.collection == collection and answer.generation != generation:
                del self._answers[key]

    def forget(self, collection: str, generation: int) -> None:
        self.retain(collection, generation)


@dataclass(slots=True)
class MemoryAnswerLabels:
    """The labels of answers without their file."""

    _known: dict[tuple[str, str], Label] = field(default_factory=dict)

    def remember(self, tenant: str, texts: Sequence[str], label: Label) -> None:
        for key in ((tenant, " ".join(text.split())) for text in texts):
            joined = labels.join([label, *([self._known[key]] if key in self._known else [])])
            assert joined is not None
            self._known[key] = joined

    def find(self, tenant: str, text: str) -> Label | None:
        return self._known.get((tenant, " ".join(text.split())))


@dataclass(slots=True)
class MemoryLedger:
    """The ledger without its file, in floats."""

    _booked: list[tuple[date, Booking]] = field(default_factory=list)
    _reserved: dict[str, tuple[datetime, Account, float]] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=count)

    def reserve(self, account: Account, amount: float, now: datetime) -> str | None:
        day = _day(now)
        for key, then, budget in (
            (account.key, f"{day}", account.key_day),
            (account.key, f"{day:%Y-%m}", account.key_month),
            (None, f"{day}", account.tenant_day),
            (None, f"{day:%Y-%m}", account.tenant_month),
        ):
            if budget is not None and self._spent(account.tenant, key, then) + amount > budget + 1e-9:
                return None
        reservation = str(next(self._numbers))
        self._reserved[reservation] = now, account, amount
        return reservation

    def book(self, reservation: str | None, entry: Booking, now: datetime) -> None:
        reserved = self._reserved.pop(reservation, None) if reservation is not None else None
        self._booked.append((_day(now if reserved is None else reserved[0]), entry))

    def totals(self, since: date, until: date) -> list[Total]:
        found: dict[tuple[date, str, str, str, str, str, str], list[Booking]] = {}
        for day, entry in self._booked:
            if since <= day <= until:
                of = day, entry.tenant, entry.key, entry.collection, entry.sink, entry.model, entry.cost.currency
                found.setdefault(of, []).append(entry)
        return [_total(of, found[of]) for of in sorted(found)]

    def unsettled(self, since: date, until: date, now: datetime) -> float:
        old = [amount for at, _, amount in self._reserved.values()
               if since <= _day(at) <= until and now - at > timedelta(minutes=10)]  # fmt: skip
        return sum(old)

    def _spent(self, tenant: str, key: str | None, then: str) -> float:
        booked = [(day, e.tenant, e.key, e.cost.amount) for day, e in self._booked if e.sink != LOCAL]
        reserved = [(_day(at), account.tenant, account.key, amount) for at, account, amount in self._reserved.values()]
        return sum(
            amount
            for day, of, by, amount in booked + reserved
            if str(day).startswith(then) and of == tenant and key in (None, by)
        )


def _day(now: datetime) -> date:
    return now.astimezone(UTC).date()


def _total(of: tuple[date, str, str, str, str, str, str], entries: list[Booking]) -> Total:
    used = [entry.usage for entry in entries]
    amounts = [entry.cost.amount for entry in entries]
    return Total(
        *of,
        calls=len(entries),
        answers=sum(entry.sink == LOCAL or _counted(entry.usage) for entry in entries),
        estimated=sum(entry.cost.estimated for entry in entries),
        prompt_tokens=sum(usage.prompt_tokens for usage in used),
        completion_tokens=sum(usage.completion_tokens for usage in used),
        cpu_seconds=sum(usage.cpu_seconds for usage in used),
        amount=sum(amounts),
        highest=max(amounts),
    )


def _counted(usage: Usage) -> bool:
    return usage.prompt_tokens > 0 or usage.completion_tokens > 0
