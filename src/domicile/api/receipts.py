"""Receipts: the signed record of one answer, for who asked for it and for the home's owner."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from domicile.api.auth import Caller
from domicile.api.state import service_of, state_of
from domicile.domain import Principal
from domicile.errors import UnknownReceipt
from domicile.ports import Record

router = APIRouter()


@router.get("/v1/receipts/{receipt}")
async def receipt(request: Request, receipt: str, caller: Caller) -> dict[str, Any]:
    """The record of an answer, as `domicile receipts verify` checks it."""
    service = service_of(request)
    record = await state_of(request).pools["searches"].run(lambda: service.audit.find(receipt))
    if record.kind != "answer" or not _is_own(record, caller):
        raise UnknownReceipt(receipt)
    return {
        "id": record.id,
        "seq": record.seq,
        "at": record.at,
        "kind": record.kind,
        "hash": record.hash,
        "signature": record.signature,
        "record": dict(record.body),
    }


def _is_own(record: Record, caller: Principal) -> bool:
    """Others must not learn from a receipt what somebody asked, nor that it exists."""
    return caller.tenant is None or (record.body.get("tenant"), record.body.get("key")) == (caller.tenant, caller.name)
