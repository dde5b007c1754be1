"""Rich text: headings by style, lists, tables, encodings, and what a hostile file tries."""

from __future__ import annotations

import time

import pytest

from domicile.errors import DocumentError
from domicile_ingest.parsing import parse

STYLES = rb"{\stylesheet{\s0 Normal;}{\s1\outlinelevel0 heading 1;}{\s7\outlinelevel1 \'dcberschrift 2;}{\s9 Title;}}"
FONTS = rb"{\fonttbl{\f0 Arial;}{\f1\fcharset204 Arial;}{\f3\fcharset2 Symbol;}}"


def rtf(body: bytes) -> bytes:
    return rb"{\rtf1\ansi\ansicpg1252" + FONTS + STYLES + body + b"}"


def text_of(body: bytes) -> str:
    return parse("a.rtf", rtf(body)).text


def outcome(body: bytes) -> str:
    """The text, or the kind of the failure."""
    try:
        return text_of(body)
    except DocumentError as error:
        return error.kind


def test_headings() -> None:
    body = rb"\pard\s1 One\par\pard words\line of a line\par\pard\s7 Two\par{\pard\outlinelevel2 Three\par}\pard \\s1 no\par"
    parsed = parse("a.rtf", rtf(body))
    assert parsed.title == "One"
    assert parsed.text == "# One\n\nwords\nof a line\n\n## Two\n\n### Three\n\n\\s1 no"


def test_the_declared_title_where_no_heading_is() -> None:
    assert parse("a.rtf", rtf(rb"{\info{\title My \'e9tude}}words\par")).title == "My étude"


def test_lists() -> None:
    bullet = rb"{\listtext\pard\plain\f3 \'b7\tab}"
    body = (
        bullet + rb"\ilvl0 Apple\par" + bullet + rb"\ilvl4 Pear\par"
        rb"{\pntext 1.\tab}One\par{\listtext\'b7\tab}Two\line lines\par{\listtext iv)\tab}Four\par\pard words\par"
    )
    assert text_of(body) == "- Apple\n    - Pear\n1. One\n- Two lines\n- iv) Four\n\nwords"


def test_tables() -> None:
    body = (
        rb"\pard Before\par\trowd\cellx1\cellx2\pard\intbl Site\cell Days\par more\cell{\trowd\cellx1\row}"
        rb"\trowd\pard\intbl Lyon\cell 25 | 26\cell\row\pard\intbl Rome\cell\cell\row\pard After\par"
    )
    assert text_of(body) == ("Before\n\n| Site | Days more |\n| --- | --- |\n| Lyon | 25 \\| 26 |\n| Rome |\n\nAfter")


def test_letters() -> None:
    body = rb"caf\'e9 {\f1 \'cf\'f0\'e8} \u26377?\u8364\'80 \u-10179\'5f\u-8704\'5f \{x\} a\~b\emdash c\par"
    assert text_of(body) == "café При 有€ 😀 {x} a\xa0b—c".replace("\xa0", " ")


def test_what_is_not_shown_is_left_out() -> None:
    body = (
        rb'{\field{\*\fldinst{HYPERLINK "http://x.y/"}}{\fldrslt{link}}}{\header top}{\pict\pngblip '
        + b"89504e47" * 100
        + rb"}{\footnote note}{\*\unknown hidden} end\par"
    )
    assert text_of(body) == "link end"


def test_nesting_without_end_takes_no_stack() -> None:
    assert text_of(b"{" * 100_000 + b"deep" + b"}" * 100_000) == "deep"
    assert text_of(b"{" * 100_000 + b"open") == "open"


@pytest.mark.parametrize(
    "piece",
    [
        rb"{\field{\*\fldinst{HYPERLINK ", rb"\f1", rb"{\s1 ", rb"{\fonttbl\f1 ", rb"\trowd\cell ", rb"\cell\row",
        rb"{\title ", rb"{\listtext a", rb"\u-1", b"0123abcd ", rb"{\pict\bin9 ",
    ],
)  # fmt: skip
def test_time_grows_with_the_size_alone(piece: bytes) -> None:
    started = time.monotonic()
    result = outcome(b"words " + piece * (400_000 // len(piece)))
    assert "words" in result or result == "broken"
    assert time.monotonic() - started < 5


def test_pictures_do_not_count_and_words_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domicile_ingest.parsing.rtf._MAX_CHARACTERS", 10_000)
    picture = rb"{\pict\pngblip " + b"0f" * 20_000 + rb"} words\par"
    assert text_of(picture) == "words"
    with pytest.raises(DocumentError) as caught:
        text_of(b"words " * 2000)
    assert caught.value.kind == "too_large"


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (rb"\u99999999 x", "broken"),
        (rb"{\pict\bin x}", "broken"),
        (rb"\ansicpg99999 \'e9", "\ufffd"),
        (rb"\uc99999999999999 x", "9999 x"),
    ],
)
def test_senseless_numbers(body: bytes, result: str) -> None:
    assert outcome(body) == result


def test_empty() -> None:
    with pytest.raises(DocumentError) as caught:
        parse("a.rtf", rtf(b""))
    assert caught.value.kind == "empty"
