"""Two writers: one commits and the other is told so, whatever becomes of the first."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from corpora import Shelf
from faults import scratch
from victims import COUNTER, KEPT, contend, hold_the_lock, holding, move_to, stop_before_commit, victim

from domicile.domain import OWNER
from domicile.errors import WriterBusy

RACES = 100


def counter(shelf: Shelf) -> str:
    document = shelf.reader().pin("c", OWNER).document(COUNTER, None)
    assert document is not None
    return document.text


def test_of_two_writers_that_start_at_once_exactly_one_commits(tmp_path: Path) -> None:
    won = {0: 0, 1: 0}
    with scratch(tmp_path) as folder, ExitStack() as stack:
        shelf = Shelf.at(folder, KEPT)
        connections = [stack.enter_context(victim(contend, folder))[1] for _ in range(2)]
        for race in range(1, RACES + 1):
            for number, connection in enumerate(connections):
                connection.send(f"{race} of {number}")
            answers = [connection.recv() for connection in connections]
            assert sorted(answers, key=str) == [
                75,
                "in",
            ]  # the loser ended as the command would, the winner waits for us
            winner = answers.index("in")
            won[winner] += 1
            connections[winner].send("commit")
            assert connections[winner].recv() == race
            assert counter(shelf) == f"{race} of {winner}"
        for connection in connections:
            connection.send(None)
        assert len(shelf.generations.numbers()) == KEPT
        assert not shelf.leftovers()
    assert min(won.values()) > 0, "one of them won every race: they did not start at once"


def test_a_second_writer_is_told_so_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    shelf = Shelf.at(tmp_path)
    shelf.commit({"a": "pump"})
    with victim(hold_the_lock, shelf.root.parent) as (process, connection):
        child = connection.recv()
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


def test_a_writer_that_was_stopped_wakes_and_commits_what_nobody_could_overtake(tmp_path: Path) -> None:
    shelf = Shelf.at(tmp_path)
    move_to(shelf, 1)
    with victim(stop_before_commit, tmp_path) as (process, connection):
        connection.send(2)
        assert connection.recv() == "stopping"
        for _ in range(3):
            with pytest.raises(WriterBusy):
                move_to(shelf, 7)
            assert counter(shelf) == "1"
        os.kill(process.pid or 0, signal.SIGCONT)
        assert connection.recv() == 2
    assert counter(shelf) == "2"
    assert move_to(shelf, 3) == 3
    index = shelf.reader().pin("c", OWNER)
    assert index.states().keys() == holding(3).keys()
    assert not shelf.leftovers()
