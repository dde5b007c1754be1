"""``GET /v1/collections/{c}/documents/{uri}``: where citations lead."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from domicile import labels
from domicile.api.auth import Caller
from domicile.api.state import state_of
from domicile.domain import Citation, Document, Principal, Scalar
from domicile.errors import UnknownDocument
from domicile.retrieval import Retriever

router = APIRouter()

MAX_FRAGMENT = 300
_HEADERS = {
    # a document's text is data: it is escaped, and nothing on the page may run or be fetched whatever it says
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}
_PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<style>body{{max-width:50rem;margin:2rem auto;padding:0 1rem;font:1rem/1.6 system-ui,sans-serif}}
pre{{white-space:pre-wrap;font:inherit}}small{{color:#666}}</style>
<h1>{title}</h1><small>{uri} · {collection}, generation {generation}</small><pre>{text}</pre>"""


@router.get("/v1/collections/{collection}/documents/{uri:path}")
async def document(request: Request, collection: str, uri: str, caller: Caller) -> Response:
    """A document's text: a page for a browser, else JSON. Absent and forbidden look the same."""
    state = state_of(request)
    found, generation = await state.pools["searches"].run(
        lambda: _find(state.service.retriever, collection, uri, caller)
    )
    if "text/html" in request.headers.get("accept", ""):
        page = _PAGE.format(
            title=html.escape(found.title or uri),
            uri=html.escape(uri),
            collection=html.escape(collection),
            generation=generation,
            text=html.escape(found.text),
        )
        return HTMLResponse(page, headers=_HEADERS)
    body: dict[str, Any] = {
        "collection": collection,
        "generation": generation,
        "uri": found.uri,
        "title": found.title,
        "text": found.text,
        "label": labels.to_json(found.label, state.service.regions),
        "metadata": _listed(found.metadata),
        "origin": found.origin,
    }
    return JSONResponse(body, headers=_HEADERS)


def _listed(metadata: Iterable[tuple[str, Scalar]]) -> dict[str, list[Scalar]]:
    """Every field with its values, as filters compare them."""
    fields: dict[str, list[Scalar]] = {}
    for name, value in metadata:
        fields.setdefault(name, []).append(value)
    return fields


def _find(retriever: Retriever, collection: str, uri: str, caller: Principal) -> tuple[Document, int]:
    index = retriever.pin(collection, caller)
    found = index.document(uri, caller.groups)
    if found is None:
        raise UnknownDocument(collection, uri)
    return found, index.generation


def citation_url(request: Request, collection: str, citation: Citation) -> str:
    """The address of a citation. Its fragment makes a browser scroll to the quote and mark it.

    The fragment is a text directive of the WICG's "URL Fragment Text Directives"; it is never sent to a server.
    """
    base = f"{request.base_url}v1/collections/{quote(collection)}/documents/{quote(citation.document)}"
    line = citation.quote.split("\n", 1)[0][:MAX_FRAGMENT]
    return f"{base}#:~:text={quote(line, safe='').replace('-', '%2D')}"
