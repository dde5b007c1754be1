"""Filters as they are typed on a command line."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from corpora import REGIONS

from domicile import filters
from domicile.commands.filtering import add_filter_flags, conditions_of
from domicile.domain import Condition
from domicile.errors import InvalidRequest


def read(*arguments: str) -> tuple[Condition, ...]:
    flags = argparse.ArgumentParser()
    add_filter_flags(flags)
    return conditions_of(flags.parse_args(arguments), REGIONS)


@pytest.mark.parametrize(
    ("expression", "raw"),
    [
        ("source=wiki", {"source": {"eq": "wiki"}}),
        ("source = two words ", {"source": {"eq": "two words"}}),
        ("source=", {"source": {"eq": ""}}),
        ("year=2020", {"year": {"eq": 2020}}),
        ('year="2020"', {"year": {"eq": "2020"}}),
        ("year>=2020", {"year": {"gte": 2020}}),
        ("date<=2024-05-01", {"date": {"lte": "2024-05-01"}}),
        ("draft=true", {"draft": {"eq": True}}),
        ("url^=https://example.org/?a=1", {"url": {"prefix": "https://example.org/?a=1"}}),
        ("year^=202", {"year": {"prefix": "202"}}),
        ('year^="202"', {"year": {"prefix": "202"}}),
        ("formula=a>=b", {"formula": {"eq": "a>=b"}}),
        ('source=["wiki", "GHR"]', {"source": {"in": ["wiki", "GHR"]}}),
        ("label.sensitivity<=internal", {"label.sensitivity": {"lte": "internal"}}),
        ("note={not json", {"note": {"eq": "{not json"}}),
    ],
)
def test_an_expression_is_a_filter(expression: str, raw: dict[str, Any]) -> None:
    assert read("--filter", expression) == filters.parse(raw, REGIONS)


def test_all_flags_hold_together() -> None:
    assert read() == ()
    both = read("--filter", "a=1", "--filter", "a=2", "--filters", '{"b": {"gte": 3}}')
    assert both == (Condition("a", "eq", (1,)), Condition("a", "eq", (2,)), Condition("b", "gte", (3,)))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--filter", "source"], "--filter"),
        (["--filter", "=wiki"], "--filter"),
        (["--filter", ""], "--filter"),
        (["--filter", "year>=null"], "filters.year.gte"),
        (["--filter", "year={}"], "filters.year.eq"),
        (["--filter", "year=NaN"], "filters.year.eq"),
        (["--filter", "year>=[1]"], "filters.year.gte"),
        (["--filters", "{"], "--filters"),
        (["--filters", "[" * 100_000], "--filters"),
        (["--filters", "[]"], "filters"),
        (["--filters", '{"a": 1}'], "filters.a"),
    ],
)
def test_what_is_no_filter_is_refused_by_name(arguments: list[str], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(*arguments)
    assert caught.value.field == field
