"""Changes of single documents, and of what is stored: put, delete, erase, reindex. Each is one generation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from domicile.domain import Collection, Document
from domicile.errors import DocumentError, Forbidden, UnknownDocument
from domicile.labels import partial_of
from domicile.metadata import merge, read
from domicile.ports import DocumentState, Gate, IndexChange, IndexWriter
from domicile.uris import erased_hash, is_erased, is_or_lies_in
from domicile_ingest.chunking import chunk
from domicile_ingest.embedding import Prepared, Tools, prepare, write
from domicile_ingest.gates import commit_through
from domicile_ingest.labelling import Labeller
from domicile_ingest.narrowing import Said
from domicile_ingest.parsing.parsed import Parsed, clean, one_line, require_text
from domicile_ingest.preparing import Text, open_item
from domicile_ingest.progress import Meter, Watch
from domicile_ingest.report import COUNTS, Report
from domicile_ingest.scan import Surroundings
from domicile_ingest.sources import Failure, Hidden, Item, Parser


@dataclass(frozen=True, slots=True)
class Upload:
    """A document that was put through the API.

    Attributes:
        name: of its file, where it is one; it only tells apart kinds of text.
        data: the file; with ``plain`` a text in UTF-8, taken as it is.
        title: of a plain text.
        label: that is declared with it, not yet checked; joined with what the file itself declares.
        metadata: that is declared with it; its fields go before those of the file itself.
    """

    name: str
    data: bytes
    title: str | None = None
    label: Mapping[str, object] | None = None
    plain: bool = False
    metadata: Mapping[str, object] | None = None

    @property
    def digest(self) -> str:
        """sha256 of all of it."""
        head = json.dumps([self.name, self.title, self.label, self.plain, self.metadata], sort_keys=True)
        return hashlib.sha256(head.encode("utf-8", "surrogatepass") + b"\0" + self.data).hexdigest()

    def parse(self, parser: Parser) -> Parsed:
        """Its text.

        Raises:
            DocumentError: it has none.
        """
        if not self.plain:
            return parser(self.name, self.data)
        text = clean(self.data.decode("utf-8", "replace"))
        return require_text(Parsed(one_line(self.title or ""), text, markdown=False))


class Documents:
    """Changes documents of one collection, one at a time."""

    def __init__(self, writer: IndexWriter, collection: Collection, labeller: Labeller) -> None:
        self._writer = writer
        self._collection = collection
        self._labeller = labeller

    def put(
        self,
        uri: str,
        upload: Upload,
        tools: Tools,
        watch: Watch,
        readers: frozenset[str] | None = None,
        gate: Gate | None = None,
    ) -> Report:
        """Add or replace a document; its attachments are documents of their own.

        A document that came from a source is not replaced: it would come back with the next run.

        Args:
            readers: the groups of who asks for it, ``None`` for the owner.
            gate: must pass what is new before it serves.

        Raises:
            Refused: the gate said no.
            Forbidden: it, or what lies in it, is not open to these readers; nothing is changed.
            WriterBusy, EmbedderMismatch, StorageError, Cancelled: see ``IndexWriter`` and ``Watch``.
        """
        meter = Meter(watch)
        meter.begin("embedding", 1)
        opened = open_item(Item(uri, uri, upload.digest, len(upload.data), upload.parse), tools.parser)
        result = _Result(meter, list(opened.failures), gate)
        with self._writer.change(self._collection, tools.embedder) as change:
            states = change.states()
            _refuse_hidden(_inside(states, uri), change, readers)
            if is_erased(uri, change.erased) and erased_hash(uri) not in change.erased:
                # to take it back would take back everything else that lay there
                result.failures.append(Failure(uri, "erased", "lies in a document that was erased: choose another URI"))
                return result.report(self._collection, change)
            documents = (self._prepare(text, upload, states, change, tools, result) for text in opened.texts)
            write((prepared for prepared in documents if prepared is not None), change, tools, meter)
            if opened.texts:  # of one that failed, all stays as it was
                hidden = Hidden(result.failures)  # an attachment that failed keeps its last good version
                kept = {text.uri for text in opened.texts} | {failure.document for failure in result.failures}
                for stored in _inside(states, uri) - kept:
                    if states[stored].origin == "api" and stored not in hidden:
                        change.delete(stored)
                        result.counts["deleted"] += 1
            return result.report(self._collection, change)

    def delete(self, uri: str, watch: Watch, readers: frozenset[str] | None = None, gate: Gate | None = None) -> Report:
        """Delete a document and its attachments.

        Args:
            readers, gate: see ``put``.

        Raises:
            Refused: the gate said no.
            UnknownDocument: it is not there, or not open to these readers (the two are not told apart).
            Forbidden: something in it is not open to them; nothing is changed.
        """
        result = _Result(Meter(watch), [], gate)
        with self._writer.change(self._collection, None) as change:
            states = change.states()
            if uri not in states or _hidden(uri, change, readers):
                raise UnknownDocument(self._collection.name, uri)
            _refuse_hidden(inside := _inside(states, uri), change, readers)
            for stored in inside:
                change.delete(stored)
                result.counts["deleted"] += 1
            return result.report(self._collection, change)

    def erase(self, uris: list[str], watch: Watch) -> Report:
        """Remove documents, and what lies in them, for ever: no rollback brings them back. No gate is asked.

        Raises:
            UnknownDocument: no retained generation holds one of them; then nothing is erased.
        """
        result = _Result(Meter(watch), [])
        with self._writer.change(self._collection, None) as change:
            result.counts["deleted"] = len(change.erase(uris))
            return result.report(self._collection, change)

    def reindex(self, tools: Tools, watch: Watch, gate: Gate | None = None) -> Report:
        """Cut and embed every stored document anew, by the embedder and chunker of now; the sources are not needed.

        Raises:
            Refused: the gate said no.
        """
        result = _Result(Meter(watch), [], gate)
        with self._writer.change(self._collection, tools.embedder, rebuild=True) as change:
            states = change.states()
            result.meter.begin("embedding", len(states))
            write(_stored(states, change, tools), change, tools, result.meter)
            result.counts["changed"] = len(states)
            return result.report(self._collection, change)

    def _prepare(
        self,
        text: Text,
        upload: Upload,
        states: Mapping[str, DocumentState],
        change: IndexChange,
        tools: Tools,
        result: _Result,
    ) -> Prepared | None:
        outside, state = Surroundings(self._labeller).of(text.file)
        old = states.get(text.uri)
        if old is not None and old.origin != "api":
            reason = "a document that came from a source has the same URI: change it there, or choose another"
            result.failures.append(Failure(text.uri, "duplicate", reason))
            return None
        if old is not None and (old.digest, old.state) == (text.digest, state):
            result.counts["unchanged"] += 1
            return None
        try:
            chunks = chunk(text.parsed, text.parsed.title, tools.embedder, tools.splitter)
        except DocumentError as error:
            result.failures.append(Failure(text.uri, error.kind, error.reason))
            return None
        parsed = text.parsed
        label, warnings = self._labeller.label(text.uri, outside, parsed.label, upload.label)
        metadata = merge(read(upload.metadata), parsed.metadata)
        if old is not None:
            result.said[text.uri] = Said(partial_of(label), state)
        result.warnings += [*warnings, *(f"{text.uri}: {remark}" for remark in metadata.remarks)]
        result.counts["added" if old is None else "changed"] += 1
        document = Document(
            text.uri, parsed.title, parsed.text, label, text.digest, "api", parsed.layout, metadata.values
        )
        return prepare(document, state, chunks, (1, 0), change, tools.embedder.dimensions)


@dataclass(slots=True)
class _Result:
    """What a change of single documents did so far."""

    meter: Meter
    failures: list[Failure]
    gate: Gate | None = None
    warnings: list[str] = field(default_factory=list)
    said: dict[str, Said] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))

    def report(self, collection: Collection, change: IndexChange) -> Report:
        """Commit, and say what was done."""
        self.meter.begin("committing", 1)
        commit = commit_through(change, self.gate, collection.name, self.failures, self.said)
        self.meter.done()
        return Report(
            collection.name,
            commit,
            self.counts | {"failed": len(self.failures)},
            tuple(self.failures),
            tuple(self.warnings),
            self.meter.embedded,
            self.meter.reused,
            self.meter.seconds,
        )


def _inside(states: Mapping[str, DocumentState], uri: str) -> set[str]:
    """The document and its attachments, as far as they are there."""
    return {stored for stored in states if is_or_lies_in(stored, uri)}


def _refuse_hidden(uris: Iterable[str], change: IndexChange, readers: frozenset[str] | None) -> None:
    """
    Raises:
        Forbidden: one of the stored documents is not open to these readers, who would destroy it unseen.
    """
    if any(_hidden(uri, change, readers) for uri in uris):
        raise Forbidden("the document, or one attached to it, is not open to the key that asked for this")


def _hidden(uri: str, change: IndexChange, readers: frozenset[str] | None) -> bool:
    if readers is None:
        return False
    document = change.document(uri)
    return document is not None and document.label.groups is not None and document.label.groups.isdisjoint(readers)


def _stored(states: Mapping[str, DocumentState], change: IndexChange, tools: Tools) -> Iterator[Prepared]:
    """Every document of the index, cut anew."""
    for uri, state in states.items():
        document = change.document(uri)
        assert document is not None
        layout = document.layout
        parsed = Parsed(document.title, document.text, layout.markdown, layout.pages, None, layout.table)
        chunks = chunk(parsed, parsed.title, tools.embedder, tools.splitter)
        yield prepare(document, state.state, chunks, (1, 0), change, tools.embedder.dimensions)
