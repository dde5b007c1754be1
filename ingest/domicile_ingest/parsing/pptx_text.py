"""Paragraphs of slides: which are list items, how deep, and under which number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pptx.slide import Slide

A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_BULLETS = (A + "buNone", A + "buChar", A + "buAutoNum", A + "buBlip")


def text_of(element: Any) -> str:
    """All words inside an element, paragraphs and line breaks on lines of their own."""
    return "".join(_words(element))


def fold(words: str) -> str:
    """White space folded within lines; empty lines left out."""
    lines = (" ".join(line.split()) for line in words.replace("\v", "\n").split("\n"))
    return "\n".join(line for line in lines if line)


def _words(element: Any) -> Iterator[str]:
    stack = [iter((element,))]
    while stack:
        child = next(stack[-1], None)
        if child is None:
            stack.pop()
        elif child.tag in (A + "t", _MATH_TEXT):
            yield child.text or ""
        elif child.tag == A + "br":
            yield "\n"
        elif child.tag == A + "tab":
            yield " "
        elif child.tag == A + "p":
            yield "\n"
            stack.append(iter(child))
        elif child.tag != _FALLBACK and isinstance(child.tag, str):
            stack.append(iter(child))


class Paragraphs:
    """Tells list items by what the slide's layout and master say about its placeholders."""

    def __init__(self, slide: Slide) -> None:
        layout: Any = slide.slide_layout
        self._layers = [layout.shapes._spTree, layout.slide_master.shapes._spTree]
        self._body_style = layout.slide_master.element.find(f"{P}txStyles/{P}bodyStyle")
        self._inherited: dict[tuple[str, str], list[Any]] = {}

    def blocks(self, body: Any, placeholder: Any) -> list[str]:
        """The paragraphs of a shape and its runs of list items."""
        styles = [body.find(A + "lstStyle"), *(self._styles(placeholder) if placeholder is not None else ())]
        done: list[str] = []
        items: list[str] = []
        counters: dict[int, int] = {}
        depth = -1
        for paragraph in body.iter(A + "p"):
            words = fold(text_of(paragraph))
            if not words:
                continue
            level, bullet = _bullet(paragraph, styles)
            if bullet is None:
                _end(items, done)
                counters.clear()
                depth = -1
                done.append(words)
                continue
            depth = min(level, depth + 1)  # Markdown nests one level at a time
            for deeper in [other for other in counters if other > depth]:
                del counters[deeper]
            if bullet.tag == A + "buAutoNum":
                counters[depth] = counters.get(depth, _start(bullet) - 1) + 1
                mark = f"{counters[depth]}. "
            else:
                counters.pop(depth, None)
                mark = "- "
            items.append("    " * depth + mark + words.replace("\n", " "))
        _end(items, done)
        return done

    def _styles(self, placeholder: Any) -> list[Any]:
        """The list styles that a placeholder inherits, nearest first."""
        kind, index = placeholder.get("type", "obj"), placeholder.get("idx", "0")
        if (kind, index) not in self._inherited:
            found = [_style(layer, kind, index) for layer in self._layers]
            if kind in ("obj", "body"):
                found.append(self._body_style)
            self._inherited[kind, index] = found
        return self._inherited[kind, index]


def _style(layer: Any, kind: str, index: str) -> Any:
    """The list style of the placeholder of this index, else of this kind, on a layout or master."""
    same_kind = None
    for shape in layer.iter(P + "sp"):
        mark = shape.find(f"{P}nvSpPr/{P}nvPr/{P}ph")
        if mark is None:
            continue
        style = shape.find(f"{P}txBody/{A}lstStyle")
        if mark.get("idx", "0") == index and index != "0":
            return style
        if mark.get("type", "obj") == kind or (kind == "obj" and mark.get("type") == "body"):
            same_kind = style if same_kind is None else same_kind
    return same_kind


def _bullet(paragraph: Any, styles: list[Any]) -> tuple[int, Any]:
    """The level of a paragraph and its bullet; None for one that has none."""
    own = paragraph.find(A + "pPr")
    value = own.get("lvl", "0") if own is not None else "0"
    level = int(value) if value in "012345678" and value else 0
    for place in (own, *(style.find(f"{A}lvl{level + 1}pPr") for style in styles if style is not None)):
        for child in place if place is not None else ():
            if child.tag in _BULLETS:
                return level, None if child.tag == A + "buNone" else child
    return level, None


def _start(bullet: Any) -> int:
    value = bullet.get("startAt", "1")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 6 else 1


def _end(items: list[str], done: list[str]) -> None:
    if items:
        done.append("\n".join(items))
        items.clear()
