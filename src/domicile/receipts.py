"""What the audit log holds of one answer and of one call: hashes and offsets, never the text. Pure.

An answer's record is its receipt. It holds everything that ``policy explain`` needs: the label of every part, the sinks
that were looked at as they were declared, and every reason against them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from domicile import labels, policy, prompts
from domicile.domain import Answer, Label, Principal
from domicile.labels import PartialLabel, Regions
from domicile.payload import Part
from domicile.policy import Sink

Body = dict[str, object]


def egress(
    sink: Sink,
    label: Label,
    parts: Sequence[Part],
    regions: Regions,
    *,
    key: str,
    collection: str,
    purpose: str,
    policy_version: str,
    attempt: int,
    body_sha256: str,
    body_bytes: int,
    prompt: str | None = None,
) -> Body:
    """The record that stands in the log before these bytes leave: policy allowed them."""
    return {
        "tenant": parts[0].tenant,
        "key": key,
        "collection": collection,
        "sink": sink.name,
        "address": sink.api_base,
        "model": sink.model,
        "attempt": attempt,
        "body_sha256": body_sha256,
        "body_bytes": body_bytes,
        "purpose": purpose,
        "policy": policy_version,
        "label": labels.to_json(label, regions),
        "parts": [_part(part, regions) for part in parts],
        "declaration": declaration(sink, regions),
        **({} if prompt is None else {"prompt": prompt}),
    }


def answer(
    given: Answer,
    principal: Principal,
    tenant: str,
    question: str,
    parts: Sequence[Part],
    considered: Sequence[tuple[Sink, Label | None]],
    egress_ids: Sequence[str],
    regions: Regions,
    *,
    mode: str,
    policy_version: str,
    cached_from: str | None = None,
) -> Body:
    """The receipt of an answer.

    Args:
        question: as it was asked.
        parts: of the payload; of the question alone where nothing was packed.
        considered: the sinks that were looked at, with the label of what each would have got.
        egress_ids: of the records of what was sent for it.
        cached_from: the receipt of the answer that was given again.
    """
    decision = given.decision
    return {
        "tenant": tenant,
        "key": principal.name,
        "collection": given.collection,
        "generation": given.generation,
        "mode": mode,
        "question_sha256": sha256(question),
        "answer_sha256": sha256(given.answer),
        "abstained": given.abstained,
        "grounded": given.grounded,
        "citations": [
            {
                "document": citation.document,
                "start": citation.start,
                "end": citation.end,
                "quote_sha256": sha256(citation.quote),
                "verified": citation.verified,
            }
            for citation in given.citations
        ],
        "label": {} if decision.label is None else labels.to_json(decision.label, regions),
        "parts": [_part(part, regions) for part in parts],
        "decision": {
            "route": decision.route,
            "sink": decision.sink,
            "model": decision.model,
            "region": decision.region,
            "denied": [{"sink": sink, "reasons": list(reasons)} for sink, reasons in decision.denied],
        },
        "sinks": [
            declaration(sink, regions) | ({} if label is None else {"label": labels.to_json(label, regions)})
            for sink, label in considered
        ],
        "purpose": "answer",
        "policy": policy_version,
        "prompt_version": prompts.VERSION,
        "usage": {
            "prompt_tokens": given.usage.prompt_tokens,
            "completion_tokens": given.usage.completion_tokens,
            "cpu_seconds": round(given.usage.cpu_seconds, 4),
        },
        "cost": {
            "currency": given.cost.currency,
            "amount": given.cost.amount,
            "estimated": given.cost.estimated,
        },
        "cached": given.cached,
        "cached_from": cached_from,
        "degraded": given.degraded,
        "egress": list(egress_ids),
    }


def declaration(sink: Sink, regions: Regions) -> Body:
    """A sink as it was declared."""
    return {
        "name": sink.name,
        "kind": sink.kind,
        "model": sink.model,
        "api_base": sink.api_base,
        "processing_regions": regions.compact(sink.processing_regions),
        "storage_regions": regions.compact(sink.storage_regions),
        "retention_days": sink.retention_days,
        "training": sink.training,
        "human_review": sink.human_review,
        "max_sensitivity": str(sink.max_sensitivity),
        "categories": sorted(sink.categories),
        "purposes": sorted(sink.purposes),
        "valid_from": None if sink.valid_from is None else sink.valid_from.isoformat(),
        "valid_until": None if sink.valid_until is None else sink.valid_until.isoformat(),
        "self_hosted": sink.self_hosted,
        "price": None
        if sink.price is None
        else {"input_per_million": sink.price.input_per_million, "output_per_million": sink.price.output_per_million},
    }


def start(version: str, policy_version: str, sinks: Sequence[Sink], order: Sequence[str], regions: Regions) -> Body:
    """The record with which a service begins: the policy that holds from here on."""
    return {
        "version": version,
        "policy": {
            "version": policy_version,
            "code": policy.VERSION,
            "order": list(order),
            "sinks": [declaration(sink, regions) for sink in sinks],
        },
    }


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _part(part: Part, regions: Regions) -> Body:
    return {"kind": part.kind, "name": part.name, "label": partial_to_json(part.label, regions)}


def partial_to_json(label: PartialLabel, regions: Regions) -> Body:
    """What a part says; a field that is not there restricts nothing by it."""
    written: Body = {}
    if label.regions is not None:
        written["regions"] = regions.compact(label.regions)
    for field in ("sensitivity", "hosted", "retention_days"):
        if (value := getattr(label, field)) is not None:
            written[field] = str(value) if field == "sensitivity" else value
    for field in ("categories", "purposes", "groups"):
        if (words := getattr(label, field)) is not None:
            written[field] = sorted(words)
    return written
