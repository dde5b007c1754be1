"""The nouns, frozen. Standard library and the errors only; every other module may import this one.

Offsets are Unicode code points in the text of a document, half open: ``text[start:end]``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from domicile.errors import InvalidRequest

Mode = Literal["hybrid", "dense", "lexical"]
AnswerMode = Literal["auto", "extractive", "generate"]
ModelState = Literal["ready", "loading", "missing", "damaged", "slow"]
Scalar = str | float
"""A value of metadata. Dates are strings in ISO 8601, which sort as they are read; booleans are ``true`` and ``false``."""
Operator = Literal["eq", "in", "gte", "lte", "prefix"]
Note = Literal[
    "reranker failed",
    "reranker skipped: missing",
    "reranker skipped: damaged",
    "reranker skipped: no time",
    "reranker cut short: no time",
]
"""What a search or an answer had to do without. A fixed set: notes are counted by their text."""


class Sensitivity(StrEnum):
    """How sensitive a text is, from the least to the most."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    RESTRICTED = "restricted"

    @property
    def rank(self) -> int:
        return list(Sensitivity).index(self)


@dataclass(frozen=True, slots=True)
class Label:
    """Where and how a text may be processed. ``domicile.labels`` reads, joins and writes labels.

    Attributes:
        regions: places as leaves (``de``, ``local``), groups already expanded.
        sensitivity: the joined maximum.
        hosted: whether a hosted provider may see the text at all.
        retention_days: how long a receiver may keep it.
        categories: what it holds, such as ``pii``; a sink must cover all of them.
        purposes: what it may be used for.
        groups: who may read it; ``None`` is every key of the tenant, an empty set is the owner alone.
    """

    regions: frozenset[str]
    sensitivity: Sensitivity
    hosted: bool
    retention_days: int
    categories: frozenset[str]
    purposes: frozenset[str]
    groups: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. One type serves the command line, the API and the evaluation.

    Attributes:
        name: a key's id, or ``owner``.
        tenant: ``None`` is every tenant (the owner of the home).
        groups: ``None`` is every group (the owner of the home).
        budget: money per day (UTC) in the configured currency; ``None`` is unlimited.
        budget_month: money per calendar month (UTC).
        may_ingest: whether documents may be written, and jobs of ingestion seen.
    """

    name: str
    tenant: str | None
    groups: frozenset[str] | None
    budget: float | None = None
    may_ingest: bool = False
    budget_month: float | None = None

    def may_read(self, groups: frozenset[str] | None) -> bool:
        """Whether a text with these label groups may be shown to this principal."""
        return groups is None or self.groups is None or not groups.isdisjoint(self.groups)


OWNER = Principal(name="owner", tenant=None, groups=None, may_ingest=True)


@dataclass(frozen=True, slots=True)
class Collection:
    """A named corpus and who may reach it. ``groups`` as in ``Label``.

    Attributes:
        recall: of the ten nearest passages, the share that a vector search finds; 1 is exact search.

    Raises:
        InvalidRequest: the name is not a plain word; it is a folder's name and a model's name at once.
    """

    name: str
    tenant: str = "default"
    groups: frozenset[str] | None = None
    mode: Literal["escalate", "cleared"] = "escalate"
    language: str = "en"
    recall: float = 0.98

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", self.name):
            raise InvalidRequest(
                "collection", "a name is 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
            )

    def open_to(self, principal: Principal) -> bool:
        return principal.tenant in (None, self.tenant) and principal.may_read(self.groups)


@dataclass(frozen=True, slots=True)
class Condition:
    """What a filter asks of one field of a document; ``domicile.filters`` reads them."""

    field: str
    operator: Operator
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of an index that one request may see. Hashable: what was worked out for it is remembered.

    Attributes:
        readers: the groups of the principal; ``None`` for the owner.
        conditions: that a document meets, all of them.
        labels: that a document may have, of those in the index; ``None`` is any.
    """

    readers: frozenset[str] | None
    conditions: tuple[Condition, ...] = ()
    labels: frozenset[Label] | None = None


@dataclass(frozen=True, slots=True)
class FusionWeights:
    """How dense and lexical scores become one, see ``domicile.fusion``.

    Attributes:
        dense: share of the dense score, 0 to 1; the rest is the lexical one's.
    """

    dense: float


