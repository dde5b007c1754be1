"""One ingestion: scan, open, chunk, embed, write, commit; the stages overlap, and memory does not grow with the corpus.

Only what changed costs anything: a document is known by its URI, and is unchanged while its bytes, the labels that are
said about it from outside, the parser and the chunker are. Of a changed one, only passages with another text are embedded.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from domicile import labels
from domicile.domain import Collection, Document
from domicile.errors import DocumentError, UsageError
from domicile.labels import PartialLabel
from domicile.ports import DocumentState, Gate, IndexChange, IndexWriter
from domicile.uris import containers, is_erased
from domicile_ingest.chunking import chunk
from domicile_ingest.embedding import Prepared, Tools, prepare, write
from domicile_ingest.flow import ordered, threads
from domicile_ingest.gates import commit_through
from domicile_ingest.labelling import Labeller
from domicile_ingest.narrowing import Said
from domicile_ingest.plan import Plan, PlannedChange, PlannedFailure
from domicile_ingest.preparing import Opened, Text, open_item
from domicile_ingest.progress import Meter, Watch, unwatched
from domicile_ingest.report import COUNTS, Report, failures_to_json
from domicile_ingest.scan import PARTIAL, TAKEN, Scan, Surroundings, scan
from domicile_ingest.sources import Failure, Hidden, Item, Source

_KEPT = "!"
"""Ends the state of a document that was relabelled while its new text could not be read, or did not pass the gate."""
_NOT_AS_PLANNED = "is not any more what the plan was made for: make a new plan"
_OPENED_AHEAD = 8


@dataclass(frozen=True, slots=True)
class Options:
    """How to run.

    Attributes:
        no_delete: keep documents that the source does not hold any more.
        allow_empty: an empty source may delete everything.
        unerase: documents that were erased may come back.
    """

    no_delete: bool = False
    allow_empty: bool = False
    unerase: bool = False


@dataclass(slots=True)
class _Run:
    """One run under way.

    Attributes:
        plan: to which it keeps.
        opened: documents that were read, whose attachments are therefore known.
        written: documents that are in the change.
        said: what is said now of stored documents, for the case that the gate refuses the rest.
    """

    change: IndexChange
    states: Mapping[str, DocumentState]
    surroundings: Surroundings
    scan: Scan
    erased: frozenset[str]
    meter: Meter
    plan: Plan | None
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    opened: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    said: dict[str, Said] = field(default_factory=dict)

    def relabel(self, uri: str, said: PartialLabel, state: str) -> None:
        self.change.relabel(uri, partial(labels.narrow, flags=said), state)
        self.said[uri] = Said(said, state)

    def fail(self, failure: Failure) -> None:
        self.scan.fail(failure)
        self.meter.failed = len(self.scan.failures)

    def hidden(self) -> Hidden:
        return Hidden(self.scan.failures)


class Pipeline:
    """Brings a collection to what a source holds now."""

    def __init__(self, writer: IndexWriter, tools: Tools, collection: Collection, labeller: Labeller) -> None:
        self._writer = writer
        self._tools = tools
        self._collection = collection
        self._labeller = labeller

    def run(
        self,
        source: Source,
        options: Options,
        watch: Watch = unwatched,
        plan: Plan | None = None,
        gate: Gate | None = None,
    ) -> Report:
        """Ingest, as one generation, all or nothing; documents that fail are listed and keep their last good version.

        Args:
            plan: do only what it says.
            gate: must pass what is new before it serves.

        Raises:
            UsageError: the source is empty and would delete everything; the plan is of another generation.
            Refused: the gate said no.
            Cancelled: the watch said so.
            WriterBusy, EmbedderMismatch, StorageError: see ``IndexWriter``.
        """
        with self._begin(source, options, Meter(watch), plan) as run:
            with closing(self._prepared(run, source)) as documents:
                write(documents, run.change, self._tools, run.meter)
            missing = self._missing(run, options) if plan is None else _planned_deletions(run, plan)
            self._narrow_kept(run, source)
            self._narrow_put(run)
            for uri in missing:
                run.change.delete(uri)
            run.counts["deleted"] = len(missing)
            run.meter.begin("committing", 1)
            commit = commit_through(run.change, gate, self._collection.name, run.scan.failures, run.said)
            run.meter.done()
        run.counts["failed"] = len(run.scan.failures)
        return Report(
            self._collection.name,
            commit,
            run.counts,
            tuple(run.scan.failures),
            run.scan.told(),
            run.meter.embedded,
            run.meter.reused,
            run.meter.seconds,
        )

    def plan(self, source: Source, options: Options, watch: Watch = unwatched) -> Plan:
        """What ``run`` would do now; nothing is embedded, written or changed.

        Raises:
            As ``run`` does.
        """
        with self._begin(source, options, Meter(watch), None) as run:
            current = run.change.current
            changes = []
            with closing(self._prepared(run, source)) as documents:
                for prepared in documents:
                    run.meter.done(*prepared.credit)
                    changes.append(_planned(prepared, run.states))
            missing = self._missing(run, options)
            changes += [PlannedChange(document=uri, action="delete") for uri in missing]
        counts = run.counts | {"deleted": len(missing), "failed": len(run.scan.failures)}
        return Plan(
            collection=self._collection.name,
            generation=current.generation if current is not None else 0,
            source=str(source.place.absolute()),
            unerase=options.unerase,
            documents=counts,
            failures=tuple(PlannedFailure(**failure) for failure in failures_to_json(run.scan.failures)),
            warnings=run.scan.told(),
            changes=tuple(changes),
            chunks=sum(change.chunks for change in changes),
            embed=sum(change.embed for change in changes),
            seconds=round(run.meter.seconds, 3),
        )

    @contextmanager
    def _begin(self, source: Source, options: Options, meter: Meter, plan: Plan | None) -> Iterator[_Run]:
        """Open a change and scan the source."""
        with self._writer.change(self._collection, self._tools.embedder) as change:
            if plan is not None:
                _check_plan(plan, change)
            states = change.states()
            surroundings = Surroundings(self._labeller)
            erased = frozenset() if options.unerase else change.erased
            found = scan(source, states, surroundings, erased, meter)
            found.warnings += self._labeller.orphans(frozenset(source.files))
            run = _Run(change, states, surroundings, found, erased, meter, plan)
            run.counts["unchanged"] = found.unchanged
            if plan is not None:
                _keep_to(plan, run)
            elif not found.seen and not options.allow_empty and (missing := self._missing(run, options)):
                raise UsageError(
                    f"the source is empty, and {len(missing)} documents would be deleted: "
                    "pass --allow-empty if that is meant"
                )
            yield run

    def _prepared(self, run: _Run, source: Source) -> Generator[Prepared]:
        """Every document that must be written, opened ahead in threads, cut into passages here."""
        run.meter.begin("embedding", len(run.scan.wanted), run.scan.size)
        missing = set(run.scan.wanted)
        with threads(self._tools.parsers, "open") as pool:
            items = self._items(run, source, missing)
            for opened in ordered(pool, partial(open_item, parser=self._tools.parser), items, _OPENED_AHEAD):
                yield from self._take(run, opened)
        missing -= {failure.document for failure in run.scan.failures}
        for uri in (wanted for wanted in run.scan.wanted if wanted in missing):
            run.fail(Failure(uri, "changing", "vanished while it was to be read: run again"))

    def _items(self, run: _Run, source: Source, missing: set[str]) -> Iterator[Item]:
        failed = {failure.document for failure in run.scan.failures}
        for found in source.read(run.scan.wanted):
            if isinstance(found, Item):
                missing.discard(found.uri)
                if run.plan is not None and found.digest != run.scan.wanted[found.uri].digest:
                    run.fail(Failure(found.uri, "changed", _NOT_AS_PLANNED, f"{found.uri}!/"))
                else:
                    yield found
            elif found.document not in failed:
                run.fail(found)

    def _take(self, run: _Run, opened: Opened) -> Iterator[Prepared]:
        """Decide what becomes of a document and its attachments."""
        failures = [*opened.failures, *_taken(run, opened)]
        for failure in failures:
            run.fail(failure)
        if opened.texts:
            run.opened.add(opened.uri)
        refused = {failure.document for failure in failures}
        credit = (1, opened.size)
        for text in opened.texts:
            if text.uri in refused:
                continue
            mark = PARTIAL if failures and text.uri == opened.uri else ""
            prepared = self._prepare(run, text, mark, credit)
            if prepared is not None:
                credit = (0, 0)
                yield prepared
        run.meter.done(*credit)

    def _prepare(self, run: _Run, text: Text, mark: str, credit: tuple[int, int]) -> Prepared | None:
        """A document with its passages; ``None`` where it is not to be written."""
        run.scan.seen.add(text.uri)
        if is_erased(text.uri, run.erased):
            run.scan.warnings.append(f"{text.uri}: was erased and stays out: pass --unerase to take it back")
            return None
        outside, state = run.surroundings.of(text.file)
        state += mark
        old = run.states.get(text.uri)
        if old is not None and (old.digest, old.state) == (text.digest, state):
            run.counts["unchanged"] += 1
            return None
        try:
            chunks = chunk(text.parsed, text.parsed.title, self._tools.embedder, self._tools.splitter)
        except DocumentError as error:
            run.fail(Failure(text.uri, error.kind, error.reason))
            return None
        label, warnings = self._labeller.label(text.uri, outside, text.parsed.label)
        run.scan.warnings += warnings
        if old is not None:
            run.said[text.uri] = Said(labels.partial_of(label), f"{state}{_KEPT}")
        run.scan.remark(text.uri, text.parsed.metadata)
        run.counts["added" if old is None else "changed"] += 1
        run.written.add(text.uri)
        parsed = text.parsed
        document = Document(
            text.uri, parsed.title, parsed.text, label, text.digest, "run", parsed.layout, parsed.metadata.values
        )
        return prepare(document, state, chunks, credit, run.change, self._tools.embedder.dimensions)

    def _narrow_kept(self, run: _Run, source: Source) -> None:
        """A document that cannot be read now keeps its text, but not a wider label than what is said about it now.

        Its state is marked, so that it is labelled anew as soon as it can be read.
        """
        failed = {failure.document for failure in run.scan.failures} - run.written
        hidden = run.hidden()
        for uri, old in run.states.items():
            if old.origin == "run" and (uri in failed or (uri not in run.scan.seen and uri in hidden)):
                file = source.file_of(uri, run.states)
                outside, state = run.surroundings.of(file)
                if old.state.rstrip(_KEPT + PARTIAL) != state:
                    # what nobody says any more is not allowed any more, unless who said it cannot be listed now
                    said = self._labeller.whole(outside) if file in source.known else labels.join_partial(outside)
                    run.relabel(uri, said, f"{state}{_KEPT}")

    def _narrow_put(self, run: _Run) -> None:
        """What was put through the API is no source's, but what is said of the collection now holds for it, too."""
        surroundings = Surroundings(replace(self._labeller, sidecars={}))
        for uri, old in run.states.items():
            if old.origin == "api":
                outside, state = surroundings.of(list(containers(uri))[-1])
                if old.state != state:
                    run.relabel(uri, labels.join_partial(outside), state)

    def _missing(self, run: _Run, options: Options) -> list[str]:
        """What the source does not hold any more; what was put through the API has its own origin and stays.

        An attachment that left its mail is never kept: it went with the old version of the mail.
        """
        hidden = run.hidden()
        return [
            uri
            for uri, state in run.states.items()
            if state.origin == "run" and uri not in run.scan.seen and uri not in hidden
            if not options.no_delete or not run.opened.isdisjoint(containers(uri))
        ]


