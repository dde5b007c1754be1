"""The application: routes by noun, errors by family, bounded everywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from domicile import __version__
from domicile.api import chat, documents, health, ingestions, models, problems, receipts, search, uploads
from domicile.api.middleware import BodyLimit, GoldenSignals
from domicile.api.state import Service, State
from domicile.api.workers import Places, Workers
from domicile.observability import Metrics

JOB_THREADS, JOB_QUEUE = 2, 128
MAX_UPLOADS = 32
MAX_WATCHERS = 32


def create_app(service: Service) -> FastAPI:
    """The ASGI application over a service's parts."""
    metrics = Metrics()
    pools = {
        "searches": Workers("searches", *service.searches, metrics),
        "answers": Workers("answers", *service.answers, metrics),
        "jobs": Workers("jobs", JOB_THREADS, JOB_QUEUE, metrics),
    }
    state = State(
        service, metrics, pools, Places("uploads", MAX_UPLOADS, metrics), Places("watchers", MAX_WATCHERS, metrics)
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        for pool in pools.values():
            pool.close()

    app = FastAPI(title="domicile", version=__version__, lifespan=lifespan, openapi_url=None)
    app.state.domicile = state
    problems.install(app)
    for routes in (health, models, chat, search, documents, uploads, ingestions, receipts):
        app.include_router(routes.router)
    app.add_middleware(
        BodyLimit,
        max_bytes=service.max_body_bytes,
        is_upload=uploads.is_upload,
        max_upload_bytes=service.max_upload_bytes,
    )
    app.add_middleware(GoldenSignals, metrics=metrics)
    return app
