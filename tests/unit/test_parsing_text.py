"""Bytes to text: encodings, normalisation, detection, and the dispatcher."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import zipfile

import pytest
from compound import compound
from hypothesis import given, settings
from hypothesis import strategies as st

from domicile.errors import DocumentError
from domicile_ingest.parsing import Parsed, clean, parse
from domicile_ingest.parsing.detect import detect
from domicile_ingest.parsing.parsed import one_line, stem
from domicile_ingest.parsing.text import decode, decode_as

WESTERN = "Der Käufer zahlt die Gebühr für die Prüfung – spätestens am 1. März, sonst 5 € mehr. "
RUSSIAN = "Договор вступает в силу со дня его подписания обеими сторонами. "
JAPANESE = "有給休暇は入社から半年後に十日間与えられます。\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("text", ["Plain words, nothing else.", WESTERN, RUSSIAN, JAPANESE, "ab c"])
def test_unicode_encodings(text: str, encoding: str) -> None:
    assert parse("a.txt", text.encode(encoding)).text == text.strip()


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (WESTERN, "cp1252"),
        ("Grüße aus Österreich", "cp1252"),
        (WESTERN * 20, "cp1252"),
        ("El niño comió paella con ñoquis. La señora sonrió. " * 9, "latin-1"),
        ("Wypowiedzenie składa się pisemnie, najpóźniej do końca miesiąca. Później też, jeśli zdążysz. " * 9, "cp1250"),
        (RUSSIAN * 5, "cp1251"),
        (RUSSIAN * 5, "koi8_r"),
        (JAPANESE * 8, "cp932"),
        (JAPANESE * 8, "euc_jp"),
    ],
)
def test_legacy_encodings(text: str, encoding: str) -> None:
    assert parse("a.txt", text.encode(encoding)).text == clean(text)


def test_a_little_damage_does_not_change_the_encoding() -> None:
    data = (RUSSIAN * 5).encode()
    assert parse("a.txt", data[:101] + b"\xff" + data[101:]).text.startswith(RUSSIAN[:20])


@pytest.mark.parametrize("size", [400, 100_000])
def test_noise_is_not_text(size: int) -> None:
    for seed in range(20):
        with pytest.raises(DocumentError) as caught:
            parse("a.txt", b"x" + random.Random(seed).randbytes(size))
        assert caught.value.kind == "binary"


def zipped(members: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b" \n\t\r\n", "empty"),
        ("a.txt", b"\xff\xfe", "empty"),
        ("a.md", b"---\ntitle: x\n---\n", "empty"),
        ("a.html", b"<html><script>x</script></html>", "empty"),
        ("a.txt", b"\x89PNG\r\n\x1a\n" + bytes(50), "binary"),
        ("a.pdf", b"\x7fELF" + bytes(50), "binary"),
        ("a.doc", compound({("WordDocument",): b"words"}), "unsupported"),
        ("a.xlsx", compound({("EncryptedPackage",): b"words"}), "encrypted"),
        ("a.doc", compound({("Contents",): b"words"}), "binary"),
        ("a.msg", compound({("WordDocument",): b"words"})[:1000], "broken"),
        ("a.odt", zipped({"mimetype": b"application/vnd.oasis.opendocument.spreadsheet"}), "unsupported"),
        ("a.zip", zipped({"a.txt": b"words"}), "binary"),
        ("a.docx", b"PK\x03\x04 and then nothing", "broken"),
        ("a.pdf", b"%PDF-1.7\nnothing", "broken"),
        ("a.svg", b"<svg xmlns='x'/>", "unsupported"),
        ("a.svg", b"<?xml version='1.0'?>\n<!-- x -->\n<!DOCTYPE svg PUBLIC 'a' 'b'><svg/>", "unsupported"),
        ("a.svg", "<!DOCTYPE svg><svg/>".encode("utf-16"), "unsupported"),
        ("a.eml", b"", "empty"),
    ],
)
def test_what_cannot_be_read_says_why(name: str, data: bytes, kind: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(name, data)
    assert caught.value.kind == kind
    assert "\n" not in caught.value.reason


MAIL = b"Message-ID: <1@x>\nFrom: Ann <a@x>\nTo: b@x\nSubject: Leave\n\nTwenty days.\n"


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a", MAIL, "eml"),
        ("a.txt", MAIL, "eml"),
        ("a.txt", b"From ann@x Mon Jan 1\r\n" + MAIL.replace(b"\n", b"\r\n"), "eml"),
        ("a.txt", MAIL.decode().encode("utf-16"), "eml"),
        ("a.txt", b"From: Ann\nSubject: Leave\nDate: today\n\nTwenty days.", "eml"),
        ("a.md", MAIL, "md"),
        ("a.txt", b"Note: the form is old\nFrom: May on, use the new one.\n", "txt"),
        ("a.txt", b"From: Paris\nTo: Lyon\n\nTwo hours by train.\n", "txt"),
        ("a.txt", b"Subject: Leave\nDate: Monday\n\nMinutes of the meeting.\n", "txt"),
        ("a.txt", b"Dear all,\nFrom: Ann\nSubject: Leave\nTo: b\n", "txt"),
        ("a.eml", b"<html><body>saved page</body></html>", "html"),
        ("a.doc", b"{\\rtf1 words}", "rtf"),
        ("a.txt", zipped({"mimetype": b"application/epub+zip", "word/odd": b""}), "epub"),
        ("a.zip", zipped({"META-INF/container.xml": b""}), "epub"),
        ("a.docx", zipped({"ppt/presentation.xml": b""}), "pptx"),
        ("a", compound({("__properties_version1.0",): b"", ("x", "EncryptedPackage"): b""}), "msg"),
    ],
)
def test_the_content_tells_the_kind(name: str, data: bytes, kind: str) -> None:
    assert detect(name, data) == kind


@pytest.mark.parametrize(
    "encoding", ["punycode", "idna", "undefined", "unicode_escape", "rot13", "zlib", "no-such", "\0"]
)
def test_a_claimed_encoding_that_no_file_has_is_not_tried(encoding: str) -> None:
    assert decode_as(b"caf\xe9", encoding) is None
    assert decode(b"caf\xe9", encoding) == "café"


def test_a_text_waits_for_no_other_format() -> None:
    script = (
        "import sys; from domicile_ingest.parsing import parse; parse('a.md', b'# Words'); parse('a.txt', b'words')\n"
        "print(sorted({'pptx', 'docx', 'openpyxl', 'pypdfium2', 'lxml', 'olefile', 'striprtf', 'email.parser'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_too_large() -> None:
    with pytest.raises(DocumentError) as caught:
        parse("a.txt", b"a " * 10_500_000)
    assert caught.value.kind == "too_large"


def test_a_zip_archive_is_bounded_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domicile_ingest.parsing.detect._MAX_UNFOLDED", 5_000_000)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", bytes(6_000_000))
    with pytest.raises(DocumentError) as caught:
        parse("bomb.docx", target.getvalue())
    assert caught.value.kind == "too_large"


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.md", b"# x", "md"),
        ("a.MD", b"# x", "md"),
        ("README", b"# x", "txt"),
        ("a.txt", b"<!DOCTYPE html><p>x", "html"),
        ("a.txt", "<html><p>x".encode("utf-16"), "html"),
        ("a.txt", b"see <div>", "txt"),
        ("a.csv", b"a,b", "csv"),
        ("a.tsv", b"a\tb", "tsv"),
        ("a.html", b"no tags", "html"),
        ("a.txt", b"\n%PDF-1.4", "pdf"),
    ],
)
def test_the_name_only_tells_kinds_of_text_apart(name: str, data: bytes, kind: str) -> None:
    assert detect(name, data) == kind


def test_clean() -> None:
    assert clean("\ufeff\r\n  a \r\nb\rc\x0cd\u2028e\t\x00\n\n") == "  a\nb\nc\nd\ne"
    assert clean("x\x01y\ud800") == "x y\ufffd"
    assert clean("cafe\u0301") == "cafe\u0301"


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_clean_is_done_once(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    once.encode()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["a.txt", "a.md", "a.html", "a.csv", "a.tsv", "a.bin"]))
def test_any_bytes_give_a_text_or_a_reason(data: bytes, name: str) -> None:
    try:
        parsed = parse(name, data)
    except DocumentError:
        return
    assert isinstance(parsed, Parsed)
    assert parsed.title
    assert parsed.text.strip()
    assert clean(parsed.text) == parsed.text


def test_titles_of_last_resort() -> None:
    assert stem("hr/Leave policy.v2.txt") == "Leave policy.v2"
    assert stem("mail.eml!/note.txt") == "note"
    assert stem(".profile") == ".profile"
    assert one_line("a\n  b" + "c" * 500) == "a b" + "c" * 296 + "…"
