"""What runs in a process of its own so that it can be killed, stopped or starved there. Forked from a clean server."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

from corpora import COLLECTION, EMBEDDER, Shelf, put
from faults import in_memory
from power import Recorder

from domicile.adapters.index_writer import LocalIndexWriter
from domicile.domain import OWNER
from domicile.errors import DomicileError
from domicile.files import HashMemory, storage_errors

KEPT = 3
"""Generations that are retained here, so that commits collect old ones all the time."""
COUNTER = "counter"
"""The document that says which state of ``holding`` a generation is."""


def holding(step: int) -> dict[str, str]:
    """All documents of the collection after this step: some new, some changed, some gone."""
    kept = {f"d{i}": f"pump {i} of step {step - (step + i) % 3}\n\nvalve {i}" for i in range(20) if (step + i) % 4}
    return {COUNTER: str(step), **kept}


@dataclass(frozen=True, slots=True)
class Said:
    """How far a writer is with a step; ``generation`` once it is done."""

    word: Literal["begin", "commit", "done"]
    step: int
    generation: int = 0


def move_to(shelf: Shelf, step: int, before_commit: Callable[[], None] = lambda: None) -> int:
    """Commit what the collection holds after this step; the generation."""
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        wanted, states = holding(step), change.states()
        for uri, text in wanted.items():
            if uri not in states or states[uri].digest != f"digest of {text}":
                put(change, uri, text)
        for uri in states.keys() - wanted.keys():
            change.delete(uri)
        before_commit()
        return change.commit().generation


def commit_forever(place: Path, to_test: Connection) -> None:
    """One generation after the other; says so before, in the middle and after each."""
    shelf = Shelf.at(place, KEPT)
    for step in itertools.count(step_of(shelf) + 1):
        to_test.send(Said("begin", step))
        generation = move_to(shelf, step, lambda step=step: to_test.send(Said("commit", step)))
        to_test.send(Said("done", step, generation))


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
def environment(**variables: str) -> Iterator[None]:
    """Set these for what starts now."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ |= variables
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def victim(target: Callable[[Path, Connection], None], place: Path) -> Iterator[tuple[BaseProcess, Connection]]:
    """Run ``target`` in another process, which is dead when the block ends."""
    context = multiprocessing.get_context("forkserver")
    # every child runs the main module again, which is pytest
    context.set_forkserver_preload(["pytest", "victims", "faiss", "tantivy", "domicile.adapters.sqlite"])
    # before Python 3.12 the server does not know by itself where we import from
    with environment(PYTHONPATH=os.pathsep.join(sys.path), TMPDIR=in_memory(tempfile.gettempdir())):
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


Documents = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Rollback:
    to: int


@dataclass(frozen=True, slots=True)
class Erase:
    uri: str


HISTORIES: dict[str, list[Documents | Rollback | Erase]] = {
    "first commit": [{"a": "pump one", "b": "valve", "c": "leave"}],
    "commit with tombstones": [{"a": "pump one", "b": "valve", "c": "leave"}, {"a": "pump two", "b": None}],
    "commit that collects": [{"a": "pump one", "b": "valve"}, {"a": "pump two"}, {"a": "pump three"}, {"b": "leave"}],
    "rollback": [{"a": "pump one"}, {"a": "pump two"}, Rollback(1)],
    "erasure": [{"a": "pump one", "b": "valve"}, {"b": "leave"}, Erase("a")],
}
"""What is done to a collection, one generation after the other; the last change is the one that is recorded."""


def record_history(place: Path, to_test: Connection) -> None:
    """Do one of ``HISTORIES`` in the folder ``home``, and tell every event of its last change."""
    *earlier, last = HISTORIES[to_test.recv()]
    (place / "home").mkdir()
    root, hashes = place / "home" / "collections", HashMemory(place / "hashes.txt")
    shelf = Shelf(root, hashes, LocalIndexWriter(root, hashes, place / "vectors", keep=KEPT))
    for change in earlier:
        _do(shelf, change)
    recorder = Recorder.start(place / "home")
    _do(shelf, last)
    to_test.send(recorder.history())


def _do(shelf: Shelf, change: Documents | Rollback | Erase) -> None:
    if isinstance(change, Rollback):
        shelf.generations.rollback(change.to)
    elif isinstance(change, Erase):
        with shelf.writer.change(COLLECTION, EMBEDDER) as opened:
            opened.erase(change.uri)
            opened.commit()
    else:
        shelf.commit(change)
