"""The embedders: the fake, a user's own folder, and the one that is shipped."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
from contract.embedder_contract import EmbedderContract

from domicile.adapters.onnx import OnnxEmbedder
from domicile.files import HashMemory
from domicile.models.artefact import open_model
from domicile.ports import Embedder
from domicile.testing import HashEmbedder


@pytest.fixture(scope="module")
def shipped(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> OnnxEmbedder:
    state = tmp_path_factory.mktemp("state")
    return OnnxEmbedder(open_model(models_dir / "all-minilm-l6-v2", "embedder", HashMemory(state / "h"), state), 2)


class TestHashEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return HashEmbedder()


class TestUsersEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self, tmp_path: Path) -> Embedder:
        folder = tiny_models.write_embedder(tmp_path / "tiny")
        return OnnxEmbedder(open_model(folder, "embedder", HashMemory(tmp_path / "hashes"), tmp_path / "pins"), 1)


class TestShippedEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self, shipped: OnnxEmbedder) -> Embedder:
        return shipped
