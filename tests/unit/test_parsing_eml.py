"""Mails as files: headers, the better body, attachments under safe names, and what malformed mails get wrong."""

from __future__ import annotations

import base64
import time
from email.message import EmailMessage

import pytest

from domicile.errors import DocumentError
from domicile_ingest.parsing import Parsed, parse

HEADERS = (
    b"From: Ann <ann@x.org>\nTo: bob@x.org\nSubject: Leave\nDate: Mon, 1 Jan 2024 10:00:00 +0100\nMIME-Version: 1.0\n"
)
SHOWN = "Subject: Leave\nFrom: Ann <ann@x.org>\nTo: bob@x.org\nDate: Mon, 1 Jan 2024 10:00:00 +0100"


PGP = b"-----BEGIN PGP MESSAGE-----\nx"


def mail(*parts: bytes, kind: str = "mixed") -> bytes:
    """A mail of several parts, each with its own headers."""
    joined = b"".join(b"\n--=b\n" + part for part in parts)
    return HEADERS + f'Content-Type: multipart/{kind}; boundary="=b"\n'.encode() + joined + b"\n--=b--\n"


def part(kind: str, content: bytes, *headers: str) -> bytes:
    return "\n".join((f"Content-Type: {kind}", *headers, "", "")).encode() + content


def attached(name: str, content: bytes = b"words", kind: str = "text/plain") -> bytes:
    return part(kind, content, f'Content-Disposition: attachment; filename="{name}"')


def read(data: bytes) -> Parsed:
    return parse("mail.eml", data)


def names(data: bytes) -> list[str]:
    return [attachment.name for attachment in read(data).attachments]


def test_headers_and_body() -> None:
    parsed = read(HEADERS + b"Bcc: eve@x.org\nX-Secret: 1\n\nTwenty days.\n# no heading\n")
    assert parsed.title == "Leave"
    assert parsed.text == f"{SHOWN}\n\nTwenty days.\n# no heading"
    assert not parsed.markdown
    assert parsed.attachments == ()


def test_who_wrote_to_whom_and_when_is_metadata() -> None:
    assert read(HEADERS + b"\nTwenty days.").metadata.values == (
        ("from", "ann@x.org"), ("to", "bob@x.org"), ("date", "2024-01-01T09:00:00.000000Z")
    )  # fmt: skip
    odd = b'From: "Smith, Ann" <Ann@X.org>\nTo: =?utf-8?q?J=C3=B6rg?= <j@x.org>, b@x.org\nCc: undisclosed\nDate: today\n\nx'
    assert read(odd).metadata.values == (
        ("from", "ann@x.org"), ("to", "j@x.org"), ("to", "b@x.org"), ("cc", "undisclosed")
    )  # fmt: skip
    assert read(b"Subject: x\nTo: " + b"a" * 9_000 + b"\n\nx").metadata.remarks == (
        "metadata 'to': must have at most 1,024 characters: left out",
    )


def test_the_plain_body_unless_html_says_much_more() -> None:
    plain, html = part("text/plain", b"Twenty days."), part("text/html", b"<h1>Days</h1><p>Twenty</p>")
    assert read(mail(plain, html, kind="alternative")).text == f"{SHOWN}\n\nTwenty days."
    only = read(mail(html))
    assert only.text == f"{SHOWN}\n\n# Days\n\nTwenty"
    assert only.markdown
    stub, long = part("text/plain", b"See the HTML part."), part("text/html", b"<p>" + b"Twenty days. " * 30 + b"</p>")
    assert "Twenty days." in read(mail(stub, long, kind="alternative")).text
    broken = part("text/html", b"<div>" * 5000)
    assert read(mail(plain, broken, kind="alternative")).text == f"{SHOWN}\n\nTwenty days."
    with pytest.raises(DocumentError) as caught:
        read(mail(broken))
    assert caught.value.kind == "broken"


@pytest.mark.parametrize(
    ("charset", "encoding", "words"),
    [
        ("utf-8", "utf-8", "Gebühr 有給 €"),
        ("iso-8859-1", "utf-8", "Gebühr 有給 €"),
        ("no-such-charset", "utf-8", "Gebühr 有給 €"),
        ("iso-2022-jp", "iso-2022-jp", "有給休暇"),
        ("windows-1251", "cp1251", "Договор вступает в силу"),
        ("iso-8859-1", "cp1252", "Gebühr “fünf” €"),
        ("utf-16le", "utf-16-le", "Gebühr"),
        ("punycode", "cp1252", "Gebühr"),
    ],
)
def test_charsets(charset: str, encoding: str, words: str) -> None:
    content = base64.encodebytes(words.encode(encoding))
    data = mail(part(f'text/plain; charset="{charset}"', content, "Content-Transfer-Encoding: base64"))
    assert read(data).text == f"{SHOWN}\n\n{words}"


