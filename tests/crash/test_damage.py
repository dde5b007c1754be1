"""Damaged bytes are noticed before a native reader sees them, and the nearest older intact generation serves."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from corpora import COLLECTION, EMBEDDER, Shelf

from domicile.adapters.manifest import Manifest
from domicile.commands import generations
from domicile.domain import OWNER
from domicile.errors import IndexDamaged, NoIntactGeneration
from domicile.files import HashMemory, sha256_of

Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generation 2 has a segment, tombstones and a lexical folder of its own."""
    shelf = Shelf.at(tmp_path_factory.mktemp("built"))
    shelf.commit({"a": "pump one", "b": "valve", "c": "leave"})
    shelf.commit({"a": "pump two", "b": None})
    return shelf.root


@pytest.fixture
def shelf(tmp_path: Path, built: Path) -> Shelf:
    shutil.copytree(built, tmp_path / "collections")
    return Shelf.at(tmp_path)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[random.Random(1).randrange(len(data))] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zero_the_end(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


def delete(path: Path) -> None:
    path.unlink()


def swap(path: Path) -> None:
    """Put the file of generation 1 in its place, where there is one of this kind."""
    older = Path(str(path).replace("000002", "000001"))
    if not older.exists():
        older = next(folder for folder in path.parents if (folder / "CURRENT").exists()) / "lock"
    shutil.copy2(older, path.with_name("swapped"))
    path.with_name("swapped").replace(path)


FILES = {
    "manifest": "generations/000002.json",
    "vectors": "segments/000002/vectors.faiss",
    "chunks": "segments/000002/chunks.sqlite",
    "tombstones": "tombstones/000002-000001.bits",
    "lexical meta": "lexical/000002/meta.json",
    "lexical terms": "lexical/000002/*.term",
    "lexical deletions": "lexical/000002/*.del",
}


def find(shelf: Shelf, pattern: str) -> Path:
    """The file of generation 2 and not of generation 1."""
    older = {path.name for path in (shelf.folder / "lexical" / "000001").iterdir()}
    found = sorted(shelf.folder.glob(pattern))
    return next((path for path in found if path.name not in older), found[0])


def test_without_damage_the_newest_generation_serves(shelf: Shelf) -> None:
    reader = shelf.reader()
    assert (reader.generation("c"), reader.trouble("c")) == (2, None)
    for number in (1, 2):
        shelf.generations.check(shelf.generations.manifest(number), trust=False)
    assert all(find(shelf, pattern).is_file() for pattern in FILES.values())


@pytest.mark.parametrize("damage", [flip, truncate, zero_the_end, delete, swap])
@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_named_and_the_older_generation_serves(shelf: Shelf, kind: str, damage: Damage) -> None:
    path = find(shelf, FILES[kind])
    before = sha256_of(path)
    damage(path)
    assert not path.exists() or sha256_of(path) != before  # the fault landed
    reader = shelf.reader()
    assert reader.generation("c") == 1
    assert path.name in str(reader.trouble("c"))
    document = reader.pin("c", OWNER).document("a", None)
    assert document is not None
    assert document.text == "pump one"


@pytest.mark.parametrize("kind", FILES)
def test_the_next_run_heals_what_is_damaged(shelf: Shelf, kind: str) -> None:
    truncate(find(shelf, FILES[kind]))
    commit = shelf.commit({"a": "pump three"})
    assert (commit.generation, commit.previous) == (3, 1)
    healed = shelf.reader()
    assert (healed.generation("c"), healed.trouble("c")) == (3, None)


@pytest.mark.parametrize("content", [
    b"", b"2", b"two abc", b"\xff\xfe", b"2 \n" + b"0" * 64, b"0 " + b"0" * 64, b"1 " + b"0" * 64, b"3 " + b"0" * 64,
    b"-1 " + b"0" * 64, b"9999999 " + b"0" * 64, None,
])  # fmt: skip
def test_a_damaged_current_is_named_and_an_intact_generation_serves(shelf: Shelf, content: bytes | None) -> None:
    path = shelf.folder / "CURRENT"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    reader = shelf.reader()
    assert reader.generation("c") == (1 if content and content.startswith(b"1") else 2)
    assert "CURRENT" in str(reader.trouble("c"))
    assert shelf.commit({}).generation == reader.generation("c")  # a run without a change repairs it
    healed = shelf.reader()
    assert (healed.generation("c"), healed.trouble("c")) == (reader.generation("c"), None)
    assert shelf.commit({"z": "new"}).generation in (3, 4)


def test_a_flipped_bit_anywhere_in_current_and_manifest_is_noticed(shelf: Shelf) -> None:
    for path in (shelf.folder / "CURRENT", shelf.folder / "generations" / "000002.json"):
        intact = path.read_bytes()
        for byte in range(0, len(intact), 1 if path.name == "CURRENT" else 37):
            flipped = bytearray(intact)
            flipped[byte] ^= 1 << byte % 8
            path.write_bytes(flipped)
            _, trouble = shelf.generations.newest_intact()
            if path.name != "CURRENT" or bytes(flipped).split() != intact.split():
                assert path.name in str(trouble), byte
        path.write_bytes(intact)
    assert shelf.generations.newest_intact()[1] is None


def test_after_a_rollback_a_damaged_current_does_not_bring_the_newer_generation_back(shelf: Shelf) -> None:
    shelf.generations.rollback(1)
    (shelf.folder / "CURRENT").write_bytes(b"1 " + b"0" * 64)
    assert shelf.reader().generation("c") == 1


@pytest.mark.parametrize("content", [None, b"2 " + b"0" * 64, b"9 " + b"0" * 64, b"?"])
def test_verify_finds_a_damaged_current(
    shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    home = tmp_path / "home"
    shutil.copytree(shelf.root, home / "data" / "collections")
    command = ["verify", "--home", str(home), "--collection", "c", "--json"]
    assert generations.main(command) == 0  # the control
    current = home / "data" / "collections" / "c" / "CURRENT"
    current.unlink()
    if content is not None:
        current.write_bytes(content)
    capsys.readouterr()
    assert generations.main(command) == 6
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], "CURRENT" in said["reason"]) == (False, True)


