"""Killed, stopped or starved at any instant: the last acknowledged generation serves, and the next run just works."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from corpora import Shelf
from victims import commit_forever, commit_with_small_files, hold_the_lock, holding, step_of, try_to_commit, victim

from domicile.domain import OWNER
from domicile.errors import WriterBusy
from domicile.files import HashMemory

KILLS = 12


def served(shelf: Shelf) -> dict[str, str]:
    """Every document of the serving generation, after every byte was read again."""
    fresh = Shelf(shelf.root, HashMemory(shelf.root / "nothing remembered"), shelf.writer)
    manifest, trouble = fresh.generations.newest_intact()
    assert trouble is None
    index = fresh.reader().pin("c", OWNER)
    assert index.generation == manifest.generation
    documents = {uri: index.document(uri, None) for uri in index.states()}
    found = {chunk.document for chunk in index.chunks([c.ref for c in index.lexical("pump valve", 1000, None)])}
    assert found == documents.keys() - {"counter"}
    return {uri: document.text for uri, document in documents.items() if document is not None}


def kill_once(shelf: Shelf, after: float) -> tuple[str, int, bool]:
    """Kill the writer; returns its last word, the last step it acknowledged, and whether it left anything half done."""
    with victim(commit_forever, shelf.root.parent) as (process, connection):
        said = [connection.recv()]
        time.sleep(after)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        with contextlib.suppress(EOFError):
            while True:
                said.append(connection.recv())
    acknowledged = max((step for word, step in said if word == "done"), default=said[0][1] - 1)
    return said[-1][0], acknowledged, bool(shelf.leftovers())


def test_a_kill_at_any_time_leaves_the_last_acknowledged_generation_or_the_next(tmp_path: Path) -> None:
    shelf = Shelf.at(tmp_path)
    rng = random.Random(11)
    inside = half_done = 0
    for _ in range(KILLS):
        (shelf.folder / "generations").mkdir(parents=True, exist_ok=True)
        word, acknowledged, left_something = kill_once(shelf, rng.uniform(0, 0.4))
        inside += word in ("begin", "commit")
        half_done += left_something
        step = step_of(shelf)
        assert step in (acknowledged, acknowledged + 1)
        if step:
            assert served(shelf) == holding(step)
        newest = max(shelf.generations.numbers(), default=0)
        commit = shelf.commit({"counter": str(step), "new": None})  # the next run, at once
        assert commit.generation == newest + 1
        assert not shelf.leftovers()
    assert inside >= 0.8 * KILLS, "too few kills landed within a commit: the test proves nothing"
    assert half_done >= KILLS / 4, "no kill left anything half done: the test proves nothing"


def test_without_a_kill_the_same_commits_leave_the_same_documents(tmp_path: Path) -> None:
    shelf = Shelf.at(tmp_path)
    with victim(commit_forever, shelf.root.parent) as (process, connection):
        while connection.recv() != ("done", 3):
            pass
        os.kill(process.pid or 0, signal.SIGSTOP)  # between two commits, or at the start of the fourth
    assert served(shelf) == holding(step_of(shelf))
    assert step_of(shelf) >= 3


def test_a_crash_between_the_manifest_and_current_leaves_the_old_generation(tmp_path: Path) -> None:
    shelf = Shelf.at(tmp_path)
    shelf.commit({"a": "pump one"})
    before = (shelf.folder / "CURRENT").read_bytes()
    shelf.commit({"a": "pump two"})
    (shelf.folder / "CURRENT").write_bytes(before)
    assert served(shelf) == {"a": "pump one"}
    commit = shelf.commit({"b": "pump three"})
    assert (commit.generation, commit.previous) == (3, 1)
    assert served(shelf) == {"a": "pump one", "b": "pump three"}
    assert not shelf.leftovers()


def test_a_crash_of_the_first_commit_before_current_does_not_stop_the_next_run(tmp_path: Path) -> None:
    shelf = Shelf.at(tmp_path)
    shelf.commit({"a": "pump one"})
    (shelf.folder / "CURRENT").unlink()
    assert shelf.commit({"a": "pump two"}).generation == 2
    assert served(shelf) == {"a": "pump two"}
    assert not shelf.leftovers()


def test_a_second_writer_is_told_so_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    shelf = Shelf.at(tmp_path)
    shelf.commit({"a": "pump"})
    with victim(hold_the_lock, shelf.root.parent) as (process, connection):
        _, child = connection.recv()
        try:
            for stop in (signal.SIGCONT, signal.SIGSTOP):  # also one that hangs
                os.kill(process.pid or 0, stop)
                with pytest.raises(WriterBusy, match="another process is writing collection 'c'") as refused:
                    shelf.commit({"a": "valve"})
                assert refused.value.exit_code == 75
            assert shelf.reader().generation("c") == 1  # readers do not care
            process.kill()
            process.join()
            os.kill(child, 0)  # its child lives on, and has not inherited the lock
            assert shelf.commit({"a": "valve"}).generation == 2
            assert not shelf.leftovers()
        finally:
            os.kill(child, signal.SIGKILL)


def intact_after(shelf: Shelf, message: str) -> None:
    """After a refused commit: one line says why, the old generation serves, nothing is left."""
    assert message.startswith("StorageError: cannot write "), message
    assert "\n" not in message
    assert len(message) < 600
    assert "run again" in message
    assert shelf.reader().generation("c") == 1
    assert shelf.reader().trouble("c") is None
    assert not shelf.leftovers()


def test_a_file_that_may_not_grow_refuses_the_commit_and_the_next_run_heals(tmp_path: Path) -> None:
    shelf = Shelf.at(tmp_path)
    shelf.commit({"a": "pump"})
    with victim(commit_with_small_files, shelf.root.parent) as (_, connection):
        for limit in (100, 5_000, 20_000, 50_000, 150_000):  # hits other files each time
            connection.send(limit)
            intact_after(shelf, connection.recv())
        connection.send(10_000_000)  # the same commit with room: the control
        assert connection.recv() == "done"
        connection.send(None)
    assert shelf.reader().generation("c") == 2
    assert not shelf.leftovers()


@contextmanager
def small_disk(path: Path, kibibytes: int) -> Iterator[None]:
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(
            f"no small disk can be mounted here ({mounted.stderr.decode().strip()}); file limits are tested above"
        )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_refuses_the_commit_whole_at_every_size_and_room_heals(tmp_path: Path) -> None:
    shelf = Shelf.at(tmp_path / "disk")
    with small_disk(tmp_path / "disk", 20_000):
        shelf.commit({"a": "pump"})
        ballast = tmp_path / "disk" / "ballast"
        for room in (8, 40, 120, 240, 400, 600):  # KiB
            free = os.statvfs(tmp_path / "disk").f_bavail * 4
            ballast.write_bytes(bytes((free - room) * 1024))
            intact_after(shelf, try_to_commit(shelf.root.parent))
            ballast.unlink()
        assert try_to_commit(shelf.root.parent) == "done"
        assert shelf.reader().generation("c") == 2
        assert not shelf.leftovers()
