"""After a power loss at any instant: the old or the new generation, whole; and the new one once it was acknowledged."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from corpora import ALL, Shelf
from faults import scratch
from power import Event, History, Named, State, Synced, Tree, Written, make
from victims import HISTORIES, Erase, Rollback, record_history, victim

from domicile.domain import OWNER
from domicile.errors import DomicileError, IndexDamaged

ERASED = b"pump one"
"""The document that is erased."""
NOT_NEEDED = {
    # each folder of a new collection is made durable at once, and once more with CURRENT
    ("first commit", "collections/c"): 5,
    # what was collected and comes back is named by nothing, and swept by the next run; an erasure does need this
    ("commit that collects", "collections/c/lexical"): 1,
}
"""The syncs that could go without any state being bad, and why they stay."""
SAMPLE = 12
"""States of each history after which the next run is tried."""


@dataclass(frozen=True, slots=True)
class Serves:
    """What a reader that starts after the power loss finds.

    Attributes:
        documents: all of them, or why there are none.
        degraded: the reader reports trouble.
        unreadable: generations that are listed and not intact.
    """

    documents: dict[str, str] | str
    degraded: bool = False
    unreadable: frozenset[int] = frozenset()


def holds(name: str, generations: int) -> dict[str, str]:
    """The documents after the first changes of a history."""
    states: list[dict[str, str]] = [{}]
    for change in HISTORIES[name][:generations]:
        if isinstance(change, Rollback):
            states.append(states[change.to])
        elif isinstance(change, Erase):
            states.append({uri: text for uri, text in states[-1].items() if uri != change.uri})
        else:
            states.append({uri: text for uri, text in {**states[-1], **change}.items() if text is not None})
    return states[-1]


def allowed(name: str, *, acknowledged: bool) -> list[Serves]:
    before, after = holds(name, -1), holds(name, len(HISTORIES[name]))
    if acknowledged:
        return [Serves(after)]
    if not before:  # the first generation serves from its manifest on, which ``CURRENT`` has yet to confirm
        return [Serves(before), Serves(after), Serves(after, degraded=True)]
    return [Serves(before), Serves(after)]


def serves(folder: Path) -> Serves:
    shelf = Shelf.at(folder)
    reader = shelf.reader()
    try:
        if not reader.names():
            return Serves({})
        index = reader.pin("c", OWNER)
        found = {uri: index.document(uri, None) for uri in index.states()}
        words = index.lexical("pump valve leave", 99, ALL)
        assert {chunk.document for chunk in index.chunks([c.ref for c in words])} == found.keys()
    except DomicileError as error:
        return Serves(str(error))
    documents = {uri: document.text for uri, document in found.items() if document is not None}
    broken = {number for number in shelf.generations.numbers() if not intact(shelf, number)}
    return Serves(documents, reader.trouble("c") is not None, frozenset(broken))


def intact(shelf: Shelf, number: int) -> bool:
    try:
        shelf.generations.check(shelf.generations.manifest(number))
    except IndexDamaged:
        return False
    return True


@dataclass(slots=True)
class Judge:
    """Says of a state what is served from it; each that is new to a reader is made on disk and opened."""

    folder: Path
    known: dict[frozenset[tuple[str, bytes | None]], Serves] = field(default_factory=dict)

    def serves(self, state: State) -> Serves:
        tree = state.relevant()
        key = frozenset(tree.items())
        if key not in self.known:
            self.known[key] = self.look(tree)
        return self.known[key]

    def look(self, tree: Tree) -> Serves:
        place = self.folder / "state"
        place.mkdir()
        try:
            make(tree, place)
            return serves(place)
        finally:
            shutil.rmtree(place)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    with scratch(tmp_path_factory.mktemp("judge")) as folder:
        yield Judge(folder)


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, History]:
    recorded = {}
    for name in HISTORIES:
        with scratch(tmp_path_factory.mktemp("history")) as place, victim(record_history, place) as (_, connection):
            connection.send(name)
            recorded[name] = connection.recv()
            lies = {path.relative_to(place / "home").as_posix(): path for path in (place / "home").rglob("*")}
            told = recorded[name].now.tree()
            assert told == {name: None if path.is_dir() else path.read_bytes() for name, path in lies.items()}
    return recorded


def states(history: History) -> Iterator[tuple[State, bool]]:
    """Every state that is enumerated, and whether the change was acknowledged by then."""
    rng = random.Random(5)
    for disk, acknowledged in history.disks():
        for state in disk.states(rng):
            yield state, acknowledged


def bad_states(name: str, history: History, judge: Judge) -> Iterator[State]:
    """The states from which something else is served than may be, or in which something erased came back."""
    last = contents(history.now)
    for state, acknowledged in states(history):
        served = judge.serves(state) in allowed(name, acknowledged=acknowledged)
        if not served or (name == "erasure" and acknowledged and not contents(state) <= last):
            yield state


def contents(state: State) -> set[bytes]:
    return {content for content in state.tree().values() if content is not None}


@pytest.mark.parametrize("name", HISTORIES)
def test_every_state_that_a_power_loss_may_leave_serves_the_old_or_the_new(
    name: str, histories: dict[str, History], judge: Judge
) -> None:
    reached = set()
    for state, acknowledged in states(histories[name]):
        found = judge.serves(state)
        assert found in allowed(name, acknowledged=acknowledged)
        reached.add(str(found.documents))
    assert len(reached) == 2, "the states do not reach from the old generation to the new one: nothing is proved"


@pytest.mark.parametrize("name", HISTORIES)
def test_after_a_power_loss_the_next_run_works_and_leaves_nothing_behind(
    name: str, histories: dict[str, History], tmp_path: Path
) -> None:
    every = [state for state, _ in states(histories[name])]
    for state in random.Random(6).sample(every, min(SAMPLE, len(every))):
        with scratch(tmp_path) as folder:
            make(state.tree(), folder)
            assert serves(folder) == Judge(folder).look(state.relevant())  # what was left out makes no difference
            found = serves(folder).documents
            assert isinstance(found, dict)
            shelf = Shelf.at(folder)
            shelf.commit({"next": "pump"})
            assert serves(folder) == Serves({**found, "next": "pump"})
            assert not shelf.leftovers()


def test_what_was_erased_does_not_come_back_with_a_power_loss(histories: dict[str, History]) -> None:
    history = histories["erasure"]
    gone = contents(history.disk_after(history.began).state([], {})) - contents(history.now)
    assert any(ERASED in content for content in gone)
    after = [state for state, acknowledged in states(history) if acknowledged]
    assert after
    for state in after:
        assert contents(state) <= contents(history.now)  # nothing that was removed, also not an index of its words


def test_every_sync_is_needed(histories: dict[str, History], judge: Judge) -> None:
    """Without any one of them some state is bad: so the states above would have shown it, had it been forgotten."""
    survivors: Counter[tuple[str, str]] = Counter()
    caught = 0
    for name, history in histories.items():
        for path, mutant in history.without_a_sync():
            if next(bad_states(name, mutant, judge), None) is None:
                survivors[name, path] += 1
            else:
                caught += 1
    assert survivors == NOT_NEEDED
    assert caught >= 40


def steps(events: Sequence[Event], file: str) -> slice:
    """Where ``replace_durably`` gave a file its bytes: written, named, synced, renamed, and its folder synced."""
    renamed = max(at for at, event in enumerate(events) if isinstance(event, Named) and event.name == file)
    return slice(renamed - 3, renamed + 2)


def current_first(events: list[Event], manifest: slice, current: slice) -> list[Event]:
    return events[: manifest.start] + events[current] + events[manifest] + events[current.stop :]


def current_in_place(events: list[Event], manifest: slice, current: slice) -> list[Event]:
    *_, new, _, _, moved, synced = events[: current.stop]
    assert isinstance(new, Written)
    assert isinstance(moved, Named)
    name = Named(moved.folder, "CURRENT", new.inode)
    return [*events[: current.start], name, new, Synced(new.inode, ""), synced, *events[current.stop :]]


def current_renamed_before_it_is_synced(events: list[Event], manifest: slice, current: slice) -> list[Event]:
    written, named, synced, moved, folder = events[current]
    return [*events[: current.start], written, named, moved, folder, synced, *events[current.stop :]]


def current_before_the_files(events: list[Event], manifest: slice, current: slice) -> list[Event]:
    return [*events[manifest], *events[current], *events[: manifest.start], *events[current.stop :]]


def files_synced_after_current(events: list[Event], manifest: slice, current: slice) -> list[Event]:
    syncs = [event for event in events[: manifest.start] if isinstance(event, Synced)]
    others = [event for event in events[: manifest.start] if not isinstance(event, Synced)]
    return [*others, *events[manifest], *events[current], *syncs, *events[current.stop :]]


def acknowledged_before_current(events: list[Event], manifest: slice, current: slice) -> list[Event]:
    return [*events[: current.start], events[-1], *events[current.start : -1]]


def acknowledged_before_it_is_durable(events: list[Event], manifest: slice, current: slice) -> list[Event]:
    return [*events[: current.stop - 1], events[-1], *events[current.stop - 1 : -1]]


def collected_before_current(events: list[Event], manifest: slice, current: slice) -> list[Event]:
    return [*events[: manifest.stop], *events[current.stop : -1], *events[current], events[-1]]


Mutation = Callable[[list[Event], slice, slice], list[Event]]


@pytest.mark.parametrize("mutation", [
    current_first, current_in_place, current_renamed_before_it_is_synced, current_before_the_files,
    files_synced_after_current, acknowledged_before_current, acknowledged_before_it_is_durable,
])  # fmt: skip
def test_a_commit_in_another_order_is_caught(mutation: Mutation, histories: dict[str, History], judge: Judge) -> None:
    name = "commit with tombstones"
    history = histories[name]
    events = list(history.events[history.began :])
    mutant = history.with_events(mutation(events, steps(events, "000002.json"), steps(events, "CURRENT")))
    assert next(bad_states(name, mutant, judge), None) is not None


def test_an_erasure_that_collects_before_it_is_durable_is_caught(histories: dict[str, History], judge: Judge) -> None:
    history = histories["erasure"]
    events = list(history.events[history.began :])
    mutant = collected_before_current(events, steps(events, "000003.json"), steps(events, "CURRENT"))
    assert next(bad_states("erasure", history.with_events(mutant), judge), None) is not None


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed; the recorder is checked otherwise")
def test_a_second_witness_sees_the_same_syncs(tmp_path: Path, histories: dict[str, History]) -> None:
    """What the kernel was asked to sync is what was recorded."""
    script = (
        "import sys; from pathlib import Path; from victims import *; do_history(Path(sys.argv[1]), 'first commit')"
    )
    call = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", tmp_path / "syncs", sys.executable, "-c", script]
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*call, tmp_path], env={**os.environ, **path}, capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr.lower():
        pytest.skip(f"strace may not trace here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    synced = [found[1] for found in re.finditer(r"fsync\(\d+<(.*?)>\)", (tmp_path / "syncs").read_text())]
    recorded = [event.path for event in histories["first commit"].events if isinstance(event, Synced) and event.path]
    shown = [anonymous(Path(path).relative_to(tmp_path / "home").as_posix()) for path in synced if "/home" in path]
    assert sorted(shown) == sorted(anonymous(path) for path in recorded)


def anonymous(path: str) -> str:
    """Without the number of a process and the names that tantivy draws."""
    return re.sub(r"\.\d+\.tmp$|[0-9a-f]{32}", "", path)
