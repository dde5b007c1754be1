"""Who may answer: decided for every payload, decided again for every attempt, and written down before a byte leaves."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import get_args

from domicile import payload, policy, receipts
from domicile.detectors import Detector
from domicile.domain import Answer, Cost, Label, Principal, Prompt, Usage
from domicile.errors import (
    AuditUnavailable,
    DomicileError,
    EgressDenied,
    ProviderBusy,
    ProviderError,
    ProviderRejected,
    ProviderUnready,
    StorageError,
)
from domicile.labels import LOCAL, MALFORMED, PartialLabel, Regions, partial_of
from domicile.payload import Part
from domicile.policy import Sink
from domicile.ports import Account, AuditLog, Booking, Index, Ledger, Provider

logger = logging.getLogger(__name__)

PURPOSE = "answer"
_UNBILLED = (ProviderBusy, ProviderRejected, ProviderUnready, EgressDenied, AuditUnavailable)
"""What ends a call before a provider had anything to count."""
_BYTES_A_TOKEN = 2
"""A token of running text has about four; an estimate from above is what a budget needs."""


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """What holds for one tenant: see ``declarations.Tenant``."""

    order: tuple[str, ...] = (LOCAL,)
    ceiling: PartialLabel = field(default_factory=PartialLabel)
    budget_day: float | None = None
    budget_month: float | None = None


@dataclass(frozen=True, slots=True)
class Declared:
    """All that was declared, as one value that never changes: every decision names its ``version``.

    Attributes:
        sinks: of one kind, by name: those that generate, or the judges.
        tenants: by name; ``others`` is every other tenant.
        redacting: sinks to which a question goes without what the detectors find in it.
        store_prompts: whether the audit log has what was sent, and not its hash alone.
        version: hash of everything that a decision depends on.
    """

    regions: Regions
    sinks: Mapping[str, Sink] = field(default_factory=dict)
    tenants: Mapping[str, TenantPolicy] = field(default_factory=dict)
    others: TenantPolicy = TenantPolicy()
    detectors: tuple[Detector, ...] = ()
    redacting: frozenset[str] = frozenset()
    store_prompts: bool = False
    version: str = policy.VERSION

    def of(self, tenant: str) -> TenantPolicy:
        return self.tenants.get(tenant, self.others)


@dataclass(frozen=True, slots=True)
class Calls:
    """Bounds of a hosted answer, and in which money it is counted."""

    seconds: float = 15.0
    max_tokens: int = 400
    currency: str = "USD"


class Routing:
    """The sinks of a home behind its policy. Safe to call from several threads.

    Args:
        providers: by the name of their sink.
        audit, ledger: without either of them nothing leaves.
        clock: wall clock with its time zone.
    """

    def __init__(
        self,
        declared: Declared,
        providers: Mapping[str, Provider],
        audit: AuditLog,
        ledger: Ledger,
        clock: Callable[[], datetime],
        calls: Calls | None = None,
    ) -> None:
        self.declared = declared
        self.providers = providers
        self.audit = audit
        self.ledger = ledger
        self.clock = clock
        self.calls = calls or Calls()

    def begin(self, version: str) -> None:
        """Write into the audit log which policy holds from here on, as a service does when it starts."""
        declared = self.declared
        body = receipts.start(
            version, declared.version, tuple(declared.sinks.values()), declared.others.order, declared.regions
        )
        with suppress(AuditUnavailable):  # every answer and /readyz will tell
            self.audit.append("start", body)

    def warm_up(self) -> None:
        """Load in the background what calls of providers need."""
        for provider in self.providers.values():
            provider.warm_up()

    def close(self) -> None:
        for provider in self.providers.values():
            provider.close()

    def state(self, sink: Sink) -> str:
        """What ``/readyz`` says of a sink."""
        day = self.clock().date()
        if sink.valid_until is not None and day > sink.valid_until:
            return "expired"
        if sink.valid_from is not None and day < sink.valid_from:
            return "not_yet_valid"
        return self.providers[sink.name].state


@dataclass(slots=True)
class Dispatch:
    """The way of one question to whoever answers it, and what is to be told of it.

    Attributes:
        index: the generation that the answer is made from.
        current: pins the generation that serves at this moment, every ended commit in sight.
        denied: (sink, reasons) of those that did not answer, in the order in which they were looked at.
        egress: ids of the records of what was sent.
        spent: on calls of providers, failed ones too.
        degraded: why a lesser route answers than policy allows.
        considered: sinks that were looked at, and the label of what they would have got; ``None`` where that was nothing.
        purpose: what is sent is for; label and sink must both allow it.
    """

    routing: Routing
    principal: Principal
    index: Index
    current: Callable[[], Index]
    denied: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    egress: list[str] = field(default_factory=list)
    spent: Cost = field(default_factory=Cost)
    degraded: str | None = None
    considered: list[tuple[Sink, Label | None]] = field(default_factory=list)
    purpose: str = PURPOSE

    @property
    def tenant(self) -> str:
        return self.index.collection.tenant

    @property
    def collection(self) -> str:
        return self.index.collection.name

    def order(self) -> Iterator[Sink | None]:
        """The sinks of the tenant's order; ``None`` is the model that runs here, which comes last where it is not named."""
        names = self.routing.declared.of(self.tenant).order
        for name in names if LOCAL in names else (*names, LOCAL):
            yield None if name == LOCAL else self.routing.declared.sinks[name]

    def admits(self, sink: Sink, label: Label) -> bool:
        """Whether the sink may have this payload and is there; else the reasons are noted."""
        self.considered.append((sink, label))
        verdict = policy.decide(label, sink, self.purpose, self.routing.clock())
        if not verdict.allowed:
            self.denied.append((sink.name, verdict.reasons))
        elif (state := self.routing.providers[sink.name].state) != "ready":
            self._fail(sink, state, "provider")
        else:
            return True
        return False

    def cleared(self, sink: Sink, given: frozenset[Label], question: Sequence[Part]) -> frozenset[Label]:
        """Of these labels of documents those that may go to the sink together with the question."""
        return frozenset(label for label in given if not self._against(sink, label, question))

    def withheld(
        self, sink: Sink, cleared: frozenset[Label], given: frozenset[Label], question: Sequence[Part]
    ) -> None:
        """Note that what may go to the sink does not answer the question; where nothing may, why."""
        reasons = {reason for label in given - cleared for reason in self._against(sink, label, question)}
        self.considered.append((sink, None))
        ordered = tuple(reason for reason in get_args(policy.Reason) if reason in reasons)
        self.denied.append((sink.name, ("evidence",) if cleared else ordered))

    def _against(self, sink: Sink, label: Label, question: Sequence[Part]) -> tuple[policy.Reason, ...]:
        document = Part("document", self.tenant, partial_of(label))
        return policy.decide(payload.label_of((*question, document)), sink, self.purpose, self.routing.clock()).reasons

    def failed(self, sink: Sink, error: DomicileError) -> None:
        """Note why the sink did not answer; the log says more than one word."""
        logger.warning("%s", error)
        if isinstance(error, EgressDenied):
            self.denied.append((sink.name, error.reasons))
        elif isinstance(error, AuditUnavailable):
            self._fail(sink, "audit", "audit")
        elif isinstance(error, StorageError):
            self._fail(sink, "ledger", "budget")
        elif isinstance(error, ProviderError):
            self._fail(sink, error.reason, "provider")
        else:
            raise error

    def _fail(self, sink: Sink, reason: str, degraded: str) -> None:
        self.denied.append((sink.name, (reason,)))
        self.degraded = self.degraded or degraded

    def call(
        self, sink: Sink, prompt: Prompt, parts: Sequence[Part], seconds: float, cancelled: Callable[[], bool]
    ) -> Iterator[str | Usage]:
        """Send a prompt to a sink, and yield what its provider does.

        Raises:
            EgressDenied: policy forbids it after all, or the budget is spent.
            AuditUnavailable, StorageError: it could not be written down; nothing was sent.
            ProviderError: it did not answer.
        """
        routing, price = self.routing, sink.price or policy.Price(0, 0)
        most = price.of(_tokens(_text(prompt)), routing.calls.max_tokens)
        reservation = routing.ledger.reserve(self._account(), most, routing.clock())
        if reservation is None:
            self.degraded = self.degraded or "budget"
            raise EgressDenied(sink.name, ("budget",))
        usage, said, unbilled = Usage(), "", False
        try:
            for item in routing.providers[sink.name].generate(
                prompt,
                max_tokens=routing.calls.max_tokens,
                seconds=min(seconds, routing.calls.seconds),
                cancelled=cancelled,
                authorize=lambda body: self._authorize(sink, parts, body),
            ):
                usage, said = (item, said) if isinstance(item, Usage) else (usage, said + item)
                if not isinstance(item, Usage):
                    yield item
        except _UNBILLED:
            unbilled = not said
            raise
        finally:
            counted = Usage() if unbilled else _counted(usage, prompt, said)
            cost = Cost(
                price.of(counted.prompt_tokens, counted.completion_tokens), routing.calls.currency, counted != usage
            )
            self.spent = Cost(self.spent.amount + cost.amount, cost.currency, self.spent.estimated or cost.estimated)
            self._book(reservation, sink.name, sink.model, counted, cost)
        yield counted

    def _authorize(self, sink: Sink, parts: Sequence[Part], body: bytes) -> None:
        """What the egress broker asks before it sends: decides once more, and writes it down.

        Raises:
            EgressDenied, AuditUnavailable: nothing may be sent.
        """
        parts = self._as_of_now(parts)
        label = payload.label_of(parts)
        verdict = policy.decide(label, sink, self.purpose, self.routing.clock())
        if not verdict.allowed:
            raise EgressDenied(sink.name, verdict.reasons)
        record = receipts.egress(
            sink,
            label,
            parts,
            self.routing.declared.regions,
            key=self.principal.name,
            collection=self.collection,
            purpose=self.purpose,
            policy_version=self.routing.declared.version,
            attempt=len(self.egress) + 1,
            body_sha256=hashlib.sha256(body).hexdigest(),
            body_bytes=len(body),
            prompt=body.decode("utf-8", "replace") if self.routing.declared.store_prompts else None,
        )
        self.egress.append(self.routing.audit.append("egress", record).id)

    def _as_of_now(self, parts: Sequence[Part]) -> Sequence[Part]:
        """With what the labels of the documents became meanwhile; one that is gone or rewritten may go nowhere."""
        documents = dict.fromkeys(part.name for part in parts if part.kind == "document")
        try:
            now = self.current()
            if now.generation == self.index.generation:
                return parts
            changed = [self._relabelled(name, now) for name in documents]
        except DomicileError:  # nothing serves any more that could say
            changed = [MALFORMED]
        return (*parts, *(Part("document", self.tenant, label) for label in changed))

    def _relabelled(self, name: str, now: Index) -> PartialLabel:
        """The label of a document in another generation; the most restrictive one where it is not the same text there."""
        groups = self.principal.groups
        sent, found = self.index.document(name, groups), now.document(name, groups)
        same = sent is not None and found is not None and (found.text, found.title) == (sent.text, sent.title)
        return partial_of(found.label) if found is not None and same else MALFORMED

    def book_local(self, given: Answer, cost: Cost) -> None:
        """Write down what an answer cost that was made here."""
        made = given.decision.model if given.decision.route == "local" else None
        self._book(None, LOCAL, made or given.decision.route, given.usage, cost)

    def _book(self, reservation: str | None, sink: str, model: str, usage: Usage, cost: Cost) -> None:
        entry = Booking(self.tenant, self.principal.name, self.collection, sink, model, usage, cost)
        try:
            self.routing.ledger.book(reservation, entry, self.routing.clock())
        except StorageError as error:  # the answer is there, and a reservation stays as if it were spent
            logger.warning("the ledger cannot be written: %s", error)

    def _account(self) -> Account:
        tenant = self.routing.declared.of(self.tenant)
        own = self.principal
        return Account(
            self.tenant, own.name, own.budget, own.budget_month, tenant.budget_day, tenant.budget_month
        )  # fmt: skip


def _counted(usage: Usage, prompt: Prompt, said: str) -> Usage:
    """What the provider counted; an estimate from above where it did not say, for nothing is free."""
    if usage.prompt_tokens > 0:
        return usage
    return Usage(_tokens(_text(prompt)), _tokens(said))


def _tokens(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // _BYTES_A_TOKEN)


def _text(prompt: Prompt) -> str:
    return "".join(message.content for message in prompt.messages)
