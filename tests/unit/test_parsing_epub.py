"""EPUB: the spine in order, read as web pages; damaged, encrypted and hostile books."""

from __future__ import annotations

import io
import zipfile

import pytest

from domicile.errors import DocumentError
from domicile_ingest.parsing import parse

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="book/package.opf"/></rootfiles></container>'
)


def page(body: str, head: str = "<title/>") -> str:
    return (
        f'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head>{head}</head><body>{body}</body></html>'
    )


PAGES = {
    "book/one two.xhtml": page('<h1 id="a">One</h1><p>First<a id="x"/> words &amp; more.</p>'),
    "book/two.xhtml": page("<h1>Two</h1><ul><li>item</li></ul>", '<title>x</title><script src="a.js"/>'),
    "book/nav.xhtml": page("<h1>Contents</h1>"),
}


def package(
    links: tuple[str, ...] = ("one%20two.xhtml#a", "nav.xhtml", "two.xhtml", "one%20two.xhtml"), title: str = "The book"
) -> str:
    items = "".join(
        f'<item id="i{number}" href="{link}" media-type="application/xhtml+xml" '
        f'properties="{"nav" if link.startswith("nav") else "scripted"}"/>'
        for number, link in enumerate(links)
    )
    spine = "".join(f'<itemref idref="i{number}"/>' for number in range(len(links)))
    return (
        '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:title>{title}</dc:title></metadata><manifest>{items}</manifest><spine>{spine}</spine></package>"
    )


def epub(members: dict[str, str]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip")
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()


def book(opf: str = "", **members: str) -> dict[str, str]:
    return {"META-INF/container.xml": CONTAINER, "book/package.opf": opf or package(), **PAGES, **members}


def test_the_spine_in_order() -> None:
    parsed = parse("a.epub", epub(book()))
    assert parsed.title == "The book"
    assert parsed.text == "# One\n\nFirst words & more.\n\n# Two\n\n- item"


def test_a_title_that_says_nothing_gives_way_to_the_first_heading() -> None:
    assert parse("a.epub", epub(book(package(title="Untitled document")))).title == "One"


def test_one_page_that_is_missing_costs_no_other() -> None:
    assert parse("a.epub", epub(book(package(("gone.xhtml", "two.xhtml"))))).text == "# Two\n\n- item"


def test_links_out_of_the_book_lead_nowhere() -> None:
    members = book(package(("../../../../etc/passwd", "/etc/passwd", "http://127.0.0.1:9/x", "two.xhtml")))
    assert parse("a.epub", epub(members)).text == "# Two\n\n- item"


def test_scrambled_fonts_do_not_lock_a_book() -> None:
    def encryption(place: str) -> str:
        return f'<encryption><EncryptedData><CipherReference URI="{place}"/></EncryptedData></encryption>'

    fonts = book(**{"META-INF/encryption.xml": encryption("book/font.otf")})
    assert parse("a.epub", epub(fonts)).text.startswith("# One")
    with pytest.raises(DocumentError) as caught:
        parse("a.epub", epub(book(**{"META-INF/encryption.xml": encryption("book/two.xhtml")})))
    assert caught.value.kind == "encrypted"


def test_entities_are_not_resolved() -> None:
    entity = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    members = book(entity + package(title="My &e; book"))
    members["book/two.xhtml"] = entity + page("<p>before &e; after</p>")
    parsed = parse("a.epub", epub(members))
    assert parsed.title == "My &e; book"
    assert parsed.text.endswith("before &e; after")


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({"book/package.opf": package(), **PAGES}, "broken"),
        ({"META-INF/container.xml": CONTAINER, **PAGES}, "broken"),
        ({"META-INF/container.xml": "<container/>", **PAGES}, "broken"),
        ({"META-INF/container.xml": CONTAINER, "book/package.opf": package()}, "broken"),
        ({"META-INF/container.xml": CONTAINER, "book/package.opf": "<package"}, "broken"),
        (book("<package/>"), "empty"),
        (book(package(("two.xhtml",)), **{"book/two.xhtml": page("<div>" * 5000)}), "broken"),
    ],
)
def test_what_cannot_be_read_says_why(members: dict[str, str], kind: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse("a.epub", epub(members))
    assert caught.value.kind == kind
