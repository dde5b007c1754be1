"""Where documents come from: names are data, nothing outside is read, and the unreadable is not taken for deleted."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from domicile.errors import DocumentError, UsageError
from domicile_ingest.parsing import parse
from domicile_ingest.sources import Failure, Item, open_source

MAX_BYTES = 1_000_000


def items(place: Path, max_bytes: int = MAX_BYTES) -> dict[str, Item]:
    return {found.uri: found for found in open_source(place, max_bytes) if isinstance(found, Item)}


def failures(place: Path, max_bytes: int = MAX_BYTES) -> list[tuple[str, str, str | None]]:
    return [(f.document, f.kind, f.hides) for f in open_source(place, max_bytes) if isinstance(f, Failure)]


def text_of(item: Item) -> str:
    return item.parse(parse).text


def rows(*documents: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in documents)


def test_a_file_in_a_folder_is_known_by_its_relative_path(tmp_path: Path) -> None:
    for name in (
        "a.txt",
        "sub/deep/ü #1 100%.txt",
        "sub/e\u0301.txt",
        "sub/\u00e9.txt",
        "نیم\u200cفاصله.txt",
        "a\u00a0b.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    found = items(tmp_path)
    assert set(found) == {
        "a.txt",
        "sub/deep/ü #1 100%.txt",
        "sub/e\u0301.txt",
        "sub/\u00e9.txt",
        "نیم\u200cفاصله.txt",
        "a\u00a0b.txt",
    }
    assert text_of(found["sub/e\u0301.txt"]) == "text of sub/e\u0301.txt"
    assert list(found) == sorted(found)


def test_a_single_file_is_known_by_its_name_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("pump")
    (tmp_path / "link.txt").symlink_to("real/a.txt")
    assert list(items(tmp_path / "real" / "a.txt")) == ["a.txt"]
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "current.txt").symlink_to("../real/a.txt")
    assert text_of(items(tmp_path / "here" / "current.txt")["current.txt"]) == "pump"


def test_rows_are_known_by_their_id_alone_or_behind_the_name_of_their_file(tmp_path: Path) -> None:
    data = rows({"_id": "r1", "title": "Pumps", "text": "pump"}, {"_id": 2, "text": "valve"})
    (tmp_path / "corpus.jsonl").write_bytes(data)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "more.jsonl.gz").write_bytes(gzip.compress(data))
    assert list(items(tmp_path / "corpus.jsonl")) == ["r1", "2"]
    assert list(items(tmp_path / "sub" / "more.jsonl.gz")) == ["r1", "2"]
    assert list(items(tmp_path)) == ["corpus.jsonl#r1", "corpus.jsonl#2", "sub/more.jsonl.gz#r1", "sub/more.jsonl.gz#2"]
    parsed = items(tmp_path / "corpus.jsonl")["r1"].parse(parse)
    assert (parsed.title, parsed.text) == ("Pumps", "pump")


def test_the_text_of_a_row_leaves_its_title_out_and_its_label_in(tmp_path: Path) -> None:
    label = {"groups": ["hr"]}
    (tmp_path / "c.jsonl").write_bytes(
        rows(
            {"_id": "a", "title": "T", "text": "x", "metadata": {"label": label}},
            {"_id": "b", "text": "x", "metadata": {"label": "hr"}},
            {"_id": "c", "text": "x", "metadata": None},
            {"_id": "d", "title": 7, "text": "x", "metadata": {"label": {}}},
        )
    )
    found = {uri: item.parse(parse) for uri, item in items(tmp_path / "c.jsonl").items()}
    assert found["a"].label == label
    assert found["b"].label == {"malformed": "label is not a table"}
    assert found["c"].label is None
    assert (found["d"].label, found["d"].title) == ({}, "")


@pytest.mark.parametrize("row", [
    b"{", b"[]", b"3", b"null", b'"text"', b'{"text": "x"}', b'{"_id": "a"}', b'{"_id": "a", "text": 3}',
    b'{"_id": null, "text": "x"}',
    b'{"_id": true, "text": "x"}', b'{"_id": "", "text": "x"}', b'{"_id": 1.5, "text": "x"}',
    b'{"_id": "a\\nb", "text": "x"}',
    b'{"_id": "\\ud800", "text": "x"}', b'{"_id": "../a", "text": "x"}', b'{"_id": "a", "text": "\xff"}',
    b"[" * 100_000, b"\x00",
    b'{"_id": ' + b"9" * 5000 + b', "text": "x"}', b'{"_id": "' + b"x" * 2000 + b'", "text": "x"}',
])  # fmt: skip
def test_a_broken_row_fails_alone_and_hides_what_it_may_have_been(tmp_path: Path, row: bytes) -> None:
    (tmp_path / "c.jsonl").write_bytes(
        rows({"_id": "one", "text": "x"}) + row + b"\n\n" + rows({"_id": "two", "text": "x"})
    )
    assert list(items(tmp_path / "c.jsonl")) == ["one", "two"]
    [(document, _, hides)] = failures(tmp_path / "c.jsonl")
    assert (document, hides) == ("c.jsonl:2", "")
    [(document, _, hides)] = failures(tmp_path)
    assert (document, hides) == ("c.jsonl:2", "c.jsonl#")


def test_the_second_of_two_documents_with_one_uri_fails(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_bytes(rows({"_id": "a", "text": "first"}, {"_id": "a", "text": "second"}))
    assert text_of(items(tmp_path / "c.jsonl")["a"]) == "first"
    assert failures(tmp_path / "c.jsonl") == [("a", "duplicate", None)]
    (tmp_path / "c.jsonl#a").write_text("a file that is named like a row")
    assert [(document, kind) for document, kind, _ in failures(tmp_path)] == [("c.jsonl#a", "duplicate")] * 2


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def corrupted(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes(64) + data[len(data) // 2 + 64 :]


@pytest.mark.parametrize("broken", [truncated, corrupted, lambda data: b"no gzip " + data])
def test_a_broken_gzip_hides_the_rows_it_no_longer_reaches(tmp_path: Path, broken: object) -> None:
    assert callable(broken)
    data = gzip.compress(rows(*({"_id": f"r{i}", "text": os.urandom(40).hex()} for i in range(2000))))
    (tmp_path / "c.jsonl.gz").write_bytes(data)
    assert len(items(tmp_path)) == len(open_source(tmp_path, MAX_BYTES)) == 2000  # the control
    (tmp_path / "c.jsonl.gz").write_bytes(broken(data))
    assert len(items(tmp_path)) < 2000
    assert len(open_source(tmp_path, MAX_BYTES)) >= 1
    assert ("c.jsonl.gz", "broken", "c.jsonl.gz#") in failures(tmp_path)
    assert ("c.jsonl.gz", "broken", "") in failures(tmp_path / "c.jsonl.gz")


@pytest.mark.parametrize(("name", "content", "kind"), [
    ("empty.txt", b"", "empty"), ("blank.md", b" \n\t\n", "empty"), ("binary.txt", b"\x89PNG\r\n\x1a\n" + bytes(100),
    "binary"),
    ("large.txt", b"x" * 2_001, "too_large"), ("new\nline.txt", b"x", "name"), ("bad\udcff.txt", b"x", "name"),
    ("turn\u202etxt.exe", b"x", "name"),
])  # fmt: skip
def test_a_file_that_cannot_be_a_document_fails_with_its_kind(
    tmp_path: Path, name: str, content: bytes, kind: str
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "good.txt").write_bytes(b"pump")
    kinds = []
    for found in open_source(tmp_path, 2_000):
        if isinstance(found, Failure):
            assert found.document.isprintable()
            kinds.append(found.kind)
        elif found.uri != "good.txt":
            with pytest.raises(DocumentError) as failed:
                found.parse(parse)
            kinds.append(failed.value.kind)
    assert kinds == [kind]


def test_hidden_files_and_folders_are_no_documents(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for name in (".git/config", ".hidden.txt", "seen.txt"):
        (tmp_path / name).write_text("x")
    assert list(items(tmp_path)) == ["seen.txt"]
    assert failures(tmp_path) == []


def test_a_pipe_is_refused_and_never_opened(tmp_path: Path) -> None:
    for name in ("a.txt", "b.jsonl", "c.jsonl.gz"):
        os.mkfifo(tmp_path / name)
    found: list[object] = []

    def look() -> None:
        found.append((len(open_source(tmp_path, MAX_BYTES)), failures(tmp_path)))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive(), "a pipe was opened"
    assert found == [
        (
            3,
            [
                ("a.txt", "unreadable", "a.txt!/"),
                ("b.jsonl", "unreadable", "b.jsonl#"),
                ("c.jsonl.gz", "unreadable", "c.jsonl.gz#"),
            ],
        )
    ]
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        open_source(tmp_path / "a.txt", MAX_BYTES)


def test_a_link_out_of_the_source_is_not_followed_and_one_within_is(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "s.txt").write_text("secret")
    (tmp_path / "secret" / "s.jsonl").write_bytes(rows({"_id": "s", "text": "secret"}))
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "a.txt").write_text("pump")
    (source / "inside.txt").symlink_to("sub/a.txt")
    (source / "out.txt").symlink_to("../secret/s.txt")
    (source / "out.jsonl").symlink_to("../secret/s.jsonl")
    (source / "folder").symlink_to("../secret")
    (source / "dangling.txt").symlink_to("nowhere")
    (source / "round").symlink_to(".")
    assert list(items(source)) == ["inside.txt", "sub/a.txt"]
    assert sorted((document, hides) for document, _, hides in failures(source)) == [
        ("dangling.txt", "dangling.txt!/"), ("folder", "folder/"), ("out.jsonl", "out.jsonl#"), ("out.txt", "out.txt!/"),
        ("round", "round/")]  # fmt: skip


def test_a_file_that_changes_while_it_is_read_fails(tmp_path: Path) -> None:
    """A writer appends for as long as the reader reads."""
    path = tmp_path / "log.txt"
    path.write_bytes(b"x")
    os.truncate(path, 64_000_000)  # reading takes far longer than the writer needs
    stop = threading.Event()

    def write_on() -> None:
        with path.open("ab", buffering=0) as stream:
            while not stop.is_set():
                stream.write(b"y")

    thread = threading.Thread(target=write_on)
    thread.start()
    try:
        seen = {kind for _ in range(3) for _, kind, _ in failures(tmp_path, 10**9)}
    finally:
        stop.set()
        thread.join()
    assert seen == {"changing"}
    assert failures(tmp_path, 10**9) == []  # the control


def test_rows_of_a_file_that_changes_while_it_is_read_are_not_taken_for_all(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(rows(*({"_id": f"r{i}", "text": "x"} for i in range(9))))
    found = []
    for item in open_source(tmp_path, MAX_BYTES):
        if not found:
            path.write_bytes(rows({"_id": "other", "text": "x"}))
        found.append(item)
    assert isinstance(found[-1], Failure)
    assert (found[-1].kind, found[-1].hides) == ("changing", "c.jsonl#")


def test_a_folder_that_vanishes_under_the_walk_hides_what_lay_in_it(tmp_path: Path) -> None:
    """As an unreadable one does; this way it also happens to root."""
    script = f"""
