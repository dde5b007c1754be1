"""Errors on the wire: RFC 9457 problems on our own routes, OpenAI's error bodies on OpenAI's routes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from domicile.errors import (
    AuditUnavailable,
    Cancelled,
    Damaged,
    DomicileError,
    EgressDenied,
    EmbedderMismatch,
    Forbidden,
    LabelError,
    ModelMissing,
    ModelSlow,
    Overloaded,
    StorageError,
    TenantsMixed,
    Unauthenticated,
    UnknownCollection,
    UnknownDocument,
    UnknownJob,
    UnknownReceipt,
    UsageError,
)

logger = logging.getLogger(__name__)

STATUS: dict[type[DomicileError], int] = {
    UsageError: 400,
    LabelError: 400,
    UnknownCollection: 404,
    UnknownDocument: 404,
    UnknownJob: 404,
    UnknownReceipt: 404,
    StorageError: 507,
    Unauthenticated: 401,
    Forbidden: 403,
    EgressDenied: 403,
    TenantsMixed: 403,
    Overloaded: 503,
    Damaged: 503,
    AuditUnavailable: 503,
    ModelMissing: 503,
    EmbedderMismatch: 503,
    ModelSlow: 504,
    Cancelled: 499,
}
"""The status of each error family; a member of a family that is not listed takes its parent's."""

_OPENAI_ROUTES = ("/v1/chat/", "/v1/models")


def install(app: FastAPI) -> None:
    """Handle every expected error, and the unexpected ones without telling the caller what they were."""
    app.add_exception_handler(DomicileError, _expected)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def status_of(error: DomicileError) -> int:
    return next((STATUS[family] for family in type(error).__mro__ if family in STATUS), 500)


async def _expected(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DomicileError)
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return problem(request, status_of(error), type(error).__name__, str(error), getattr(error, "field", None), headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return problem(request, 400, "InvalidRequest", f"body: not JSON at character {first['loc'][-1]}", "body")
    field = ".".join(str(part) for part in first["loc"] if part != "body")
    if not field:
        return problem(
            request,
            400,
            "InvalidRequest",
            "body: must be a JSON object, sent as `Content-Type: application/json`",
            "body",
        )
    return problem(request, 400, "InvalidRequest", f"{field}: {first['msg']}", field)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kind = "NotFound" if error.status_code == 404 else "HTTPError"
    return problem(request, error.status_code, kind, str(error.detail), headers=dict(error.headers or {}))


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    logger.error("unexpected %s on %s", type(error).__name__, request.url.path, exc_info=error)
    return problem(request, 500, "InternalError", "something went wrong here; the service's log says more")


def problem(
    request: Request,
    status: int,
    kind: str,
    detail: str,
    field: str | None = None,
    headers: dict[str, str] | None = None,
    more: Mapping[str, object] | None = None,
) -> JSONResponse:
    """One error body, in the form of the route; ``more`` are further fields of a problem."""
    if request.url.path.startswith(_OPENAI_ROUTES):
        family = "invalid_request_error" if status < 500 else "server_error"
        return JSONResponse(
            {"error": {"message": detail, "type": family, "param": field, "code": kind}}, status, headers
        )
    title = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Client Closed Request"
    body: dict[str, object] = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": kind}
    return JSONResponse(
        body | ({"field": field} if field else {}) | dict(more or {}),
        status,
        headers,
        media_type="application/problem+json",
    )
