"""Which paragraphs of a Word document are list items, how deep, and under which number."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docx.document import Document

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"


class Numbering:
    """Counts list items as Word does when it draws them; the numbers are not stored in the paragraphs."""

    def __init__(self, document: Document) -> None:
        self._formats: dict[tuple[str, int], str] = {}
        self._starts: dict[tuple[str, int], int] = {}
        self._counters: dict[str, dict[int, int]] = {}
        self._styles: dict[str, tuple[str, int]] = {}
        self._indents: dict[str, int] = {}
        self._depth = -1
        self._read_styles(document)
        self._read_numbering(document)

    def item(self, paragraph: Any) -> str | None:
        """The Markdown mark of a list item, indented to its depth; None for a paragraph that is none."""
        place = self._place(paragraph)
        if place is None:
            return None
        number, level = place
        form = self._formats.get((number, level), "bullet" if number not in self._counters else "decimal")
        if form == "none":
            return None
        # Markdown nests one level at a time; deeper indentation would be code.
        style = paragraph.find(f"{_W}pPr/{_W}pStyle")
        drawn = self._indents.get(style.get(_W + "val"), 0) if style is not None else 0
        self._depth = min(max(level, drawn), self._depth + 1)
        indent = "    " * self._depth
        if form == "bullet":
            return f"{indent}- "
        counters = self._counters.setdefault(number, {})
        counters[level] = counters.get(level, self._starts.get((number, level), 1) - 1) + 1
        for deeper in [other for other in counters if other > level]:
            del counters[deeper]
        return f"{indent}{counters[level]}. "

    def leave(self) -> None:
        """The list is over: the next one starts at the margin."""
        self._depth = -1

    def _place(self, paragraph: Any) -> tuple[str, int] | None:
        properties = paragraph.find(_W + "pPr")
        if properties is None:
            return None
        style = properties.find(_W + "pStyle")
        inherited = self._styles.get(style.get(_W + "val")) if style is not None else None
        own = properties.find(_W + "numPr")
        if own is None:
            return inherited
        number, level = _value(own, "numId"), _value(own, "ilvl")
        if number == "0":  # numbering switched off
            return None
        if number is None and inherited is None:
            return None
        return number or (inherited[0] if inherited else ""), _small(level)

    def _read_styles(self, document: Document) -> None:
        for style in document.styles:
            numbered = style.element.find(f"{_W}pPr/{_W}numPr")
            named = re.fullmatch(r"list (bullet|number)(?: ([2-5]))?", (style.name or "").lower())
            level = int(named[2] or 1) - 1 if named else 0
            if numbered is not None and (number := _value(numbered, "numId")) not in (None, "0"):
                # Word's own "List Bullet 2" is the first level of another list, drawn further in.
                self._styles[style.style_id] = (str(number), _small(_value(numbered, "ilvl")))
                self._indents[style.style_id] = level
            elif named:
                name = f"style-{named[1]}"
                self._styles.setdefault(style.style_id, (name, level))
                self._formats[(name, level)] = "bullet" if named[1] == "bullet" else "decimal"

    def _read_numbering(self, document: Document) -> None:
        try:
            root: Any = document.part.numbering_part.element
        except (KeyError, NotImplementedError, AttributeError):
            return
        abstract = {node.get(_W + "abstractNumId"): node for node in root.findall(_W + "abstractNum")}
        for number in root.findall(_W + "num"):
            definition = abstract.get(_value(number, "abstractNumId"))
            for level in definition.findall(_W + "lvl") if definition is not None else ():
                key = (number.get(_W + "numId", ""), _small(level.get(_W + "ilvl")))
                self._formats[key] = _value(level, "numFmt") or "decimal"
                start = _value(level, "start") or "1"
                self._starts[key] = int(start) if re.fullmatch("[0-9]{1,6}", start) else 1


def _value(node: Any, name: str) -> str | None:
    child = node.find(_W + name)
    value = child.get(_W + "val") if child is not None else None
    return str(value) if value is not None else None


def _small(level: str | None) -> int:
    return int(level) if level is not None and re.fullmatch("[0-8]", level) else 0
