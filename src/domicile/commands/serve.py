"""``domicile serve``."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from domicile import __version__
from domicile.bootstrap import Home
from domicile.console import Console, parser, prepare_home, run
from domicile.declarations import is_loopback
from domicile.domain import ModelStatus
from domicile.errors import ConfigError, DomicileError

if TYPE_CHECKING:
    from domicile.adapters.indexes import LocalIndexes
    from domicile.ports import AnswerCache

GRACE_SECONDS = 20
"""How long requests may finish after SIGTERM."""

REFRESH_SECONDS = 1.0
"""How often an idle service looks for new generations."""


def main(argv: Sequence[str]) -> int:
    flags = parser(
        "domicile serve",
        "Serve the OpenAI-compatible API. Without keys it answers on loopback only.",
        "  domicile serve\n  domicile serve --host 0.0.0.0 --port 8080   # after `domicile keys create`",
    )
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--port", type=int, default=8000)
    flags.set_defaults(handler=_serve)
    return run(flags.parse_args(argv))


def _serve(parsed: argparse.Namespace, console: Console) -> int:
    import uvicorn

    from domicile.api.app import create_app
    from domicile.api.state import Service

    home = Home.open(console.home, console.environment)
    prepare_home(console.home)
    routing = home.routing()  # a declaration that has run out: exit 2 before anything is loaded
    keys = home.keys()
    if not keys.required() and not is_loopback(parsed.host):
        raise ConfigError(
            f"--host {parsed.host}: without keys the service answers on loopback only: `domicile keys create` makes one"
        )
    listening = _listen(parsed.host, parsed.port)
    embedder = home.embedder()  # damaged: exit 6 before the first request
    embedder.embed(["ready"], "query")
    indexes = home.indexes(embedder.fingerprint)
    for name in indexes.names():
        indexes.generation(name)  # nothing intact: exit 6; else opened and hashed before the first request
    llm = home.llm()
    retriever = home.retriever(indexes, embedder)
    cache = home.answer_cache()
    settings = home.settings
    stopping = threading.Event()
    service = Service(
        indexes=indexes,
        retriever=retriever,
        answering=home.answering(retriever, embedder, llm, routing, cache),
        audit=routing.audit,
        keys=keys,
        regions=home.regions,
        embedder=ModelStatus(embedder.name, "embedder", "ready"),
        jobs=home.jobs(),
        collection=home.collection,
        configured=settings.collections,
        source_for_key=home.source_for_key,
        max_body_bytes=settings.server.max_body_bytes,
        max_upload_bytes=settings.ingestion.max_upload_bytes,
        searches=(settings.server.concurrency, settings.server.queue),
        # one answer more than the model can take, so that it is the model's own queue that refuses
        answers=(settings.answering.queue + 2 + (settings.routing.concurrency if routing.providers else 0), 0),
        stopping=stopping.is_set,
    )
    logging.getLogger("domicile").setLevel(logging.INFO)
    console.note(
        f"domicile: serving {', '.join(indexes.names()) or 'no collection yet'} on http://{parsed.host}:{listening.getsockname()[1]}/v1"
    )
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(service),
            log_level="error",  # its warnings are about what clients send, as often as they like
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=30,
        )
    )

    def stop(number: int, frame: object) -> None:
        stopping.set()
        server.should_exit = True

    # uvicorn ends what is under way and then raises the signal again, which would end us before we are done
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    routing.begin(__version__)
    routing.warm_up()
    threading.Thread(target=_refresh, args=(indexes, cache, stopping), name="refresh", daemon=True).start()
    try:
        server.run(sockets=[listening])
    finally:
        llm.close()
        routing.close()
    console.result({"stopped": True})
    return 0


def _refresh(indexes: LocalIndexes, cache: AnswerCache, stopping: threading.Event) -> None:
    """Follow the generations without waiting for a request, so that nothing old is held, least of all what was erased."""
    while not stopping.wait(REFRESH_SECONDS):
        indexes.refresh()
        for name in indexes.names():
            with suppress(DomicileError):
                cache.retain(name, indexes.generation(name))


def _listen(host: str, port: int) -> socket.socket:
    """Take the address before any model is loaded.

    Raises:
        ConfigError: taken, or not an address of this machine.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port {port}: choose one from 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
        return listening
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}: choose another with --host and --port"
        ) from None
