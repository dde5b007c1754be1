"""Disks that are full, limits that are reached and errors of the device: all or nothing, and the next run just works."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from corpora import ALL, Shelf
from faults import SCALE, scratch
from victims import (
    KEPT,
    Fault,
    commit_with_faults,
    commit_with_small_files,
    holding,
    move_to,
    try_to_commit,
    victim,
)

from domicile.domain import OWNER
from domicile.ports import Index

CERTAIN = {"open", "fsync", "os.mkdir", "os.link", "os.rename", "os.remove"}
"""What a commit does to files, and what has to be seen to fail."""


def texts(index: Index) -> dict[str, str]:
    assert index.lexical("pump valve", 9, ALL)
    documents = [index.document(uri, None) for uri in index.states()]
    return {document.uri: document.text for document in documents if document is not None}


@pytest.mark.parametrize(("lasting", "stride"), [(False, 2), (True, 3)], ids=["once", "lasting"])
def test_whichever_operation_fails_the_commit_is_done_or_refused_whole(
    tmp_path: Path, lasting: bool, stride: int
) -> None:
    """In CI not each: most are the links of one folder after the other. ``make crash-nightly`` tries every one."""
    failed: Counter[str] = Counter()
    refused = 0
    with scratch(tmp_path) as folder, victim(commit_with_faults, folder) as (_, connection):
        shelf = Shelf.at(folder, KEPT)
        for step in range(1, KEPT + 2):
            move_to(shelf, step)
        reader, at = shelf.reader(), 0
        while True:
            at += stride if SCALE == 1 else 1
            pinned = reader.pin("c", OWNER)
            connection.send((step + 1, Fault(at, lasting)))
            said, hit = connection.recv()
            if not hit:
                break
            failed[hit] += 1
            refused += said != "done"
            assert said == "done" or one_line(said), said
            assert texts(pinned) == holding(step)  # who reads goes on
            now = reader.pin("c", OWNER)
            assert reader.trouble("c") is None
            step += now.generation != pinned.generation
            assert texts(now) == holding(step)
            assert said != "done" or now.generation != pinned.generation
            if lasting or shelf.leftovers():
                step += 1
                move_to(shelf, step)  # the next run, with nothing done by hand
                assert not shelf.leftovers()
                assert texts(reader.pin("c", OWNER)) == holding(step)
        assert said == "done"  # the control: a commit that nothing disturbs
        assert texts(reader.pin("c", OWNER)) == holding(step + 1)
        assert not shelf.leftovers()
    assert failed.keys() >= CERTAIN
    assert refused >= 30


def one_line(message: str) -> bool:
    """Whether an error is what a user can act on."""
    begins = message.startswith("StorageError: cannot write ")
    return begins and "\n" not in message and len(message) < 600 and "run again" in message


def intact_after(shelf: Shelf, message: str) -> None:
    """After a refused commit: one line says why, the old generation serves, nothing is left."""
    assert one_line(message), message
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
