"""What the language model says without a passage: beside it stands what the documents add.

A question whose answer the model knows by heart tells nothing of search. The same model is asked the same questions, a
passage left out, and its words are compared with the same references as its answers are.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from domicile.domain import Message, Prompt
from domicile.errors import ModelSlow
from domicile.ports import Generator
from domicile_eval.answer_metrics import exact_match, token_f1
from domicile_eval.results import Observation, Result
from domicile_eval.runner import why
from domicile_eval.statistics import PAIRED_RESAMPLES, Figure, figure

_PREFIX = "closed_book_"
_METRICS = {"exact_match": exact_match, "token_f1": token_f1}
_RULE = "Answer the question with a few words."


@dataclass(frozen=True, slots=True)
class ClosedBookRow:
    """One question.

    Attributes:
        said: by the model; empty where it failed.
        reason: why it failed; it is then wrong in everything.
    """

    item: str
    values: Mapping[str, float]
    said: str = ""
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Gain:
    """One metric of the same questions.

    Attributes:
        closed_book: without a passage.
        with_documents: as the product answers.
        gain: the difference, paired by question.
    """

    closed_book: Figure
    with_documents: Figure
    gain: Figure


@dataclass(frozen=True, slots=True)
class ClosedBook:
    """What a language model knows by heart of a suite's answers."""

    model: str
    rows: tuple[ClosedBookRow, ...]

    def values(self, item: str) -> dict[str, float]:
        """Metric to value of one item; the names say that there was no passage."""
        return {
            f"{_PREFIX}{name}": value for row in self.rows if row.item == item for name, value in row.values.items()
        }

    def reasons(self) -> dict[str, int]:
        """Why questions failed, with counts."""
        return dict(Counter(row.reason for row in self.rows if row.reason is not None).most_common())

    def gains(self, results: Sequence[Result]) -> dict[str, Gain]:
        """Metric to what the documents add to it, over the questions among these results; empty where there are none.

        Args:
            results: of the same run.
        """
        by_id = {one.id: one for one in results}
        pairs = [(row.values, by_id[row.item]) for row in self.rows if row.item in by_id]
        return {name: _gain(name, pairs) for name in _METRICS if pairs}

    def answered(self, results: Sequence[Result]) -> list[Result]:
        """Those of its questions that the product did not abstain from: without words there is nothing to add to."""
        asked = {row.item for row in self.rows}
        return [one for one in results if one.id in asked and one.abstained is False]

    def to_json(self, results: Sequence[Result]) -> dict[str, Any]:
        reasons, answers = self.reasons(), self.answered(results)
        return {
            "model": self.model,
            "n": len(self.rows),
            "failed": sum(reasons.values()),
            "reasons": reasons,
            "metrics": {name: asdict(one) for name, one in self.gains(results).items()},
            "answered": {
                "n": len(answers),
                "metrics": {name: asdict(one) for name, one in self.gains(answers).items()},
            },
            "rows": [asdict(row) for row in self.rows],
        }


def ask_closed_book(
    generator: Generator,
    model: str,
    observations: Sequence[Observation],
    seconds: float,
    max_tokens: int,
    advance: Callable[[int], None] = lambda questions: None,
) -> ClosedBook:
    """Ask the language model that runs here every question that has a reference answer, one after the other.

    Args:
        model: what the figures depend on: its name, and a version of its files.
        seconds: for one question.
        advance: called with 1 after each question.
    """
    rows = []
    for seen in observations:
        if seen.item.answer is not None:
            rows.append(_row(generator, seen, seen.item.answer, seconds, max_tokens))
        advance(1)
    return ClosedBook(model, tuple(rows))


def _row(generator: Generator, seen: Observation, reference: str, seconds: float, max_tokens: int) -> ClosedBookRow:
    asked = seen.answer.asked if seen.answer is not None else None
    try:
        said = _said(generator, asked or seen.item.question, seconds, max_tokens)
    except Exception as error:  # whatever it is: the row failed, and says why
        return ClosedBookRow(seen.item.id, dict.fromkeys(_METRICS, 0.0), reason=why(error))
    return ClosedBookRow(seen.item.id, {name: metric(said, reference) for name, metric in _METRICS.items()}, said)


def _said(generator: Generator, question: str, seconds: float, max_tokens: int) -> str:
    until = time.monotonic() + seconds
    prompt = Prompt(question, (), (Message("system", _RULE), Message("user", question)))
    pieces = generator.generate(prompt, max_tokens=max_tokens, cancelled=lambda: time.monotonic() > until)
    said = "".join(piece for piece in pieces if isinstance(piece, str))
    if time.monotonic() > until:
        raise ModelSlow(f"the language model was not done in {seconds:g} s")
    return said.strip()


def _gain(metric: str, pairs: Sequence[tuple[Mapping[str, float], Result]]) -> Gain:
    closed, answered = ([row[metric] for row, _ in pairs], [result.values[metric] for _, result in pairs])
    clusters = [result.cluster for _, result in pairs]
    steps = [after - before for before, after in zip(closed, answered, strict=True)]
    return Gain(
        figure(closed, clusters=clusters),
        figure(answered, clusters=clusters),
        figure(steps, PAIRED_RESAMPLES, clusters=clusters, share=False),
    )
