"""What residency needs of the world: providers, the audit log, the cache, labels of answers, money, keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, Protocol

from domicile.domain import (
    Answer,
    Cost,
    Label,
    Principal,
    Prompt,
    Usage,
)

ProviderState = Literal["ready", "no_secret", "open_circuit"]


RecordKind = Literal["egress", "answer", "start", "repaired"]


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the audit log.

    Attributes:
        id: unguessable; that of an answer's record (``r_…``) is the answer's receipt.
        seq: its place in the log, from 1.
        at: when it was appended, ISO 8601 in UTC; never before the record before it.
        hash: sha256 in hexadecimal of the record, which the next one holds.
        signature: Ed25519 in hexadecimal, of the hash.
    """

    id: str
    seq: int
    at: str
    kind: RecordKind
    body: Mapping[str, object]
    hash: str
    signature: str


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays, and what they may spend (``None``: without end) in a day and in a calendar month, UTC.

    Attributes:
        key: the id of the key, or ``owner``.
    """

    tenant: str
    key: str
    key_day: float | None = None
    key_month: float | None = None
    tenant_day: float | None = None
    tenant_month: float | None = None


@dataclass(frozen=True, slots=True)
class Booking:
    """What one answer, or one call for it, cost. ``sink`` is ``local`` where no provider was called."""

    tenant: str
    key: str
    collection: str
    sink: str
    model: str
    usage: Usage
    cost: Cost


@dataclass(frozen=True, slots=True)
class Total:
    """What was booked on one day for the same tenant, key, collection, sink and model.

    Attributes:
        calls: answers, and calls of providers that gave none.
        answers: those of them for which anything was counted.
        estimated: those of them whose tokens were estimated.
        amount: of all of them together.
        highest: of any one of them.
    """

    day: date
    tenant: str
    key: str
    collection: str
    sink: str
    model: str
    currency: str
    calls: int
    answers: int
    estimated: int
    prompt_tokens: int
    completion_tokens: int
    cpu_seconds: float
    amount: float
    highest: float


class Provider(Protocol):
    """A hosted model behind one pinned deployment: a sink that receives prompts. Safe to call from several threads."""

    @property
    def name(self) -> str:
        """The name of the sink."""
        ...

    @property
    def state(self) -> ProviderState: ...

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int,
        seconds: float,
        cancelled: Callable[[], bool],
        authorize: Callable[[bytes], None],
    ) -> Iterator[str | Usage]:
        """Yield pieces of text as they come, then one ``Usage`` as the last item; of zeros where none is known.

        Args:
            seconds: after which it is given up, whatever it does.
            authorize: called by the egress broker with the exact bytes of every request, retries too, before they leave;
                what it raises is raised here, and then nothing has left.

        Raises:
            ProviderError: it did not answer; nothing of it is retried after the first piece.
        """
        ...

    def warm_up(self) -> None:
        """Load in the background what the first call would wait for."""
        ...

    def close(self) -> None:
        """Close the connections; nothing is called after this."""
        ...


class AuditLog(Protocol):
    """An append-only, hash-chained and signed log. Safe to call from several threads, and beside other processes."""

    def append(self, kind: RecordKind, body: Mapping[str, object]) -> Record:
        """Append a record, which is durable when this returns.

        Args:
            body: JSON, without ``id``, ``at``, ``seq`` and ``kind``, which are set here.

        Raises:
            AuditUnavailable: it cannot be written, or what was written before is damaged. Nothing is appended then.
        """
        ...

    def find(self, identifier: str) -> Record:
        """The record of this id.

        Raises:
            UnknownReceipt: there is none.
            AuditDamaged: its bytes were changed.
            AuditUnavailable: the log cannot be read.
        """
        ...

    def receipt(self, identifier: str) -> dict[str, object]:
        """The record as people take it along, with the line and the public key by which it can be checked offline.

        Raises:
            UnknownReceipt, AuditDamaged: see ``find``.
        """
        ...

    def trouble(self) -> str | None:
        """Why nothing can be appended, where that is known; tried again at the next append."""
        ...


class AnswerCache(Protocol):
    """Answers by their key, see ``domicile.caching``. Trouble with it is as if the answer were not there."""

    def get(self, key: str) -> Answer | None: ...

    def put(self, key: str, answer: Answer) -> None: ...

    def retain(self, collection: str, generation: int) -> None:
        """Forget the answers of every other generation of the collection."""
        ...

    def forget(self, collection: str, generation: int) -> None:
        """As ``retain``, for an erasure: when this returns, nothing of them is left on the disk, nor comes there any more.

        Raises:
            StorageError: something of them may be left.
        """
        ...


class AnswerLabels(Protocol):
    """Which label the payload had that an answer was made from, by the hash of the answer's text, without end of life.

    The sentences of an answer are texts of their own.
    """

    def remember(self, tenant: str, texts: Sequence[str], label: Label) -> None:
        """Join the label to what is known of each of these texts."""
        ...

    def find(self, tenant: str, text: str) -> Label | None: ...


class Ledger(Protocol):
    """What answers cost, and what a budget has left. Safe to call from several threads, and beside other processes."""

    def reserve(self, account: Account, amount: float, now: datetime) -> str | None:
        """Set money aside for a call, so that calls at once cannot overdraw; ``None`` where a budget would be.

        Raises:
            StorageError: it cannot be written.
        """
        ...

    def book(self, reservation: str | None, entry: Booking, now: datetime) -> None:
        """Write down what an answer cost; it takes the place of the reservation.

        Raises:
            StorageError: it cannot be written; a reservation then stays, so that no budget gets larger by it.
        """
        ...

    def totals(self, since: date, until: date) -> list[Total]:
        """What was booked on these days, UTC, both included; a row for each day and each of the others of ``Total``.

        Raises:
            StorageError: it cannot be read.
        """
        ...

    def unsettled(self, since: date, until: date, now: datetime) -> float:
        """Money set aside on these days for calls of which nothing was heard again; it counts as spent.

        Raises:
            StorageError: it cannot be read.
        """
        ...


class Keys(Protocol):
    def required(self) -> bool:
        """Whether a caller must show a key."""
        ...

    def authenticate(self, key: str) -> Principal | None:
        """Who this key is; ``None`` for any other text."""
        ...
