"""``GET /v1/models``: a chat client sees a collection as a model."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from domicile.api.auth import Caller
from domicile.api.state import service_of

router = APIRouter()


@router.get("/v1/models")
def models(request: Request, caller: Caller) -> dict[str, Any]:
    """The collections that this key may see."""
    service = service_of(request)
    names = [name for name in service.indexes.names() if service.collection(name).open_to(caller)]
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 0, "owned_by": "domicile"} for name in names],
    }
