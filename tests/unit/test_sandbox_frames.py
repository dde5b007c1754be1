"""What a parsing process says is believed only where a parser can have said it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from domicile.domain import Page
from domicile.errors import DocumentError
from domicile.metadata import read
from domicile_ingest.parsing.parsed import Attachment, Parsed
from domicile_ingest.parsing.sandbox_frames import (
    PREFIX_BYTES,
    BadFrame,
    frame,
    header_of,
    lengths,
    parsed_of,
    refusal,
    reply,
)

PARSED = Parsed(
    "Leave", "äb\ncd", True, (Page(1, 0, 2), Page(3, 3, 5)), {"groups": ["hr"]}, True,
    (Attachment("a.pdf", b"\x00\xff"), Attachment("b", b"")), read({"tags": ["x", 1, True], "bad": b""}),
)  # fmt: skip


def unpack(pieces: list[bytes]) -> tuple[dict[str, object], bytes]:
    whole = b"".join(pieces)
    header, body = lengths(whole[:PREFIX_BYTES], 1000)
    assert len(whole) == PREFIX_BYTES + header + body
    return header_of(whole[PREFIX_BYTES : PREFIX_BYTES + header]), whole[PREFIX_BYTES + header :]


def test_what_is_packed_is_unpacked() -> None:
    assert parsed_of("t", *unpack(reply("t", PARSED))) == PARSED
    plain = Parsed("untitled", "", False)
    assert parsed_of("t", *unpack(reply("t", plain))) == plain


def test_a_refusal_is_raised() -> None:
    with pytest.raises(DocumentError, match=r"^protected by a password$") as caught:
        parsed_of("t", *unpack(refusal("t", DocumentError("encrypted", "protected by\na password"))))
    assert caught.value.kind == "encrypted"


@pytest.mark.parametrize(
    "change",
    [
        {"ticket": "another"},
        {"ticket": None},
        {"title": None},
        {"title": ""},
        {"title": 5},
        {"markdown": 1},
        {"table": "yes"},
        {"label": []},
        {"label": "public"},
        {"text": -1},
        {"text": 7},
        {"text": 5},
        {"text": True},
        {"text": 6.0},
        {"text": "6"},
        {"pages": None},
        {"pages": {}},
        {"pages": [[1, 0]]},
        {"pages": [[1, 0, 6]]},
        {"pages": [[1, 3, 2]]},
        {"pages": [[1, -1, 2]]},
        {"pages": [[0, 0, 2]]},
        {"pages": [[1, 0, 2], [1, 2, 3]]},
        {"pages": [[1, 0, 3], [2, 2, 3]]},
        {"pages": [[True, 0, 2]]},
        {"pages": [["1", 0, 2]]},
        {"attachments": None},
        {"attachments": [["a", 1]]},
        {"attachments": [["a", 3]]},
        {"attachments": [["a", -2], ["b", 4]]},
        {"attachments": [["", 2]]},
        {"attachments": [[5, 2]]},
        {"attachments": ["ab"]},
        {"metadata": None},
        {"metadata": {}},
        {"metadata": [["tags"]]},
        {"metadata": [["tags", None]]},
        {"metadata": [["tags", ["x"]]]},
        {"metadata": [["tags", True]]},
        {"metadata": [["tags", "e\u0301"]]},
        {"metadata": [["tags", "x"], ["tags", "x"]]},
        {"metadata": [["tags", "x"], ["year", 1], ["tags", "y"]]},
        {"metadata": [["a\nb", "x"]]},
        {"metadata": [["", "x"]]},
        {"metadata": [[5, "x"]]},
        {"metadata": [["a", "x" * 2000]]},
        {"metadata": [["a", number] for number in range(101)]},
        {"metadata": [[f"f{number}", 1] for number in range(65)]},
        {"metadata": [["a", 10**400]]},
        {"remarks": None},
        {"remarks": [5]},
        {"remarks": [""]},
        {"remarks": ["x"] * 12},
        {"refused": "empty"},
        {"refused": "empty", "reason": ""},
        {"refused": 5, "reason": "words"},
        {"refused": "Two words", "reason": "words"},
        {"refused": "x" * 31, "reason": "words"},
    ],
    ids=json.dumps,
)
def test_an_answer_that_no_parser_gives_is_none(change: dict[str, Any]) -> None:
    header, body = unpack(reply("t", PARSED))
    with pytest.raises(BadFrame):
        parsed_of("t", header | change, body)


@pytest.mark.parametrize(
    "field", ["ticket", "title", "markdown", "table", "pages", "text", "attachments", "metadata", "remarks"]
)
def test_no_field_may_be_missing(field: str) -> None:
    header, body = unpack(reply("t", PARSED))
    del header[field]
    with pytest.raises(BadFrame):
        parsed_of("t", header, body)


@pytest.mark.parametrize("text", [b"\xff", b"\xed\xa0\x80", b"a\x00b", b"a \nb", b"\na", "a\u2028b".encode()])
def test_a_text_that_nobody_normalised_is_none(text: bytes) -> None:
    header, _ = unpack(reply("t", Parsed("title", "x", False)))
    with pytest.raises(BadFrame):
        parsed_of("t", header | {"text": len(text)}, text)


def test_titles_names_and_reasons_are_single_short_lines() -> None:
    header, body = unpack(reply("t", Parsed("title", "", False, attachments=(Attachment("a", b""),))))
    hostile = {"title": "a\nb\x1b[31m" + "x" * 5000, "attachments": [["c\r\nd", 0]]}
    parsed = parsed_of("t", header | hostile, body)
    assert parsed.title.startswith("a b [31mxxx")
    assert len(parsed.title) <= 300
    assert parsed.attachments == (Attachment("c d", b""),)


@pytest.mark.parametrize("encoded", [b"", b"[]", b"5", b"{", b"\xff", b"[" * 100_000, b'{"a": ' + b"9" * 9999 + b"}"])
def test_a_header_is_a_json_object(encoded: bytes) -> None:
    with pytest.raises(BadFrame):
        header_of(encoded)


def test_lengths_are_bounded() -> None:
    prefix = frame({}, [bytes(1000)])[0][:PREFIX_BYTES]
    assert lengths(prefix, 1000) == (2, 1000)
    with pytest.raises(BadFrame):
        lengths(prefix, 999)
