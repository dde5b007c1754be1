"""Metadata on its way from a source to the filters of a search, through every kind of change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from corpora import COLLECTION, EMBEDDER, REGIONS, TOOLS, Shelf, mail

from domicile import filters, labels
from domicile.domain import OWNER, Scope
from domicile.errors import InvalidRequest
from domicile_ingest.documents import Documents, Upload
from domicile_ingest.labelling import Labeller
from domicile_ingest.progress import unwatched
from domicile_ingest.scan import MAX_REMARKED

FRONT = """---
title: Pumps
domicile: {label: {sensitivity: public}}
source: wiki
tags: [pump, valve]
reviewed: 2024-05-01
checked: 2024-05-01 12:30:00 +02:00
owner: {name: Ann, floor: 3}
draft: false
---
The pump hums.
"""


def write_rows(path: Path, *rows: Mapping[str, Any]) -> None:
    lines = ({"text": "the pump hums", "title": "", **row} for row in rows)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def search(shelf: Shelf, raw: object, readers: frozenset[str] | None = None) -> list[str]:
    """The documents that lexical search finds under these filters, and that dense search finds, too."""
    index = shelf.reader().pin("c", OWNER)
    scope = Scope(readers, filters.parse(raw, REGIONS))
    words = index.lexical("pump", 50, scope)
    near = index.dense(EMBEDDER.embed(["pump"], "query")[0], 50, scope)
    assert sorted(candidate.ref for candidate in words) == sorted(candidate.ref for candidate in near)
    return sorted({chunk.document for chunk in index.chunks([candidate.ref for candidate in words])})


def metadata_of(shelf: Shelf, uri: str) -> dict[str, list[object]]:
    found = shelf.reader().pin("c", OWNER).document(uri, None)
    assert found is not None
    listed: dict[str, list[object]] = {}
    for name, value in found.metadata:
        listed.setdefault(name, []).append(value)
    return listed


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf.at(tmp_path / "shelf")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def test_front_matter_rows_and_mails_can_be_filtered(shelf: Shelf, source: Path) -> None:
    (source / "pumps.md").write_text(FRONT)
    (source / "mail.eml").write_bytes(b"Date: Wed, 1 May 2024 10:00:00 +0200\n" + mail("the pump is mended"))
    write_rows(
        source / "rows.jsonl",
        {"_id": "1", "metadata": {"source": "GHR", "year": 2020, "label": {"sensitivity": "public"}}},
        {"_id": "2", "metadata": {"source": "wiki", "year": 2024.5, "draft": True}},
        {"_id": "3"},
    )
    assert shelf.ingest(source).warnings == ()
    assert metadata_of(shelf, "pumps.md") == {
        "source": ["wiki"], "tags": ["pump", "valve"], "reviewed": ["2024-05-01"],
        "checked": ["2024-05-01T10:30:00.000000Z"], "owner.name": ["Ann"], "owner.floor": [3], "draft": ["false"],
    }  # fmt: skip
    assert metadata_of(shelf, "rows.jsonl#1") == {"source": ["GHR"], "year": [2020]}
    assert metadata_of(shelf, "mail.eml") == {
        "from": ["a@example.org"], "to": ["b@example.org"], "date": ["2024-05-01T08:00:00.000000Z"]
    }  # fmt: skip
    for raw, expected in (
        ({"source": {"eq": "wiki"}}, ["pumps.md", "rows.jsonl#2"]),
        ({"source": {"in": ["wiki", "GHR"]}, "draft": {"eq": True}}, ["rows.jsonl#2"]),
        ({"tags": {"eq": "valve"}}, ["pumps.md"]),
        ({"reviewed": {"gte": "2024-01-01", "lte": "2024-05-01"}}, ["pumps.md"]),
        ({"checked": {"lte": "2024-05-01"}}, ["pumps.md"]),
        ({"date": {"prefix": "2024-05"}}, ["mail.eml"]),
        ({"from": {"eq": "a@example.org"}}, ["mail.eml"]),
        ({"owner.floor": {"gte": 3}}, ["pumps.md"]),
        ({"year": {"gte": 2020, "lte": 2024}}, ["rows.jsonl#1"]),
        ({"year": {"gte": 2025}}, []),
        ({"document": {"prefix": "rows.jsonl#"}}, ["rows.jsonl#1", "rows.jsonl#2", "rows.jsonl#3"]),
        ({"label.sensitivity": {"lte": "public"}}, ["pumps.md", "rows.jsonl#1"]),
    ):
        assert search(shelf, raw) == expected, raw


def test_metadata_alone_changes_a_document_and_embeds_nothing(shelf: Shelf, source: Path) -> None:
    rows = source / "rows.jsonl"
    write_rows(rows, {"_id": "1", "metadata": {"year": 2020}}, {"_id": "2", "metadata": {"year": 2021}})
    assert shelf.ingest(rows).embedded > 0
    write_rows(rows, {"_id": "1", "metadata": {"year": 2030}}, {"_id": "2", "metadata": {"year": 2021}})
    report = shelf.ingest(rows)
    assert (report.counts["changed"], report.counts["unchanged"], report.embedded) == (1, 1, 0)
    assert search(shelf, {"year": {"gte": 2022}}) == ["1"]
    assert search(shelf, {"year": {"eq": 2020}}) == []


def test_what_is_left_out_is_warned_of_and_nothing_is_refused(shelf: Shelf, source: Path) -> None:
    rows = source / "rows.jsonl"
    (source / "sound.md").write_text("---\nlong: " + "x" * 2_000 + "\nnan: .nan\nok: 1\n---\npump\n")
    write_rows(
        rows, {"_id": "1", "metadata": {"bad": float("inf"), "deep": [[1]], "ok": 2}}, {"_id": "2", "metadata": 5}
    )
    report = shelf.ingest(source)
    assert report.counts["failed"] == 0
    assert set(report.warnings) == {
        "rows.jsonl#1: metadata 'bad': must be a finite number: left out",
        "rows.jsonl#1: metadata 'deep': must be a text, a number, true, false or a date: left out",
        "rows.jsonl#2: metadata: must be a table: left out",
        "sound.md: metadata 'long': must have at most 1,024 characters: left out",
        "sound.md: metadata 'nan': must be a finite number: left out",
    }
    assert search(shelf, {"ok": {"gte": 1}}) == ["rows.jsonl#1", "sound.md"]


def test_a_corpus_that_does_not_fit_is_warned_of_in_brief(shelf: Shelf, source: Path) -> None:
    rows = source / "rows.jsonl"
    write_rows(rows, *({"_id": str(number), "metadata": {"big": "x" * 2_000}} for number in range(MAX_REMARKED + 5)))
    report = shelf.ingest(rows)
    assert len(report.warnings) == MAX_REMARKED + 1
    assert report.warnings[-1] == "metadata: something was left out of 5 more documents"


def test_fields_are_known_as_far_as_the_caller_may_read(shelf: Shelf, source: Path) -> None:
    rows = source / "rows.jsonl"
    hidden = {"salary": 1, "label": {"groups": ["hr"]}}
    write_rows(rows, {"_id": "1", "metadata": hidden}, {"_id": "2", "metadata": {"year": 1}})
    shelf.ingest(rows)
    assert search(shelf, {"salary": {"eq": 1}}, frozenset({"hr"})) == ["1"]
    with pytest.raises(InvalidRequest, match=r"filters\.salary: unknown field.* known are year, document,"):
        search(shelf, {"salary": {"eq": 1}}, frozenset({"sales"}))
    assert search(shelf, {"label.groups": {"eq": "hr"}}, frozenset({"sales"})) == []
    with pytest.raises(InvalidRequest, match="the field holds numbers"):
        search(shelf, {"year": {"eq": "1"}})
    write_rows(rows, {"_id": "1", "metadata": hidden})
    shelf.ingest(rows)
    with pytest.raises(InvalidRequest, match=r"filters\.year: unknown field"):  # its last document is gone
        search(shelf, {"year": {"eq": 1}})


def test_metadata_outlives_relabelling_compaction_and_reindexing(shelf: Shelf, source: Path) -> None:
    for number in range(8):
        (source / f"{number}.md").write_text(f"---\nnumber: {number}\n---\npump {number}\n")
    shelf.ingest(source)
    (source / "3.md").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))  # cannot be read now, and is relabelled
    for name in ("0.md", "1.md"):
        (source / name).unlink()
    assert shelf.ingest(source, own={"sensitivity": "public"}).counts["failed"] == 1
    expected = [f"{number}.md" for number in range(2, 8)]
    assert search(shelf, {"number": {"gte": 0}}) == expected
    documents = Documents(shelf.writer, COLLECTION, Labeller(COLLECTION, REGIONS, labels.PartialLabel(), (), {}))
    documents.erase(["7.md"], unwatched)
    documents.reindex(TOOLS, unwatched)
    assert search(shelf, {"number": {"gte": 0}}) == expected[:-1]
    assert search(shelf, {"number": {"in": [3, 5, 7]}}) == ["3.md", "5.md"]


def test_metadata_beside_a_put_document_goes_before_its_own(shelf: Shelf) -> None:
    documents = Documents(shelf.writer, COLLECTION, Labeller(COLLECTION, REGIONS, labels.PartialLabel(), (), {}))

    def put(uri: str, upload: Upload) -> dict[str, int]:
        return dict(documents.put(uri, upload, TOOLS, unwatched).counts)

    text = Upload("note", b"the pump", plain=True, metadata={"year": 2020, "tags": ["a", "b"]})
    assert put("note", text)["added"] == 1
    assert metadata_of(shelf, "note") == {"year": [2020], "tags": ["a", "b"]}
    assert put("note", text)["unchanged"] == 1
    assert put("note", Upload("note", b"the pump", plain=True, metadata={"year": 2021}))["changed"] == 1
    assert metadata_of(shelf, "note") == {"year": [2021]}
    put("a.md", Upload("a.md", FRONT.encode(), metadata={"source": "upload", "extra": True}))
    assert metadata_of(shelf, "a.md") | {"source": ["upload"], "extra": ["true"]} == metadata_of(shelf, "a.md")
    assert metadata_of(shelf, "a.md")["tags"] == ["pump", "valve"]
    report = documents.put("b", Upload("b", b"pump", plain=True, metadata={"bad": [[]]}), TOOLS, unwatched)
    assert report.warnings == ("b: metadata 'bad': must be a text, a number, true, false or a date: left out",)
