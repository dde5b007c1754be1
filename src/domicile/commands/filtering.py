"""Filters on the command line: ``--filter FIELD=VALUE`` and its kin, or all of them as JSON."""

from __future__ import annotations

import argparse
import json
import re

from domicile import filters
from domicile.domain import Condition
from domicile.errors import InvalidRequest
from domicile.labels import Regions

_EXPRESSION = re.compile(r"(.+?)(>=|<=|\^=|=)(.*)", re.DOTALL)
_OPERATORS = {"=": "eq", ">=": "gte", "<=": "lte", "^=": "prefix"}


def add_filter_flags(flags: argparse.ArgumentParser) -> None:
    """``--filter`` and ``--filters``."""
    flags.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="only documents whose metadata says so; also FIELD>=VALUE, FIELD<=VALUE and FIELD^=BEGINNING; VALUE is JSON "
        '(2020, true, "2020", ["a","b"] for any of these), else a text; give it again for more, all must hold',
    )
    flags.add_argument(
        "--filters",
        metavar="JSON",
        help='filters as the API takes them: {"year": {"gte": 2020}, "source": {"eq": "wiki"}}',
    )


def conditions_of(parsed: argparse.Namespace, regions: Regions) -> tuple[Condition, ...]:
    """What the flags ask for.

    Raises:
        InvalidRequest: one of them is malformed.
    """
    given: list[object] = [_read(expression) for expression in parsed.filter]
    if parsed.filters is not None:
        given.append(_json(parsed.filters))
    return filters.together(filters.parse(raw, regions) for raw in given)


def _read(expression: str) -> dict[str, dict[str, object]]:
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        raise InvalidRequest("--filter", "must be FIELD=VALUE, FIELD>=VALUE, FIELD<=VALUE or FIELD^=BEGINNING")
    field, operator = match[1].strip(), _OPERATORS[match[2]]
    value: object = match[3].strip()
    if operator != "prefix" or match[3].lstrip().startswith('"'):
        try:
            value = json.loads(match[3])
        except (ValueError, RecursionError):  # a text without quotes
            pass
    return {field: {"in" if operator == "eq" and isinstance(value, list) else operator: value}}


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest("--filters", 'must be JSON such as {"year": {"gte": 2020}}') from None
