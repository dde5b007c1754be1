"""The verifier against ten thousand changes of a log: it finds every one, and nothing where nothing was changed."""

from __future__ import annotations

import json
import random
import secrets
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from faults import SCALE, scratch

from domicile import audit_verifier
from domicile.adapters.audit import FileAuditLog
from domicile.adapters.audit_lines import Head, Seal
from domicile.audit_verifier import GENESIS, Verdict, verify

MUTATIONS = 10_000 * SCALE
Files = dict[str, bytes]


def write_log(home: Path, records: int = 8, file_bytes: int = 1_000) -> FileAuditLog:
    log = FileAuditLog(
        home / "audit", home / "state", lambda: datetime.now(UTC), secrets.token_hex, file_bytes=file_bytes
    )
    for number in range(records):
        log.append(("egress", "answer")[number % 2], {"number": number, "label": {"regions": ["eu"]}, "x": "a" * 40})
    return log


def flip_a_bit(files: Files, rng: random.Random) -> str:
    name = rng.choice(sorted(files))
    at = rng.randrange(len(files[name]))
    files[name] = changed(files[name], at, bytes([files[name][at] ^ 1 << rng.randrange(8)]))
    return name


def flip_a_case(files: Files, rng: random.Random) -> str:
    name = rng.choice(sorted(files))
    letters = [at for at, byte in enumerate(files[name]) if bytes([byte]).isalpha()]
    at = rng.choice(letters)
    files[name] = changed(files[name], at, bytes([files[name][at] ^ 32]))
    return name


def insert(files: Files, rng: random.Random) -> str:
    name = rng.choice(sorted(files))
    at = rng.randrange(len(files[name]) + 1)
    new = rng.choice([b" ", b"\n", b"0", b"\0", b"\r", b"{}", rng.randbytes(rng.randint(1, 40))])
    files[name] = files[name][:at] + new + files[name][at:]
    return name


def delete(files: Files, rng: random.Random) -> str:
    name = rng.choice(sorted(files))
    at = rng.randrange(len(files[name]))
    files[name] = files[name][:at] + files[name][at + rng.randint(1, 60) :]
    return name


def truncate(files: Files, rng: random.Random) -> str:
    name = rng.choice(sorted(files))
    files[name] = files[name][: rng.randrange(len(files[name]))]
    return name


def move_lines(files: Files, rng: random.Random) -> str:
    """Swap, double or remove lines, within a file or between two."""
    one, other = rng.choices([name for name in sorted(files) if name.endswith(".log")], k=2)
    lines, others = files[one].splitlines(keepends=True), files[other].splitlines(keepends=True)
    at, to = rng.randrange(len(lines)), rng.randrange(len(others))
    match rng.randrange(3):
        case 0:
            del lines[at]
            files[one] = b"".join(lines)
        case 1:
            others.insert(to, lines[at])
            files[other] = b"".join(others)
        case _:
            here, there = lines[at], others[to]
            files[one] = b"".join([*lines[:at], there, *lines[at + 1 :]])
            others = files[other].splitlines(keepends=True)
            files[other] = b"".join([*others[:to], here, *others[to + 1 :]])
    return ""


def move_files(files: Files, rng: random.Random) -> str:
    """Swap, rename, copy or remove files."""
    one, other = rng.sample(sorted(files), 2)
    spare = rng.choice(["000000000099.log", "HEAD2", ".HEAD", "head", "1.log", "000000000002.log"])
    match rng.randrange(4):
        case 0:
            files[one], files[other] = files[other], files[one]
        case 1:
            files[spare] = files.pop(one)
        case 2:
            files[spare] = files[one]
        case _:
            del files[one]
    return ""


def add_a_file(files: Files, rng: random.Random) -> str:
    last = max(name for name in files if name.endswith(".log"))
    following = f"{int(last[:12]) + len(files[last].splitlines()):012d}.log"
    files[rng.choice(["x", "note.txt", "KEY.PUB", following, "000000000000.log"])] = rng.choice(
        [b"", b"x", rng.randbytes(30), files[last]]
    )
    return ""


def replace_a_file(files: Files, rng: random.Random) -> str:
    name = rng.choice(["HEAD", "key.pub", *files])
    new = rng.choice([b"", b"\n", rng.randbytes(64), rng.randbytes(32).hex().encode() + b"\n", bytes(len(files[name]))])
    files[name] = new
    return name


def changed(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + 1 :]


CHANGES: list[Callable[[Files, random.Random], str]] = [
    flip_a_bit, flip_a_bit, flip_a_case, insert, delete, truncate, move_lines, move_files, add_a_file, replace_a_file,
]  # fmt: skip


def test_ten_thousand_changes_are_all_found(tmp_path: Path) -> None:
    rng, tried = random.Random(17), Counter[str]()
    with scratch(tmp_path) as home:
        write_log(home)
        folder = home / "audit"
        original = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert len(original) >= 5
        while sum(tried.values()) < MUTATIONS:
            files = dict(original)
            change = rng.choice(CHANGES)
            name = change(files, rng)
            if files == original:
                continue
            tried[change.__name__] += 1
            put(folder, original, files)
            found = verify(folder)
            assert not found.ok, (change, name)
            assert found.reason
            if change is flip_a_bit and name.endswith(".log"):
                assert (found.file, found.entry) == (name, first_difference(original, files, name))
            put(folder, files, original)
        assert verify(folder) == Verdict(
            True, 8, found_head(original), original["key.pub"][:64].decode()
        )  # the control
    assert min(tried.values()) >= MUTATIONS // 20


