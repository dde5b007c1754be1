"""The queues of jobs: the fake, and the durable one, which must also outlive processes, power and disks."""

from __future__ import annotations

import os
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from contract.jobs_contract import LIMITS, Clocks, JobsContract, Queue, take_whatever_there_is
from faults import files_of_at_most
from victims import victim

from domicile.adapters.jobs import SqliteJobs
from domicile.adapters.spool import ABANDONED_SECONDS
from domicile.errors import Damaged, StorageError
from domicile.jobs import Order, QueueLimits
from domicile.testing import MemoryJobs


class TestMemoryJobs(JobsContract):
    @pytest.fixture
    def queue(self) -> Queue:
        clocks = Clocks()
        jobs = MemoryJobs(LIMITS, lambda: clocks.monotonic, lambda: clocks.wall)
        return Queue(jobs, clocks, jobs)


def at(folder: Path, clocks: Clocks, boot: str = "boot") -> SqliteJobs:
    return SqliteJobs(folder, LIMITS, lambda: clocks.monotonic, lambda: clocks.wall, boot)


class TestSqliteJobs(JobsContract):
    @pytest.fixture
    def queue(self, tmp_path: Path) -> Queue:
        clocks = Clocks()
        return Queue(at(tmp_path / "state", clocks), clocks, at(tmp_path / "state", clocks))


def order(collection: str = "c") -> Order:
    return Order("run", collection, None, "owner", {"source": "/srv"})


def test_looking_makes_no_file_and_files_are_for_their_owner_only(tmp_path: Path) -> None:
    jobs = SqliteJobs(tmp_path / "state", LIMITS)
    assert (jobs.newest(9), dict(jobs.figures().jobs), jobs.pending("c", "x")) == ([], {}, False)
    assert not (tmp_path / "state").exists()
    with jobs.receive() as upload:
        upload.write(b"x")
        jobs.submit(Order("put", "c", "a.md", "owner", {}), upload)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").rglob("*")}
    folders = {"spool": 0o700}
    assert modes.keys() > {"jobs.sqlite", "jobs.sqlite-wal", "spool"}
    assert {name: mode for name, mode in modes.items() if mode != folders.get(name, 0o600)} == {}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_reboot_ends_every_lease_and_every_wait(tmp_path: Path) -> None:
    """The clock begins anew at a boot: an old lease must neither last for ever nor be taken for a new one."""
    before = Clocks(monotonic=1e6)
    first = at(tmp_path, before)
    running, waiting = first.submit(order("c")), first.submit(order("d"))
    assert first.take() is not None
    lease = first.take()
    assert lease is not None
    first.again(lease, {"type": "x", "message": "x"})
    assert first.take() is None
    rebooted = at(tmp_path, Clocks(monotonic=1.0), boot="another")
    taken = [rebooted.take(), rebooted.take()]
    assert [lease and lease.job.id for lease in taken] == [running.id, waiting.id]
    assert rebooted.take() is None


def test_two_processes_never_take_the_same_job(tmp_path: Path) -> None:
    jobs = SqliteJobs(tmp_path, QueueLimits())
    wanted = [jobs.submit(order(f"c{n}")).id for n in range(60)]
    with victim(take_whatever_there_is, tmp_path) as (_, one), victim(take_whatever_there_is, tmp_path) as (_, two):
        for end in (one, two):
            assert end.recv() == "ready"
        for end in (one, two):
            end.send("go")
        taken = [list(iter(end.recv, None)) for end in (one, two)]
    assert sorted(taken[0] + taken[1]) == sorted(wanted)
    assert all(taken), "one of them did everything: this showed nothing"


def test_threads_may_share_a_queue(tmp_path: Path) -> None:
    jobs = SqliteJobs(tmp_path, QueueLimits())
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: jobs.submit(order(f"c{n}")).id, range(40)))
        taken = [lease.job.id for lease in pool.map(lambda _: jobs.take(), range(40)) if lease is not None]
    assert sorted(made) == sorted(taken)


