"""What each kind of job does, with the rights of whoever asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domicile.bootstrap import Home
from domicile.domain import OWNER
from domicile.errors import Forbidden, UnknownCollection, UnknownDocument
from domicile.jobs import Job, Jobs, Order
from domicile_ingest.ingestion import Ingestion, Options, Upload
from domicile_ingest.progress import Watch
from domicile_ingest.sources import check_name
from domicile_ingest.worker import Work


def work_for(home: Home, jobs: Jobs, ingestion: Ingestion) -> Work:
    """Do jobs in a home."""

    def work(job: Job, watch: Watch) -> Mapping[str, Any] | None:
        order = job.order
        _refuse_revoked(home, order)
        if order.kind == "run":
            return _run(home, order, ingestion, watch)
        assert order.document is not None
        check_name(order.document)
        if order.kind == "delete":
            return _delete(order, order.document, ingestion, watch)
        upload = Upload(
            name=order.document,
            data=jobs.upload(job.id),
            title=order.payload.get("title"),
            label=order.payload.get("label"),
            plain=bool(order.payload.get("plain")),
            metadata=order.payload.get("metadata"),
        )
        return ingestion.put(order.collection, order.document, upload, watch, _readers(order)).to_json()

    return work


def _run(home: Home, order: Order, ingestion: Ingestion, watch: Watch) -> Mapping[str, Any]:
    source = Path(str(order.payload["source"]))
    if order.payload.get("from_key"):  # again: folders may have become links since, and another container has others
        source = home.source_for_key(order.collection, str(source))
    options = Options(
        no_delete=bool(order.payload.get("no_delete")), allow_empty=bool(order.payload.get("allow_empty"))
    )
    return ingestion.run(source, order.collection, options, watch).to_json()


def _delete(order: Order, document: str, ingestion: Ingestion, watch: Watch) -> Mapping[str, Any] | None:
    try:
        return ingestion.delete(order.collection, document, watch, _readers(order)).to_json()
    except (UnknownDocument, UnknownCollection):
        return None  # gone, by an earlier attempt at this very job perhaps, or hidden: a key cannot tell these apart


def _readers(order: Order) -> frozenset[str] | None:
    """The groups of who asked, as they were then; ``None`` for the owner."""
    groups = order.payload.get("groups")
    return frozenset(map(str, groups)) if isinstance(groups, list) else None


def _refuse_revoked(home: Home, order: Order) -> None:
    """Keep a key that was revoked from acting through what it left in the queue.

    Raises:
        Forbidden: there is no such key any more.
    """
    if order.submitter != OWNER.name and not home.keys().knows(order.submitter):
        raise Forbidden("the key that asked for this was revoked: submit it again with another")
