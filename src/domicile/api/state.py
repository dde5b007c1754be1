"""What the routes share: the use cases, and the pools of threads that run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastapi import Request

from domicile.answering import Answering
from domicile.api.workers import Workers
from domicile.domain import Collection, ModelStatus
from domicile.labels import Regions
from domicile.observability import Metrics
from domicile.ports import Indexes, Keys
from domicile.retrieval import Retriever


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service.

    Attributes:
        embedder: its state; a service without an intact embedder does not start.
        collection: the settings of a collection by its name.
        max_body_bytes: a request's body may have.
        searches, answers: (threads, queue) of each pool.
    """

    indexes: Indexes
    retriever: Retriever
    answering: Answering
    keys: Keys
    regions: Regions
    embedder: ModelStatus
    collection: Callable[[str], Collection]
    max_body_bytes: int
    searches: tuple[int, int]
    answers: tuple[int, int]


@dataclass(frozen=True, slots=True)
class State:
    """What an application keeps while it runs."""

    service: Service
    metrics: Metrics
    pools: Mapping[str, Workers]


def state_of(request: Request) -> State:
    state: State = request.app.state.domicile
    return state


def service_of(request: Request) -> Service:
    return state_of(request).service
