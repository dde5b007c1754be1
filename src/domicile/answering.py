"""The answer use case: label, look in the cache, retrieve, pack, route, generate, ground, cite, and write the receipt.

An answer is a stream: pieces of text as soon as they are grounded, then the ``Answer`` itself, whose ``answer`` is
exactly those pieces joined. Nothing that no quote supports ever enters the stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from domicile import detectors, payload, phrasing, prompts
from domicile.domain import (
    Answer,
    Decision,
    ModelStatus,
    Scope,
    Usage,
)
from domicile.errors import (
    AuditUnavailable,
    Cancelled,
    Damaged,
    EgressDenied,
    InvalidRequest,
    ModelMissing,
    ModelSlow,
    Overloaded,
    ProviderError,
    StorageError,
)
from domicile.evidence import EvidenceSelector
from domicile.inquiry import AnswerRequest, Inquiry, Sending
from domicile.labels import LOCAL, partial_of
from domicile.packing import Packer, citation_of
from domicile.payload import Part
from domicile.phrasing import Draft
from domicile.policy import Sink
from domicile.ports import AnswerCache, AnswerLabels, Generator
from domicile.records import ABSTAINED, Records
from domicile.retrieval import MAX_QUESTION_CHARACTERS, Retriever, Stopwatch
from domicile.routing import Dispatch, Routing

MAX_SENTENCES = 2
"""Sentences that the model that runs here may say; it is small, and its first one is its best."""
MAX_HOSTED_SENTENCES = 6
KEPT_FOR_LOCAL = 1 / 3
"""Of the deadline: however many providers hang, the model that runs here still has this much."""
SLOW_SECONDS = 60.0
"""How long a missed deadline shows in ``/readyz``."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one answer.

    Attributes:
        deadline: seconds from the start after which a language model is given up.
        max_tokens: that the model that runs here may write.
        evidence_threshold: the confidence below which an answer abstains.
        cpu_hour: money for an hour of one core.
    """

    deadline: float = 30.0
    max_tokens: int = 48
    evidence_threshold: float = 0.4
    cpu_hour: float = 0.0


class Answering:
    """Answers questions. Safe to call from several threads.

    Args:
        local: the language model that runs here.
        said: the labels of earlier answers.
        made_by: the models and settings that shape what is written here; another answer for each.
        clock: monotonic seconds.
        cpu: CPU seconds of the calling thread.
    """

    def __init__(
        self,
        retriever: Retriever,
        selector: EvidenceSelector,
        local: Generator,
        routing: Routing,
        cache: AnswerCache,
        said: AnswerLabels,
        limits: Limits | None = None,
        made_by: tuple[str, ...] = (),
        clock: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._retriever = retriever
        self._packer = Packer(retriever, selector)
        self._local = local
        self._routing = routing
        self._limits = limits or Limits()
        self._records = Records(routing, cache, said, made_by, self._limits.cpu_hour, cpu)
        self._clock = clock
        self._cpu = cpu
        self._slow_until = -1.0

    def model_status(self) -> ModelStatus:
        """The state of the language model that runs here, as answers see it."""
        status = self._local.status
        if status.state == "ready" and self._clock() < self._slow_until:
            return replace(status, state="slow", reason="missed the deadline of a recent answer")
        return status

    def sink_states(self) -> dict[str, str]:
        return {sink.name: self._routing.state(sink) for sink in self._routing.declared.sinks.values()}

    def audit_trouble(self) -> str | None:
        """Why answers have no receipts at the moment, and nothing leaves."""
        return self._routing.audit.trouble()

    def answer(self, request: AnswerRequest, cancelled: Callable[[], bool] = lambda: False) -> Iterator[str | Answer]:
        """Answer one question: pieces of text, then the ``Answer``.

        Raises:
            InvalidRequest, UnknownCollection, NoIntactGeneration, EmbedderMismatch: before the first piece.
            FlagWidens: a flag allows more than the tenant's ceiling; before the first piece.
            Overloaded: the language model's queue is full; before the first piece.
            Cancelled: ``cancelled()`` became true.
        """
        inquiry = self._begin(request, cancelled)
        if request.mode != "extractive" and (found := self._records.cached(inquiry)) is not None:
            yield found.answer
            yield self._records.again(inquiry, found)
            return
        said = tuple(turn.text for turn in request.history if turn.role == "user")
        inquiry.asked = self._packer.ask(request.question, said, inquiry.index)
        inquiry.watch.lap("embed")
        for sink in inquiry.dispatch.order() if request.mode != "extractive" else ():
            sending = self._prepare(inquiry, sink)
            if sink is not None and not sending.admitted:
                continue
            if not sending.packed.evidence:
                yield from self._abstain(inquiry, sending)
                return
            try:
                yield from self._generate(inquiry, sending)
                return
            except (ProviderError, EgressDenied, AuditUnavailable, StorageError) as error:
                if sink is None:
                    raise
                inquiry.dispatch.failed(sink, error)
            except (ModelMissing, Damaged, ModelSlow):
                inquiry.dispatch.degraded = "model"
            except Overloaded:
                if inquiry.dispatch.degraded is None:
                    raise
                break  # a provider failed, and then there was no place: better the quotes than nothing
        yield from self._quote(inquiry, self._prepare(inquiry, None))

    def _begin(self, request: AnswerRequest, cancelled: Callable[[], bool]) -> Inquiry:
        if len(request.question) > MAX_QUESTION_CHARACTERS:  # before anything reads it
            raise InvalidRequest(
                "messages", f"a question has at most {MAX_QUESTION_CHARACTERS:,} characters: shorten it"
            )
        watch = Stopwatch(self._clock)
        index = self._retriever.pin(request.collection, request.principal)
        parts = self._question_parts(request, index.collection.tenant)
        dispatch = Dispatch(
            self._routing,
            request.principal,
            index,
            lambda: self._retriever.pin(request.collection, request.principal, fresh=True),
        )
        deadline = self._clock() + self._limits.deadline
        watch.lap("label")
        return Inquiry(request, index, parts, dispatch, watch, deadline, self._cpu(), cancelled)

    def _question_parts(self, request: AnswerRequest, tenant: str) -> tuple[Part, ...]:
        declared = self._routing.declared
        return payload.question_parts(
            tenant,
            request.question,
            request.history,
            ceiling=declared.of(tenant).ceiling,
            flags=request.flags,
            made_from=lambda text: self._records.label_of(tenant, text),
            stated_from=lambda text: self._records.label_of_statement(tenant, text),
            known=declared.detectors,
        )

    def _prepare(self, inquiry: Inquiry, sink: Sink | None) -> Sending:
        """What would go to this sink (``None``: the model that runs here), and whether it may.

        In a collection of mode ``cleared`` a sink's evidence is looked for in what may go there, and in nothing else.
        """
        assert inquiry.asked is not None
        known = self._routing.declared.detectors
        parts, question = inquiry.parts, inquiry.asked.question.text
        if sink is not None and sink.name in self._routing.declared.redacting:
            question = detectors.redact(question, detectors.detect(question, known))
            parts = tuple(part for part in parts if part.kind != "question")
        # read again as it is sent: in one line, and with the words of an earlier turn
        parts = (*parts, Part("question", inquiry.tenant, payload.read(question, known)))
        scope = self._scope(inquiry, sink, parts)
        if scope not in inquiry.packed:
            inquiry.packed[scope] = self._packer.pack(
                inquiry.asked,
                inquiry.request.question,
                inquiry.index,
                scope,
                inquiry.watch,
                inquiry.deadline,
                self._limits.evidence_threshold,
            )
        packed = inquiry.packed[scope]
        documents = (
            Part("document", inquiry.tenant, partial_of(item.chunk.label), item.chunk.document)
            for item in packed.evidence
        )
        parts = (*parts, *documents)
        sending = Sending(sink, scope, packed, question, parts, payload.label_of(parts))
        if sink is None or (not packed.evidence and scope.labels is None):
            return replace(sending, admitted=True)
        if not packed.evidence and scope.labels is not None:
            inquiry.dispatch.withheld(sink, scope.labels, inquiry.labels(), parts)
            return sending
        return replace(sending, admitted=inquiry.dispatch.admits(sink, sending.label))

    def _scope(self, inquiry: Inquiry, sink: Sink | None, parts: tuple[Part, ...]) -> Scope:
        """Where evidence for this sink is looked for."""
        scope = Scope(inquiry.request.principal.groups, inquiry.request.conditions)
        if sink is None or inquiry.index.collection.mode == "escalate":
            return scope
        return replace(scope, labels=inquiry.dispatch.cleared(sink, inquiry.labels(), parts))

    def _generate(self, inquiry: Inquiry, sending: Sending) -> Iterator[str | Answer]:
        """Let a language model phrase it; what nothing supports is left out, and where nothing is left, quote instead."""
        draft, evidence = self._draft(inquiry, sending), sending.packed.evidence
        if sending.sink is None:
            may_say, most, pieces = evidence[:1], MAX_SENTENCES, self._local_pieces(inquiry, draft, sending)
        else:
            may_say, most = (*evidence, *sending.packed.around), MAX_HOSTED_SENTENCES
            prompt = prompts.build_hosted(sending.question, evidence)
            seconds = inquiry.deadline - self._clock() - KEPT_FOR_LOCAL * self._limits.deadline
            pieces = inquiry.dispatch.call(sending.sink, prompt, sending.parts, seconds, inquiry.cancelled)
        try:
            for sentence in phrasing.sentences(self._in_time(inquiry, pieces, sending.sink), draft, most):
                if (piece := phrasing.grounded(sentence, may_say, draft)) is not None:
                    yield piece
                elif sending.sink is None:
                    draft.enough = True
        except Cancelled:
            if draft.text:  # it was shown, and so it is written down
                inquiry.dispatch.degraded = "abandoned"
                self._finish(inquiry, sending, draft, "kept", self._receiver(sending))
            raise
        except (ModelMissing, Damaged, ModelSlow, ProviderError) as error:
            if not draft.text:
                raise
            if sending.sink is not None:
                inquiry.dispatch.failed(sending.sink, error)
        inquiry.watch.lap("generate")
        grounded: Literal["kept", "replaced"] = "kept" if draft.text else "replaced"
        yield from draft.quotes() if draft.text else draft.quote(evidence)
        yield self._finish(inquiry, sending, draft, grounded, self._receiver(sending))

    def _quote(self, inquiry: Inquiry, sending: Sending) -> Iterator[str | Answer]:
        """Answer with the best sentences themselves."""
        if not sending.packed.evidence:
            yield from self._abstain(inquiry, sending)
            return
        draft = self._draft(inquiry, sending)
        yield from draft.quote(sending.packed.evidence)
        inquiry.watch.lap("quote")
        nobody = Decision("extractive", None, None, None, sending.label)
        yield self._finish(inquiry, sending, draft, "extractive", nobody)

    def _abstain(self, inquiry: Inquiry, sending: Sending) -> Iterator[str | Answer]:
        draft = self._draft(inquiry, sending)
        yield draft.say(ABSTAINED)
        yield self._finish(inquiry, sending, draft, "extractive", Decision("extractive", None, None, None, None))

    def _draft(self, inquiry: Inquiry, sending: Sending) -> Draft:
        return Draft(sending.question, lambda item: citation_of(item, inquiry.index, sending.scope))

    def _local_pieces(self, inquiry: Inquiry, draft: Draft, sending: Sending) -> Iterator[str | Usage]:
        return self._local.generate(
            prompts.build(sending.question, sending.packed.evidence),
            max_tokens=self._limits.max_tokens,
            cancelled=lambda: draft.enough or inquiry.cancelled() or self._clock() > inquiry.deadline,
        )

    def _in_time(self, inquiry: Inquiry, pieces: Iterator[str | Usage], sink: Sink | None) -> Iterator[str | Usage]:
        """The pieces of a model.

        Raises:
            Cancelled: the caller went away meanwhile.
            ModelSlow: the model that runs here took too long; a last piece of a sentence is then not one.
        """
        yield from pieces
        if inquiry.cancelled():
            raise Cancelled("the caller went away")
        if sink is None and self._clock() > inquiry.deadline:
            self._slow_until = self._clock() + SLOW_SECONDS
            raise ModelSlow(f"the language model missed the deadline of {self._limits.deadline:g} s")

    def _receiver(self, sending: Sending) -> Decision:
        """Who had the payload."""
        if sending.sink is None:
            return Decision("local", LOCAL, self._local.name, LOCAL, sending.label)
        places = ",".join(self._routing.declared.regions.compact(sending.sink.processing_regions))
        return Decision("hosted", sending.sink.name, sending.sink.model, places, sending.label)

    def _finish(
        self,
        inquiry: Inquiry,
        sending: Sending,
        draft: Draft,
        grounded: Literal["kept", "replaced", "extractive"],
        decision: Decision,
    ) -> Answer:
        assert inquiry.asked is not None
        abstained = decision.label is None
        made = Answer(
            draft.text,
            abstained,
            grounded,
            inquiry.request.collection,
            inquiry.index.generation,
            tuple(draft.citations),
            replace(decision, denied=tuple(inquiry.dispatch.denied)),
            degraded=None if abstained else inquiry.dispatch.degraded,
            asked=inquiry.asked.rewritten,
            confidence=sending.packed.confidence,
            usage=draft.usage,
            timings_ms=inquiry.watch.timings,
            notes=sending.packed.notes,
        )
        return self._records.keep(inquiry, made, sending.parts)
