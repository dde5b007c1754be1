"""Outlook's mails: properties, recipients, bodies in every form, attachments and mails inside."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest
from compound import compound

from domicile.errors import DocumentError
from domicile_ingest.parsing import Parsed, parse
from domicile_ingest.parsing.rtf_compressed import decompress

Streams = dict[tuple[str, ...], bytes]
SENT = int((datetime(2024, 1, 1, 9, tzinfo=UTC) - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds()) * 10_000_000
# The two examples of the format's description, [MS-OXRTFCP] 4.1.
COMPRESSED = bytes.fromhex(
    "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
)
OVERLAPPING = bytes.fromhex("1a0000001c0000004c5a4675e2d44b51410004205758595a0d6e7d010eb0")


def words(identity: int, text: str) -> tuple[str, bytes]:
    return f"__substg1.0_{identity:04X}001F", text.encode("utf-16-le")


def binary(identity: int, data: bytes) -> tuple[str, bytes]:
    return f"__substg1.0_{identity:04X}0102", data


def storage(place: tuple[str, ...], header: int, *streams: tuple[str, bytes], **fixed: int) -> Streams:
    """The streams of a mail, a recipient or an attachment; fixed properties as ``p0039=value``."""
    rows = (struct.pack("<IIQ", int(name[1:], 16) << 16, 6, value) for name, value in fixed.items())
    return {
        **{(*place, name): data for name, data in streams},
        (*place, "__properties_version1.0"): bytes(header) + b"".join(rows),
    }


def sample(
    *more: Streams, body: tuple[tuple[str, bytes], ...] = (words(0x1000, "Twenty days."),), **fixed: int
) -> bytes:
    sender = (words(0x0C1A, "Ann"), words(0x0C1F, "/o=exchange/cn=ann"), words(0x5D01, "ann@x.org"))
    streams = storage((), 32, words(0x0037, "Leave"), *sender, *body, **({"p0039": SENT} | fixed))
    for number, (name, address, kind) in enumerate((("Bob", "bob@x.org", 1), ("Carl", "", 2), ("Eve", "eve@x.org", 3))):
        recipient = (words(0x3001, name), words(0x39FE, address))
        streams |= storage((f"__recip_version1.0_#{number:08X}",), 8, *recipient, p0C15=kind)
    for one in more:
        streams |= one
    return compound(streams)


def attached(number: int, *streams: tuple[str, bytes]) -> Streams:
    return storage((f"__attach_version1.0_#{number:08X}",), 8, *streams)


def read(data: bytes) -> Parsed:
    return parse("mail.msg", data)


def outcome(data: bytes) -> str:
    try:
        read(data)
    except DocumentError as error:
        return error.kind
    return "read"


HEAD = "Subject: Leave\nFrom: Ann <ann@x.org>\nTo: Bob <bob@x.org>\nCc: Carl\nDate: Mon, 01 Jan 2024 09:00:00 +0000"


def test_headers_and_body() -> None:
    parsed = read(sample())
    assert parsed.title == "Leave"
    assert parsed.text == f"{HEAD}\n\nTwenty days."
    assert not parsed.markdown


def test_who_wrote_to_whom_and_when_is_metadata() -> None:
    assert read(sample()).metadata.values == (
        ("from", "ann@x.org"), ("to", "bob@x.org"), ("cc", "Carl"), ("date", "2024-01-01T09:00:00.000000Z")
    )  # fmt: skip


def test_a_body_in_html_or_in_an_old_code_page() -> None:
    html = read(sample(body=(binary(0x1013, "<h1>Gebühr</h1><p>x</p>".encode("cp1252")),), p3FDE=1252))
    assert html.text == f"{HEAD}\n\n# Gebühr\n\nx"
    narrow = ("__substg1.0_1000001E", "Договор".encode("cp1251") + b"\x00")
    assert read(sample(body=(narrow,), p3FFD=1251)).text == f"{HEAD}\n\nДоговор"


def test_a_body_in_compressed_rich_text() -> None:
    assert read(sample(body=(binary(0x1009, COMPRESSED),))).text == f"{HEAD}\n\nhello world"


def test_attachments() -> None:
    data = sample(
        attached(0, words(0x3707, "../a.txt"), words(0x370E, "text/plain"), binary(0x3701, b"first")),
        attached(1, words(0x3704, "A.TXT"), binary(0x3701, b"second")),
        attached(2, words(0x3707, "logo.png"), words(0x370E, "image/png"), binary(0x3701, b"x")),
        attached(3, words(0x3707, "no data")),
    )
    assert [(a.name, a.data) for a in read(data).attachments] == [("a.txt", b"first"), ("A (2).TXT", b"second")]


def test_a_mail_inside_becomes_a_file_of_its_own() -> None:
    place = ("__attach_version1.0_#00000000", "__substg1.0_3701000D")
    inner = storage(
        place, 24, words(0x0037, "In\r\nBcc: x"), words(0x0C1A, "Zoë"), words(0x1000, "Inner days."), p0039=SENT
    )
    inner |= storage(
        (*place, "__attach_version1.0_#00000000"), 8, words(0x3707, "übung.csv"), binary(0x3701, b"\x00deep")
    )
    parsed = read(sample(attached(0, words(0x3001, "ignored")), inner))
    assert "Inner" not in parsed.text
    assert [a.name for a in parsed.attachments] == ["In Bcc: x.eml"]
    again = parse("In.eml", parsed.attachments[0].data)
    assert again.title == "In Bcc: x"
    assert again.text == "Subject: In Bcc: x\nFrom: Zoë\nDate: Mon, 01 Jan 2024 09:00:00 +0000\n\nInner days."
    assert [(a.name, a.data) for a in again.attachments] == [("übung.csv", b"\x00deep")]


def test_a_signed_mail_is_the_file_inside() -> None:
    inside = b'MIME-Version: 1.0\nContent-Type: multipart/signed; boundary="b"\n\n--b\n\nSigned days.\n--b--\n'
    signed = attached(0, words(0x3707, "smime.p7m"), words(0x370E, "multipart/signed"), binary(0x3701, inside))
    parsed = read(sample(signed, body=()))
    assert [a.name for a in parsed.attachments] == ["signed.eml"]
    assert parse("signed.eml", parsed.attachments[0].data).text == "Signed days."


def test_an_encrypted_mail_says_so() -> None:
    pgp = attached(0, words(0x370E, "application/pgp-encrypted"), binary(0x3701, b"Version: 1"))
    with pytest.raises(DocumentError) as caught:
        read(sample(pgp, body=()))
    assert caught.value.kind == "encrypted"


def test_senseless_properties() -> None:
    fixed = {"p0039": 2**64 - 1, "p0E06": 2**63, "p3FFD": 2**32 - 1, "p3FDE": 99_999_999, "p1000": 2**64 - 1}
    narrow = ("__substg1.0_1000001E", b"Twenty days.\x00")
    text = read(sample(body=(narrow,), **fixed)).text
    assert text.endswith("Cc: Carl\n\nTwenty days.")
    odd = sample(body=(words(0x1000, "Twenty days."), ("__substg1.0_0E04001F", b"\x00\xd8\x41")))
    assert read(odd).text == f"{HEAD}\n\nTwenty days."


def test_too_many_attachments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domicile_ingest.parsing.msg.MAX_ATTACHMENTS", 5)
    some = [attached(number, words(0x3707, f"{number}.txt"), binary(0x3701, b"x")) for number in range(6)]
    assert len(read(sample(*some[:5])).attachments) == 5
    with pytest.raises(DocumentError) as caught:
        read(sample(*some))
    assert caught.value.kind == "too_large"


def test_every_cut_is_typed() -> None:
    data = sample(attached(0, words(0x3707, "a.txt"), binary(0x3701, b"first")))
    for length in range(600, len(data), 173):
        assert outcome(data[:length]) in ("read", "broken", "binary")
    assert outcome(data) == "read"


def test_decompression() -> None:
    assert decompress(COMPRESSED) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    assert decompress(OVERLAPPING) == b"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}"
    assert decompress(struct.pack("<II4sI", 5, 5, b"MELA", 0) + b"plain") == b"plain"
    assert len(decompress(struct.pack("<II4sI", 9, 2**32 - 1, b"LZFu", 0) + b"\xff\x00\x0f" * 1000)) < 100_000
    for damaged in (b"", COMPRESSED[:8], b"x" * 40):
        with pytest.raises(DocumentError) as caught:
            decompress(damaged)
        assert caught.value.kind == "broken"
