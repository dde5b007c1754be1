"""The audit logs: the fake, and the durable one, which must also outlive damage, other processes and lost keys."""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from audit_victims import append_many
from contract.auditlog_contract import AuditLogContract, Log, Wall
from victims import victim

from domicile.adapters.audit import FileAuditLog
from domicile.adapters.audit_lines import MAX_BODY
from domicile.audit_verifier import verify
from domicile.errors import AuditDamaged, AuditUnavailable, UnknownReceipt
from domicile.ports import Record, RecordKind
from domicile.testing import MemoryAuditLog

FIRST = "000000000001.log"


def open_log(
    home: Path, wall: Callable[[], datetime] | None = None, *, file_bytes: int = 1 << 20, lock_seconds: float = 5.0
) -> FileAuditLog:
    return FileAuditLog(
        home / "audit",
        home / "state",
        wall or Wall(),
        secrets.token_hex,
        file_bytes=file_bytes,
        lock_seconds=lock_seconds,
    )


class TestMemoryAuditLog(AuditLogContract):
    @pytest.fixture
    def log(self) -> Log:
        log = MemoryAuditLog(wall := Wall(), secrets.token_hex)

        def say(why: str | None) -> None:
            log.broken = why

        return Log(log, wall, lambda: say("the disk is full"), lambda: say(None))


class Anew:
    """The same log, opened by another process for each call."""

    def __init__(self, opened: Callable[[], FileAuditLog]) -> None:
        self._opened = opened

    def append(self, kind: RecordKind, body: Mapping[str, object]) -> Record:
        self._last = self._opened()
        return self._last.append(kind, body)

    def find(self, identifier: str) -> Record:
        return self._opened().find(identifier)

    def trouble(self) -> str | None:
        return self._last.trouble()


class TestFileAuditLog(AuditLogContract):
    @pytest.fixture(params=["one file", "many files", "always opened anew"])
    def log(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Log]:
        wall, size = Wall(), 1 << 20 if request.param == "one file" else 2_000
        log = Anew(lambda: open_log(tmp_path, wall, file_bytes=size))
        in_the_way = tmp_path / "state" / "audit.new"  # root is refused nothing but this

        def refuse() -> None:
            in_the_way.unlink(missing_ok=True)
            in_the_way.mkdir()

        shared = open_log(tmp_path, wall, file_bytes=size)
        yield Log(log if request.param == "always opened anew" else shared, wall, refuse, in_the_way.rmdir)
        assert verify(tmp_path / "audit").ok


def files(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (home / "audit").iterdir()}


def head_of(home: Path) -> dict[str, object]:
    head: dict[str, object] = json.loads((home / "audit" / "HEAD").read_bytes().split(b" ", 2)[2])
    return head


