"""``/v1/ingestions``: jobs for the worker, how far they are, and their events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from domicile import wire
from domicile.api.auth import Ingester, authenticate
from domicile.api.state import Service, State, state_of
from domicile.domain import Principal
from domicile.errors import Forbidden, InvalidRequest, Overloaded, Unauthenticated, UnknownCollection, UnknownJob
from domicile.jobs import Job, Order

router = APIRouter()

LOOK_SECONDS = 0.25
"""Between two looks at a job that somebody watches; less at first, since most single documents take less."""
FIRST_LOOK_SECONDS = 0.02
HEARTBEAT_SECONDS = 15.0
"""After this long without an event a comment keeps proxies from closing the stream."""
STREAM_SECONDS = 3_600.0
"""After this long a stream ends, and who is still interested connects again."""


class NewIngestion(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    collection: str
    source: str = Field(min_length=1, max_length=4_096, pattern="^[^\0]*$")
    no_delete: bool = False
    allow_empty: bool = False


@router.post("/v1/ingestions", status_code=202)
async def submit(request: Request, body: NewIngestion, caller: Ingester) -> Response:
    """Queue an ingestion of a folder or file; the answer is its job."""
    state = state_of(request)
    job = await state.pools["jobs"].run(lambda: _submitted(state.service, body, caller))
    return accepted(job, caller)


@router.get("/v1/ingestions")
async def newest(request: Request, caller: Ingester, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> dict[str, Any]:
    """The newest jobs of the collections that the key may see, newest first."""
    state = state_of(request)
    service = state.service
    jobs = await state.pools["jobs"].run(
        lambda: service.jobs.newest(limit, lambda name: service.collection(name).open_to(caller))
    )
    return {"jobs": [wire.job(job, caller, listed=True) for job in jobs]}


@router.get("/v1/ingestions/{job}")
async def one(request: Request, job: str, caller: Ingester) -> dict[str, Any]:
    """A job: its state, place in the queue, progress, report and error."""
    state = state_of(request)
    return wire.job(await look(state, job, caller), caller)


@router.post("/v1/ingestions/{job}/cancel")
async def cancel(request: Request, job: str, caller: Ingester) -> dict[str, Any]:
    """End a queued job at once, and a running one within about a second."""
    return await _changed(request, job, caller, state_of(request).service.jobs.cancel)


@router.post("/v1/ingestions/{job}/retry")
async def retry(request: Request, job: str, caller: Ingester) -> dict[str, Any]:
    """Queue a job anew that failed, died or was cancelled."""
    return await _changed(request, job, caller, state_of(request).service.jobs.retry)


@router.get("/v1/ingestions/{job}/events")
async def events(request: Request, job: str, caller: Ingester) -> Response:
    """Server-sent events: ``progress`` whenever the job changes, ``end`` when it has ended."""
    stream = _events(request, job, caller)
    first = await anext(stream)  # refused or unknown: a problem, and no stream

    async def whole() -> AsyncIterator[str]:
        yield first
        async for event in stream:
            yield event

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(whole(), media_type="text/event-stream", headers=headers)


def check_open(service: Service, name: str, caller: Principal) -> None:
    """Whether a principal may write to a collection. A key makes no new ones: they would all look open to it.

    Raises:
        UnknownCollection: absent, or not open to this principal (the two are not told apart).
        InvalidRequest: that is no name.
    """
    collection = service.collection(name)
    if caller.tenant is None:
        return
    known = name in service.configured or name in service.indexes.names()
    if not known or not collection.open_to(caller):
        raise UnknownCollection(name)


async def look(state: State, job: str, caller: Principal) -> Job:
    """
    Raises:
        UnknownJob: absent, or of a collection that is not open to the caller.
    """
    found = await state.pools["jobs"].run(lambda: state.service.jobs.get(job))
    if not state.service.collection(found.order.collection).open_to(caller):
        raise UnknownJob(job)
    return found


async def until_ended(state: State, job: Job, caller: Principal, seconds: float) -> Job:
    """The job when it has ended, or as it is after so long. One that is accepted is never refused for want of a place."""
    clock = asyncio.get_running_loop().time
    deadline, pause = clock() + seconds, FIRST_LOOK_SECONDS
    try:
        with state.watchers.take():
            while not job.ended and clock() < deadline and not state.service.stopping():
                await asyncio.sleep(pause)
                pause = min(1.5 * pause, LOOK_SECONDS)
                job = await look(state, job.id, caller)
    except Overloaded:
        pass
    return job


def accepted(job: Job, caller: Principal, status: int = 202) -> JSONResponse:
    return JSONResponse(wire.job(job, caller), status, {"Location": f"/v1/ingestions/{job.id}"})


def _submitted(service: Service, body: NewIngestion, caller: Principal) -> Job:
    check_open(service, body.collection, caller)
    if not Path(body.source).is_absolute():
        raise InvalidRequest("source", "must be an absolute path, as the worker sees it")
    flags = {"no_delete": body.no_delete, "allow_empty": body.allow_empty}
    if caller.tenant is None:
        payload = {"source": body.source, **flags}
    else:
        payload = {"source": str(service.source_for_key(body.collection, body.source)), "from_key": True, **flags}
    return service.jobs.submit(Order("run", body.collection, None, caller.name, payload))


async def _changed(request: Request, job: str, caller: Principal, change: Callable[[str], Job]) -> dict[str, Any]:
    state = state_of(request)
    found = await look(state, job, caller)
    if caller.tenant is not None and caller.name != found.order.submitter:
        raise Forbidden("another key submitted this job: only that one and the owner of the home may change it")
    return wire.job(await state.pools["jobs"].run(lambda: change(job)), caller)


async def _events(request: Request, identifier: str, caller: Principal) -> AsyncIterator[str]:
    state = state_of(request)
    clock = asyncio.get_running_loop().time
    began = said_at = clock()
    said: tuple[Any, ...] = ()
    with state.watchers.take():
        while True:
            try:
                authenticate(request)
                job = await look(state, identifier, caller)
            except (UnknownJob, Unauthenticated):
                if said:
                    return  # it was erased meanwhile, or the key was revoked
                raise
            if job.ended:
                yield _event("end", job, caller)
                return
            if said != (now := (job.state, job.attempts, job.cancelling, job.position, job.progress)):
                said, said_at = now, clock()
                yield _event("progress", job, caller)
            elif clock() - said_at > HEARTBEAT_SECONDS:
                said_at = clock()
                yield ": still here\n\n"
            if state.service.stopping() or clock() - began > STREAM_SECONDS:
                return
            await asyncio.sleep(LOOK_SECONDS)


def _event(name: str, job: Job, caller: Principal) -> str:
    return f"event: {name}\ndata: {json.dumps(wire.job(job, caller), ensure_ascii=False)}\n\n"
