"""Why an answer came from where it came, told from its record in the audit log alone. Pure.

The record has the label of every part and every sink as it was declared, so the decision is taken again here: whoever
reads the explanation need not believe the reasons that were written down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, get_args

from domicile import labels, policy
from domicile.domain import Label, Sensitivity
from domicile.errors import InvalidRequest, UnknownReceipt
from domicile.labels import EEA, EU, FIELDS, LOCAL, PartialLabel, Regions
from domicile.policy import Reason, Sink
from domicile.ports import Record

ELSEWHERE = "*"
"""Every place that the record does not name."""
_LONGEST_ANSWER = timedelta(minutes=10)
"""A record stands in the log after the decision, and perhaps on the next day."""

FIELD_OF: Mapping[str, str] = {
    "region": "regions",
    "storage": "regions",
    "retention": "retention_days",
    "sensitivity": "sensitivity",
    "categories": "categories",
    "purpose": "purposes",
    "hosted": "hosted",
    "human_review": "sensitivity",
}
"""The field of a label that a reason of policy is about."""

AT_RUN_TIME: Mapping[str, str] = {
    "evidence": "what may go there does not answer the question; other passages were withheld from it",
    "budget": "a budget of the key or of the tenant would have been exceeded",
    "ledger": "the ledger could not be written, so that no budget could be kept",
    "audit": "the audit log could not be written, and nothing leaves without a record",
    "no_secret": "its API key could not be read",
    "open_circuit": "it had failed several times and was left alone for a while",
    "unready": "it was not ready when it was called",
    "timeout": "it did not answer in time",
    "busy": "it said that it was busy or that its quota was spent",
    "rejected": "it refused the request, or redirected it, which is never followed",
    "down": "it failed, or could not be reached",
    "malformed": "what it sent was no answer",
    "failed": "it did not answer",
    "address": "the broker was asked for another address than the declared one, and sent nothing",
    "method": "the broker was asked for another kind of request, and sent nothing",
    "second request": "the broker was asked for a second request in one call, and sent nothing",
}
"""Why a sink that policy allows did not answer."""


@dataclass(frozen=True, slots=True)
class _Part:
    source: str
    label: PartialLabel


@dataclass(frozen=True, slots=True)
class _Case:
    """What a sink was decided by."""

    label: Label
    parts: tuple[_Part, ...]
    purpose: str
    at: datetime
    regions: Regions


def explain(record: Record) -> dict[str, Any]:
    """The decision of an ``answer`` or an ``egress`` record in words, taken again.

    Raises:
        UnknownReceipt: the record is of another kind.
        InvalidRequest: it has not the fields that this version writes.
    """
    if record.kind not in ("answer", "egress"):
        raise UnknownReceipt(record.id)
    try:
        return _of_answer(record) if record.kind == "answer" else _of_egress(record)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest("receipt", f"written by another version of domicile ({error!r})") from None


def _of_answer(record: Record) -> dict[str, Any]:
    body: Mapping[str, Any] = record.body
    case = _case(record)
    denied: dict[str, tuple[str, ...]] = {}
    for each in body["decision"]["denied"]:
        denied[each["sink"]] = (*denied.get(each["sink"], ()), *each["reasons"])
    sinks = [_looked_at(raw, denied.get(raw["name"], ()), case, body) for raw in body["sinks"]]
    whole = not body["label"] or _joined(case) == case.label
    return {
        **_heading(record),
        "tenant": body["tenant"],
        "collection": body["collection"],
        "generation": body["generation"],
        "mode": body["mode"],
        "question_sha256": body["question_sha256"],
        "route": body["decision"]["route"],
        "received_by": body["decision"]["sink"],
        "outcome": _outcome(body),
        "label": body["label"],
        "narrowed": _narrowed(case) if body["label"] else [],
        "sinks": sinks,
        "egress": body["egress"],
        "consistent": _all([whole, *(sink["consistent"] for sink in sinks)]),
    }


def _of_egress(record: Record) -> dict[str, Any]:
    body: Mapping[str, Any] = record.body
    case = _case(record)
    sink = _looked_at(body["declaration"], (), case, body)
    return {
        **_heading(record),
        "route": "hosted",
        "received_by": body["sink"],
        "outcome": f"{body['body_bytes']:,} bytes were cleared for {body['sink']} ({body['address']}, {body['model']}); "
        f"their sha256 is {body['body_sha256']}",
        "attempt": body["attempt"],
        "body_sha256": body["body_sha256"],
        "body_bytes": body["body_bytes"],
        "label": body["label"],
        "narrowed": _narrowed(case),
        "sinks": [sink],
        "consistent": sink["consistent"] is True and _joined(case) == case.label,
    }


def _heading(record: Record) -> dict[str, Any]:
    body: Mapping[str, Any] = record.body
    return {"id": record.id, "kind": record.kind, "at": record.at, "seq": record.seq, "policy": body["policy"]}


def _outcome(body: Mapping[str, Any]) -> str:
    decision = body["decision"]
    told = {
        "hosted": f"{decision['sink']} received the payload ({decision['model']}, processing in {decision['region']})",
        "local": f"the model that runs here answered ({decision['model']})",
        "extractive": "no model answered: the quotes themselves are the answer",
        "cache": f"the answer of {body['cached_from']} was given again, from the cache; explain that one to see who made it",
    }[decision["route"]]
    if body["abstained"]:
        told = "nothing was found that answers, so no model was asked"
    sent = body["egress"]
    if decision["route"] != "hosted" and not sent:
        told += "; nothing left this process"
    elif decision["route"] != "hosted":
        told += f"; before that, bytes had been cleared for a sink that gave no answer ({', '.join(sent)})"
    return told + (f"; degraded: {body['degraded']}" if body["degraded"] else "")


def _case(record: Record) -> _Case:
    body: Mapping[str, Any] = record.body
    regions = _universe(body)
    parts = tuple(
        _Part(" ".join(filter(None, (raw["kind"], raw["name"]))), _partial(raw["label"], regions))
        for raw in body["parts"]
    )
    return _Case(_whole(body["label"], regions), parts, body["purpose"], datetime.fromisoformat(record.at), regions)


def _universe(body: Mapping[str, Any]) -> Regions:
    """The places of a record, so that it can be read whatever the configuration says by now."""
    sinks = body["sinks"] if "sinks" in body else [body["declaration"]]
    tables = [body["label"], *(each.get("label", {}) for each in (*body["parts"], *sinks))]
    named = {place for table in tables for place in table.get("regions", ())}
    named |= {place for sink in sinks for key in ("processing_regions", "storage_regions") for place in sink[key]}
    places = EEA | (named - {"eu", "eea", "global"}) | {LOCAL, ELSEWHERE}
    return Regions(frozenset(places), {"eu": EU, "eea": EEA, "global": frozenset(places)})


def _partial(raw: Mapping[str, Any], regions: Regions) -> PartialLabel:
    """What a part says; a field that is not there says nothing."""
    words = {field: frozenset(raw[field]) for field in ("categories", "purposes", "groups") if field in raw}
    return PartialLabel(
        regions=regions.expand(raw["regions"]) if "regions" in raw else None,
        sensitivity=Sensitivity(raw["sensitivity"]) if "sensitivity" in raw else None,
        hosted=raw.get("hosted"),
        retention_days=raw.get("retention_days"),
        **words,
    )


def _whole(raw: Mapping[str, Any], regions: Regions) -> Label:
    """A label as ``labels.to_json`` writes it, where no groups are everyone, unless it says that nobody is."""
    told = {field: value for field, value in raw.items() if field != "groups" or value or raw.get("owner_only")}
    return labels.complete(_partial(told, regions), groups=None)


def _joined(case: _Case) -> Label:
    return labels.complete(labels.join_partial(part.label for part in case.parts), groups=None)


def _narrowed(case: _Case) -> list[dict[str, Any]]:
    """For each field of the label which parts it comes from; from none where nobody says anything of it."""
    written = labels.to_json(case.label, case.regions)
    return [{"field": field, "value": written[field], "by": _by(field, case.parts)} for field in FIELDS]


def _by(field: str, parts: Sequence[_Part]) -> list[str]:
    """The parts that say something of the field which no other part says more strictly."""
    said = [
        (part.source, PartialLabel(**{field: value}))
        for part in parts
        if (value := getattr(part.label, field)) is not None
    ]
    strictest = [
        source
        for source, mine in said
        if not any(other != mine and labels.join_partial((mine, other)) == other for _, other in said)
    ]
    return list(dict.fromkeys(strictest))


def _looked_at(raw: Mapping[str, Any], written: Iterable[str], case: _Case, body: Mapping[str, Any]) -> dict[str, Any]:
    """A sink with every reason against it, and whether policy gives the same reasons again.

    ``consistent`` is ``None`` where that cannot be said, since the label that it was decided by is not in the record.
    """
    sink = _sink(raw, case.regions)
    own = raw.get("label")
    assumed = own is None and "decision" in body  # most likely that of the answer's payload
    known = own or (None if assumed and body["mode"] == "cleared" else body["label"])
    label = _whole(known, case.regions) if known else None
    recorded = tuple(written)
    reasons = [{"reason": reason, "says": _says(reason, sink, label, case)} for reason in recorded]
    return {
        "sink": sink.name,
        "received": body.get("sink", body.get("decision", {}).get("sink")) == sink.name,
        "reasons": reasons,
        "consistent": None if label is None else _same(recorded, label, sink, case) or (None if assumed else False),
    }


def _all(found: Sequence[bool | None]) -> bool | None:
    return False if False in found else None if None in found else True


def _same(recorded: Sequence[str], label: Label, sink: Sink, case: _Case) -> bool:
    by_policy = tuple(reason for reason in recorded if reason in get_args(Reason))
    moments = (case.at, case.at - _LONGEST_ANSWER)
    return any(policy.decide(label, sink, case.purpose, moment).reasons == by_policy for moment in moments)


def _says(reason: str, sink: Sink, label: Label | None, case: _Case) -> str:
    """The reason as a sentence, with the two values that clash."""
    if reason in AT_RUN_TIME:
        return f"{reason}: {sink.name}: {AT_RUN_TIME[reason]}"
    by = _by(FIELD_OF[reason], case.parts) if label == case.label and reason in FIELD_OF else []
    told = clash(reason, label, sink, case.purpose, case.regions)
    return f"{reason}: {told}" + (f" (by {', '.join(by)})" if by else "")


def clash(reason: str, label: Label | None, sink: Sink, purpose: str, regions: Regions) -> str:
    """A reason of policy by the two values that clash, as far as the label is known."""
    theirs = _of_sink(reason, sink, purpose, regions)
    if label is None or (field := FIELD_OF.get(reason)) is None:
        return theirs
    return f"{theirs}; {_of_label(field, label, regions)}"


def _of_sink(reason: str, sink: Sink, purpose: str, regions: Regions) -> str:
    """What a sink declares that clashes."""
    told = {
        "not_yet_valid": f"the declaration of {sink.name} begins on {sink.valid_from}",
        "expired": f"the declaration of {sink.name} ended on {sink.valid_until}",
        "region": f"{sink.name} processes in {_words(regions.compact(sink.processing_regions))}",
        "storage": f"{sink.name} stores in {_words(regions.compact(sink.storage_regions))}",
        "retention": f"{sink.name} keeps what it gets for {sink.retention_days} days",
        "sensitivity": f"{sink.name} is cleared up to {sink.max_sensitivity}",
        "categories": f"{sink.name} is cleared for {_words(sorted(sink.categories))}",
        "purpose": f"the purpose is {purpose} and {sink.name} may be used for {_words(sorted(sink.purposes))}",
        "hosted": f"{sink.name} is a hosted provider",
        "training": f"{sink.name} may train on what it gets, so nothing is sent there",
        "human_review": f"people at {sink.name} may read what it gets, so nothing above internal is sent there",
    }
    return told.get(reason, "a reason that this version does not know")


def _of_label(field: str, label: Label, regions: Regions) -> str:
    """What a label asks for."""
    return {
        "regions": f"the label allows {_words(regions.compact(label.regions)) if label.regions else 'no region at all'}",
        "sensitivity": f"the label is {label.sensitivity}",
        "hosted": f"the label allows {'hosted providers' if label.hosted else 'no hosted provider'}",
        "retention_days": f"the label allows {label.retention_days} days",
        "categories": f"the label has {_words(sorted(label.categories))}",
        "purposes": f"the label allows {_words(sorted(label.purposes))}",
    }[field]


def _words(words: Sequence[str]) -> str:
    return ", ".join(words) or "nothing"


def _sink(raw: Mapping[str, Any], regions: Regions) -> Sink:
    return Sink(
        name=raw["name"],
        kind=raw["kind"],
        model=raw["model"],
        api_base=raw["api_base"],
        processing_regions=regions.expand(raw["processing_regions"]),
        storage_regions=regions.expand(raw["storage_regions"]),
        retention_days=raw["retention_days"],
        training=raw["training"],
        human_review=raw["human_review"],
        max_sensitivity=Sensitivity(raw["max_sensitivity"]),
        categories=frozenset(raw["categories"]),
        purposes=frozenset(raw["purposes"]),
        valid_from=_day(raw["valid_from"]),
        valid_until=_day(raw["valid_until"]),
        self_hosted=raw["self_hosted"],
    )


def _day(raw: str | None) -> date | None:
    return None if raw is None else date.fromisoformat(raw)
