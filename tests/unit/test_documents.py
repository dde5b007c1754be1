"""Single documents put, deleted and erased, and a collection cut and embedded anew from what it stores."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from corpora import ALL, COLLECTION, REGIONS, TOOLS, Shelf, mail

from domicile import labels
from domicile.domain import OWNER, Document, Scope, Sensitivity
from domicile.errors import EmbedderMismatch, Forbidden, UnknownDocument
from domicile.testing import HashEmbedder
from domicile_ingest.documents import Documents, Upload
from domicile_ingest.labelling import Labeller
from domicile_ingest.pipeline import Options
from domicile_ingest.progress import unwatched
from domicile_ingest.report import Report


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.md").write_text("# Pumps\n\n| part | size |\n|---|---|\n| valve | 3 |\n")
    (folder / "t.csv").write_text("part,size\nvalve,3\nflange,5\n")
    return folder


def documents(shelf: Shelf, own: Mapping[str, object] | None = None) -> Documents:
    labeller = Labeller(COLLECTION, REGIONS, labels.parse(own or {}, REGIONS), (), {})
    return Documents(shelf.writer, COLLECTION, labeller)


def put(shelf: Shelf, uri: str, text: str, **more: object) -> Report:
    upload = Upload("note.txt", text.encode(), plain=True, **more)  # type: ignore[arg-type]
    return documents(shelf).put(uri, upload, TOOLS, unwatched)


def stored(shelf: Shelf, uri: str) -> Document:
    found = shelf.reader().pin("c", OWNER).document(uri, None)
    assert found is not None
    return found


def test_a_document_is_put_replaced_and_deleted(shelf: Shelf) -> None:
    report = put(shelf, "note", "the pump", title="A note")
    assert (report.commit.generation, report.counts["added"]) == (1, 1)
    assert (stored(shelf, "note").title, stored(shelf, "note").text, stored(shelf, "note").origin) == (
        "A note", "the pump", "api",
    )  # fmt: skip
    assert put(shelf, "note", "the pump", title="A note").commit.generation == 1
    assert put(shelf, "note", "the pump", title="Another").counts["changed"] == 1
    report = documents(shelf).delete("note", unwatched)
    assert (report.commit.generation, report.commit.chunks, report.counts["deleted"]) == (3, 0, 1)
    with pytest.raises(UnknownDocument):
        documents(shelf).delete("note", unwatched)


def test_a_file_is_parsed_and_its_label_joined(shelf: Shelf) -> None:
    label = {"sensitivity": "public", "hosted": True, "regions": ["eu"]}
    upload = Upload("x.md", b"# Title\n\ntext", label=label)
    documents(shelf, {"sensitivity": "confidential"}).put("x", upload, TOOLS, unwatched)
    assert stored(shelf, "x").title == "Title"
    assert stored(shelf, "x").label.sensitivity == Sensitivity.CONFIDENTIAL
    assert stored(shelf, "x").label.hosted


def test_a_label_beside_an_upload_does_not_widen_what_the_file_says(shelf: Shelf) -> None:
    own = b'---\ndomicile:\n  label:\n    groups: ["hr"]\n    sensitivity: restricted\n---\n\ntext\n'
    beside = {"sensitivity": "public", "hosted": True, "regions": ["eu"], "groups": ["hr", "staff"]}
    documents(shelf).put("x", Upload("x.md", own, label=beside), TOOLS, unwatched)
    assert stored(shelf, "x").label.sensitivity == Sensitivity.RESTRICTED
    assert stored(shelf, "x").label.groups == {"hr"}


def test_a_run_narrows_what_was_put_when_the_collection_says_so(shelf: Shelf, source: Path) -> None:
    public = {"sensitivity": "public", "hosted": True, "regions": ["eu"]}
    documents(shelf).put("x", Upload("x.txt", b"text", plain=True, label=public), TOOLS, unwatched)
    assert shelf.ingest(source).commit.generation == 2
    assert stored(shelf, "x").label.hosted
    assert shelf.ingest(source, own={"hosted": False, "groups": ["hr"]}).commit.generation == 3
    assert (stored(shelf, "x").label.hosted, stored(shelf, "x").label.groups) == (False, {"hr"})
    assert shelf.reader().pin("c", OWNER).lexical("text", 5, Scope(frozenset({"staff"}))) == []
    assert shelf.ingest(source, own={"hosted": False, "groups": ["hr"]}).commit.generation == 3
    assert shelf.ingest(source).commit.generation == 4  # a wider collection widens nothing that was put
    assert stored(shelf, "x").label.groups == {"hr"}


def test_what_cannot_be_parsed_keeps_the_last_good_version(shelf: Shelf) -> None:
    put(shelf, "note", "the pump")
    report = documents(shelf).put("note", Upload("x.png", b"\x89PNG\r\n\x1a\n...."), TOOLS, unwatched)
    assert [(f.document, f.kind) for f in report.failures] == [("note", "binary")]
    assert (report.commit.generation, stored(shelf, "note").text) == (1, "the pump")


def test_what_came_from_a_source_is_not_replaced_but_may_be_deleted(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    assert [failure.kind for failure in put(shelf, "a.md", "other").failures] == ["duplicate"]
    assert documents(shelf).delete("a.md", unwatched).counts["deleted"] == 1
    assert shelf.ingest(source).counts["added"] == 1


def test_an_erased_document_stays_out_until_it_is_asked_back(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    report = documents(shelf).erase(["a.md"], unwatched)
    assert (report.counts["deleted"], shelf.generations.numbers()) == (1, [2])
    again = shelf.ingest(source)
    assert (again.commit.generation, again.counts["added"]) == (2, 0)
    assert again.warnings == ("a.md: was erased and stays out: pass --unerase to take it back",)
    assert shelf.ingest(source, Options(unerase=True)).counts["added"] == 1
    assert shelf.ingest(source).warnings == ()
    with pytest.raises(UnknownDocument):
        documents(shelf).erase(["t.csv", "never"], unwatched)
    assert stored(shelf, "t.csv")


def test_erasing_a_file_of_rows_erases_its_rows(shelf: Shelf, source: Path) -> None:
    (source / "r.jsonl").write_text('{"_id": 1, "text": "pump"}\n{"_id": 2, "text": "valve"}\n')
    shelf.ingest(source)
    assert documents(shelf).erase(["r.jsonl#1"], unwatched).counts["deleted"] == 1
    assert documents(shelf).erase(["r.jsonl"], unwatched).counts["deleted"] == 1
    assert len(shelf.ingest(source).warnings) == 2


def test_a_collection_is_reindexed_from_what_it_stores(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    put(shelf, "note", "by api")
    before = shelf.reader().pin("c", OWNER)
    other = replace(TOOLS, embedder=HashEmbedder(name="other", fingerprint="other"))
    for path in source.iterdir():
        path.unlink()
    source.rmdir()
    report = documents(shelf).reindex(other, unwatched)
    assert (report.commit.generation, report.commit.chunks, report.counts["changed"]) == (3, 3, 3)
    after = shelf.reader().pin("c", OWNER)
    assert after.fingerprint == "other"
    for uri in before.states():
        assert after.document(uri, None) == before.document(uri, None)
        assert passages(after, uri) == passages(before, uri)
    with pytest.raises(EmbedderMismatch, match="ingest reindex"):
        put(shelf, "note", "by the old embedder")
    assert hashlib.sha256(b"").hexdigest() not in {state.digest for state, _, _ in after.states().values()}


def passages(index: object, uri: str) -> list[str]:
    found = index.lexical("valve flange part api pumps", 50, ALL)  # type: ignore[attr-defined]
    return sorted(c.text for c in index.chunks([f.ref for f in found]) if c.document == uri)  # type: ignore[attr-defined]


def test_a_reindex_by_the_same_embedder_embeds_nothing(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    report = documents(shelf).reindex(TOOLS, unwatched)
    assert (report.commit.generation, report.embedded, report.reused) == (2, 0, 2)
    assert shelf.ingest(source).counts["unchanged"] == 2


def test_what_readers_may_not_see_they_neither_replace_nor_delete(shelf: Shelf) -> None:
    """Neither the document itself nor what lies in it, which putting and deleting the whole would take away."""
    staff = frozenset({"staff"})
    put(shelf, "mail.eml", "the pump")
    put(shelf, "mail.eml!/pay.md", "the salary", label={"groups": ["hr"]})
    put(shelf, "pay.md", "the salary", label={"groups": ["hr"]})

    def put_by_staff(uri: str) -> Report:
        return documents(shelf).put(uri, Upload("a.txt", b"mine now", plain=True), TOOLS, unwatched, staff)

    for uri in ("mail.eml", "mail.eml!/pay.md", "pay.md"):
        with pytest.raises(Forbidden):
            put_by_staff(uri)
    with pytest.raises(Forbidden):
        documents(shelf).delete("mail.eml", unwatched, staff)
    for uri in ("pay.md", "mail.eml!/pay.md", "absent.md"):
        with pytest.raises(UnknownDocument):
            documents(shelf).delete(uri, unwatched, staff)
    assert shelf.reader().pin("c", OWNER).generation == 3
    assert documents(shelf).delete("mail.eml!/pay.md", unwatched, frozenset({"hr"})).counts["deleted"] == 1  # control
    assert put_by_staff("mail.eml").counts["changed"] == 1


def test_a_put_leaves_what_came_from_a_source(shelf: Shelf, source: Path) -> None:
    (source / "t.jsonl").write_text('{"_id": "1", "text": "the valve"}\n')
    shelf.ingest(source)
    assert put(shelf, "t.jsonl", "the rows").counts == {
        "added": 1, "changed": 0, "unchanged": 0, "deleted": 0, "failed": 0,
    }  # fmt: skip
    assert stored(shelf, "t.jsonl#1").origin == "run"


def test_an_attachment_that_fails_keeps_its_last_good_version(shelf: Shelf) -> None:
    documents(shelf).put("m", Upload("m.eml", mail("x", a_txt=b"pump", b_txt=b"valve", c_txt=b"x")), TOOLS, unwatched)
    upload = Upload("m.eml", mail("y", a_txt=b"pump", b_txt=b"PK\x03\x04 nothing"))
    report = documents(shelf).put("m", upload, TOOLS, unwatched)
    assert [(f.document, f.kind) for f in report.failures] == [("m!/b.txt", "broken")]
    assert (report.counts["deleted"], stored(shelf, "m!/b.txt").text) == (1, "valve")  # c.txt is not there any more


def test_what_lies_in_an_erased_document_is_not_put(shelf: Shelf, source: Path) -> None:
    (source / "r.jsonl").write_text('{"_id": 1, "text": "pump"}\n{"_id": 2, "text": "valve"}\n')
    shelf.ingest(source)
    documents(shelf).erase(["r.jsonl"], unwatched)
    assert [failure.kind for failure in put(shelf, "r.jsonl#1", "other").failures] == ["erased"]
    assert shelf.ingest(source).counts["added"] == 0
    assert put(shelf, "r.jsonl", "the document itself").counts["added"] == 1


def test_what_is_named_twice_is_erased_and_counted_once(shelf: Shelf, source: Path) -> None:
    (source / "m.eml").write_bytes(mail("x", a_txt=b"pump"))
    shelf.ingest(source)
    report = documents(shelf).erase(["m.eml!/a.txt", "m.eml", "m.eml"], unwatched)
    assert report.counts["deleted"] == 2
