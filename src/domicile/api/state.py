"""What the routes share: the use cases, and the pools of threads that run them."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request

from domicile.answering import Answering
from domicile.api.workers import Places, Workers
from domicile.domain import Collection, ModelStatus
from domicile.jobs import Jobs
from domicile.labels import Regions
from domicile.observability import Metrics
from domicile.ports import AuditLog, Indexes, Keys
from domicile.retrieval import Retriever


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service.

    Attributes:
        embedder: its state; a service without an intact embedder does not start.
        collection: the settings of a collection by its name.
        configured: the collections that the settings name.
        source_for_key: the real path of a source that the bearer of a key names, see ``Home``.
        max_body_bytes: a request's body may have.
        max_upload_bytes: a document's may have.
        searches, answers: (threads, queue) of each pool.
        stopping: whether the service is about to end; what would go on for long ends then.
    """

    indexes: Indexes
    retriever: Retriever
    answering: Answering
    audit: AuditLog
    keys: Keys
    regions: Regions
    embedder: ModelStatus
    jobs: Jobs
    collection: Callable[[str], Collection]
    configured: Container[str]
    source_for_key: Callable[[str, str], Path]
    max_body_bytes: int
    max_upload_bytes: int
    searches: tuple[int, int]
    answers: tuple[int, int]
    stopping: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class State:
    """What an application keeps while it runs.

    Attributes:
        uploads: documents that may come in at once.
        watchers: requests that may wait for a job or follow its events.
    """

    service: Service
    metrics: Metrics
    pools: Mapping[str, Workers]
    uploads: Places
    watchers: Places


def state_of(request: Request) -> State:
    state: State = request.app.state.domicile
    return state


def service_of(request: Request) -> Service:
    return state_of(request).service
