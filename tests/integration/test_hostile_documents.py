"""Documents that attack their parser: bombs, entities and noise. Each gives a text or a reason, and nothing else happens."""

from __future__ import annotations

import io
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docx
import pytest
from openpyxl import Workbook
from planted_parser import SCRIPT
from reportlab.pdfgen.canvas import Canvas

from domicile.errors import DocumentError
from domicile_ingest.parsing import Parsed, parse
from domicile_ingest.parsing.sandbox import Limits, Sandbox

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "messy-docs"
MUTANTS = 10_000 if os.environ.get("DOMICILE_NIGHTLY") else 300
MAX_MUTATED = 300_000
SECRET = "the planted secret"

Outcome = Parsed | tuple[str, str]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as started:
        yield started


@pytest.fixture(scope="module")
def hurried() -> Iterator[Sandbox]:
    with Sandbox(1, Limits(cpu_seconds=2)) as started:
        yield started


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def outcome(parser: Callable[[str, bytes], Parsed], name: str, data: bytes) -> Outcome:
    try:
        return parser(name, data)
    except DocumentError as error:
        return error.kind, error.reason


def word() -> bytes:
    document = docx.Document()
    document.add_heading("Leave", 1)
    document.add_paragraph("Everybody has MARKER days.")
    target = io.BytesIO()
    document.save(target)
    return target.getvalue()


def workbook() -> bytes:
    book = Workbook()
    book.active.append(["Site", "MARKER"])
    book.active.append(["Lyon", 25])
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def pdf() -> bytes:
    target = io.BytesIO()
    canvas = Canvas(target)
    canvas.drawString(72, 700, "Thirty days of leave.")
    canvas.showPage()
    canvas.drawString(72, 700, "A second page.")
    canvas.save()
    return target.getvalue()


