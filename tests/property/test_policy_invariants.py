"""What holds for every label, sink and conversation, not only for the small ones. Numbers: see ``docs/residency.md``."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import reference_policy as reference
from hypothesis import assume, given
from hypothesis import strategies as st
from policy_cases import (
    FULL,
    MOMENTS,
    PROOF,
    REGIONS,
    SINKS,
    any_of,
    built,
    moments,
    partials,
    purposes,
    read,
    sinks,
    whole,
)

from domicile import labels, payload
from domicile.domain import Collection, Label, Sensitivity
from domicile.errors import FlagWidens, TenantsMixed
from domicile.labels import FIELDS, PartialLabel, complete, join_partial, narrow
from domicile.payload import Part
from domicile.policy import Sink, decide
from domicile_ingest.labelling import Labeller

parts = st.lists(
    st.builds(
        Part, kind=st.just("document"), tenant=st.sampled_from(["acme", "acme", "acme", "globex"]), label=partials
    ),
    max_size=4,
)
SAID: list[dict[str, Any]] = [
    {**label, "groups": ["hr"]} for label in FULL if label["hosted"] and label["sensitivity"] != "restricted"
]  # fmt: skip
HOSTED = [
    built(sink)
    for sink in SINKS
    if "self_hosted" not in sink and "local" not in (*sink["processing_regions"], *sink["storage_regions"])
]
"""What processes or stores on this machine is no hosted provider."""
JUNK: list[Any] = [
    None, -1, 1.0, float("nan"), "", "EU", "eu", "true", b"x", {}, {"eu": True}, ["EU"], [" eu"], ["eu "], ["zz", "é"], [""],
    ["Answer"], [7], [None], [["eu"]], ["eu", "EU"], ["a" * 65], [True],
]  # fmt: skip
"""What no field can be."""
GOOD: dict[str, list[Any]] = {
    "regions": [["eu"], ["local", "de"], ["global"], ["dach", "lab"]], "sensitivity": list(map(str, Sensitivity)),
    "hosted": [True, False], "retention_days": [0, 1, 30], "categories": [[], ["pii"], ("pci",)],
    "purposes": [[], ["answer"], ["eval", "answer"]], "groups": [[], ["hr"], ["hr", "staff"]],
}  # fmt: skip
LEFT_OUT = object()


def told(**fields: Any) -> dict[str, Any]:
    return {field: value for field, value in fields.items() if value is not LEFT_OUT}


# mostly well formed: one source in two has something wrong in it
raw_labels = any_of(told, **{field: [LEFT_OUT, *good * 15, *JUNK[:6]] for field, good in GOOD.items()})


def reasons(label: Label, sink: Sink, purpose: str = "answer", now: datetime = MOMENTS[0]) -> set[str]:
    return set(decide(label, sink, purpose, now).reasons)


def ingested(raw: object) -> Label:
    """The label of a document that says this of itself, with nothing said outside."""
    made = Labeller(Collection("c"), REGIONS, PartialLabel(), (), {})
    return made.label("a.md", [], raw)[0]  # type: ignore[arg-type]


@PROOF
@given(st.lists(partials, max_size=6), st.randoms(use_true_random=False))
def test_order_grouping_and_repetition_of_parts_make_no_difference(
    sources: list[PartialLabel], dice: random.Random
) -> None:
    joined = join_partial(sources)
    shuffled = [*sources, *dice.choices(sources, k=2)] if sources else []
    dice.shuffle(shuffled)
    assert join_partial(shuffled) == joined
    cut = dice.randint(0, len(sources))
    assert join_partial([join_partial(sources[:cut]), join_partial(sources[cut:])]) == joined
    assert join_partial([joined, joined]) == joined == join_partial([joined, PartialLabel()])


@PROOF
@given(st.lists(partials, max_size=5), partials, sinks, purposes, moments)
def test_a_further_part_adds_reasons_and_takes_none_away(
    sources: list[PartialLabel], more: PartialLabel, sink: Sink, purpose: str, now: datetime
) -> None:
    known = [labels.partial_of(complete(source, None)) for source in sources]
    before = complete(join_partial([labels.partial_of(WIDEST), *known]), None)
    after = complete(join_partial([labels.partial_of(WIDEST), *known, more]), None)
    assert reasons(before, sink, purpose, now) <= reasons(after, sink, purpose, now)


@PROOF
@given(whole, partials, sinks, purposes, moments)
def test_flags_and_detected_data_only_narrow(
    label: Label, flags: PartialLabel, sink: Sink, purpose: str, now: datetime
) -> None:
    narrowed = narrow(label, flags)
    assert reasons(label, sink, purpose, now) <= reasons(narrowed, sink, purpose, now)
    assert narrow(narrowed, flags) == narrowed
    assert labels.join([label, narrowed]) == narrowed


@PROOF
@given(partials, partials, sinks, purposes, moments)
def test_what_is_said_beside_documents_never_widens_them(
    document: PartialLabel, said: PartialLabel, sink: Sink, purpose: str, now: datetime
) -> None:
    label = complete(document, None)
    own = Part("document", "acme", labels.partial_of(label))
    beside = payload.label_of([Part("history", "acme", said), own])
    assert payload.label_of([own]) == label
    assert reasons(label, sink, purpose, now) <= reasons(beside, sink, purpose, now)


@PROOF
@given(parts, st.randoms(use_true_random=False))
def test_parts_of_two_tenants_never_become_one_payload(found: list[Part], dice: random.Random) -> None:
    dice.shuffle(found)
    if len({part.tenant for part in found}) > 1:
        with pytest.raises(TenantsMixed):
            payload.label_of(found)
    else:
        assert payload.joined(found) == join_partial(part.label for part in found)


@PROOF
@given(partials, partials)
def test_a_flag_beyond_the_ceiling_is_refused_and_any_other_is_joined(
    flags: PartialLabel, ceiling: PartialLabel
) -> None:
    flags = PartialLabel(regions=flags.regions, sensitivity=flags.sensitivity, hosted=flags.hosted)
    widens = [
        name
        for name, beyond in {
            "regions": flags.regions is not None
            and ceiling.regions is not None
            and bool(flags.regions - ceiling.regions - {"local"}),
            "sensitivity": flags.sensitivity is not None
            and ceiling.sensitivity is not None
            and list(Sensitivity).index(flags.sensitivity) < list(Sensitivity).index(ceiling.sensitivity),
            "hosted": flags.hosted is True and ceiling.hosted is False,
        }.items()
        if beyond
    ]
    if widens:
        with pytest.raises(FlagWidens) as refused:
            said(ceiling, flags)
        assert refused.value.field == widens[0]
    else:
        assert payload.joined(said(ceiling, flags)) == join_partial([ceiling, flags])


def said(ceiling: PartialLabel, flags: PartialLabel) -> tuple[Part, ...]:
    return payload.question_parts(
        "acme",
        "How many days?",
        (),
        ceiling=ceiling,
        flags=flags,
        made_from=lambda text: None,
        stated_from=lambda text: None,
        known=(),
    )


@PROOF
@given(
    st.sampled_from(SAID),
    st.sampled_from([*FIELDS, "region", "Hosted"]),
    st.sampled_from(JUNK),
    st.sampled_from(HOSTED),
    moments,
)
def test_a_corrupted_field_of_a_document_keeps_it_from_every_hosted_sink(
    said: dict[str, Any], field: str, value: object, sink: Sink, now: datetime
) -> None:
    corrupted = ingested({**said, field: value})
    assert "hosted" not in reasons(ingested(said), sink, now=now)  # the control
    assert "hosted" in reasons(corrupted, sink, now=now)
    assert (corrupted.sensitivity, corrupted.groups) == (Sensitivity.RESTRICTED, frozenset())


@PROOF
@given(
    st.sampled_from(SAID),
    st.sampled_from(["regions", "sensitivity", "hosted", "retention_days"]),
    st.sampled_from(HOSTED),
    moments,
)
def test_a_deleted_field_of_a_document_never_lets_it_go_further(
    said: dict[str, Any], field: str, sink: Sink, now: datetime
) -> None:
    # of purposes, categories and groups the contract says what stands for them: `answer`, none, the collection's
    left = {name: value for name, value in said.items() if name != field}
    before, after = reasons(ingested(said), sink, now=now), reasons(ingested(left), sink, now=now)
    assert before <= after
    if field == "hosted":
        assert "hosted" in after
    if field == "regions":
        assert "region" in after
    if field == "sensitivity":
        assert "sensitivity" in after or sink.max_sensitivity is Sensitivity.RESTRICTED


@PROOF
@given(st.lists(raw_labels, max_size=3), st.sampled_from(SINKS), purposes, moments)
def test_labels_with_anything_in_them_are_read_joined_and_decided_as_the_reference_does(
    raw: list[dict[str, Any]], sink: dict[str, Any], purpose: str, now: datetime
) -> None:
    label = complete(join_partial(map(read, raw)), frozenset({"staff"}))
    table = reference.whole(reference.together([reference.understood(one) for one in raw]), ["staff"])
    assert label.groups == (None if table["groups"] is None else frozenset(table["groups"]))
    expected = tuple(reference.reasons(table, sink, purpose, now.timestamp()))
    assert decide(label, built(sink), purpose, now).reasons == expected


@PROOF
@given(whole, sinks, purposes, moments)
def test_a_decision_is_always_made_and_always_the_same(label: Label, sink: Sink, purpose: str, now: datetime) -> None:
    verdict = decide(label, sink, purpose, now)
    assert verdict == decide(label, sink, purpose, now.astimezone(UTC))
    assert verdict.allowed == (verdict.reasons == ())
    assert verdict.sink == sink.name


@PROOF
@given(whole, sinks, purposes, moments, st.integers(0, 86_400 * 400).map(lambda seconds: timedelta(seconds=seconds)))
def test_once_a_declaration_holds_time_only_narrows(
    label: Label, sink: Sink, purpose: str, now: datetime, later: timedelta
) -> None:
    before, after = reasons(label, sink, purpose, now), reasons(label, sink, purpose, now.astimezone(UTC) + later)
    assert before - {"not_yet_valid"} <= after
    assert "not_yet_valid" in before or "not_yet_valid" not in after


NARROWER: dict[str, Any] = {
    "processing_regions": lambda sink: sink.processing_regions | {"nowhere"},
    "storage_regions": lambda sink: sink.storage_regions | {"nowhere"},
    "retention_days": lambda sink: sink.retention_days + 1,
    "training": lambda sink: True,
    "human_review": lambda sink: True,
    "max_sensitivity": lambda sink: Sensitivity.PUBLIC,
    "categories": lambda sink: frozenset(),
    "purposes": lambda sink: frozenset(),
    "self_hosted": lambda sink: False,
}  # fmt: skip


@PROOF
@given(whole, sinks, st.sampled_from(sorted(NARROWER)), purposes, moments)
def test_a_worse_receiver_gets_no_more(label: Label, sink: Sink, field: str, purpose: str, now: datetime) -> None:
    worse = replace(sink, **{field: NARROWER[field](sink)})
    assume(not (field == "processing_regions" and not sink.processing_regions))
    assert reasons(label, sink, purpose, now) <= reasons(label, worse, purpose, now)


def test_every_field_of_a_declaration_that_decides_is_in_the_property_above() -> None:
    beside = {"name", "kind", "model", "api_base", "valid_from", "valid_until", "price"}
    assert {field.name for field in fields(Sink)} - beside == NARROWER.keys()


WIDEST = Label(
    frozenset(REGIONS.places),
    Sensitivity.PUBLIC,
    True,
    99,
    frozenset(),
    frozenset({"answer", "eval", "", "ANSWER"}),
    None,
)
"""What a label can be that restricts nothing here."""
