"""Metadata of documents: the one form in which values are stored and compared, and the bounds of what is kept. Pure.

A value is a text (NFC) or a number. A truth value is the word ``true`` or ``false``. A moment is a text in UTC of one
length, so that it sorts as a text; without a zone it is taken for UTC.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from unicodedata import normalize

from domicile.domain import Scalar

MAX_FIELDS = 64
MAX_NAME_CHARACTERS = 100
MAX_VALUES = 100
"""Of one field."""
MAX_CHARACTERS = 1_024
"""Of one value; a URI has as many."""
MAX_ALL_CHARACTERS = 65_536
"""Of all names and values of a document together."""
MAX_REMARKS = 10
"""Of one document."""
_MAX_DEPTH = 8
_MAX_INTEGER = 2**63 - 1
_NUMBER_CHARACTERS = 20

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?"
    r"(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a document says about itself.

    Attributes:
        values: (field, value), a field once for each of its values; the form of ``canonical``.
        remarks: what was left out and why, a short line each.
    """

    values: tuple[tuple[str, Scalar], ...] = ()
    remarks: tuple[str, ...] = ()


NOTHING = Metadata()


def canonical(value: object) -> Scalar:
    """The form in which a value is stored and compared.

    Raises:
        ValueError: it is too long, no finite number, or no text, number, truth value or date; says what is allowed.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, datetime):
        return _moment(value) or value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        return comparable(plain(value))
    raise ValueError("must be a text, a number, true, false or a date")


def plain(text: str) -> str:
    """A text in NFC and without halves of surrogate pairs, which cannot be stored.

    Raises:
        ValueError: it is too long.
    """
    if len(text) <= MAX_CHARACTERS:
        text = _storable(text)
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"must have at most {MAX_CHARACTERS:,} characters")
    return text


def comparable(text: str) -> str:
    """The canonical form of a text of any length."""
    text = _storable(text)
    return (_moment_of(text) or text) if _MOMENT.fullmatch(text) else text


def is_date(value: Scalar) -> bool:
    """Whether a canonical value is a whole day."""
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def without_label(given: Mapping[str, object]) -> dict[str, object]:
    """Metadata as JSON has it, less the residency label that may lie in it."""
    return {name: value for name, value in given.items() if name != "label"}


def read(raw: object) -> Metadata:
    """The metadata of a document from a table of any shape; what does not fit is left out, and remarked on.

    Nested tables become fields with dots; lists become several values; null is no value.
    """
    if raw is None:
        return NOTHING
    if not isinstance(raw, Mapping):
        return Metadata(remarks=("metadata: must be a table: left out",))
    found = _Collected()
    for name, value in _flat(raw, "", 0):
        try:
            found.add(name, value)
        except ValueError as error:
            found.remark(name, str(error))
    return found.metadata()


def _storable(text: str) -> str:
    return normalize("NFC", _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text))


def _number(value: int | float) -> Scalar:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    if isinstance(value, int) and abs(value) <= _MAX_INTEGER:
        return value
    return number + 0.0  # no negative zero


def _moment_of(text: str) -> str | None:
    """The moment that a text says, where a calendar has it."""
    try:
        return _moment(datetime.fromisoformat(f"{text[:10]}T{text[11:].upper()}"))
    except ValueError:
        return None


def _moment(moment: datetime) -> str | None:
    try:
        aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (OverflowError, ValueError):  # before the first year or after the last
        return None
    return aware.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _flat(table: Mapping[object, object], prefix: str, depth: int) -> Iterator[tuple[str, object]]:
    """Every field with each of its values."""
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and depth < _MAX_DEPTH:
            yield from _flat(value, f"{name[: MAX_NAME_CHARACTERS + 1]}.", depth + 1)
        elif isinstance(value, list | tuple):
            yield from ((name, item) for item in value if item is not None)
        elif value is not None:
            yield name, value


def merge(first: Metadata, second: Metadata) -> Metadata:
    """Both; a field that both have is the first one's."""
    names = {name for name, _ in first.values}
    values = first.values + tuple((name, value) for name, value in second.values if name not in names)
    return Metadata(values, first.remarks + second.remarks)


class _Collected:
    """Values as they are found, within bounds."""

    def __init__(self) -> None:
        self._fields: dict[str, dict[Scalar, None]] = {}
        self._characters = 0
        self._remarks: dict[str, None] = {}
        self._more = False

    def add(self, name: str, value: object) -> None:
        """
        Raises:
            ValueError: it does not fit; says why.
        """
        name = normalize("NFC", name[: MAX_NAME_CHARACTERS + 1])
        if not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
            raise ValueError(f"a name has 1 to {MAX_NAME_CHARACTERS} printable characters")
        scalar = canonical(value)
        size = len(name) + (len(scalar) if isinstance(scalar, str) else _NUMBER_CHARACTERS)
        values = self._fields.get(name, {})
        if scalar in values:
            return
        if not values and len(self._fields) == MAX_FIELDS:
            raise ValueError(f"at most {MAX_FIELDS} fields are kept")
        if len(values) == MAX_VALUES:
            raise ValueError(f"at most {MAX_VALUES} values are kept")
        if self._characters + size > MAX_ALL_CHARACTERS:
            raise ValueError(f"at most {MAX_ALL_CHARACTERS:,} characters are kept in all")
        self._characters += size
        self._fields.setdefault(name, values)[scalar] = None

    def remark(self, name: str, reason: str) -> None:
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name[:MAX_NAME_CHARACTERS])
        remark = f"metadata {shown!r}: {reason}: left out"
        if len(self._remarks) < MAX_REMARKS or remark in self._remarks:
            self._remarks[remark] = None
        else:
            self._more = True

    def metadata(self) -> Metadata:
        values = ((name, value) for name, values in self._fields.items() for value in values)
        return Metadata(tuple(values), (*self._remarks, *(["metadata: more was left out"] if self._more else [])))
