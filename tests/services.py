"""A small collection and a service over it, with a fake embedder and a scripted language model; served on a real socket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import uvicorn
from corpora import TOOLS

from domicile.answering import Limits
from domicile.api.app import create_app
from domicile.api.state import Service
from domicile.bootstrap import Home
from domicile.domain import ModelStatus
from domicile.retrieval import Retriever
from domicile.routing import Routing
from domicile.testing import HashEmbedder, ScriptedGenerator
from domicile_ingest.labelling import Labeller
from domicile_ingest.pipeline import Options, Pipeline
from domicile_ingest.sources import open_source

LEAVE = "Parental leave lasts 26 weeks and is paid in full."
SALARY = "The salary band of a senior engineer begins at 71000 euros."
PUMP = "The pump P-40 must be checked every 12 weeks by a technician."
DOCUMENTS = {
    "leave.md": f"# Leave\n\n{LEAVE} Apply to your manager eight weeks ahead.\n",
    "pumps & valves.md": f"# Pumps\n\n{PUMP}\n",
    "hr/salaries.md": f"---\ndomicile:\n  label:\n    groups: [hr]\n---\n# Salaries\n\n{SALARY}\n",
}


def home_with(
    path: Path,
    documents: dict[str, str] = DOCUMENTS,
    collection: str = "handbook",
    settings: str = "",
    environment: Mapping[str, str] | None = None,
) -> Home:
    """A home that holds these documents as one collection."""
    source = path / "source"
    for name, text in documents.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text, encoding="utf-8")
    (path / "home").mkdir(exist_ok=True)
    (path / "home" / "domicile.toml").write_text(settings, encoding="utf-8")
    home = Home.open(path / "home", environment or {})
    ingest(home, source, collection)
    return home


def ingest(home: Home, source: Path, collection: str = "handbook") -> None:
    found = open_source(source, 10_000_000)
    own, rules = home.label_sources(collection)
    labeller = Labeller(home.collection(collection), home.regions, own, rules, found.sidecars)
    Pipeline(home.index_writer(), TOOLS, home.collection(collection), labeller).run(found, Options())


def service_over(
    home: Home,
    llm: ScriptedGenerator | None = None,
    limits: Limits | None = None,
    queue: int = 8,
    routing: Routing | None = None,
) -> Service:
    """The parts of a service, with fakes for what is slow."""
    from domicile.adapters.answer_labels import SqliteAnswerLabels
    from domicile.answering import Answering
    from domicile.evidence import EvidenceSelector

    embedder = HashEmbedder()
    limits = limits or Limits()
    limits = replace(limits, evidence_threshold=min(limits.evidence_threshold, 0.05))  # the fake's cosines are low
    indexes = home.indexes()
    routing = routing or home.routing()
    retriever = Retriever(indexes, embedder, reranking=home.reranking())
    answering = Answering(
        retriever,
        EvidenceSelector(embedder, home.splitter()),
        llm or ScriptedGenerator([LEAVE]),
        routing,
        home.answer_cache(),
        SqliteAnswerLabels(home.path / "state" / "answers.sqlite"),
        limits,
    )
    return Service(
        indexes=indexes,
        retriever=retriever,
        answering=answering,
        audit=routing.audit,
        keys=home.keys(),
        regions=home.regions,
        embedder=ModelStatus("hash", "embedder", "ready"),
        jobs=home.jobs(),
        collection=home.collection,
        configured=home.settings.collections,
        source_for_key=home.source_for_key,
        max_body_bytes=100_000,
        max_upload_bytes=300_000,
        searches=(2, 8),
        answers=(2, queue),
    )


@dataclass(frozen=True, slots=True)
class Served:
    """A service on loopback."""

    url: str

    def client(self, key: str | None = None) -> httpx.Client:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)


@contextmanager
def served(service: Service) -> Iterator[Served]:
    """Serve on a free port of 127.0.0.1 until the block ends."""
    listening = socket.socket(proto=socket.IPPROTO_TCP)  # else asyncio does not switch Nagle's algorithm off
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    server = uvicorn.Server(uvicorn.Config(create_app(service), log_level="warning", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        until(lambda: server.started)
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


def until(condition: object, seconds: float = 10.0) -> None:
    """Wait for a condition that another thread brings about.

    Raises:
        TimeoutError: it did not come about.
    """
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come about")
        time.sleep(0.01)
