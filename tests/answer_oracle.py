"""Judges each answer of an ``answer_world`` from the tables that labels and policies were written as.

It shares no code with the product: what decides is ``reference_policy``, and what was said and what it was made of is kept
here a second time, found by words that stand in one document only.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import reference_policy as reference
from answer_world import Paper, Policy, Sent, World

from domicile.answering import AnswerRequest
from domicile.domain import Answer, Label, Principal
from domicile.errors import DomicileError, FlagWidens, UnknownCollection

Table = dict[str, Any]
ABSTAINED = "These documents do not answer that."
CANARY = re.compile(r"q\d{5}[tb]")
PERSONAL = "joe@example.com"
INVARIANTS = (
    "leak",
    "deleted",
    "books",
    "audit",
    "access",
    "cache",
    "taint",
    "unknown history",
    "flags",
    "route",
    "budget",
    "same",
)
"""See ``docs/residency.md`` and what each of them yields below."""


@dataclass(frozen=True, slots=True)
class Given:
    """An answer as it was first given."""

    text: str
    tenant: str
    collection: str
    generation: int
    version: str
    label: Table


@dataclass(slots=True)
class Oracle:
    """What it saw, to judge what comes.

    Attributes:
        seen: how often each invariant had something to judge.
    """

    world: World
    seen: Counter[str] = field(default_factory=Counter)
    _given: dict[str, Given] = field(default_factory=dict)
    _said: dict[tuple[str, str], Table] = field(default_factory=dict)
    _stated: dict[tuple[str, str], Table] = field(default_factory=dict)
    _same: dict[object, object] = field(default_factory=dict)

    def ask(self, request: AnswerRequest, *, fresh: bool = False) -> tuple[Answer | None, list[str]]:
        """Ask the world, and everything about the answer that should not be."""
        world = self.world
        sent, asked = len(world.sent), len(world.local.prompts)
        policy, epoch, tenant = world.policy, world.epoch, world.collections[request.collection].tenant
        behind = [self._behind(tenant, turn.text) for turn in request.history if turn.role == "assistant"]
        again = self._said_again(tenant, request)
        answer = world.ask(request, fresh=fresh)
        case = _Case(request, tenant, policy, behind, again, epoch)
        new = world.sent[sent:]
        wrong = [*self._bytes(case, new), *(self._spent(tenant, policy) if new else ())]
        if not isinstance(answer, Answer):
            return None, [*wrong, *self._refused(case, answer, new)]
        local = [message.content for prompt in world.local.prompts[asked:] for message in prompt.messages]
        wrong += self._read(case, answer, local)
        wrong += self._cached(case, answer, new) if answer.cached else self._made(case, answer, new, local)
        if epoch == world.epoch:
            wrong += self._repeated(case, answer)
        return answer, wrong

    # What was sent

    def _bytes(self, case: _Case, sent: list[Sent]) -> Iterator[str]:
        world = self.world
        for one in sent:
            sink = one.policy.sinks[one.sink]
            found, gone = self._papers(one.body.decode(), but=case.words())
            self.seen["leak"] += 1
            if gone:
                yield f"deleted: {one.sink} got {gone}"
            if not CANARY.search(one.body.decode()) or any(
                paper.collection != case.request.collection for paper in found
            ):
                yield f"leak: {one.sink} got text of {found or 'nothing'}"
            detected = [] if one.sink in one.policy.redacting else case.detected()
            if one.sink in one.policy.redacting and PERSONAL.encode() in one.body:
                yield f"leak: {one.sink} got personal data"
            label = reference.whole(reference.together([*case.base(), *detected, *map(table_of, found)]), None)
            if reasons := reference.reasons(label, sink, "answer", one.at.timestamp()):
                yield f"leak: {one.sink} got {found} against {reasons}"
            if any(not may_read(case.request.principal, table_of(paper)) for paper in found):
                yield f"access: {one.sink} got what {case.request.principal.name} may not read"
            yield from self._booked(case, one)
        egress = self.world.records("egress")
        if len(egress) != len(world.sent):
            yield f"books: {len(egress)} records of {len(world.sent)} bodies"

    def _booked(self, case: _Case, one: Sent) -> Iterator[str]:
        self.seen["books"] += 1
        if not one.audit_works or not self.world.ledger_works:
            yield f"audit: {one.sink} was called, and it could not be written down"
        own = one.records[-1] if len(one.records) == self.world.sent.index(one) + 1 else {}
        if (own.get("sink"), own.get("body_sha256")) != (one.sink, hashlib.sha256(one.body).hexdigest()):
            yield f"books: {one.sink} got bytes that no record named before"
        elif own["policy"] != one.policy.version or one.policy is not case.policy:
            yield f"books: {one.sink}: the record is of another policy"
        order = case.policy.order[case.tenant]
        before = order[: order.index("local")] if "local" in order and self.world.local.state == "ready" else order
        self.seen["route"] += 1
        if one.sink not in before:
            yield f"route: {one.sink} is not in the order of {case.tenant}"

    def _spent(self, tenant: str, policy: Policy) -> Iterator[str]:
        """As a provider bills: by what it said and was asked."""
        if tenant not in policy.budgets:
            return
        self.seen["budget"] += 1
        today = [cost for of, day, cost in self.world.bills if (of, day) == (tenant, self.world.now.date())]
        if sum(today) > policy.budgets[tenant] + 1e-6:
            yield f"budget: {tenant} spent {sum(today)}"

    # What came back

    def _refused(self, case: _Case, error: DomicileError, sent: list[Sent]) -> Iterator[str]:
        closed = case.request.principal.tenant not in (None, case.tenant)
        if sent or not (
            (closed and isinstance(error, UnknownCollection)) or (isinstance(error, FlagWidens) and case.widens())
        ):
            yield f"refused: {error!r}"
        self.seen["flags"] += isinstance(error, FlagWidens)

    def _read(self, case: _Case, answer: Answer, local: Iterable[str]) -> Iterator[str]:
        """Nobody reads what is not theirs, nor what is gone."""
        found, gone = self._papers(
            answer.answer, *local, *(citation.quote for citation in answer.citations), but=case.words()
        )
        self.seen["access"] += 1
        self.seen["deleted"] += len(self.world.ever) > 2 * len(self.world.papers)
        if gone:
            yield f"deleted: an answer was made of {gone}"
        for paper in found:
            if paper.collection != case.request.collection or not may_read(case.request.principal, table_of(paper)):
                yield f"access: {case.request.principal.name} read {paper}"
        if case.request.principal.tenant not in (None, case.tenant):
            yield f"access: {case.request.principal.name} asked {case.request.collection}"
        if case.widens():
            yield f"flags: {case.request.flags} were taken beyond the ceiling"
        self.seen["audit"] += not self.world.audit_works or not self.world.ledger_works
        if (answer.receipt is None) == self.world.audit_works:
            yield f"audit: the receipt of an answer is {answer.receipt}"

    def _cached(self, case: _Case, answer: Answer, sent: list[Sent]) -> Iterator[str]:
        """The same answer, to who may read it, of this tenant, generation and policy."""
        self.seen["cache"] += 1
        first = self._given[self._origin(answer)] if self.world.audit_works else None
        here = case.tenant, case.request.collection, self.world.generation[case.request.collection], case.policy.version
        if sent:
            yield "cache: something was sent for an answer that was there"
        if first is not None and (first.tenant, first.collection, first.generation, first.version) != here:
            yield f"cache: an answer of {first} was given in {here}"
        if first is not None and first.text != answer.answer:
            yield "cache: another answer was given"
        if answer.decision.label is None:
            yield "cache: an answer without its label"
            return
        if not may_read(case.request.principal, {"groups": answer.decision.label.groups}):
            yield f"cache: {case.request.principal.name} may not read {answer.decision.label.groups}"
        yield from _at_least(
            answer.decision.label, [*case.base(), *([] if case.policy.redacting else case.detected())], self._lost
        )

    def _origin(self, answer: Answer) -> str:
        assert answer.receipt is not None
        return str(self.world.receipt(answer.receipt)["cached_from"])

    def _made(self, case: _Case, answer: Answer, sent: list[Sent], local: Iterable[str]) -> Iterator[str]:
        """The label of an answer is that of all it was made from, and of all that was said before."""
        if answer.decision.label is None:
            if answer.answer != ABSTAINED:
                yield "taint: an answer without a label"
            return
        given = [one.body.decode() for one in sent if one.sink == answer.decision.sink]
        seen, _ = self._papers(
            answer.answer, *(local if answer.decision.route == "local" else ()), *given, but=case.words()
        )
        redacted = answer.decision.sink in case.policy.redacting
        parts = [*case.base(), *([] if redacted else case.detected()), *map(table_of, seen)]
        self.seen["taint"] += 1
        self.seen["unknown history"] += any(behind is None for behind in case.behind)
        self.seen["flags"] += bool(case.flags())
        yield from _at_least(answer.decision.label, parts, self._lost)
        if any(behind is None for behind in case.behind) and sent:
            yield "unknown history: something was sent after words that nobody here said"
        if answer.receipt is not None:
            yield from self._exactly(case, answer, self.world.receipt(answer.receipt), parts)
        heard, at = _table(answer.decision.label), (case.tenant, _normal(answer.answer))
        # where labels may be forgotten, the same words said anew are what they were then made from
        self._said[at] = reference.together([heard, {} if self._lost else self._said.get(at, {})])
        for piece in _pieces(answer.answer):
            made_from, at = self._papers(piece)[0], (case.tenant, piece)
            self._stated[at] = reference.together([*map(table_of, made_from), self._stated.get(at, {})])
        if answer.receipt is not None:
            version, here = case.policy.version, case.request.collection
            self._given[answer.receipt] = Given(
                answer.answer, case.tenant, here, self.world.generation[here], version, heard
            )

    def _exactly(self, case: _Case, answer: Answer, record: Table, parts: list[Table]) -> Iterator[str]:
        """Nothing is in the label that nobody said, and who answers is the first who may."""
        names = {part["name"] for part in record["parts"] if part["kind"] == "document"}
        packed = [
            paper
            for paper in self.world.papers.values()
            if paper.collection == case.request.collection and paper.uri in names
        ]
        if self._lost or case.again:
            return
        label = reference.whole(reference.together([*parts, *map(table_of, packed)]), None)
        assert answer.decision.label is not None
        if _table(answer.decision.label) != _comparable(label):
            yield f"taint: the label is {_table(answer.decision.label)} and not {label}"
        quiet = not self.world.failures and not case.policy.budgets and not case.policy.redacting
        quiet = quiet and self.world.epoch == case.epoch
        plain = quiet and self.world.audit_works and self.world.ledger_works and self.world.local.state == "ready"
        if plain and case.request.mode == "auto" and self.world.collections[case.request.collection].mode == "escalate":
            may = [
                name for name in case.policy.order[case.tenant]
                if name == "local" or not reference.reasons(label, case.policy.sinks[name], "answer", self.world.now.timestamp())
            ]  # fmt: skip
            if answer.decision.sink != [*may, "local"][0]:
                yield f"route: {answer.decision.sink} answered, and {[*may, 'local'][0]} should: {answer.decision.denied}"

    def _repeated(self, case: _Case, answer: Answer) -> Iterator[str]:
        """The same question in the same state has the same answer from the same place."""
        if case.policy.budgets or self._lost or case.again:
            return
        made_from = tuple(None if behind is None else str(sorted(behind.items())) for behind in case.behind)
        told = answer.answer, answer.decision.label, len(answer.citations)
        where = None if answer.cached else (answer.decision.route, answer.decision.sink, answer.decision.denied)
        for what, value in (("told", told), ("where", where)):
            if value is None:
                continue
            key = self.world.epoch, case.request, made_from, what, answer.cached
            self.seen["same"] += key in self._same
            if self._same.setdefault(key, value) != value:
                yield f"same: {value} and before {self._same[key]}"

    # What is known

    @property
    def _lost(self) -> bool:
        """Whether the product may have forgotten what an answer was made from."""
        return not self.world.labels_whole or self.world.kept_labels < 100

    def _behind(self, tenant: str, text: str) -> Table | None:
        """What an assistant's words were made from; nothing for the words that are made from nothing."""
        return {} if not text.strip() or text.strip() == ABSTAINED else self._said.get((tenant, _normal(text)))

    def _said_again(self, tenant: str, request: AnswerRequest) -> list[Table]:
        """What is behind a user's words that stood in an answer: of the whole of one, and of sentences in the latest turns.

        They are known again only for as long as the answer is that they were taken from.
        """
        spoken = [] if self._lost else [turn.text for turn in request.history if turn.role == "user"]
        whole = [self._said.get((tenant, _normal(text))) for text in spoken]
        found = [self._stated.get((tenant, piece)) for text in spoken[-4:] for piece in _pieces(text)]
        return [table for table in (*whole, *found) if table is not None]

    def _papers(self, *texts: str, but: Collection[str] = ()) -> tuple[list[Paper], list[Paper]]:
        """The documents whose words stand in the texts: those that are there, and those that are not any more."""
        words = [word for text in texts for word in CANARY.findall(text) if word not in but]
        found = {self.world.ever[word].canaries: self.world.ever[word] for word in words}
        alive = {paper.canaries: paper for paper in self.world.papers.values()}
        return [alive[key] for key in found if key in alive], [found[key] for key in found if key not in alive]


