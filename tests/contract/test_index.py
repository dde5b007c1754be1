"""What every implementation of IndexWriter, Index and Indexes keeps; here the local one."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from corpora import ALL, COLLECTION, EMBEDDER, Shelf, put

from domicile.adapters.snapshot import Snapshot
from domicile.domain import OWNER, Collection, Principal, Scope
from domicile.errors import EmbedderMismatch, UnknownCollection, UnknownGeneration, WriterBusy
from domicile.ports import Index, Indexes, IndexWriter, Vectors
from domicile.testing import HashEmbedder

WORDS = "pump valve leave salary board contract engine office travel budget audit safety shift union tax".split()


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """In memory where that can be: what a commit waits for is the disk, which is not what these tests are about."""
    memory = "/dev/shm"
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Shelf.at(Path(folder))


def query(text: str) -> Vectors:
    vector: Vectors = EMBEDDER.embed([text], "query")[0]
    return vector


def dense(index: Index, text: str, k: int = 10, readers: frozenset[str] | None = None) -> list[str]:
    return [chunk.document for chunk in index.chunks([c.ref for c in index.dense(query(text), k, Scope(readers))])]


def lexical(index: Index, text: str, k: int = 10, readers: frozenset[str] | None = None) -> list[str]:
    return [chunk.document for chunk in index.chunks([c.ref for c in index.lexical(text, k, Scope(readers))])]


def uris(shelf: Shelf) -> set[str]:
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        return set(change.states())


def test_the_local_parts_implement_the_ports(shelf: Shelf) -> None:
    shelf.commit({"a": "pump"})
    writer: IndexWriter = shelf.writer
    indexes: Indexes = shelf.reader()
    index: Index = indexes.pin("c", OWNER)
    assert index.fingerprint == EMBEDDER.fingerprint
    assert index.collection == COLLECTION
    assert writer is not None


def test_a_put_document_is_found_and_read_in_full(shelf: Shelf) -> None:
    shelf.commit({"a/ü#1.md": "the pump\n\nthe välve 😀"})
    index = shelf.reader().pin("c", OWNER)
    assert dense(index, "pump", 1) == lexical(index, "pump", 1) == ["a/ü#1.md"]
    document = index.document("a/ü#1.md", None)
    assert document is not None
    assert document.text == "the pump\n\nthe välve 😀"
    chunks = index.chunks([c.ref for c in index.lexical("pump välve", 5, ALL)])
    assert {c.id for c in chunks} == {"a/ü#1.md#0", "a/ü#1.md#1"}
    assert all(document.text[c.start : c.end] == c.text and c.label == document.label for c in chunks)


def test_a_replaced_document_answers_with_its_new_text_only(shelf: Shelf) -> None:
    shelf.commit({"a": "pump", "b": "leave"})
    shelf.commit({"a": "valve"})
    index = shelf.reader().pin("c", OWNER)
    assert lexical(index, "pump") == []
    assert dense(index, "valve", 1) == lexical(index, "valve") == ["a"]
    document = index.document("a", None)
    assert document is not None
    assert document.text == "valve"
    assert len(dense(index, "anything")) == 2


def test_a_deleted_document_is_gone_from_every_side(shelf: Shelf) -> None:
    shelf.commit({"a": "pump", "b": "pump too"})
    assert lexical(shelf.reader().pin("c", OWNER), "pump") == ["a", "b"]
    shelf.commit({"a": None})
    index = shelf.reader().pin("c", OWNER)
    assert dense(index, "pump") == lexical(index, "pump") == ["b"]
    assert index.document("a", None) is None
    assert uris(shelf) == {"b"}


def test_a_document_deleted_and_added_again_lives_once(shelf: Shelf) -> None:
    for text in ("pump", None, "pump", None, "pump again"):
        shelf.commit({"a": text, "b": "leave"} if text else {"a": None})
    index = shelf.reader().pin("c", OWNER)
    assert lexical(index, "pump") == ["a"]
    assert sorted(dense(index, "pump")) == ["a", "b"]
    document = index.document("a", None)
    assert document is not None
    assert document.text == "pump again"


def test_when_every_document_is_deleted_the_collection_is_empty_and_can_be_filled_again(shelf: Shelf) -> None:
    shelf.commit({"a": "pump", "b": "leave"})
    emptied = shelf.commit({"a": None, "b": None})
    assert (emptied.generation, emptied.chunks) == (2, 0)
    index = shelf.reader().pin("c", OWNER)
    assert dense(index, "pump") == lexical(index, "pump") == []
    shelf.commit({"c": "valve"})
    assert dense(shelf.reader().pin("c", OWNER), "pump") == ["c"]
    assert not shelf.leftovers()


def test_a_commit_without_a_change_keeps_the_generation(shelf: Shelf) -> None:
    assert shelf.commit({}).generation == 0
    assert shelf.commit({"a": "pump"}).generation == 1
    before = (shelf.folder / "CURRENT").stat().st_ino
    assert shelf.commit({}).generation == 1
    assert shelf.commit({"unknown": None}).generation == 1
    assert (shelf.folder / "CURRENT").stat().st_ino == before


def test_an_abandoned_change_leaves_nothing_behind(shelf: Shelf) -> None:
    shelf.commit({"a": "pump"})
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        put(change, "b", "valve")
        change.delete("a")
        assert (shelf.folder / "segments" / "000002").exists()  # it had begun to write

    def fail() -> None:
        with shelf.writer.change(COLLECTION, EMBEDDER) as change:
            put(change, "b", "valve")
            raise KeyError("planted")

    with pytest.raises(KeyError, match="planted"):
        fail()
    assert not shelf.leftovers()
    assert uris(shelf) == {"a"}
    assert shelf.commit({"b": "valve"}).generation == 2


def test_a_document_changes_at_most_once_in_one_change(shelf: Shelf) -> None:
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        put(change, "a", "pump")
        with pytest.raises(ValueError, match="put into this change"):
            put(change, "a", "valve")
        with pytest.raises(ValueError, match="put into this change"):
            change.delete("a")
        change.commit()
    assert uris(shelf) == {"a"}


@pytest.mark.parametrize("search", [dense, lexical])
def test_a_forbidden_chunk_is_never_returned_and_displaces_nobody(shelf: Shelf, search: object) -> None:
    assert callable(search)
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        for i in range(40):
            put(change, f"secret{i}", "pump pump pump", frozenset({"board"}))
        for i in range(5):
            put(change, f"open{i}", f"the pump of office {i} is old")
        put(change, "owner only", "pump", frozenset())
        change.commit()
    index = shelf.reader().pin("c", OWNER)
    opened = {f"open{i}" for i in range(5)}
    assert set(search(index, "pump", 5, frozenset())) == opened
    assert set(search(index, "pump", 50, frozenset({"hr"}))) == opened
    assert set(search(index, "pump", 50, frozenset({"hr", "board"}))) == opened | {f"secret{i}" for i in range(40)}
    assert len(search(index, "pump", 50, None)) == 46
    assert opened.isdisjoint(search(index, "pump", 5, None))  # without the filter they are pushed out


def test_a_group_named_like_the_marker_of_everyone_opens_nothing(shelf: Shelf) -> None:
    shelf.commit({"a": "pump"}, groups=frozenset({"board"}))
    index = shelf.reader().pin("c", OWNER)
    assert dense(index, "pump", 5, frozenset({"*"})) == lexical(index, "pump", 5, frozenset({"*"})) == []


def test_the_filter_holds_at_sizes_around_whole_bytes(shelf: Shelf) -> None:
    for size in (1, 7, 8, 9, 15, 16, 17):
        collection = Collection(f"c{size}")
        with shelf.writer.change(collection, EMBEDDER) as change:
            for i in range(size):
                put(change, f"d{i}", "pump", frozenset({"odd" if i % 2 else "even"}))
            change.commit()
        index = shelf.reader(collection).pin(collection.name, OWNER)
        for group, parity in (("even", 0), ("odd", 1)):
            assert dense(index, "pump", 99, frozenset({group})) == [f"d{i}" for i in range(size) if i % 2 == parity]


def test_a_document_is_read_only_by_whom_its_label_names(shelf: Shelf) -> None:
    shelf.commit({"a": "pump"}, groups=frozenset({"hr"}))
    index = shelf.reader().pin("c", OWNER)
    assert index.document("a", frozenset({"hr", "x"})) is not None
    assert index.document("a", None) is not None
    assert index.document("a", frozenset({"x"})) is None
    assert index.document("a", frozenset()) is None


def test_a_collection_is_open_to_its_tenant_and_groups_only(shelf: Shelf) -> None:
    shelf.commit({"a": "pump"})
    reader = shelf.reader(Collection("c", tenant="acme", groups=frozenset({"hr"})))
    assert reader.pin("c", Principal("k", "acme", frozenset({"hr"}))).generation == 1
    for principal in (Principal("k", "other", frozenset({"hr"})), Principal("k", "acme", frozenset({"it"}))):
        with pytest.raises(UnknownCollection, match="there is no collection 'c'"):
            reader.pin("c", principal)


@pytest.mark.parametrize("k", [1, 3, 8, 20, 200])
def test_dense_ranking_equals_brute_force_and_ties_go_by_number(shelf: Shelf, k: int) -> None:
    rng = random.Random(7)
    texts = {f"d{i}": " ".join(rng.choices(WORDS[:6], k=2)) for i in range(60)}  # many equal texts
    shelf.commit({uri: text for uri, text in texts.items() if uri < "d4"})
    shelf.commit({uri: text for uri, text in texts.items() if uri >= "d4"} | {"d1": None})
    index = shelf.reader().pin("c", OWNER)
    found = index.dense(query("pump valve"), k, ALL)
    assert found == sorted(found, key=lambda c: (-c.score, c.ref))
    alive = index.dense(query("pump valve"), 1000, ALL)
    assert len(alive) == 59
    assert found == alive[:k]
    for candidate, chunk in zip(alive, index.chunks([c.ref for c in alive]), strict=True):
        exact = float(query("pump valve") @ EMBEDDER.embed([chunk.text], "document")[0])
        assert candidate.score == pytest.approx(exact, abs=2e-3)  # half precision


@pytest.mark.parametrize("question", [
    '"pump', "pump AND", "body:pump", "pump)(", "+pump -pump", "pump^9", "[pump TO valve]", "pump*", "/pump/",
    "pümp pump",
    "pump\x00\n\t", "reader:* pump", "\\pump", "pump " * 2500, "😀 pump \u202e", "{!pump}", "pump~2", "* pump",
    "IN [pump]",
])  # fmt: skip
def test_a_question_is_data_and_never_query_syntax(shelf: Shelf, question: str) -> None:
    shelf.commit({"a": "the pump", "b": "the leave"})
    shelf.commit({"secret": "the pump"}, groups=frozenset({"board"}))
    assert lexical(shelf.reader().pin("c", OWNER), question, 5, frozenset()) == ["a"]


@pytest.mark.parametrize("question", ["", " ", "?!", "😀", "x" * 10_000, "\ud800"])
def test_a_question_without_a_word_finds_nothing_lexically(shelf: Shelf, question: str) -> None:
    shelf.commit({"a": "the pump"})
    assert lexical(shelf.reader().pin("c", OWNER), question) == []


def test_a_question_of_stop_words_alone_still_searches(shelf: Shelf) -> None:
    shelf.commit({"a": "to be or not to be", "b": "pump"})
    assert lexical(shelf.reader().pin("c", OWNER), "to be or not") == ["a"]


def test_a_pinned_generation_answers_the_same_while_the_next_is_served(shelf: Shelf) -> None:
    shelf.commit({"a": "pump", "b": "leave"})
    reader = shelf.reader()
    pinned = reader.pin("c", OWNER)
    before = dense(pinned, "pump"), lexical(pinned, "pump"), pinned.document("a", None)
    shelf.commit({"a": None, "c": "pump pump"})
    fresh = reader.pin("c", OWNER)
    assert (pinned.generation, fresh.generation) == (1, 2)
    assert (dense(pinned, "pump"), lexical(pinned, "pump"), pinned.document("a", None)) == before
    assert lexical(fresh, "pump") == ["c"]


def test_a_running_reader_sees_a_new_generation_within_two_seconds(shelf: Shelf) -> None:
    from domicile.adapters.indexes import LocalIndexes

    shelf.commit({"a": "pump"})
    reader = LocalIndexes(shelf.root, Collection, shelf.hashes)  # by the real clock
    assert reader.generation("c") == 1
    shelf.commit({"b": "leave"})
    deadline = time.monotonic() + 2
    while reader.generation("c") == 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert reader.generation("c") == 2


def test_a_fresh_look_sees_what_was_committed_in_the_last_moment(shelf: Shelf) -> None:
    from domicile.adapters.indexes import LocalIndexes

    shelf.commit({"a": "pump"})
    reader = LocalIndexes(shelf.root, Collection, shelf.hashes, clock=lambda: 0.0)  # the next look is never due
    assert reader.generation("c") == 1
    shelf.commit({"b": "leave"})
    assert reader.pin("c", OWNER).generation == 1
    assert reader.pin("c", OWNER, fresh=True).generation == 2
    assert reader.pin("c", OWNER).generation == 2


def test_a_fresh_look_waits_for_a_generation_that_another_thread_opens(shelf: Shelf) -> None:
    shelf.commit({"a": "pump"})
    reader = shelf.reader()
    assert reader.generation("c") == 1
    shelf.commit({"b": "leave"})
    with ThreadPoolExecutor(1) as pool, reader._opening["c"]:
        assert reader.generation("c") == 1
        waiting = pool.submit(reader.pin, "c", OWNER, fresh=True)
        with pytest.raises(TimeoutError):
            waiting.result(0.2)
        reader._opening["c"].release()
        assert waiting.result(10).generation == 2
        reader._opening["c"].acquire()


def test_an_unknown_collection_is_refused_and_not_remembered(shelf: Shelf) -> None:
    reader = shelf.reader()
    for name in ("nothing", "else"):
        with pytest.raises(UnknownCollection, match=name):
            reader.pin(name, OWNER)
    assert not reader._opening
    shelf.commit({})  # a change without any document makes no collection
    assert reader.names() == []
    shelf.commit({"a": "pump"})
    assert reader.names() == ["c"]


def test_an_index_of_another_embedder_is_refused(shelf: Shelf) -> None:
    shelf.commit({"a": "pump"})
    other = HashEmbedder(name="other", fingerprint="hash-64-b")
    with pytest.raises(EmbedderMismatch, match="ingest reindex"), shelf.writer.change(COLLECTION, other):
        pass
    assert shelf.commit({"b": "leave"}).generation == 2  # the lock was given back


def test_a_second_writer_is_refused_until_the_first_is_done(shelf: Shelf) -> None:
    with shelf.writer.change(COLLECTION, EMBEDDER), pytest.raises(WriterBusy, match="collection 'c'"):
        shelf.commit({"a": "pump"})
    assert shelf.commit({"a": "pump"}).generation == 1


def test_a_commit_after_a_rollback_has_the_next_number_and_the_right_parent(shelf: Shelf) -> None:
    for text in ("pump", "valve", "leave"):
        shelf.commit({"a": text})
    shelf.generations.rollback(1)
    assert lexical(shelf.reader().pin("c", OWNER), "pump valve leave") == ["a"]
    commit = shelf.commit({"b": "office"})
    assert (commit.generation, commit.previous) == (4, 1)
    document = shelf.reader().pin("c", OWNER).document("a", None)
    assert document is not None
    assert document.text == "pump"
    shelf.generations.rollback(3)  # forward again: it is retained
    assert shelf.reader().generation("c") == 3
    with pytest.raises(UnknownGeneration, match="no generation 9"):
        shelf.generations.rollback(9)
    assert not shelf.leftovers()


def test_a_vector_that_is_no_number_is_refused(shelf: Shelf) -> None:
    from domicile.adapters.faiss import VectorFileWriter

    with pytest.raises(ValueError, match="finite"):
        VectorFileWriter(64).add(np.full((1, 64), np.nan, dtype=np.float32))


@pytest.mark.parametrize("seed", range(2))
def test_any_sequence_of_changes_leaves_what_a_dictionary_would_hold(shelf: Shelf, seed: int) -> None:
    rng = random.Random(seed)
    model: dict[str, str] = {}
    history: dict[int, dict[str, str]] = {}
    pinned: list[Snapshot] = []
    reader = shelf.reader()
    for step in range(30):
        changed: dict[str, str | None] = {}
        for uri in rng.sample([f"d{i}" for i in range(12)], rng.randint(0, 4)):
            gone = uri in model and rng.random() < 0.4
            changed[uri] = (
                None
                if gone
                else "\n\n".join(
                    f"{uri} {' '.join(rng.choices(WORDS, k=3))} step{step}" for _ in range(rng.randint(1, 3))
                )
            )
        if rng.random() < 0.15:
            with shelf.writer.change(COLLECTION, EMBEDDER) as change:
                for uri, text in changed.items():
                    if text is not None:
                        put(change, uri, text)
            continue
        if history and rng.random() < 0.1:
            back = rng.choice(sorted(history))
            shelf.generations.rollback(back)
            model = dict(history[back])
        commit = shelf.commit(changed)
        model = {uri: text for uri, text in ({**model, **changed}).items() if text is not None}
        if not commit.generation:
            assert not model
            continue
        history.setdefault(commit.generation, dict(model))
        assert history[commit.generation] == model
        counts = shelf.generations.manifest(commit.generation).counts
        assert (counts.documents, counts.chunks) == (
            len(model),
            sum(len(text.split("\n\n")) for text in model.values()),
        )
        index = reader.pin("c", OWNER)
        assert index.generation == commit.generation
        pinned.append(index)
    for index in [*pinned, shelf.reader().pin("c", OWNER)]:
        holds = history[index.generation]
        everything = index.dense(query("pump"), 1000, ALL)
        assert sorted({c.id for c in index.chunks([c.ref for c in everything])}) == sorted(
            f"{uri}#{i}" for uri, text in holds.items() for i in range(len(text.split("\n\n")))
        )
        for uri, text in holds.items():
            document = index.document(uri, None)
            assert document is not None
            assert document.text == text
            assert uri in lexical(index, uri, 3)
        assert all(index.document(f"d{i}", None) is None for i in range(12) if f"d{i}" not in holds)
    assert not shelf.leftovers()


def test_the_lexical_folder_does_not_grow_with_the_number_of_commits(shelf: Shelf) -> None:
    for i in range(1, 17):
        commit = shelf.commit({"a": f"pump {i}", f"d{i % 5}": f"valve {i}"})
    assert commit.generation == 16
    assert len(list((shelf.folder / "lexical" / "000016").iterdir())) < 90


def test_many_threads_may_search_one_pinned_generation(shelf: Shelf) -> None:
    from concurrent.futures import ThreadPoolExecutor

    shelf.commit({f"d{i}": f"pump {WORDS[i % 15]} {i}" for i in range(50)})
    index = shelf.reader().pin("c", OWNER)
    alone = [(dense(index, word), lexical(index, word), index.document("d1", None)) for word in WORDS]
    for _ in range(3):  # each round in new threads, as a pool that shrinks and grows
        with ThreadPoolExecutor(8) as pool:
            together = pool.map(
                lambda word: (dense(index, word), lexical(index, word), index.document("d1", None)), WORDS
            )
            assert list(together) == alone
    assert len(next(iter(index._segments.values())).store._idle) <= 8


def test_a_request_may_go_on_after_its_generation_was_replaced_and_collected(shelf: Shelf) -> None:
    import gc

    shelf.commit({"a": "pump"})
    reader = shelf.reader()
    index = reader.pin("c", OWNER)
    for i in range(3):
        shelf.commit({"a": f"valve {i}"})
        reader.pin("c", OWNER)
        gc.collect()
    assert lexical(index, "pump") == ["a"]
    assert index.document("a", None) is not None


def test_compatible_forms_of_a_letter_find_each_other(shelf: Shelf) -> None:
    shelf.commit({"ligature.txt": "The oﬃce is closed.", "decomposed.txt": "Le cafe\u0301 ferme."})
    index = shelf.reader().pin("c", OWNER)
    assert lexical(index, "office") == ["ligature.txt"]
    assert lexical(index, "caf\u00e9") == ["decomposed.txt"]
    assert lexical(index, "cafe") == ["decomposed.txt"]


def test_no_score_tells_of_a_word_in_what_may_not_be_seen(shelf: Shelf) -> None:
    shelf.commit({f"open{n}": f"handbook {n}" for n in range(9)})
    shelf.commit({"secret": "project zanzibar"}, frozenset({"hr"}))
    index = shelf.reader().pin("c", OWNER)

    def scores(question: str, scope: Scope) -> list[float]:
        return [candidate.score for candidate in index.lexical(question, 20, scope)]

    sales = Scope(frozenset({"sales"}))
    assert scores("handbook zanzibar", sales) == scores("handbook qwertyx", sales) != []
    assert scores("handbook zanzibar", ALL) != scores("handbook qwertyx", ALL)
