"""While a gate is asked nobody else finds the candidate, and a kill then leaves what served, and the next run just works."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from corpora import COLLECTION, PASSED, REFUSED, Shelf
from faults import scratch
from victims import HISTORIES, Rollback, commit_through_a_gate, do, shelf_of_history, victim

from domicile.adapters.generations import Current
from domicile.adapters.indexes import LOOK_SECONDS, LocalIndexes
from domicile.adapters.snapshot import Snapshot
from domicile.domain import OWNER
from domicile.files import HashMemory

GATED = [name for name, changes in HISTORIES.items() if not isinstance(changes[-1], Rollback)]
SEEN_SECONDS = 2.0
"""A running service sees a new generation within this."""

Served = tuple[int, dict[str, str]] | None


def served(shelf: Shelf) -> Served:
    """The generation that serves a new process, and its documents; every byte of every generation is read before."""
    fresh = Shelf(shelf.root, HashMemory(shelf.root / "nothing remembered"), shelf.writer)
    for number in fresh.generations.numbers():
        manifest = fresh.generations.manifest(number)
        fresh.generations.check(manifest, trust=False)
        snapshot = Snapshot(fresh.folder, manifest, COLLECTION)
        snapshot.verify()
        snapshot.close()
    reader = shelf.reader()
    if not reader.names():
        return None
    assert reader.trouble("c") is None
    index = reader.pin("c", OWNER)
    found = {uri: index.document(uri, None) for uri in index.states()}
    return index.generation, {uri: document.text for uri, document in found.items() if document is not None}


def current(shelf: Shelf) -> Current | None:
    return shelf.generations.current()


def lies_there(shelf: Shelf, candidate: int) -> bool:
    """Whether the candidate's files are on disk, under a number that is not published."""
    return (shelf.folder / "lexical" / f"{candidate:06d}").is_dir() and candidate not in shelf.generations.numbers()


@pytest.mark.parametrize("name", GATED)
def test_a_kill_while_the_gate_is_asked_leaves_what_served(tmp_path: Path, name: str) -> None:
    with scratch(tmp_path) as folder, victim(commit_through_a_gate, folder) as (process, connection):
        connection.send(name)
        candidate = connection.recv()
        shelf = shelf_of_history(folder)
        before, pointer = served(shelf), current(shelf)
        assert lies_there(shelf, candidate)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert lies_there(shelf, candidate), "nothing was left half done: the test proves nothing"
        assert (served(shelf), current(shelf)) == (before, pointer)
        do(shelf, HISTORIES[name][-1])  # the next run, at once, with the number that was not used
        after = served(shelf)
        assert after is not None
        assert after[0] == candidate
        assert before is None or after[1] != before[1]
        assert not shelf.leftovers()


@pytest.mark.parametrize("name", GATED)
@pytest.mark.parametrize("says", [PASSED, REFUSED], ids=["passed", "refused"])
def test_without_a_kill_what_the_gate_says_decides(tmp_path: Path, name: str, says: object) -> None:
    with scratch(tmp_path) as folder, victim(commit_through_a_gate, folder) as (_, connection):
        connection.send(name)
        candidate = connection.recv()
        shelf = shelf_of_history(folder)
        before, pointer = served(shelf), current(shelf)
        connection.send(says)
        outcome, after = connection.recv(), served(shelf)
        if says == PASSED:
            assert outcome == "done"
            assert after is not None
            assert after[0] == candidate
            assert shelf.generations.manifest(candidate).gate == PASSED
        else:
            assert outcome.startswith("GateFailed: ")
            assert (after, current(shelf)) == (before, pointer)
            assert not lies_there(shelf, candidate)
        assert after is None or not shelf.leftovers()


def test_a_running_reader_sees_the_new_generation_only_once_it_passed(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder, victim(commit_through_a_gate, folder) as (_, connection):
        connection.send("commit with tombstones")
        candidate = connection.recv()
        shelf = shelf_of_history(folder)
        reader = LocalIndexes(shelf.root, lambda _: COLLECTION, HashMemory(folder / "reader.txt"))  # by the real clock
        until = time.monotonic() + 4 * LOOK_SECONDS
        while time.monotonic() < until:
            assert (reader.generation("c"), reader.trouble("c")) == (candidate - 1, None)
            time.sleep(0.02)
        connection.send(PASSED)
        assert connection.recv() == "done"
        until = time.monotonic() + SEEN_SECONDS
        while reader.generation("c") != candidate and time.monotonic() < until:
            time.sleep(0.02)
        assert reader.generation("c") == candidate