def test_looking_makes_no_file_and_files_are_for_their_owner_only(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    assert log.trouble() is None
    with pytest.raises(UnknownReceipt):
        log.find("r_" + "0" * 31)
    assert list(tmp_path.iterdir()) == []
    log.append("start", {})
    modes = {path.relative_to(tmp_path).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {
        "audit": 0o700, "state": 0o700, "state/audit.key": 0o600, "state/audit.lock": 0o600,
        **{f"audit/{name}": 0o600 for name in ("HEAD", "key.pub", FIRST)},
    }  # fmt: skip


def test_the_head_is_moved_before_the_record_is_acknowledged(tmp_path: Path) -> None:
    log = open_log(tmp_path, file_bytes=1_000)
    for _ in range(8):
        record = log.append("answer", {})
        head = head_of(tmp_path)
        assert (head["seq"], head["hash"]) == (record.seq, record.hash)
        assert (tmp_path / "audit" / str(head["file"])).stat().st_size == head["size"]
    assert len(files(tmp_path)) > 3


def flushed(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is flushed meanwhile, in this order."""
    names, fsync = list[str](), os.fsync

    def listen(descriptor: int) -> None:
        names.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", listen)
        work()
    return names


def test_lines_are_on_the_disk_before_the_head_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log(tmp_path, file_bytes=1_000)
    log.append("egress", {"x": "x" * 300})
    assert flushed(lambda: log.append("egress", {"x": "x" * 900}), monkeypatch) == [FIRST, "audit.new"]
    assert flushed(lambda: log.append("egress", {}), monkeypatch) == ["000000000003.log", "audit", "audit.new"]


def test_what_a_dead_process_did_not_flush_is_flushed_before_it_is_built_upon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power loss could take a record out of the middle of the chain."""
    log = open_log(tmp_path, file_bytes=1_000)
    log.append("egress", {})
    head = (tmp_path / "audit" / "HEAD").read_bytes()
    log.append("egress", {"x": "x" * 900})
    (tmp_path / "audit" / "HEAD").write_bytes(head)
    anew = open_log(tmp_path, file_bytes=1_000)
    names = flushed(lambda: anew.append("egress", {}), monkeypatch)
    assert names == [FIRST, "audit", "000000000003.log", "audit", "audit.new"]
    assert verify(tmp_path / "audit").entries == 3


def test_threads_share_a_flush(tmp_path: Path) -> None:
    """Who comes while one is written waits for the next, together with all others."""
    log = open_log(tmp_path)
    log.append("start", {})
    with ThreadPoolExecutor(9) as pool:
        with log.standing_still():
            pool.submit(log.append, "egress", {})
            while not log._commits.running:  # one leads, and waits for the file
                time.sleep(0.001)
            others = [pool.submit(log.append, "egress", {"number": number}) for number in range(8)]
            while len(log._commits.waiting) < 8:
                time.sleep(0.001)
        assert sorted(other.result().seq for other in others) == list(range(3, 11))
    assert head_of(tmp_path)["seq"] == 10


def test_two_processes_append_to_one_chain(tmp_path: Path) -> None:
    log, count = open_log(tmp_path, lambda: datetime.now().astimezone()), 60
    with victim(append_many, tmp_path) as (_, one), victim(append_many, tmp_path) as (_, two):
        for end in (one, two):
            assert end.recv() == "ready"
        for end in (one, two):
            end.send(count)
        mine = []
        while not all(end.poll() for end in (one, two)):
            mine.append(log.append("start", {}).id)
        theirs = [end.recv() for end in (one, two)]
    made = [*mine, *theirs[0], *theirs[1]]
    places = {log.find(identifier).seq: writer for writer, ids in enumerate((mine, *theirs)) for identifier in ids}
    assert sorted(places) == list(range(1, len(made) + 1))
    assert verify(tmp_path / "audit").entries == len(made) > 2 * count
    in_turn = [places[seq] for seq in sorted(places)]
    assert sum(before != after for before, after in pairwise(in_turn)) > 2, "one after the other: this showed nothing"


def test_a_log_that_somebody_keeps_to_himself_is_unavailable_and_then_goes_on(tmp_path: Path) -> None:
    holder, log = open_log(tmp_path), open_log(tmp_path, lock_seconds=0.05)
    holder.append("start", {})
    with holder.standing_still(), pytest.raises(AuditUnavailable, match="another process"):
        log.append("answer", {})
    assert log.append("answer", {}).seq == 2


def test_no_child_inherits_the_lock(tmp_path: Path) -> None:
    holder = open_log(tmp_path)
    with holder.standing_still():
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        assert open_log(tmp_path, lock_seconds=0.2).append("start", {}).seq == 1
    finally:
        child.communicate(b"\n")


@pytest.mark.parametrize("opened", ["before", "after"])
def test_a_changed_byte_stops_appending_and_names_the_entry(tmp_path: Path, opened: str) -> None:
    """In a process that has the log open, and in one that opens it then."""
    log = open_log(tmp_path)
    for number in range(12):
        log.append("answer", {"number": number})
    path, rng = tmp_path / "audit" / FIRST, random.Random(3)
    whole = path.read_bytes()
    for _ in range(30):
        at = rng.randrange(len(whole))
        data = whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
        time.sleep(0.005)  # the change time of a file has the kernel's tick
        path.write_bytes(data)
        asked = log if opened == "before" else open_log(tmp_path)
        entry = whole[:at].count(b"\n") + 1
        for _ in range(2):  # the second time it is known
            with pytest.raises(AuditUnavailable, match=f"{FIRST}: entry {entry} .*audit verify"):
                asked.append("answer", {})
        assert f"entry {entry} " in str(asked.trouble())
        assert path.read_bytes() == data
        time.sleep(0.005)
        path.write_bytes(whole)
        asked.append("answer", {})  # the control: as it was, it goes on
        whole = path.read_bytes()


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda audit: (audit / "HEAD").unlink(), "HEAD: is missing"),
        (lambda audit: (audit / "HEAD").write_bytes(b"garbage"), "HEAD: is no complete line"),
        (lambda audit: (audit / "key.pub").write_bytes(b"0" * 64 + b"\n"), "key.pub"),
        (lambda audit: (audit / "key.pub").unlink(), "key.pub"),
        (lambda audit: shorten(max(audit.glob("*.log"))), "entries are missing"),
        (lambda audit: max(audit.glob("*.log")).unlink(), "is missing"),
        (lambda audit: [path.unlink() for path in audit.iterdir()], "is gone"),
    ],
)
def test_what_is_missing_or_replaced_stops_appending(tmp_path: Path, harm: Callable[[Path], object], says: str) -> None:
    log = open_log(tmp_path, file_bytes=1_000)
    for _ in range(7):
        log.append("answer", {})
    harm(tmp_path / "audit")
    left = files(tmp_path)
    anew = open_log(tmp_path)
    assert says in str(anew.trouble())
    with pytest.raises(AuditUnavailable, match=says):
        anew.append("answer", {})
    if "key.pub" not in says:  # who has the log open has its key
        with pytest.raises(AuditUnavailable):
            log.append("answer", {})
    assert files(tmp_path) == left


