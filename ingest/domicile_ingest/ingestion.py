"""The worker's composition root: a home in, the use cases of ingestion out. Commands and jobs come through here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from domicile.bootstrap import Home
from domicile.console import prepare_home
from domicile.errors import UnknownDocument, UsageError
from domicile.models.artefact import ModelFolder
from domicile.ports import Embedder, Gate
from domicile_ingest.documents import Documents, Upload
from domicile_ingest.embedding import Tools
from domicile_ingest.gates import Gates, Heard
from domicile_ingest.labelling import Labeller
from domicile_ingest.narrowing import narrow_stored
from domicile_ingest.parsing.sandbox import Sandbox
from domicile_ingest.pipeline import Options, Pipeline
from domicile_ingest.plan import Plan
from domicile_ingest.progress import Progress, Watch, unwatched
from domicile_ingest.report import Refused, Report
from domicile_ingest.sources import Source, open_source

__all__ = ["Ingestion", "Options", "Plan", "Progress", "Refused", "Report", "Upload", "Watch"]


class Ingestion:
    """The use cases of ingestion over one home, one at a time.

    The embedder and the parsing processes are made when first needed and kept until the end of the block: a command
    uses them once, a worker for all its jobs. A model that changes on disk meanwhile is verified and loaded anew.

    Whatever publishes is refused where the collection's gate says no (``Refused``), or cannot be asked (``UsageError``,
    ``MissingExtra``), and then before anything is read; but ``erase`` asks nobody, and labels become narrower all the same.

    Args:
        gates: by default those that the settings name.
    """

    def __init__(self, home: Home, gates: Gates | None = None) -> None:
        self._home = home
        self._gates = gates or Gates(home)
        self._sandbox = Sandbox()
        self._embedder: tuple[ModelFolder, Embedder] | None = None

    def __enter__(self) -> Ingestion:
        return self

    def __exit__(self, *error: object) -> None:
        self._sandbox.close()

    def run(self, source: Path, collection: str, options: Options, watch: Watch = unwatched) -> Report:
        """Make a collection what a source holds now.

        Raises:
            UsageError: the source is not there, or would delete everything.
            Others: see ``Pipeline.run``.
        """
        with self._gated(collection, watch) as (gate, heard):
            pipeline, opened = self._pipeline(source, collection)
            return pipeline.run(opened, options, heard, gate=gate)

    def plan(self, source: Path, collection: str, options: Options, watch: Watch = unwatched) -> Plan:
        """What ``run`` would do now."""
        pipeline, opened = self._pipeline(source, collection)
        return pipeline.plan(opened, options, watch)

    def apply(self, plan: Plan, watch: Watch = unwatched) -> Report:
        """Do what a plan says, and nothing else.

        Raises:
            UsageError: the collection or the source is not what it was.
        """
        with self._gated(plan.collection, watch) as (gate, heard):
            pipeline, opened = self._pipeline(Path(plan.source), plan.collection)
            return pipeline.run(opened, Options(unerase=plan.unerase), heard, plan, gate)

    def put(
        self,
        collection: str,
        uri: str,
        upload: Upload,
        watch: Watch = unwatched,
        readers: frozenset[str] | None = None,
    ) -> Report:
        """Add or replace one document, see ``Documents.put``."""
        with self._gated(collection, watch) as (gate, heard):
            return self._documents(collection).put(uri, upload, self._tools(), heard, readers, gate)

    def delete(
        self, collection: str, uri: str, watch: Watch = unwatched, readers: frozenset[str] | None = None
    ) -> Report:
        """Delete one document, see ``Documents.delete``."""
        with self._gated(collection, watch) as (gate, heard):
            return self._documents(collection).delete(uri, heard, readers, gate)

    def erase(self, collection: str, uris: list[str], watch: Watch = unwatched) -> Report:
        """Remove documents from every generation, cache and queue, see ``Documents.erase``. No gate is asked.

        Raises:
            StorageError: answers that were made from them may still be cached; erase again once the disk is mended.
        """
        try:
            report = self._documents(collection).erase(uris, watch)
        except UnknownDocument:
            # perhaps they were erased by a command that was cut off before it came to the caches
            self._forget(collection, self._home.indexes().generation(collection))
            raise
        self._forget(collection, report.commit.generation)
        jobs = self._home.jobs()
        for uri in uris:
            jobs.erase(collection, uri)
        return report

    def _forget(self, collection: str, generation: int) -> None:
        """What was made from the documents of other generations, outside the index."""
        self._home.answer_cache().forget(collection, generation)
        self._home.evaluation_cache(collection).unlink(missing_ok=True)

    def reindex(self, collection: str, watch: Watch = unwatched) -> Report:
        """Cut and embed a collection anew, see ``Documents.reindex``."""
        with self._gated(collection, watch) as (gate, heard):
            return self._documents(collection).reindex(self._tools(), heard, gate)

    @contextmanager
    def _gated(self, name: str, watch: Watch) -> Iterator[tuple[Gate | None, Heard]]:
        """The gate of a collection, ready, and the watch that it tells how far it is.

        Raises:
            Refused: the gate said no; labels that became narrower are published all the same.
        """
        collection, heard = self._home.collection(name), Heard(watch)
        gate = self._gates.open(collection.name, heard)
        try:
            yield gate, heard
        except Refused as refused:
            if refused.said:
                stored = self._home.generations(name).manifest(refused.serving)
                as_it_is = replace(collection, language=stored.language)  # another one would index all words anew
                if (commit := narrow_stored(self._home.index_writer(), as_it_is, refused.said)) is not None:
                    refused.serving, refused.narrowed = commit.generation, True
            raise

    def _pipeline(self, place: Path, name: str) -> tuple[Pipeline, Source]:
        home, collection = self._home, self._home.collection(name)
        source = open_source(place, home.settings.ingestion.max_file_bytes)
        _refuse_own_home(home.path, place)
        prepare_home(home.path)
        return Pipeline(home.index_writer(), self._tools(), collection, self._labeller(name, source.sidecars)), source

    def _documents(self, name: str) -> Documents:
        prepare_home(self._home.path)
        return Documents(self._home.index_writer(), self._home.collection(name), self._labeller(name, {}))

    def _labeller(self, name: str, sidecars: Mapping[str, Path]) -> Labeller:
        own, rules = self._home.label_sources(name)
        return Labeller(self._home.collection(name), self._home.regions, own, rules, sidecars)

    def _tools(self) -> Tools:
        folder = self._home.embedder_folder()
        if self._embedder is None or self._embedder[0] != folder:
            self._embedder = None  # two models at once would take twice the memory
            self._embedder = folder, self._home.embedder()
        return Tools(self._embedder[1], self._home.splitter(), self._sandbox.parse)


def _refuse_own_home(home: Path, place: Path) -> None:
    """The home inside the source: its models and indexes would be taken for documents."""
    inside = home.resolve()
    root = place.resolve()
    if inside.is_relative_to(root) and not any(part.startswith(".") for part in inside.relative_to(root).parts):
        raise UsageError(f"SOURCE {place} holds the home {home}: move one of them, or begin the home's name with a dot")
