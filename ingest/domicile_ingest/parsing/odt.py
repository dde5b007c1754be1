"""OpenDocument texts in reading order: headings, lists, tables, text boxes, notes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from domicile.errors import DocumentError
from domicile_ingest.parsing.archive import Archive
from domicile_ingest.parsing.markdown import first_heading
from domicile_ingest.parsing.markdown_table import Grid, table
from domicile_ingest.parsing.odt_styles import OFFICE, TABLE, TEXT, Styles
from domicile_ingest.parsing.parsed import MAX_CHARACTERS, Parsed, clean, one_line, stem

_SVG = "{urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0}"
_DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_SKIP = frozenset((
    TEXT + "tracked-changes", TEXT + "sequence-decls", TEXT + "variable-decls", TEXT + "user-field-decls",
    TEXT + "table-of-content", OFFICE + "annotation", OFFICE + "forms", TEXT + "note-citation", TEXT + "ruby-text",
    OFFICE + "binary-data", _SVG + "title", _SVG + "desc",
))  # fmt: skip
_ROW_GROUPS = frozenset(TABLE + name for name in ("table-header-rows", "table-rows", "table-row-group"))
_MAX_REPEATED = 1000


def parse_odt(name: str, data: bytes) -> Parsed:
    """A text document as Markdown; headers, footers, comments, deleted words and the table of contents are left out.

    Raises:
        DocumentError: ``encrypted``, ``broken``, ``too_large``.
    """
    archive = Archive(data)
    if "META-INF/manifest.xml" in archive and b"encryption-data" in archive.read("META-INF/manifest.xml"):
        raise DocumentError("encrypted", "the document is protected by a password")
    content = archive.xml("content.xml")
    body = content.find(f"{OFFICE}body/{OFFICE}text")
    if body is None:
        raise DocumentError("broken", "the document has no body")
    styles = Styles(content, archive.xml("styles.xml") if "styles.xml" in archive else None)
    text = clean("\n\n".join(_Walker(styles).blocks(body)))
    title = archive.xml("meta.xml").find(f".//{_TITLE}") if "meta.xml" in archive else None
    declared = one_line("".join(title.itertext())) if title is not None else ""
    return Parsed(first_heading(text) or declared or stem(name), text, markdown=True)


class _Walker:
    """Renders elements as Markdown blocks; libxml2 refuses more than 256 levels, so recursion is bounded."""

    def __init__(self, styles: Styles) -> None:
        self._styles = styles
        self._repeated = 0

    def blocks(self, parent: Any) -> list[str]:
        """The blocks inside a body, a section, a cell, a box or a note."""
        done: list[str] = []
        for element in parent:
            tag = element.tag
            if tag in _SKIP or not isinstance(tag, str):
                continue
            if tag in (TEXT + "p", TEXT + "h"):
                done.extend(self._paragraph(element))
            elif tag == TEXT + "list":
                done.extend(self._list(element))
            elif tag == TABLE + "table":
                done.extend(self._table(element))
            else:
                done.extend(self.blocks(element))
        return done

    def _paragraph(self, element: Any) -> list[str]:
        apart: list[Any] = []
        words = _fold("".join(_words(element, apart)))
        level = self._styles.level(element)
        done = [f"{'#' * level} {words.replace(chr(10), ' ')}" if level else words] if words else []
        for box in apart:
            done.extend(self.blocks(box))
        return done

    def _list(self, element: Any) -> list[str]:
        """A list as one block; where it numbers headings, they are headings and no items."""
        lines: list[str] = []
        done: list[str] = []
        self._items(element, self._styles.list_name(element), 1, lines, done)
        if lines:
            done.append("\n".join(lines))
        return done

    def _items(self, element: Any, name: str, level: int, lines: list[str], done: list[str]) -> None:
        number = self._styles.first_number(name, level)
        for item in element:
            if item.tag not in (TEXT + "list-item", TEXT + "list-header"):
                continue
            start = item.get(TEXT + "start-value", "")
            number = int(start) if re.fullmatch("[0-9]{1,6}", start) else number
            mark = "- " if self._styles.is_bullet(name, level) else f"{number}. "
            indent = "    " * (level - 1)
            first = True
            for child in item:
                if child.tag == TEXT + "list":
                    self._items(child, self._styles.list_name(child) or name, level + 1, lines, done)
                    continue
                for block in self._child_blocks(child):
                    if block.startswith("#") and child.tag == TEXT + "h":
                        if lines:
                            done.append("\n".join(lines))
                            lines.clear()
                        done.append(block)
                        continue
                    shown = mark if first and item.tag == TEXT + "list-item" else " " * len(mark)
                    lines.append(indent + shown + block.replace("\n", " "))
                    number += first
                    first = False

    def _child_blocks(self, child: Any) -> list[str]:
        if child.tag in (TEXT + "p", TEXT + "h"):
            return self._paragraph(child)
        return self.blocks(child) if isinstance(child.tag, str) and child.tag not in _SKIP else []

    def _table(self, element: Any) -> list[str]:
        rows = [[cell for cell in row if cell.tag == TABLE + "table-cell"] for row in _rows(element)]
        if max(map(len, rows), default=0) < 2:  # a frame around paragraphs
            return [block for row in rows for cell in row for block in self.blocks(cell)]
        grid = Grid()
        for row in rows:
            for cell in row:
                words = " ".join(" ".join(self.blocks(cell)).split())
                # Empty cells are repeated to the edge of the sheet.
                times = _count(cell, "number-columns-repeated") if words else 1
                self._repeated += times * len(words)
                if self._repeated > MAX_CHARACTERS:
                    raise DocumentError("too_large", f"the tables have more than {MAX_CHARACTERS:,} characters")
                for _ in range(times):
                    grid.add(words, _count(cell, "number-columns-spanned"), _count(cell, "number-rows-spanned"))
            grid.end_row()
        return table(grid.rows())


def _rows(element: Any) -> Iterator[Any]:
    for child in element:
        if child.tag == TABLE + "table-row":
            yield child
        elif child.tag in _ROW_GROUPS:
            yield from _rows(child)


def _count(cell: Any, attribute: str) -> int:
    value = cell.get(TABLE + attribute, "")
    return min(int(value), _MAX_REPEATED) if re.fullmatch("[0-9]{1,9}", value) and int(value) else 1


def _words(element: Any, apart: list[Any]) -> Iterator[str]:
    """The words of a paragraph; text boxes and notes that hang on it are collected apart."""
    yield element.text or ""
    for child in element:
        tag = child.tag
        if tag in (TEXT + "s", TEXT + "tab"):
            yield " "
        elif tag == TEXT + "line-break":
            yield "\n"
        elif tag in (TEXT + "note-body", _DRAW + "text-box"):
            apart.append(child)
        elif tag not in _SKIP and isinstance(tag, str):
            yield from _words(child, apart)
        yield child.tail or ""


def _fold(words: str) -> str:
    lines = (" ".join(line.split()) for line in words.split("\n"))
    return "\n".join(line for line in lines if line)
