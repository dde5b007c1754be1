"""Killed at any instant: the last acknowledged generation serves, or the next one whole, and the next run just works.

The oracle is outside the index: what the writer acknowledged, and what each step is known to hold.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from corpora import ALL, COLLECTION, Shelf
from faults import SCALE, scratch
from victims import COUNTER, KEPT, Said, commit_forever, holding, move_to, step_of, victim

from domicile.adapters.snapshot import Snapshot
from domicile.files import HashMemory

KILLS = 100 * SCALE
"""A tenth of them hit the command, the others the commit."""
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
        hits = snapshot.chunks([hit.ref for hit in snapshot.lexical("pump valve", 1000, ALL)])
        assert {chunk.document for chunk in hits} == found.keys() - {COUNTER}
    finally:
        snapshot.close()
    return {uri: document.text for uri, document in found.items() if document is not None}


def served(shelf: Shelf) -> dict[str, str]:
    reader = shelf.reader()
    # the very first commit, cut between its manifest and CURRENT: it is not acknowledged, and is told apart from a loss
    # of CURRENT by nothing, so it serves with a warning until the next run
    first = shelf.generations.numbers() == [1] and not (shelf.folder / "CURRENT").exists()
    assert first or reader.trouble("c") is None
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


def test_without_a_kill_the_same_commits_leave_the_same_documents(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder, victim(commit_forever, folder) as (process, connection):
        while connection.recv().generation < 4:
            pass
        os.kill(process.pid or 0, signal.SIGSTOP)
        shelf = Shelf.at(folder)
        assert step_of(shelf) >= 4
        assert served(shelf) == holding(step_of(shelf))


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


@dataclass(slots=True)
class Command:
    """``domicile ingest run`` over and over, on one home and one folder of texts.

    Attributes:
        begun: of the killed runs, those that had begun to write.
    """

    home: Path
    source: Path
    step: int = 0
    begun: int = 0

    @classmethod
    def at(cls, folder: Path, models: Path) -> Command:
        (folder / "source").mkdir(parents=True)
        (folder / "home").mkdir()
        (folder / "home" / "models").symlink_to(models)
        return cls(folder / "home", folder / "source")

    @property
    def shelf(self) -> Shelf:
        return Shelf.at(self.home / "data")

    def change(self) -> None:
        self.step += 1
        for number in range(8):
            path = self.source / f"{number}.txt"
            path.unlink(missing_ok=True)
            if number % 3 != self.step % 3:
                path.write_text(f"The pump {number} of step {self.step}.")

    def texts(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.source.iterdir()}

    def start(self) -> subprocess.Popen[bytes]:
        call = [Path(sys.executable).with_name("domicile"), "--home", self.home, "--json", "ingest", "run"]
        return subprocess.Popen(
            [*call, self.source, "--collection", "c"], stdout=subprocess.PIPE, start_new_session=True
        )

    def run(self) -> float:
        """One run that nobody disturbs; the seconds that it took."""
        began = time.monotonic()
        process = self.start()
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert json.loads(said)["generation"] == self.shelf.reader().generation("c")
        assert served(self.shelf) == self.texts()
        assert not self.shelf.leftovers()
        return time.monotonic() - began

    def writes(self) -> float:
        """One more run that nobody disturbs; the seconds from the first sign of writing until it is published."""
        before, published = os.listdir(self.shelf.folder / "segments"), self.shelf.reader().generation("c")
        self.change()
        process = self.start()
        self._await_writing(process, before)
        began = time.monotonic()
        while self.shelf.reader().generation("c") == published and process.poll() is None:
            time.sleep(0.001)
        wrote = time.monotonic() - began
        process.communicate(timeout=60)
        assert process.returncode == 0
        return wrote

    def _await_writing(self, process: subprocess.Popen[bytes], before: list[str]) -> None:
        while os.listdir(self.shelf.folder / "segments") == before and process.poll() is None:
            time.sleep(0.001)

    def kill(self, after: float, *, writing: bool) -> None:
        """Kill a run; what it leaves is the old or the new, and the next run does what it should have done.

        Args:
            after: seconds after its start, or where it is to be ``writing`` after the first sign of that.
        """
        before, there = self.texts(), os.listdir(self.shelf.folder / "segments")
        self.change()
        process = self.start()
        if writing:
            self._await_writing(process, there)
        time.sleep(after)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the run was over before the kill"
        self.begun += bool(self.shelf.leftovers())
        assert served(self.shelf) in (before, self.texts())
        self.run()
        assert ended(process.pid), "a child of the killed process goes on"


def ended(group: int, seconds: float = 5) -> bool:
    """Whether all processes of a group are gone, soon."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_a_killed_command_leaves_the_old_or_the_new_and_the_next_run_just_works(
    tmp_path: Path, models_dir: Path
) -> None:
    with scratch(tmp_path) as folder, ThreadPoolExecutor(2) as pool:  # two homes, for small machines have two cores
        commands = [Command.at(folder / str(number), models_dir) for number in range(2)]
        for command in commands:
            command.change()
        list(pool.map(Command.run, commands))
        took = min(pool.map(Command.run, commands))  # the control, and how long a run takes at least
        wrote = min(pool.map(Command.writes, commands))
        rng = random.Random(3)

        def kill_some(command: Command) -> None:
            for number in range(KILLS // 20):
                writing = number % 3 != 2
                after = wrote * rng.uniform(0, 0.7) if writing else took * rng.uniform(0.1, 0.9)
                command.kill(after, writing=writing)

        list(pool.map(kill_some, commands))
    print(
        f"{sum(command.begun for command in commands)} of {KILLS // 10} had begun to write, which takes {wrote:.3f} s"
    )
    assert sum(command.begun for command in commands) >= 0.4 * (KILLS // 10), (
        "too few runs were killed while they wrote"
    )
