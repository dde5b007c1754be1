"""The language of filters: two spellings are one filter, and whatever is not in it is refused by name."""

from __future__ import annotations

import math
import random
from contextlib import suppress
from typing import Any

import pytest
from corpora import REGIONS
from hypothesis import given
from hypothesis import strategies as st

from domicile import filters, labels
from domicile.domain import Condition, Label, Sensitivity
from domicile.errors import InvalidRequest

EU = REGIONS.expand(["eu"])
LABEL = Label(
    regions=EU | {"local"}, sensitivity=Sensitivity.CONFIDENTIAL, hosted=True, retention_days=30,
    categories=frozenset({"pii", "health"}), purposes=frozenset({"answer"}), groups=frozenset({"hr", "board"}),
)  # fmt: skip
VALUES = st.one_of(
    st.text(max_size=9), st.integers(), st.booleans(), st.dates().map(str),
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip


def parse(raw: object) -> tuple[Condition, ...]:
    return filters.parse(raw, REGIONS)


def refused(raw: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse(raw)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return caught.value


def test_no_filters_are_no_conditions() -> None:
    assert parse(None) == parse({}) == ()


def test_filters_become_conditions_in_one_order() -> None:
    assert parse({"year": {"lte": 2024, "gte": 2020}, "author.name": {"in": ["Bob", 3, "Ann"]}}) == (
        Condition("author.name", "in", (3, "Ann", "Bob")),
        Condition("year", "gte", (2020,)),
        Condition("year", "lte", (2024,)),
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": {"eq": "x"}}, {"metadata.a": {"eq": "x"}}),
        ({"a": {"eq": "x"}}, {"a": {"in": ["x"]}}),
        ({"a": {"in": ["x", "y", "x"]}}, {"a": {"in": ["y", "x"]}}),
        ({"a": {"eq": "e\u0301"}}, {"a": {"eq": "é"}}),
        ({"e\u0301": {"eq": 1}}, {"é": {"eq": 1}}),
        ({"a": {"eq": 1}}, {"a": {"eq": 1.0}}),
        ({"a": {"eq": 0.0}}, {"a": {"eq": -0.0}}),
        ({"a": {"eq": True}}, {"a": {"eq": "true"}}),
        ({"a": {"gte": "2024-05-01T12:00:00+02:00"}}, {"a": {"gte": "2024-05-01 10:00Z"}}),
        ({"a": {"eq": 1}, "b": {"eq": 2}}, {"b": {"eq": 2}, "a": {"eq": 1}}),
        ({"a": {"eq": 1}, "metadata.a": {"eq": 1}}, {"a": {"eq": 1}}),
    ],
)
def test_two_spellings_of_one_filter_are_equal(one: Any, other: Any) -> None:
    assert parse(one) == parse(other)
    assert hash(parse(one)) == hash(parse(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": {"eq": True}}, {"a": {"eq": 1}}),
        ({"a": {"eq": False}}, {"a": {"eq": 0}}),
        ({"a": {"eq": 1}}, {"a": {"eq": "1"}}),
        ({"a": {"eq": "x"}}, {"a": {"prefix": "x"}}),
        ({"a": {"eq": "x"}}, {"A": {"eq": "x"}}),
        ({"a": {"eq": "x"}}, {"a": {"eq": "X"}}),
        ({"title": {"eq": "x"}}, {"metadata.title": {"eq": "x"}}),
        ({"metadata.a": {"eq": "x"}}, {"metadata.metadata.a": {"eq": "x"}}),
        ({"a": {"eq": 2**53}}, {"a": {"eq": 2**53 + 1}}),
        ({"a": {"gte": "2024-05-01T10"}}, {"a": {"prefix": "2024-05-01T10"}}),
    ],
)
def test_two_filters_are_never_one(one: Any, other: Any) -> None:
    assert parse(one) != parse(other)


@given(st.dictionaries(st.sampled_from("abcde"), st.lists(VALUES, min_size=1, max_size=5), max_size=5), st.randoms())
def test_the_order_of_writing_does_not_matter(raw: dict[str, list[Any]], chance: random.Random) -> None:
    names = list(raw)
    chance.shuffle(names)
    mixed = {name: {"in": chance.sample(raw[name], len(raw[name])) + raw[name][:1]} for name in names}
    assert parse(mixed) == parse({name: {"in": values} for name, values in raw.items()})


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ([], "filters"),
        ("year>2020", "filters"),
        ({"": {"eq": 1}}, "filters"),
        ({"metadata.": {"eq": 1}}, "filters"),
        ({"n" * 101: {"eq": 1}}, "filters"),
        ({"a\nb": {"eq": 1}}, "filters"),
        ({"a\ud800": {"eq": 1}}, "filters"),
        ({1: {"eq": 1}}, "filters"),
        ({"a": 1}, "filters.a"),
        ({"a": {}}, "filters.a"),
        ({"a": None}, "filters.a"),
        ({"a": ["x"]}, "filters.a"),
        ({"a": {"like": "x"}}, "filters.a.like"),
        ({"a": {"$gt": 1}}, "filters.a"),
        ({"a": {"EQ": 1}}, "filters.a.EQ"),
        ({"a": {"x" * 10_000: 1}}, "filters.a"),
        ({"a": {None: 1}}, "filters.a"),
        ({"a": {"eq": None}}, "filters.a.eq"),
        ({"a": {"eq": {"b": 1}}}, "filters.a.eq"),
        ({"a": {"eq": ["x"]}}, "filters.a.eq"),
        ({"a": {"eq": math.nan}}, "filters.a.eq"),
        ({"a": {"gte": math.inf}}, "filters.a.gte"),
        ({"a": {"eq": 10**400}}, "filters.a.eq"),
        ({"a": {"eq": "x" * 1_025}}, "filters.a.eq"),
        ({"a": {"prefix": "x" * 1_025}}, "filters.a.prefix"),
        ({"a": {"prefix": 1}}, "filters.a.prefix"),
        ({"a": {"prefix": True}}, "filters.a.prefix"),
        ({"a": {"prefix": ["x"]}}, "filters.a.prefix"),
        ({"a": {"gte": True}}, "filters.a.gte"),
        ({"a": {"lte": ["x"]}}, "filters.a.lte"),
        ({"a": {"in": "x"}}, "filters.a.in"),
        ({"a": {"in": []}}, "filters.a.in"),
        ({"a": {"in": ["x", None]}}, "filters.a.in"),
        ({"a": {"in": list(range(1_001))}}, "filters.a.in"),
        ({f"f{number}": {"eq": 1} for number in range(33)}, "filters"),
        ({"document": {"eq": 1}}, "filters.document.eq"),
        ({"title": {"in": ["a", 1]}}, "filters.title.in"),
        ({"origin": {"prefix": "a"}}, "filters.origin.prefix"),
        ({"label.sensitivity": {"gte": "secret"}}, "filters.label.sensitivity.gte"),
        ({"label.sensitivity": {"eq": 1}}, "filters.label.sensitivity.eq"),
        ({"label.sensitivity": {"prefix": "p"}}, "filters.label.sensitivity.prefix"),
        ({"label.hosted": {"eq": 1}}, "filters.label.hosted.eq"),
        ({"label.hosted": {"gte": "true"}}, "filters.label.hosted.gte"),
        ({"label.regions": {"eq": "mars"}}, "filters.label.regions.eq"),
        ({"label.regions": {"in": ["de"]}}, "filters.label.regions.in"),
        ({"label.groups": {"gte": "a"}}, "filters.label.groups.gte"),
        ({"label.retention_days": {"eq": "30"}}, "filters.label.retention_days.eq"),
        ({"label.categories": {"eq": 5}}, "filters.label.categories.eq"),
    ],
)
def test_what_is_no_filter_is_refused_by_name(raw: Any, field: str) -> None:
    assert refused(raw).field == field


