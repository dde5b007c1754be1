"""``PUT|DELETE /v1/collections/{c}/documents/{uri}``: single documents, through the queue like everything else."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import contextmanager_in_threadpool, run_in_threadpool
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from domicile import labels
from domicile.api.auth import Ingester
from domicile.api.ingestions import FIRST_LOOK_SECONDS, accepted, check_open, until_ended
from domicile.api.problems import problem
from domicile.api.state import Service, State, state_of
from domicile.domain import Principal
from domicile.errors import Cancelled, DomicileError, Forbidden, InvalidRequest, UnknownCollection, UnknownDocument
from domicile.jobs import Job, Order, Upload
from domicile.metadata import without_label

router = APIRouter()

MAX_URI_CHARACTERS = 1_024
MAX_WAIT_SECONDS = 60
SERVED_SECONDS = 2.0
"""How long an answer waits for this service to see what the worker committed."""
LABEL_HEADER = "X-Domicile-Label"
METADATA_HEADER = "X-Domicile-Metadata"
MAX_METADATA_BYTES = 32_000
_PLACE = re.compile("/v1/collections/[^/]+/documents/")
_PREFERRED = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")

Wait = Annotated[int | None, Query(ge=0, le=MAX_WAIT_SECONDS)]


class NewDocument(BaseModel):
    """A document as text, like a row of JSONL."""

    model_config = ConfigDict(extra="forbid", strict=True)
    title: str = ""
    text: str
    metadata: dict[str, Any] = {}


def is_upload(scope: Scope) -> bool:
    """Whether the body is a file: it goes to the disk as it comes, and may be larger than other bodies."""
    if scope["method"] != "PUT" or not _PLACE.match(scope["path"]):
        return False
    return not _is_json(Headers(scope=scope))


@router.put("/v1/collections/{collection}/documents/{uri:path}", status_code=202)
async def put(request: Request, collection: str, uri: str, caller: Ingester, wait: Wait = None) -> Response:
    """Put a document: a file as it is, or JSON with ``text``, ``title`` and ``metadata``. Waits for the end if asked."""
    state = state_of(request)
    _check_uri(request, uri)
    await state.pools["searches"].run(lambda: _check_put(state.service, collection, uri, caller))
    with state.uploads.take():
        job = await _received(request, state, collection, uri, caller)
    return await _answer(request, state, job, caller, wait)


@router.delete("/v1/collections/{collection}/documents/{uri:path}", status_code=202)
async def delete(request: Request, collection: str, uri: str, caller: Ingester, wait: Wait = None) -> Response:
    """Delete a document from the next generation on. Absent and forbidden look the same."""
    state = state_of(request)
    _check_uri(request, uri)
    await state.pools["searches"].run(lambda: _check_delete(state.service, collection, uri, caller))
    order = Order("delete", collection, uri, caller.name, _rights(caller))
    job = await state.pools["jobs"].run(lambda: state.service.jobs.submit(order))
    return await _answer(request, state, job, caller, wait)


def _check_uri(request: Request, uri: str) -> None:
    """
    Raises:
        InvalidRequest: it is empty, too long, or other bytes than UTF-8, which would make one name of several.
    """
    if not 0 < len(uri) <= MAX_URI_CHARACTERS:
        raise InvalidRequest("uri", f"must have 1 to {MAX_URI_CHARACTERS:,} characters")
    try:
        unquote_to_bytes(request.scope["raw_path"]).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest("uri", "must be UTF-8, percent-encoded") from None


def _check_put(service: Service, collection: str, uri: str, caller: Principal) -> None:
    """Refuse to replace what the caller may not read: it would destroy it. That it exists is told by this, and only this.

    Raises:
        UnknownCollection: see ``check_open``.
        Forbidden: there is such a document, for other groups.
    """
    check_open(service, collection, caller)
    if caller.groups is None:
        return
    try:
        index = service.indexes.pin(collection, caller)
    except UnknownCollection:
        return  # its first document
    if index.document(uri, None) is not None and index.document(uri, caller.groups) is None:
        raise Forbidden("this key may not write that document: choose another URI")


def _check_delete(service: Service, collection: str, uri: str, caller: Principal) -> None:
    """
    Raises:
        UnknownDocument: absent and not on its way from this caller either, or not open to it.
        UnknownCollection: see ``check_open``.
    """
    check_open(service, collection, caller)
    if service.jobs.pending(collection, uri, None if caller.tenant is None else caller.name):
        return  # the worker looks again, when what comes before is done
    if service.indexes.pin(collection, caller).document(uri, caller.groups) is None:
        raise UnknownDocument(collection, uri)


async def _received(request: Request, state: State, collection: str, uri: str, caller: Principal) -> Job:
    """Bring the body to the disk and queue its job."""
    jobs = state.service.jobs
    try:
        async with contextmanager_in_threadpool(jobs.receive()) as upload:
            if _is_json(request.headers):
                about = await _take_text(request, upload, state.service.regions)
            else:
                about = _declared(request.headers, state.service.regions)
                async for data in request.stream():
                    await run_in_threadpool(upload.write, data)
            order = Order("put", collection, uri, caller.name, {**about, **_rights(caller)})
            return await state.pools["jobs"].run(lambda: jobs.submit(order, upload))
    except ClientDisconnect:
        raise Cancelled("the document did not come whole") from None


async def _take_text(request: Request, upload: Upload, regions: labels.Regions) -> dict[str, Any]:
    try:
        given = NewDocument.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidRequest(".".join(map(str, first["loc"])) or "body", first["msg"]) from None
    label = given.metadata.get("label")
    if label is not None:
        labels.parse(label, regions)
    metadata = _bounded("metadata", without_label(given.metadata))
    await run_in_threadpool(upload.write, given.text.encode())
    return {"plain": True, "title": given.title, "label": label, "metadata": metadata}


def _declared(headers: Headers, regions: labels.Regions) -> dict[str, Any]:
    """The label and the metadata that are sent beside a file.

    Raises:
        InvalidRequest, LabelError: they are malformed; unlike in a document, nobody has to guess what was meant.
    """
    found: dict[str, Any] = {}
    if (header := headers.get(LABEL_HEADER)) is not None:
        found["label"] = _json(LABEL_HEADER, header, '{"sensitivity": "internal"}')
        labels.parse(found["label"], regions)
    if (header := headers.get(METADATA_HEADER)) is not None:
        given = _json(METADATA_HEADER, header, '{"source": "wiki", "year": 2024}')
        if not isinstance(given, dict) or "label" in given:
            raise InvalidRequest(METADATA_HEADER, f"must be an object; a label goes into {LABEL_HEADER}")
        found["metadata"] = _bounded(METADATA_HEADER, given)
    return found


def _json(name: str, header: str, example: str) -> Any:
    try:
        return json.loads(header)
    except (ValueError, RecursionError):
        raise InvalidRequest(name, f"must be JSON such as {example}") from None


def _bounded(name: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata that the queue can carry; what of it does not fit an index, the worker warns of."""
    if len(json.dumps(metadata)) > MAX_METADATA_BYTES:
        raise InvalidRequest(name, f"must not be longer than {MAX_METADATA_BYTES:,} bytes as JSON")
    return metadata


