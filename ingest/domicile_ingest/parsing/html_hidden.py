"""Text of a page that its reader does not see: it is taken out, because nobody who quotes or checks it would find it.

Mails hide their preview line so, and whoever wants to instruct a program behind the reader's back his instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from domicile_ingest.parsing.html_style import (
    Colour,
    Style,
    colour,
    declarations,
    ground,
    is_boxed_out,
    is_cut_to_nothing,
    is_invisible_ink,
    letter_size,
)

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_SPEAKING = "[hidden], [style], [bgcolor], [background], font[color], body[text]"
_SHEETS = "style, link[rel~=stylesheet i]"
_REPAINTED = "a[href], mark, button"
_CELLS = frozenset("table thead tbody tfoot tr td th".split())
_SMALLEST = 3.0
"""Pixels; nobody reads smaller letters."""
_DISTINCT = 16
"""Of 255, by which at least one of red, green and blue must differ."""
_WHITE: Colour = (255, 255, 255)
_BLACK: Colour = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class _Look:
    """How words inside an element look; a colour that cannot be known is ``None``."""

    shown: bool
    size: float
    ink: Colour | None
    ground: Colour | None
    inkless: bool = False

    @property
    def is_seen(self) -> bool:
        if not self.shown or self.inkless or self.size < _SMALLEST:
            return False
        if self.ink is None or self.ground is None:
            return True
        return any(abs(one - other) >= _DISTINCT for one, other in zip(self.ink, self.ground, strict=True))


def drop_hidden(tree: LexborHTMLParser, skip: frozenset[str], words: Callable[[LexborNode], str]) -> int:
    """Take out of a page what is not seen.

    Args:
        skip: the elements that are left out anyway: they are not looked into and do not count.
        words: what would be read of an element.

    Returns:
        How many characters would have been read.
    """
    body = tree.body
    speaking = {node.mem_id for node in tree.css(_SPEAKING)}
    if body is None or not speaking:
        return 0
    # With a stylesheet, what an element with a class or a name inherits is anybody's guess.
    guess = _Look(True, 16.0, None, None)
    start = guess if tree.css_first(_SHEETS) is not None else _Look(True, 16.0, _BLACK, _WHITE)
    hidden: list[str] = []
    repainted = {node.mem_id for node in tree.css(_REPAINTED)}
    page = _Page(speaking, repainted, skip, guess if start is guess else None)
    for node in page.unseen(body, start):
        hidden.append(words(node) if node.tag != "-text" else node.text_content or "")
        node.decompose()
    return sum(len(" ".join(text.split())) for text in hidden if any(map(str.isalnum, text)))


@dataclass(frozen=True, slots=True)
class _Page:
    """
    Attributes:
        speaking: elements that may say how they look.
        repainted: elements that have colours of their own.
        guess: the look inside an element with a class or a name, where there is a stylesheet that may speak of it.
    """

    speaking: set[int]
    repainted: set[int]
    skip: frozenset[str]
    guess: _Look | None

    def unseen(self, body: LexborNode, start: _Look) -> Iterator[LexborNode]:
        """The elements and the texts that are not seen, none inside another; each may be taken out at once."""
        waiting = [(body, self._inside(body, start))]
        while waiting:
            node, look = waiting.pop()
            for child in list(node.iter(include_text=True)):
                tag = child.tag or ""
                if tag == "-text":
                    # Blanks stay: the words on both sides may be seen.
                    if not look.is_seen and (child.text_content or "").strip():
                        yield child
                elif tag in self.skip:
                    continue
                elif child.mem_id in self.speaking and _is_out(child):
                    yield child
                elif child.first_child is not None:
                    waiting.append((child, self._inside(child, look)))

    def _inside(self, node: LexborNode, look: _Look) -> _Look:
        """The look inside an element, from that around it."""
        if self.guess is not None and (node.id or "class" in node.attributes):
            look = replace(self.guess, shown=look.shown)
        elif node.mem_id in self.repainted:
            look = replace(look, ink=None, ground=None, inkless=False)
        return _said(node, look) if node.mem_id in self.speaking else look


def _is_out(node: LexborNode) -> bool:
    attributes = node.attributes
    style = declarations(attributes.get("style") or "")
    return "hidden" in attributes or is_boxed_out(style) or (node.tag not in _CELLS and is_cut_to_nothing(style))


def _said(node: LexborNode, look: _Look) -> _Look:
    """The look that an element gives itself."""
    attributes = node.attributes
    style = _attributed(attributes.get("bgcolor"), attributes.get("text" if node.tag == "body" else "color"))
    if "background" in attributes:
        style["background-image"] = "url("
    style |= declarations(attributes.get("style") or "")
    coloured = style.get("color", "inherit") != "inherit"
    return _Look(
        # A page that is hidden as a whole is one that a script shows when it is ready.
        look.shown if node.tag == "body" else _shown(style, look.shown),
        letter_size(style, look.size),
        colour(style["color"]) if coloured else look.ink,
        ground(style, look.ground),
        is_invisible_ink(style) if coloured else look.inkless,
    )


def _attributed(back: str | None, front: str | None) -> dict[str, str]:
    """What attributes of older pages say, as a style; they may leave out the mark of a number."""
    said = {"background-color": back, "color": front}
    values = {name: value.strip().lower() for name, value in said.items() if value}
    return {name: value if colour(value) else f"#{value}" for name, value in values.items()}


def _shown(style: Style, inherited: bool) -> bool:
    return {"hidden": False, "collapse": False, "visible": True}.get(style.get("visibility", ""), inherited)
