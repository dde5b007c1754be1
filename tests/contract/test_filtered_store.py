"""The chunk store against a plain reading of the filters, document by document."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from corpora import COLLECTION, EMBEDDER, REGIONS, Shelf, label_for
from hypothesis import given, settings
from hypothesis import strategies as st

from domicile import filters, metadata
from domicile.adapters.sqlite import ChunkStore, ChunkStoreWriter
from domicile.domain import OWNER, Document, Layout, Scalar, Scope
from domicile.errors import IndexDamaged
from domicile.ports import NewChunk

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
CHUNK = NewChunk((), None, 0, 1, "t", "", "t")
HOSTILE = [
    "", "'", '"', "';--", "' OR 1=1 --", "a", "A", "ab", "a%", "a_", "a*", "%", "_", "*", "[a-z]", "\x00", "a\x00b", "é",
    "e\u0301", "\ud7ff", "\ue000", "\U0010ffff", "a\U0010ffff", "😀", "NULL", "1", "1.0", "true", "2024-05-01",
    "2024-05-01T00:00:00Z", "2024-05-01T23:59:59.5Z", "2024-05-02", "2024-04-30", "2024-05-01x", "2024-05",
]  # fmt: skip
NUMBERS = [0, -0.0, 1, 1.0, -1, 0.5, 2**53, 2**53 + 1, 2.0**53, 2**63 - 1, 2**63, -(2**63), 10**300, 1e-300]
VALUES = st.one_of(st.sampled_from(HOSTILE), st.sampled_from(NUMBERS), st.booleans(), st.text(max_size=3))
FIELDS = st.sampled_from(["a", "b", "title", "metadata.a", "' OR 1=1 --"])
ROWS = st.lists(st.dictionaries(FIELDS, st.lists(VALUES, min_size=1, max_size=3), max_size=3), min_size=1, max_size=8)


@contextmanager
def store_of(rows: Sequence[Mapping[str, Any]], chunks: Sequence[int] | None = None) -> Iterator[ChunkStore]:
    """A store with a document for each row of metadata, named by its number, of one chunk each or of so many."""
    counts = chunks or [1] * len(rows)
    with TemporaryDirectory(dir=MEMORY) as folder:
        writer = ChunkStoreWriter(Path(folder) / "chunks.sqlite")
        for number, row in enumerate(rows):
            put(writer, document(str(number), row), counts[number])
        writer.seal()
        store = ChunkStore(Path(folder) / "chunks.sqlite", sum(counts))
        yield store
        store.close()


def document(uri: str, row: Mapping[str, Any], groups: frozenset[str] | None = None) -> Document:
    return Document(uri, f"T {uri}", "t", label_for(groups), "d", "run", Layout(), metadata.read(row).values)


def put(writer: ChunkStoreWriter, given: Document, chunks: int = 1) -> None:
    hashes = [f"{given.uri} {at}".encode() for at in range(chunks)]
    writer.put(given, "state", [CHUNK] * chunks, hashes)


def found(store: ChunkStore, raw: object, readers: frozenset[str] | None = None) -> list[int]:
    return np.flatnonzero(store.matching(filters.parse(raw, REGIONS), readers)).tolist()


def reads(own: Scalar, operator: str, value: Any) -> bool:
    """What an operator means, said once more: code points in order, numbers by size, a day with all its hours."""
    if operator == "in":
        return any(reads(own, "eq", one) for one in value)
    wanted = metadata.plain(value) if operator == "prefix" else metadata.canonical(value)
    if isinstance(own, str) != isinstance(wanted, str):
        return False
    if isinstance(own, str) and isinstance(wanted, str):
        day = operator == "lte" and metadata.is_date(wanted)
        return {
            "eq": own == wanted, "gte": own >= wanted, "lte": own <= wanted or (day and own.startswith(wanted)),
            "prefix": own.startswith(wanted),
        }[operator]  # fmt: skip
    return {"eq": own == wanted, "gte": own >= wanted, "lte": own <= wanted}[operator]  # type: ignore[operator]


@settings(max_examples=150, deadline=None)
@given(ROWS, FIELDS, st.data())
def test_the_store_finds_what_a_plain_reading_finds(rows: list[dict[str, Any]], name: str, data: st.DataObject) -> None:
    pool = st.one_of(st.sampled_from([value for row in rows for value in row.get(name, [])] or [""]), VALUES)
    operator = data.draw(st.sampled_from(filters.OPERATORS))
    value = data.draw(st.lists(pool, min_size=1, max_size=4)) if operator == "in" else data.draw(pool)
    if operator == "prefix":
        value = str(value)[: data.draw(st.integers(0, 5))]
    elif operator in ("gte", "lte") and isinstance(value, bool):
        value = int(value)
    expected = [
        number
        for number, row in enumerate(rows)
        if any(reads(own, operator, value) for field, own in metadata.read(row).values if field == name)
    ]
    with store_of(rows) as store:
        assert found(store, {f"metadata.{name}": {operator: value}}) == expected


def test_every_value_is_found_by_itself_and_only_by_itself() -> None:
    values = list(dict.fromkeys(map(metadata.canonical, [*HOSTILE, *NUMBERS])))
    with store_of([{"a": value} for value in values]) as store:
        for number, value in enumerate(values):
            assert found(store, {"a": {"eq": value}}) == [number], value
            assert found(store, {"a": {"in": [value, "not there"]}}) == [number], value
        assert found(store, {"a": {"in": values}}) == list(range(len(values)))


def test_all_conditions_must_hold_and_each_by_any_value_of_a_field() -> None:
    rows = [{"tags": ["x", "y"], "year": 2020}, {"tags": "x", "year": [2019, 2024]}, {"tags": "y"}]
    with store_of(rows, chunks=[2, 1, 3]) as store:
        assert found(store, {"tags": {"eq": "x"}}) == [0, 1, 2]
        assert found(store, {"tags": {"eq": "x"}, "year": {"gte": 2021}}) == [2]
        assert found(store, {"year": {"gte": 2020, "lte": 2020}}) == [0, 1, 2]
        assert found(store, {"tags": {"in": ["y", "z"]}}) == [0, 1, 3, 4, 5]
        assert found(store, {"tags": {"eq": "y"}, "document": {"eq": "2"}}) == [3, 4, 5]
        assert found(store, {}) == list(range(6))
        assert found(store, {"nobody has it": {"eq": 1}}) == []


def test_a_day_is_whole_on_both_ends() -> None:
    times = ["2024-04-30T23:59:59Z", "2024-05-01", "2024-05-01T00:00:00Z", "2024-05-02T01:30:00+02:00", "2024-05-02"]
    with store_of([{"at": time} for time in times]) as store:
        assert found(store, {"at": {"gte": "2024-05-01", "lte": "2024-05-01"}}) == [1, 2, 3]
        assert found(store, {"at": {"lte": "2024-05-01T00:00:00Z"}}) == [0, 1, 2]
        assert found(store, {"at": {"prefix": "2024-05"}}) == [1, 2, 3, 4]
        assert found(store, {"at": {"eq": "2024-05-01T23:30Z"}}) == [3]


def test_built_in_fields() -> None:
    with store_of([{}, {"title": "T 0"}, {"document": "0"}]) as store:
        assert found(store, {"document": {"in": ["0", "2"]}}) == [0, 2]
        assert found(store, {"title": {"eq": "T 0"}}) == [0]
        assert found(store, {"metadata.title": {"eq": "T 0"}}) == [1]
        assert found(store, {"metadata.document": {"eq": "0"}}) == [2]
        assert found(store, {"title": {"prefix": "T "}}) == [0, 1, 2]
        assert found(store, {"origin": {"eq": "run"}}) == [0, 1, 2]
        assert found(store, {"origin": {"eq": "api"}}) == []
        assert found(store, {"label.sensitivity": {"lte": "internal"}}) == [0, 1, 2]
        assert found(store, {"label.sensitivity": {"gte": "confidential"}}) == []


def test_names_that_come_apart_or_are_long_are_found(tmp_path: Path) -> None:
    long = "\N{DEVANAGARI LETTER QA}" * 1_024
    writer = ChunkStoreWriter(tmp_path / "chunks.sqlite")
    put(writer, document("caf" + "e\u0301.md", {}))
    put(writer, document(long, {}))
    writer.seal()
    store = ChunkStore(tmp_path / "chunks.sqlite", 2)
    assert found(store, {"document": {"eq": "café.md"}}) == [0]
    assert found(store, {"document": {"prefix": long[:100]}}) == [1]
    assert store.document(long) is not None


def test_metadata_comes_back_as_it_was_put() -> None:
    row = {"a": ["x", 1, 2.5, True, 2**63 - 1, "é\x00'"], "b.c": "2024-05-01T10:00:00+02:00", "title": 1e300}
    with store_of([row]) as store:
        stored = store.document("0")
        assert stored is not None
        assert stored[0] == document("0", row)
        assert [type(value) for _, value in stored[0].metadata] == [str, int, float, str, int, str, str, float]


def test_fields_are_told_only_of_documents_that_may_be_seen(tmp_path: Path) -> None:
    writer = ChunkStoreWriter(tmp_path / "chunks.sqlite")
    put(writer, document("open", {"a": 1, "title": "x"}), chunks=2)
    put(writer, document("hr", {"a": "text", "salary": 1}, frozenset({"hr"})), chunks=3)
    writer.seal()
    store = ChunkStore(tmp_path / "chunks.sqlite", 5)
    anyone, hr = store.readable(frozenset()), store.readable(frozenset({"hr"}))
    assert (anyone.tolist(), hr.tolist()) == ([True, True, False, False, False], [True] * 5)
    assert store.fields(anyone, ["salary", "a"]) == {"a": {"number"}, "metadata.title": {"text"}}
    assert store.fields(hr, []) == {"a": {"number", "text"}, "metadata.title": {"text"}, "salary": {"number"}}
    assert store.fields(np.zeros(5, dtype=bool), ["a"]) == {}
    last = np.array([True] * 2 + [False] * 3)  # alive: the second document is deleted
    assert store.fields(last & hr, ["salary"]) == {"a": {"number"}, "metadata.title": {"text"}}


def test_a_field_whose_documents_are_all_deleted_is_none() -> None:
    with store_of([{"a": 1}, {"a": "x", "b": 1}, {"b": "x"}]) as store:
        assert store.fields(np.array([True, True, True]), []) == {"a": {"number", "text"}, "b": {"number", "text"}}
        assert store.fields(np.array([True, False, False]), ["b"]) == {"a": {"number"}}
        assert store.fields(np.array([False, False, True]), ["a", "b"]) == {"b": {"text"}}


def test_only_the_first_fields_are_shown_beside_those_that_were_asked_for() -> None:
    with store_of([{f"f{number:02}": 1 for number in range(50)}]) as store:
        known = store.fields(np.ones(1, dtype=bool), ["f40", "f99"])
        assert sorted(known) == [f"f{number:02}" for number in (*range(20), 40)]


def test_a_label_is_asked_with_the_groups_of_who_asks(tmp_path: Path) -> None:
    writer = ChunkStoreWriter(tmp_path / "chunks.sqlite")
    put(writer, document("open", {}))
    put(writer, document("both", {}, frozenset({"hr", "board"})))
    writer.seal()
    store = ChunkStore(tmp_path / "chunks.sqlite", 2)
    assert found(store, {"label.groups": {"eq": "board"}}) == [1]
    assert found(store, {"label.groups": {"eq": "board"}}, frozenset({"hr"})) == []
    assert found(store, {"label.groups": {"eq": "hr"}}, frozenset({"hr"})) == [1]


def test_more_fields_than_are_remembered_are_written_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domicile.adapters.sqlite._KNOWN_FIELDS", 2)
    with store_of([{f"f{number % 7}": number} for number in range(30)]) as store:
        assert found(store, {"f3": {"gte": 0}}) == [3, 10, 17, 24]


def test_a_store_of_other_rows_is_damaged(tmp_path: Path) -> None:
    writer = ChunkStoreWriter(tmp_path / "chunks.sqlite")
    put(writer, document("a", {}), chunks=2)
    writer.seal()
    assert len(ChunkStore(tmp_path / "chunks.sqlite", 2).readable(None)) == 2
    with pytest.raises(IndexDamaged, match="2 chunks, expected 3"):
        ChunkStore(tmp_path / "chunks.sqlite", 3)
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(IndexDamaged):
        ChunkStore(tmp_path / "empty.sqlite", 0)


def test_an_empty_store_opens() -> None:
    with store_of([]) as store:
        assert store.matching(filters.parse({"a": {"eq": 1}}, REGIONS), None).tolist() == []
        assert store.fields(store.readable(None), ["a"]) == {}


def test_a_chunk_knows_the_metadata_of_its_document(shelf: Shelf) -> None:
    known = (("year", 2024), ("tag", "a"), ("tag", "b"))
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        chunk = NewChunk((), None, 0, 4, "pump", "", "pump")
        document = Document("d", "D", "pump", label_for(None), "digest", metadata=known)
        change.put(document, "state", [chunk], EMBEDDER.embed(["pump"], "document"))
        change.commit()
    index = shelf.reader().pin("c", OWNER)
    (found,) = index.chunks([candidate.ref for candidate in index.lexical("pump", 1, Scope(None))])
    assert found.metadata == known
