"""The checks of the answer path are sharp: each thing that keeps bytes here is taken away, and the oracle sees it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from answer_oracle import ABSTAINED, PERSONAL, Oracle
from answer_world import EPOCH, Policy, World, world_with
from policy_cases import PLAIN

from domicile import answering, caching, payload, records, routing
from domicile.answering import AnswerRequest
from domicile.domain import OWNER, Collection, Principal, Turn
from domicile.errors import ProviderDown

Table = dict[str, Any]
OPEN: Table = {"regions": ["global"], "sensitivity": "public", "hosted": True, "retention_days": 30}
HERE: Table = {"regions": ["local"], "sensitivity": "restricted", "hosted": False}
EU: Table = {**PLAIN, "max_sensitivity": "internal", "categories": []}
POLICY = Policy(
    {"eu": EU, "us": {**EU, "processing_regions": ["us"]}}, {"acme": ("eu", "local"), "globex": ("eu",)}, {}
)
BOTH = Principal("both", "acme", frozenset({"hr", "it"}))
COLLECTIONS = [Collection("handbook", "acme"), Collection("wiki", "acme", mode="cleared")]
CANTEEN, GARAGE = "When does the canteen open?", "When does the garage open?"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One piece of source text in place of another; ``seen`` is what the oracle must say."""

    name: str
    module: ModuleType
    owner: str
    function: str
    old: str
    new: str
    seen: str


MUTANTS = (
    Mutant("the label of history is dropped", payload, "", "question_parts", "*dict.fromkeys(before),", "", "taint"),
    Mutant(
        "any words are as those that are made of nothing",
        records,
        "Records",
        "label_of",
        "text.strip() == ABSTAINED",
        "True",
        "taint",
    ),
    Mutant("the key is without label", caching, "", "key", "_words(label)", "None", "taint"),
    Mutant(
        "the key is without tenant",
        caching,
        "",
        "key",
        "        tenant,\n        generation,",
        "        generation,",
        "cache",
    ),
    Mutant(
        "the key is without generation",
        caching,
        "",
        "key",
        "        generation,\n        None if",
        "        None if",
        "cache",
    ),
    Mutant(
        "the key is without policy",
        caching,
        "",
        "key",
        "        policy_version,\n        prompts",
        "        prompts",
        "cache",
    ),
    Mutant(
        "a hit is for everybody",
        records,
        "Records",
        "cached",
        " and inquiry.request.principal.may_read(label.groups)",
        "",
        "cache",
    ),
    Mutant(
        "it is not decided again", routing, "Dispatch", "_authorize", "if not verdict.allowed:", "if False:", "leak"
    ),
    Mutant(
        "the record is of after",
        routing,
        "Dispatch",
        "_authorize",
        'self.egress.append(self.routing.audit.append("egress", record).id)',
        "self.egress.append(record)",
        "books",
    ),
    Mutant(
        "nothing is read again where something is redacted",
        answering,
        "Answering",
        "_prepare",
        'if part.kind != "question")',
        'if part.kind not in ("question", "history"))',
        "taint",
    ),
    Mutant(
        "what is redacted is sent",
        answering,
        "Answering",
        "_prepare",
        "question = detectors.redact(question,",
        "_ = (question,",
        "route",
    ),
    Mutant(
        "nothing is set aside",
        routing,
        "Dispatch",
        "call",
        "routing.ledger.reserve(self._account(), most, routing.clock())",
        "'none'",
        "budget",
    ),
    Mutant(
        "nothing is looked for in what is cleared alone",
        answering,
        "Answering",
        "_scope",
        'inquiry.index.collection.mode == "escalate"',
        "True",
        "interference",
    ),
    Mutant(
        "every sink is in every order",
        routing,
        "Dispatch",
        "order",
        "names = self.routing.declared.of(self.tenant).order",
        "names = (*self.routing.declared.of(self.tenant).order[:-1], *sorted(self.routing.declared.sinks)[::-1])",
        "route",
    ),
    Mutant(
        "without an audit log",
        routing,
        "Dispatch",
        "_authorize",
        'self.egress.append(self.routing.audit.append("egress", record).id)',
        "",
        "books",
    ),
)


@contextmanager
def changed(mutant: Mutant) -> Iterator[None]:
    """The function of the product as it would be; its module stays what it is."""
    owner: Any = getattr(mutant.module, mutant.owner) if mutant.owner else mutant.module
    source, own = inspect.getsource(mutant.module), inspect.getsource(getattr(owner, mutant.function))
    assert own.count(mutant.old) == 1, f"{mutant.name}: {own.count(mutant.old)} places"
    source = source.replace(own, own.replace(mutant.old, mutant.new))
    made = ModuleType(f"{mutant.module.__name__}_changed")
    sys.modules[made.__name__] = made  # dataclasses look their module up
    try:
        exec(compile(source, made.__name__, "exec"), made.__dict__)
    finally:
        del sys.modules[made.__name__]
    other = getattr(made, mutant.owner) if mutant.owner else made
    before = inspect.getattr_static(owner, mutant.function)
    setattr(owner, mutant.function, inspect.getattr_static(other, mutant.function))
    try:
        yield
    finally:
        setattr(owner, mutant.function, before)


