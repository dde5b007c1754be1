"""The checks are sharp: whatever single thing is changed in the policy, in a join or in a payload, one of them sees it."""

from __future__ import annotations

import ast
import itertools
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, get_args

import pytest
import reference_policy as reference
from policy_cases import FULL, MOMENTS, SINKS, SPARSE, built, read

from domicile import labels, payload, policy
from domicile.detectors import DETECTORS
from domicile.domain import Turn
from domicile.errors import FlagWidens, TenantsMixed
from domicile.labels import FIELDS, PartialLabel

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt), ast.Gt: (ast.GtE, ast.Lt), ast.LtE: (ast.GtE, ast.Lt), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
NAMES = {
    "max": ("min",), "min": ("max",), "_meet": ("_union",), "_union": ("_meet",), "any": ("all",),
    "processing_regions": ("storage_regions",), "storage_regions": ("processing_regions",),
    "INTERNAL": ("PUBLIC", "CONFIDENTIAL"), "RESTRICTED": ("CONFIDENTIAL",), "MALFORMED": ("PartialLabel()",),
    "valid_from": ("valid_until",), "valid_until": ("valid_from",), "sink.purposes": ("label.purposes",),
    "sink.categories": ("sink.purposes",), "now.astimezone(UTC)": ("now",), "LOCAL": ("'de'",),
}  # fmt: skip


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What one could have written instead of this by mistake."""
    match node:
        case ast.Compare(ops=[operator]):
            for other in COMPARISONS[type(operator)]:
                yield ast.Compare(node.left, [other()], node.comparators)
            if isinstance(operator, ast.LtE):  # some of them instead of all
                yield ast.Call(ast.Name("bool"), [ast.BinOp(node.left, ast.BitAnd(), node.comparators[0])], [])
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
            yield from node.values if len(node.values) == 2 else []
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
            other = ast.BitOr() if isinstance(node.op, ast.BitAnd) else ast.BitAnd()
            yield from (ast.BinOp(node.left, other, node.right), node.left, node.right)
        case ast.IfExp():
            yield from (node.body, node.orelse)
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield ast.Constant(value + 1)


def renamed(node: ast.AST) -> Iterator[ast.AST]:
    """Another name, of those that one could confuse."""
    if isinstance(node, ast.Name | ast.Attribute | ast.Call):
        yield from (ast.parse(other, mode="eval").body for other in NAMES.get(ast.unparse(node), ()))
    if isinstance(node, ast.Attribute):
        yield from (ast.Attribute(node.value, other) for other in NAMES.get(node.attr, ()))


def places(tree: ast.AST) -> Iterator[tuple[ast.AST, Callable[[ast.AST], None]]]:
    """Every node below, and what puts another in its place."""
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if isinstance(value, ast.AST):
                yield value, lambda new, parent=parent, name=name: setattr(parent, name, new)  # type: ignore[misc]
            elif isinstance(value, list):
                for index, node in enumerate(value):
                    if isinstance(node, ast.AST):
                        yield node, lambda new, value=value, index=index: value.__setitem__(index, new)  # type: ignore[misc]


def mutants(module: ModuleType, *functions: str) -> Iterator[tuple[str, ModuleType]]:
    """What was changed, and a module that differs from this one in that alone."""
    assert module.__file__ is not None
    with open(module.__file__, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    found = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    yield "", executed(module, ast.unparse(tree))
    for function in functions:
        for node, put in list(places(ast.Module(found[function].body, []))):
            for changed in [*changes(node), *renamed(node), *whole_values(node)]:
                put(changed)
                source = ast.unparse(tree)
                put(node)
                assert source != ast.unparse(tree)
                yield f"{function}: {ast.unparse(node)} -> {ast.unparse(changed)}", executed(module, source)


def whole_values(node: ast.AST) -> Iterator[ast.AST]:
    """A condition that always or never fails; a component that is one side's, or is left open."""
    if isinstance(node, ast.Dict):
        for index in range(len(node.values)):
            for constant in (True, False):
                yield ast.Dict(node.keys, [*node.values[:index], ast.Constant(constant), *node.values[index + 1 :]])
    if isinstance(node, ast.keyword) and node.arg in FIELDS:
        written = ast.unparse(node)
        sides = ("a.{0}", "b.{0}", "None") if "b." in written else ("partial.{0}",) if "partial." in written else ()
        yield from (ast.keyword(node.arg, ast.parse(side.format(node.arg), mode="eval").body) for side in sides)


