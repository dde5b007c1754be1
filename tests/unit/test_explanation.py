"""Why an answer came from where it came: told from the record alone, decided again, and a lie in it is seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, get_args

import pytest
from corpora import REGIONS

from domicile import explanation, labels, payload, policy, receipts
from domicile.domain import OWNER, Answer, Decision, Label, Sensitivity
from domicile.errors import InvalidRequest, UnknownReceipt
from domicile.labels import MALFORMED, PartialLabel
from domicile.payload import Part
from domicile.policy import Sink
from domicile.ports import Record, RecordKind
from domicile.testing import MemoryAuditLog

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
US = Sink(
    name="acme-us", kind="llm", model="openai/x", api_base="https://us.example/v1", processing_regions=frozenset({"us"}),
    storage_regions=frozenset({"us"}), retention_days=30, training=False, human_review=False,
    max_sensitivity=Sensitivity.INTERNAL, categories=frozenset(), purposes=frozenset({"answer"}),
)  # fmt: skip
EU = replace(
    US, name="acme-eu", processing_regions=labels.EU, storage_regions=frozenset({"de"}), retention_days=0,
    categories=frozenset({"pii"}),
)  # fmt: skip
LEAVE = Part("document", "t", PartialLabel(
    labels.EU | {"local"}, Sensitivity.INTERNAL, hosted=True, retention_days=0, purposes=frozenset({"answer"})
), "hr/leave.md")  # fmt: skip
PUMPS = Part("document", "t", PartialLabel(
    REGIONS.places, Sensitivity.PUBLIC, hosted=True, retention_days=30, purposes=frozenset({"answer", "eval"})
), "pumps.md")  # fmt: skip
QUESTION = (
    Part("ceiling", "t", PartialLabel()), Part("flags", "t", PartialLabel()), Part("question", "t", PartialLabel()),
)  # fmt: skip


def answered(
    parts: Sequence[Part],
    considered: Sequence[Sink] = (),
    denied: Sequence[tuple[str, tuple[str, ...]]] = (),
    decision: Decision | None = None,
    *,
    mode: str = "escalate",
    egress: Sequence[str] = (),
    change: Callable[[dict[str, Any]], None] = lambda body: None,
    abstained: bool = False,
) -> Record:
    label = None if abstained else payload.label_of(parts)
    made = decision or Decision("local", "local", "small", "local", None)
    given = Answer(
        "26 weeks.", abstained, "kept", "handbook", 3, (), replace(made, label=label, denied=tuple(denied))
    )  # fmt: skip
    looked_at = [(sink, label if mode == "escalate" else None) for sink in considered]
    body: dict[str, Any] = receipts.answer(
        given, OWNER, "t", "How long?", parts, looked_at, egress, REGIONS, mode=mode, policy_version="p1",
        cached_from="r_first" if made.route == "cache" else None,
    )  # fmt: skip
    change(body)
    return written("answer", body)


def written(kind: RecordKind, body: dict[str, Any]) -> Record:
    return MemoryAuditLog(lambda: NOW, lambda count: "ab" * count).append(kind, body)


def reasons_for(label: Label, sink: Sink) -> tuple[str, ...]:
    return policy.decide(label, sink, "answer", NOW).reasons


def test_each_reason_is_a_sentence_with_the_two_values_that_clash() -> None:
    parts = (*QUESTION, LEAVE, PUMPS)
    record = answered(parts, [US], [("acme-us", reasons_for(payload.label_of(parts), US))])
    told = explanation.explain(record)
    assert [reason["says"] for reason in told["sinks"][0]["reasons"]] == [
        "region: acme-us processes in us; the label allows eu, local (by document hr/leave.md)",
        "storage: acme-us stores in us; the label allows eu, local (by document hr/leave.md)",
        "retention: acme-us keeps what it gets for 30 days; the label allows 0 days (by document hr/leave.md)",
    ]
    assert told["outcome"] == "the model that runs here answered (small); nothing left this process"
    assert told["consistent"] is True


def test_a_field_is_narrowed_by_the_strictest_parts_alone() -> None:
    question = Part("question", "t", PartialLabel(categories=frozenset({"pii"})))
    told = explanation.explain(answered((*QUESTION[:2], question, LEAVE, PUMPS)))
    by = {row["field"]: row["by"] for row in told["narrowed"]}
    assert by == {
        "regions": ["document hr/leave.md"],
        "sensitivity": ["document hr/leave.md"],
        "hosted": ["document hr/leave.md", "document pumps.md"],
        "retention_days": ["document hr/leave.md"],
        "categories": ["question"],
        "purposes": ["document hr/leave.md"],
        "groups": [],
    }


def test_two_parts_that_exclude_different_places_are_both_named() -> None:
    french = replace(LEAVE, label=replace(LEAVE.label, regions=frozenset({"fr"})), name="fr.md")
    german = replace(LEAVE, label=replace(LEAVE.label, regions=frozenset({"de"})), name="de.md")
    parts = (*QUESTION, french, german)
    told = explanation.explain(answered(parts, [EU], [("acme-eu", reasons_for(payload.label_of(parts), EU))]))
    assert told["sinks"][0]["reasons"][0]["says"] == (
        "region: acme-eu processes in eu; the label allows no region at all (by document fr.md, document de.md)"
    )
    assert told["label"]["regions"] == []
    assert told["consistent"] is True


def test_who_received_it_is_told_for_a_hosted_answer() -> None:
    parts = (*QUESTION, LEAVE)
    decision = Decision("hosted", "acme-eu", "openai/x", "eu", None)
    denied = [("acme-us", reasons_for(payload.label_of(parts), US))]
    told = explanation.explain(answered(parts, [US, EU], denied, decision, egress=["e_1"]))
    assert [(sink["sink"], sink["received"]) for sink in told["sinks"]] == [("acme-us", False), ("acme-eu", True)]
    assert told["outcome"] == "acme-eu received the payload (openai/x, processing in eu)"
    assert told["egress"] == ["e_1"]
    assert told["consistent"] is True


def test_a_sink_that_fails_is_told_apart_from_one_that_policy_forbids() -> None:
    parts = (*QUESTION, LEAVE)
    told = explanation.explain(answered(parts, [EU], [("acme-eu", ("timeout",))], egress=["e_1"]))
    assert told["sinks"][0]["reasons"] == [{"reason": "timeout", "says": "timeout: acme-eu: it did not answer in time"}]
    assert "bytes had been cleared for a sink that gave no answer (e_1)" in told["outcome"]
    assert told["consistent"] is True


def test_every_reason_that_can_be_recorded_has_words() -> None:
    parts = (*QUESTION, Part("document", "t", MALFORMED, "x.md"))
    odd = replace(US, training=True, human_review=True, valid_from=date(2027, 1, 1), valid_until=date(2026, 1, 1))
    odd = replace(odd, max_sensitivity=Sensitivity.PUBLIC, purposes=frozenset())
    with_pii = (*parts, Part("question", "t", PartialLabel(categories=frozenset({"pii"}))))
    found = reasons_for(payload.label_of(with_pii), odd)
    assert found == get_args(policy.Reason), "the sink fails every condition"
    told = explanation.explain(answered(with_pii, [odd], [("acme-us", (*found, *explanation.AT_RUN_TIME))]))
    says = [reason["says"] for reason in told["sinks"][0]["reasons"]]
    assert len(set(says)) == len(says) == len(found) + len(explanation.AT_RUN_TIME)
    assert not any("does not know" in sentence for sentence in says)
    assert told["consistent"] is True


def test_every_reason_of_a_provider_error_has_words() -> None:
    from domicile import errors

    families = [
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.ProviderError)
    ]
    assert len(families) > 5
    assert {family.reason for family in families} <= explanation.AT_RUN_TIME.keys()


def _forget_a_reason(body: dict[str, Any]) -> None:
    body["decision"]["denied"] = [{"sink": "acme-us", "reasons": ["region", "storage"]}]


def _declare_otherwise(body: dict[str, Any]) -> None:
    body["sinks"][0]["retention_days"] = 0


def _widen_the_label(body: dict[str, Any]) -> None:
    body["label"]["regions"] = ["global"]


def _narrow_a_part(body: dict[str, Any]) -> None:
    body["parts"][3]["label"]["sensitivity"] = "restricted"


@pytest.mark.parametrize("change", [_forget_a_reason, _declare_otherwise, _widen_the_label, _narrow_a_part])
def test_a_record_that_does_not_fit_itself_is_inconsistent(change: Callable[[dict[str, Any]], None]) -> None:
    parts = (*QUESTION, LEAVE)
    denied = [("acme-us", reasons_for(payload.label_of(parts), US))]
    assert explanation.explain(answered(parts, [US], denied))["consistent"] is True
    assert explanation.explain(answered(parts, [US], denied, change=change))["consistent"] is False


def test_where_a_sinks_own_label_is_recorded_it_is_what_counts() -> None:
    parts = (*QUESTION, LEAVE)
    with_pii = labels.narrow(payload.label_of(parts), PartialLabel(categories=frozenset({"pii"})))

    def forget(body: dict[str, Any]) -> None:
        del body["sinks"][0]["label"]

    def add(body: dict[str, Any]) -> None:
        body["sinks"][0]["label"] = labels.to_json(with_pii, REGIONS)

    denied = [("acme-us", reasons_for(with_pii, US))]
    assert "categories" in denied[0][1]
    assert explanation.explain(answered(parts, [US], denied))["consistent"] is False
    assert explanation.explain(answered(parts, [US], denied, change=add))["consistent"] is True
    assert explanation.explain(answered(parts, [US], denied, change=forget))["consistent"] is None


def test_what_cannot_be_decided_again_is_not_claimed_to_be() -> None:
    denied = [("acme-us", ("region",)), ("acme-eu", ("evidence",))]
    told = explanation.explain(answered((*QUESTION, LEAVE), [US, EU], denied, mode="cleared"))
    assert [sink["consistent"] for sink in told["sinks"]] == [None, None]
    assert told["sinks"][0]["reasons"][0]["says"] == "region: acme-us processes in us"
    assert told["consistent"] is None


def test_an_abstention_and_a_cached_answer_say_what_they_are() -> None:
    told = explanation.explain(answered(QUESTION, abstained=True))
    assert told["outcome"] == "nothing was found that answers, so no model was asked; nothing left this process"
    assert told["narrowed"] == []

    def of_the_first(body: dict[str, Any]) -> None:
        body["cached"] = True

    given_again = Decision("cache", None, None, "local", None)
    parts = (*QUESTION, replace(LEAVE, kind="answer", name=""))
    cached = explanation.explain(answered(parts, decision=given_again, change=of_the_first))
    assert "r_first was given again, from the cache" in cached["outcome"]
    assert cached["consistent"] is True


def test_a_day_that_ended_between_decision_and_record_is_no_inconsistency() -> None:
    parts = (*QUESTION, LEAVE)
    until = replace(EU, valid_until=date(2026, 11, 22))
    record = answered(parts, [until], [], Decision("hosted", "acme-eu", "openai/x", "eu", None))
    assert explanation.explain(record)["consistent"] is False
    assert explanation.explain(replace(record, at="2026-11-23T00:00:03.000+00:00"))["consistent"] is True


def egress_body(sink: Sink, parts: Sequence[Part]) -> dict[str, Any]:
    return receipts.egress(
        sink, payload.label_of(parts), parts, REGIONS, key="k", collection="handbook", purpose="answer", policy_version="p1",
        attempt=1,
        body_sha256="c0ffee", body_bytes=1234,
    )  # fmt: skip


def test_a_record_of_what_was_sent_is_explained_too() -> None:
    told = explanation.explain(written("egress", egress_body(EU, (*QUESTION, LEAVE))))
    assert told["received_by"] == "acme-eu"
    assert "1,234 bytes were cleared for acme-eu" in told["outcome"]
    assert told["consistent"] is True
    forbidden = explanation.explain(written("egress", egress_body(US, (*QUESTION, LEAVE))))
    assert forbidden["consistent"] is False, "policy would not have let this leave"


def test_a_region_that_the_configuration_no_longer_has_is_still_read() -> None:
    regions = labels.Regions.known(["us"], {"moonbase": []})
    body = receipts.egress(
        replace(EU, processing_regions=frozenset({"moonbase"}), storage_regions=frozenset({"moonbase"})),
        payload.label_of([PUMPS]), [replace(PUMPS, label=replace(PUMPS.label, regions=regions.places))], regions,
        key="k", collection="handbook", purpose="answer", policy_version="p1", attempt=1, body_sha256="c0ffee",
        body_bytes=1,
    )  # fmt: skip
    body["label"] = {**body["label"], "regions": ["global"]}  # type: ignore[dict-item]
    assert explanation.explain(written("egress", body))["consistent"] is True


def test_everywhere_is_more_than_the_places_that_a_record_names() -> None:
    everywhere = replace(US, processing_regions=REGIONS.places, storage_regions=frozenset({"de"}), retention_days=0)
    parts = (*QUESTION, replace(LEAVE, label=replace(LEAVE.label, regions=labels.EEA | {"local"})))
    told = explanation.explain(answered(parts, [everywhere], [("acme-us", ("region",))]))
    assert told["consistent"] is True


def test_other_records_are_refused() -> None:
    with pytest.raises(UnknownReceipt):
        explanation.explain(written("start", {"version": "1"}))
    with pytest.raises(InvalidRequest, match="another version"):
        explanation.explain(written("answer", {"decision": {}}))