def test_an_unknown_operator_is_told_what_the_field_allows() -> None:
    assert "eq, in, gte, lte, prefix" in str(refused({"a": {"like": "x"}}))
    assert str(refused({"label.hosted": {"in": [True]}})).endswith("operators of this field are eq")
    assert "public, internal, confidential, restricted" in str(refused({"label.sensitivity": {"eq": "Internal"}}))


def test_bounds_are_met_exactly() -> None:
    assert len(parse({f"f{number}": {"eq": 1} for number in range(32)})) == 32
    assert len(parse({"a": {"in": list(range(1_000))}})[0].values) == 1_000
    assert parse({"n" * 100: {"eq": "x" * 1_024}})
    assert parse({"metadata." + "n" * 100: {"eq": ""}}) == (Condition("n" * 100, "eq", ("",)),)


@given(st.recursive(
    st.one_of(VALUES, st.none(), st.floats()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(
        st.one_of(st.text(max_size=5), st.sampled_from([*filters.BUILT_IN, *filters.OPERATORS])), inner, max_size=3)),
    max_leaves=8,
))  # fmt: skip
def test_anything_is_parsed_or_refused(raw: object) -> None:
    with suppress(InvalidRequest):
        conditions = parse(raw)
        assert len({*conditions}) == len(conditions)


