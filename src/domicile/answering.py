"""The answer use case: retrieve, weigh the evidence, pack, route, generate, ground, cite.

An answer is a stream: pieces of text as soon as they are grounded, then the ``Answer`` itself, whose ``answer`` is
exactly those pieces joined. Nothing that no quote supports ever enters the stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from domicile import conversation, grounding, labels, prompts
from domicile.domain import (
    Answer,
    AnswerMode,
    Citation,
    Condition,
    Decision,
    Evidence,
    Label,
    ModelStatus,
    Note,
    Principal,
    Prompt,
    Scope,
    Usage,
)
from domicile.errors import Cancelled, Damaged, InvalidRequest, ModelMissing, ModelSlow
from domicile.evidence import EvidenceSelector
from domicile.labels import LOCAL, PartialLabel
from domicile.ports import Generator, Index
from domicile.retrieval import Question, Retriever, Stopwatch

TOP_K = 10
MAX_SENTENCES = 2
"""Sentences that the language model may say; it is small, and its first one is its best."""
SLOW_SECONDS = 60.0
"""How long a missed deadline shows in ``/readyz``."""

ABSTAINED = "These documents do not answer that."


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A question to a collection.

    Attributes:
        flags: residency flags of the request; they can only narrow.
        conditions: that a document must meet to be evidence, see ``domicile.filters``.
        history: what the user said before, oldest first, see ``domicile.conversation``.
    """

    question: str
    collection: str
    principal: Principal
    mode: AnswerMode = "auto"
    flags: PartialLabel = field(default_factory=PartialLabel)
    conditions: tuple[Condition, ...] = ()
    history: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one answer.

    Attributes:
        deadline: seconds from the start after which the language model is given up.
        max_tokens: that it may write.
        evidence_threshold: the confidence below which an answer abstains.
    """

    deadline: float = 30.0
    max_tokens: int = 48
    evidence_threshold: float = 0.4


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question as it was understood.

    Attributes:
        question: what is asked of the index.
        wanted: what a sentence must speak of to answer it.
        rewritten: the text of ``question`` where it is not what the user wrote.
    """

    question: Question
    wanted: Question
    rewritten: str | None = None


@dataclass(slots=True)
class _Draft:
    """An answer while it is being made. ``enough`` stops the language model at its next token, and it still counts them."""

    index: Index
    prompt: Prompt
    citations: dict[int, Citation]
    label: Label | None
    watch: Stopwatch
    deadline: float
    cancelled: Callable[[], bool]
    asked: str | None = None
    notes: tuple[Note, ...] = ()
    text: str = ""
    enough: bool = False
    usage: Usage = field(default_factory=Usage)

    def say(self, piece: str) -> str:
        self.text += piece
        return piece


