"""Word documents in reading order: headings, lists, tables, text boxes. The only home of ``docx``.

python-docx opens the package and knows the styles; the walker is our own, because its paragraphs leave out text
boxes, content controls and tracked insertions.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from domicile.errors import DocumentError
from domicile.metadata import merge
from domicile_ingest.parsing.docx_apart import CHART, NOTES, Apart
from domicile_ingest.parsing.docx_hidden import Hidden
from domicile_ingest.parsing.docx_lists import Numbering
from domicile_ingest.parsing.markdown import first_heading
from domicile_ingest.parsing.markdown_table import Grid, table
from domicile_ingest.parsing.parsed import Parsed, clean, hidden_text, one_line, stem
from domicile_ingest.parsing.properties import of_office

if TYPE_CHECKING:
    from docx.document import Document

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_SKIP = frozenset((_FALLBACK, W + "del", W + "moveFrom", W + "instrText", W + "delText", W + "pPr", W + "rPr"))
_APART = frozenset((W + "txbxContent", CHART, *NOTES))
_STRICT = (
    (
        b"http://purl.oclc.org/ooxml/officeDocument/relationships",
        b"http://schemas.openxmlformats.org/officeDocument/2006/relationships",
    ),
    (
        b"http://purl.oclc.org/ooxml/wordprocessingml/main",
        b"http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    ),
    (b"http://purl.oclc.org/ooxml/drawingml/", b"http://schemas.openxmlformats.org/drawingml/2006/"),
    (b"http://purl.oclc.org/ooxml/officeDocument/math", b"http://schemas.openxmlformats.org/officeDocument/2006/math"),
)
_MAX_NESTING = 40


def parse_docx(name: str, data: bytes) -> Parsed:
    """A Word document as Markdown, notes behind their paragraphs.

    Headers, footers, comments, deleted and hidden words are left out.
    """
    try:
        document = _open(data)
        hidden = Hidden(document)
        hidden.drop(document.element.body)
        text = clean("\n\n".join(_Walker(document, hidden).blocks(document.element.body, 0)))
        metadata = of_office(document.part.package)  # first: the library makes properties up once it is asked for one
        metadata = merge(hidden_text(hidden.characters), metadata)
        title = one_line(document.core_properties.title or "")
    except (DocumentError, MemoryError, RecursionError):
        raise
    except Exception as error:  # python-docx lets out whatever zipfile, lxml and its own lookups raise
        raise DocumentError("broken", f"the Word document cannot be read: {type(error).__name__}") from error
    return Parsed(first_heading(text) or title or stem(name), text, markdown=True, metadata=metadata)


def _open(data: bytes) -> Document:
    import docx

    try:
        return docx.Document(io.BytesIO(data))
    except KeyError:  # "Strict Open XML" uses other names for the same things
        return docx.Document(io.BytesIO(_transitional(data)))


def _transitional(data: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as copy:
        for member in source.infolist():
            content = source.read(member)
            if member.filename.endswith((".xml", ".rels")):
                for strict, usual in _STRICT:
                    content = content.replace(strict, usual)
            copy.writestr(member.filename, content)
    return target.getvalue()


class _Walker:
    def __init__(self, document: Document, hidden: Hidden) -> None:
        self._numbering = Numbering(document)
        self._apart = Apart(document)
        self._hidden = hidden
        self._levels = {style.style_id: level for style in document.styles if (level := _heading_level(style))}

    def blocks(self, parent: Any, depth: int) -> list[str]:
        """The Markdown blocks of a body, a cell or a text box."""
        done: list[str] = []
        items: list[str] = []
        for element in _flat(parent):
            if element.tag == W + "tbl":
                self._end_list(items, done)
                done.extend(self._table(element, depth))
                continue
            apart: list[Any] = []
            words = _fold("".join(_words(element, apart)))
            item = self._numbering.item(element) if words else None
            level = self._heading(element)
            if words and item is not None and level is None:
                items.append(item.replace("\n", " ") + words.replace("\n", " "))
            elif words:
                self._end_list(items, done)
                done.append(f"{'#' * level} {words.replace(chr(10), ' ')}" if level else words)
            if apart and depth < _MAX_NESTING:
                self._end_list(items, done)
                for hanging in apart:
                    done.extend(self._hanging(hanging, depth + 1))
        self._end_list(items, done)
        return done

    def _hanging(self, element: Any, depth: int) -> list[str]:
        """A chart, a note or a text box."""
        if element.tag == CHART:
            return self._apart.chart(element)
        if element.tag not in NOTES:
            return self.blocks(element, depth)
        note = self._apart.note(element)
        if note is None:
            return []
        self._hidden.drop(note)
        return self.blocks(note, depth)

    def _end_list(self, items: list[str], done: list[str]) -> None:
        if items:
            done.append("\n".join(items))
            items.clear()
            self._numbering.leave()

    def _heading(self, paragraph: Any) -> int | None:
        properties = paragraph.find(W + "pPr")
        if properties is None:
            return None
        outline = properties.find(W + "outlineLvl")
        if outline is not None and (value := outline.get(W + "val", "")).isdigit() and int(value) < 9:
            return min(6, int(value) + 1)
        style = properties.find(W + "pStyle")
        return self._levels.get(style.get(W + "val")) if style is not None else None

    def _table(self, element: Any, depth: int) -> list[str]:
        if depth >= _MAX_NESTING:
            return [_fold("".join(_words(element, [])))]
        rows = [[cell for cell in _flat(row) if cell.tag == W + "tc"] for row in _flat(element) if row.tag == W + "tr"]
        if max(map(len, rows), default=0) < 2:  # a frame around paragraphs
            return [block for row in rows for cell in row for block in self.blocks(cell, depth + 1)]
        grid = Grid()
        for row in rows:
            for cell in row:
                columns, goes_on = _span(cell)
                text = " ".join(" ".join(self.blocks(cell, depth + 1)).split())
                grid.add(grid.above() if goes_on and not text else text, columns)
            grid.end_row()
        return table(grid.rows())


def _flat(parent: Any) -> Iterator[Any]:
    """Children, with content controls and the like opened up."""
    stack = [iter(parent)]
    wrappers = {W + name for name in ("sdt", "sdtContent", "customXml", "ins", "smartTag", "moveTo")}
    while stack:
        for child in stack[-1]:
            if child.tag in wrappers:
                stack.append(iter(child))
                break
            if child.tag in (W + "p", W + "tbl", W + "tr", W + "tc"):
                yield child
        else:
            stack.pop()


def _words(element: Any, apart: list[Any]) -> Iterator[str]:
    """The words of a paragraph; text boxes, charts and notes that hang on it are collected apart."""
    stack = [iter(element)]
    while stack:
        child = next(stack[-1], None)
        if child is None:
            stack.pop()
        elif child.tag in _APART:
            apart.append(child)
        elif child.tag in (W + "t", _MATH_TEXT):
            yield child.text or ""
        elif child.tag == W + "tab":
            yield " "
        elif child.tag in (W + "br", W + "cr"):
            yield "\n"
        elif child.tag in (W + "noBreakHyphen", W + "softHyphen"):
            yield "-" if child.tag == W + "noBreakHyphen" else ""
        elif child.tag == W + "p":
            yield " "
            stack.append(iter(child))
        elif child.tag not in _SKIP and isinstance(child.tag, str):
            stack.append(iter(child))


def _fold(words: str) -> str:
    lines = (" ".join(line.split()) for line in words.split("\n"))
    return "\n".join(line for line in lines if line)


def _span(cell: Any) -> tuple[int, bool]:
    """How many columns a cell takes, and whether it goes on from the row above."""
    properties = cell.find(W + "tcPr")
    if properties is None:
        return 1, False
    span, merge = properties.find(W + "gridSpan"), properties.find(W + "vMerge")
    width = span.get(W + "val", "") if span is not None else ""
    return int(width) if re.fullmatch("[0-9]{1,4}", width) else 1, merge is not None and merge.get(
        W + "val"
    ) != "restart"


def _heading_level(style: Any) -> int | None:
    """The level that a paragraph style stands for, by its name or that of the one it is based on."""
    for _ in range(12):
        if style is None:
            return None
        name = (style.name or "").lower()
        if match := re.match(r"heading ([1-9])\b", name):
            return min(6, int(match[1]))
        if name == "title":
            return 1
        style = getattr(style, "base_style", None)
    return None