def executed(module: ModuleType, source: str) -> ModuleType:
    made = ModuleType(f"{module.__name__}_changed")
    sys.modules[made.__name__] = made  # dataclasses look their module up
    try:
        exec(compile(source, made.__name__, "exec"), made.__dict__)
    finally:
        del sys.modules[made.__name__]
    return made


def differs(seen: Callable[[ModuleType], Iterator[Any]], expected: list[Any], changed: ModuleType) -> bool:
    """Whether anything seen is not as expected; an error is nothing that is expected."""
    try:
        return any(one != other for one, other in itertools.zip_longest(seen(changed), expected))
    except (TypeError, ValueError, AttributeError):
        return True


# What is looked at


SOURCES = [read(raw) for raw in FULL[::3] + SPARSE]
WHOLE = [labels.complete(source, None) for source in SOURCES]
CASES = [(built(sink), sink, purpose, moment) for sink, (purpose, moment) in
         itertools.product(SINKS, (("answer", MOMENTS[0]), ("eval", MOMENTS[1])))]  # fmt: skip


def decisions(module: ModuleType) -> Iterator[tuple[tuple[str, ...], bool]]:
    for label in WHOLE:
        for sink, _, purpose, now in CASES:
            verdict = module.decide(label, sink, purpose, now)
            yield verdict.reasons, verdict.allowed


def expected_decisions() -> list[tuple[tuple[str, ...], bool]]:
    tables = [reference.whole(reference.understood(raw), None) for raw in FULL[::3] + SPARSE]
    found = [
        tuple(reference.reasons(table, sink, purpose, now.timestamp()))
        for table in tables
        for _, sink, purpose, now in CASES
    ]
    return [(reasons, not reasons) for reasons in found]


GROUPED: list[dict[str, Any]] = [
    *({"groups": groups, "hosted": True, "categories": ["x"]} for groups in (["hr"], ["hr", "it"], ["it"])),
    {"hosted": False}, {"groups": []}, *SPARSE, *FULL[::17],
]  # fmt: skip


def joins(module: ModuleType) -> Iterator[dict[str, object]]:
    sources = [module.PartialLabel(*(getattr(read(raw), field) for field in FIELDS)) for raw in GROUPED]
    for pair in itertools.product(sources, sources):
        joined = module.join_partial(pair)
        for groups in (None, frozenset({"hr"})):
            label = module.complete(joined, groups)
            yield {field: getattr(label, field) for field in FIELDS}


def expected_joins() -> list[dict[str, object]]:
    tables = [
        reference.whole(reference.together([reference.understood(a), reference.understood(b)]), groups)
        for a in GROUPED
        for b in GROUPED
        for groups in (None, ["hr"])
    ]
    return [
        {field: frozenset(value) if isinstance(value, list) else value for field, value in table.items()}
        for table in tables
    ]


KNOWN, STATED = PartialLabel(retention_days=3), PartialLabel(retention_days=2)
STATEMENT = "The canteen opens at eleven."
CEILING, FLAGS = PartialLabel(hosted=False), PartialLabel(retention_days=9)
PII = PartialLabel(categories=frozenset({"pii"}))
PCI = PartialLabel(categories=frozenset({"pii", "pci"}))


