"""OpenDocument texts: headings, lists, tables and notes; the traps of XML and zip."""

from __future__ import annotations

import io
import zipfile

import pytest

from domicile.errors import DocumentError
from domicile_ingest.parsing import parse

NAMESPACES = " ".join(
    f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for prefix, name in (
        ("office", "office"), ("text", "text"), ("table", "table"), ("style", "style"), ("draw", "drawing"),
        ("svg", "svg-compatible"),
    )
)  # fmt: skip


def odt(body: str, styles: str = "", doctype: str = "", **members: bytes) -> bytes:
    content = (
        f'<?xml version="1.0"?>{doctype}<office:document-content {NAMESPACES}><office:automatic-styles>{styles}'
        f"</office:automatic-styles><office:body><office:text>{body}</office:text></office:body>"
        "</office:document-content>"
    )
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr("content.xml", content)
        for name, data in members.items():
            archive.writestr(name, data)
    return target.getvalue()


def outcome(data: bytes) -> str:
    """The text, or the kind of the failure."""
    try:
        return parse("a.odt", data).text
    except DocumentError as error:
        return error.kind


def text_of(body: str, styles: str = "") -> str:
    return parse("a.odt", odt(body, styles)).text


def test_headings_by_level_and_by_style() -> None:
    styles = (
        '<style:style style:name="P1" style:family="paragraph" style:parent-style-name="Heading_20_2"/>'
        '<style:style style:name="P2" style:family="paragraph" style:parent-style-name="Title"/>'
    )
    body = (
        '<text:p text:style-name="P2">Leave</text:p><text:h text:outline-level="2">Days</text:h><text:p>Every<text:s/>'
        'body<text:tab/>has<text:line-break/>days.</text:p><text:p text:style-name="P1">Sites</text:p>'
    )
    parsed = parse("a.odt", odt(body, styles))
    assert parsed.title == "Leave"
    assert parsed.text == "# Leave\n\n## Days\n\nEvery body has\ndays.\n\n## Sites"


def test_lists() -> None:
    styles = (
        '<text:list-style style:name="L1"><text:list-level-style-bullet text:level="1"/>'
        '<text:list-level-style-number text:level="2" style:num-format="1" text:start-value="3"/></text:list-style>'
    )
    item = "<text:list-item><text:p>{}</text:p>{}</text:list-item>"
    inner = f"<text:list>{item.format('three', '')}{item.format('four', '')}</text:list>"
    listed = f'<text:list text:style-name="L1">{item.format("one", inner)}{item.format("two", "")}</text:list>'
    assert text_of(listed, styles) == "- one\n    3. three\n    4. four\n- two"


def test_a_list_that_numbers_headings_is_no_list() -> None:
    heading = '<text:list><text:list-item><text:h text:outline-level="1">{}</text:h></text:list-item></text:list>'
    assert (
        text_of(heading.format("One") + "<text:p>words</text:p>" + heading.format("Two")) == "# One\n\nwords\n\n# Two"
    )


def test_tables_with_spans() -> None:
    cell = "<table:table-cell{}><text:p>{}</text:p></table:table-cell>"
    spanned = ' table:number-rows-spanned="2"'
    covered = "<table:covered-table-cell/>"
    rows = (
        f"<table:table-header-rows><table:table-row>{cell.format('', 'Site')}{cell.format('', 'Days')}"
        "</table:table-row></table:table-header-rows>"
        f"<table:table-row>{cell.format(spanned, 'Lyon')}{cell.format('', '25')}"
        f"</table:table-row><table:table-row>{covered}{cell.format('', '30')}"
        '<table:table-cell table:number-columns-repeated="16000"/></table:table-row>'
    )
    assert text_of(f"<table:table>{rows}</table:table>") == (
        "| Site | Days |\n| --- | --- |\n| Lyon | 25 |\n| Lyon | 30 |"
    )


def test_notes_and_boxes_stand_behind_their_paragraph() -> None:
    body = (
        "<text:p>Days<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>Of 2024.</text:p>"
        "</text:note-body></text:note> are many<draw:frame><draw:text-box><text:p>boxed</text:p></draw:text-box>"
        "<svg:desc>alt</svg:desc></draw:frame>.</text:p>"
    )
    assert text_of(body) == "Days are many.\n\nOf 2024.\n\nboxed"


def test_comments_deletions_and_the_table_of_contents_are_left_out() -> None:
    body = (
        "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes><text:table-of-content><text:p>contents"
        "</text:p></text:table-of-content><text:p>kept<office:annotation><text:p>comment</text:p></office:annotation>"
        "</text:p>"
    )
    assert text_of(body) == "kept"


def test_a_declared_title() -> None:
    meta = b'<m xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Given</dc:title></m>'
    assert parse("a.odt", odt("<text:p>words</text:p>", **{"meta.xml": meta})).title == "Given"


@pytest.mark.parametrize(
    "entity",
    [
        '<!ENTITY e SYSTEM "file:///etc/passwd">',
        '<!ENTITY e "resolved">',
        '<!ENTITY % p SYSTEM "http://127.0.0.1:9/x"> %p;',
    ],
)
def test_entities_are_not_resolved(entity: str) -> None:
    data = odt("<text:p>before &e; after</text:p>", doctype=f"<!DOCTYPE x [{entity}]>")
    assert outcome(data) in ("before after", "broken")


def test_a_bomb_of_entities() -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(12))
    with pytest.raises(DocumentError) as caught:
        parse("a.odt", odt("<text:p>before &l11; after</text:p>", doctype=f"<!DOCTYPE x [{laughs}]>"))
    assert caught.value.kind == "broken"


def test_a_repeated_cell_is_no_bomb() -> None:
    cell = f'<table:table-cell table:number-columns-repeated="999"><text:p>{"x" * 30_000}</text:p></table:table-cell>'
    with pytest.raises(DocumentError) as caught:
        text_of(f"<table:table><table:table-row>{cell}{cell}</table:table-row></table:table>")
    assert caught.value.kind == "too_large"


def test_nesting_beyond_reason() -> None:
    with pytest.raises(DocumentError) as caught:
        text_of("<text:section>" * 500 + "<text:p>words</text:p>" + "</text:section>" * 500)
    assert caught.value.kind == "broken"
    assert text_of("<text:section>" * 200 + "<text:p>words</text:p>" + "</text:section>" * 200) == "words"


def test_absurd_names_of_members_are_only_names() -> None:
    odd = {"../../../etc/passwd": b"x", "C:\\windows\\x": b"x", "a" * 5000: b"x", "\u202e/\x01": b"x"}
    assert parse("a.odt", odt("<text:p>words</text:p>", **odd)).text == "words"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (odt("<text:p>x</text:p>", **{"META-INF/manifest.xml": b"<manifest:encryption-data/>"}), "encrypted"),
        (odt("<text:p>x"), "broken"),
        (odt(""), "empty"),
        (odt("<text:p>x</text:p>")[:-40], "broken"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, kind: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse("a.odt", data)
    assert caught.value.kind == kind
