"""What hangs on a paragraph of a Word document and is kept elsewhere in the file: notes and charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domicile_ingest.parsing.chart import chart_blocks

if TYPE_CHECKING:
    from docx.document import Document

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}chart"
NOTES = {_W + "footnoteReference": "footnote", _W + "endnoteReference": "endnote"}


class Apart:
    """Finds the other parts of a document; one that is missing or damaged is left out, the words around it are not."""

    def __init__(self, document: Document) -> None:
        self._part: Any = document.part
        self._notes: dict[tuple[str, str], Any] = {}
        for kind in NOTES.values():
            self._read_notes(kind)

    def chart(self, element: Any) -> list[str]:
        """The blocks of a chart."""
        chart = _parsed(self._part.related_parts.get(element.get(_R + "id")))
        return list(chart_blocks(chart)) if chart is not None else []

    def note(self, reference: Any) -> Any:
        """The element that holds the words of a note, once; None where there is none."""
        return self._notes.pop((NOTES[reference.tag], reference.get(_W + "id", "")), None)

    def _read_notes(self, kind: str) -> None:
        for relation in self._part.rels.values():
            if not relation.is_external and relation.reltype.endswith(f"/{kind}s"):
                root = _parsed(relation.target_part)
                for note in root.findall(_W + kind) if root is not None else ():
                    self._notes[kind, note.get(_W + "id", "")] = note


def _parsed(part: Any) -> Any:
    from docx.oxml import parse_xml

    try:
        return parse_xml(part.blob) if part is not None else None
    except SyntaxError:
        return None
