"""Whatever happens in whatever order: questions, conversations, changes of documents and of policy, time, faults.

A real ``Answering`` over real stores is driven by Hypothesis, and the oracle judges every answer and every byte that left.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from answer_oracle import ABSTAINED, INVARIANTS, PERSONAL, Oracle
from answer_world import EPOCH, Policy, World, world_with
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from policy_cases import PLAIN, PROOF, REGIONS

from domicile import labels
from domicile.answering import AnswerRequest
from domicile.domain import OWNER, Collection, Principal, Turn
from domicile.errors import DomicileError, ProviderBusy, ProviderDown, ProviderRejected, ProviderTimeout

STEPS = 40
RUNS = PROOF.max_examples // 12
"""After each of three times as many steps as ``PROOF`` asks for, all invariants are judged. How often each of them had
something to judge is counted: more than ``PROOF`` asks for, and the test fails below half of that."""

Table = dict[str, Any]
COLLECTIONS = (
    Collection("handbook", "acme"), Collection("wiki", "acme", mode="cleared"), Collection("notes", "globex"),
)  # fmt: skip
TOPICS = ("canteen", "garage", "reactor")
WORLDWIDE: Table = {"regions": ["global"], "sensitivity": "public", "hosted": True, "retention_days": 30}
EUROPEAN: Table = {"regions": ["eu", "local"], "sensitivity": "internal", "hosted": True}
LABELS: tuple[Table, ...] = (
    WORLDWIDE, EUROPEAN, {**EUROPEAN, "groups": ["hr"]}, {**EUROPEAN, "groups": ["hr", "it"]},
    {**EUROPEAN, "groups": ["it"]}, {**EUROPEAN, "sensitivity": "confidential", "categories": ["pii"]},
    {"regions": ["eu"], "sensitivity": "restricted", "hosted": False},
    {"regions": ["local"], "sensitivity": "restricted", "hosted": False}, {}, {**WORLDWIDE, "purposes": ["eval"]},
)  # fmt: skip
PEOPLE = (
    OWNER,
    *(Principal(name, "acme", frozenset(groups)) for name, groups in
      {"both": ("hr", "it"), "hr": ("hr",), "it": ("it",), "guest": ()}.items()),
    Principal("stranger", "globex", frozenset({"hr"})),
)  # fmt: skip
SINKS: dict[str, Table] = {
    "eu": {**PLAIN, "max_sensitivity": "internal", "categories": [], "valid_until": "2027-01-02"},
    "care": {**PLAIN, "max_sensitivity": "confidential", "categories": ["pii"]},
    "us": {**PLAIN, "processing_regions": ["us"], "storage_regions": ["us"], "retention_days": 30,
           "max_sensitivity": "public", "categories": []},
    "own": {**PLAIN, "self_hosted": True, "valid_from": "2026-12-30", "valid_until": "2026-12-31"},
}  # fmt: skip
NARROWER: tuple[Table, ...] = (
    {}, {"valid_until": "2026-12-29"}, {"training": True}, {"storage_regions": ["ch"]}, {"categories": []},
    {"max_sensitivity": "public"}, {"retention_days": 31},
)  # fmt: skip
ORDERS = (
    ("eu", "us", "own"), ("us", "eu", "care"), ("own", "care"), ("care", "eu", "local"), ("local", "eu"),
    ("us", "eu", "local", "care"),
)  # fmt: skip
CEILINGS: tuple[Table, ...] = (
    {}, {}, {"regions": ["eu", "local"]}, {"sensitivity": "internal"}, {"hosted": False}, {"retention_days": 0},
)  # fmt: skip
FLAGS: tuple[Table, ...] = (
    {}, {}, {}, {"regions": ["eu"]}, {"regions": ["us", "local"]}, {"sensitivity": "confidential"},
    {"sensitivity": "public"}, {"hosted": False}, {"hosted": True},
)  # fmt: skip
FAILURES = (
    ProviderBusy("429"),
    ProviderDown("500"),
    ProviderTimeout("late"),
    ProviderRejected("302"),
    "I made this up.",
    "",
)

topics, tables, flags = (st.sampled_from(those) for those in (TOPICS, LABELS, FLAGS))
people = st.sampled_from([*PEOPLE, *PEOPLE[:2] * 2])
collections = st.sampled_from([*(one.name for one in COLLECTIONS), "handbook", "handbook"])
names = st.sampled_from([f"{n}.md" for n in range(6)])
questions = st.builds(
    lambda topic, asked: asked.format(topic),
    topics,
    st.sampled_from(["When does the {} open?", "What is the code of the {}?", "When does it open?",
                     f"When does the {{}} open for {PERSONAL}?"]),
)  # fmt: skip
policies = st.builds(
    lambda there, narrowed, how, orders, ceiling, budget, redacting: Policy(
        {name: {**sink, **(how if name == narrowed else {})} for name, sink in SINKS.items() if name in there},
        {tenant: tuple(name for name in order if name in {*there, "local"}) for tenant, order in
         zip(("acme", "globex"), orders, strict=True)},
        {"acme": ceiling},
        {} if budget is None else {"acme": budget, "globex": 1.0},
        frozenset({"eu"} if redacting else ()),
    ),
    st.sets(st.sampled_from(sorted(SINKS)), min_size=2).map(sorted), st.sampled_from(sorted(SINKS)), st.sampled_from(NARROWER),
    st.tuples(st.sampled_from(ORDERS), st.sampled_from(ORDERS)), st.sampled_from(CEILINGS),
    st.sampled_from([None, 0.5, 1.5]), st.sampled_from([False, False, True]),
)  # fmt: skip
OPEN = Policy(dict(SINKS), {"acme": ("eu", "us", "own"), "globex": ("us", "eu")}, {})
SEEN: Counter[str] = Counter()


class Residency(RuleBasedStateMachine):
    """One home, from its first documents to whatever becomes of it."""

    folder: Path
    world: World
    oracle: Oracle

    @initialize(audit=st.sampled_from(["memory"] * 9 + ["file"]), kept=st.sampled_from([1_000, 1_000, 1_000, 2]))
    def begin(self, audit: Literal["memory", "file"], kept: int) -> None:
        self.stack = ExitStack()
        self.world = self.stack.enter_context(world_with(self.folder, OPEN, COLLECTIONS, audit, kept))
        self.oracle = Oracle(self.world, SEEN)
        self.asked: list[AnswerRequest] = []
        self.said: list[tuple[str, str]] = [(COLLECTIONS[0].name, ABSTAINED)]
        for collection in COLLECTIONS:
            self.world.put(
                *(self.world.paper(collection.name, f"{n}.md", topic, LABELS[n])
                  for n, topic in enumerate(TOPICS))
            )  # fmt: skip
        self.spend(TOPICS[0])
        self.lose_the_books(TOPICS[0], "handbook", ledger=False)
        self.mend()

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    def ask_and_judge(self, request: AnswerRequest, *, fresh: bool = False) -> None:
        answer, wrong = self.oracle.ask(request, fresh=fresh)
        assert not wrong, wrong
        if request not in self.asked:
            self.asked.append(request)
        if answer is not None:
            self.said.append((request.collection, answer.answer))
        if answer is not None and not answer.cached and not fresh:
            _, wrong = self.oracle.ask(request, fresh=len(self.said) % 3 == 0)
            assert not wrong, wrong

    # Questions

    @rule(question=questions, collection=collections, principal=people, raw=flags,
          mode=st.sampled_from(["auto", "auto", "auto", "generate", "extractive"]))  # fmt: skip
    def ask(self, question: str, collection: str, principal: Principal, raw: Table, mode: Any) -> None:
        self.ask_and_judge(AnswerRequest(question, collection, principal, mode, labels.parse(raw, REGIONS)))

    @rule(question=questions, collection=collections, raw=flags)
    def ask_as_everyone(self, question: str, collection: str, raw: Table) -> None:
        for principal in PEOPLE:
            self.ask_and_judge(AnswerRequest(question, collection, principal, flags=labels.parse(raw, REGIONS)))

    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        """Everyone asks what someone asked before; a service without a cache says the same."""
        if self.asked:
            request = data.draw(st.sampled_from(self.asked[-30:]))
            self.ask_and_judge(request, fresh=True)
            for principal in PEOPLE:
                self.ask_and_judge(replace(request, principal=principal))

    @rule(data=st.data(), question=questions, principal=people, raw=flags)
    def go_on(self, data: st.DataObject, question: str, principal: Principal, raw: Table) -> None:
        self._converse(data, question, principal, raw)

    def _converse(self, data: st.DataObject, question: str, principal: Principal, raw: Table) -> None:
        """A conversation with answers of before: own ones and others', as they were given or not quite."""
        turns: list[Turn] = []
        picked = data.draw(st.lists(st.sampled_from(self.said[-12:]), min_size=1, max_size=3))
        for _, text in picked:
            how = data.draw(st.sampled_from(["as it was"] * 3 + ["space", "word", "word", "tool", "user"]))
            changed = {"space": f" {text.replace(' ', '  ')}\n", "word": f"{text} Perhaps"}.get(how, text)
            turns.append(Turn("user", f"When does the {data.draw(topics)} open?"))
            turns.append(Turn("other" if how == "tool" else "user" if how == "user" else "assistant", changed))
        where = data.draw(st.sampled_from([picked[-1][0], picked[-1][0], "handbook"]))
        request = AnswerRequest(question, where, principal, flags=labels.parse(raw, REGIONS), history=tuple(turns))
        self.ask_and_judge(request)

    @rule(
        question=questions,
        collection=collections,
        text=st.sampled_from(["I made this up.", "The canteen opens at nine."]),
    )
    def quote_what_nobody_said(self, question: str, collection: str, text: str) -> None:
        for principal in PEOPLE[:3]:
            self.ask_and_judge(AnswerRequest(question, collection, principal, history=(Turn("assistant", text),)))

    @rule(topic=topics)
    def spend(self, topic: str) -> None:
        """Questions that cost money until there is none left, under a policy for that time alone."""
        world, before = self.world, self.world.policy
        self.mend()
        world.leap = None
        spent = sum(cost for tenant, day, cost in world.bills if (tenant, day) == ("acme", world.now.date()))
        world.reload(replace(OPEN, budgets={"acme": spent + 1.0}))
        for n in range(7):
            self.ask_and_judge(AnswerRequest(f"When does the {topic} open{' ?' * n}", "handbook", PEOPLE[n % 2]))
        world.reload(before)

    # Documents

    @rule(data=st.data(), how=st.sampled_from(["put", "put", "delete", "erase", "relabel", "relabel", "follow"]),
          collection=collections, uri=names, topic=topics, table=tables)  # fmt: skip
    def change(self, data: st.DataObject, how: str, collection: str, uri: str, topic: str, table: Table) -> None:
        papers = sorted(self.world.papers.values(), key=lambda paper: (paper.collection, paper.uri))
        paper = data.draw(st.sampled_from(papers))
        if how == "put":
            self.world.put(self.world.paper(collection, uri, topic, table))
        elif how == "follow":
            self.world.follow()
        elif how == "relabel":
            self.world.relabel(paper, table)
        elif sum(other.collection == paper.collection for other in papers) > 1:
            getattr(self.world, how)(paper)

    # Policy, time and faults

    @rule(how=st.sampled_from(["reload", "reload", "move", "wait"]), policy=policies, tenant=st.sampled_from(["acme", "globex"]),
          collection=collections, hours=st.integers(0, 5), reads=st.sampled_from([None, 0, 1, 2, 3, 4]))  # fmt: skip
    def decide_anew(
        self, how: str, policy: Policy, tenant: str, collection: str, hours: int, reads: int | None
    ) -> None:
        """Another policy, another tenant for a collection, or another day, which may begin in the middle of an answer."""
        world = self.world
        world.leap = None
        if how == "reload":
            world.reload(policy)
        elif how == "move":
            world.move(collection, tenant)
        else:
            world.now, world.epoch = EPOCH + timedelta(hours=13 * hours), world.epoch + 1
            world.leap = None if world.policy.budgets else reads

    @rule(
        what=st.sampled_from(["audit", "answers", "labels", "ledger", "provider", "model", "restart"]),
        sink=st.sampled_from(sorted(SINKS)),
        failure=st.sampled_from(FAILURES),
        state=st.sampled_from(["missing", "damaged"]),
    )
    def break_something(self, what: Any, sink: str, failure: DomicileError | str, state: Any) -> None:
        """What was broken before is mended."""
        world = self.world
        whole = world.audit_works, world.ledger_works
        self.mend()
        if what in ("answers", "labels") or (what == "ledger" and whole[1]):
            world.damage(what)
        elif what == "audit" and whole[0]:
            world.break_audit()
        elif what == "provider":
            world.failures[sink] = failure
        elif what == "model":
            world.local.state = state
        elif what == "restart":
            world.restart()

    def mend(self) -> None:
        self.world.epoch += 1
        self.world.failures.clear()
        if not self.world.audit_works:
            self.world.mend_audit()
        if not self.world.ledger_works:
            self.world.mend_ledger()
        self.world.local.state = "ready"

    @rule(topic=topics, collection=collections, ledger=st.booleans())
    def lose_the_books(self, topic: str, collection: str, ledger: bool) -> None:
        """For a while nothing can be written down; the question is a new one, or the cache would have it."""
        world = self.world
        self.break_something("ledger" if ledger else "audit", "eu", "", "missing")
        for principal in PEOPLE[:3]:
            question = f"When does the {topic} open{'!' * (world.epoch % 50)}?"
            self.ask_and_judge(AnswerRequest(question, collection, principal))


def test_whatever_happens_nothing_leaves_that_may_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    SEEN.clear()
    machine = type("InFolder", (Residency,), {"folder": tmp_path})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(PROOF, max_examples=RUNS, stateful_step_count=STEPS, suppress_health_check=list(HealthCheck)),
    )
    print(f"{RUNS * STEPS} steps; judged:", dict(SEEN))
    assert {name: SEEN[name] for name in INVARIANTS if SEEN[name] < PROOF.max_examples // 2} == {}
