"""The composition root: the only module that names adapters, and the only one that turns settings into objects."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from domicile.config import Settings
from domicile.domain import Collection
from domicile.files import HashMemory
from domicile.labels import PartialLabel, Regions

if TYPE_CHECKING:
    from domicile.adapters.genai import GenaiGenerator
    from domicile.adapters.generations import Generations
    from domicile.adapters.index_writer import LocalIndexWriter
    from domicile.adapters.indexes import LocalIndexes
    from domicile.adapters.keys import KeyFile
    from domicile.adapters.onnx import OnnxEmbedder
    from domicile.answering import Answering
    from domicile.models.artefact import ModelFolder
    from domicile.ports import Embedder, Generator, Indexes, SentenceSplitter
    from domicile.retrieval import Retriever


@dataclass(frozen=True, slots=True)
class Home:
    """An opened home: its place, settings and what is derived from them. Nothing is loaded yet.

    The methods make the parts; a caller makes each part once and keeps it.
    """

    path: Path
    settings: Settings
    regions: Regions
    hashes: HashMemory

    @classmethod
    def open(cls, path: Path, environment: Mapping[str, str]) -> Home:
        """Read the settings of a home, which need not exist yet.

        Raises:
            ConfigError: a setting is wrong; names the key.
        """
        settings = Settings.load(path, environment)
        return cls(path, settings, settings.region_table(), HashMemory(path / "cache" / "hashes.txt"))

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
        from domicile.models.artefact import open_model

        return open_model(
            self._model_path(self.settings.models.embedder), "embedder", self.hashes, self._pins, trust=trust
        )

    def llm_folder(self, *, trust: bool = True) -> ModelFolder:
        """The verified language model's folder.

        Raises:
            ModelMissing, ModelDamaged: see ``open_model``.
        """
        from domicile.models.artefact import open_model

        return open_model(self._model_path(self.settings.models.llm), "llm", self.hashes, self._pins, trust=trust)

    def embedder(self, threads: int | None = None) -> OnnxEmbedder:
        from domicile.adapters.onnx import OnnxEmbedder

        return OnnxEmbedder(self.embedder_folder(), threads or self.threads())

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

    def index_writer(self) -> LocalIndexWriter:
        from domicile.adapters.index_writer import LocalIndexWriter

        return LocalIndexWriter(self.collections_dir, self.hashes)

    def indexes(self) -> LocalIndexes:
        from domicile.adapters.indexes import LocalIndexes

        return LocalIndexes(self.collections_dir, self.collection, self.hashes)

    def generations(self, collection: str) -> Generations:
        from domicile.adapters.generations import Generations

        return Generations(self.collections_dir / self.collection(collection).name, self.hashes)

    def keys(self) -> KeyFile:
        from domicile.adapters.keys import KeyFile

        return KeyFile(self.path / "state" / "keys.json")

    def splitter(self) -> SentenceSplitter:
        from domicile.adapters.sentencex import SentencexSplitter

        return SentencexSplitter()

    def retriever(self, indexes: Indexes, embedder: Embedder) -> Retriever:
        from domicile.retrieval import Retriever

        return Retriever(indexes, embedder)

    def answering(self, retriever: Retriever, embedder: Embedder, llm: Generator) -> Answering:
        from domicile.adapters.extractive import ExtractiveGenerator
        from domicile.answering import Answering, Limits
        from domicile.evidence import EvidenceSelector

        chosen = self.settings.answering
        limits = Limits(chosen.deadline_seconds, chosen.max_tokens, chosen.evidence_threshold)
        return Answering(retriever, EvidenceSelector(embedder, self.splitter()), llm, ExtractiveGenerator(), limits)

    @property
    def _pins(self) -> Path:
        return self.path / "state" / "models"

    def _model_path(self, name: str) -> Path:
        """A folder below ``models/``, or the user's own folder where the setting is a path."""
        return self.models_dir / name if "/" not in name else Path(name).expanduser()
