"""The filters of a request, ``{"FIELD": {"eq" | "in" | "gte" | "lte" | "prefix": value}}``: read, checked, made comparable. Pure.

Two spellings of the same filters give equal conditions, since what was worked out for some is remembered by them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args
from unicodedata import normalize

from domicile.domain import Condition, Label, Operator, Scalar, Sensitivity
from domicile.errors import InvalidRequest, LabelError
from domicile.labels import Regions
from domicile.metadata import MAX_NAME_CHARACTERS, canonical, is_date, plain

Kind = Literal["text", "number"]

MAX_CONDITIONS = 32
MAX_VALUES = 1_000
"""Of one ``in``."""
SHOWN_FIELDS = 20
METADATA = "metadata."
"""Stands before a field of the metadata that has the name of a built-in one."""

OPERATORS: tuple[Operator, ...] = get_args(Operator)
_WORDS: tuple[Operator, ...] = ("eq", "in")
_RANKED: tuple[Operator, ...] = ("eq", "in", "gte", "lte")
BUILT_IN: Mapping[str, tuple[Operator, ...]] = {
    "document": OPERATORS,
    "title": OPERATORS,
    "origin": _WORDS,
    "label.regions": ("eq",),
    "label.sensitivity": _RANKED,
    "label.hosted": ("eq",),
    "label.retention_days": _RANKED,
    "label.categories": _WORDS,
    "label.purposes": _WORDS,
    "label.groups": _WORDS,
}
"""Fields that every document has, and what can be asked of them."""
LABEL = "label."
_LAST = chr(sys.maxunicode)


def field_of(name: str) -> str:
    """The field by which filters know a name of a document's metadata."""
    return f"{METADATA}{name}" if name in BUILT_IN or name.startswith(METADATA) else name


def kind_of(value: Scalar) -> Kind:
    return "text" if isinstance(value, str) else "number"


def parse(raw: object, regions: Regions) -> tuple[Condition, ...]:
    """Read filters; nothing gives no condition.

    Raises:
        InvalidRequest: names the field, and the operator where that is wrong, and says what is allowed.
    """
    if raw is None:
        return ()
    if not isinstance(raw, Mapping):
        raise InvalidRequest("filters", 'must be an object such as {"source": {"eq": "wiki"}}')
    conditions: set[Condition] = set()
    for name, asked in raw.items():
        field = _field(name)
        where = f"filters.{field}"
        if not isinstance(asked, Mapping) or not asked:
            raise InvalidRequest(where, 'must be an object such as {"eq": "wiki"}: ' + _allowed(field))
        for operator, value in asked.items():
            conditions.add(_condition(where, field, operator, value, regions))
    return together([conditions])


def together(parts: Iterable[Iterable[Condition]]) -> tuple[Condition, ...]:
    """All of these conditions, in their one order.

    Raises:
        InvalidRequest: there are too many.
    """
    conditions = {condition for part in parts for condition in part}
    if len(conditions) > MAX_CONDITIONS:
        raise InvalidRequest("filters", f"at most {MAX_CONDITIONS} conditions are allowed")
    return tuple(sorted(conditions, key=lambda c: (c.field, c.operator, [_order(value) for value in c.values])))


def check(conditions: Sequence[Condition], known: Mapping[str, frozenset[Kind]]) -> None:
    """Compare conditions with what the documents have.

    Args:
        known: fields of documents that the caller may read and the kinds of their values; all that the conditions name,
            and some more.

    Raises:
        InvalidRequest: none of them has such a field, or only with values of another kind.
    """
    for condition in conditions:
        if condition.field in BUILT_IN:
            continue
        found = known.get(condition.field)
        if not found:
            names = ", ".join([*sorted(known)[:SHOWN_FIELDS], *BUILT_IN])
            raise InvalidRequest(
                f"filters.{condition.field}", f"unknown field: no document here has it; known are {names}"
            )
        if found.isdisjoint(map(kind_of, condition.values)):
            (kind,) = found
            example = f'"{condition.values[0]}"' if kind == "text" else "2020"
            raise InvalidRequest(
                f"filters.{condition.field}.{condition.operator}",
                f"the field holds {kind}s: compare it with a {kind} such as {example}",
            )