@dataclass(frozen=True, slots=True)
class EvidenceCurve:
    """How the features of the evidence become a probability that it answers, see ``domicile.evidence``.

    Attributes:
        coefficients: of a logistic function, the intercept first.
        curve: (threshold, share of answerable questions that are answered, share of others that are).
    """

    coefficients: tuple[float, ...]
    curve: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Tuning:
    """Numbers that ``eval tune`` fitted to a collection; ``None`` stands for the shipped ones."""

    fusion: FusionWeights | None = None
    evidence: EvidenceCurve | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document, as it is stored and cited.

    Attributes:
        id: ``URI#ordinal``, unique in a generation.
        context: words that belong to the passage and stand elsewhere, such as the header row of a split table.
        text: exactly ``document.text[start:end]``.
        metadata: of its document.
    """

    id: str
    document: str
    title: str
    heading: tuple[str, ...]
    page: int | None
    start: int
    end: int
    text: str
    label: Label
    context: str = ""
    metadata: tuple[tuple[str, Scalar], ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a paginated document and its half-open range in the text."""

    number: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How the text of a document is to be read, so that it can be cut into passages again without its source.

    Attributes:
        markdown: whether headings, lists, tables and code are to be read as Markdown.
        table: whether every line is a row of one table, the first its header.
        pages: in order; empty where the format has none.
    """

    markdown: bool = False
    table: bool = False
    pages: tuple[Page, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """One source item, identified by its URI within its collection.

    Attributes:
        origin: ``run`` for what ``ingest run`` brought, ``api`` for what was put through the API.
        digest: sha256 of the source bytes, a cache key and never an identity.
        metadata: (field, value), a field once for each of its values.
    """

    uri: str
    title: str
    text: str
    label: Label
    digest: str
    origin: Literal["run", "api"] = "run"
    layout: Layout = Layout()
    metadata: tuple[tuple[str, Scalar], ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that one index proposes: its number within the pinned generation, and the score there."""

    ref: int
    score: float


@dataclass(frozen=True, slots=True)
class Hit:
    rank: int
    score: float
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class SearchResult:
    collection: str
    generation: int
    mode: Mode
    hits: tuple[Hit, ...]
    timings_ms: dict[str, float] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sentence (or table row) of a retrieved chunk that may support an answer.

    Attributes:
        n: the number by which prompt, answer and citation refer to it, from 1.
        start: offset in the document's text, as is ``end``; ``text`` is exactly what stands there.
        score: how well it answers the question, comparable within one answer.
        context: heading path and table header, for the reader of the sentence.
    """

    n: int
    text: str
    start: int
    end: int
    score: float
    chunk: Chunk
    context: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said earlier in a conversation; ``other`` is a tool, or whoever else a client names."""

    role: Literal["user", "assistant", "system", "other"]
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a generator receives: ``messages`` hold every byte of it. Of ``choices``, where there are any, the model that
    runs here says one; without them it writes freely. Question and evidence say what they were made of."""

    question: str
    evidence: tuple[Evidence, ...]
    messages: tuple[Message, ...]
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the model counted them, and the CPU time that it took where it ran here."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Money of one answer.

    Attributes:
        estimated: a provider did not say what it counted, so that tokens were estimated from above.
    """

    amount: float = 0.0
    currency: str = "USD"
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Citation:
    """A quote that was compared with the stored text: ``verified`` is never assumed."""

    n: int
    document: str
    title: str
    page: int | None
    quote: str
    start: int
    end: int
    verified: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """Who received the payload, and why not the others. ``label`` is the payload's; ``None`` where nothing was packed."""

    route: Literal["local", "hosted", "extractive", "cache"]
    sink: str | None
    model: str | None
    region: str | None
    label: Label | None
    denied: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What ``answering`` gives.

    Attributes:
        asked: the question as it was made self-contained, see ``domicile.conversation``; ``None`` where it was not changed.
        confidence: 0 to 1, that the evidence answers the question; ``None`` where none was looked for.
    """

    answer: str
    abstained: bool
    grounded: Literal["kept", "replaced", "extractive"]
    collection: str
    generation: int
    citations: tuple[Citation, ...]
    decision: Decision
    degraded: str | None = None
    cached: bool = False
    receipt: str | None = None
    asked: str | None = None
    confidence: float | None = None
    usage: Usage = Usage()
    cost: Cost = Cost()
    timings_ms: dict[str, float] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What ``/readyz`` says of one model; ``reason`` names the file where something is wrong."""

    name: str
    kind: Literal["embedder", "llm", "reranker"]
    state: ModelState
    reason: str | None = None
