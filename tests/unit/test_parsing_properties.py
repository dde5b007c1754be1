"""What PDFs and office files say about themselves."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, date, datetime, timedelta, timezone

import docx
import pptx
import pytest
from reportlab.pdfgen.canvas import Canvas

from domicile_ingest.parsing import parse
from domicile_ingest.parsing.properties import pdf_date

MADE = datetime(2024, 5, 1, 10, tzinfo=UTC)
SAID = (
    ("author", "Ann Smith"), ("author", "Bob"),
    ("created", "2024-05-01T10:00:00.000000Z"), ("modified", "2024-05-01T10:00:00.000000Z"),
)  # fmt: skip


def word() -> bytes:
    document, target = docx.Document(), io.BytesIO()
    document.add_paragraph("Twenty days.")
    core = document.core_properties
    core.author, core.created, core.modified = "Ann  Smith; Bob;", MADE, MADE
    document.save(target)
    return target.getvalue()


def slides() -> bytes:
    presentation, target = pptx.Presentation(), io.BytesIO()
    title = presentation.slides.add_slide(presentation.slide_layouts[0]).shapes.title
    assert title is not None
    title.text = "Leave"
    core = presentation.core_properties
    core.author, core.created, core.modified = "Ann  Smith; Bob;", MADE, MADE
    presentation.save(target)
    return target.getvalue()


def edited(data: bytes, old: bytes, new: bytes) -> bytes:
    """An archive with other words in its core properties; without them where ``new`` is empty."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as copy:
        for member in source.infolist():
            content = source.read(member)
            if member.filename == "docProps/core.xml":
                assert old in content
                content = content.replace(old, new)
            copy.writestr(member.filename, content)
    return target.getvalue()


@pytest.mark.parametrize(("name", "data"), [("a.docx", word()), ("a.pptx", slides())], ids=["docx", "pptx"])
def test_office_files(name: str, data: bytes) -> None:
    assert parse(name, data).metadata.values == SAID
    odd = parse(name, edited(data, b"2024-05-01T10:00:00Z", b"yesterday")).metadata
    assert odd.values == SAID[:2]
    assert parse(name, edited(data, b"Ann  Smith; Bob;", b"")).metadata.values == SAID[2:]


@pytest.mark.parametrize(("name", "data"), [("a.docx", word()), ("a.pptx", slides())], ids=["docx", "pptx"])
def test_properties_that_the_library_would_invent_are_none(name: str, data: bytes) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as copy:
        for member in source.infolist():
            content = source.read(member)
            if member.filename == "_rels/.rels":
                content = content.replace(b"metadata/core-properties", b"metadata/other-properties")
            copy.writestr(member.filename, content)
    assert parse(name, target.getvalue()).metadata.values == ()


def test_pdf() -> None:
    target = io.BytesIO()
    canvas = Canvas(target, invariant=1)
    canvas.setAuthor("Ann  Smith; Bob")
    canvas.drawString(72, 700, "Twenty days of leave are granted to everybody who works here.")
    canvas.save()
    values = parse("a.pdf", target.getvalue()).metadata.values
    assert values[:2] == SAID[:2]
    assert [name for name, _ in values[2:]] == ["created", "modified"]
    assert all(str(value).startswith("2000-01-01T00:00:00") for _, value in values[2:])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("D:20240501120000+02'00'", datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))),
        ("D:20240501120000-0530", datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=-5, minutes=-30)))),
        ("D:20240501120000Z00'00'", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("20240501120000", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("D:202405011200", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("D:20240501", date(2024, 5, 1)),
        ("D:20241345", None),
        ("D:2024", None),
        ("1 May 2024", None),
        ("D:20240501250000", None),
        ("D:20240501120000+99'00'", None),
        ("", None),
    ],
)
def test_dates_of_pdfs(text: str, expected: date | None) -> None:
    assert pdf_date(text) == expected