def _taken(run: _Run, opened: Opened) -> Iterator[Failure]:
    """The attachments whose URIs belong to others."""
    for text in opened.texts:
        if (old := run.states.get(text.uri)) is not None and old.origin != "run":
            yield Failure(text.uri, "duplicate", TAKEN)
        elif text.uri in run.written:
            yield Failure(text.uri, "duplicate", "another document of this source has the same URI: rename one")


def _planned(prepared: Prepared, states: Mapping[str, DocumentState]) -> PlannedChange:
    document = prepared.document
    return PlannedChange(
        document=document.uri,
        action="change" if document.uri in states else "add",
        digest=document.digest,
        chunks=len(prepared.chunks),
        embed=len(prepared.missing),
    )


def _check_plan(plan: Plan, change: IndexChange) -> None:
    """Raises ``UsageError`` where the collection is not the one that the plan was made for."""
    current = change.current
    serving = current.generation if current is not None else 0
    if plan.generation != serving:
        raise UsageError(
            f"the plan starts from generation {plan.generation}, and {serving} serves now: make a new plan"
        )


def _keep_to(plan: Plan, run: _Run) -> None:
    """Leave in the scan only what was planned; what is not any more as it was planned for is a failure."""
    planned = plan.wanted
    outer = {place for uri in planned for place in islice(containers(uri), 1, None)}
    # a mail that stays as it is is read again for an attachment that is planned
    as_it_is = {uri: state.digest for uri, state in run.states.items() if uri in outer and uri not in planned}
    run.scan.wanted = {
        uri: entry for uri, entry in run.scan.wanted.items() if (planned.get(uri) or as_it_is.get(uri)) == entry.digest
    }
    failed = {failure.document for failure in run.scan.failures}
    for uri in planned:
        # an attachment goes with what it lies in
        if (
            uri not in failed
            and run.scan.wanted.keys().isdisjoint(containers(uri))
            and planned.keys().isdisjoint(islice(containers(uri), 1, None))
        ):
            run.fail(Failure(uri, "changed", _NOT_AS_PLANNED, f"{uri}!/"))


def _planned_deletions(run: _Run, plan: Plan) -> list[str]:
    """Those that are still missing; one that came back is a failure and stays."""
    back = {uri for uri in plan.deleted if uri in run.scan.seen}
    for uri in sorted(back):
        run.fail(Failure(uri, "changed", "was to be deleted and is there again: make a new plan"))
    hidden = run.hidden()
    return [uri for uri in plan.deleted if uri in run.states and uri not in back and uri not in hidden]