def shorten(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def test_a_head_that_was_set_back_with_its_log_is_noticed_by_who_knows_better(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append("answer", {})
    before = files(tmp_path)
    log.append("answer", {})
    for name, data in before.items():
        (tmp_path / "audit" / name).write_bytes(data)
    with pytest.raises(AuditUnavailable, match="HEAD: was set back from entry 2 to 1"):
        log.append("answer", {})


def test_without_its_private_key_a_log_is_read_and_not_written(tmp_path: Path) -> None:
    record = open_log(tmp_path).append("answer", {})
    key = tmp_path / "state" / "audit.key"
    kept = key.read_bytes()
    key.unlink()
    log = open_log(tmp_path)
    with pytest.raises(AuditUnavailable, match="restore it from a backup, or move audit/ away"):
        log.append("answer", {})
    assert "restore it from a backup" in str(log.trouble())
    assert not key.exists()
    assert log.find(record.id) == record
    key.write_bytes(b"no key")
    with pytest.raises(AuditUnavailable, match="no Ed25519 key"):
        open_log(tmp_path).append("answer", {})
    key.write_bytes(kept)
    assert log.append("answer", {}).seq == 2


@pytest.mark.parametrize("made", [["HEAD"], ["HEAD", "key.pub"], []])
def test_a_crash_before_the_first_record_leaves_nothing_in_the_way(tmp_path: Path, made: list[str]) -> None:
    open_log(tmp_path / "other").append("start", {})
    (tmp_path / "audit").mkdir()
    for name in made:
        (tmp_path / "audit" / name).write_bytes((tmp_path / "other" / "audit" / name).read_bytes())
    assert open_log(tmp_path).append("start", {}).seq == 1
    assert verify(tmp_path / "audit").entries == 1


@pytest.mark.parametrize("in_service", [True, False])
def test_what_a_crash_left_unfinished_is_cut_off_and_recorded(tmp_path: Path, in_service: bool) -> None:
    """Every place where writing three lines may have stopped, with the head as it was before them."""
    log = open_log(tmp_path)
    log.append("start", {})
    head = (tmp_path / "audit" / "HEAD").read_bytes()
    size = int(str(head_of(tmp_path)["size"]))
    for number in range(3):
        log.append("egress", {"number": number})
    path = tmp_path / "audit" / FIRST
    whole = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == 10]
    for stop in (*range(size, len(whole), 23), *ends):
        (tmp_path / "audit" / "HEAD").write_bytes(head)
        path.write_bytes(whole[:size])
        log = open_log(tmp_path)
        if in_service:
            assert log.trouble() is None
        path.write_bytes(whole[:stop])
        assert log.trouble() is None  # looking leaves it, and does not forget it
        assert path.read_bytes() == whole[:stop]
        record = log.append("answer", {})
        kept = max(end for end in ends if end <= stop)
        lines = [json.loads(line.split(b" ", 2)[2]) for line in path.read_bytes()[kept:].splitlines()]
        cut = whole[kept:stop]
        assert [line["kind"] for line in lines] == ["repaired", "answer"][not cut :]
        if cut:
            told = (lines[0]["file"], lines[0]["offset"], lines[0]["bytes"], lines[0]["sha256"])
            assert told == (FIRST, kept, len(cut), hashlib.sha256(cut).hexdigest())
        assert record.seq == ends.index(kept) + 2 + bool(cut)
        assert path.read_bytes().startswith(whole[:kept])
        assert verify(tmp_path / "audit").ok


@pytest.mark.parametrize("opened", ["before", "after"])
@pytest.mark.parametrize("left", [b"", b"torn", None], ids=["empty", "torn", "whole"])
def test_a_file_that_was_begun_and_not_finished_is_gone_on_with(
    tmp_path: Path, left: bytes | None, opened: str
) -> None:
    home = tmp_path / "home"
    log = open_log(home, file_bytes=1_000)
    for _ in range(2):
        log.append("egress", {"x": "x" * 900})
    shutil.copytree(
        home, tmp_path / "other"
    )  # where another process writes the record, and dies before it moves the head
    open_log(tmp_path / "other", file_bytes=1_000).append("egress", {"x": "x" * 900})
    name = "000000000003.log"
    whole = (tmp_path / "other" / "audit" / name).read_bytes()
    (home / "audit" / name).write_bytes(whole if left is None else left)
    log = log if opened == "before" else open_log(home, file_bytes=1_000)
    assert log.append("answer", {}).seq == (3 if left == b"" else 4)
    assert ((home / "audit" / name).read_bytes().startswith(whole)) == (left is None)
    assert verify(home / "audit").ok


def test_a_changed_record_is_damaged_and_not_unknown(tmp_path: Path) -> None:
    log, rng = open_log(tmp_path, wall := Wall()), random.Random(9)
    made = []
    for number in range(20):
        made.append(log.append("answer", {"number": number}))
        wall.go_on(milliseconds=number % 2)
    path = tmp_path / "audit" / FIRST
    whole = path.read_bytes()
    starts = [0, *(at + 1 for at, byte in enumerate(whole) if byte == 10)]
    for _ in range(200):
        record = rng.choice(made)
        at = rng.randrange(starts[record.seq - 1], starts[record.seq])
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
        with pytest.raises(AuditDamaged, match=FIRST):
            log.find(record.id)
    path.write_bytes(whole)
    assert [log.find(record.id) for record in made] == made


def test_a_record_that_is_too_large_is_refused_and_harms_nobody(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    with pytest.raises(AuditUnavailable, match="nothing is recorded"):
        log.append("egress", {"prompt": "x" * MAX_BODY})
    largest = log.append("egress", {"prompt": "x" * (MAX_BODY - 20)})
    assert open_log(tmp_path).find(largest.id) == largest
    assert verify(tmp_path / "audit").entries == 1
