"""Who may judge: a sink of kind ``judge`` that policy allows, or the language model that runs here.

A judge is one more receiver of documents, so its calls go the way that answers go: the label of everything in the payload
is decided upon for the purpose ``eval``, and the record of what leaves is in the audit log before it does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from domicile import labels, payload, receipts
from domicile.bootstrap import Home
from domicile.domain import OWNER, Answer, Chunk, Message, Prompt
from domicile.errors import ConfigError, EgressDenied, ModelSlow, ProviderUnready, UsageError
from domicile.labels import LOCAL, MALFORMED, PartialLabel, partial_of
from domicile.payload import Part
from domicile.policy import Sink
from domicile.ports import Generator, Index, Indexes
from domicile.routing import Dispatch, Routing
from domicile_eval.ragas_suite import BY_JUDGE, JudgedTexts

PURPOSE = "eval"
SINK_SECONDS = 60.0
SINK_TOKENS = 2_048
LOCAL_SECONDS = 20.0
"""For one reply of the model that runs here; it is small, and says too much rather than too little."""
LOCAL_TOKENS = 192
LOAD_SECONDS = 60.0
AT_ONCE = len(BY_JUDGE)
"""Calls of a sink: the metrics of one answer."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """What a judge is shown of one answer, and what its label follows from.

    Attributes:
        chunks: the contexts.
        about: documents that question and reference may speak of, whether they were found or not.
    """

    texts: JudgedTexts
    answer: Answer
    chunks: tuple[Chunk, ...]
    about: frozenset[str]


class Judge(Protocol):
    """Says what a language model says of an exhibit.

    Attributes:
        version: changes whenever the model does, as far as that can be known.
        at_once: calls that it takes at a time.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def at_once(self) -> int: ...

    def ask(self, messages: Sequence[Message], shown: Exhibit) -> str:
        """One reply, at temperature 0.

        Args:
            messages: made of the exhibit and of nothing else.

        Raises:
            EgressDenied: the exhibit may not go there; carries the reasons.
            DomicileError: there is no reply.
        """
        ...


class SinkJudge:
    """A sink of kind ``judge`` behind policy, egress broker and audit log. Safe to call from several threads."""

    at_once = AT_ONCE

    def __init__(self, sink: Sink, routing: Routing, indexes: Indexes) -> None:
        self._sink = sink
        self._routing = routing
        self._indexes = indexes

    @property
    def name(self) -> str:
        return self._sink.name

    @property
    def version(self) -> str:
        return self._sink.model

    def ask(self, messages: Sequence[Message], shown: Exhibit) -> str:
        pin = partial(self._indexes.pin, shown.answer.collection, OWNER)
        index = pin()
        parts = self._parts(shown, index)
        dispatch = Dispatch(self._routing, OWNER, index, pin, purpose=PURPOSE)
        if not dispatch.admits(self._sink, payload.label_of(parts)):
            reasons = dispatch.denied[-1][1]
            if dispatch.degraded is not None:
                raise ProviderUnready(f"{self.name} was not called: {', '.join(reasons)}")
            raise EgressDenied(self.name, reasons)
        prompt = Prompt(shown.texts.question, (), tuple(messages))
        said = dispatch.call(self._sink, prompt, parts, self._routing.calls.seconds, lambda: False)
        return "".join(piece for piece in said if isinstance(piece, str))

    def _parts(self, shown: Exhibit, index: Index) -> tuple[Part, ...]:
        """Everything that the messages are made of. A reference answer may say what stands in its documents."""
        tenant, declared = index.collection.tenant, self._routing.declared
        written = (text for text in (shown.texts.question, shown.texts.reference) if text is not None)
        made_from = MALFORMED if shown.answer.decision.label is None else partial_of(shown.answer.decision.label)
        return (
            Part("ceiling", tenant, declared.of(tenant).ceiling),
            *(Part("question", tenant, payload.read(text, declared.detectors)) for text in written),
            *(Part("document", tenant, _label_of(chunk, index), chunk.document) for chunk in shown.chunks),
            *(Part("document", tenant, _label_now(uri, index), uri) for uri in sorted(shown.about)),
            Part("answer", tenant, made_from),
        )


def _label_of(chunk: Chunk, index: Index) -> PartialLabel:
    """Of a passage: what its document was labelled when it was found, and what it is now."""
    now = index.document(chunk.document, None)
    same = now is not None and now.text[chunk.start : chunk.end] == chunk.text
    return labels.join_partial([partial_of(chunk.label), partial_of(now.label) if now and same else MALFORMED])


def _label_now(uri: str, index: Index) -> PartialLabel:
    document = index.document(uri, None)
    return MALFORMED if document is None else partial_of(document.label)


class LocalJudge:
    """The language model that runs here.

    Args:
        version: of its files.
        seconds: for one reply.
    """

    name = LOCAL
    at_once = 1

    def __init__(
        self, generator: Generator, version: str, seconds: float = LOCAL_SECONDS, max_tokens: int = LOCAL_TOKENS
    ) -> None:
        self._generator = generator
        self._version = version
        self._seconds = seconds
        self._max_tokens = max_tokens

    @property
    def version(self) -> str:
        return self._version

    def ask(self, messages: Sequence[Message], shown: Exhibit) -> str:
        """
        Raises:
            ModelSlow: it was not done in time.
            InvalidRequest: its context is too short for the messages.
        """
        self._await_loaded()
        until = time.monotonic() + self._seconds
        prompt = Prompt(shown.texts.question, (), tuple(messages))
        pieces = self._generator.generate(
            prompt, max_tokens=self._max_tokens, cancelled=lambda: time.monotonic() > until
        )
        said = "".join(piece for piece in pieces if isinstance(piece, str))
        if time.monotonic() > until:
            raise ModelSlow(f"the language model did not judge in {self._seconds:g} s")
        return said

    def _await_loaded(self) -> None:
        """Loading is no time of the reply's."""
        until = time.monotonic() + LOAD_SECONDS
        while self._generator.status.state == "loading" and time.monotonic() < until:
            time.sleep(0.05)


def local_version(home: Home) -> str:
    """The language model that runs here: its name, and a version that changes whenever its files do.

    Raises:
        ModelMissing, ModelDamaged: there is no intact one.
    """
    card = home.llm_folder().card
    return f"{card.name} {receipts.sha256(card.to_json())[:12]}"


@contextmanager
def open_judge(home: Home, name: str) -> Iterator[Judge]:
    """The judge of this name, ``local`` for the language model that runs here; closed when the block ends.

    Raises:
        UsageError: no judge is declared by this name; names those that are.
        ConfigError: a declaration has run out, or promises what is not done for a judge.
        MissingExtra: what calls sinks is not installed.
        ModelMissing, ModelDamaged: there is no intact language model here.
    """
    if name == LOCAL:
        version = local_version(home)
        with closing(home.llm()) as llm:
            yield LocalJudge(llm, version)
        return
    declared = {sink.name: sink for sink in home.sinks() if sink.kind == "judge"}
    if name not in declared:
        known = ", ".join((*declared, LOCAL))
        raise UsageError(f"there is no judge {name!r}: there are {known} (a judge is a sink of kind judge)")
    with closing(home.judging(SINK_SECONDS, SINK_TOKENS)) as routing:
        if name in routing.declared.redacting:
            raise ConfigError(f"sink {name!r}: a judge gets questions as they were asked: leave out `redact`")
        yield SinkJudge(declared[name], routing, home.indexes())
