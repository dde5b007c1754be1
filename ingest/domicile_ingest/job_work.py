"""What each kind of job does, with the rights of whoever asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domicile.bootstrap import Home
from domicile.domain import OWNER
from domicile.errors import Forbidden, UnknownCollection, UnknownDocument
from domicile.jobs import Job, Jobs, Order
from domicile_ingest import ingestion
from domicile_ingest.progress import Watch
from domicile_ingest.sources import check_name
from domicile_ingest.worker import Work


def work_for(home: Home, jobs: Jobs) -> Work:
    """Do jobs in a home."""

    def work(job: Job, watch: Watch) -> Mapping[str, Any] | None:
        order = job.order
        if order.kind == "run":
            return _run(home, order, watch)
        assert order.document is not None
        check_name(order.document)
        _refuse_hidden(home, order, order.document)
        if order.kind == "delete":
            return _delete(home, order.collection, order.document, watch)
        upload = ingestion.Upload(
            name=order.document,
            data=jobs.upload(job.id),
            title=order.payload.get("title"),
            label=order.payload.get("label"),
            plain=bool(order.payload.get("plain")),
        )
        return ingestion.put_document(home, order.collection, order.document, upload, watch).to_json()

    return work


def _run(home: Home, order: Order, watch: Watch) -> Mapping[str, Any]:
    source = Path(str(order.payload["source"]))
    if order.payload.get("from_key"):  # again: folders may have become links since, and another container has others
        source = home.source_for_key(order.collection, str(source))
    options = ingestion.Options(
        no_delete=bool(order.payload.get("no_delete")), allow_empty=bool(order.payload.get("allow_empty"))
    )
    return ingestion.ingest(home, source, order.collection, options, watch).to_json()


def _delete(home: Home, collection: str, document: str, watch: Watch) -> Mapping[str, Any] | None:
    try:
        return ingestion.delete_document(home, collection, document, watch).to_json()
    except (UnknownDocument, UnknownCollection):
        return None  # gone, by an earlier attempt at this very job perhaps


def _refuse_hidden(home: Home, order: Order, document: str) -> None:
    """Keep a key from what it may not read, also where that came only after the order.

    Raises:
        Forbidden: there is such a document, for other groups.
    """
    groups = order.payload.get("groups")
    if not isinstance(groups, list):
        return
    try:
        index = home.indexes().pin(order.collection, OWNER)
    except UnknownCollection:
        return
    if index.document(document, None) is not None and index.document(document, frozenset(map(str, groups))) is None:
        raise Forbidden("the document is not open to the key that asked for this")
