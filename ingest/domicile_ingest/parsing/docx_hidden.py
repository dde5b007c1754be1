"""Words of a Word document that are formatted as hidden: neither the page nor the print shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docx.document import Document

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_VANISH = f"{_W}rPr/{_W}vanish"
_MAX_BASES = 12


class Hidden:
    """Takes hidden runs out of the parts of a document.

    Attributes:
        characters: how many were taken out so far.
    """

    def __init__(self, document: Document) -> None:
        self._styles = frozenset(style.style_id for style in document.styles if _hides(style))
        self.characters = 0

    def drop(self, root: Any) -> None:
        """Take out the runs below an element, and whatever hangs on them."""
        for run in list(self._runs(root)):
            if root not in run.iterancestors():  # it went with the run that its text box hangs on
                continue
            words = " ".join("".join(text.text or "" for text in run.iter(_W + "t")).split())
            self.characters += len(words)
            run.getparent().remove(run)

    def _runs(self, root: Any) -> Iterator[Any]:
        for run in root.iter(_W + "r"):
            said = _vanishes(run)
            if said is None and self._styles:
                paragraph = next(run.iterancestors(_W + "p"), None)
                said = _style(run, "r") in self._styles or (
                    paragraph is not None and _style(paragraph, "p") in self._styles
                )
            if said:
                yield run


def _vanishes(element: Any) -> bool | None:
    """What an element says of the words in it, if anything."""
    mark = element.find(_VANISH)
    return None if mark is None else mark.get(_W + "val", "true") not in ("0", "false", "off")


def _style(element: Any, kind: str) -> str | None:
    name = element.find(f"{_W}{kind}Pr/{_W}{kind}Style")
    return None if name is None else name.get(_W + "val")


def _hides(style: Any) -> bool:
    """Whether a style, or what it is based on, hides words."""
    for _ in range(_MAX_BASES):
        if style is None:
            return False
        said = _vanishes(style.element)
        if said is not None:
            return said
        style = getattr(style, "base_style", None)
    return False
