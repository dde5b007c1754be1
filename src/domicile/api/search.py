"""``POST /v1/search``."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict

from domicile import filters, wire
from domicile.api.auth import Caller
from domicile.api.state import state_of

router = APIRouter()


class SearchRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    collection: str
    query: str
    mode: Literal["hybrid", "dense", "lexical"] = "hybrid"
    top_k: int = 10
    filters: dict[str, Any] | None = None


@router.post("/v1/search")
async def search(request: Request, body: SearchRequest, caller: Caller) -> Response:
    """The passages that fit a question and that the caller may read."""
    state = state_of(request)
    conditions = filters.parse(body.filters, state.service.regions)
    result = await state.pools["searches"].run(
        lambda: state.service.retriever.search(body.query, body.collection, caller, body.mode, body.top_k, conditions)
    )
    state.metrics.searched(result)
    # a response of its own: the framework would walk through every value again before it writes it
    return JSONResponse(wire.search_result(result, state.service.regions))