def put(folder: Path, now: Files, wanted: Files) -> None:
    for name in now.keys() - wanted.keys():
        (folder / name).unlink()
    for name, data in wanted.items():
        if now.get(name) != data:
            (folder / name).write_bytes(data)


def first_difference(original: Files, files: Files, name: str) -> int:
    pairs = zip(original[name], files[name], strict=True)  # a bit was flipped: the length is the same
    at = next(at for at, (before, after) in enumerate(pairs) if before != after)
    return int(name[:12]) + original[name][:at].count(b"\n")


def found_head(files: Files) -> str:
    head: str = json.loads(files["HEAD"].split(b" ", 2)[2])["hash"]
    return head


def test_no_folder_and_an_empty_one_are_a_log_without_entries(tmp_path: Path) -> None:
    assert verify(tmp_path / "audit") == Verdict(True)
    (tmp_path / "audit").mkdir()
    assert verify(tmp_path / "audit") == Verdict(True, 0, GENESIS)
    assert not verify(tmp_path / "audit", key="0" * 64).ok
    assert not verify(tmp_path / "audit", anchors=["0" * 64]).ok


def test_a_whole_other_log_is_told_by_its_key(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_log(tmp_path / name, 3)
    key = (tmp_path / "one" / "audit" / "key.pub").read_text().strip()
    assert verify(tmp_path / "one" / "audit", key).ok
    assert verify(tmp_path / "other" / "audit").ok
    assert not verify(tmp_path / "other" / "audit", key).ok


def test_a_log_set_back_as_a_whole_is_told_by_an_anchor(tmp_path: Path) -> None:
    """An older copy of log and head is a log: only who noted a later head can tell."""
    log = write_log(tmp_path, 3)
    shutil.copytree(tmp_path / "audit", tmp_path / "older")
    anchors = [log.append("answer", {}).hash, log.append("answer", {}).hash]
    assert verify(tmp_path / "audit", anchors=anchors).ok
    assert verify(tmp_path / "older").ok
    assert not verify(tmp_path / "older", anchors=anchors[:1]).ok


@pytest.mark.parametrize(
    ("field", "other"), [("seq", 3), ("prev", GENESIS), ("at", "2020-01-01T00:00:00.000+00:00"), ("at", None)]
)
def test_entries_that_the_key_signed_out_of_order_are_damage(tmp_path: Path, field: str, other: object) -> None:
    """Who has the private key can sign anything, yet not what contradicts the entry before."""
    write_log(tmp_path, 2, file_bytes=10_000)
    seal = Seal.of_pem((tmp_path / "state" / "audit.key").read_bytes())
    path = tmp_path / "audit" / "000000000001.log"
    first, second = path.read_bytes().splitlines(keepends=True)
    fields = json.loads(second.split(b" ", 2)[2])

    def forge(**changes: object) -> Verdict:
        raw, digest, _ = seal.line(json.dumps(fields | changes), "record")
        path.write_bytes(first + raw)
        head = Head(2, digest, path.name, len(first + raw))
        (tmp_path / "audit" / "HEAD").write_bytes(head.raw(seal))
        return verify(tmp_path / "audit")

    assert forge(note="the control").ok
    found = forge(**{field: other})
    assert (found.ok, found.entry) == (False, 2)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("HEAD")], ids=["folder", "link"])
def test_what_is_no_file_is_damage(tmp_path: Path, make: Callable[[Path], None]) -> None:
    write_log(tmp_path, 2)
    make(tmp_path / "audit" / "000000000003.log")
    assert verify(tmp_path / "audit").file == "000000000003.log"


def test_it_runs_alone(tmp_path: Path) -> None:
    """A copy of the one file, without the product on its path; under 150 lines, as the guide says."""
    source = Path(audit_verifier.__file__).read_text()
    assert len(source.splitlines()) < 150
    assert "domicile." not in source.split("import", 1)[1]
    alone = tmp_path / "audit_verifier.py"
    alone.write_text(source)
    write_log(tmp_path, 5)

    def run(*flags: str) -> tuple[int, dict[str, object]]:
        call = [sys.executable, "-I", alone, tmp_path / "audit", "--json", *flags]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout)

    code, found = run()
    assert (code, found["ok"], found["entries"]) == (0, True, 5)
    assert run("--key", str(found["key"]), "--head", str(found["head"]))[0] == 0
    assert run("--key", "0" * 64)[0] == 6
    newest = max((tmp_path / "audit").glob("*.log"))
    newest.write_bytes(newest.read_bytes().replace(b'"number":4', b'"number":5'))
    code, found = run()
    assert (code, found["ok"], found["entries"], found["entry"]) == (6, False, 4, 5)
