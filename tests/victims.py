"""What runs in a process of its own so that it can be killed, stopped or starved there. Forked from a clean server."""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from corpora import COLLECTION, EMBEDDER, Shelf, put

from domicile.domain import OWNER
from domicile.errors import DomicileError
from domicile.files import storage_errors

COUNTER = "counter"
"""The document that says which state of ``holding`` a generation is."""


def holding(step: int) -> dict[str, str]:
    """All documents of the collection after this step: some new, some changed, some gone."""
    kept = {f"d{i}": f"pump {i} of step {step - (step + i) % 3}\n\nvalve {i}" for i in range(40) if (step + i) % 4}
    return {COUNTER: str(step), **kept}


def commit_forever(place: Path, to_test: Connection) -> None:
    """One generation after the other; tells before, in the middle and after each."""
    shelf = Shelf.at(place)
    step = step_of(shelf) + 1
    while True:
        to_test.send(("begin", step))
        with shelf.writer.change(COLLECTION, EMBEDDER) as change:
            wanted, states = holding(step), change.states()
            for uri, text in wanted.items():
                if uri not in states or states[uri].digest != f"digest of {text}":
                    put(change, uri, text)
            for uri in states.keys() - wanted.keys():
                change.delete(uri)
            to_test.send(("commit", step))
            change.commit()
        to_test.send(("done", step))
        step += 1


def step_of(shelf: Shelf) -> int:
    """The step that the serving generation is at; 0 where there is none yet."""
    if not shelf.reader().names():
        return 0
    document = shelf.reader().pin("c", OWNER).document(COUNTER, None)
    assert document is not None
    return int(document.text)


def hold_the_lock(place: Path, to_test: Connection) -> None:
    """Open a change, start a child of its own, and wait."""
    with Shelf.at(place).writer.change(COLLECTION, EMBEDDER) as change:
        put(change, "half", "pump")
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
        to_test.send(("held", child.pid))
        to_test.recv()


def commit_with_small_files(place: Path, to_test: Connection) -> None:
    """Try commits that may write no file beyond each limit; answer with what the user would read."""
    while (limit := to_test.recv()) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        to_test.send(try_to_commit(place))


def try_to_commit(place: Path) -> str:
    """Add 200 documents; the error in one line, or "done"."""
    shelf = Shelf.at(place)
    try:
        with storage_errors(str(place)):
            shelf.commit({f"d{i}": f"pump {os.urandom(600).hex()}" for i in range(200)})
    except DomicileError as error:
        return f"{type(error).__name__}: {error}"
    return "done"


@contextmanager
def where_we_import_from() -> Iterator[None]:
    """Tell a Python that starts now; before 3.12 the server of ``multiprocessing`` does not."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


@contextmanager
def victim(target: Callable[[Path, Connection], None], place: Path) -> Iterator[tuple[BaseProcess, Connection]]:
    """Run ``target`` in another process, which is dead when the block ends."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["victims", "faiss", "tantivy", "domicile.adapters.sqlite"])
    with where_we_import_from():
        forkserver.ensure_running()
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(place, theirs))
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()