import os, sys
os.makedirs({str(tmp_path)!r} + "/s/closed/deep"); os.makedirs({str(tmp_path)!r} + "/s/open")
for name in ("closed/a.txt", "closed/deep/b.txt", "open/c.txt"):
    open({str(tmp_path)!r} + "/s/" + name, "w").write("x")
from pathlib import Path
from domicile_ingest.sources import Failure, open_source
os.chmod({str(tmp_path)!r} + "/s/closed", 0)
os.chown({str(tmp_path)!r} + "/s", 65534, 65534)
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    os.listdir({str(tmp_path)!r} + "/s/closed")
except PermissionError:
    print("landed")
source = open_source(Path({str(tmp_path)!r}) / "s", 1000)
print([f.hides for f in source if isinstance(f, Failure)], source.files)
"""
    for folder in (tmp_path, *tmp_path.parents):  # nobody must be able to come this far
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd="/")
    (tmp_path / "s" / "closed").chmod(0o700)
    assert done.stdout.splitlines() == ["landed", "['closed/'] ('open/c.txt',)"], done.stderr


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for name in ("nothing", "x" * 300, "nothing/deeper"):
        with pytest.raises(UsageError, match="SOURCE"):
            open_source(tmp_path / name, MAX_BYTES)


def test_sidecars_are_never_documents(tmp_path: Path) -> None:
    for name in ("a.md", "a.md.label.toml", "orphan.md.label.toml"):
        (tmp_path / name).write_text("")
    source = open_source(tmp_path, MAX_BYTES)
    assert source.files == ("a.md",)
    assert set(source.sidecars) == {"a.md", "orphan.md"}
    single = open_source(tmp_path / "a.md", MAX_BYTES)
    assert single.sidecars == {"a.md": tmp_path / "a.md.label.toml"}
    (tmp_path / "a.md.label.toml").unlink()
    (tmp_path / "a.md.label.toml").symlink_to("nowhere")
    assert set(open_source(tmp_path / "a.md", MAX_BYTES).sidecars) == {"a.md"}


def test_a_compressed_file_that_expands_without_measure_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress(rows({"_id": 1, "text": "pump"}) + b" " * 20_000_000 + b"\n"))
    assert failures(path) == [("c.jsonl.gz", "too_large", "")]
    assert set(items(path)) == {"1"}
    path.write_bytes(gzip.compress(rows({"_id": 1, "text": "pump"}) + b" " * 10_000_000 + b"\n"))
    assert failures(path) == []


def test_only_the_files_that_hold_what_is_wanted_are_opened_again(tmp_path: Path) -> None:
    (tmp_path / "C#").mkdir()
    (tmp_path / "C#" / "r.jsonl").write_bytes(rows({"_id": 1, "text": "pump"}, {"_id": 2, "text": "valve"}))
    (tmp_path / "broken.jsonl").write_text("{")
    source = open_source(tmp_path, MAX_BYTES)
    assert [found.uri for found in source.read({"C#/r.jsonl#2": None}) if isinstance(found, Item)] == ["C#/r.jsonl#2"]
    assert [type(found) for found in source.read({"broken.jsonl#1": None})] == [Failure]
    assert list(source.read({})) == []