def test_headers_in_any_encoding() -> None:
    raw = "Subject: Gebühr\nFrom: Jürgen <j@x>\nTo: =?iso-8859-1?Q?Ren=E9?= <r@x>, =?bad?X?y?= <z@x>\n\nwords".encode()
    parsed = read(raw)
    assert parsed.title == "Gebühr"
    assert "From: Jürgen <j@x>\nTo: René <r@x>" in parsed.text
    assert parse("a.eml", "Subject: Gebühr\nFrom: a@x\n\nwords".encode("cp1252")).title == "Gebühr"


def test_attachments_in_order_and_media_left_out() -> None:
    data = mail(
        part("text/plain", b"See below."),
        attached("report.pdf", b"%PDF", "application/pdf"),
        part("image/png", b"x", "Content-Disposition: inline; filename=logo.png"),
        attached("photo.JPG", b"x", "application/octet-stream"),
        part("audio/mpeg", b"x"),
        part("application/pgp-signature", b"x"),
        part("text/calendar", b"BEGIN:VCALENDAR", "Content-Disposition: attachment"),
        part("text/plain", b"And a footer."),
    )
    parsed = read(data)
    assert parsed.text == f"{SHOWN}\n\nSee below.\n\nAnd a footer."
    assert [(a.name, a.data) for a in parsed.attachments] == [
        ("report.pdf", b"%PDF"),
        ("attachment-2.ics", b"BEGIN:VCALENDAR"),
    ]


def test_without_a_body_the_headers_are_the_text() -> None:
    parsed = read(mail(attached("a.txt")))
    assert (parsed.text, [a.name for a in parsed.attachments]) == (SHOWN, ["a.txt"])
    bare = (
        b'Message-ID: <1@x>\nContent-Type: multipart/mixed; boundary="=b"\n\n--=b\n' + attached("a.txt") + b"\n--=b--\n"
    )
    assert [a.name for a in read(bare).attachments] == ["a.txt"]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\\\temp\\\\a.txt", "a.txt"),
        ("..", "attachment-1.txt"),
        ("a..b.txt", "a.b.txt"),
        (".hidden", "hidden"),
        ("=?utf-8?q?a=0D=0ASubject:_x.txt?=", "a Subject: x.txt"),
        ("=?utf-8?b?4oCuZ3BqLmV4ZQ==?=", "gpj.exe"),
        ("a!/b.txt", "b.txt"),
        ("a" * 500 + ".pdf", "a" * 108 + ".pdf"),
        ("", "attachment-1.txt"),
        (" \t ", "attachment-1.txt"),
    ],
)
def test_names_are_safe(written: str, name: str) -> None:
    assert names(mail(attached(written))) == [name]


def test_names_are_unique() -> None:
    written = ["r.pdf", "r.pdf", "R.PDF", "r (2).pdf", "r.pdf", "notes", "notes"]
    assert names(mail(*map(attached, written))) == [
        "r.pdf", "r (2).pdf", "R (3).PDF", "r (2) (2).pdf", "r (4).pdf", "notes", "notes (2)",
    ]  # fmt: skip


def test_a_mail_inside_is_an_attachment() -> None:
    inner = EmailMessage()
    inner["Subject"], inner["From"] = "Übergabe: a/b", "c@x"
    inner.set_content("Inner words.")
    inner.add_attachment(b"deep", maintype="text", subtype="csv", filename="t.csv")
    outer = EmailMessage()
    outer["Subject"], outer["From"], outer["To"] = "Fwd", "a@x", "b@x"
    outer.set_content("Outer words.")
    outer.add_attachment(inner)
    parsed = read(outer.as_bytes())
    assert "Inner words." not in parsed.text
    assert [a.name for a in parsed.attachments] == ["Übergabe: a-b.eml"]
    again = parse("b.eml", parsed.attachments[0].data)
    assert again.title == "Übergabe: a/b"
    assert again.text.endswith("Inner words.")
    assert [(a.name, a.data) for a in again.attachments] == [("t.csv", b"deep")]


def test_a_digest() -> None:
    posts = [b"\nFrom: a@x\nSubject: Post %d\n\nWords %d." % (number, number) for number in range(3)]
    assert names(mail(*posts, kind="digest")) == ["Post 0.eml", "Post 1.eml", "Post 2.eml"]


def test_mails_a_hundred_deep_come_off_one_by_one() -> None:
    data = HEADERS + b"\ninnermost words"
    for _ in range(100):
        data = HEADERS + b"Content-Type: message/rfc822\n\n" + data
    depth = 0
    while True:
        parsed = read(data)
        if not parsed.attachments:
            break
        data = parsed.attachments[0].data
        depth += 1
    assert depth == 100
    assert parsed.text.endswith("innermost words")


