"""What runs in a process of its own so that it can be killed, stopped or starved there. Forked from a clean server."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

from corpora import COLLECTION, EMBEDDER, Shelf, put
from faults import Operation, in_memory, intercept
from power import Recorder

from domicile.adapters.approximation import Approximation
from domicile.adapters.change import Policies
from domicile.adapters.index_writer import LocalIndexWriter
from domicile.domain import OWNER
from domicile.errors import DomicileError, WriterBusy
from domicile.files import HashMemory, storage_errors
from domicile.ports import Gate, GateReport, Index

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


def commit_and_collect(place: Path, to_test: Connection) -> None:
    """Commit each step that is asked for, and now and then collect all but what serves."""
    shelf = Shelf.at(place, KEPT)
    while True:
        step = to_test.recv()
        generation = move_to(shelf, step)
        if step % 5 == 0:
            shelf.writer.collect(COLLECTION, keep=1)
        to_test.send(generation)


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
        to_test.send(subprocess.Popen(["sleep", "60"], close_fds=False).pid)
        to_test.recv()


def contend(place: Path, to_test: Connection) -> None:
    """Try to become the writer whenever told what to write; who is waits for a word before it commits."""
    shelf = Shelf.at(place, KEPT)
    while (text := to_test.recv()) is not None:
        try:
            with shelf.writer.change(COLLECTION, EMBEDDER) as change:
                put(change, COUNTER, text)
                to_test.send("in")
                to_test.recv()
                generation = change.commit().generation
            to_test.send(generation)
        except WriterBusy as error:
            to_test.send(error.exit_code)


def stop_before_commit(place: Path, to_test: Connection) -> None:
    """Stop, as on a laptop that is closed, with a change that waits for its commit; go on when woken."""

    def stop() -> None:
        to_test.send("stopping")
        os.kill(os.getpid(), signal.SIGSTOP)

    to_test.send(move_to(Shelf.at(place), to_test.recv(), stop))


def commit_with_small_files(place: Path, to_test: Connection) -> None:
    """Try commits that may write no file beyond each limit; answer with what the user would read."""
    while (limit := to_test.recv()) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        to_test.send(try_to_commit(place))


def try_to_commit(place: Path) -> str:
    """Add 200 documents; the error in one line, or "done"."""
    shelf = Shelf.at(place)
    return outcome(place, lambda: shelf.commit({f"d{i}": f"pump {os.urandom(600).hex()}" for i in range(200)}))


def outcome(place: Path, commit: Callable[[], object]) -> str:
    """The error in one line, or "done"."""
    try:
        with storage_errors(str(place)):
            commit()
    except DomicileError as error:
        return f"{type(error).__name__}: {error}"
    return "done"


@dataclass(frozen=True, slots=True)
class Fault:
    """The file operation with this number fails, or all from that one on."""

    at: int
    lasting: bool


def commit_with_faults(place: Path, to_test: Connection) -> None:
    """Try commits with one fault each; answer with what the user would read, and which operation it hit."""
    shelf = Shelf.at(place, KEPT)
    armed: Fault | None = None
    number, hit = 0, ""

    def fail(operation: Operation) -> None:
        nonlocal number, hit
        number += 1
        if armed is not None and (number == armed.at or (armed.lasting and number > armed.at)):
            hit = hit or operation.name
            code = errno.EIO if operation.name == "fsync" or number % 2 else errno.ENOSPC
            raise OSError(code, os.strerror(code), str(operation.path))

    intercept(place, fail)
    while True:
        step, armed = to_test.recv()
        number, hit = 0, ""
        said = outcome(place, partial(move_to, shelf, step))
        armed = None
        to_test.send((said, hit))


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
    context.set_forkserver_preload(
        ["pytest", "victims", "faiss", "tantivy", "domicile.adapters.sqlite", "audit_victims"]
    )
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
    "inverted file": [{f"d{n}": f"pump valve leave {n}" for n in range(40)}, {f"e{n}": f"pump {n}" for n in range(9)}],
}
"""What is done to a collection, one generation after the other; the last change is the one that is recorded."""


POLICIES = Policies(approximation=Approximation(rows=32))
"""One of the histories is large enough for an inverted file, which its last change extends."""


def shelf_of_history(place: Path) -> Shelf:
    root, hashes = place / "home" / "collections", HashMemory(place / "hashes.txt")
    return Shelf(root, hashes, LocalIndexWriter(root, hashes, place / "vectors", KEPT, POLICIES))


def do_history(
    place: Path, name: str, before_last: Callable[[Path], None] = lambda home: None, gate: Gate | None = None
) -> None:
    """Do one of ``HISTORIES`` in the folder ``home``, which holds nothing but the index; ``gate`` is for its last change."""
    *earlier, last = HISTORIES[name]
    (place / "home").mkdir()
    shelf = shelf_of_history(place)
    for change in earlier:
        do(shelf, change)
    before_last(place / "home")
    do(shelf, last, gate)


def record_history(place: Path, to_test: Connection) -> None:
    """Do the history that is asked for, and tell every event of its last change."""
    recorders: list[Recorder] = []
    do_history(place, to_test.recv(), lambda home: recorders.append(Recorder.start(home)))
    to_test.send(recorders[0].history())


def commit_through_a_gate(place: Path, to_test: Connection) -> None:
    """Do the history that is asked for; the gate of its last change tells its generation, and says what it is told to."""

    def gate(candidate: Index) -> GateReport:
        to_test.send(candidate.generation)
        told: GateReport = to_test.recv()
        return told

    name = to_test.recv()
    to_test.send(outcome(place, partial(do_history, place, name, gate=gate)))


def do(shelf: Shelf, change: Documents | Rollback | Erase, gate: Gate | None = None) -> None:
    if isinstance(change, Rollback):
        shelf.generations.rollback(change.to)
    elif isinstance(change, Erase):
        with shelf.writer.change(COLLECTION, EMBEDDER) as opened:
            opened.erase([change.uri])
            opened.commit(gate)
    else:
        shelf.commit(change, gate=gate)
