"""Mails and their attachments: each a document, found again, changed and deleted with the mail that holds it."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

import pytest
from corpora import COLLECTION, EMBEDDER, Shelf, mail, put

from domicile.domain import OWNER
from domicile_ingest.pipeline import Options


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "m.eml").write_bytes(mail("see the files", a_txt=b"pump", b_md=b"# Valve\n\nopen"))
    return folder


def uris(shelf: Shelf) -> set[str]:
    return set(shelf.reader().pin("c", OWNER).states())


def test_attachments_are_documents_of_their_own(shelf: Shelf, source: Path) -> None:
    report = shelf.ingest(source)
    assert report.counts["added"] == 3
    assert uris(shelf) == {"m.eml", "m.eml!/a.txt", "m.eml!/b.md"}
    document = shelf.reader().pin("c", OWNER).document("m.eml!/b.md", None)
    assert document is not None
    assert (document.title, document.layout.markdown) == ("Valve", True)
    again = shelf.ingest(source)
    assert (again.commit.generation, again.counts["unchanged"], again.counts["deleted"]) == (1, 3, 0)


def test_an_attachment_that_left_the_mail_is_deleted_and_the_others_cost_nothing(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    (source / "m.eml").write_bytes(mail("see the file", a_txt=b"pump"))
    report = shelf.ingest(source)
    assert (report.counts["changed"], report.counts["unchanged"], report.counts["deleted"]) == (1, 1, 1)
    assert uris(shelf) == {"m.eml", "m.eml!/a.txt"}
    (source / "m.eml").unlink()
    assert shelf.ingest(source, Options(allow_empty=True)).counts["deleted"] == 2


def test_a_failed_attachment_is_listed_each_time_and_makes_no_generation(shelf: Shelf, source: Path) -> None:
    (source / "m.eml").write_bytes(mail("see", a_txt=b"pump", b_zip=b"PK\x03\x04 nothing"))
    for _ in range(3):
        report = shelf.ingest(source)
        assert [(f.document, f.kind) for f in report.failures] == [("m.eml!/b.zip", "broken")]
        assert report.commit.generation == 1
    assert report.counts == {"added": 0, "changed": 0, "unchanged": 2, "deleted": 0, "failed": 1}
    (source / "m.eml").write_bytes(mail("see", a_txt=b"pump", b_zip=b"now a text"))
    assert shelf.ingest(source).counts["failed"] == 0
    assert uris(shelf) == {"m.eml", "m.eml!/a.txt", "m.eml!/b.zip"}


def test_a_mail_that_cannot_be_read_now_keeps_its_attachments(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    (source / "m.eml").write_bytes(b"")
    report = shelf.ingest(source)
    assert (report.counts["failed"], report.counts["deleted"]) == (1, 0)
    assert len(uris(shelf)) == 3


def test_the_label_of_a_mail_is_that_of_its_attachments(shelf: Shelf, source: Path) -> None:
    (source / "m.eml.label.toml").write_text('groups = ["hr"]\n')
    shelf.ingest(source)
    index = shelf.reader().pin("c", OWNER)
    assert index.document("m.eml!/a.txt", frozenset({"staff"})) is None
    assert index.document("m.eml!/a.txt", frozenset({"hr"})) is not None


def test_mails_in_mails_end_somewhere(shelf: Shelf, source: Path) -> None:
    inner = EmailMessage()
    inner["Subject"] = "deepest"
    inner.set_content("pump")
    for depth in range(8):
        outer = EmailMessage()
        outer["Subject"] = f"depth {depth}"
        outer.set_content("forwarded")
        outer.add_attachment(inner)
        inner = outer
    (source / "m.eml").write_bytes(inner.as_bytes())
    report = shelf.ingest(source)
    assert [failure.kind for failure in report.failures] == ["too_large"]
    assert max(uri.count("!/") for uri in uris(shelf)) == 5


def test_a_mail_in_a_folder_that_ends_like_a_mark_keeps_its_attachments(shelf: Shelf, source: Path) -> None:
    (source / "Important!").mkdir()
    (source / "m.eml").rename(source / "Important!" / "m.eml")
    held = {"Important!/m.eml", "Important!/m.eml!/a.txt", "Important!/m.eml!/b.md"}
    for counted in ("added", "unchanged"):
        assert shelf.ingest(source).counts[counted] == 3
        assert uris(shelf) == held
    (source / "Important!" / "m.eml").write_bytes(b"")  # not read any more, and what is said of it is said of all of it
    report = shelf.ingest(source, rules={"Important!/**": {"groups": ["hr"]}})
    assert (report.counts["failed"], report.counts["deleted"], uris(shelf)) == (1, 0, held)
    index = shelf.reader().pin("c", OWNER)
    assert all(index.document(uri, frozenset({"staff"})) is None for uri in held)


def test_a_file_that_is_named_like_an_attachment_is_refused(shelf: Shelf, source: Path) -> None:
    (source / "m.eml!").mkdir()
    (source / "m.eml!" / "a.txt").write_text("a file")
    for generation in (1, 1):
        report = shelf.ingest(source)
        assert [(f.document, f.kind) for f in report.failures] == [("m.eml!/a.txt", "duplicate")]
        assert report.commit.generation == generation
    document = shelf.reader().pin("c", OWNER).document("m.eml!/a.txt", None)
    assert document is not None
    assert document.text == "pump"


def test_no_delete_does_not_keep_what_left_a_mail(shelf: Shelf, source: Path) -> None:
    shelf.ingest(source)
    (source / "other.txt").write_text("valve")
    (source / "m.eml").write_bytes(mail("see the file", a_txt=b"pump"))
    assert shelf.ingest(source, Options(no_delete=True)).counts["deleted"] == 1
    assert uris(shelf) == {"m.eml", "m.eml!/a.txt", "other.txt"}
    (source / "m.eml").unlink()  # the control: what is missing as a whole is kept
    assert shelf.ingest(source, Options(no_delete=True)).counts["deleted"] == 0


def test_an_attachment_whose_uri_is_taken_is_listed_each_time(shelf: Shelf, source: Path) -> None:
    with shelf.writer.change(COLLECTION, EMBEDDER) as change:
        put(change, "m.eml!/a.txt", "by api", origin="api")
        change.commit()
    for _ in range(2):
        report = shelf.ingest(source)
        assert [(f.document, f.kind) for f in report.failures] == [("m.eml!/a.txt", "duplicate")]
        assert report.commit.generation == 2
    assert report.counts["unchanged"] == 2


def test_a_row_is_no_attachment_whatever_its_id_looks_like(shelf: Shelf, source: Path) -> None:
    rows = source / "r.jsonl"
    rows.write_text('{"_id": "a", "text": "pump"}\n{"_id": "a!/b", "text": "valve"}\n')
    shelf.ingest(source)
    assert shelf.ingest(source).counts["unchanged"] == 5
    rows.write_text('{"_id": "a", "text": "pump"}\n')
    assert shelf.ingest(source).counts["deleted"] == 1
    assert "r.jsonl#a!/b" not in uris(shelf)
