"""Conditions as SQL over the chunk store's table of metadata. What anybody wrote is a parameter, never a part of the text."""

from __future__ import annotations

from domicile.domain import Condition, Scalar
from domicile.filters import Kind, after, end_of

_FIELD = "field = (SELECT id FROM fields WHERE name = ?)"
_OF_KIND: dict[Kind, str] = {"number": "value < ''", "text": "value >= ''"}
"""Every text sorts behind every number, so that an open range of one kind would run into the other."""


def of_kind(kind: Kind) -> str:
    """The entries of a field, which is the parameter, whose values are of this kind."""
    return f"{_FIELD} AND {_OF_KIND[kind]}"


def where(condition: Condition) -> tuple[str, tuple[Scalar, ...]]:
    """The entries that meet a condition, and the parameters."""
    clause, values = _clause(condition)
    return f"{_FIELD} AND {clause}", (condition.field, *values)


def _clause(condition: Condition) -> tuple[str, tuple[Scalar, ...]]:
    values, operator = condition.values, condition.operator
    if operator in ("eq", "in"):
        return f"value IN ({','.join('?' * len(values))})", values
    (value,) = values
    if not isinstance(value, str):
        return (f"value >= ? AND {_OF_KIND['number']}" if operator == "gte" else "value <= ?"), values
    if operator == "lte":
        end = end_of(value)
        return f"{_OF_KIND['text']} AND value {'<=' if end is None else '<'} ?", (value if end is None else end,)
    last = after(value) if operator == "prefix" else None
    return ("value >= ?", values) if last is None else ("value >= ? AND value < ?", (value, last))