def _rights(caller: Principal) -> dict[str, Any]:
    return {"groups": None if caller.groups is None else sorted(caller.groups)}


async def _answer(request: Request, state: State, job: Job, caller: Principal, wait: int | None) -> Response:
    """The job, once it has ended or the caller has waited for long enough."""
    preferred = _PREFERRED.search(request.headers.get("prefer", ""))
    asked = wait if wait is not None else int(preferred[1]) if preferred else 0
    job = await until_ended(state, job, caller, min(asked, MAX_WAIT_SECONDS))
    if job.state == "done":
        await _until_served(state, job)
        added: Mapping[str, int] = (job.report or {}).get("documents", {})
        return accepted(job, caller, 201 if added.get("added") else 200)
    if not job.ended:
        return accepted(job, caller)
    status = {"failed": 422, "cancelled": 409}.get(job.state, 503)
    error = job.error or {"type": "Cancelled", "message": "the job was cancelled"}
    more = {"job": job.id} | ({"kind": error["kind"]} if "kind" in error else {})
    return problem(request, status, error["type"], error["message"], more=more)


async def _until_served(state: State, job: Job) -> None:
    """Who was told that a document can be found shall find it: the service looks for new generations now and then."""
    clock, collection = asyncio.get_running_loop().time, job.order.collection
    until, generation = clock() + SERVED_SECONDS, (job.report or {}).get("generation", 0)
    with suppress(DomicileError):  # /readyz tells what is wrong; the job is done
        while clock() < until and generation > await state.pools["jobs"].run(
            lambda: state.service.indexes.generation(collection)
        ):
            await asyncio.sleep(FIRST_LOOK_SECONDS)


def _is_json(headers: Headers) -> bool:
    return headers.get("content-type", "").split(";")[0].strip().lower() == "application/json"
