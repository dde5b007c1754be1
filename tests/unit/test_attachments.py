"""Mails and their attachments: each a document, found again, changed and deleted with the mail that holds it."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

import pytest
from corpora import Shelf

from domicile.domain import OWNER
from domicile_ingest.pipeline import Options


def mail(text: str, **attachments: bytes) -> bytes:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Pumps", "a@example.org", "b@example.org"
    message.set_content(text)
    for name, data in attachments.items():
        message.add_attachment(data, "application", "octet-stream", filename=name.replace("_", "."))
    return message.as_bytes()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf.at(tmp_path / "home")


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
