"""The generators: the fake, and onnxruntime-genai with the model that is shipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.generator_contract import GeneratorContract, say

from domicile.adapters.genai import GenaiGenerator
from domicile.files import HashMemory
from domicile.models.artefact import open_model
from domicile.ports import Generator
from domicile.testing import ScriptedGenerator


@pytest.fixture(scope="module")
def shipped(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GenaiGenerator]:
    state = tmp_path_factory.mktemp("state")
    generator = GenaiGenerator(
        lambda: open_model(models_dir / "smollm2-135m", "llm", HashMemory(state / "hashes"), state),
        "smollm2-135m",
        threads=2,
        wait_seconds=120,
    )
    say(generator, max_tokens=1)
    yield generator
    generator.close()


class TestScriptedGenerator(GeneratorContract):
    @pytest.fixture
    def generator(self) -> Generator:
        return ScriptedGenerator(["The dog lives on a farm, and it barks at every car that comes near."])


class TestShippedGenerator(GeneratorContract):
    @pytest.fixture
    def generator(self, shipped: GenaiGenerator) -> Generator:
        return shipped
