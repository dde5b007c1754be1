"""Electronic books (EPUB): the pages of the spine in their order, each read as a web page."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from domicile.errors import DocumentError
from domicile_ingest.parsing.archive import Archive
from domicile_ingest.parsing.html import read_page, source_of
from domicile_ingest.parsing.markdown import first_heading
from domicile_ingest.parsing.parsed import MAX_CHARACTERS, Parsed, clean, hidden_text, one_line, stem

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")
_MAX_PAGES = 10_000
# XHTML may close any element in its start tag, which HTML takes for a start only: an empty title would hide the page.
_CLOSED = re.compile(r"<([a-zA-Z][\w:-]*)((?:\s[^<>]*)?)/>")
_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())
_JUNK_TITLE = re.compile(r"untitled(?: document)?|unknown|\[?no title\]?", re.IGNORECASE)


def parse_epub(name: str, data: bytes) -> Parsed:
    """A book as Markdown, without its table of contents.

    Raises:
        DocumentError: ``encrypted`` for a book under digital rights management, ``broken``, ``too_large``.
    """
    archive = Archive(data)
    root = _package_place(archive)
    package = archive.xml(root)
    pages = list(_spine(package, posixpath.dirname(root)))
    _refuse_encrypted(archive, frozenset(pages))
    parts: list[str] = []
    characters = hidden = 0
    for place in pages:
        if place not in archive:
            continue
        page = read_page(_CLOSED.sub(_opened, source_of(archive.read(place))))
        hidden += page.hidden
        characters += len(page.text)
        if characters > MAX_CHARACTERS:
            raise DocumentError("too_large", f"the book has more than {MAX_CHARACTERS:,} characters: split it")
        if page.text:
            parts.append(page.text)
    if pages and not any(page in archive for page in pages):
        raise DocumentError("broken", "the book lacks its pages")
    text = clean("\n\n".join(parts))
    title = _declared_title(package) or first_heading(text) or stem(name)
    return Parsed(title, text, markdown=True, metadata=hidden_text(hidden))


def _package_place(archive: Archive) -> str:
    for element in _named(archive.xml(_CONTAINER), "rootfile"):
        place = element.get("full-path")
        if place:
            return str(place)
    raise DocumentError("broken", "the book does not say where its parts are")


def _spine(package: Any, folder: str) -> Iterator[str]:
    """The members that hold the pages, each once."""
    items = {item.get("id"): item for item in _named(package, "item") if item.get("media-type") in _PAGES}
    seen: set[str] = set()
    for reference in _named(package, "itemref"):
        item = items.get(reference.get("idref"))
        if item is None or "nav" in item.get("properties", "").split():
            continue
        place = _resolved(folder, item.get("href") or "")
        if place in seen:
            continue
        seen.add(place)
        if len(seen) > _MAX_PAGES:
            raise DocumentError("too_large", f"the book has more than {_MAX_PAGES:,} parts: split it")
        yield place


def _resolved(folder: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(folder, unquote(link.partition("#")[0])))


def _refuse_encrypted(archive: Archive, pages: frozenset[str]) -> None:
    """Embedded fonts are often scrambled, which does not matter; pages are by rights management only."""
    if _ENCRYPTION not in archive:
        return
    locked = {
        _resolved("", element.get("URI") or "") for element in _named(archive.xml(_ENCRYPTION), "CipherReference")
    }
    if locked & pages:
        raise DocumentError("encrypted", "the book is protected by digital rights management")


def _declared_title(package: Any) -> str:
    for element in _named(package, "title"):
        title = one_line("".join(element.itertext()))
        if title and not _JUNK_TITLE.fullmatch(title):
            return title
    return ""


def _named(root: Any, name: str) -> Iterator[Any]:
    """Elements by their local name: old books differ in their namespaces."""
    return (element for element in root.iter("{*}" + name))


def _opened(match: re.Match[str]) -> str:
    return match[0] if match[1].lower() in _VOID else f"<{match[1]}{match[2]}></{match[1]}>"
