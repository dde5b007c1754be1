"""Judges what a service did by the labels as they were written: who may have got which bytes, and who got them.

It shares no code with the product. What decides is ``reference_policy``; what was said to whom is kept here a second time.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from canaries import found_in
from conversations import (
    CEILINGS,
    COLLECTIONS,
    ORDERS,
    PROVIDER_CANARY,
    SINKS,
    Conversation,
    Key,
    Paper,
    Place,
    Table,
    Turn,
    World,
)
from provider import Received
from reference_policy import NARROWEST, reasons, together, understood, whole

AT_REST: dict[str, set[Place] | None] = {
    "data/collections": None,
    "cache/answers.sqlite": None,
    "audit": {"path"},
}
"""Where text of documents may lie in a home, and which places of them; ``None`` is all. Everywhere else nothing may."""
ABSTAINED = "These documents do not answer that."
_PERSONAL: Table = {"categories": ["pii"]}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question as it was sent, and what came back.

    Attributes:
        behind: labels of what assistants had said in it, as they were known when it was sent.
        told: the ``domicile`` object.
        receipt: the record as the service gave it out.
        raw: every byte that came back.
    """

    conversation: Conversation
    turn: Turn
    messages: Sequence[Mapping[str, str]]
    behind: tuple[Table, ...]
    told: Table
    receipt: Table
    raw: bytes


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a run left behind.

    Attributes:
        received: requests as they came over the wire, by sink.
        sent: the egress records of the audit log.
        answers: the receipts in it, by their ids.
        seen: bytes of logs, metrics, errors and temporary files, by what they are.
    """

    world: World
    home: Path
    exchanges: Sequence[Exchange]
    received: Mapping[str, Sequence[Received]]
    sent: Sequence[Table]
    answers: Mapping[str, Table]
    seen: Mapping[str, bytes]


@functools.cache
def label_of(paper: Paper) -> Table:
    """The label of a document, but for its groups: they are about readers, and no payload has them."""
    label = whole(together([understood(source) for source in paper.sources]), None)
    return {field: value for field, value in label.items() if field != "groups"}


def may_read(key: Key, paper: Paper) -> bool:
    own = COLLECTIONS[paper.collection]["groups"] or None
    groups = whole(together([understood(source) for source in paper.sources]), own)["groups"]
    return key.groups is None or groups is None or bool(key.groups & set(groups))


def allowed(tenant: str, tables: Iterable[Table]) -> list[str]:
    """The sinks that may have a payload of these labels, in the order of the tenant."""
    label = whole(together([understood(CEILINGS.get(tenant, {})), *tables]), None)
    sinks = [name for name in ORDERS[tenant] if name in SINKS]
    return [name for name in sinks if not reasons(label, SINKS[name], "answer", time.time())]


@dataclass(slots=True)
class Memory:
    """The labels of answers by their words, most restrictive where the same words were said of several things."""

    _said: dict[tuple[str, str], Table] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def behind(self, tenant: str, messages: Sequence[Mapping[str, str]]) -> tuple[Table, ...]:
        spoken = [_normal(message["content"]) for message in messages if message["role"] == "assistant"]
        with self._lock:
            return tuple(self._said.get((tenant, text), NARROWEST) for text in spoken if text != _normal(ABSTAINED))

    def heard(self, tenant: str, text: str, payload: Sequence[Table]) -> None:
        at = tenant, _normal(text)
        with self._lock:
            self._said[at] = together([understood(CEILINGS.get(tenant, {})), *payload, self._said.get(at, {})])


def payload(exchange: Exchange, documents: Iterable[Paper]) -> list[Table]:
    """The labels of everything that an answer was made from."""
    asked = [message["content"] for message in exchange.messages if message["role"] == "user"]
    personal = [_PERSONAL] if any("@" in text for text in asked) else []
    return [understood(exchange.turn.flags), *personal, *exchange.behind, *map(label_of, documents)]


def violations(evidence: Evidence, *, exact: bool) -> Iterator[str]:
    """Everything that is not as the labels and the contract say.

    Args:
        exact: no provider failed, so that each question has one place where it must have been answered.
    """
    yield from _books(evidence)
    yield from _bytes_of_providers(evidence)
    yield from _bytes_beside(evidence)
    yield from _bytes_at_rest(evidence)
    yield from _bytes_for_readers(evidence)
    for exchange in evidence.exchanges:
        yield from _route(evidence, exchange, exact)
        yield from _quote(exchange)
        yield from _receipt(evidence, exchange)


def _books(evidence: Evidence) -> Iterator[str]:
    """What arrived is what was written down, body for body; what did not arrive failed before it could."""
    for sink, received in evidence.received.items():
        written = Counter(_body(record) for record in evidence.sent if record["sink"] == sink)
        arrived = Counter((request.sha256, len(request.body)) for request in received)
        if unknown := arrived - written:
            yield f"books: {sink}: {unknown.total()} bodies arrived and are in no record"
        excused = Counter(_body(record) for record in _failed(evidence) if record["sink"] == sink)
        if lost := written - arrived - excused:
            yield f"books: {sink}: {lost.total()} bodies are in a record, did not arrive, and are said to have"


def _failed(evidence: Evidence) -> Iterator[Table]:
    """Records of what a connection or the time was lost for: the answer says so, or was sent for once more."""
    sent = {record["id"]: record for record in evidence.sent}
    for answer in evidence.answers.values():
        lost = {each["sink"] for each in answer["decision"]["denied"] if each["reasons"][0] in ("timeout", "down")}
        records = [sent[name] for name in answer["egress"]]
        for record in records:
            again = any(other["sink"] == record["sink"] and other["attempt"] > record["attempt"] for other in records)
            if again or record["sink"] in lost:
                yield record


def _body(record: Table) -> tuple[str, int]:
    return record["body_sha256"], record["body_bytes"]


def _bytes_of_providers(evidence: Evidence) -> Iterator[str]:
    for sink, received in evidence.received.items():
        kept = _owners(paper for paper in evidence.world.papers if sink not in allowed(paper.tenant, [label_of(paper)]))
        data = [(request.path.encode(), str(request.headers).encode(), request.body) for request in received]
        for word in found_in(b"\n".join(part for parts in data for part in parts), kept):
            yield f"leak: {sink} got the {kept[word][1]} of {_about(kept[word][0])}"


def _bytes_beside(evidence: Evidence) -> Iterator[str]:
    owners = _owners(evidence.world.papers)
    for what, data in evidence.seen.items():
        for word in found_in(data, owners):
            yield f"leak: {what} has the {owners[word][1]} of {_about(owners[word][0])}"
        if PROVIDER_CANARY.encode() in data:
            yield f"leak: {what} has the secret of a provider"


def _bytes_at_rest(evidence: Evidence) -> Iterator[str]:
    owners = _owners(evidence.world.papers)
    for path in evidence.home.rglob("*"):
        name = path.relative_to(evidence.home).as_posix()
        if not path.is_file() or name.startswith("models"):
            continue
        places = next((places for start, places in AT_REST.items() if name.startswith(start)), set())
        for word in found_in(path.read_bytes(), owners) if places is not None else ():
            if owners[word][1] not in places:
                yield f"at rest: {name} has the {owners[word][1]} of {_about(owners[word][0])}"


def _bytes_for_readers(evidence: Evidence) -> Iterator[str]:
    for key in {exchange.conversation.key.name: exchange.conversation.key for exchange in evidence.exchanges}.values():
        kept = _owners(paper for paper in evidence.world.papers if not may_read(key, paper))
        said = b"\n".join(exchange.raw for exchange in evidence.exchanges if exchange.conversation.key == key)
        for word in found_in(said, kept):
            yield f"access: {key.name} read the {kept[word][1]} of {_about(kept[word][0])}"


def _route(evidence: Evidence, exchange: Exchange, exact: bool) -> Iterator[str]:
    decision, collection = exchange.told["decision"], COLLECTIONS[exchange.conversation.collection]
    documents = packed(evidence.world, exchange.conversation.collection, exchange.receipt)
    if decision["route"] not in ("hosted", "local"):
        return
    tenant = str(collection["tenant"])
    may = allowed(tenant, payload(exchange, documents))
    if decision["route"] == "hosted" and decision["sink"] not in may:
        yield f"route: {decision['sink']} answered about {', '.join(map(_about, documents))}"
    if not exact:
        return
    if collection["mode"] == "cleared":  # what is not cleared is passed over, so the answer may be about something else
        papers = [paper for paper in evidence.world.papers if paper.collection == exchange.conversation.collection]
        readable = [paper for paper in papers if may_read(exchange.conversation.key, paper)]
        any_of = {name for paper in readable for name in allowed(tenant, payload(exchange, [paper]))}
        may = [name for name in ORDERS[tenant] if name in any_of]
    wanted = may[0] if may else "local"
    if decision["sink"] != wanted:
        yield f"route: {decision['sink']} and not {wanted} answered about {', '.join(map(_about, documents))}: {decision}"


def _quote(exchange: Exchange) -> Iterator[str]:
    """A question about what no sink may have is answered here, and not with what a sink made of something else."""
    if not _stays(exchange):
        return
    if exchange.told["abstained"] or not exchange.told["citations"]:
        yield f"answer: nothing was quoted for {exchange.turn.question!r} about {_about(exchange.turn.about)}"
    elif exchange.told["decision"]["route"] not in ("local", "cache") and _is_right(exchange):
        yield f"answer: {exchange.told['decision']['route']} answered about {_about(exchange.turn.about)}"


def rightly_quoted(evidence: Evidence) -> float:
    """Of the questions about what no sink may have, the share that was answered with a quote of the right document."""
    staying = [_is_right(exchange) for exchange in evidence.exchanges if _stays(exchange)]
    return sum(staying) / len(staying)


def _stays(exchange: Exchange) -> bool:
    """Whether it is a whole question to a whole collection about a document that its reader may see and no sink may."""
    paper, collection = exchange.turn.about, COLLECTIONS[exchange.conversation.collection]
    asked = not exchange.turn.leaning and may_read(exchange.conversation.key, paper)
    passed_over = collection["mode"] == "cleared" and exchange.told["decision"]["route"] in ("hosted", "cache")
    return asked and not passed_over and not allowed(paper.tenant, [label_of(paper)])


def _is_right(exchange: Exchange) -> bool:
    paper = exchange.turn.about
    cited = [each for each in exchange.told["citations"] if each["document"] == paper.path and each["verified"]]
    return any(paper.name in citation["quote"] for citation in cited)


def _receipt(evidence: Evidence, exchange: Exchange) -> Iterator[str]:
    told, receipt = exchange.told, exchange.receipt
    logged = evidence.answers.get(told["receipt"], {})
    if not receipt or {**logged, **receipt} != logged:
        yield f"receipt: {told['receipt']} is not in the log as it was given out"
    sent = {record["id"]: record["sink"] for record in evidence.sent}
    if not set(receipt["egress"]) <= sent.keys():
        yield f"receipt: {told['receipt']} names what was not sent"
    if told["decision"]["route"] == "hosted" and told["decision"]["sink"] not in {
        sent.get(name) for name in receipt["egress"]
    }:
        yield f"receipt: {told['receipt']} does not name what was sent to {told['decision']['sink']}"
    names = {part["name"] for part in receipt["parts"] if part["kind"] == "document"}
    if told["decision"]["route"] != "cache" and not {citation["document"] for citation in told["citations"]} <= names:
        yield f"receipt: {told['receipt']} does not name what was cited"


def packed(world: World, collection: str, receipt: Table) -> list[Paper]:
    """The documents of the payload of an answer, as its receipt names them."""
    names = {part["name"] for part in receipt["parts"] if part["kind"] == "document"}
    return [paper for paper in world.papers if paper.collection == collection and paper.path in names]


def _owners(papers: Iterable[Paper]) -> dict[str, tuple[Paper, Place]]:
    return {word: (paper, place) for paper in papers for place, word in paper.canaries.items()}


def _about(paper: Paper) -> str:
    return f"{paper.collection}/{paper.name} ({paper.label})"


def _normal(text: str) -> str:
    return " ".join(text.split())
