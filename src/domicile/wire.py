"""The JSON shapes of the contract, shared by the command line and the API. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from domicile import labels
from domicile.domain import Answer, Citation, Cost, Decision, Hit, Label, Principal, SearchResult
from domicile.jobs import Job
from domicile.labels import Regions


def search_result(result: SearchResult, regions: Regions) -> dict[str, Any]:
    """The answer to a search."""
    return {
        "collection": result.collection,
        "generation": result.generation,
        "mode": result.mode,
        "hits": [_hit(hit, regions) for hit in result.hits],
        "timings_ms": result.timings_ms,
        "notes": list(result.notes),
    }


def _hit(hit: Hit, regions: Regions) -> dict[str, Any]:
    chunk = hit.chunk
    return {
        "rank": hit.rank,
        "score": hit.score,
        "document": chunk.document,
        "chunk": chunk.id,
        "title": chunk.title,
        "heading": list(chunk.heading),
        "page": chunk.page,
        "start": chunk.start,
        "end": chunk.end,
        "text": chunk.text,
        "context": chunk.context,
        "label": labels.to_json(chunk.label, regions),
    }


def answer(given: Answer, regions: Regions) -> dict[str, Any]:
    """The ``domicile`` object of an answer."""
    return {
        "answer": given.answer,
        "abstained": given.abstained,
        "grounded": given.grounded,
        "collection": given.collection,
        "generation": given.generation,
        "citations": [_citation(citation) for citation in given.citations],
        "decision": _decision(given.decision, regions),
        "receipt": given.receipt,
        "degraded": given.degraded,
        "cached": given.cached,
        "usage": usage(given),
        "cost": _cost(given.cost),
        "confidence": None if given.confidence is None else round(given.confidence, 4),
        "timings_ms": given.timings_ms,
        **({} if given.asked is None else {"asked": given.asked}),
        **({"notes": list(given.notes)} if given.notes else {}),
    }


def usage(given: Answer) -> dict[str, int]:
    """Token counts as OpenAI's clients read them."""
    prompt, completion = given.usage.prompt_tokens, given.usage.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _cost(cost: Cost) -> dict[str, Any]:
    written: dict[str, Any] = {"currency": cost.currency, "amount": round(cost.amount, 9)}
    return written | ({"estimated": True} if cost.estimated else {})


def _citation(citation: Citation) -> dict[str, Any]:
    return {
        "n": citation.n,
        "document": citation.document,
        "title": citation.title,
        "page": citation.page,
        "quote": citation.quote,
        "start": citation.start,
        "end": citation.end,
        "verified": citation.verified,
    }


def _decision(decision: Decision, regions: Regions) -> dict[str, Any]:
    return {
        "route": decision.route,
        "sink": decision.sink,
        "model": decision.model,
        "region": decision.region,
        "label": label(decision.label, regions),
        "denied": [{"sink": sink, "reasons": list(reasons)} for sink, reasons in decision.denied],
    }


def label(value: Label | None, regions: Regions) -> dict[str, Any]:
    """A label, or an empty object where there is none."""
    return {} if value is None else labels.to_json(value, regions)


def job(given: Job, caller: Principal, *, listed: bool = False) -> dict[str, Any]:
    """A job. Names of documents are for who asked for it, and for the owner: others may not know that they exist.

    Args:
        listed: among others, where a report is its numbers only.
    """
    own = caller.tenant is None or caller.name == given.order.submitter
    report = given.report
    if report is not None and (listed or not own):
        report = {key: value for key, value in report.items() if key not in ("failures", "warnings")}
    queue = {"position": given.position, "age_seconds": round(given.waiting, 1)} if given.position else None
    return {
        "id": given.id,
        "kind": given.order.kind,
        "collection": given.order.collection,
        "document": given.order.document if own else None,
        "source": given.order.payload.get("source") if own else None,
        "state": given.state,
        "attempts": given.attempts,
        "cancelling": given.cancelling,
        "created": _time(given.created),
        "started": _time(given.started),
        "finished": _time(given.finished),
        "queue": queue,
        "progress": given.progress,
        "report": report,
        "error": given.error
        if own or given.error is None
        else {"type": given.error.get("type"), "message": "told to its submitter"},
    }


def _time(seconds: float | None) -> str | None:
    """An instant as ISO 8601, in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
