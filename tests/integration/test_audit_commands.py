"""``domicile audit`` and ``domicile receipts``: intact, damaged, taken along to another machine."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from domicile import cli
from domicile.adapters.audit import FileAuditLog

DAY = datetime(2026, 10, 1, 12, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Ten days with a start, two egress records and two answers each; the policy changes on the sixth."""
    now = DAY
    log = FileAuditLog(
        tmp_path / "home" / "audit", tmp_path / "home" / "state", lambda: now, secrets.token_hex, file_bytes=6_000
    )
    for day in range(10):
        now = DAY + timedelta(days=day)
        log.append("start", {"version": "1", "policy": {"version": "old" if day < 5 else "new", "sinks": []}})
        for _ in range(2):
            label = {"sensitivity": "internal" if day % 2 else "public"}
            sent = log.append("egress", {"sink": "acme-eu", "body_bytes": 100, "label": label})
            decision = {"route": "hosted", "sink": "acme-eu", "denied": [{"sink": "acme-us", "reasons": ["region"]}]}
            log.append("answer", {"label": label, "decision": decision, "degraded": None, "egress": [sent.id]})
    log.append("answer", {})  # a record from another version has other fields
    return tmp_path / "home"


def run(capsys: pytest.CaptureFixture[str], home: Path, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    code = cli.main(["--home", str(home), "--json", *map(str, arguments)])
    return code, json.loads(capsys.readouterr().out)


def newest(home: Path) -> Path:
    return max((home / "audit").glob("*.log"))


def test_a_home_without_a_log_is_intact_and_stays_without(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, found = run(capsys, tmp_path / "none", "audit", "verify")
    assert (code, found["ok"], found["entries"]) == (0, True, 0)
    assert not (tmp_path / "none").exists()


def test_verify_says_what_is_there_and_what_is_damaged(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    code, found = run(capsys, home, "audit", "verify")
    assert (code, found["ok"], found["entries"]) == (0, True, 51)
    assert run(capsys, home, "audit", "verify", "--key", found["key"], "--head", found["head"])[0] == 0
    assert run(capsys, home, "audit", "verify", "--key", "0" * 64)[0] == 6
    assert run(capsys, home, "audit", "verify", "--head", "0" * 64)[0] == 6
    path = newest(home)
    whole = path.read_bytes()
    path.write_bytes(whole[:-2] + b" }\n")
    code, damaged = run(capsys, home, "audit", "verify")
    assert (code, damaged["ok"], damaged["entries"]) == (6, False, 50)
    assert damaged["error"] == {
        "type": "AuditDamaged", "file": path.name, "entry": 51,
        "message": f"audit/{path.name}, entry 51: the bytes do not have this hash",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["HEAD", "key.pub"])
def test_a_file_of_the_log_that_was_taken_away_is_damage(
    capsys: pytest.CaptureFixture[str], home: Path, name: str
) -> None:
    assert run(capsys, home, "audit", "verify")[0] == 0
    (home / "audit" / name).unlink()
    code, found = run(capsys, home, "audit", "verify")
    assert (code, found["ok"]) == (6, False)
    assert found["error"]["file"] == name


def test_a_log_that_was_taken_away_is_damage(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    """The private key tells that there was one."""
    shutil.rmtree(home / "audit")
    assert run(capsys, home, "audit", "verify")[0] == 6


def test_a_receipt_is_shown_and_verified_with_the_log_and_without(
    capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path
) -> None:
    line = newest(home).read_bytes().splitlines()[-2]
    record = json.loads(line.split(b" ", 2)[2])
    code, shown = run(capsys, home, "receipts", "show", record["id"])
    assert code == 0
    assert shown["record"] == record
    assert shown["line"].encode() == line
    code, found = run(capsys, home, "receipts", "verify", record["id"])
    assert (code, found["ok"], found["checks"]) == (0, True, {"hash": True, "signature": True, "log": True})
    file = tmp_path / "receipt.json"
    file.write_text(json.dumps(shown))
    code, found = run(capsys, tmp_path / "elsewhere", "receipts", "verify", "--file", file, "--key", shown["key"])
    assert (code, found["checks"]["log"]) == (0, None)
    assert run(capsys, tmp_path, "receipts", "verify", "--file", file, "--key", "0" * 64)[0] == 6
    for field, other in (("at", "2026"), ("line", shown["line"].upper()), ("record", {}), ("key", "x"), ("seq", 1)):
        file.write_text(json.dumps(shown | {field: other}))
        code, found = run(capsys, tmp_path, "receipts", "verify", "--file", file)
        assert (code, found["ok"], found["error"]["type"]) == (6, False, "AuditDamaged"), field


def test_a_receipt_of_a_damaged_log_is_not_verified(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    path = newest(home)
    identifier = json.loads(path.read_bytes().splitlines()[-1].split(b" ", 2)[2])["id"]
    assert run(capsys, home, "receipts", "verify", "r_" + "0" * 31)[0] == 2
    first = home / "audit" / "000000000001.log"
    first.write_bytes(first.read_bytes().replace(b"old", b"OLD", 1))
    code, found = run(capsys, home, "receipts", "verify", identifier)
    assert (code, found["error"]["entry"]) == (6, 1)
    path.write_bytes(path.read_bytes()[:-2] + b" }\n")
    code, found = run(capsys, home, "receipts", "verify", identifier)
    assert (code, found["ok"]) == (6, False)


def test_an_evidence_pack_holds_the_period_and_verifies_alone(
    capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "pack"
    period = ("--from", "2026-10-05", "--to", "2026-10-07")
    code, summary = run(capsys, home, "audit", "export", *period, "--out", out)
    assert (code, summary["entries"]) == (0, 15)
    assert (summary["first"]["seq"], summary["last"]["seq"]) == (21, 35)
    assert summary["counts"]["kind"] == {"start": 3, "egress": 6, "answer": 6}
    assert summary["counts"]["answers"] == {
        "route": {"hosted": 6}, "sink": {"acme-eu": 6}, "sensitivity": {"public": 4, "internal": 2},
        "denied": {"region": 6}, "degraded": {"none": 6},
    }  # fmt: skip
    assert summary["counts"]["egress"]["bytes"] == 600
    log = b"".join(path.read_bytes() for path in sorted((home / "audit").glob("*.log")))
    part = b"".join(path.read_bytes() for path in sorted((out / "audit").glob("*.log")))
    assert part
    assert part in log
    held = json.loads((out / "policy.json").read_text())["held"]
    assert [receipt["record"]["policy"]["version"] for receipt in held] == ["old", "new"]
    assert summary["key"] in (out / "README.txt").read_text()
    for sample in (out / "samples").iterdir():
        assert run(capsys, tmp_path, "receipts", "verify", "--file", sample)[0] == 0

    def alone() -> int:
        call = [sys.executable, "-I", out / "audit_verifier.py", out / "audit", "--part", "--key", summary["key"]]
        return subprocess.run(call, check=False, capture_output=True).returncode

    assert alone() == 0
    (max((out / "audit").glob("*.log"))).write_bytes(part[-200:])
    assert alone() == 6
    assert run(capsys, home, "audit", "export", *period, "--out", out)[0] == 2  # never over what is there


@pytest.mark.parametrize("period", [("2026-10-07", "2026-10-05"), ("yesterday", "2026-10-05")])
def test_a_period_that_is_none_is_refused(
    capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path, period: tuple[str, str]
) -> None:
    code, _ = run(capsys, home, "audit", "export", "--from", period[0], "--to", period[1], "--out", tmp_path / "x")
    assert code == 2
    assert not (tmp_path / "x").exists()


def test_a_period_without_records_and_a_damaged_log(
    capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path
) -> None:
    empty, out = ("--from", "2020-01-01", "--to", "2020-01-02"), tmp_path / "x"
    code, summary = run(capsys, home, "audit", "export", *empty, "--out", tmp_path / "empty")
    assert (code, summary["entries"], summary["first"]) == (0, 0, None)
    (home / "audit" / "note.txt").write_text("x")
    assert run(capsys, home, "audit", "export", *empty, "--out", out)[0] == 6
    assert not out.exists()
