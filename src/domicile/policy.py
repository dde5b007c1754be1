"""Which sink may receive which bytes. Pure and total: no clock, no file, no exception for any label and any sink.

A sink is anything that receives bytes outside this process. ``decide`` names every condition that a sink fails, and an
empty answer allows; ``docs/residency.md`` has the same table in words. The broker (``adapters/egress.py``) enforces the
last condition, which is not pure: the decision is in the audit log before a byte leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from domicile.domain import Label, Sensitivity

Kind = Literal["llm", "judge", "traces", "metrics", "vectors"]
Reason = Literal[
    "not_yet_valid",
    "expired",
    "region",
    "storage",
    "retention",
    "sensitivity",
    "categories",
    "purpose",
    "hosted",
    "training",
    "human_review",
]
"""Why policy keeps a label from a sink, in the order in which ``decide`` gives them."""

VERSION = "1"
"""Changes whenever ``decide`` does; decisions carry it beside the hash of the declarations."""


@dataclass(frozen=True, slots=True)
class Price:
    """Money for a million tokens."""

    input_per_million: float
    output_per_million: float

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        return (prompt_tokens * self.input_per_million + completion_tokens * self.output_per_million) / 1e6


@dataclass(frozen=True, slots=True)
class Sink:
    """What an organisation declares about a receiver, on the ground of its contract with it.

    Attributes:
        model: of the provider, as litellm names it; empty where the kind has none.
        api_base: the one address that is called.
        processing_regions, storage_regions: places as leaves, groups already expanded.
        retention_days: how long the receiver keeps what it gets.
        training: whether it may train on it.
        human_review: whether people there may read it.
        max_sensitivity: the highest that the contract covers.
        categories: that the contract covers, such as ``pii``.
        purposes: that it may be used for.
        valid_from, valid_until: days (UTC), both included.
        self_hosted: run by the organisation itself, so that a label that forbids hosted providers allows it.
        price: ``None`` where the kind has none.
    """

    name: str
    kind: Kind
    model: str
    api_base: str
    processing_regions: frozenset[str]
    storage_regions: frozenset[str]
    retention_days: int
    training: bool
    human_review: bool
    max_sensitivity: Sensitivity
    categories: frozenset[str]
    purposes: frozenset[str]
    valid_from: date | None = None
    valid_until: date | None = None
    self_hosted: bool = False
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a sink may have a payload: not one reason against it."""

    sink: str
    reasons: tuple[Reason, ...] = ()

    @property
    def allowed(self) -> bool:
        return not self.reasons


def decide(label: Label, sink: Sink, purpose: str, now: datetime) -> Verdict:
    """Whether a payload with this label may go to the sink, with all the reasons where it may not.

    Args:
        purpose: what the bytes are sent for, such as ``answer`` or ``eval``.
        now: with its time zone.
    """
    day = now.astimezone(UTC).date()
    failed: dict[Reason, bool] = {
        "not_yet_valid": sink.valid_from is not None and day < sink.valid_from,
        "expired": sink.valid_until is not None and day > sink.valid_until,
        "region": not sink.processing_regions or not sink.processing_regions <= label.regions,
        "storage": not sink.storage_regions <= label.regions,
        "retention": sink.retention_days > label.retention_days,
        "sensitivity": label.sensitivity.rank > sink.max_sensitivity.rank,
        "categories": not label.categories <= sink.categories,
        "purpose": purpose not in label.purposes or purpose not in sink.purposes,
        "hosted": not label.hosted and not sink.self_hosted,
        "training": sink.training,
        "human_review": sink.human_review and label.sensitivity.rank > Sensitivity.INTERNAL.rank,
    }
    return Verdict(sink.name, tuple(reason for reason, fails in failed.items() if fails))
