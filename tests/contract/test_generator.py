"""The generators: the fake, and onnxruntime-genai with the model that is shipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from contract.generator_contract import STORY, GeneratorContract, ask, say

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

    def test_of_choices_it_says_one_word_for_word(self, shipped: GenaiGenerator) -> None:
        asked = ask("Fact: The pump is checked every 12 weeks.\n\nQuestion: How often is the pump checked?")
        choices = ("A bicycle.", "The pump is checked every 12 weeks.", "The pump is blue.")
        text, usage = say(shipped, replace(asked, choices=choices), max_tokens=24)
        assert text == "The pump is checked every 12 weeks."
        assert say(shipped, replace(asked, choices=choices[::-1]), max_tokens=24) == (text, usage)
        assert 0 < usage.completion_tokens <= 24

    def test_a_single_choice_is_said_by_a_model_that_read_the_prompt(self, shipped: GenaiGenerator) -> None:
        text, usage = say(shipped, replace(STORY, choices=("A dog barks.",) * 2))
        assert text == "A dog barks."
        assert usage.prompt_tokens == say(shipped)[1].prompt_tokens

    def test_where_every_choice_is_too_long_it_writes_freely(self, shipped: GenaiGenerator) -> None:
        long = replace(STORY, choices=("A dog barks at every car that comes near.", "A cat sleeps on the warm roof."))
        assert say(shipped, long, max_tokens=3) == say(shipped, max_tokens=3)

    def test_choices_leave_nothing_behind(self, shipped: GenaiGenerator) -> None:
        before = say(shipped)
        say(shipped, replace(STORY, choices=("A dog barks.", "A cat sleeps.", "A dog sleeps all day.")))
        assert say(shipped) == before
