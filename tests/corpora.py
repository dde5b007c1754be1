"""Small collections on a real disk, embedded by the fake embedder; the index and the ingestion tests share them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal

from domicile import labels
from domicile.adapters.generations import Generations
from domicile.adapters.index_writer import LocalIndexWriter
from domicile.adapters.indexes import LocalIndexes
from domicile.adapters.sentencex import SentencexSplitter
from domicile.domain import Collection, Document, Label, Scope, Sensitivity
from domicile.files import HashMemory
from domicile.ports import Commit, Gate, GateReport, IndexChange, NewChunk
from domicile.testing import HashEmbedder
from domicile_ingest.embedding import Tools
from domicile_ingest.labelling import Labeller
from domicile_ingest.parsing import parse
from domicile_ingest.pipeline import Options, Pipeline
from domicile_ingest.progress import Watch, unwatched
from domicile_ingest.report import Report
from domicile_ingest.sources import open_source

EMBEDDER = HashEmbedder()
TOOLS = Tools(EMBEDDER, SentencexSplitter(), parse)
COLLECTION = Collection("c")
ALL = Scope(None)
REGIONS = labels.Regions.known(["de", "fr", "us", "ch", *labels.EEA])
OPEN = Label(
    regions=frozenset({"local"}), sensitivity=Sensitivity.INTERNAL, hosted=False, retention_days=0,
    categories=frozenset(), purposes=frozenset({"answer"}), groups=None,
)  # fmt: skip

PASSED = GateReport("handbook", "0" * 64, True, "change", {"ndcg@10": 0.91, "r@5": 0.97}, (), {"ndcg@10": 0.02})
REFUSED = GateReport("handbook", "0" * 64, False, "change", {"ndcg@10": 0.6}, ("ndcg@10 fell by 0.31",))
"""What a gate may say."""


def label_for(groups: frozenset[str] | None) -> Label:
    return labels.from_record({**labels.to_record(OPEN), "groups": None if groups is None else sorted(groups)})


def put(
    change: IndexChange,
    uri: str,
    text: str,
    groups: frozenset[str] | None = None,
    origin: Literal["run", "api"] = "run",
) -> None:
    """Put a document whose paragraphs are its chunks."""
    chunks, at = [], 0
    for ordinal, paragraph in enumerate(text.split("\n\n")):
        chunks.append(NewChunk((f"part {ordinal}",), None, at, at + len(paragraph), paragraph, "", paragraph))
        at += len(paragraph) + 2
    vectors = EMBEDDER.embed([chunk.indexed for chunk in chunks], "document")
    change.put(Document(uri, uri, text, label_for(groups), f"digest of {text}", origin), "state", chunks, vectors)


def mail(text: str, **attachments: bytes) -> bytes:
    """A mail; ``_`` in the name of an attachment stands for a dot."""
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Pumps", "a@example.org", "b@example.org"
    message.set_content(text)
    for name, data in attachments.items():
        message.add_attachment(data, "application", "octet-stream", filename=name.replace("_", "."))
    return message.as_bytes()


@dataclass(frozen=True, slots=True)
class Shelf:
    """The folder of all collections and what reads and writes it. Each ``reader`` begins as a new process would."""

    root: Path
    hashes: HashMemory
    writer: LocalIndexWriter

    @classmethod
    def at(cls, path: Path, keep: int = 10) -> Shelf:
        root, hashes = path / "collections", HashMemory(path / "cache" / "hashes.txt")
        return cls(root, hashes, LocalIndexWriter(root, hashes, path / "cache" / "vectors", keep))

    @property
    def folder(self) -> Path:
        return self.root / COLLECTION.name

    @property
    def generations(self) -> Generations:
        return Generations(self.folder, self.hashes)

    def reader(self, collection: Collection = COLLECTION) -> LocalIndexes:
        """A reader that looks for a new generation at every request, as if half a second had gone by."""
        ticks: Callable[[], float] = itertools.count().__next__
        return LocalIndexes(
            self.root, lambda _: collection, HashMemory(self.root.parent / "cache" / "other.txt"), ticks
        )

    def commit(
        self, documents: Mapping[str, str | None], groups: frozenset[str] | None = None, gate: Gate | None = None
    ) -> Commit:
        """One generation in which these documents have these texts; ``None`` deletes one."""
        with self.writer.change(COLLECTION, EMBEDDER) as change:
            for uri, text in documents.items():
                if text is None:
                    change.delete(uri)
                else:
                    put(change, uri, text, groups)
            return change.commit(gate)

    def ingest(self, source: Path, options: Options | None = None, collection: Collection = COLLECTION,
               own: Mapping[str, Any] | None = None, rules: Mapping[str, Mapping[str, Any]] | None = None,
               max_bytes: int = 1_000_000, regions: labels.Regions = REGIONS, watch: Watch = unwatched) -> Report:  # fmt: skip
        """``ingest run`` with the fake embedder; ``own`` and ``rules`` are the collection's labels."""
        found = open_source(source, max_bytes)
        globs = tuple((glob, labels.parse(raw, regions)) for glob, raw in (rules or {}).items())
        labeller = Labeller(collection, regions, labels.parse(own or {}, regions), globs, found.sidecars)
        return Pipeline(self.writer, TOOLS, collection, labeller).run(found, options or Options(), watch)

    def leftovers(self) -> set[str]:
        """What lies in the collection's folder beyond ``CURRENT``, the lock, the manifests and what they name."""
        expected = {"CURRENT", "lock"}
        for number in self.generations.numbers():
            expected |= {f"generations/{number:06d}.json", *self.generations.manifest(number).files}
        lying = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if not path.is_dir()}
        empty = {path.relative_to(self.folder).as_posix() for kind in ("segments", "lexical")
                 for path in (self.folder / kind).iterdir() if not any(path.iterdir())}  # fmt: skip
        return (lying ^ expected) | empty