class Scene:
    """A small home, and what the oracle said of everything that was asked in it."""

    def __init__(self, world: World) -> None:
        self.world, self.oracle = world, Oracle(world)
        self.wrong: list[str] = []
        self.put("canteen", OPEN)
        self.put("garage", HERE)

    def put(self, topic: str, label: Table, collection: str = "handbook") -> None:
        self.world.put(self.world.paper(collection, f"{topic}.md", topic, label))

    def ask(self, question: str, *history: Turn, principal: Principal = OWNER, collection: str = "handbook") -> str:
        answer, wrong = self.oracle.ask(AnswerRequest(question, collection, principal, history=history))
        self.wrong += wrong
        return "" if answer is None else answer.answer


def a_conversation(at: Scene) -> None:
    kept = at.ask(GARAGE)
    at.ask(CANTEEN, Turn("user", GARAGE), Turn("assistant", kept))
    at.ask(CANTEEN, Turn("assistant", ABSTAINED), Turn("assistant", "I made this up."))


def the_cache(at: Scene) -> None:
    at.ask(CANTEEN)
    at.ask(CANTEEN)
    at.ask(CANTEEN, Turn("assistant", at.ask(GARAGE)))
    at.put("canteen", OPEN)
    at.ask(CANTEEN)
    at.world.reload(replace(POLICY, sinks={"eu": {**EU, "training": True}, "us": EU}))
    at.ask(CANTEEN)
    at.world.move("handbook", "globex")
    at.ask(CANTEEN)


def readers_of_the_cache(at: Scene) -> None:
    at.put("canteen", {**OPEN, "groups": ["hr"]})
    at.ask(CANTEEN, Turn("assistant", "I made this up."), principal=BOTH)
    at.ask(CANTEEN, Turn("assistant", "I made this up."), principal=BOTH)


def midnight(at: Scene) -> None:
    for reads in range(6):
        at.world.now = EPOCH
        at.world.reload(replace(POLICY, sinks={"eu": {**EU, "valid_until": "2026-12-30"}, "us": EU}))
        at.world.leap = reads
        at.ask(f"{CANTEEN}{' ?' * reads}")
    at.world.leap = None
    at.world.now += timedelta(hours=1)


def personal_data(at: Scene) -> None:
    at.world.reload(replace(POLICY, redacting=frozenset({"eu"})))
    at.ask(f"When does the canteen open for {PERSONAL}?")
    if len(at.world.sent) != 1:
        at.wrong.append("route: without what was found in it the question may go")
    at.ask(CANTEEN, Turn("user", f"I am {PERSONAL}."))


def money(at: Scene) -> None:
    at.world.reload(replace(POLICY, budgets={"acme": 0.25}))
    for n in range(6):
        at.ask(f"{CANTEEN}{' ?' * n}")


def a_provider_that_fails(at: Scene) -> None:
    at.world.failures["eu"] = ProviderDown("500")
    at.ask(CANTEEN)
    at.ask(GARAGE)


def no_interference(at: Scene) -> None:
    at.put("canteen", OPEN, "wiki")
    sent = []
    for topics in ((), ("canteen of the reactor", "canteen of the hall")):
        for topic in topics:
            at.put(topic, HERE, "wiki")
        before = len(at.world.sent)
        at.ask(CANTEEN, collection="wiki")
        sent.append([one.body for one in at.world.sent[before:]])
    if sent[0] != sent[1] or not sent[0]:
        at.wrong.append("interference: what may not go there changed what went there")


SCENES: tuple[Callable[[Scene], None], ...] = (
    a_conversation, the_cache, readers_of_the_cache, midnight, personal_data, money, a_provider_that_fails, no_interference,
)  # fmt: skip


def played(path: Path, scene: Callable[[Scene], None]) -> list[str]:
    with world_with(path, POLICY, COLLECTIONS) as world:
        at = Scene(world)
        try:
            scene(at)
        except Exception as error:  # a mutant may also just fall over, which is no proof
            return [f"{type(error).__name__}: {error}"]
        return at.wrong


TWICE = (
    Mutant("at first", answering, "Answering", "answer", "if sink is not None and not sending.admitted:", "if False:", "leak"),
    next(mutant for mutant in MUTANTS if mutant.name == "it is not decided again"),
)  # fmt: skip
"""Either decision alone keeps what is denied here, as long as nothing changes between the two."""


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_nothing_is_seen_where_nothing_was_changed(tmp_path: Path, scene: Callable[[Scene], None]) -> None:
    assert played(tmp_path, scene) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_change_is_seen(tmp_path: Path, mutant: Mutant) -> None:
    with changed(mutant):
        assert any(wrong.startswith(mutant.seen) for scene in SCENES for wrong in played(tmp_path, scene))


def test_without_both_decisions_what_is_denied_leaves(tmp_path: Path) -> None:
    with changed(TWICE[0]):
        assert played(tmp_path, a_conversation) == []
        with changed(TWICE[1]):
            assert any(wrong.startswith("leak") for wrong in played(tmp_path, a_conversation))
