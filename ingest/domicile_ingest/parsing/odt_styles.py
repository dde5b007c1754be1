"""What the styles of an OpenDocument text say: which paragraphs are headings, which lists are numbered."""

from __future__ import annotations

import re
from typing import Any

OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_MAX_PARENTS = 12


class Styles:
    """The styles of a document's content and those that it shares with others."""

    def __init__(self, *roots: Any) -> None:
        self._parents: dict[str, str] = {}
        self._levels: dict[str, int] = {}
        self._numbers: dict[tuple[str, int], int] = {}
        for root in reversed([root for root in roots if root is not None]):
            self._read_paragraphs(root)
            self._read_lists(root)

    def level(self, paragraph: Any) -> int:
        """The heading level of a paragraph; 0 for body text."""
        if paragraph.tag == TEXT + "h":
            return min(6, max(1, _integer(paragraph.get(TEXT + "outline-level"), 1)))
        name = paragraph.get(TEXT + "style-name", "")
        if name not in self._levels:
            self._levels[name] = self._inherited(name)
        return self._levels[name]

    def _inherited(self, name: str) -> int:
        for _ in range(_MAX_PARENTS):
            if name == "Title":
                return 1
            if match := re.fullmatch(r"Heading_20_([1-9])", name):
                return min(6, int(match[1]))
            name = self._parents.get(name, "")
            if name in self._levels or not name:
                break
        return self._levels.get(name, 0)

    def list_name(self, element: Any) -> str:
        return str(element.get(TEXT + "style-name", ""))

    def is_bullet(self, name: str, level: int) -> bool:
        """Whether this level of a list is not numbered; a list of no known style is drawn with bullets."""
        return (name, level) not in self._numbers

    def first_number(self, name: str, level: int) -> int:
        return self._numbers.get((name, level), 1)

    def _read_paragraphs(self, root: Any) -> None:
        for style in root.iter(STYLE + "style"):
            if style.get(STYLE + "family") != "paragraph":
                continue
            name = style.get(STYLE + "name", "")
            self._parents[name] = style.get(STYLE + "parent-style-name", "")
            level = _integer(style.get(STYLE + "default-outline-level"), 0)
            if level:
                self._levels[name] = min(6, level)

    def _read_lists(self, root: Any) -> None:
        for style in root.iter(TEXT + "list-style"):
            name = style.get(STYLE + "name", "")
            for level in style.iter(TEXT + "list-level-style-number"):
                if level.get(STYLE + "num-format"):  # an empty format draws nothing
                    place = (name, _integer(level.get(TEXT + "level"), 1))
                    self._numbers[place] = _integer(level.get(TEXT + "start-value"), 1)


def _integer(value: str | None, default: int) -> int:
    return int(value) if value is not None and re.fullmatch("[0-9]{1,6}", value) else default