def holds_for(condition: Condition, label: Label, readers: frozenset[str] | None) -> bool:
    """Whether a condition on a field of the label holds.

    Args:
        readers: the groups of who asks, ``None`` for the owner; a label's other groups are not told.
    """
    values = frozenset(condition.values)
    match condition.field:
        case "label.regions":
            return values <= label.regions
        case "label.sensitivity":
            ranks = [Sensitivity(str(value)).rank for value in values]
            return _compares(condition.operator, label.sensitivity.rank, ranks)
        case "label.hosted":
            return canonical(label.hosted) in values
        case "label.retention_days":
            return _compares(condition.operator, label.retention_days, values)
        case "label.groups":
            groups = label.groups or frozenset()
            return not values.isdisjoint(groups if readers is None else groups & readers)
        case field:
            words: frozenset[str] = getattr(label, field.removeprefix(LABEL))
            return not values.isdisjoint(words)


def after(prefix: str) -> str | None:
    """The first text behind all that begin with ``prefix``, by code points; ``None`` where there is none."""
    stem = prefix.rstrip(_LAST)
    if not stem:
        return None
    code = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if 0xD800 <= code < 0xE000 else code)  # surrogates are no characters


def end_of(value: str) -> str | None:
    """The first text that is beyond ``lte``: a day is meant whole, with all its hours.

    ``None`` where the value itself is the last.
    """
    return after(value) if is_date(value) else None


def _field(name: object) -> str:
    text = normalize("NFC", name[: 2 * MAX_NAME_CHARACTERS]) if isinstance(name, str) else ""
    bare = text.removeprefix(METADATA)
    if not 0 < len(bare) <= MAX_NAME_CHARACTERS or not text.isprintable():
        raise InvalidRequest("filters", f"the name of a field has 1 to {MAX_NAME_CHARACTERS} printable characters")
    return text if text in BUILT_IN else field_of(bare)


def _allowed(field: str) -> str:
    return f"operators of this field are {', '.join(BUILT_IN.get(field, OPERATORS))}"


def _condition(where: str, field: str, operator: object, value: object, regions: Regions) -> Condition:
    known = next((known for known in BUILT_IN.get(field, OPERATORS) if known == operator), None)
    if known is None:
        said = operator if isinstance(operator, str) and re.fullmatch(r"\w{1,20}", operator) else None
        raise InvalidRequest(f"{where}.{said}" if said else where, f"unknown operator: {_allowed(field)}")
    where = f"{where}.{known}"
    if known == "in":
        if not isinstance(value, list | tuple) or not 0 < len(value) <= MAX_VALUES:
            raise InvalidRequest(where, f"must be a list of 1 to {MAX_VALUES:,} values")
        values = {_value(where, field, known, item) for item in value}
    else:
        values = {_value(where, field, known, value)}
    if field == "label.regions":
        try:
            values = {*regions.expand(map(str, values))}
        except LabelError as error:
            raise InvalidRequest(where, str(error).removeprefix("regions: ")) from None
    return Condition(field, "eq" if len(values) == 1 and known == "in" else known, tuple(sorted(values, key=_order)))


def _value(where: str, field: str, operator: Operator, value: object) -> Scalar:
    try:
        # the beginning of a date is no date yet
        scalar = plain(value) if operator == "prefix" and isinstance(value, str) else canonical(value)
    except ValueError as error:
        raise InvalidRequest(where, str(error)) from None
    if operator == "prefix" and not isinstance(value, str):
        raise InvalidRequest(where, "must be a text")
    if operator in ("gte", "lte") and isinstance(value, bool):
        raise InvalidRequest(where, "must be a number, a date or a text")
    if field == "label.sensitivity" and scalar not in list(Sensitivity):
        raise InvalidRequest(where, f"must be one of {', '.join(Sensitivity)}")
    if field == "label.hosted" and scalar not in ("true", "false"):
        raise InvalidRequest(where, "must be true or false")
    if field in BUILT_IN and (field == "label.retention_days") == (kind_of(scalar) == "text"):
        raise InvalidRequest(where, f"must be a {'number' if field == 'label.retention_days' else 'text'}")
    return scalar


def _order(value: Scalar) -> tuple[Kind, Scalar]:
    """Sorts texts and numbers, which do not compare."""
    return kind_of(value), value


def _compares(operator: Operator, own: Scalar, values: Iterable[Scalar]) -> bool:
    match operator:
        case "gte":
            return all(own >= value for value in values)  # type: ignore[operator]
        case "lte":
            return all(own <= value for value in values)  # type: ignore[operator]
        case _:
            return own in values