@dataclass(frozen=True, slots=True)
class _Case:
    """A request with what is behind it.

    Attributes:
        behind: what assistants said; ``None`` is a turn that nobody here said.
        again: the same of what the user took out of answers.
        epoch: in which it was asked.
    """

    request: AnswerRequest
    tenant: str
    policy: Policy
    behind: list[Table | None]
    again: list[Table]
    epoch: int

    def base(self) -> list[Table]:
        """What holds whatever is packed and however the question is redacted."""
        unknown = reference.understood(None)
        others = [unknown for turn in self.request.history if turn.role == "other"]
        spoken = [turn.text for turn in self.request.history if turn.role in ("user", "system")]
        found = [{"categories": ["pii"]}] if any(PERSONAL in text for text in spoken) else []
        return [
            reference.understood(self.policy.ceilings.get(self.tenant, {})), self.flags(), *found, *others, *self.again,
            *(unknown if behind is None else behind for behind in self.behind),
        ]  # fmt: skip

    def words(self) -> set[str]:
        """What the user said is the user's own, and a question may take it up."""
        spoken = [turn.text for turn in self.request.history if turn.role in ("user", "system")]
        return {word for text in spoken for word in CANARY.findall(text)}

    def detected(self) -> list[Table]:
        return [{"categories": ["pii"]}] if PERSONAL in self.request.question else []

    def flags(self) -> Table:
        said = self.request.flags
        raw = {"regions": said.regions and sorted(said.regions), "sensitivity": said.sensitivity, "hosted": said.hosted}
        return {name: value for name, value in raw.items() if value is not None}

    def widens(self) -> bool:
        """Whether a flag allows more than the ceiling."""
        flags, ceiling = self.flags(), reference.understood(self.policy.ceilings.get(self.tenant, {}))
        levels = reference.LEVELS
        return (
            (
                "regions" in flags
                and "regions" in ceiling
                and not {*flags["regions"], "local"} <= {*ceiling["regions"], "local"}
            )
            or (
                "sensitivity" in flags
                and levels.index(flags["sensitivity"]) < levels.index(ceiling.get("sensitivity", "public"))
            )
            or (flags.get("hosted") is True and ceiling.get("hosted") is False)
        )


