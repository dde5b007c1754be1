"""The worker's composition root: a home in, the use cases of ingestion out. Commands and jobs come through here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from domicile.bootstrap import Home
from domicile.console import prepare_home
from domicile.errors import UsageError
from domicile_ingest.documents import Documents, Upload
from domicile_ingest.embedding import Tools
from domicile_ingest.labelling import Labeller
from domicile_ingest.parsing.sandbox import Sandbox
from domicile_ingest.pipeline import Options, Pipeline
from domicile_ingest.plan import Plan
from domicile_ingest.progress import Progress, Watch, unwatched
from domicile_ingest.report import Report
from domicile_ingest.sources import Source, open_source

__all__ = [
    "Options",
    "Plan",
    "Progress",
    "Report",
    "Upload",
    "Watch",
    "apply_plan",
    "delete_document",
    "erase",
    "ingest",
    "make_plan",
    "put_document",
    "reindex",
]


def ingest(home: Home, source: Path, collection: str, options: Options, watch: Watch = unwatched) -> Report:
    """Make a collection what a source holds now.

    Raises:
        UsageError: the source is not there, or would delete everything.
        Others: see ``Pipeline.run``.
    """
    with _pipeline(home, source, collection) as (pipeline, opened):
        return pipeline.run(opened, options, watch)


def make_plan(home: Home, source: Path, collection: str, options: Options, watch: Watch = unwatched) -> Plan:
    """What ``ingest`` would do now."""
    with _pipeline(home, source, collection) as (pipeline, opened):
        return pipeline.plan(opened, options, watch)


def apply_plan(home: Home, plan: Plan, watch: Watch = unwatched) -> Report:
    """Do what a plan says, and nothing else.

    Raises:
        UsageError: the collection or the source is not what it was.
    """
    with _pipeline(home, Path(plan.source), plan.collection) as (pipeline, opened):
        return pipeline.run(opened, Options(unerase=plan.unerase), watch, plan)


def put_document(home: Home, collection: str, uri: str, upload: Upload, watch: Watch = unwatched) -> Report:
    """Add or replace one document, see ``Documents.put``."""
    documents = _documents(home, collection)
    with _tools(home) as tools:
        return documents.put(uri, upload, tools, watch)


def delete_document(home: Home, collection: str, uri: str, watch: Watch = unwatched) -> Report:
    """Delete one document, see ``Documents.delete``."""
    return _documents(home, collection).delete(uri, watch)


def erase(home: Home, collection: str, uris: list[str], watch: Watch = unwatched) -> Report:
    """Remove documents from every generation, cache and queue, see ``Documents.erase``."""
    report = _documents(home, collection).erase(uris, watch)
    jobs = home.jobs()
    for uri in uris:
        jobs.erase(collection, uri)
    return report


def reindex(home: Home, collection: str, watch: Watch = unwatched) -> Report:
    """Cut and embed a collection anew, see ``Documents.reindex``."""
    documents = _documents(home, collection)
    with _tools(home) as tools:
        return documents.reindex(tools, watch)


@contextmanager
def _pipeline(home: Home, place: Path, name: str) -> Iterator[tuple[Pipeline, Source]]:
    collection = home.collection(name)
    source = open_source(place, home.settings.ingestion.max_file_bytes)
    _refuse_own_home(home.path, place)
    own, rules = home.label_sources(name)
    prepare_home(home.path)
    labeller = Labeller(collection, home.regions, own, rules, source.sidecars)
    with _tools(home) as tools:
        yield Pipeline(home.index_writer(), tools, collection, labeller), source


def _documents(home: Home, name: str) -> Documents:
    collection = home.collection(name)
    own, rules = home.label_sources(name)
    prepare_home(home.path)
    return Documents(home.index_writer(), collection, Labeller(collection, home.regions, own, rules, {}))


@contextmanager
def _tools(home: Home) -> Iterator[Tools]:
    with Sandbox() as sandbox:
        yield Tools(home.embedder(), home.splitter(), sandbox.parse)


def _refuse_own_home(home: Path, place: Path) -> None:
    """The home inside the source: its models and indexes would be taken for documents."""
    inside = home.resolve()
    root = place.resolve()
    if inside.is_relative_to(root) and not any(part.startswith(".") for part in inside.relative_to(root).parts):
        raise UsageError(f"SOURCE {place} holds the home {home}: move one of them, or begin the home's name with a dot")