def test_nesting_beyond_reason_is_typed() -> None:
    deep = HEADERS
    for number in range(3000):
        deep += f'Content-Type: multipart/mixed; boundary="b{number}"\n\n--b{number}\n'.encode()
    with pytest.raises(DocumentError) as caught:
        read(deep)
    assert caught.value.kind == "broken"


def test_too_many_attachments() -> None:
    with pytest.raises(DocumentError) as caught:
        read(mail(*[attached("same.txt")] * 10_000))
    assert caught.value.kind == "too_large"
    assert len(set(names(mail(*[attached("same.txt")] * 1000)))) == 1000


def test_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domicile_ingest.parsing.attachments.MAX_ATTACHED_BYTES", 1000)
    assert len(names(mail(attached("a.txt", b"x" * 500), attached("b.txt", b"x" * 490)))) == 2
    with pytest.raises(DocumentError) as caught:
        read(mail(attached("a.txt", b"x" * 500), attached("b.txt", b"x" * 510)))
    assert caught.value.kind == "too_large"


def test_broken_base64_gives_what_can_be_read() -> None:
    content = base64.b64encode(b"Twenty days are what everybody has.")
    for damaged in (content[:-3], content[:20] + b"!!\n" + content[20:], content + b"\n--"):
        text = read(mail(part("text/plain", damaged, "Content-Transfer-Encoding: base64"))).text
        assert "Twenty days ar" in text


def test_a_signed_mail_is_read_without_its_signature() -> None:
    data = mail(
        part("text/plain", b"Signed words."),
        part("application/pkcs7-signature", b"x", 'Content-Disposition: attachment; filename="smime.p7s"'),
        kind="signed",
    )
    parsed = read(data)
    assert parsed.text == f"{SHOWN}\n\nSigned words."
    assert parsed.attachments == ()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (mail(part("application/pgp-encrypted", b"Version: 1"), attached("encrypted.asc", PGP)), "encrypted"),
        (mail(part("text/plain", b"x"), kind="encrypted"), "encrypted"),
        (mail(part("text/plain", PGP)), "encrypted"),
        (mail(part("application/pkcs7-mime", bytes.fromhex("308006092a864886f70d010703"))), "encrypted"),
        (mail(part("application/x-pkcs7-mime", bytes.fromhex("308006092a864886f70d010702"))), "unsupported"),
    ],
)
def test_a_sealed_mail_says_so(data: bytes, kind: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read(data)
    assert caught.value.kind == kind


def test_what_lies_beside_a_seal_is_read() -> None:
    data = mail(attached("sealed.pgp", PGP, "application/octet-stream"), attached("open.txt", b"words"))
    assert [(a.name, a.data) for a in read(data).attachments] == [("open.txt", b"words")]
    assert read(mail(part("text/plain", b"Open words."), attached("sealed.pgp", PGP))).text == f"{SHOWN}\n\nOpen words."


@pytest.mark.parametrize(
    "headers",
    [
        b'Content-Type: text/plain; charset = "utf-8"Content-Transfer-Encoding: 8bit\n',
        b"Content-Type: ;;;=\n",
        b"Content-Type: multipart/mixed\n",
        b'Content-Type: multipart/mixed; boundary=""\n',
        b'Content-Disposition: ;"\n',
        b"Content-Transfer-Encoding: x-uuencode\n",
        b"Content-Transfer-Encoding: \xff\n",
        b'Cc: "unclosed <a@b, =?utf-8?b?===?=\n',
        b"Date: Mon, 99 Foo 20244\n",
        b"no header at all\n",
        b"Cc: " + b"a@b, (" * 20_000 + b"\n",
        b"Content-Type: text/plain; " + b'a*0*=x; "' * 20_000 + b"\n",
    ],
)
def test_malformed_headers_cost_nothing_else(headers: bytes) -> None:
    started = time.monotonic()
    parsed = read(HEADERS + headers + b"\nTwenty days.\n")
    assert parsed.title == "Leave"
    assert "Twenty days." in parsed.text
    assert time.monotonic() - started < 5


def test_a_file_without_headers_is_a_text() -> None:
    assert read(b"Twenty days.\nNo header here.").text == "Twenty days.\nNo header here."


def test_a_long_mail_takes_time_in_proportion() -> None:
    data = mail(part("text/plain", b"Twenty days are what everybody has here.\n" * 100_000))
    started = time.monotonic()
    assert len(read(data).text) > 4_000_000
    assert time.monotonic() - started < 5
