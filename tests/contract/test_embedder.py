"""The embedders: the fake, a user's own folder, and the one that is shipped, by each engine."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
from contract.embedder_contract import EmbedderContract

from domicile.adapters.onnx import OnnxEmbedder
from domicile.adapters.openvino import OpenVinoEmbedder
from domicile.files import HashMemory
from domicile.models.artefact import ModelFolder, open_model
from domicile.ports import Embedder
from domicile.testing import HashEmbedder


@pytest.fixture(scope="module")
def shipped(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    state = tmp_path_factory.mktemp("state")
    return open_model(models_dir / "all-minilm-l6-v2", "embedder", HashMemory(state / "h"), state)


@pytest.fixture(scope="module")
def by_onnxruntime(shipped: ModelFolder) -> Embedder:
    return OnnxEmbedder(shipped, 2)


@pytest.fixture(scope="module")
def by_openvino(shipped: ModelFolder) -> Embedder:
    return OpenVinoEmbedder(shipped, 2)


@pytest.fixture
def own(tmp_path: Path) -> ModelFolder:
    folder = tiny_models.write_embedder(tmp_path / "tiny")
    return open_model(folder, "embedder", HashMemory(tmp_path / "hashes"), tmp_path / "pins")


class TestHashEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return HashEmbedder()


class TestUsersEmbedderByOnnxRuntime(EmbedderContract):
    @pytest.fixture
    def embedder(self, own: ModelFolder) -> Embedder:
        return OnnxEmbedder(own, 1)


class TestUsersEmbedderByOpenVino(EmbedderContract):
    @pytest.fixture
    def embedder(self, own: ModelFolder) -> Embedder:
        return OpenVinoEmbedder(own, 1)


class TestShippedEmbedderByOnnxRuntime(EmbedderContract):
    @pytest.fixture
    def embedder(self, by_onnxruntime: Embedder) -> Embedder:
        return by_onnxruntime


class TestShippedEmbedderByOpenVino(EmbedderContract):
    @pytest.fixture
    def embedder(self, by_openvino: Embedder) -> Embedder:
        return by_openvino
