"""The one authenticator: who calls is decided here and nowhere else, before anything else is looked at."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Request

from domicile.api.state import service_of
from domicile.domain import OWNER, Principal
from domicile.errors import Forbidden, Unauthenticated

_LOOPBACK = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?", re.IGNORECASE)


def authenticate(request: Request) -> Principal:
    """The principal of a request.

    Without keys the service listens on loopback only, and whoever reaches it is the home's owner. The page of a stranger
    reaches it too, by the user's browser: under a name of its own choosing, or with a request that it may send and whose
    answer it may not read. So both the name and the page's origin, which browsers send, must be loopback ones.

    Raises:
        Unauthenticated: a key is needed, and none or a wrong one was sent.
        Forbidden: no keys exist, and the service was called by another name or from another place than loopback.
    """
    keys = service_of(request).keys
    if not keys.required():
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        # not request.url: it puts the server's own address where the header is malformed
        if not _LOOPBACK.fullmatch(host) or not (origin is None or _LOOPBACK.fullmatch(origin.partition("://")[2])):
            raise Forbidden(
                "without keys the service answers to 127.0.0.1 and localhost only: `domicile keys create` makes a key"
            )
        return OWNER
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    principal = keys.authenticate(key.strip()) if scheme.lower() == "bearer" else None
    if principal is None:
        raise Unauthenticated("send a valid key as `Authorization: Bearer …`: `domicile keys create` makes one")
    return principal


Caller = Annotated[Principal, Depends(authenticate)]


def authorize_ingestion(caller: Caller) -> Principal:
    """A principal who may write documents and see jobs.

    Raises:
        Forbidden: a key without that right.
    """
    if not caller.may_ingest:
        raise Forbidden("this key may only read: `domicile keys create --ingest` makes one that may write documents")
    return caller


Ingester = Annotated[Principal, Depends(authorize_ingestion)]