def test_conditions_are_joined_in_one_order_within_the_bound() -> None:
    one, other = parse({"b": {"eq": 1}}), parse({"a": {"eq": 1}, "b": {"eq": 1}})
    assert filters.together([one, other]) == other
    with pytest.raises(InvalidRequest, match="at most 32"):
        filters.together(parse({f"f{number}": {"eq": 1}}) for number in range(33))


def test_only_fields_and_kinds_that_occur_can_be_asked_for() -> None:
    known = {"year": frozenset({"number"}), "tags": frozenset({"text", "number"}), "source": frozenset({"text"})}
    filters.check(parse({"year": {"gte": 2020}, "tags": {"eq": 1}, "title": {"eq": "x"}}), known)  # type: ignore[arg-type]
    for raw, said in (
        ({"yaer": {"eq": 1}}, "filters.yaer: unknown field: no document here has it; known are source, tags, year, document,"),
        ({"year": {"gte": "2020"}}, "filters.year.gte: the field holds numbers: compare it with a number such as 2020"),
        ({"source": {"in": [1, 2]}}, "filters.source.in: the field holds texts: compare it with a text such as \"1\""),
    ):  # fmt: skip
        with pytest.raises(InvalidRequest) as caught:
            filters.check(parse(raw), known)  # type: ignore[arg-type]
        assert str(caught.value).startswith(said)
    filters.check(parse({"source": {"in": [1, "a"]}}), known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "holds"),
    [
        ({"sensitivity": {"eq": "confidential"}}, True),
        ({"sensitivity": {"in": ["public", "confidential"]}}, True),
        ({"sensitivity": {"gte": "confidential"}}, True),
        ({"sensitivity": {"gte": "internal"}}, True),
        ({"sensitivity": {"lte": "restricted"}}, True),
        ({"sensitivity": {"gte": "restricted"}}, False),
        ({"sensitivity": {"lte": "internal"}}, False),
        ({"sensitivity": {"lte": "public"}}, False),
        ({"hosted": {"eq": True}}, True),
        ({"hosted": {"eq": False}}, False),
        ({"regions": {"eq": "eu"}}, True),
        ({"regions": {"eq": "de"}}, True),
        ({"regions": {"eq": "local"}}, True),
        ({"regions": {"eq": "us"}}, False),
        ({"regions": {"eq": "eea"}}, False),
        ({"regions": {"eq": "global"}}, False),
        ({"retention_days": {"eq": 30}}, True),
        ({"retention_days": {"gte": 30}}, True),
        ({"retention_days": {"lte": 29.5}}, False),
        ({"retention_days": {"in": [7, 30]}}, True),
        ({"categories": {"eq": "pii"}}, True),
        ({"categories": {"in": ["secret", "health"]}}, True),
        ({"categories": {"eq": "secret"}}, False),
        ({"purposes": {"eq": "answer"}}, True),
        ({"purposes": {"eq": "eval"}}, False),
        ({"groups": {"eq": "board"}}, True),
        ({"groups": {"eq": "sales"}}, False),
    ],
)
def test_conditions_on_the_label(raw: Any, holds: bool) -> None:
    ((field, asked),) = raw.items()
    (condition,) = parse({f"label.{field}": asked})
    assert filters.holds_for(condition, LABEL, None) is holds


def test_a_label_does_not_tell_a_key_of_other_groups() -> None:
    (board,) = parse({"label.groups": {"eq": "board"}})
    (either,) = parse({"label.groups": {"in": ["hr", "board"]}})
    hr, both = frozenset({"hr"}), frozenset({"hr", "board"})
    assert not filters.holds_for(board, LABEL, hr)
    assert filters.holds_for(board, LABEL, both)
    assert filters.holds_for(either, LABEL, hr)
    everyone = labels.from_record({**labels.to_record(LABEL), "groups": None})
    assert not filters.holds_for(board, everyone, None)


@given(st.text(min_size=1), st.text())
def test_the_text_after_a_prefix_is_the_first_without_it(prefix: str, rest: str) -> None:
    prefix, rest = (part.replace("\ud800", "") for part in (prefix or "a", rest))
    end = filters.after(prefix)
    assert end is None or (prefix + rest < end and not end.startswith(prefix))
    assert end is None or "\ud800" > end or end >= "\ue000"
    if end is None:
        assert set(prefix) <= {"\U0010ffff"}


@pytest.mark.parametrize(
    ("prefix", "end"),
    [("a", "b"), ("az", "a{"), ("a\U0010ffff", "b"), ("\ud7ff", "\ue000"), ("\U0010ffff", None), ("", None)],
)
def test_edges_of_prefixes(prefix: str, end: str | None) -> None:
    assert filters.after(prefix) == end
