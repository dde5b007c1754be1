"""What every Provider keeps. A test class inherits this and gives the fixture ``wired``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from domicile.domain import Message, Prompt, Usage
from domicile.errors import AuditUnavailable, EgressDenied
from domicile.ports import Provider

REPLY = "Parental leave lasts 26 weeks [1]."


def ask(text: str, system: str = "Answer from the sources.") -> Prompt:
    return Prompt(text, (), (Message("system", system), Message("user", text)))


QUESTION = ask("How long is parental leave? It is für alle.")


@dataclass(slots=True)
class Wired:
    """A provider and both ends of the wire.

    Attributes:
        arrived: the bodies that reached the other side.
        authorized: the bodies that were shown before.
    """

    provider: Provider
    arrived: Callable[[], list[bytes]]
    authorized: list[bytes] = field(default_factory=list)

    def say(self, prompt: Prompt = QUESTION, seconds: float = 30.0) -> tuple[str, Usage]:
        """What it says when nobody interrupts."""
        *pieces, usage = self.provider.generate(
            prompt, max_tokens=50, seconds=seconds, cancelled=lambda: False, authorize=self.authorized.append
        )
        assert isinstance(usage, Usage)
        assert all(isinstance(piece, str) and piece for piece in pieces)
        return "".join(map(str, pieces)), usage


class ProviderContract:
    @pytest.fixture
    def wired(self) -> Wired:
        raise NotImplementedError

    def test_it_is_its_sink(self, wired: Wired) -> None:
        assert wired.provider.name == "acme-eu"
        assert wired.provider.state == "ready"

    def test_pieces_of_text_then_the_usage(self, wired: Wired) -> None:
        text, usage = wired.say()
        assert text == REPLY
        assert usage.prompt_tokens > 5
        assert usage.completion_tokens == 6

    def test_what_arrives_is_what_was_authorized(self, wired: Wired) -> None:
        wired.say()
        wired.say(ask("Another one?"))
        assert wired.arrived() == wired.authorized
        assert len(wired.authorized) == 2
        assert b"Another one?" in wired.authorized[1]
        assert b"Another one?" not in wired.authorized[0]

    @pytest.mark.parametrize(
        "refusal", [EgressDenied("acme-eu", ("region",)), AuditUnavailable("no space left"), KeyError(1)]
    )
    def test_what_authorize_raises_comes_out_and_nothing_leaves(self, wired: Wired, refusal: Exception) -> None:
        def refuse(body: bytes) -> None:
            assert b"parental leave" in body
            raise refusal

        with pytest.raises(type(refusal)) as caught:
            list(
                wired.provider.generate(QUESTION, max_tokens=50, seconds=30, cancelled=lambda: False, authorize=refuse)
            )
        assert caught.value is refusal
        assert wired.arrived() == []
        assert wired.provider.state == "ready"
        assert wired.say()[0] == REPLY

    def test_nothing_happens_before_the_first_item_is_asked_for(self, wired: Wired) -> None:
        answer = wired.provider.generate(
            QUESTION, max_tokens=50, seconds=30, cancelled=lambda: False, authorize=wired.authorized.append
        )
        assert wired.authorized == wired.arrived() == []
        next(answer)
        assert len(wired.authorized) == len(wired.arrived()) == 1
        answer.close()  # type: ignore[attr-defined]

    def test_nothing_leaves_when_it_is_cancelled_before(self, wired: Wired) -> None:
        items = wired.provider.generate(
            QUESTION, max_tokens=50, seconds=30, cancelled=lambda: True, authorize=wired.authorized.append
        )
        assert list(items) == [Usage()]
        assert wired.authorized == wired.arrived() == []

    def test_a_cancelled_one_stops_and_ends_with_a_usage(self, wired: Wired) -> None:
        said: list[str | Usage] = []
        for item in wired.provider.generate(
            QUESTION, max_tokens=50, seconds=30, cancelled=lambda: len(said) >= 2, authorize=wired.authorized.append
        ):
            said.append(item)
        assert said[:2] == ["Parental ", "leave "]
        assert said[2:] == [Usage()]

    def test_one_that_is_cancelled_at_its_end_keeps_its_usage(self, wired: Wired) -> None:
        said: list[str | Usage] = []
        for item in wired.provider.generate(
            QUESTION, max_tokens=50, seconds=30, cancelled=lambda: Usage(13, 6) in said, authorize=lambda body: None
        ):
            said.append(item)
        assert said[-1] == Usage(13, 6)
        assert len(said) == 7

    def test_who_stops_listening_does_not_block_the_next(self, wired: Wired) -> None:
        for _ in range(3):
            pieces = wired.provider.generate(
                QUESTION, max_tokens=50, seconds=30, cancelled=lambda: False, authorize=wired.authorized.append
            )
            next(pieces)
            pieces.close()  # type: ignore[attr-defined]
        assert wired.say(seconds=20)[0] == REPLY
        assert wired.provider.state == "ready"
