"""Receipts: the signed record of one answer, for who asked for it and for the home's owner."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from domicile.api.auth import Caller
from domicile.api.state import service_of, state_of
from domicile.domain import Principal
from domicile.errors import UnknownReceipt

router = APIRouter()


@router.get("/v1/receipts/{receipt}")
async def receipt(request: Request, receipt: str, caller: Caller) -> dict[str, Any]:
    """The record of an answer, as `domicile receipts verify --file` takes it."""
    service = service_of(request)
    found = await state_of(request).pools["searches"].run(lambda: service.audit.receipt(receipt))
    if found["kind"] != "answer" or not _is_own(found["record"], caller):
        raise UnknownReceipt(receipt)
    return found


def _is_own(record: Any, caller: Principal) -> bool:
    """Others must not learn from a receipt what somebody asked, nor that it exists."""
    return caller.tenant is None or (record.get("tenant"), record.get("key")) == (caller.tenant, caller.name)
