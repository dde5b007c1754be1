"""Pure ASGI middleware: a bound on request bodies, and the golden signals. (``BaseHTTPMiddleware`` hides disconnects.)"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domicile.api.problems import problem
from domicile.observability import Metrics


class BodyLimit:
    """Refuses bodies over a number of bytes with 413, whether or not they declare their length.

    One that does not go on for ``idle_seconds``, or that comes in drops, gets 408: there are few places for uploads, and
    who sends half a body must not hold up the end of the service.

    Args:
        slowest: bytes a second that must come on average, once ``idle_seconds`` were spent on waiting.
        is_upload: whether a request's body is a document, which may have ``max_upload_bytes``.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        idle_seconds: float = 10.0,
        slowest: float = 5_000.0,
        is_upload: Callable[[Scope], bool] = lambda scope: False,
        max_upload_bytes: int = 0,
    ) -> None:
        self._app = app
        self._idle_seconds = idle_seconds
        self._slowest = slowest
        self._is_upload = is_upload
        self._request = max_bytes, f"the body is larger than {max_bytes:,} bytes (server.max_body_bytes)"
        self._upload = (
            max_upload_bytes,
            f"the document is larger than {max_upload_bytes:,} bytes (ingestion.max_upload_bytes)",
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes, detail = self._upload if self._is_upload(scope) else self._request
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > max_bytes:
            refused = problem(Request(scope), 413, "HTTPError", detail, headers={"Connection": "close"})
            await refused(scope, receive, send)
            return
        received, complete, waited = 0, False, 0.0

        async def counted() -> Message:
            nonlocal received, complete, waited
            began = time.monotonic()
            left = self._idle_seconds + received / self._slowest - waited
            try:
                async with asyncio.timeout(None if complete else min(left, self._idle_seconds)):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the rest of the body did not come", {"Connection": "close"}) from None
            waited += time.monotonic() - began
            complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > max_bytes:
                raise HTTPException(413, detail)
            return message

        await self._app(scope, counted, send)


class GoldenSignals:
    """Counts and times every request by its route's template."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        started = time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._metrics.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, watched)
            finally:
                route = getattr(scope.get("route"), "path", "unmatched")
                self._metrics.requests.labels(route, _method(scope), str(status)).inc()
                self._metrics.latency.labels(route).observe(time.perf_counter() - started)
                if status in (429, 503):
                    self._metrics.rejected.inc()


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS") else "other"
