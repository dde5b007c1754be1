"""The labels of answers: the fake, and the durable one, which must never come to say less than it was told."""

from __future__ import annotations

import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest
from contract.answer_labels_contract import (
    NARROW,
    SECRET,
    WIDE,
    AnswerLabelsContract,
    Known,
    at,
    joined,
    remember_forever,
)
from faults import SCALE, files_of_at_most
from victims import victim

from domicile.testing import MemoryAnswerLabels

KILLS = 50 * SCALE


class TestMemoryAnswerLabels(AnswerLabelsContract):
    @pytest.fixture
    def known(self) -> Known:
        found = MemoryAnswerLabels()
        return Known(found, found)


class TestSqliteAnswerLabels(AnswerLabelsContract):
    @pytest.fixture
    def known(self, tmp_path: Path) -> Known:
        return Known(at(tmp_path), at(tmp_path))


def test_looking_makes_no_file_and_no_file_holds_text(tmp_path: Path) -> None:
    known = at(tmp_path)
    assert known.find("t", "zanzibar") is None
    assert list(tmp_path.iterdir()) == []
    known.remember("t", ["zanzibar"], SECRET)
    files = list((tmp_path / "state").iterdir())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert any(b"pii" in file.read_bytes() for file in files), "control: the label is there"
    assert not any(b"zanzibar" in file.read_bytes() for file in files)


def test_the_oldest_go_first(tmp_path: Path) -> None:
    known = at(tmp_path, answers=3)
    for number in range(5):
        known.remember("t", [str(number)], NARROW)
    assert [bool(known.find("t", str(number))) for number in range(5)] == [False, False, True, True, True]


def test_what_was_remembered_outlives_any_kill(tmp_path: Path) -> None:
    told = 0
    for kill in range(KILLS):
        last = (told, False)
        with victim(remember_forever, tmp_path) as (process, said):
            assert said.recv() == "ready"
            said.send(told + 1)
            last = said.recv()
            time.sleep(kill % 10 / 1_000)
            process.kill()
            process.join()
            while said.poll():
                try:
                    last = said.recv()
                except EOFError:
                    break
        known = at(tmp_path)
        number, strict = last
        for earlier in range(told + 1, number):
            assert known.find("t", f"answer {earlier}") == joined(WIDE, SECRET)
        assert known.find("t", f"answer {number}") in (
            [joined(WIDE, SECRET)] if strict else [WIDE, joined(WIDE, SECRET)]
        )
        told = number + 1
    assert told > KILLS


def test_two_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    known = at(tmp_path)
    with victim(remember_forever, tmp_path) as (_, said):
        assert said.recv() == "ready"
        said.send(0)
        for number in range(100):
            known.remember("t", [f"answer {number}"], NARROW)
        while said.recv() != (99, True):
            pass
    assert {known.find("t", f"answer {number}") for number in range(100)} == {joined(WIDE, SECRET, NARROW)}


@pytest.mark.parametrize("bytes_", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5_000])
def test_a_damaged_file_knows_nothing_and_is_begun_anew(
    tmp_path: Path, bytes_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "answers.sqlite").write_bytes(bytes_)
    known = at(tmp_path)
    assert known.find("t", "a") is None
    assert caplog.records
    known.remember("t", ["a"], WIDE)
    assert at(tmp_path).find("t", "a") == WIDE


def test_no_byte_that_is_changed_makes_a_label_wider(tmp_path: Path) -> None:
    for number in range(20):
        at(tmp_path).remember("t", [str(number)], SECRET if number % 2 else WIDE)
    path = tmp_path / "state" / "answers.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole, wrong, missed = path.read_bytes(), [], 0
    for spot in [spot for spot in range(0, len(whole), 3) if whole[spot]][:600]:
        path.write_bytes(whole[:spot] + bytes([whole[spot] ^ 2]) + whole[spot + 1 :])
        for number in (1, 2):
            found = at(tmp_path).find("t", str(number))
            missed += found is None
            if found not in (None, SECRET if number % 2 else WIDE):
                wrong.append((spot, number))
        for name in ("-wal", "-shm", ""):
            Path(f"{path}{name}").unlink(missing_ok=True)
    assert wrong == []
    assert missed > 10, "no change hit anything"


def test_a_label_that_cannot_be_written_is_not_known_any_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = at(tmp_path)
    known.remember("t", ["a"], WIDE)
    known.remember("t", ["b"], WIDE)
    with files_of_at_most((tmp_path / "state" / "answers.sqlite-wal").stat().st_size):
        known.remember("t", ["a"], SECRET)
    assert len(caplog.records) == 1
    assert at(tmp_path).find("t", "a") == WIDE, "control: it was not written"
    assert (known.find("t", "a"), known.find("t", "b")) == (None, WIDE)
    known.remember("t", ["a"], SECRET)
    assert known.find("t", "a") == at(tmp_path).find("t", "a") == joined(WIDE, SECRET)


def test_a_folder_that_cannot_be_written_costs_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    known = at(tmp_path)
    known.remember("t", ["a"], WIDE)
    assert known.find("t", "a") is None
    assert "cannot write" in caplog.text