def table_of(paper: Paper) -> Table:
    label = reference.whole(reference.understood(paper.label), None)
    return {field: value for field, value in label.items() if value is not None}


def may_read(principal: Principal, label: Table) -> bool:
    groups = label.get("groups")
    return groups is None or principal.groups is None or any(group in principal.groups for group in groups)


def _table(label: Label) -> Table:
    """A label of the product as a table."""
    table = {
        name: getattr(label, name)
        for name in (*reference.INTERSECTED, "categories", "sensitivity", "hosted", "retention_days")
    }
    return _comparable({**table, "sensitivity": str(label.sensitivity)})


def _comparable(table: Table) -> Table:
    return {
        name: sorted(set(value)) if isinstance(value, list | frozenset) else value
        for name, value in table.items() if value is not None
    }  # fmt: skip


def _at_least(label: Label, parts: list[Table], lost: bool) -> Iterator[str]:
    """Joining a part once more must change nothing; where labels of answers may be ``lost`` they count as narrowest."""
    mine = _table(label)
    narrowest = _comparable(reference.together([mine, reference.NARROWEST])) == mine
    for part in parts:
        if _comparable(reference.together([mine, part])) != mine and not (lost and narrowest):
            yield f"taint: {mine} is less than its part {part}"


def _pieces(text: str) -> list[str]:
    """Of a text what somebody may take out of it and say again."""
    lines = (piece.strip(" >") for line in text.splitlines() for piece in re.split(r"\[\d+\]", line))
    return list(dict.fromkeys(_normal(piece) for piece in lines if len(piece) >= 24))


def _normal(text: str) -> str:
    return " ".join(text.split())
