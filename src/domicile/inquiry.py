"""One question on its way to its answer: what was asked, what it may become, and who may get it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from domicile.domain import AnswerMode, Condition, Label, Principal, Scope, Turn
from domicile.labels import PartialLabel
from domicile.packing import Asked, Packed
from domicile.payload import Part
from domicile.policy import Sink
from domicile.ports import Index
from domicile.retrieval import Stopwatch
from domicile.routing import Dispatch


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A question to a collection.

    Attributes:
        flags: residency flags of the request; they can only narrow.
        conditions: that a document must meet to be evidence, see ``domicile.filters``.
        history: what was said before, oldest first.
    """

    question: str
    collection: str
    principal: Principal
    mode: AnswerMode = "auto"
    flags: PartialLabel = field(default_factory=PartialLabel)
    conditions: tuple[Condition, ...] = ()
    history: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Sending:
    """What one sink would get; ``sink`` is ``None`` for the model that runs here.

    Attributes:
        question: as it would be sent.
        parts: of the payload, with their join in ``label``.
    """

    sink: Sink | None
    scope: Scope
    packed: Packed
    question: str
    parts: tuple[Part, ...]
    label: Label
    admitted: bool = False


@dataclass(slots=True)
class Inquiry:
    """One question on its way. ``parts`` are the question's own."""

    request: AnswerRequest
    index: Index
    parts: tuple[Part, ...]
    dispatch: Dispatch
    watch: Stopwatch
    deadline: float
    cpu_started: float
    cancelled: Callable[[], bool]
    asked: Asked | None = None
    packed: dict[Scope, Packed] = field(default_factory=dict)

    @property
    def tenant(self) -> str:
        return self.index.collection.tenant

    def labels(self) -> frozenset[Label]:
        """The labels of the documents that the principal may read; of others not even the label is told."""
        may_read = self.request.principal.may_read
        return frozenset(label for label in self.index.labels() if may_read(label.groups))
