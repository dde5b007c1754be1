"""Killed at any instant: the last acknowledged generation serves, or the next one whole, and the next run just works.

The oracle is outside the index: what the writer acknowledged, and what each step is known to hold.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from corpora import COLLECTION, Shelf
from faults import scratch
from victims import COUNTER, KEPT, Said, commit_forever, holding, move_to, step_of, victim

from domicile.adapters.snapshot import Snapshot
from domicile.files import HashMemory

KILLS = int(os.environ.get("DOMICILE_KILLS", "100"))
"""A tenth of them hit the command, the others the commit. ``make crash-nightly`` asks for more."""
KILLS_A_COLLECTION = 10
"""Then a new one is begun, so that first commits are hit as well."""


def documents(shelf: Shelf, number: int) -> dict[str, str]:
    """All documents of one generation, after every byte of it was read again and compared."""
    fresh = Shelf(shelf.root, HashMemory(shelf.root / "nothing remembered"), shelf.writer)
    manifest = fresh.generations.manifest(number)
    fresh.generations.check(manifest, trust=False)
    snapshot = Snapshot(fresh.folder, manifest, COLLECTION)
    try:
        found = {uri: snapshot.document(uri, None) for uri in snapshot.states()}
        hits = snapshot.chunks([hit.ref for hit in snapshot.lexical("pump valve", 1000, None)])
        assert {chunk.document for chunk in hits} == found.keys() - {COUNTER}
    finally:
        snapshot.close()
    return {uri: document.text for uri, document in found.items() if document is not None}


def served(shelf: Shelf) -> dict[str, str]:
    reader = shelf.reader()
    assert reader.trouble("c") is None
    return documents(shelf, reader.generation("c"))


@dataclass(slots=True)
class Aim:
    """When to kill: after a random part of the time that a commit takes, which is learnt from hits and misses."""

    rng: random.Random
    seconds: float = 0.02
    shots: int = 0
    hits: int = 0

    def wait(self) -> None:
        time.sleep(self.rng.uniform(0, self.seconds))

    def learn(self, *, hit: bool) -> None:
        self.shots += 1
        self.hits += hit
        self.seconds *= 1.03 if hit else 0.75  # level where one in ten comes too late, so that the end is hit as well


@dataclass(slots=True)
class Kills:
    """Kills the writers of one collection.

    Attributes:
        steps: what every acknowledged generation holds.
        half_done: how many kills left something behind.
    """

    shelf: Shelf
    aim: Aim
    rng: random.Random
    steps: dict[int, int] = field(default_factory=dict)
    half_done: int = 0

    def kill(self) -> None:
        """Kill one within a commit, compare what is left with what it said, and go on with the next run."""
        said = self._kill()
        self.aim.learn(hit=said[-1].word == "commit")
        self.half_done += bool(self.shelf.leftovers())
        self.steps |= {word.generation: word.step for word in said if word.word == "done"}
        acknowledged = max((word.step for word in said if word.word == "done"), default=said[0].step - 1)
        now = served(self.shelf) if self.shelf.reader().names() else {COUNTER: "0"}
        step = int(now[COUNTER])
        assert step in (acknowledged, said[-1].step)
        assert now == (holding(step) if step else {COUNTER: "0"})
        retained = self.shelf.generations.numbers()
        for number in retained:
            if number in self.steps:
                assert documents(self.shelf, number) == holding(self.steps[number])
        generation = move_to(self.shelf, step + 1)  # the next run, at once
        assert generation == max(retained, default=0) + 1
        assert not self.shelf.leftovers()
        self.steps[generation] = step + 1

    def _kill(self) -> list[Said]:
        said: list[Said] = []
        with victim(commit_forever, self.shelf.root.parent) as (process, connection):
            for _ in range(self.rng.choice((1, 1, 3))):  # the first commit of the process, or a later one
                said.append(connection.recv())
                while said[-1].word != "commit":
                    said.append(connection.recv())
            self.aim.wait()
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            with contextlib.suppress(EOFError):
                while True:
                    said.append(connection.recv())
        return said


def test_a_kill_within_a_commit_leaves_the_last_acknowledged_generation_or_the_next(tmp_path: Path) -> None:
    rng, kills = random.Random(11), KILLS - KILLS // 10
    aim, half_done = Aim(rng), 0
    for first in range(0, kills, KILLS_A_COLLECTION):
        with scratch(tmp_path) as folder:
            here = Kills(Shelf.at(folder, KEPT), aim, rng)
            for _ in range(first, min(kills, first + KILLS_A_COLLECTION)):
                here.kill()
            half_done += here.half_done
    assert aim.shots == kills
    assert aim.hits >= 0.8 * kills, "too few kills hit a commit: the test proves nothing"
    assert half_done >= 0.4 * kills, "too few kills left anything half done: the test proves nothing"
    print(aim, half_done)


def test_without_a_kill_the_same_commits_leave_the_same_documents(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder, victim(commit_forever, folder) as (process, connection):
        while connection.recv().generation < 4:
            pass
        os.kill(process.pid or 0, signal.SIGSTOP)
        shelf = Shelf.at(folder)
        assert step_of(shelf) >= 4
        assert served(shelf) == holding(step_of(shelf))