def test_an_acknowledged_job_is_on_the_disk(tmp_path: Path) -> None:
    """What a power loss leaves: the files without what SQLite still held in memory; each commit was flushed (FULL)."""
    jobs = SqliteJobs(tmp_path / "a", LIMITS)
    with jobs.receive() as upload:
        upload.write(b"text")
        job = jobs.submit(Order("put", "c", "a.md", "owner", {}), upload)
    (tmp_path / "b").mkdir()
    for name in ("jobs.sqlite", "jobs.sqlite-wal"):
        (tmp_path / "b" / name).write_bytes((tmp_path / "a" / name).read_bytes())
    assert SqliteJobs(tmp_path / "b", LIMITS).get(job.id).state == "queued"


def test_a_full_disk_refuses_the_upload_and_leaves_nothing(tmp_path: Path) -> None:
    jobs = SqliteJobs(tmp_path, LIMITS)
    jobs.submit(order())
    with jobs.receive() as upload, files_of_at_most(50):
        upload.write(b"x" * 40)  # control: so much is taken
        with pytest.raises(StorageError):
            upload.write(b"x" * 40)
    assert list((tmp_path / "spool").iterdir()) == []
    assert len(jobs.newest(9)) == 1


def test_a_disk_that_refuses_the_queue_says_so_and_the_queue_goes_on(tmp_path: Path) -> None:
    jobs = SqliteJobs(tmp_path, LIMITS)
    jobs.submit(order("before"))
    with (
        files_of_at_most((tmp_path / "jobs.sqlite-wal").stat().st_size),
        pytest.raises(StorageError, match=r"jobs\.sqlite"),
    ):
        jobs.submit(order("refused"))
    jobs.submit(order("after"))
    assert [job.order.collection for job in jobs.newest(9)] == ["after", "before"]


@pytest.mark.parametrize("bytes_", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5_000])
def test_a_damaged_queue_is_named(tmp_path: Path, bytes_: bytes) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(bytes_)
    with pytest.raises(Damaged, match=r"jobs\.sqlite.*move it away"):
        SqliteJobs(tmp_path, LIMITS).newest(9)


def test_a_table_of_somebody_else_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as database:
        database.execute("CREATE TABLE jobs (number INTEGER PRIMARY KEY, id TEXT)")
    with pytest.raises(Damaged, match=r"jobs\.sqlite.*move it away"):
        SqliteJobs(tmp_path, QueueLimits()).figures()


def test_what_a_killed_service_left_of_uploads_is_swept(tmp_path: Path) -> None:
    jobs = SqliteJobs(tmp_path, LIMITS)
    with jobs.receive() as upload:
        upload.write(b"kept")
        job = jobs.submit(Order("put", "c", "a.md", "owner", {}), upload)
    left, coming = tmp_path / "spool" / "left", tmp_path / "spool" / "coming"
    for path in (left, coming):
        path.write_bytes(b"half")
    for path in (left, tmp_path / "spool" / job.id):
        old = path.stat().st_mtime - ABANDONED_SECONDS - 1
        os.utime(path, (old, old))
    jobs.sweep()
    assert {path.name for path in (tmp_path / "spool").iterdir()} == {"coming", job.id}


def test_erased_bytes_are_in_no_file(tmp_path: Path) -> None:
    jobs = SqliteJobs(tmp_path, LIMITS)
    with jobs.receive() as upload:
        upload.write(b"the zanzibar file")
        jobs.submit(Order("put", "c", "a.md", "owner", {"title": "zanzibar"}), upload)
    jobs.submit(order())
    assert any(b"zanzibar" in path.read_bytes() for path in tmp_path.glob("jobs.*"))  # control
    jobs.erase("c", "a.md")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and b"zanzibar" in path.read_bytes()] == []


def test_the_file_is_an_ordinary_database(tmp_path: Path) -> None:
    """Nothing in it is executable: text and numbers only."""
    jobs = SqliteJobs(tmp_path, LIMITS)
    jobs.submit(order())
    with sqlite3.connect(tmp_path / "jobs.sqlite") as database:
        types = {type(value) for row in database.execute("SELECT * FROM jobs") for value in row}
    database.close()
    assert types <= {str, int, float, type(None)}
