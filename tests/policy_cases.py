"""A small world of labels and sinks for the proofs of the policy: as people write them, and as the product reads them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from functools import partial
from itertools import chain, combinations, product
from math import prod
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st

from domicile import labels
from domicile.domain import Label, Sensitivity
from domicile.labels import PartialLabel, Regions
from domicile.policy import Sink

PROOF = settings(
    max_examples=int(os.environ.get("DOMICILE_EXAMPLES", "1000")),
    derandomize="DOMICILE_EXAMPLES" not in os.environ,
    deadline=None,
)
"""Of every property: 1,000 examples, the same in each run; as many as ``DOMICILE_EXAMPLES`` says, and others each time."""

T = TypeVar("T")
Table = dict[str, Any]
REGIONS = Regions.known([*labels.EEA, "us", "ch"], {"lab": [], "dach": ["de", "at", "ch"]})

FULL: list[Table] = [
    {
        "regions": regions, "sensitivity": sensitivity, "hosted": hosted, "retention_days": days,
        "categories": categories, "purposes": purposes,
    }
    for regions, sensitivity, hosted, days, categories, purposes in product(
        (["eu", "local"], ["dach", "us"], ["local"]), ("public", "internal", "confidential", "restricted"),
        (True, False), (0, 30), ([], ["pii"]), (["answer"], ["answer", "eval"]),
    )
]  # fmt: skip
SPARSE: list[Table] = [
    {}, {"regions": ["global"]}, {"sensitivity": "public"}, {"hosted": True}, {"retention_days": 365},
    {"categories": ["pci"]}, {"purposes": ["eval"]}, {"purposes": []},
    {"regions": ["eu"], "sensitivity": "internal", "hosted": True}, {"regions": ["EU"]},
]  # fmt: skip
"""Sources that leave out fields, and one that cannot be understood."""

PLAIN: Table = {
    "processing_regions": ["de"], "storage_regions": ["de"], "retention_days": 0, "training": False, "human_review": False,
    "max_sensitivity": "restricted", "categories": ["pii", "pci"], "purposes": ["answer", "eval"],
}  # fmt: skip
SINKS: list[Table] = [
    {**PLAIN, **changed, "name": f"s{number}"}
    for number, changed in enumerate(
        (
            {}, {"processing_regions": []}, {"processing_regions": ["us"]}, {"processing_regions": ["eu"]},
            {"processing_regions": ["de", "us"]}, {"processing_regions": ["global"]}, {"processing_regions": ["local"]},
            {"storage_regions": []}, {"storage_regions": ["us"]}, {"storage_regions": ["local"]},
            {"storage_regions": ["at", "ch"]}, {"retention_days": 30},
            {"retention_days": 31}, {"max_sensitivity": "public"}, {"max_sensitivity": "internal"},
            {"max_sensitivity": "confidential"}, {"categories": []}, {"categories": ["pii"]}, {"purposes": ["answer"]},
            {"purposes": ["eval"]}, {"self_hosted": True}, {"training": True}, {"human_review": True},
            {"valid_from": "2027-01-01"}, {"valid_until": "2026-12-31"},
            {"valid_from": "2026-12-31", "valid_until": "2027-01-01", "human_review": True, "retention_days": 1},
        )
    )
]  # fmt: skip
MOMENTS = (
    datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2026, 12, 31, 22, 0, tzinfo=timezone(timedelta(hours=-5))),  # already the next day in UTC
)


def read(raw: object) -> PartialLabel:
    """As ingestion does: what cannot be understood is the most restrictive source."""
    try:
        return labels.parse(raw, REGIONS)
    except labels.LabelError:
        return labels.MALFORMED


def built(sink: Mapping[str, Any]) -> Sink:
    """A declaration as the product holds it."""
    return Sink(
        name=sink["name"],
        kind="llm",
        model="openai/x",
        api_base="https://x.example/v1",
        processing_regions=REGIONS.expand(sink["processing_regions"]),
        storage_regions=REGIONS.expand(sink["storage_regions"]),
        retention_days=sink["retention_days"],
        training=sink["training"],
        human_review=sink["human_review"],
        max_sensitivity=Sensitivity(sink["max_sensitivity"]),
        categories=frozenset(sink["categories"]),
        purposes=frozenset(sink["purposes"]),
        valid_from=date.fromisoformat(sink["valid_from"]) if "valid_from" in sink else None,
        valid_until=date.fromisoformat(sink["valid_until"]) if "valid_until" in sink else None,
        self_hosted=sink.get("self_hosted", False),
    )


def subsets(*members: str) -> list[frozenset[str]]:
    return [frozenset(some) for some in chain(*(combinations(members, size) for size in range(len(members) + 1)))]


def any_of(make: Callable[..., T], **choices: Sequence[object]) -> st.SearchStrategy[T]:
    """``make`` of one choice for each argument: one draw of a number, where a draw for each would take most of the time."""
    total = prod(map(len, choices.values()))
    scatter = 1_000_000_007  # a prime: numbers near each other, which is what is mostly drawn, become different choices

    def made(number: int) -> T:
        rest, chosen = number * scatter % total, {}
        for name, options in choices.items():
            rest, index = divmod(rest, len(options))
            chosen[name] = options[index]
        return make(**chosen)

    return st.integers(0, total - 1).map(made)


PLACES = subsets("de", "fr", "us", "local", "lab")
WORDS = subsets("answer", "eval", "pii", "pci")
DAYS = (None, date(2026, 12, 31), date(2027, 1, 1), date(2027, 1, 2), date(2027, 6, 30))

partials = any_of(
    PartialLabel,
    regions=(None, *PLACES), sensitivity=(None, *Sensitivity), hosted=(None, True, False),
    retention_days=(None, 0, 1, 30), categories=(None, *WORDS), purposes=(None, *WORDS), groups=(None, *WORDS),
)  # fmt: skip
whole = any_of(
    Label,
    regions=PLACES, sensitivity=tuple(Sensitivity), hosted=(True, False), retention_days=(0, 1, 30), categories=WORDS,
    purposes=WORDS, groups=(None, *WORDS),
)  # fmt: skip
sinks = any_of(
    partial(Sink, name="s", kind="llm", model="openai/x", api_base="https://x.example"),
    processing_regions=PLACES, storage_regions=PLACES, retention_days=(0, 1, 30), training=(False, True),
    human_review=(False, True), max_sensitivity=tuple(Sensitivity), categories=WORDS, purposes=WORDS, valid_from=DAYS,
    valid_until=DAYS, self_hosted=(False, True),
)  # fmt: skip
purposes = st.sampled_from(["answer", "eval", "", "ANSWER"])
moments = any_of(
    lambda day, second, offset: datetime(2026, 12, 30, tzinfo=timezone(timedelta(hours=offset)))
    + timedelta(days=day, seconds=second),
    day=(0, 1, 2, 3, 4, 181, 182), second=(0, 1, 3_600, 43_200, 82_800, 86_399), offset=(-12, -5, 0, 1, 14),
)  # fmt: skip
