"""Suites: judged questions together with who asks them, of which collection, and what must be reached."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from domicile.domain import OWNER, Principal
from domicile.errors import UsageError
from domicile_eval.beir import read_beir
from domicile_eval.items import Item, Split, read_items, rows_of
from domicile_eval.metrics import METRICS

GENERATED = 40
"""Answers that a run writes with the language model unless it is asked for all."""
PRIMARY = ("ndcg@10", "correct")
_DEFINITION = "suite.toml"
_LONGEST_PATH, _LONGEST_NAME = 4_000, 255
"""Bytes that the kernel takes."""
OWNER_NAME = "owner"


@dataclass(frozen=True, slots=True)
class Facts:
    """What people noted of a document, independently of what the product computes.

    Attributes:
        readers: groups that may read it; empty for everybody.
        sinks: of the suite, that may have its text.
    """

    document: str
    split: Split
    readers: frozenset[str] = frozenset()
    sinks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Suite:
    """What is asked, and what must be reached.

    Attributes:
        root: the folder of ``golden/`` and ``baselines/``.
        hash: sha256 of all that decides what is asked and what is right.
        collection: that it is about; ``None`` where the caller says.
        answers: whether answers are asked for, and not only searched.
        floors: metric to the least value (for metrics where less is better: the largest).
        stage: sinks, routing and tenants in the form of ``domicile.toml``, for the items of kind residency.
    """

    name: str
    root: Path
    items: tuple[Item, ...]
    hash: str
    collection: str | None = None
    answers: bool = True
    generated: int = GENERATED
    primary: tuple[str, ...] = PRIMARY
    floors: Mapping[str, float] = field(default_factory=dict)
    principals: Mapping[str, Principal] = field(default_factory=dict)
    stage: Mapping[str, Any] = field(default_factory=dict)
    documents: Mapping[str, Facts] = field(default_factory=dict)

    @property
    def baseline(self) -> Path:
        return self.root / "baselines" / f"{self.name}.json"

    def collection_or(self, given: str | None) -> str:
        """The collection to ask: the one that is given, else the suite's.

        Raises:
            UsageError: neither names one.
        """
        name = given or self.collection
        if name is None:
            raise UsageError(f"suite {self.name!r} names no collection: give --collection")
        return name

    def principal(self, item: Item) -> Principal:
        """Who asks.

        Raises:
            UsageError: the suite does not say who that is.
        """
        if item.principal == OWNER_NAME:
            return OWNER
        if item.principal not in self.principals:
            raise UsageError(f"{item.line or item.id}: principal {item.principal!r} is not in the suite's [principals]")
        return self.principals[item.principal]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Principal(_Strict):
    tenant: str = "default"
    groups: list[str] = []


_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Definition(_Strict):
    """``suite.toml``."""

    version: str
    collection: str
    items: str = "items"
    documents: str | None = None
    sample: int | None = Field(default=None, ge=1)
    answers: bool = True
    generated: int = Field(default=GENERATED, ge=0)
    primary: list[str] = Field(default=list(PRIMARY), min_length=1)
    floors: dict[str, _Finite] = {}
    principals: dict[str, _Principal] = {}
    sinks: list[dict[str, Any]] = []
    routing: dict[str, Any] = {}
    tenants: dict[str, Any] = {}


class _Facts(_Strict):
    document: str
    split: Split
    readers: list[str] = []
    sinks: list[str] = []


def open_suite(given: str, root: Path | None, split: str | None = None) -> Suite:
    """A suite by its name, or a path: a folder with ``suite.toml``, a BEIR folder, or a JSONL of items.

    Args:
        root: a folder with ``golden/`` and ``baselines/``; by default the one of the checkout.
        split: of the items, or of a BEIR folder's ``qrels``.

    Raises:
        UsageError: there is no such suite, or something in it is wrong; names file and line.
    """
    place = (root or checkout()) / "golden"
    if (
        len(os.fsencode(given)) > _LONGEST_PATH
        or max(len(os.fsencode(part)) for part in given.split("/")) > _LONGEST_NAME
    ):
        raise UsageError("--suite: is longer than a path can be")
    if "/" not in given and (place / given / _DEFINITION).is_file():
        return _defined(place / given, root or checkout(), split)
    path = Path(given)
    if (path / _DEFINITION).is_file():
        return _defined(path, path.resolve().parent.parent, split)
    if (path / "qrels").is_dir():
        return _plain(path.resolve().name, path.resolve().parent, read_beir(path, split), answers=False)
    if path.is_file():
        return _plain(path.stem, path.resolve().parent, _of_split(read_items(path), split, str(path)), answers=True)
    known = ", ".join(sorted(found.parent.name for found in place.glob(f"*/{_DEFINITION}"))) or "none"
    raise UsageError(
        f"--suite {given}: neither a suite of {place} (there are: {known}) nor a folder in BEIR's layout "
        "(queries.jsonl and qrels) nor a JSONL of questions"
    )


def checkout() -> Path:
    """The folder of the shipped suites."""
    return Path(__file__).resolve().parents[1]


def _plain(name: str, root: Path, items: tuple[Item, ...], *, answers: bool) -> Suite:
    primary = PRIMARY if answers else PRIMARY[:1]
    return _checked(Suite(name, root, items, _hash(items), answers=answers, primary=primary))


def _defined(folder: Path, root: Path, split: str | None) -> Suite:
    where = folder / _DEFINITION
    data, base = _read(folder)
    try:
        read = _Definition.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"{where}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
    for metric in (*read.floors, *read.primary):
        if metric not in METRICS:
            raise UsageError(f"{where}: unknown metric {metric!r}: there are {', '.join(METRICS)}")
    if OWNER_NAME in read.principals:
        raise UsageError(
            f"{where}: principals.{OWNER_NAME}: is who sees all, and cannot be declared: choose another name"
        )
    items = read_items(base / read.items)
    principals = {name: Principal(name, one.tenant, frozenset(one.groups)) for name, one in read.principals.items()}
    facts = {} if read.documents is None else _facts(base / read.documents)
    stage = {"sinks": read.sinks, "routing": read.routing, "tenants": read.tenants} if read.sinks else {}
    if read.sample is not None:
        chosen = choose(items, read.sample)
        items = tuple(item for item in items if item.id in chosen)
    made = Suite(
        name=folder.resolve().name,
        root=root,
        items=_of_split(items, split, str(where)),
        hash=_hash(items, principals, stage, facts),
        collection=read.collection,
        answers=read.answers,
        generated=read.generated,
        primary=tuple(read.primary),
        floors=read.floors,
        principals=principals,
        stage=stage,
        documents=facts,
    )
    return _checked(made)


def _checked(suite: Suite) -> Suite:
    """The suite, of which every item says who asks."""
    for item in suite.items:
        suite.principal(item)
    return suite


def _read(folder: Path, *, extended: bool = False) -> tuple[dict[str, Any], Path]:
    """A definition, with what it does not say taken from the one that it extends; and where its files lie."""
    where = folder / _DEFINITION
    try:
        data = tomllib.loads(where.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from None
    name = data.pop("extends", None)
    if name is None:
        return data, folder
    if extended or not isinstance(name, str) or "/" in name:
        raise UsageError(f"{where}: extends: names a suite beside this one, which extends no other")
    inherited, base = _read(folder.parent / name, extended=True)
    return inherited | data, base


def _facts(path: Path) -> dict[str, Facts]:
    found: dict[str, Facts] = {}
    for where, data in rows_of(path):
        try:
            row = _Facts.model_validate(data)
        except ValidationError as error:
            raise UsageError(f"{where}: {error.errors(include_url=False)[0]['msg']}") from None
        if row.document in found:
            raise UsageError(f"{where}: {row.document!r} is noted twice: which of the two holds?")
        found[row.document] = Facts(row.document, row.split, frozenset(row.readers), frozenset(row.sinks))
    return found


def _of_split(items: tuple[Item, ...], split: str | None, where: str) -> tuple[Item, ...]:
    chosen = tuple(item for item in items if split in (None, item.split))
    if not chosen:
        raise UsageError(f"{where}: no question is of split {split!r}")
    return chosen


def choose(items: tuple[Item, ...], count: int) -> frozenset[str]:
    """The ids of so many items, always the same ones: from each kind in turn, in the order of a hash of their ids."""
    waiting: dict[str, list[str]] = {}
    for item in sorted(items, key=lambda item: hashlib.sha256(item.id.encode()).digest(), reverse=True):
        waiting.setdefault(item.kinds[0] if item.kinds else "plain", []).append(item.id)
    chosen: list[str] = []
    while len(chosen) < count and any(waiting.values()):
        chosen += [ids.pop() for _, ids in sorted(waiting.items()) if ids]
    return frozenset(chosen[:count])


def _hash(items: tuple[Item, ...], *rest: object) -> str:
    """Of everything but where the items stand."""
    told = [replace(item, line="") for item in items]
    written = json.dumps(
        [TypeAdapter(list[Item]).dump_python(told, mode="json"), repr([_ordered(part) for part in rest])]
    )
    return hashlib.sha256(written.encode()).hexdigest()


def _ordered(value: object) -> object:
    """The same text for equal values, whatever the order of their sets."""
    if isinstance(value, Mapping):
        return sorted((str(key), _ordered(one)) for key, one in value.items())
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, (Principal, Facts)):
        return [_ordered(getattr(value, name)) for name in value.__slots__]
    return value
