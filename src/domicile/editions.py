"""Documents that replace each other: which of two is the one to quote. Pure.

Two documents are editions of one text where the metadata of one names the other (``superseded_by``, ``replaced_by``,
``supersedes``, ``replaces``) by its URI or by its path from there, or where their titles are equal but for years, dates
and versions. The question decides if it names one of them ("the policy of 2023"); else the newer one is preferred, by
what the metadata says, then by the title. Where nothing tells them apart, neither is.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from domicile.domain import Chunk, Scalar

STATED_MARGIN = 0.3
ASSUMED_MARGIN = 0.1
"""How much worse a sentence of the preferred edition may be and still be the one to quote: where the replacement is
stated, and where titles alone suggest it (the minutes of two meetings do not replace each other)."""

_REPLACED_BY = ("superseded_by", "replaced_by", "supersededby", "replacedby")
_REPLACES = ("supersedes", "replaces")
_DATES = ("valid_from", "effective", "effective_date", "date", "updated", "modified", "published", "issued")
_GONE = frozenset({"superseded", "replaced", "withdrawn", "obsolete", "archived", "expired", "retired", "deprecated"})
_DATE = re.compile(r"\d{4}(?:-\d{2}(?:-\d{2})?|$)")
_MARK = re.compile(
    r"\b(?:v|ver|version|rev|revision|edition|release|issue)[.\s_-]*(?P<number>\d+(?:\.\d+)*|[a-z])\b"
    r"|(?<![\w.])(?P<date>(?:19|20)\d\d(?:-\d\d(?:-\d\d)?)?)(?![\w.]\d)"
    r"|(?<![\w.])(?P<dotted>\d+(?:\.\d+)+)\b",
    re.IGNORECASE,
)
_VERSION_CHARACTERS = 100
_ASIDE = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")


@dataclass(frozen=True, slots=True)
class Preference:
    """Of two editions, by the URIs of their documents, the one to quote, and within which margin of scores."""

    quote: str
    instead_of: str
    margin: float


@dataclass(frozen=True, slots=True)
class _Edition:
    """What tells editions apart: dates and versions in the title, and with its own date those that a question may name."""

    uri: str
    family: str
    titled: frozenset[str]
    marks: frozenset[str]
    date: str
    version: tuple[tuple[int, str], ...]
    gone: bool
    replaces: frozenset[str]
    replaced_by: frozenset[str]


def preferences(said: tuple[str, ...], chunks: Iterable[Chunk]) -> list[Preference]:
    """What to prefer among the documents of these chunks.

    Args:
        said: the question, and after it what decides where the question names neither edition.
    """
    editions = list({chunk.document: _read(chunk) for chunk in reversed(list(chunks))}.values())
    asked = [_marks(text) for text in said]
    found = []
    for number, first in enumerate(editions):
        for second in editions[number + 1 :]:
            margin = STATED_MARGIN if _stated(first, second) else ASSUMED_MARGIN if _related(first, second) else None
            newer = None if margin is None else _preferred(first, second, asked)
            if margin is not None and newer is not None:
                found.append(Preference(newer.uri, (second if newer is first else first).uri, margin))
    return found


def _read(chunk: Chunk) -> _Edition:
    values: dict[str, list[Scalar]] = {}
    for field, value in chunk.metadata:
        values.setdefault(field.lower().replace("-", "_"), []).append(value)
    title = chunk.title or _file(chunk.document)
    dates = [str(value) for field in _DATES for value in values.get(field, []) if _DATE.match(str(value))]
    titled = [match["date"] for match in _MARK.finditer(title) if match["date"]]
    date = (dates or [max(titled, default="")])[0]
    versions = [str(value) for value in values.get("version", [])] or [
        match["number"] or match["dotted"] for match in _MARK.finditer(title) if not match["date"]
    ]
    return _Edition(
        chunk.document,
        " ".join(re.findall(r"\w+", _MARK.sub(" ", _ASIDE.sub(" ", title)).casefold())),
        _marks(title),
        _marks(f"{title} {date[:10]}"),
        date,
        _natural(versions[0]) if versions else (),
        any(str(value).casefold() in _GONE for value in values.get("status", [])),
        _named(chunk.document, values, _REPLACES),
        _named(chunk.document, values, _REPLACED_BY),
    )


def _marks(text: str) -> frozenset[str]:
    """The years, months, days and versions that a text names; a day names its month and year, too."""
    found: set[str] = set()
    for match in _MARK.finditer(text):
        date = match["date"]
        found |= {date[:4], date[:7], date} if date else {(match["number"] or match["dotted"]).casefold()}
    return frozenset(found)


def _natural(version: str) -> tuple[tuple[int, str], ...]:
    return tuple(
        (int(part), "") if part.isdecimal() else (0, part)
        for part in re.findall(r"[0-9]{1,18}|[a-z]+", version[:_VERSION_CHARACTERS].lower())
    )


def _named(by: str, values: dict[str, list[Scalar]], fields: tuple[str, ...]) -> frozenset[str]:
    """The documents that another one names, as it may write them: a whole URI, a path from its own folder, or what lies in
    the same file as itself. A bare name is never one in another folder, where other texts have the same."""
    found: set[str] = set()
    for name in (str(value).strip().casefold() for field in fields for value in values.get(field, [])):
        folder = _folder(by.casefold())
        found.add(posixpath.normpath(posixpath.join(folder, name)))
        found |= {f"{container}{mark}{name}" for mark in ("#", "!/") for container in _containers(by.casefold(), mark)}
        found |= {name.lstrip("/")} if "/" in name else set()
    return frozenset(found)


def _containers(uri: str, mark: str) -> list[str]:
    return [uri.rpartition(mark)[0]] if mark in uri else []


def _file(uri: str) -> str:
    return uri.rstrip("/").rsplit("/", 1)[-1].casefold()


def _folder(uri: str) -> str:
    return uri.rpartition("/")[0]


def _stated(first: _Edition, second: _Edition) -> bool:
    """Whether one of them says that it replaces the other; where both do, neither is believed."""
    return _replaces(first, second) != _replaces(second, first)


def _replaces(new: _Edition, old: _Edition) -> bool:
    return old.uri.casefold() in new.replaces or new.uri.casefold() in old.replaced_by


def _related(first: _Edition, second: _Edition) -> bool:
    """Whether titles make them editions of one text: an equal title alone says so only within one folder."""
    if not first.family or first.family != second.family:
        return False
    return first.titled != second.titled or _folder(first.uri) == _folder(second.uri)


def _preferred(first: _Edition, second: _Edition, asked: list[frozenset[str]]) -> _Edition | None:
    pairs = ((first, second), (second, first))
    for marks in asked:
        for one, other in pairs:
            if one.marks & marks > other.marks & marks:
                return one
    for one, other in pairs:
        if (_stated(one, other) and _replaces(one, other)) or (other.gone and not one.gone):
            return one
    for key in ("date", "version"):
        values = getattr(first, key), getattr(second, key)
        if all(values) and values[0] != values[1]:
            return first if values[0] > values[1] else second
    return None
