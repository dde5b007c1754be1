"""``GET /v1/models`` and one of them: a chat client sees a collection as a model."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from domicile.api.auth import Caller
from domicile.api.state import service_of
from domicile.domain import Principal
from domicile.errors import UnknownCollection

router = APIRouter()


@router.get("/v1/models")
def models(request: Request, caller: Caller) -> dict[str, Any]:
    """The collections that this key may see."""
    return {"object": "list", "data": [_model(name) for name in _seen_by(caller, request)]}


@router.get("/v1/models/{name}")
def model(name: str, request: Request, caller: Caller) -> dict[str, Any]:
    """One of them. Another tenant's is unknown, like one that there is not."""
    if name not in _seen_by(caller, request):
        raise UnknownCollection(name)
    return _model(name)


def _seen_by(caller: Principal, request: Request) -> list[str]:
    service = service_of(request)
    return [name for name in service.indexes.names() if service.collection(name).open_to(caller)]


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "domicile"}
