"""The composition root: the only module that names adapters, and the only one that turns settings into objects."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from domicile.config import CollectionSettings, Settings
from domicile.domain import Collection
from domicile.errors import Forbidden, MissingExtra
from domicile.files import HashMemory
from domicile.jobs import QueueLimits
from domicile.labels import PartialLabel, Regions

if TYPE_CHECKING:
    from domicile.adapters.answer_cache import SqliteAnswerCache
    from domicile.adapters.audit import FileAuditLog
    from domicile.adapters.genai import GenaiGenerator
    from domicile.adapters.generations import Generations
    from domicile.adapters.index_writer import LocalIndexWriter
    from domicile.adapters.indexes import LocalIndexes
    from domicile.adapters.jobs import SqliteJobs
    from domicile.adapters.keys import KeyFile
    from domicile.adapters.ledger import SqliteLedger
    from domicile.adapters.manifest import FileEntry
    from domicile.answering import Answering
    from domicile.models.artefact import ModelFolder
    from domicile.models.card import Engine, Kind, Precision
    from domicile.models.measure import Candidate
    from domicile.policy import Kind as SinkKind
    from domicile.policy import Sink
    from domicile.ports import AnswerCache, Embedder, Generator, Indexes, Provider, SentenceSplitter
    from domicile.reranking import Reranking
    from domicile.retrieval import Retriever
    from domicile.routing import Routing


@dataclass(frozen=True, slots=True)
class Home:
    """An opened home: its place, settings and what is derived from them. Nothing is loaded yet.

    The methods make the parts; a caller makes each part once and keeps it.
    """

    path: Path
    settings: Settings
    regions: Regions
    hashes: HashMemory
    environment: Mapping[str, str]

    @classmethod
    def open(cls, path: Path, environment: Mapping[str, str]) -> Home:
        """Read the settings of a home, which need not exist yet.

        Raises:
            ConfigError: a setting is wrong; names the key.
        """
        settings = Settings.load(path, environment)
        hashes = HashMemory(path / "cache" / "hashes.txt")
        return cls(path, settings, settings.region_table(), hashes, environment)

    @property
    def models_dir(self) -> Path:
        return self.path / "models"

    @property
    def collections_dir(self) -> Path:
        return self.path / "data" / "collections"

    def collection(self, name: str) -> Collection:
        return self.settings.collection(name)

    def label_sources(self, name: str) -> tuple[PartialLabel, tuple[tuple[str, PartialLabel], ...]]:
        return self.settings.label_sources(name, self.regions)

    def threads(self) -> int:
        return self.settings.models.threads or len(os.sched_getaffinity(0))

    def embedder_folder(self, *, trust: bool = True) -> ModelFolder:
        """The verified embedder's folder.

        Raises:
            ModelMissing, ModelDamaged: see ``open_model``.
        """
        return self._model(self.settings.models.embedder, "embedder", trust=trust)

    def llm_folder(self, *, trust: bool = True) -> ModelFolder:
        """The verified language model's folder.

        Raises:
            ModelMissing, ModelDamaged: see ``open_model``.
        """
        return self._model(self.settings.models.llm, "llm", trust=trust)

    def reranker_folder(self, *, trust: bool = True) -> ModelFolder:
        """The verified reranker's folder.

        Raises:
            ModelMissing, ModelDamaged: see ``open_model``.
        """
        return self._model(self.settings.models.reranker, "reranker", trust=trust)

    def embedder(self, threads: int | None = None) -> Embedder:
        """The embedder, with the engine and the precision of the settings.

        Raises:
            ModelMissing, ModelDamaged: see ``open_model``.
            MissingExtra: the engine is not installed.
            ConfigError: this CPU does not have the precision.
        """
        chosen = self.settings.models
        return self._load_embedder(chosen.engine, chosen.precision, threads or self.threads())

    def embedders(self) -> list[Candidate]:
        """Every engine and precision that is possible on this machine, the portable one first; nothing is loaded."""
        from domicile.adapters.openvino import cpu_precisions
        from domicile.models.measure import Candidate

        pairs: list[tuple[Engine, Precision]] = [("onnxruntime", "f32")]
        with suppress(MissingExtra):
            pairs += [("openvino", precision) for precision in cpu_precisions()]
        threads = self.threads()
        return [Candidate(*pair, partial(self._load_embedder, *pair, threads)) for pair in pairs]

    def _load_embedder(self, engine: Engine, precision: Precision, threads: int) -> Embedder:
        folder = self.embedder_folder()
        if engine == "openvino":
            from domicile.adapters.openvino import OpenVinoEmbedder

            return OpenVinoEmbedder(folder, threads, precision)
        from domicile.adapters.onnx import OnnxEmbedder

        return OnnxEmbedder(folder, threads)

    def llm(self, wait_seconds: float = 0.0) -> GenaiGenerator:
        """The language model; it loads in the background, and ``generate`` waits this long for it."""
        from domicile.adapters.genai import GenaiGenerator

        name = Path(self.settings.models.llm).name
        return GenaiGenerator(
            self.llm_folder,
            name,
            threads=self.threads(),
            queue_size=self.settings.answering.queue,
            wait_seconds=wait_seconds,
        )

    def reranking(self) -> Reranking | None:
        """The reranker with its bounds, whatever state it is in; ``None`` where none is configured."""
        from domicile.adapters.onnx import OnnxReranker
        from domicile.reranking import Reranking

        chosen = self.settings.models
        if not chosen.reranker:
            return None
        return Reranking(
            Path(chosen.reranker).name,
            lambda: OnnxReranker(self.reranker_folder(), self.threads()),
            chosen.rerank_depth,
            chosen.rerank_budget_ms / 1e3,
        )

    def index_writer(self) -> LocalIndexWriter:
        from domicile.adapters.index_writer import LocalIndexWriter

        return LocalIndexWriter(
            self.collections_dir,
            self.hashes,
            self.path / "cache" / "vectors",
            keep=self.settings.ingestion.keep_generations,
        )

    def indexes(self, fingerprint: str | None = None) -> LocalIndexes:
        """The collections; with the fingerprint of the embedder that will search them for as long as the process lives."""
        from domicile.adapters.indexes import LocalIndexes

        return LocalIndexes(self.collections_dir, self.collection, self.hashes, fingerprint=fingerprint)

    def generations(self, collection: str) -> Generations:
        from domicile.adapters.generations import Generations

        return Generations(self.collections_dir / self.collection(collection).name, self.hashes)

    def verifier(self, name: str) -> Callable[[int], None]:
        """Reads every byte of a generation and compares its sides; files that generations share are read once.

        What is made raises ``IndexDamaged`` or ``UnknownGeneration``, which name what is wrong.
        """
        from domicile.adapters.snapshot import Snapshot

        collection, generations = self.collection(name), self.generations(name)
        read: dict[str, FileEntry] = {}

        def verify(number: int) -> None:
            manifest = generations.manifest(number)
            generations.check(manifest, trust=False, read=read)
            snapshot = Snapshot(generations.folder, manifest, collection)
            try:
                snapshot.verify()
            finally:
                snapshot.close()

        return verify

    def keys(self) -> KeyFile:
        from domicile.adapters.keys import KeyFile

        return KeyFile(self.path / "state" / "keys.json")

    def answer_cache(self) -> SqliteAnswerCache:
        from domicile.adapters.answer_cache import SqliteAnswerCache

        chosen = self.settings.cache
        return SqliteAnswerCache(
            self.path / "cache" / "answers.sqlite",
            clock=_now,
            entries=chosen.entries,
            memory_entries=chosen.memory_entries,
            max_bytes=chosen.max_bytes,
            max_age=timedelta(hours=chosen.max_age_hours),
        )

    def evaluation_cache(self, collection: str) -> Path:
        """Where evaluations remember the vectors of what they asked and read of a collection; an erasure removes it."""
        return self.path / "cache" / "evaluation" / f"{self.collection(collection).name}.npz"

    def jobs(self) -> SqliteJobs:
        from domicile.adapters.jobs import SqliteJobs

        chosen = self.settings.ingestion
        limits = QueueLimits(
            queued=chosen.queue,
            kept=chosen.keep_jobs,
            attempts=chosen.attempts,
            lease_seconds=chosen.lease_seconds,
            upload_bytes=chosen.max_spool_bytes,
        )
        return SqliteJobs(self.path / "state", limits)

    def source_for_key(self, collection: str, source: str) -> Path:
        """The real path of a source that the bearer of a key names; whether it is there is the worker's to find out.

        Rules of labels are about paths below the source, so where there are rules the source is a root itself: naming
        a folder below it would take the documents out of their rules.

        Raises:
            Forbidden: it does not lie where keys may ingest from.
        """
        chosen = self.settings.collections.get(collection, CollectionSettings())
        roots = [Path(os.path.realpath(root)) for root in chosen.roots or self.settings.ingestion.roots]
        place = Path(os.path.realpath(source))
        if chosen.rules and place not in roots:
            raise Forbidden("source: must be one of ingestion.roots itself, since the collection has rules for labels")
        if not any(place.is_relative_to(root) for root in roots):
            raise Forbidden("source: must lie below one of ingestion.roots (domicile.toml)")
        return place

    def splitter(self) -> SentenceSplitter:
        from domicile.adapters.sentencex import SentencexSplitter

        return SentencexSplitter()

    def retriever(self, indexes: Indexes, embedder: Embedder) -> Retriever:
        from domicile.retrieval import Retriever

        return Retriever(indexes, embedder, reranking=self.reranking())

    def sinks(self) -> tuple[Sink, ...]:
        """Every declared sink."""
        return self.settings.declared_sinks(self.regions)

    def audit(self) -> FileAuditLog:
        from domicile.adapters.audit import FileAuditLog

        return FileAuditLog(self.path / "audit", self.path / "state", _now, secrets.token_hex)

    def routing(self, providers: Mapping[str, Provider] | None = None) -> Routing:
        """The declared sinks with what stands behind each of them.

        Args:
            providers: instead of those that call the sinks' addresses.

        Raises:
            ConfigError: a declaration has run out.
            MissingExtra: there are sinks, and what calls them is not installed.
        """
        from domicile.routing import Calls, Routing

        chosen = self.settings
        chosen.refuse_expired(_now().date())
        calls = Calls(chosen.routing.provider_seconds, chosen.routing.max_tokens, chosen.costs.currency)
        behind = self._providers() if providers is None else providers
        return Routing(chosen.declared(self.regions), behind, self.audit(), self.ledger(), _now, calls)

    def judging(self, seconds: float, max_tokens: int) -> Routing:
        """As ``routing``, of the sinks that judge.

        Args:
            seconds: that one of them has for a verdict.
            max_tokens: that it may write.

        Raises:
            ConfigError, MissingExtra: see ``routing``.
        """
        from domicile.routing import Calls, Routing

        chosen = self.settings
        chosen.refuse_expired(_now().date())
        declared, calls = chosen.declared(self.regions, "judge"), Calls(seconds, max_tokens, chosen.costs.currency)
        return Routing(declared, self._providers("judge"), self.audit(), self.ledger(), _now, calls)

    def ledger(self) -> SqliteLedger:
        from domicile.adapters.ledger import SqliteLedger

        return SqliteLedger(self.path / "state" / "ledger.sqlite")

    def _providers(self, kind: SinkKind = "llm") -> dict[str, Provider]:
        if not any(sink.kind == kind for sink in self.settings.sinks):
            return {}
        from domicile.adapters.hosted import HostedProvider

        declared = {sink.name: sink for sink in self.sinks()}
        return {
            sink.name: HostedProvider(
                declared[sink.name],
                partial(sink.api_key.read, self.environment),
                ca_file=None if sink.ca_file is None else Path(sink.ca_file),
            )
            for sink in self.settings.sinks
            if sink.kind == kind
        }

    def answering(
        self, retriever: Retriever, embedder: Embedder, llm: Generator, routing: Routing, cache: AnswerCache
    ) -> Answering:
        from domicile.adapters.answer_labels import SqliteAnswerLabels
        from domicile.answering import Answering, Limits
        from domicile.evidence import EvidenceSelector

        chosen = self.settings.answering
        limits = Limits(
            chosen.deadline_seconds, chosen.max_tokens, chosen.evidence_threshold, self.settings.costs.cpu_hour
        )
        made_by = (embedder.fingerprint, self._written_by(), self.settings.models.reranker, repr(limits))
        return Answering(
            retriever,
            EvidenceSelector(embedder, self.splitter()),
            llm,
            routing,
            cache,
            SqliteAnswerLabels(self.path / "state" / "answers.sqlite"),
            limits,
            made_by,
        )

    def _written_by(self) -> str:
        """What the card of the language model says of its bytes; its name where there is none."""
        card = self._model_path(self.settings.models.llm) / "model.json"
        try:
            return hashlib.sha256(card.read_bytes()).hexdigest()
        except OSError:
            return self.settings.models.llm

    def _model(self, name: str, kind: Kind, *, trust: bool) -> ModelFolder:
        from domicile.models.artefact import open_model

        return open_model(self._model_path(name), kind, self.hashes, self.path / "state" / "models", trust=trust)

    def _model_path(self, name: str) -> Path:
        """A folder below ``models/``, or the user's own folder where the setting is a path."""
        return self.models_dir / name if "/" not in name else Path(name).expanduser()


def guard_sockets() -> None:
    """Let nothing but the egress broker connect from this process to another machine, until it ends."""
    from domicile.adapters.socket_guard import install_socket_guard

    install_socket_guard()


def _now() -> datetime:
    return datetime.now(UTC)
