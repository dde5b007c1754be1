"""What stays of an answer: its label, its cost, its receipt, and perhaps the answer itself in the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from domicile import caching, conversation, payload, receipts
from domicile.domain import Answer, Cost, Decision, Usage
from domicile.errors import AuditUnavailable
from domicile.inquiry import Inquiry
from domicile.labels import LOCAL, PartialLabel, partial_of
from domicile.payload import Part
from domicile.ports import AnswerCache, AnswerLabels
from domicile.routing import Routing

_STATED = "\0"
"""Before a sentence, which is no answer: one that is sent back cut down to a sentence stays unknown."""
ABSTAINED = "These documents do not answer that."


class Records:
    """Safe to call from several threads.

    Args:
        said: the labels of earlier answers.
        made_by: the models and settings that shape what is written here; another answer for each.
        cpu_hour: money for an hour of one core.
        cpu: CPU seconds of the calling thread.
    """

    def __init__(
        self,
        routing: Routing,
        cache: AnswerCache,
        said: AnswerLabels,
        made_by: tuple[str, ...],
        cpu_hour: float,
        cpu: Callable[[], float],
    ) -> None:
        self._routing = routing
        self._cache = cache
        self._said = said
        self._made_by = made_by
        self._cpu_hour = cpu_hour
        self._cpu = cpu

    def label_of(self, tenant: str, text: str) -> PartialLabel | None:
        """The label of the payload that an earlier answer was made from; ``None`` where that is not known."""
        if text.strip() == ABSTAINED:
            return PartialLabel()  # always the same words, made from nothing
        if _STATED in text:
            return None
        label = self._said.find(tenant, text)
        return None if label is None else partial_of(label)

    def label_of_statement(self, tenant: str, text: str) -> PartialLabel | None:
        """The label of the documents behind an earlier answer that held this sentence; ``None`` where none is known."""
        label = self._said.find(tenant, f"{_STATED}{text}")
        return None if label is None else partial_of(label)

    def cached(self, inquiry: Inquiry) -> Answer | None:
        """The same answer from before, where this principal may read it."""
        found = self._cache.get(self._key(inquiry))
        label = None if found is None else found.decision.label
        return found if label is not None and inquiry.request.principal.may_read(label.groups) else None

    def again(self, inquiry: Inquiry, found: Answer) -> Answer:
        """A cached answer, given once more; it has a receipt of its own, which names the first one."""
        inquiry.watch.lap("cache")
        given = replace(
            found,
            decision=Decision("cache", None, found.decision.model, LOCAL, found.decision.label),
            cached=True,
            usage=Usage(),
            cost=Cost(currency=self._routing.calls.currency),
            receipt=None,
            timings_ms=inquiry.watch.timings,
        )
        label = PartialLabel() if found.decision.label is None else partial_of(found.decision.label)
        parts = (*inquiry.parts, Part("answer", inquiry.tenant, label))
        return self._with_receipt(inquiry, given, parts, cached_from=found.receipt)

    def keep(self, inquiry: Inquiry, given: Answer, parts: tuple[Part, ...]) -> Answer:
        """The answer with its cost and its receipt, once everything is written down that later ones need.

        Args:
            parts: of its payload.
        """
        if given.decision.label is not None:
            self._said.remember(inquiry.tenant, [given.answer], given.decision.label)
            # a sentence is the documents', whatever the question was allowed
            documents = payload.label_of(part for part in parts if part.kind == "document")
            stated = [f"{_STATED}{text}" for text in payload.statements(given.answer)]
            self._said.remember(inquiry.tenant, stated, documents)
        given = self._with_receipt(inquiry, replace(given, cost=self._cost(inquiry, given)), parts)
        if given.decision.route in ("local", "hosted") and given.degraded is None and not _is_for_today(given):
            self._cache.put(self._key(inquiry), given)
        return given

    def _cost(self, inquiry: Inquiry, given: Answer) -> Cost:
        """What providers took, and the CPU time where the answer was made here; a failed call is in it, too."""
        spent = inquiry.dispatch.spent
        if given.decision.route == "hosted":
            return spent
        own = given.usage.cpu_seconds + self._cpu() - inquiry.cpu_started
        cost = Cost(own / 3600 * self._cpu_hour, self._routing.calls.currency)
        inquiry.dispatch.book_local(given, cost)
        return replace(cost, amount=cost.amount + spent.amount, estimated=spent.estimated)

    def _with_receipt(
        self, inquiry: Inquiry, given: Answer, parts: tuple[Part, ...], cached_from: str | None = None
    ) -> Answer:
        """The answer with its receipt; without one where the audit log cannot be written, and that degrades it."""
        body = receipts.answer(
            given,
            inquiry.request.principal,
            inquiry.tenant,
            inquiry.request.question,
            parts,
            inquiry.dispatch.considered,
            inquiry.dispatch.egress,
            self._routing.declared.regions,
            mode=inquiry.index.collection.mode,
            policy_version=self._routing.declared.version,
            cached_from=cached_from,
        )
        try:
            receipt = self._routing.audit.append("answer", body).id
        except AuditUnavailable:
            return replace(given, degraded=None if given.abstained else "audit")
        inquiry.watch.lap("receipt")
        return replace(given, receipt=receipt)

    def _key(self, inquiry: Inquiry) -> str:
        """An answer's place in the cache. An earlier turn counts by what it may add to the question."""
        request = inquiry.request
        said = tuple(turn.text for turn in request.history if turn.role == "user")
        made = conversation.standalone(request.question, said, inquiry.index.collection.language)
        return caching.key(
            request.question,
            made.text if made.turns else None,
            request.collection,
            inquiry.tenant,
            inquiry.index.generation,
            request.principal,
            request.conditions,
            payload.joined(inquiry.parts),
            self._routing.declared.version,
            self._made_by,
        )


def _is_for_today(given: Answer) -> bool:
    """Whether another day may bring another route: a declaration is about to begin."""
    return any("not_yet_valid" in reasons for _, reasons in given.decision.denied)