class Answering:
    """Answers questions.

    Args:
        local: the self-hosted language model.
        extractive: the generator that is always there.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        retriever: Retriever,
        selector: EvidenceSelector,
        local: Generator,
        extractive: Generator,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._retriever = retriever
        self._selector = selector
        self._local = local
        self._extractive = extractive
        self._limits = limits or Limits()
        self._clock = clock
        self._slow_until = -1.0

    def model_status(self) -> ModelStatus:
        """The state of the language model as answers see it."""
        status = self._local.status
        if status.state == "ready" and self._clock() < self._slow_until:
            return replace(status, state="slow", reason="missed the deadline of a recent answer")
        return status

    def answer(self, request: AnswerRequest, cancelled: Callable[[], bool] = lambda: False) -> Iterator[str | Answer]:
        """Answer one question: pieces of text, then the ``Answer``.

        Raises:
            InvalidRequest, UnknownCollection, NoIntactGeneration, EmbedderMismatch: before the first piece.
            Overloaded: the language model's queue is full; before the first piece.
            Cancelled: ``cancelled()`` became true.
        """
        watch = Stopwatch(self._clock)
        deadline = self._clock() + self._limits.deadline
        index = self._retriever.pin(request.collection, request.principal)
        asked = self._asked(request, index)
        watch.lap("embed")
        scope = Scope(request.principal.groups, request.conditions)
        ranking = self._retriever.rank(asked.question, index, scope, "hybrid", TOP_K, watch, deadline)
        selection = self._selector.select(asked.wanted, ranking, index, (request.question, asked.question.text))
        watch.lap("evidence")
        packed = _verified(index, request.principal, selection.evidence)
        if not packed or not selection.confidence >= self._limits.evidence_threshold:
            yield from _abstain(index, watch, asked.rewritten, ranking.notes)
            return
        prompt = prompts.build(asked.question.text, tuple(packed))
        draft = _Draft(
            index,
            prompt,
            {item.n: citation for item, citation in packed.items()},
            _payload_label(prompt, request.flags),
            watch,
            deadline,
            cancelled,
            asked.rewritten,
            ranking.notes,
        )
        if request.mode == "extractive":
            yield from self._quote(draft, "extractive", receiver=None)
        else:
            yield from self._phrase(draft)

    def _asked(self, request: AnswerRequest, index: Index) -> _Asked:
        made = conversation.standalone(request.question, request.history, index.collection.language)
        if made.turns:
            try:
                question = self._retriever.ask(made.text)
                return _Asked(question, self._retriever.ask(made.wanted), question.text)
            except InvalidRequest:
                pass  # with words of an earlier turn it is too long, and alone it may not be
        question = self._retriever.ask(request.question, "messages")
        return _Asked(question, question)

    def _phrase(self, draft: _Draft) -> Iterator[str | Answer]:
        """Let the language model phrase it; where it cannot, or says what nothing supports, quote instead."""
        best = draft.prompt.evidence[0]
        try:
            for sentence in self._sentences(draft):
                if grounding.supports(best, sentence, draft.prompt.question):
                    yield draft.say(f"{' ' if draft.text else ''}{sentence} [{best.n}]")
                else:
                    draft.enough = True
        except (ModelMissing, Damaged, ModelSlow):
            if not draft.text:
                yield from self._quote(draft, "extractive", receiver=None, degraded="model")
                return
        draft.watch.lap("generate")
        if not draft.text:
            yield from self._quote(draft, "replaced", receiver=self._local)
            return
        yield draft.say("\n\n" + prompts.quote_block(best.text, best.n))
        yield _finish(draft, "kept", (best,), self._local)

    def _sentences(self, draft: _Draft) -> Iterator[str]:
        """The sentences that the language model writes, tidied; a last one that was cut off is not one."""
        pieces = self._local.generate(
            draft.prompt,
            max_tokens=self._limits.max_tokens,
            cancelled=lambda: draft.enough or draft.cancelled() or self._clock() > draft.deadline,
        )
        buffer = ""
        said = 0
        for piece in pieces:
            if isinstance(piece, Usage):
                draft.usage = piece
                continue
            buffer += piece
            while not draft.enough and (split := grounding.next_sentence(buffer)) is not None:
                buffer, said = split[1], said + 1
                yield grounding.tidy(split[0])
                draft.enough = draft.enough or said == MAX_SENTENCES
        if draft.cancelled():
            raise Cancelled("the caller went away")
        if self._clock() > draft.deadline:
            self._slow_until = self._clock() + SLOW_SECONDS
            raise ModelSlow(f"the language model missed the deadline of {self._limits.deadline:g} s")
        rest = grounding.tidy(buffer)
        if not draft.enough and rest.endswith((".", "!", "?")):
            yield rest

    def _quote(
        self,
        draft: _Draft,
        grounded: Literal["replaced", "extractive"],
        receiver: Generator | None,
        degraded: str | None = None,
    ) -> Iterator[str | Answer]:
        """Answer with the best sentences themselves. ``receiver`` is the model that had the payload, if one did."""
        for piece in self._extractive.generate(draft.prompt, max_tokens=0, cancelled=draft.cancelled):
            if isinstance(piece, str):
                yield draft.say(piece)
        draft.watch.lap("quote")
        yield _finish(draft, grounded, draft.prompt.evidence, receiver, degraded)


def _verified(index: Index, principal: Principal, evidence: tuple[Evidence, ...]) -> dict[Evidence, Citation]:
    """The first pieces of evidence that stand verbatim in their document, numbered anew, with their citations."""
    packed: dict[Evidence, Citation] = {}
    for item in evidence:
        if len(packed) == prompts.MAX_QUOTES:
            break
        document = index.document(item.chunk.document, principal.groups)
        numbered = replace(item, n=len(packed) + 1)
        citation = grounding.cite(numbered, document)
        if citation.verified:
            packed[numbered] = citation
    return packed


def _payload_label(prompt: Prompt, flags: PartialLabel) -> Label | None:
    """The label of everything that the prompt or the answer holds; the flags of the request narrow it."""
    packed = labels.join(item.chunk.label for item in prompt.evidence)
    return None if packed is None else labels.narrow(packed, flags)


def _abstain(index: Index, watch: Stopwatch, asked: str | None, notes: tuple[Note, ...]) -> Iterator[str | Answer]:
    yield ABSTAINED
    decision = Decision(route="extractive", sink=None, model=None, region=None, label=None)
    yield Answer(
        ABSTAINED,
        True,
        "extractive",
        index.collection.name,
        index.generation,
        (),
        decision,
        asked=asked,
        timings_ms=watch.timings,
        notes=notes,
    )


def _finish(
    draft: _Draft,
    grounded: Literal["kept", "replaced", "extractive"],
    quotes: tuple[Evidence, ...],
    receiver: Generator | None,
    degraded: str | None = None,
) -> Answer:
    decision = Decision(
        route="extractive" if receiver is None else "local",
        sink=None if receiver is None else LOCAL,
        model=None if receiver is None else receiver.name,
        region=None if receiver is None else LOCAL,
        label=draft.label,
    )
    return Answer(
        draft.text,
        False,
        grounded,
        draft.index.collection.name,
        draft.index.generation,
        tuple(draft.citations[quote.n] for quote in quotes),
        decision,
        degraded=degraded,
        asked=draft.asked,
        usage=draft.usage,
        timings_ms=draft.watch.timings,
        notes=draft.notes,
    )
