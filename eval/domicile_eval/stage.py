"""The production use cases, set up for an evaluation.

They run over one pinned generation, with an audit log and a ledger of their own, and without the answer cache. Items of
kind residency meet the sinks that the suite declares; behind those stand no providers, so that nothing leaves, but what
each of them would have received is kept. All other items have the model that runs here and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from domicile.answering import Answering
from domicile.bootstrap import Home
from domicile.domain import Answer, ModelStatus, Principal, Prompt, Usage
from domicile.errors import ModelMissing, UnknownCollection
from domicile.ports import Embedder, Generator, Index
from domicile.retrieval import Retriever
from domicile_eval.results import Sent
from domicile_eval.suites import Suite

_BARE: Mapping[str, Any] = {"sinks": [], "routing": {}, "tenants": {}}


@dataclass(frozen=True, slots=True)
class OneIndex:
    """``ports.Indexes`` of a single generation, which need not be current."""

    index: Index

    def names(self) -> list[str]:
        return [self.index.collection.name]

    def pin(self, collection: str, principal: Principal, *, fresh: bool = False) -> Index:
        if collection != self.index.collection.name or not self.index.collection.open_to(principal):
            raise UnknownCollection(collection)
        return self.index

    def generation(self, collection: str) -> int:
        return self.index.generation

    def trouble(self, collection: str) -> str | None:
        return None


@dataclass(frozen=True, slots=True)
class Unspoken:
    """``ports.Generator`` that says nothing, so that the quotes answer: for the items whose words are not asked for."""

    generator: Generator

    @property
    def name(self) -> str:
        return self.generator.name

    @property
    def status(self) -> ModelStatus:
        return self.generator.status

    def generate(self, prompt: Prompt, *, max_tokens: int, cancelled: Callable[[], bool]) -> Iterator[str | Usage]:
        if (status := self.generator.status).state in ("missing", "damaged"):
            raise ModelMissing(f"{status.name} is {status.state}")
        yield Usage()


@dataclass(frozen=True, slots=True)
class StandIn:
    """``ports.Provider`` of a sink that is not called: it keeps what it would have got, and says its best sentence."""

    name: str
    received: list[Sent] = field(default_factory=list)
    state: Any = "ready"

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int,
        seconds: float,
        cancelled: Callable[[], bool],
        authorize: Callable[[bytes], None],
    ) -> Iterator[str | Usage]:
        body = "\n".join(message.content for message in prompt.messages)
        authorize(body.encode("utf-8", "replace"))
        self.received.append(Sent(self.name, body))
        said = prompt.evidence[0].text
        yield said if said.endswith((".", "!", "?")) else f"{said}."
        yield Usage(len(body) // 4, len(said) // 4)

    def warm_up(self) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """Nothing to close."""


class NoCache:
    """``ports.AnswerCache`` that keeps nothing: an evaluation asks what answers are now."""

    def get(self, key: str) -> Answer | None:
        return None

    def put(self, key: str, answer: Answer) -> None:
        """Not kept."""

    def retain(self, collection: str, generation: int) -> None:
        """Nothing is held."""

    def forget(self, collection: str, generation: int) -> None:
        """Nothing is held."""


class Stage:
    """What an evaluation asks.

    Args:
        index: the generation.
        scratch: a folder for the audit log, the ledger and the labels of this evaluation's answers.
        llm: that writes the answers whose words are judged.

    Attributes:
        received: what sinks would have got, in the order in which it went.
    """

    def __init__(
        self, home: Home, suite: Suite, index: Index, embedder: Embedder, llm: Generator, scratch: Path
    ) -> None:
        self.index = index
        self.retriever: Retriever = home.retriever(OneIndex(index), embedder)
        self.received: list[Sent] = []
        self._speaking: dict[tuple[bool, bool], Answering] = {}
        for staged in (False, True) if suite.stage else (False,):
            settings = home.settings.staged(suite.stage if staged else _BARE, Path(suite.name) / "suite.toml")
            own = replace(home, path=scratch / ("staged" if staged else "local"), settings=settings)
            routing = own.routing(
                {sink.name: StandIn(sink.name, self.received) for sink in own.sinks() if sink.kind == "llm"}
            )
            for generated, generator in ((True, llm), (False, Unspoken(llm))):
                self._speaking[staged, generated] = own.answering(
                    self.retriever, embedder, generator, routing, NoCache()
                )

    def answering(self, *, staged: bool, generated: bool) -> Answering:
        """The answer use case.

        Args:
            staged: with the suite's sinks.
            generated: with the words of the language model.
        """
        return self._speaking[staged and (True, generated) in self._speaking, generated]