def payloads(module: ModuleType) -> Iterator[Any]:
    def parts(question: str, *history: Turn, flags: PartialLabel = FLAGS) -> Any:
        try:
            made = module.question_parts(
                "acme", question, history, ceiling=CEILING, flags=flags,
                made_from=lambda text: KNOWN if text == "known" else None,
                stated_from=lambda text: STATED if text == STATEMENT else None, known=DETECTORS,
            )  # fmt: skip
        except FlagWidens as refused:
            return refused.field
        return [(part.kind, part.tenant, part.label) for part in made]

    def joined(*tenants: str) -> Any:
        given = [module.Part("document", tenant, KNOWN) for tenant in tenants]
        try:
            return module.joined(given), module.label_of(given)
        except TenantsMixed:
            return "mixed"

    yield from (
        parts("hello"), parts("mail a@b.de"), parts("hello", Turn("user", "a@b.de")), parts("hello", Turn("system", "a@b.de")),
        parts("a@b.de", Turn("user", "card 4111 1111 1111 1111")), parts("hello", Turn("assistant", "known")),
        parts("hello", Turn("assistant", "unknown")), parts("hello", Turn("assistant", " ")),
        parts("hello", Turn("other", "known"), Turn("assistant", "a@b.de")),
        parts("hello", Turn("user", "known")), parts("known"), parts("hello", Turn("system", "known")),
        parts(f"Who says: > {STATEMENT} [1]"), parts(f"Hi. {STATEMENT}"), parts("hello", Turn("assistant", STATEMENT)),
        parts("hello", Turn("user", STATEMENT), *[Turn("system", "be brief")] * 4, *[Turn("user", "so?")] * 3),
        parts("hello", Turn("user", STATEMENT), *[Turn("user", "so?")] * 4),
        parts("hello", Turn("user", "x" * 100_000)), parts("hello", Turn("user", "x" * 99_999), Turn("system", "a@")),
        parts("hello", flags=PartialLabel(hosted=True)),
        joined(), joined("acme"), joined("acme", "acme"), joined("acme", "globex"), joined("b", "b", "a"),
    )  # fmt: skip


def expected_payloads() -> list[Any]:
    def parts(found: PartialLabel, *history: PartialLabel) -> Any:
        own = [("ceiling", "acme", CEILING), ("flags", "acme", FLAGS), ("question", "acme", found)]
        return own + [("history", "acme", label) for label in history]

    nothing, worst = PartialLabel(), labels.MALFORMED
    one = (KNOWN, labels.complete(KNOWN, None))
    return [
        parts(nothing), parts(PII), parts(nothing, PII), parts(nothing, PII), parts(PII, PCI), parts(nothing, KNOWN),
        parts(nothing, worst),
        parts(nothing), parts(nothing, worst),
        parts(nothing, KNOWN), parts(nothing, KNOWN), parts(nothing, KNOWN),
        parts(nothing, STATED), parts(nothing, STATED), parts(nothing, worst),
        parts(nothing, STATED), parts(nothing), parts(nothing), parts(nothing, worst),
        "hosted",
        (nothing, labels.complete(nothing, None)), one, one, "mixed", "mixed",
    ]  # fmt: skip


LOOKS: dict[
    str, tuple[ModuleType, tuple[str, ...], Callable[[ModuleType], Iterator[Any]], Callable[[], list[Any]], int]
] = {
    "decide": (policy, ("decide", "allowed"), decisions, expected_decisions, 60),
    "join": (labels, ("_join_two", "_meet", "_union", "complete"), joins, expected_joins, 60),
    "payload": (payload, ("question_parts", "read", "_of_turn", "joined", "label_of"), payloads, expected_payloads, 15),
}


@pytest.mark.parametrize("what", LOOKS)
def test_every_change_is_seen_and_nothing_is_seen_without_one(what: str) -> None:
    module, functions, look, expect, least = LOOKS[what]
    expected = expect()
    (_, unchanged), *changed = mutants(module, *functions)
    assert list(look(module)) == list(look(unchanged)) == expected, "the control"
    survivors = [change for change, mutant in changed if not differs(look, expected, mutant)]
    assert survivors == []
    assert len(changed) >= least


def test_every_reason_and_every_component_of_a_label_is_changed() -> None:
    conditions = [change for change, _ in mutants(policy, "decide") if change.startswith("decide: {")]
    assert len(conditions) == 2 * len(get_args(policy.Reason)) == 22
    components = {change.split(" -> ")[1].split("=")[0] for change, _ in mutants(labels, "_join_two") if "=" in change}
    assert components == set(FIELDS)
