"""The answer caches: the fake, and the one on disk, which must also outlive disks and leave nothing behind."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from contract.answer_cache_contract import ENTRIES, MAX_AGE, AnswerCacheContract, Cached, Clock, answer, at, put_forever
from faults import files_of_at_most
from victims import victim

from domicile.errors import StorageError
from domicile.testing import MemoryAnswerCache

WORD = "zanzibar"


class TestMemoryAnswerCache(AnswerCacheContract):
    @pytest.fixture
    def cached(self) -> Cached:
        clock = Clock()
        cache = MemoryAnswerCache(clock, ENTRIES, MAX_AGE)
        return Cached(cache, cache, clock)


class TestSqliteAnswerCache(AnswerCacheContract):
    @pytest.fixture(params=[0, 3], ids=["disk", "memory and disk"])
    def cached(self, tmp_path: Path, request: pytest.FixtureRequest) -> Cached:
        clock = Clock()
        return Cached(at(tmp_path, clock, request.param), at(tmp_path, clock, request.param), clock)


def holding(place: Path, text: str = WORD) -> list[str]:
    """The files below a folder that hold this text."""
    return sorted(path.name for path in place.rglob("*") if path.is_file() and text.encode() in path.read_bytes())


def test_looking_makes_no_file_and_files_are_for_their_owner_only(tmp_path: Path) -> None:
    cache = at(tmp_path)
    assert cache.get("k") is None
    assert list(tmp_path.iterdir()) == []
    cache.put("k", answer())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "cache").iterdir()}
    assert modes == dict.fromkeys(modes, 0o600)
    assert modes.keys() >= {"answers.sqlite", "answers.sqlite-wal"}


def test_no_entries_means_no_cache(tmp_path: Path) -> None:
    cache = at(tmp_path, entries=0)
    cache.put("k", answer())
    assert cache.get("k") is None
    assert list(tmp_path.iterdir()) == []


def test_bytes_are_bounded_on_disk_and_in_memory(tmp_path: Path) -> None:
    cache = at(tmp_path, memory=100, entries=100, max_bytes=10_000)
    for number in range(30):
        cache.put(f"k{number}", answer(str(number) * 1_000))
    kept = [number for number in range(30) if at(tmp_path).get(f"k{number}")]
    assert kept == list(range(kept[0], 30))
    assert 1 < len(kept) < 9
    cache.put("large", answer("x" * 20_000))
    assert cache.get("large") is None
    assert cache._bytes == sum(entry.size for entry in cache._memory.values()) <= 2_000


@pytest.mark.parametrize("word", ["retain", "forget"])
def test_what_is_forgotten_is_in_no_file(tmp_path: Path, word: str) -> None:
    """Also what was cached long ago and made room for newer answers: it may still lie in the log."""
    cache, other = at(tmp_path), at(tmp_path)
    for number in range(ENTRIES * 3):
        cache.put(f"k{number}", answer(f"{WORD} {number} " * 400))
    cache.put("d", answer("of another collection", collection="d"))
    assert other.get(f"k{ENTRIES * 3 - 1}") is not None
    assert holding(tmp_path) == ["answers.sqlite-wal"]  # control
    getattr(cache, word)("c", 2)
    assert holding(tmp_path) == []
    cache.put("late", answer(WORD))
    other.put("later", answer(WORD))
    assert holding(tmp_path) == []
    assert at(tmp_path).get("d") == answer("of another collection", collection="d")


def test_an_erasure_waits_for_readers_and_then_takes_the_file_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domicile.adapters.answer_cache.FLUSH_SECONDS", 0.3)
    cache = at(tmp_path)
    cache.put("k", answer(WORD))
    with closing(sqlite3.connect(tmp_path / "cache" / "answers.sqlite", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM answers").fetchone() == (1,)
        cache.forget("c", 2)
        assert holding(tmp_path) == []
        assert reader.execute("SELECT count(*) FROM answers").fetchone() == (1,), (
            "control: it held the file all the time"
        )
    cache.put("new", answer(generation=2))
    assert at(tmp_path).get("new") == answer(generation=2)


def test_an_erasure_that_cannot_be_done_says_so(tmp_path: Path) -> None:
    at(tmp_path / "control").forget("c", 2)
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(StorageError):
        at(tmp_path).forget("c", 2)


@pytest.mark.parametrize("bytes_", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5_000])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, bytes_: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "answers.sqlite").write_bytes(bytes_)
    cache = at(tmp_path, memory=0)
    assert cache.get("k") is None
    cache.put("k", answer())
    assert cache.get("k") == answer()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_pages_that_were_overwritten_give_no_wrong_answer(tmp_path: Path) -> None:
    at(tmp_path).put("k", answer(WORD * 500))
    at(tmp_path).retain("d", 1)  # brings the log into the file
    path = tmp_path / "cache" / "answers.sqlite"
    whole = path.read_bytes()
    spots = [at for at in range(0, len(whole), 97) if whole[at] not in b"\0"]
    wrong = missed = 0
    for spot in spots:
        path.write_bytes(whole[:spot] + bytes([whole[spot] ^ 1]) + whole[spot + 1 :])
        found = at(tmp_path, memory=0).get("k")
        missed += found is None
        wrong += found not in (None, answer(WORD * 500))
        for name in ("-wal", "-shm"):
            Path(f"{path}{name}").unlink(missing_ok=True)
    assert (wrong, missed > 10) == (0, True)


def test_an_entry_of_another_version_is_not_there(tmp_path: Path) -> None:
    cache = at(tmp_path, memory=0)
    cache.put("k", answer())
    with closing(sqlite3.connect(tmp_path / "cache" / "answers.sqlite", isolation_level=None)) as database:
        database.create_function("digest", 1, lambda record: _digest("k", record))
        database.execute("UPDATE answers SET record = '{\"answer\": 1}', digest = digest('{\"answer\": 1}')")
    assert cache.get("k") is None


def _digest(key: str, record: str) -> bytes:
    from domicile.adapters import answer_cache

    return answer_cache._digest(key, record)


def test_a_full_disk_costs_the_answer_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = at(tmp_path)
    cache.put("before", answer())
    with files_of_at_most((tmp_path / "cache" / "answers.sqlite-wal").stat().st_size):
        cache.put("refused", answer("x" * 50_000))
        cache.put("refused, too", answer("x" * 50_000))
        assert cache.get("refused") is not None, "it is in memory all the same"
        assert at(tmp_path).get("refused") is None, "control: the disk took it"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    cache.put("after", answer("after"))
    assert [bool(at(tmp_path).get(key)) for key in ("before", "after")] == [True, True]


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = at(tmp_path)
    cache.put("k", answer())
    cache.retain("c", 2)
    assert cache.get("k") is None
    cache.put("k", answer(generation=2))
    assert cache.get("k") is not None
    assert len(caplog.records) == 1
    assert "cannot write" in caplog.text


def test_a_kill_leaves_a_cache_that_works(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for delay in range(10):
        with victim(put_forever, tmp_path) as (process, said):
            assert said.recv() == 0
            time.sleep(delay / 100)
            process.kill()
            process.join()
        cache = at(tmp_path, memory=0)
        cache.put("mine", answer(generation=10**9))
        assert cache.get("mine") == answer(generation=10**9)
    cache.forget("c", 10**9 + 1)
    assert holding(tmp_path, "0 0 0 ") == []
    assert caplog.records == []


def test_two_processes_and_many_threads_share_it(tmp_path: Path) -> None:
    with victim(put_forever, tmp_path) as (_, said):
        cache = at(tmp_path, memory=0)
        wrong: list[str] = []

        def use(thread: int) -> None:
            for number in range(40):
                key, given = f"t{thread}", answer(f"{thread} {number}", "d")
                cache.put(key, given)
                if cache.get(key) not in (given, None):
                    wrong.append(key)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert said.poll(5)
        assert wrong == []


def timed(call: Callable[[], object], times: int) -> float:
    """The 99th percentile, in milliseconds."""
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        spent.append(time.perf_counter() - began)
    return sorted(spent)[int(times * 0.99)] * 1e3


def test_a_hit_is_fast(tmp_path: Path) -> None:
    cache, cold = at(tmp_path, entries=2_000, memory=10), at(tmp_path, entries=2_000, memory=0)
    for number in range(1_000):
        cache.put(f"k{number}", answer("x" * 3_000))
    memory, disk = timed(lambda: cache.get("k999"), 1_000), timed(lambda: cold.get(f"k{os.getpid() % 900}"), 1_000)
    print(f"p99 from memory {memory:.3f} ms, from the file {disk:.3f} ms")
    assert memory < 5, "ten times what it should be, for machines that are busy"
    assert disk < 30