def test_when_both_generations_are_damaged_nothing_serves(shelf: Shelf) -> None:
    flip(shelf.folder / "segments" / "000001" / "chunks.sqlite")  # both generations name it
    with pytest.raises(NoIntactGeneration, match=r"chunks\.sqlite"):
        shelf.reader().pin("c", OWNER)
    with pytest.raises(NoIntactGeneration), shelf.writer.change(COLLECTION, EMBEDDER):
        pass


def test_a_lost_manifest_keeps_its_number(shelf: Shelf) -> None:
    (shelf.folder / "generations" / "000002.json").unlink()
    assert shelf.reader().generation("c") == 1
    commit = shelf.commit({"z": "new"})
    assert (commit.generation, commit.previous) == (3, 1)


def test_a_file_that_nobody_hashed_is_refused_in_the_lexical_folder(shelf: Shelf) -> None:
    (shelf.folder / "lexical" / "000002" / "planted.idx").write_bytes(b"?")
    reader = shelf.reader()
    assert reader.generation("c") == 1
    assert "planted.idx" in str(reader.trouble("c"))


def test_a_manifest_of_an_earlier_version_says_what_to_do() -> None:
    with pytest.raises(IndexDamaged, match="earlier version: remove /home/c and ingest again"):
        Manifest.decode(b'{"format": 1, "sha256": "0"}', "/home/c/generations/000001.json")


def test_a_manifest_that_leaves_a_file_unhashed_is_refused(shelf: Shelf) -> None:
    folder = shelf.generations
    manifest = folder.manifest(2)
    for name in ("segments/000002/vectors.faiss", "segments/000002/chunks.sqlite", "tombstones/000002-000001.bits"):
        files = {key: entry for key, entry in manifest.files.items() if key != name}
        forged = manifest.model_copy(update={"files": files})
        folder.manifest_path(2).write_bytes(forged.encode())
        with pytest.raises(IndexDamaged, match="not a readable manifest"):
            folder.manifest(2)


def test_a_changed_file_is_noticed_although_its_hash_was_remembered(shelf: Shelf) -> None:
    assert shelf.reader().generation("c") == 2  # all hashes are remembered now
    path = shelf.folder / "segments" / "000002" / "chunks.sqlite"
    status = path.stat()
    flip(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as if nothing had been written
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert shelf.reader().generation("c") == 1


def test_remembered_hashes_are_shared_by_processes_and_survive_a_torn_memory(tmp_path: Path) -> None:
    path, memory = tmp_path / "file", tmp_path / "hashes.txt"
    path.write_bytes(b"x" * 1000)
    one, two = HashMemory(memory), HashMemory(memory)
    assert one.sha256(path) == sha256_of(path)
    assert list(two._known) == []
    two._read_on()
    assert list(two._known.values()) == [sha256_of(path)]
    memory.write_bytes(memory.read_bytes()[:-9] + b"\n\xff garbage\n1:2:3 abc\n")
    assert HashMemory(memory)._known == {}
    assert HashMemory(memory).sha256(path) == sha256_of(path)


def test_a_damaged_manifest_does_not_keep_the_next_run_from_starting(shelf: Shelf) -> None:
    flip(shelf.folder / "generations" / "000002.json")
    for kind in ("lexical/000003", "lexical/000003.draft", "segments/000003"):  # what a killed third run left
        (shelf.folder / kind).mkdir()
        (shelf.folder / kind / "half").write_bytes(b"?")
    (shelf.folder / "tombstones" / "000003-000001.bits").write_bytes(b"?")
    named = shelf.folder / "segments" / "000002" / "vectors.faiss"
    assert shelf.commit({"z": "new"}).generation == 3
    assert not (shelf.folder / "lexical" / "000003.draft").exists()
    assert named.exists()  # what the damaged manifest may have named is no leftover


def test_sweeping_leaves_every_retained_generation_intact(shelf: Shelf) -> None:
    pinned = shelf.reader().pin("c", OWNER)
    for text in ("x", "y"):
        shelf.commit({"a": text})
    shelf.generations.sweep()
    for number in (1, 2, 3, 4):
        shelf.generations.check(shelf.generations.manifest(number), trust=False)
    assert pinned.document("a", None) is not None
    assert not shelf.leftovers()
