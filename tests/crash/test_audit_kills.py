"""The audit log under kills and disks that refuse: what was acknowledged is in it, and the next append makes it whole.

The oracle is outside the log: what the writers said, and the verifier, which shares no code with them.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from audit_victims import append_forever, append_with_faults, append_with_small_files, open_log
from faults import SCALE, scratch
from victims import Fault, victim

from domicile.audit_verifier import verify
from domicile.errors import AuditUnavailable

KILLS = 200 * SCALE
KILLS_A_LOG = 20
CERTAIN = {"open", "fsync", "os.rename", "os.mkdir"}
"""What making a log and appending do to files, and what has to be seen to fail."""


def entries(home: Path) -> dict[str, tuple[int, str]]:
    """Of every record its place and its hash, after the verifier found the log intact."""
    found = verify(home / "audit")
    assert found.ok, found
    lines = [line for path in sorted((home / "audit").glob("*.log")) for line in path.read_bytes().splitlines()]
    assert len(lines) == found.entries
    records = [(line[:64].decode(), json.loads(line.split(b" ", 2)[2])) for line in lines]
    return {record["id"]: (record["seq"], digest) for digest, record in records}


def unfinished(home: Path) -> bool:
    """Whether a kill hit within an append."""
    head = json.loads((home / "audit" / "HEAD").read_bytes().split(b" ", 2)[2])
    newest = max((home / "audit").glob("*.log"), default=None)
    return (home / "state" / "audit.new").exists() or (
        newest is not None and (newest.name, newest.stat().st_size) != (head["file"], head["size"])
    )


def kill_writers(home: Path, rng: random.Random, writers: int) -> list[tuple[int, str, str]]:
    """Kill that many writers one after the other while they append; what they said was acknowledged."""
    said: list[tuple[int, str, str]] = []
    with ExitStack() as running:
        victims = [running.enter_context(victim(append_forever, home)) for _ in range(writers)]
        for process, connection in victims:
            said.append(connection.recv())
            time.sleep(rng.uniform(0, 0.004))
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            with contextlib.suppress(EOFError):
                while True:
                    said.append(connection.recv())
    return said


def test_kills_within_appends_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    rng, within = random.Random(5), 0
    for _ in range(KILLS // KILLS_A_LOG):
        with TemporaryDirectory(
            dir=tmp_path
        ) as folder:  # on the disk: there a flush takes time, in which a kill can hit
            home, said = Path(folder), list[tuple[int, str, str]]()
            for round_ in range(KILLS_A_LOG // 2):
                said += kill_writers(home, rng, writers=2 if round_ % 5 else 1)
                within += unfinished(home)
                if not round_ % 5:
                    said += kill_writers(home, rng, writers=1)
                    within += unfinished(home)
                record = open_log(home).append("answer", {})
                said.append((record.seq, record.id, record.hash))
                there = entries(home)
                assert all(there[identifier] == (seq, digest) for seq, identifier, digest in said)
            assert len(said) > KILLS_A_LOG
    assert within >= 0.05 * KILLS, "too few kills hit an append: the test proves nothing"


def test_without_a_kill_the_same_writers_leave_nothing_unfinished(tmp_path: Path) -> None:
    with scratch(tmp_path) as home:
        made = [open_log(home).append("answer", {"x": "x" * 900}) for _ in range(30)]
        assert not unfinished(home)
        assert entries(home) == {record.id: (record.seq, record.hash) for record in made}


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("records", [0, 1, 30], ids=["first append", "second append", "new file"])
def test_whichever_operation_fails_nothing_is_acknowledged_or_everything(
    tmp_path: Path, lasting: bool, records: int
) -> None:
    failed: Counter[str] = Counter()
    for at in range(1, 40):
        with scratch(tmp_path) as home:
            there = [open_log(home).append("answer", {}).id for _ in range(records)]
            if records > 1:  # the next one begins a file
                while (max((home / "audit").glob("*.log"))).stat().st_size < 8_000:
                    there.append(open_log(home).append("answer", {}).id)
            with victim(append_with_faults, home) as (_, connection):
                connection.send(Fault(at, lasting))
                said, hit = connection.recv()
                if not hit:
                    assert not said.startswith("refused")  # the control: nothing disturbed this one
                    break
                failed[hit] += 1
                assert not said.startswith("refused") or one_line(said), said
                there += [] if said.startswith("refused") else [said]
                connection.send(None)
                healed, _ = connection.recv()
                assert not healed.startswith("refused"), (hit, healed)
                there.append(healed)
            assert [*entries(home)] == there
    else:
        pytest.fail("there is always one more operation")
    assert failed.keys() >= CERTAIN - ({"os.mkdir"} if records else set())


def one_line(said: str) -> bool:
    return "\n" not in said and len(said) < 600


def test_a_file_that_may_not_grow_refuses_the_record_whole(tmp_path: Path) -> None:
    with victim(append_with_small_files, tmp_path) as (_, connection):
        said = []
        for limit in (1_000_000, 1_500, 1_700, 100, 1_600, 1_000_000, 3_000, 2_999, 1_000_000):
            connection.send(limit)
            said.append(connection.recv())
    refused = [one.startswith("refused") for one in said]
    assert refused == [False, True, True, True, True, False, False, True, False]
    assert all(map(one_line, said))
    assert [*entries(tmp_path)] == [one for one in said if not one.startswith("refused")]


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(
            f"no small disk can be mounted here ({mounted.stderr.decode().strip()}); file limits are tested above"
        )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_a_full_and_a_read_only_disk_refuse_and_room_heals(tmp_path: Path) -> None:
    home = tmp_path / "disk"
    with small_disk(home):
        log = open_log(home)
        first = log.append("egress", {})
        ballast = home / "ballast"
        with contextlib.suppress(OSError):
            ballast.write_bytes(bytes(1 << 20))
        with pytest.raises(AuditUnavailable, match="disk is full"):
            log.append("egress", {"x": "x" * 8_000})
        assert "disk is full" in str(log.trouble())
        ballast.unlink()
        second = log.append("egress", {"x": "x" * 8_000})
        subprocess.run(["mount", "-o", "remount,ro", home], check=True)
        for asked in (log, open_log(home)):
            with pytest.raises(AuditUnavailable, match="read-only"):
                asked.append("egress", {})
            assert asked.find(second.id) == second
        subprocess.run(["mount", "-o", "remount,rw", home], check=True)
        third = log.append("egress", {})
        assert log.trouble() is None
        assert [*entries(home)] == [first.id, second.id, third.id]
