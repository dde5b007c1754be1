"""Liveness, readiness and metrics. These three need no key."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from domicile.api.state import Service, service_of, state_of
from domicile.domain import ModelStatus
from domicile.errors import Damaged, DomicileError, UnknownCollection
from domicile.observability import CONTENT_TYPE

router = APIRouter()


@router.head("/livez", include_in_schema=False)
@router.get("/livez")
async def livez() -> dict[str, bool]:
    """The process lives; says nothing about whether it can answer."""
    return {"live": True}


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz")
def readyz(request: Request) -> JSONResponse:
    """Ready: the embedder verifies and each collection has an intact generation. The other models may be down.

    Not in the pool of the searches: a service that has much to do is ready all the same.
    """
    body = readiness(service_of(request))
    return JSONResponse(body, 200 if body["ready"] else 503)


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    state = state_of(request)
    with suppress(DomicileError):  # trouble with the queue is told by /readyz; the rest is still worth showing
        state.metrics.queued(state.service.jobs.figures())
    return Response(state.metrics.exposition(), media_type=CONTENT_TYPE)


def readiness(service: Service) -> dict[str, Any]:
    """The state of every part that an answer needs."""
    collections = {name: _collection(service, name) for name in service.indexes.names()}
    models = [service.embedder, service.answering.model_status()]
    if (reranker := service.retriever.reranker_status()) is not None:
        models.append(reranker)
    ready = service.embedder.state == "ready" and all(row["generation"] is not None for row in collections.values())
    return {
        "ready": ready,
        "models": {model.name: _model(model) for model in models},
        "collections": collections,
        "sinks": {name: {"state": state} for name, state in service.answering.sink_states().items()},
        **({} if (trouble := service.answering.audit_trouble()) is None else {"audit": {"trouble": trouble}}),
        "ingestion": _queue(service),
    }


def _queue(service: Service) -> dict[str, Any]:
    """What waits to be ingested; trouble with it does not make a service unready, which answers all the same."""
    try:
        jobs = service.jobs.figures().jobs
    except DomicileError as error:
        return {"trouble": str(error)}
    return {"queued": jobs.get("queued", 0), "running": jobs.get("running", 0), "dead": jobs.get("dead", 0)}


def _model(status: ModelStatus) -> dict[str, Any]:
    return {"kind": status.kind, "state": status.state} | ({"reason": status.reason} if status.reason else {})


def _collection(service: Service, name: str) -> dict[str, Any]:
    try:
        trouble = service.indexes.trouble(name)
        return {"generation": service.indexes.generation(name)} | ({"trouble": trouble} if trouble else {})
    except (Damaged, UnknownCollection) as error:
        return {"generation": None, "trouble": str(error)}