SAMPLES = {
    "a.docx": word(),
    "a.xlsx": workbook(),
    "a.pdf": pdf(),
    "a.md": b"---\ntitle: Leave\ndomicile:\n  label:\n    groups: [hr]\n---\n# Leave\n\n- a\n- b\n",
    "date.md": b"---\ndomicile:\n  label:\n    regions: [eu]\n    sensitivity: public\n---\ntext\n",
    "a.html": b"<title>Leave</title><h1>Leave</h1><table><tr><td>a<td>b<tr><td>1<td>2</table>",
    "a.csv": b"site;days\nLyon;25\n",
    "a.txt": "zwölf Tage".encode("utf-16"),
    "empty.md": b" \n",
    "a.png": b"\x89PNG\r\n\x1a\n....",
    "broken.docx": b"PK\x03\x04 and no more",
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_document_is_read_as_without_the_sandbox(sandbox: Sandbox, name: str) -> None:
    assert outcome(sandbox.parse, name, SAMPLES[name]) == outcome(parse, name, SAMPLES[name])


def messy() -> list[str]:
    if not FOLDER.is_dir():
        return []
    return [json.loads(line)["path"] for line in (FOLDER / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no messy documents beside the checkout ({FOLDER.name} is absent)")
def test_every_messy_document_is_read_as_without_the_sandbox(sandbox: Sandbox) -> None:
    def differs(path: str) -> bool:
        data = (FOLDER / path).read_bytes()
        return outcome(sandbox.parse, path, data) != outcome(parse, path, data)

    with ThreadPoolExecutor(3) as threads:
        assert [path for path, differ in zip(messy(), threads.map(differs, messy()), strict=True) if differ] == []


def test_a_label_that_json_cannot_say_is_a_malformed_one(sandbox: Sandbox) -> None:
    source = b"---\ndomicile:\n  label:\n    categories: [2026-01-01]\n---\ntext\n"
    label = sandbox.parse("a.md", source).label
    assert label is not None
    assert label.keys() == {"malformed"}


def rezipped(data: bytes, member: str, change: Callable[[bytes], bytes]) -> bytes:
    """An office file with one member changed."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as copy,
    ):
        assert member in source.namelist()
        for info in source.infolist():
            content = source.read(info)
            copy.writestr(info.filename, change(content) if info.filename == member else content)
    return target.getvalue()


def inflated(data: bytes, member: str, where: bytes, filler: bytes) -> bytes:
    def fill(xml: bytes) -> bytes:
        assert where in xml
        return xml.replace(where, where + filler * (250_000_000 // len(filler)), 1)

    return rezipped(data, member, fill)


def laughing(xml: bytes) -> bytes:
    levels = b"".join(b'<!ENTITY l%d "%s">' % (n + 1, b"&l%d;" % n * 10) for n in range(9))
    return b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "laugh">' + levels + b"]>" + _body(xml, b"&l9;")


def _body(xml: bytes, entity: bytes) -> bytes:
    """The document without its declaration, with an entity where the marker is."""
    assert b"MARKER" in xml
    return re.sub(rb"^<\?.*?\?>", b"", xml).replace(b"MARKER", entity)


def folded_pdf() -> bytes:
    """300 MB of operators, deflated three times."""
    packed = b"(x) Tj " * 43_000_000
    for level in (1, 9, 9):
        packed = zlib.compress(packed, level)
    return pdf_with(packed, b"[/FlateDecode /FlateDecode /FlateDecode]")


def pdf_with(stream: bytes, filters: bytes) -> bytes:
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R"
        b"/Resources<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>",
        b"<</Length %d/Filter %s>>stream\n%s\nendstream" % (len(stream), filters, stream),
    ]
    body = b"".join(b"%d 0 obj%s endobj\n" % (number, content) for number, content in enumerate(objects, 1))
    return b"%PDF-1.4\n" + body + b"trailer<</Root 1 0 R>>\n"


BOMBS: dict[str, Callable[[], bytes]] = {
    "blanks.docx": lambda: inflated(word(), "word/document.xml", b"<w:body>", b" "),
    "elements.docx": lambda: inflated(word(), "word/document.xml", b"<w:body>", b"<w:p><w:r><w:t>x</w:t></w:r></w:p>"),
    "rows.xlsx": lambda: inflated(workbook(), "xl/worksheets/sheet1.xml", b"<sheetData>", b"<a/>"),
    "laughs.docx": lambda: rezipped(word(), "word/document.xml", laughing),
    "laughs.xlsx": lambda: rezipped(workbook(), "xl/worksheets/sheet1.xml", laughing),
    "folded.pdf": folded_pdf,
    "deep.html": lambda: b"<div>" * 500_000 + b"deep",
    "deep.md": lambda: b"> " * 200_000 + b"deep",
    "deep-label.md": lambda: b"---\ndomicile: " + b"[" * 30_000 + b"\n---\ntext",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_gives_a_small_text_or_a_reason_within_the_limits(hurried: Sandbox, name: str) -> None:
    bomb = BOMBS[name]()
    started = time.monotonic()
    result = outcome(hurried.parse, name, bomb)
    assert time.monotonic() - started < 20, "2 s of computing on a busy machine"
    if isinstance(result, Parsed):
        assert len(result.text) <= len(bomb)
    else:
        assert result[0] in {"broken", "too_large", "too_slow", "empty"}
    assert hurried.parse("next.txt", b"the next").text == "the next"


def test_a_million_rows_are_read(sandbox: Sandbox) -> None:
    rows = "\n".join(f"{number},x" for number in range(1_000_000))
    assert sandbox.parse("rows.csv", rows.encode()).text == rows


ENTITY = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "%s">]>'
REACHING_OUT: dict[str, Callable[[bytes], bytes]] = {
    "a.docx": lambda url: rezipped(word(), "word/document.xml", lambda xml: ENTITY % url + _body(xml, b"&e;")),
    "a.xlsx": lambda url: rezipped(
        workbook(), "xl/worksheets/sheet1.xml", lambda xml: ENTITY % url + _body(xml, b"&e;")
    ),
    "a.svg": lambda url: ENTITY % url + b"<svg><text>&e;</text></svg>",
    "a.xhtml": lambda url: ENTITY % url + b"<html><body><p>words &e;</p></body></html>",
    "a.html": lambda url: b'<p>words <img src="%s"><iframe src="%s"></iframe><link href="%s">' % (url, url, url),
    "a.md": lambda url: b"words ![](%s) <img src='%s'>" % (url, url),
}


@pytest.mark.parametrize("name", REACHING_OUT)
def test_nothing_outside_is_read_or_asked_for(
    sandbox: Sandbox, name: str, tmp_path: Path, server: socket.socket
) -> None:
    planted = tmp_path / "planted.txt"
    planted.write_text(SECRET)
    host, port = server.getsockname()
    for url in (planted.as_uri(), f"http://{host}:{port}/x"):
        result = outcome(sandbox.parse, name, REACHING_OUT[name](url.encode()))
        assert SECRET not in repr(result)
    with pytest.raises(BlockingIOError):
        server.accept()


def test_a_parser_that_resolves_entities_reads_the_file_outside_and_nothing_inside(tmp_path: Path) -> None:
    planted = tmp_path / "planted.txt"
    planted.write_text(SECRET)
    xml = ENTITY % planted.as_uri().encode() + b"<x>&e;</x>"
    outside = subprocess.run(
        [sys.executable, SCRIPT, "--free", "entity", xml.decode()], capture_output=True, text=True, check=True
    )
    assert SECRET in outside.stdout
    with Sandbox(1, child=(SCRIPT,)) as sandbox:
        assert SECRET not in repr(outcome(sandbox.parse, "entity", xml))


def mutant(sources: Sequence[tuple[str, bytes]], rng: random.Random) -> tuple[str, bytes]:
    """A file with bits flipped, an end cut off, or a piece of another file put into it."""
    name, data = rng.choice(sources)
    changed = bytearray(data)
    kind = rng.randrange(4)
    if kind == 0:
        for _ in range(rng.randint(1, 30)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del changed[rng.randrange(len(changed)) :]
    elif kind == 2:
        other = rng.choice(sources)[1]
        at, begin = rng.randrange(len(changed)), rng.randrange(len(other))
        changed[at : at + rng.randrange(2000)] = other[begin : begin + rng.randrange(2000)]
    elif name.endswith(("docx", "xlsx", "pptx", "odt", "epub")):
        return name, mutated_member(bytes(changed), rng)
    else:
        at = rng.randrange(len(changed))
        changed[at:at] = changed[at : at + rng.randrange(2000)] * rng.randint(1, 50)
    return name, bytes(changed)


def mutated_member(data: bytes, rng: random.Random) -> bytes:
    """The archive stays whole, so that what lies inside it is met broken."""

    def flip(content: bytes) -> bytes:
        changed = bytearray(content)
        for _ in range(rng.randint(1, 20) if content else 0):
            changed[rng.randrange(len(changed))] = rng.choice(b"<>&\"'/ \x00\xff9")
        return bytes(changed)

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [name for name in archive.namelist() if name.endswith((".xml", ".rels", ".xhtml"))]
        return rezipped(data, rng.choice(members), flip)
    except (zipfile.BadZipFile, IndexError, NotImplementedError, RuntimeError):
        return data[: len(data) // 2]


def test_mutants_are_contained(sandbox: Sandbox) -> None:
    sources = [(name, data) for name, data in SAMPLES.items() if len(data) > 1]
    files = [(path, FOLDER / path) for path in messy()]
    sources += [(path, file.read_bytes()) for path, file in files if 1 < file.stat().st_size < MAX_MUTATED]
    rng = random.Random(20_261_123)
    mutants = (mutant(sources, rng) for _ in range(MUTANTS))
    with ThreadPoolExecutor(2) as threads:  # whatever is neither a text nor a reason is raised here
        results = list(threads.map(lambda made: outcome(sandbox.parse, *made), mutants))
    texts = sum(isinstance(result, Parsed) for result in results)
    assert MUTANTS * 0.2 < texts < MUTANTS * 0.98, "most are damaged, and not all beyond reading"
    assert sandbox.parse("next.txt", b"the next").text == "the next"
