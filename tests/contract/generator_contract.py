"""What every Generator keeps. A test class inherits this and gives the fixture ``generator``, good for 12 tokens."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from domicile.domain import Message, Prompt, Usage
from domicile.ports import Generator


def ask(text: str, system: str = "You are a helpful assistant.") -> Prompt:
    return Prompt(text, (), (Message("system", system), Message("user", text)))


STORY = ask("Write a story about a dog who lives on a farm.")


def say(generator: Generator, prompt: Prompt = STORY, max_tokens: int = 12) -> tuple[str, Usage]:
    """What it says when nobody interrupts, and its tokens; CPU time is another one each time."""
    *pieces, usage = generator.generate(prompt, max_tokens=max_tokens, cancelled=lambda: False)
    assert isinstance(usage, Usage)
    assert all(isinstance(piece, str) and piece for piece in pieces)
    return "".join(map(str, pieces)), replace(usage, cpu_seconds=0.0)


class GeneratorContract:
    @pytest.fixture
    def generator(self) -> Generator:
        raise NotImplementedError

    def test_it_says_what_it_is(self, generator: Generator) -> None:
        assert generator.status.state == "ready"
        assert generator.status.kind == "llm"
        assert generator.status.name == generator.name != ""

    def test_pieces_of_text_then_the_usage(self, generator: Generator) -> None:
        text, usage = say(generator)
        assert text.strip()
        assert usage.prompt_tokens > 5
        assert 0 < usage.completion_tokens <= 12

    def test_it_stops_at_the_limit(self, generator: Generator) -> None:
        assert say(generator, max_tokens=1)[1].completion_tokens == 1
        assert say(generator, max_tokens=5)[1].completion_tokens == 5

    def test_a_smaller_limit_gives_the_beginning(self, generator: Generator) -> None:
        assert say(generator, max_tokens=12)[0].startswith(say(generator, max_tokens=5)[0])

    def test_nothing_is_said_when_it_is_cancelled_before(self, generator: Generator) -> None:
        items = list(generator.generate(STORY, max_tokens=12, cancelled=lambda: True))
        assert len(items) == 1
        assert isinstance(items[0], Usage)

    def test_a_cancelled_one_stops_and_tells_its_usage(self, generator: Generator) -> None:
        said: list[str] = []
        for item in generator.generate(STORY, max_tokens=12, cancelled=lambda: len(said) >= 2):
            if isinstance(item, Usage):
                break
            said.append(item)
        else:
            pytest.fail("no usage at the end")
        assert len(said) == 2

    def test_who_stops_listening_does_not_block_the_next(self, generator: Generator) -> None:
        pieces = generator.generate(STORY, max_tokens=1000, cancelled=lambda: False)
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]
        began = time.monotonic()
        say(generator, max_tokens=1)
        assert time.monotonic() - began < 20
