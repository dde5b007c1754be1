"""What is kept, what is merged, what is collected, and what is erased for ever."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from corpora import ALL, COLLECTION, EMBEDDER, Shelf, put

from domicile.adapters.change import Policies
from domicile.adapters.compaction import Compaction, Size
from domicile.adapters.index_writer import LocalIndexWriter
from domicile.adapters.manifest import Counts
from domicile.adapters.snapshot import Snapshot
from domicile.bootstrap import Home
from domicile.commands.generations import main as generations_command
from domicile.domain import OWNER, Collection
from domicile.errors import IndexDamaged, UnknownCollection, UnknownDocument, UnknownGeneration
from domicile.files import HashMemory
from domicile.ports import NewChunk
from domicile.testing import HashEmbedder
from domicile.uris import erased_hash

MARK = "xyzzyplugh"
SMALL = Compaction(segment_rows=40, segments=3, worth=4)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    memory = "/dev/shm"
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Shelf.at(Path(folder))


def verify(shelf: Shelf) -> None:
    for number in shelf.generations.numbers():
        snapshot = Snapshot(shelf.folder, shelf.generations.manifest(number), COLLECTION)
        snapshot.verify()
        snapshot.close()


def keeping(shelf: Shelf, keep: int = 10, compaction: Compaction = SMALL) -> Shelf:
    cache = shelf.root.parent / "cache" / "vectors"
    return replace(shelf, writer=LocalIndexWriter(shelf.root, shelf.hashes, cache, keep, Policies(compaction)))


def everything(shelf: Shelf) -> bytes:
    """Every byte of the home."""
    return b"".join(path.read_bytes() for path in sorted(shelf.root.parent.rglob("*")) if path.is_file())


def all_found(shelf: Shelf) -> dict[str, list[str]]:
    """Every document, as each side of the index finds it."""
    index = shelf.reader().pin("c", OWNER)
    vector = EMBEDDER.embed(["pump"], "query")[0]
    sides = {
        "dense": [chunk.document for chunk in index.chunks([c.ref for c in index.dense(vector, 500, ALL)])],
        "lexical": [chunk.document for chunk in index.chunks([c.ref for c in index.lexical("pump", 500, ALL)])],
        "listed": list(index.states()),
    }
    return {side: sorted(found) for side, found in sides.items()}


# Compaction


@pytest.mark.parametrize(("sizes", "added", "chosen"), [
    ([], 10, set()),
    ([(1, 10, 10)], 3, set()),                                  # too little to be worth it
    ([(1, 19, 19)], 4, {1}),                                    # a delta of more than a tenth
    ([(1, 100, 100)], 50, set()),                               # large ones are left alone
    ([(1, 100, 60)], 0, {1}),                                   # but not when much of one is struck out
    ([(1, 100, 97)], 0, set()),
    ([(1, 100, 100), (2, 1, 1), (3, 1, 1)], 1, set()),          # three small ones side by side, with the new one
    ([(1, 100, 100), (2, 1, 1), (3, 1, 1), (4, 1, 1)], 1, {2, 3, 4}),
    ([(1, 100, 100), (2, 19, 19), (3, 1, 1), (4, 1, 1)], 1, {3, 4}),  # what is much larger than the rest stays
])  # fmt: skip
def test_the_policy(sizes: list[tuple[int, int, int]], added: int, chosen: set[int]) -> None:
    assert SMALL.choose([Size(*size) for size in sizes], added) == chosen


def test_segments_stay_few_whatever_happens_and_every_side_finds_the_same(shelf: Shelf) -> None:
    shelf = keeping(shelf)
    rng = random.Random(5)
    wanted: dict[str, str] = {}
    merged = 0
    for step in range(40):
        change: dict[str, str | None] = {
            f"d{rng.randrange(200)}": f"pump {step}\n\nvalve {i}" for i in range(rng.randrange(1, 9))
        }
        if wanted and rng.random() < 0.5:
            change |= dict.fromkeys(rng.sample(sorted(wanted), min(3, len(wanted))))
        shelf.commit(change)
        wanted = {uri: text for uri, text in (wanted | change).items() if text is not None}
        manifest = shelf.generations.newest_intact()[0]
        assert len([entry for entry in manifest.segments if 2 * entry.rows < SMALL.segment_rows]) <= SMALL.segments
        merged += len(manifest.segments) == 1
        found = all_found(shelf)
        assert found["listed"] == sorted(wanted)
        assert sorted(set(found["dense"])) == found["lexical"] == sorted(wanted)
        assert len(found["dense"]) == 2 * len(wanted)
    assert 0 < merged < 40
    assert not shelf.leftovers()
    verify(shelf)


def test_a_long_commit_is_several_segments_of_bounded_size(shelf: Shelf) -> None:
    shelf = keeping(shelf)
    shelf.commit({f"d{i}": f"pump {i}\n\nvalve" for i in range(100)})
    manifest = shelf.generations.newest_intact()[0]
    assert [entry.id for entry in manifest.segments] == ["000001", "000001-01", "000001-02", "000001-03", "000001-04"]
    assert {entry.rows for entry in manifest.segments} == {40}
    assert len(all_found(shelf)["lexical"]) == 100
    shelf.commit({"d99": None, "d0": "pump again"})
    assert len(all_found(shelf)["listed"]) == 99


def test_another_language_makes_the_words_anew_and_nothing_else(shelf: Shelf) -> None:
    shelf.commit({"a": "die Häuser", "b": "the pumps"})
    german = Collection("c", language="de")
    assert not shelf.reader().pin("c", OWNER).lexical("Haus", 5, ALL)
    with shelf.writer.change(german, EMBEDDER) as change:
        assert change.commit().generation == 2
    index = shelf.reader(german).pin("c", OWNER)
    assert [chunk.document for chunk in index.chunks([c.ref for c in index.lexical("Haus", 5, ALL)])] == ["a"]
    assert shelf.generations.manifest(2).segments == shelf.generations.manifest(1).segments


# Retention


def test_a_commit_keeps_so_many_generations(shelf: Shelf) -> None:
    shelf = keeping(shelf, keep=3)
    for step in range(8):
        shelf.commit({"a": f"pump {step}"})
    assert shelf.generations.numbers() == [6, 7, 8]
    assert not shelf.leftovers()
    for number in shelf.generations.numbers():
        shelf.generations.check(shelf.generations.manifest(number), trust=False)


def test_what_serves_and_what_stands_by_for_it_stay_after_a_rollback(shelf: Shelf) -> None:
    for step in range(6):
        shelf.commit({"a": f"pump {step}"})
    shelf.generations.rollback(3)
    assert shelf.writer.collect(COLLECTION, 2) == ([1, 4], [])
    assert shelf.generations.numbers() == [2, 3, 5, 6]
    assert shelf.reader().generation("c") == 3


def test_a_generation_in_use_is_not_collected_until_it_is_let_go(shelf: Shelf) -> None:
    shelf.commit({"a": "pump"})
    reader = shelf.reader()
    pinned = reader.pin("c", OWNER)
    for step in range(4):
        shelf.commit({"a": f"valve {step}"})
    assert shelf.writer.collect(COLLECTION, 1) == ([2, 3], [1])
    document = pinned.document("a", None)
    assert document is not None
    assert document.text == "pump"
    assert len(pinned.lexical("pump", 5, ALL)) == 1
    del pinned
    reader.refresh()
    assert shelf.writer.collect(COLLECTION, 1) == ([1], [])
    assert not shelf.leftovers()


def test_with_a_damaged_current_nothing_is_collected(shelf: Shelf) -> None:
    for step in range(4):
        shelf.commit({"a": f"pump {step}"})
    (shelf.folder / "CURRENT").write_text("?")
    assert shelf.writer.collect(COLLECTION, 1) == ([], [])
    assert shelf.generations.numbers() == [1, 2, 3, 4]


def test_there_is_nothing_to_collect_in_an_unknown_collection(shelf: Shelf) -> None:
    with pytest.raises(UnknownCollection):
        shelf.writer.collect(COLLECTION)


# Erasure


@pytest.fixture
def with_secret(shelf: Shelf) -> Shelf:
    """Two documents hold the secret: one serves, one was deleted already; older generations hold both."""
    shelf.commit({"a": f"pump {MARK}", "b": "pump", "mail.eml": "pump", f"mail.eml!/{MARK}": "pump"})
    shelf.commit({"old": f"pump old {MARK}", "c": "pump"})
    shelf.commit({"old": None, "b": "pump changed"})
    return shelf


def erase(shelf: Shelf, *uris: str) -> None:
    with shelf.writer.change(COLLECTION, None) as change:
        change.erase(uris)
        change.commit()


def test_before_an_erasure_the_bytes_are_there(with_secret: Shelf) -> None:
    assert MARK.encode() in everything(with_secret)
    assert "a" in all_found(with_secret)["lexical"]


def test_what_was_erased_is_in_no_file_any_more(with_secret: Shelf) -> None:
    erase(with_secret, "a", "old", "mail.eml")
    held = everything(with_secret)
    assert MARK.encode() not in held
    vector = EMBEDDER.embed([f"pump {MARK}"], "document")[0].astype(np.float16).tobytes()
    assert vector not in held
    assert all_found(with_secret) == {side: ["b", "c"] for side in ("dense", "lexical", "listed")}
    assert with_secret.generations.numbers() == [4]
    assert not with_secret.leftovers()
    verify(with_secret)
    with pytest.raises(UnknownGeneration):
        with_secret.generations.rollback(2)


def test_without_erasure_a_deletion_leaves_the_bytes_to_the_older_generations(with_secret: Shelf) -> None:
    with_secret.commit({"a": None, "mail.eml": None, f"mail.eml!/{MARK}": None})
    assert MARK.encode() in everything(with_secret)
    assert all_found(with_secret)["lexical"] == ["b", "c"]


def test_an_erased_document_is_known_by_its_hash_and_may_be_restored(with_secret: Shelf) -> None:
    erase(with_secret, "a")
    with with_secret.writer.change(COLLECTION, EMBEDDER) as change:
        assert len(change.erased) == 1
        change.restore("a")
        put(change, "a", "pump is back")
        change.commit()
    assert with_secret.generations.newest_intact()[0].erased == ()
    assert "a" in all_found(with_secret)["listed"]


def test_a_crash_before_the_older_generations_went_does_not_bring_them_back(with_secret: Shelf) -> None:
    kept = {path: path.read_bytes() for path in with_secret.folder.rglob("*") if path.is_file()}
    erase(with_secret, "a", "old", "mail.eml")
    for path, data in kept.items():  # as if the process had died right after the commit
        if path.name not in ("CURRENT", "lock"):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
    assert with_secret.generations.numbers() == [1, 2, 3, 4]
    with pytest.raises(UnknownGeneration, match="withdrawn"):
        with_secret.generations.rollback(3)
    with_secret.commit({})
    assert with_secret.generations.numbers() == [4]
    assert MARK.encode() not in b"".join(p.read_bytes() for p in with_secret.folder.glob("segments/*/chunks.sqlite"))


def test_a_reader_that_does_not_let_go_cannot_keep_what_was_erased(
    with_secret: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domicile.adapters import index_writer

    monkeypatch.setattr(index_writer, "RELEASE_SECONDS", 0.2)
    pinned = with_secret.reader().pin("c", OWNER)
    erase(with_secret, "a")
    assert with_secret.generations.numbers() == [4]
    assert pinned.generation == 3  # it still has what it opened, and nothing can open it any more


def test_what_nobody_holds_cannot_be_erased(with_secret: Shelf) -> None:
    with with_secret.writer.change(COLLECTION, None) as change, pytest.raises(UnknownDocument):
        change.erase(["nothing"])
    assert with_secret.generations.numbers() == [1, 2, 3]
    with pytest.raises(UnknownCollection), with_secret.writer.change(Collection("other"), None):
        pass


def test_verify_notices_sides_that_disagree_and_what_should_be_gone(shelf: Shelf) -> None:
    shelf.commit({"a": "pump", "b": "pump"})
    shelf.commit({"a": None})
    verify(shelf)  # the control
    honest = shelf.generations.manifest(2)
    ghost = honest.model_copy(update={"lexical": "lexical/000001", "counts": Counts(documents=1, chunks=2)})
    with pytest.raises(IndexDamaged):
        Snapshot(shelf.folder, ghost, COLLECTION)  # the counts alone tell
    swapped = shelf.folder / "tombstones" / "000002-000001.bits"
    swapped.write_bytes(bytes([0b10]))  # strikes out b instead of a: the counts are right
    with pytest.raises(IndexDamaged, match="2 passages are known to one side only"):
        Snapshot(shelf.folder, honest, COLLECTION).verify()
    erased = shelf.generations.manifest(1).model_copy(update={"erased": (erased_hash("b"),)})
    with pytest.raises(IndexDamaged, match="was erased"):
        Snapshot(shelf.folder, erased, COLLECTION).verify()


# Rebuild


def test_a_rebuild_by_another_embedder_replaces_everything_at_once(shelf: Shelf) -> None:
    shelf.commit({"a": "pump", "b": "valve"})
    other = HashEmbedder(name="other", fingerprint="other", dimensions=32)
    serving = shelf.reader()
    with shelf.writer.change(COLLECTION, other, rebuild=True) as change:
        for uri in change.states():
            document = change.document(uri)
            assert document is not None
            text = document.text
            chunks = [NewChunk((), None, 0, len(text), text, "", text)]
            change.put(document, "state", chunks, other.embed([text], "document"))
        assert serving.generation("c") == 1
        change.commit()
    index = shelf.reader().pin("c", OWNER)
    assert (index.generation, index.fingerprint, sorted(index.states())) == (2, "other", ["a", "b"])
    assert len(index.dense(other.embed(["pump"], "query")[0], 5, ALL)) == 2


def test_there_is_nothing_to_rebuild_in_an_unknown_collection(shelf: Shelf) -> None:
    with pytest.raises(UnknownCollection), shelf.writer.change(COLLECTION, EMBEDDER, rebuild=True):
        pass
    assert not shelf.folder.exists()


def test_a_rebuild_that_forgets_a_document_is_no_generation(shelf: Shelf) -> None:
    shelf.commit({"a": "pump", "b": "valve"})
    with shelf.writer.change(COLLECTION, EMBEDDER, rebuild=True) as change:
        put(change, "a", "pump")
        with pytest.raises(ValueError, match="not put again"):
            change.commit()
    assert shelf.reader().generation("c") == 1
    assert not shelf.leftovers()


# Known vectors


def test_vectors_are_known_from_the_index_also_of_what_was_deleted(shelf: Shelf) -> None:
    shelf.commit({"a": "pump", "b": "valve"})
    shelf.commit({"a": None})
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        known = change.known(["valve", "new", "pump"])
    assert set(known) == {0, 2}
    np.testing.assert_allclose(known[2], EMBEDDER.embed(["pump"], "document")[0], atol=1e-3)


def test_an_unfinished_change_is_remembered_until_a_commit(shelf: Shelf) -> None:
    vectors = EMBEDDER.embed(["pump", "valve"], "document")
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        change.remember(["pump", "valve"], vectors)
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        known = change.known(["valve", "pump", "other"])
        np.testing.assert_array_equal(known[1], vectors[0].astype(np.float16).astype(np.float32))
        assert set(known) == {0, 1}
        put(change, "a", "leave")
        change.commit()
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        assert change.known(["valve", "pump"]) == {}


def test_what_an_erasure_could_not_remove_goes_with_the_next_collection(
    with_secret: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: LocalIndexWriter, generations: object) -> None:
        """A process that dies right after its commit collects nothing."""

    with monkeypatch.context() as patched:
        patched.setattr(LocalIndexWriter, "_collect", killed)
        erase(with_secret, "a", "old", "mail.eml")
    assert with_secret.generations.withdrawn() == [1, 2, 3]
    assert MARK.encode() in everything(with_secret)
    assert with_secret.writer.collect(COLLECTION) == ([1, 2, 3], [])
    assert MARK.encode() not in everything(with_secret)


def test_a_generation_is_not_collected_while_it_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, hashes = tmp_path / "data" / "collections", HashMemory(tmp_path / "cache" / "hashes.txt")
    shelf = Shelf(root, hashes, LocalIndexWriter(root, hashes, tmp_path / "cache" / "vectors"))
    for text in ("one", "two", "three"):
        shelf.commit({"a": text})
    in_use: list[list[int]] = []

    def verifier(home: Home, name: str) -> Callable[[int], None]:
        return lambda number: in_use.append(shelf.writer.collect(COLLECTION, keep=1)[1])

    monkeypatch.setattr(Home, "verifier", verifier)
    assert generations_command(["verify", "--home", str(tmp_path), "--collection", "c", "--json"]) == 0
    assert in_use == [[1], [], []]
    assert shelf.generations.numbers() == [2, 3]
