"""The application: routes by noun, errors by family, bounded everywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from domicile import __version__
from domicile.api import chat, documents, health, models, problems, search
from domicile.api.middleware import BodyLimit, GoldenSignals
from domicile.api.state import Service, State
from domicile.api.workers import Workers
from domicile.observability import Metrics


def create_app(service: Service) -> FastAPI:
    """The ASGI application over a service's parts."""
    metrics = Metrics()
    pools = {
        "searches": Workers("searches", *service.searches, metrics),
        "answers": Workers("answers", *service.answers, metrics),
    }

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        for pool in pools.values():
            pool.close()

    app = FastAPI(title="domicile", version=__version__, lifespan=lifespan, openapi_url=None)
    app.state.domicile = State(service, metrics, pools)
    problems.install(app)
    for routes in (health, models, chat, search, documents):
        app.include_router(routes.router)
    app.add_middleware(BodyLimit, max_bytes=service.max_body_bytes)
    app.add_middleware(GoldenSignals, metrics=metrics)
    return app
