"""What a source holds now against what the index holds: which documents are to be read, and which are gone.

Every byte is read and hashed, and none is parsed: a run without a change costs no more than this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

from domicile.labels import PartialLabel
from domicile.metadata import Metadata
from domicile.ports import DocumentState
from domicile.uris import containers, holds_rows, is_erased
from domicile_ingest.chunking import CHUNKING
from domicile_ingest.labelling import Labeller
from domicile_ingest.progress import Meter
from domicile_ingest.sources import Failure, Item, Source

TAKEN = "a document that was put through the API has the same URI: rename one"
MAX_REMARKED = 20
"""Documents whose metadata is warned of one by one: a whole corpus may have a field that does not fit."""
PARTIAL = "?"
"""Ends the state of a document some of whose attachments failed: it is read again until they do not."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A document that is new or seems changed."""

    digest: str
    size: int


@dataclass(slots=True)
class Scan:
    """What was found.

    Attributes:
        wanted: to be read, by URI, in the order of the source.
        unchanged: documents that are as they were, attachments included.
        seen: every URI that the source holds, wanted or not.
        remarked: documents of whose metadata something was left out.
    """

    wanted: dict[str, Wanted] = field(default_factory=dict)
    unchanged: int = 0
    seen: set[str] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    remarked: int = 0

    def fail(self, failure: Failure) -> None:
        self.failures.append(failure)
        self.seen.add(failure.document)

    def remark(self, uri: str, metadata: Metadata) -> None:
        """Warn of what was left out of a document's metadata, document by document while they are few."""
        if metadata.remarks:
            self.remarked += 1
            if self.remarked <= MAX_REMARKED:
                self.warnings += [f"{uri}: {remark}" for remark in metadata.remarks]

    def told(self) -> tuple[str, ...]:
        """The warnings."""
        more = self.remarked - MAX_REMARKED
        return (*self.warnings, *([f"metadata: something was left out of {more} more documents"] if more > 0 else []))

    @property
    def size(self) -> int:
        """Bytes of what is wanted."""
        return sum(wanted.size for wanted in self.wanted.values())


class Surroundings:
    """What is said of documents from outside, and the state that this makes of them; once for all rows of a file."""

    def __init__(self, labeller: Labeller) -> None:
        self._labeller = labeller
        self._state = lru_cache(1_024)(self._hashed)
        self._file: str | None = None
        self._known: tuple[list[PartialLabel], list[str], str] = ([], [], "")

    def of(self, file: str) -> tuple[list[PartialLabel], str]:
        """The labels from outside, and the state: a hash of all but the bytes that passages and labels depend on."""
        outside, _, state = self._look(file)
        return outside, state

    def warnings(self, file: str) -> list[str]:
        """Those of a file, once."""
        warnings = self._look(file)[1]
        found = list(warnings)
        warnings.clear()
        return found

    def _look(self, file: str) -> tuple[list[PartialLabel], list[str], str]:
        if file != self._file:
            outside, warnings = self._labeller.outside(file)
            self._file, self._known = file, (outside, warnings, self._state(tuple(outside)))
        return self._known

    def _hashed(self, outside: tuple[PartialLabel, ...]) -> str:
        return hashlib.sha256(f"{CHUNKING}\0{self._labeller.state(outside)}".encode()).hexdigest()[:16]


def scan(
    source: Source,
    states: Mapping[str, DocumentState],
    surroundings: Surroundings,
    erased: frozenset[str],
    meter: Meter,
) -> Scan:
    """Look at every document of a source.

    Args:
        states: of the documents of the current generation.
        erased: hashes of the URIs that may not come back.
    """
    found = Scan()
    inside = _attachments(states)
    meter.begin("scanning", len(source))
    for item in source:
        if isinstance(item, Failure):
            found.fail(item)
        else:
            _compare(found, item, states, inside, surroundings, erased)
        meter.failed = len(found.failures)
        meter.done()
    return found


def _compare(
    found: Scan,
    item: Item,
    states: Mapping[str, DocumentState],
    inside: Mapping[str, list[str]],
    surroundings: Surroundings,
    erased: frozenset[str],
) -> None:
    found.seen.add(item.uri)
    found.warnings += surroundings.warnings(item.file)
    if is_erased(item.uri, erased):
        found.warnings.append(f"{item.uri}: was erased and stays out: pass --unerase to take it back")
        return
    old = states.get(item.uri)
    if old is not None and old.origin != "run":
        found.fail(Failure(item.uri, "duplicate", TAKEN))
    elif old is not None and (old.digest, old.state) == (item.digest, surroundings.of(item.file)[1]):
        attachments = () if holds_rows(item.file) else inside.get(item.uri, ())
        found.seen.update(attachments)
        found.unchanged += 1 + len(attachments)
    else:
        found.wanted[item.uri] = Wanted(item.digest, item.size)


def _attachments(states: Mapping[str, DocumentState]) -> dict[str, list[str]]:
    """What lies in each document, at any depth; and in each folder whose name ends in "!", which nobody asks for."""
    found: dict[str, list[str]] = {}
    for uri, state in states.items():
        if "!/" in uri and state.origin == "run":
            for container in islice(containers(uri), 1, None):
                found.setdefault(container, []).append(uri)
    return found
