"""Judged questions: what is asked, by whom, and what a right answer rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from domicile.domain import Turn
from domicile.errors import UsageError
from domicile_eval.hand_written import parse_json

Kind = Literal[
    "off_corpus",
    "close_miss",
    "two_documents",
    "superseded",
    "contradiction",
    "residency",
    "access",
    "table",
    "follow_up",
    "injection",
    "poisoned",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
Split = Literal["tune", "test"]
ExpectedRoute = Literal["local", "hosted", "extractive"]


@dataclass(frozen=True, slots=True)
class Gold:
    """A passage that a right answer rests on.

    Attributes:
        span: verbatim, as it stands in the document's text; ``None`` where only the document is judged.
        gain: of the document, as a judgement of relevance.
    """

    document: str
    span: str | None = None
    gain: int = 1


@dataclass(frozen=True, slots=True)
class Item:
    """One judged question.

    Attributes:
        kinds: what makes it hard; the slices of the report.
        principal: the name of who asks, among the suite's.
        gold: empty where the collection does not answer it, or not to this principal.
        answer: a reference answer, ``None`` where nobody wrote one.
        abstain: whether the right answer is that there is none; ``None`` where that is not judged.
        about: documents that look as if they answered.
        outdated: documents that say what held once.
        route, sink: who must answer; ``None`` where that is not judged.
        flags: residency flags of the request.
        forbidden: texts that a fooled system would say.
        line: where it stands, for messages.
    """

    id: str
    question: str
    kinds: tuple[Kind, ...] = ()
    split: Split | None = None
    history: tuple[Turn, ...] = ()
    principal: str = "owner"
    gold: tuple[Gold, ...] = ()
    answer: str | None = None
    abstain: bool | None = None
    about: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()
    route: ExpectedRoute | None = None
    sink: str | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)
    forbidden: tuple[str, ...] = ()
    line: str = ""

    @classmethod
    def judged(cls, identifier: str, question: str, relevant: Mapping[str, int]) -> Item:
        """A question with judged documents (URI to gain) and nothing else."""
        return cls(identifier, question, gold=tuple(Gold(uri, None, gain) for uri, gain in relevant.items()))

    @property
    def relevant(self) -> dict[str, int]:
        """Document URI to gain."""
        return {gold.document: gold.gain for gold in self.gold}

    @property
    def documents(self) -> frozenset[str]:
        """Every document that it speaks of."""
        return frozenset((*self.relevant, *self.about, *self.outdated))


class _Turn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    role: Literal["user", "assistant"]
    text: str = Field(min_length=1)


class _Gold(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    document: str = Field(min_length=1)
    span: str | None = Field(default=None, min_length=1)


class _Row(BaseModel):
    """A row of a JSONL of items; the least that it needs is a question and its documents."""

    model_config = ConfigDict(extra="forbid", strict=True)
    id: str | None = Field(default=None, min_length=1)
    question: str = Field(min_length=1)
    kinds: list[Kind] = []
    split: Split | None = None
    history: list[_Turn] = []
    principal: str = "owner"
    gold: list[_Gold] = []
    documents: list[str] = []
    answer: str | None = None
    abstain: bool | None = None
    about: list[str] = []
    outdated: list[str] = []
    route: ExpectedRoute | None = None
    sink: str | None = None
    flags: dict[str, Any] = {}
    forbidden: list[str] = []
    provenance: dict[str, str] = {}
    note: str = ""

    @model_validator(mode="after")
    def _decided(self) -> _Row:
        judged = bool(self.gold or self.documents)
        if not judged and self.abstain is not True:
            raise ValueError('has neither "gold" nor "documents": a question without an answer says "abstain": true')
        if judged and self.abstain is True:
            raise ValueError('has documents that answer it, and "abstain": true')
        return self


def read_items(path: Path) -> tuple[Item, ...]:
    """Read a JSONL of items, or every one of a folder, by name.

    Raises:
        UsageError: a row is broken, or an id stands twice; names file and line.
    """
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    items = [parse_item(data, where) for file in files for where, data in rows_of(file)]
    _refuse_twins(items)
    if not items:
        raise UsageError(f"{path}: holds no questions")
    return tuple(items)


def rows_of(path: Path) -> Iterator[tuple[str, Any]]:
    """Where each row of a JSONL stands (``FILE:LINE``), and the row.

    Raises:
        UsageError: the file cannot be read, or a row is not JSON.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield f"{path}:{number}", parse_json(line)
            except ValueError as error:
                raise UsageError(f"{path}:{number}: is not JSON: {error}") from None


def parse_item(data: Any, where: str) -> Item:
    try:
        row = _Row.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: {f'{key}: ' if key else ''}{first['msg'].removeprefix('Value error, ')}") from None
    gold = (*(Gold(given.document, given.span) for given in row.gold), *(Gold(uri) for uri in row.documents))
    return Item(
        id=row.id or Path(where).name,
        question=row.question,
        kinds=tuple(row.kinds),
        split=row.split,
        history=tuple(Turn(turn.role, turn.text) for turn in row.history),
        principal=row.principal,
        gold=gold,
        answer=row.answer,
        abstain=not gold if row.abstain is None else row.abstain,
        about=tuple(row.about),
        outdated=tuple(row.outdated),
        route=row.route,
        sink=row.sink,
        flags=row.flags,
        forbidden=tuple(row.forbidden),
        line=where,
    )


def _refuse_twins(items: Sequence[Item]) -> None:
    seen: dict[str, Item] = {}
    for item in items:
        if item.id in seen:
            raise UsageError(f"{item.line}: id {item.id!r} stands at {seen[item.id].line} already")
        seen[item.id] = item
