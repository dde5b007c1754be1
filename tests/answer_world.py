"""A real ``Answering`` over real stores and small real collections, and everything that can happen around it.

What is done here is done to the product and told to the ``answer_oracle``, which knows each document, label and policy as
the plain tables they were written as. Nothing is judged here.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from corpora import EMBEDDER
from faults import scratch
from policy_cases import REGIONS, built

from domicile import labels
from domicile.adapters.answer_cache import SqliteAnswerCache
from domicile.adapters.answer_labels import SqliteAnswerLabels
from domicile.adapters.audit import FileAuditLog
from domicile.adapters.index_writer import LocalIndexWriter
from domicile.adapters.indexes import LocalIndexes
from domicile.adapters.ledger import SqliteLedger
from domicile.adapters.sentencex import SentencexSplitter
from domicile.answering import Answering, AnswerRequest, Limits
from domicile.detectors import DETECTORS
from domicile.domain import Answer, Collection, Document
from domicile.errors import DomicileError
from domicile.evidence import EvidenceSelector
from domicile.files import HashMemory
from domicile.policy import Price
from domicile.ports import AnswerCache, IndexChange, NewChunk, Vectors
from domicile.retrieval import Retriever
from domicile.routing import Calls, Declared, Routing, TenantPolicy
from domicile.testing import MemoryAnswerCache, MemoryAuditLog, ScriptedGenerator, ScriptedProvider

Table = dict[str, Any]
EPOCH = datetime(2026, 12, 30, 12, tzinfo=UTC)
PRICE = Price(1_000.0, 1_000.0)
"""A thousandth of a unit for each word, so that a small budget is spent after a few calls."""


@dataclass(frozen=True, slots=True)
class Paper:
    """A document: its words nowhere else stand in its title and in its text.

    Attributes:
        label: as it was declared.
        said: further text.
    """

    collection: str
    uri: str
    topic: str
    canaries: tuple[str, str]
    label: Table
    said: str = ""

    @property
    def text(self) -> str:
        title, body = self.canaries
        return f"The {self.topic} of {title} opens at nine with the code {body}.{self.said}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What was declared, as tables: sinks by name, and by tenant its order, ceiling and daily budget."""

    sinks: dict[str, Table]
    order: dict[str, tuple[str, ...]]
    ceilings: dict[str, Table]
    budgets: dict[str, float] = field(default_factory=dict)
    redacting: frozenset[str] = frozenset()

    @property
    def version(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()

    def declared(self) -> Declared:
        tenants = {
            tenant: TenantPolicy(order, labels.parse(self.ceilings.get(tenant, {}), REGIONS), self.budgets.get(tenant))
            for tenant, order in self.order.items()
        }
        sinks = {name: replace(built({**sink, "name": name}), price=PRICE) for name, sink in self.sinks.items()}
        return Declared(REGIONS, sinks, tenants, detectors=DETECTORS, redacting=self.redacting, version=self.version)


@dataclass(frozen=True, slots=True)
class Sent:
    """A body as it left: to whom, when, under which policy, and which records of egress the log held at that moment."""

    sink: str
    body: bytes
    at: datetime
    policy: Policy
    records: list[Table]
    audit_works: bool


class Wire(list[bytes]):
    """What one provider received. A provider answers with the passage it was given, or as it was told to."""

    def __init__(self, world: World, provider: ScriptedProvider) -> None:
        super().__init__()
        self._world, self._provider = world, provider

    def append(self, body: bytes) -> None:
        world, name, said = self._world, self._provider.name, _echo(body)
        world.sent.append(Sent(name, body, world.now, world.policy, world.records("egress"), world.audit_works))
        self._provider.replies = [world.failures.get(name, said)]
        if name not in world.failures:
            asked = sum(len(message["content"].split()) for message in json.loads(body)["messages"])
            world.bills.append((world.asking, world.now.date(), PRICE.of(asked, min(60, len(said.split())))))
        super().append(body)


def _echo(body: bytes) -> str:
    """The first passage, as a model that keeps to its sources would answer."""
    system = json.loads(body)["messages"][0]["content"]
    passage = system.split("<sources>\n")[1].split("\n")[1]
    return f"{passage.split('. ')[0].rstrip('.')}. [1]"


@dataclass
class World:
    """Everything that answers depend on.

    Attributes:
        failures: what a provider does instead of answering, by its name.
        bills: (tenant, day, money) of each call as its provider would bill it.
        leap: reads of the clock until it jumps by a day, in the middle of an answer perhaps; the log's own do not count,
            since they follow the decision.
        epoch: changes with everything that may change an answer.
    """

    path: Path
    audit_kind: Literal["memory", "file"]
    kept_labels: int
    collections: dict[str, Collection]
    policy: Policy
    now: datetime = EPOCH
    papers: dict[tuple[str, str], Paper] = field(default_factory=dict)
    ever: dict[str, Paper] = field(default_factory=dict)
    generation: dict[str, int] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    bills: list[tuple[str, date, float]] = field(default_factory=list)
    asking: str = ""
    failures: dict[str, str | DomicileError] = field(default_factory=dict)
    leap: int | None = None
    epoch: int = 0
    audit_works: bool = True
    labels_whole: bool = True
    ledger_works: bool = True
    _lines: list[Table] = field(default_factory=list)
    _read: dict[str, int] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _tokens: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        if self.audit_kind == "memory":
            self.audit: MemoryAuditLog | FileAuditLog = MemoryAuditLog(lambda: self.now, self._token)
        self.restart()

    # What a home is made of

    def restart(self) -> None:
        """A new process over the same files: whatever was only in memory is gone."""
        hashes = HashMemory(self.path / "hashes.txt")
        ticks: Callable[[], float] = itertools.count().__next__  # CURRENT is looked at for every question
        self.writer = LocalIndexWriter(self.path / "collections", hashes, self.path / "vectors", keep=2)
        self.indexes = LocalIndexes(self.path / "collections", self.collections.__getitem__, hashes, ticks)
        self.retriever = Retriever(self.indexes, EMBEDDER)
        self.selector = EvidenceSelector(EMBEDDER, SentencexSplitter())
        self.cache = SqliteAnswerCache(self.path / "answers.sqlite", clock=self.clock)
        self.said = SqliteAnswerLabels(self.path / "labels.sqlite", self.kept_labels)
        self.ledger = SqliteLedger(self.path / "ledger.sqlite")
        self.local = ScriptedGenerator(["I would not know."])
        if self.audit_kind == "file":
            self.audit = FileAuditLog(self.path / "audit", self.path, lambda: self.now, self._token)
        self.reload(self.policy)

    def reload(self, policy: Policy) -> None:
        """Another policy over the same cache, labels, ledger and audit log."""
        self.policy = policy
        self.epoch += 1
        self.providers = {name: ScriptedProvider(name=name) for name in policy.sinks}
        for provider in self.providers.values():
            provider.bodies = Wire(self, provider)
        routing = Routing(policy.declared(), self.providers, self.audit, self.ledger, self.clock, Calls(max_tokens=60))
        self._answering = self._over(routing, self.cache)
        self._without_cache = self._over(routing, MemoryAnswerCache(self.clock, entries=0))

    def _over(self, routing: Routing, cache: AnswerCache) -> Answering:
        limits = Limits(deadline=1e9, evidence_threshold=0.0)  # the cosines of the fake are low
        return Answering(self.retriever, self.selector, self.local, routing, cache, self.said, limits)

    def clock(self) -> datetime:
        if self.leap is not None:
            self.leap -= 1
            if self.leap < 0:
                self.leap, self.now = None, self.now + timedelta(days=1)
                self.epoch += 1
        return self.now

    def _token(self, size: int) -> str:
        return f"{next(self._tokens):0{2 * size}x}"

    def ask(self, request: AnswerRequest, *, fresh: bool = False) -> Answer | DomicileError:
        """The answer or the refusal; ``fresh`` asks a service without a cache."""
        self.asking = self.collections[request.collection].tenant
        try:
            *_, answer = (self._without_cache if fresh else self._answering).answer(request)
        except DomicileError as refused:
            return refused
        assert isinstance(answer, Answer)
        return answer

    def records(self, kind: str) -> list[Table]:
        """Those of the audit log, in their order."""
        if isinstance(self.audit, MemoryAuditLog):
            return [{"id": record.id, **record.body} for record in self.audit.records if record.kind == kind]
        for file in sorted((self.path / "audit").glob("*.log")):
            with open(file, "rb") as log:
                log.seek(self._read.get(file.name, 0))
                self._lines += [json.loads(line.split(b" ", 2)[2]) for line in log]
                self._read[file.name] = log.tell()
        return [record for record in self._lines if record["kind"] == kind]

    def receipt(self, identifier: str) -> Table:
        return next(record for record in reversed(self.records("answer")) if record["id"] == identifier)

    # Documents

    def paper(self, collection: str, uri: str, topic: str, label: Table, said: str = "") -> Paper:
        """A new document with words of its own."""
        made = tuple(f"q{next(self._numbers):05d}{letter}" for letter in "tb")
        return Paper(collection, uri, topic, (made[0], made[1]), label, said)

    def put(self, *papers: Paper, alone: bool = False) -> None:
        """One generation with these documents, new or in the place of older ones; or with no others."""
        with self._change(papers[0].collection) as change:
            for uri in change.states().keys() - {paper.uri for paper in papers} if alone else ():
                change.delete(uri)
            for paper in papers:
                chunks, vectors = _chunks(paper)
                label = labels.complete(labels.parse(paper.label, REGIONS), None)
                title = f"About {paper.canaries[0]}"
                digest = hashlib.sha256(paper.text.encode()).hexdigest()
                change.put(Document(paper.uri, title, paper.text, label, digest), "state", chunks, vectors)
        for paper in papers:
            self.papers[paper.collection, paper.uri] = paper
            self.ever |= dict.fromkeys(paper.canaries, paper)

    def delete(self, paper: Paper) -> None:
        with self._change(paper.collection) as change:
            change.delete(paper.uri)
        del self.papers[paper.collection, paper.uri]

    def erase(self, paper: Paper) -> None:
        """Returns when it is acknowledged; a service lets go of the generations that are to be removed meanwhile."""
        gc.collect()  # processes of before a restart hold nothing
        done = threading.Event()
        service = threading.Thread(target=self._follow_until, args=(done,))
        service.start()
        try:
            with self._change(paper.collection) as change:
                change.erase([paper.uri])
        finally:
            done.set()
            service.join()
        del self.papers[paper.collection, paper.uri]
        SqliteAnswerCache(self.path / "answers.sqlite", clock=self.clock).forget(
            paper.collection, self.generation[paper.collection]
        )

    def relabel(self, paper: Paper, label: Table) -> None:
        new = labels.complete(labels.parse(label, REGIONS), None)
        with self._change(paper.collection) as change:
            change.relabel(paper.uri, lambda _: new, "other state")
        self.papers[paper.collection, paper.uri] = replace(paper, label=label)
        self.ever |= dict.fromkeys(paper.canaries, self.papers[paper.collection, paper.uri])

    def follow(self) -> None:
        """As a service does twice a second."""
        self.indexes.refresh()
        for name in self.indexes.names():
            self.cache.retain(name, self.indexes.generation(name))

    def _follow_until(self, done: threading.Event) -> None:
        while not done.wait(0.02):
            self.indexes.refresh()

    def move(self, collection: str, tenant: str) -> None:
        """Give a collection to another tenant, and restart."""
        self.collections[collection] = replace(self.collections[collection], tenant=tenant)
        self.restart()

    @contextmanager
    def _change(self, collection: str) -> Iterator[IndexChange]:
        with self.writer.change(self.collections[collection], EMBEDDER) as change:
            yield change
            self.generation[collection] = change.commit().generation
        self.epoch += 1

    # Faults

    def break_audit(self) -> None:
        self.audit_works = False
        self.epoch += 1
        if isinstance(self.audit, MemoryAuditLog):
            self.audit.broken = "the disk is full"
            return
        self._begin_log()
        file = max((self.path / "audit").glob("*.log"))
        self._intact = file.read_bytes()
        file.write_bytes(self._intact.replace(b'"policy"', b'"Policy"', 1))

    def mend_audit(self) -> None:
        self.audit_works = True
        self.epoch += 1
        if isinstance(self.audit, MemoryAuditLog):
            self.audit.broken = None
        else:
            max((self.path / "audit").glob("*.log")).write_bytes(self._intact)
            self.restart()

    def _begin_log(self) -> None:
        self.audit.append("start", {"policy": self.policy.version})

    def damage(self, name: Literal["answers", "labels", "ledger"]) -> None:
        """Overwrite a file while it is in use."""
        self.epoch += 1
        gc.collect()  # connections of before a restart take files with them when they go
        (self.path / f"{name}.sqlite").touch()
        for file in self.path.glob(f"{name}.sqlite*"):
            with suppress(FileNotFoundError), open(file, "r+b") as opened:
                opened.write(b"damaged " * (1 + file.stat().st_size // 8))
        self.labels_whole = self.labels_whole and name != "labels"
        self.ledger_works = self.ledger_works and name != "ledger"

    def mend_ledger(self) -> None:
        for file in self.path.glob("ledger.sqlite*"):
            file.unlink(missing_ok=True)
        self.ledger_works = True
        self.bills.clear()
        self.restart()


def _chunks(paper: Paper) -> tuple[list[NewChunk], Vectors]:
    title = paper.canaries[0]
    indexed = f"About {title}\nCode {title}\n{paper.text}"
    chunk = NewChunk((f"Code {title}",), None, 0, len(paper.text), paper.text, "", indexed)
    return [chunk], EMBEDDER.embed([indexed], "document")


@contextmanager
def world_with(
    otherwise: Path,
    policy: Policy,
    collections: Sequence[Collection],
    audit: Literal["memory", "file"] = "memory",
    kept_labels: int = 1_000,
) -> Iterator[World]:
    with scratch(otherwise) as path:
        yield World(path, audit, kept_labels, {one.name: one for one in collections}, policy)
