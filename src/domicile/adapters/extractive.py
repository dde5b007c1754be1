"""The generator without a model: the best sentences themselves. Always there, and the fallback of every other one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from domicile import prompts
from domicile.domain import ModelStatus, Prompt, Usage


class ExtractiveGenerator:
    """Quotes the evidence of a prompt, best first."""

    name = "extractive"
    status = ModelStatus("extractive", "llm", "ready")

    def generate(self, prompt: Prompt, *, max_tokens: int, cancelled: Callable[[], bool]) -> Iterator[str | Usage]:
        for position, quote in enumerate(prompt.evidence):
            if cancelled():
                break
            yield ("\n\n" if position else "") + prompts.quote_block(quote.text, quote.n)
        yield Usage()
