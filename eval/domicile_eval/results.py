"""What a run of a suite found, item by item: what figures, gates, comparisons and reports are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from domicile.domain import Answer, Hit
from domicile.errors import UsageError
from domicile_eval.items import Item

WRITER, NOBODY = "answers by", "quotes alone"
"""The setting that says who wrote the answers whose words are judged, and its value where the language model did not."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a sink received."""

    sink: str
    text: str


@dataclass(frozen=True, slots=True)
class Observation:
    """What the use cases did with one item, before anything is judged.

    Attributes:
        hits: ranked chunks of the search, best first; at most 100. Beyond the tenth those of documents that the answer
            does not cite may have lost their text.
        answer: ``None`` where none was asked for, or it failed.
        confidence: 0 to 1, that the evidence answers the question; ``None`` where no answer was asked for.
        generated: whether the language model was asked, and not only the quotes.
        seconds: wall time of the answer.
        sent: what sinks received.
        failure: what went wrong, in a line; such an item counts as wrong in every metric that it could have.
    """

    item: Item
    hits: tuple[Hit, ...]
    answer: Answer | None = None
    confidence: float | None = None
    generated: bool = False
    seconds: float = 0.0
    sent: tuple[Sent, ...] = ()
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One item, judged; everything of it can be written as JSON.

    Attributes:
        values: metric to value, of those that apply to this item. Where a metric is a figure of merit more is better, see
            ``metrics``; 1.0 is right.
        ranking: the first ten chunks, each by its id and the hash of its text.
        answer: the text, or ``None``.
        passages: the beginnings of the first chunks, as they were found.
        cited: documents that the answer cites, in their order.
        quotes: their quotes.
        route, sink: who answered.
    """

    id: str
    question: str
    kinds: tuple[str, ...]
    split: str | None
    values: Mapping[str, float]
    ranking: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    answer: str | None = None
    reference: str | None = None
    gold: tuple[str, ...] = ()
    passages: tuple[str, ...] = ()
    cited: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()
    route: str | None = None
    sink: str | None = None
    abstained: bool | None = None
    confidence: float | None = None
    generated: bool = False
    failure: str | None = None

    @property
    def cluster(self) -> str:
        """Questions of one cluster are right or wrong together."""
        return cluster_of(self.id, self.gold)


def cluster_of(question: str, gold: Sequence[str]) -> str:
    """The first document that answers the question; a question that none answers is a cluster of its own.

    Questions that need two documents join these. Of all that hang together by such joins four clusters would hold 84 % of the
    handbook's answerable questions, and a bootstrap needs many clusters of like size (Cameron, Gelbach and Miller 2008,
    "Bootstrap-Based Improvements for Inference with Clustered Errors"). By their first documents they are a hundred.
    """
    return f"document {gold[0]}" if gold else f"question {question}"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one suite.

    Attributes:
        suite_hash: sha256 of everything that the suite's items say.
        fingerprint: name to version of all that rankings depend on; equal ones must rank alike.
        settings: what else shaped answers: language model, prompt, policy, thresholds.
        results: in the order of the suite's items.
        made: ISO 8601, UTC.
        seconds: wall time.
    """

    suite: str
    suite_hash: str
    collection: str
    generation: int
    fingerprint: Mapping[str, str]
    settings: Mapping[str, str]
    results: tuple[Result, ...]
    made: str = ""
    seconds: float = 0.0
    notes: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The inverse of ``read_run``."""
        written: dict[str, Any] = TypeAdapter(Run).dump_python(self, mode="json")
        return written

    def values(self, metric: str) -> dict[str, float]:
        """Item id to value, of the items that the metric applies to."""
        return {result.id: result.values[metric] for result in self.results if metric in result.values}


def read_run(data: Any, where: str) -> Run:
    """
    Raises:
        UsageError: it is none; names ``where``.
    """
    try:
        return TypeAdapter(Run).validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"{where}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
