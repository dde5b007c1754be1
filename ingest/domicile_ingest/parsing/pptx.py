"""PowerPoint presentations, slide by slide: titles, lists, tables, charts, notes. The only home of ``pptx``.

python-pptx opens the package and follows its relations; the walker is our own, because its shapes leave out whatever
is wrapped for compatibility (formulas, newer drawings) and stop at kinds of shape that they do not know.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from domicile.domain import Page
from domicile.errors import DocumentError
from domicile.metadata import Metadata
from domicile_ingest.parsing.chart import chart_blocks
from domicile_ingest.parsing.markdown_table import Grid, table
from domicile_ingest.parsing.parsed import MAX_CHARACTERS, Parsed, clean, one_line, stem
from domicile_ingest.parsing.pptx_text import A, P, Paragraphs, fold, text_of
from domicile_ingest.parsing.properties import of_office

if TYPE_CHECKING:
    from pptx.presentation import Presentation
    from pptx.slide import Slide

_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}chart"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_TITLES = ("title", "ctrTitle")
_FURNITURE = ("sldNum", "dt", "ftr", "hdr")
_MAX_SLIDES = 5000
_MAX_NESTING = 40
# What programs write when nobody has: file names, and what a machine believes to see.
_NO_ALT = re.compile(
    r"[\w\s().-]+\.(?:png|jpe?g|gif|bmp|svg|emf|wmf|tiff?)|.*(?:automatically generated|AI-generated content).*",
    re.I | re.S,
)
_JUNK_TITLE = re.compile(r"(?:powerpoint[ -]pr[äe]sentation|presentation|slide 1|untitled)\s*\d*", re.IGNORECASE)


def parse_pptx(name: str, data: bytes) -> Parsed:
    """A presentation as Markdown, a page a slide; comments and what the slide master repeats are left out."""
    try:
        title, slides, metadata = _read(data)
    except (DocumentError, MemoryError, RecursionError):
        raise
    except Exception as error:  # python-pptx lets out whatever zipfile, lxml and its own lookups raise
        raise DocumentError("broken", f"the presentation cannot be read: {type(error).__name__}") from error
    text = "\n\n".join(filter(None, slides))
    return Parsed(title or stem(name), text, markdown=True, pages=tuple(_pages(slides)), metadata=metadata)


def _pages(slides: list[str]) -> Iterator[Page]:
    """Where each slide stands in the text; one without words is an empty range."""
    end = 0
    for number, words in enumerate(slides, 1):
        start = end + 2 if words and end else end
        end = start + len(words)
        yield Page(number, start, end)


def _read(data: bytes) -> tuple[str, list[str], Metadata]:
    import pptx

    presentation: Presentation = pptx.Presentation(io.BytesIO(data))
    count = len(presentation.slides)
    if count > _MAX_SLIDES:
        raise DocumentError(
            "too_large", f"the presentation has {count:,} slides; {_MAX_SLIDES:,} are allowed: split it"
        )
    titles: list[str] = []
    slides: list[str] = []
    characters = 0
    for number, slide in enumerate(presentation.slides, 1):
        title, blocks = _Slide(slide).read()
        titles.append(title)
        # A slide without a title must not go on under the heading of the one before.
        head = f"# {title or f'Slide {number}'}"
        words = clean("\n\n".join((head, *blocks))) if title or blocks else ""
        characters += len(words)
        if characters > MAX_CHARACTERS:
            raise DocumentError("too_large", f"the slides have more than {MAX_CHARACTERS:,} characters: split the file")
        slides.append(words)
    metadata = of_office(presentation.part.package)  # first: the library makes properties up once it is asked for one
    declared = one_line(presentation.core_properties.title or "")
    first = one_line(titles[0]) if titles else ""
    return first or ("" if _JUNK_TITLE.fullmatch(declared) else declared), slides, metadata


class _Slide:
    def __init__(self, slide: Slide) -> None:
        self._slide = slide
        self._part: Any = slide.part
        self._paragraphs = Paragraphs(slide)
        self._title = ""

    def read(self) -> tuple[str, list[str]]:
        """The title of the slide, which may be empty, and its other blocks in the order of its shapes."""
        tree: Any = self._slide.shapes._spTree
        blocks = list(self._shapes(tree, 0))
        notes = self._notes()
        if notes:
            blocks.extend(("## Notes", *notes))
        return self._title, blocks

    def _shapes(self, parent: Any, depth: int) -> Iterator[str]:
        for shape in _children(parent):
            if shape.tag == P + "grpSp" and depth < _MAX_NESTING:
                yield from self._shapes(shape, depth + 1)
            elif shape.tag == P + "grpSp":
                yield from filter(None, [fold(text_of(shape))])
            elif shape.tag == P + "graphicFrame":
                yield from self._frame(shape)
            elif shape.tag == P + "pic":
                yield from _alternative(shape)
            elif shape.tag == P + "sp":
                yield from self._shape(shape)

    def _shape(self, shape: Any) -> Iterator[str]:
        placeholder = shape.find(f"{P}nvSpPr/{P}nvPr/{P}ph")
        kind = placeholder.get("type", "obj") if placeholder is not None else ""
        if kind in _FURNITURE:
            return
        body = shape.find(P + "txBody")
        if kind in _TITLES and not self._title:
            self._title = " ".join(text_of(body).split()) if body is not None else ""
        elif body is not None:
            yield from self._paragraphs.blocks(body, placeholder)

    def _frame(self, frame: Any) -> Iterator[str]:
        content = frame.find(f"{A}graphic/{A}graphicData")
        for child in content if content is not None else ():
            if child.tag == A + "tbl":
                yield from _table(child)
            elif child.tag == _CHART:
                yield from self._chart(child.get(_R + "id"))
            elif child.tag == _DIAGRAM + "relIds":
                yield from self._diagram(child.get(_R + "dm"))

    def _chart(self, relation: str | None) -> Iterator[str]:
        chart = self._related(relation)
        if chart is not None:
            yield from chart_blocks(chart)

    def _diagram(self, relation: str | None) -> Iterator[str]:
        diagram = self._related(relation)
        points = diagram.iter(_DIAGRAM + "pt") if diagram is not None else ()
        words = (" ".join(text_of(point).split()) for point in points)
        items = "\n".join(f"- {item}" for item in words if item)
        if items:
            yield items

    def _related(self, relation: str | None) -> Any:
        """Another part of the package; None where it is missing or damaged: the words around it are not."""
        from pptx.oxml import parse_xml

        try:
            return parse_xml(self._part.related_part(relation).blob)
        except (KeyError, SyntaxError):
            return None

    def _notes(self) -> list[str]:
        if not self._slide.has_notes_slide:
            return []
        tree: Any = self._slide.notes_slide.shapes._spTree
        bodies = (
            shape.find(P + "txBody")
            for shape in tree.iter(P + "sp")
            if (mark := shape.find(f"{P}nvSpPr/{P}nvPr/{P}ph")) is not None and mark.get("type") == "body"
        )
        return [block for body in bodies if body is not None for block in self._paragraphs.blocks(body, None)]


def _children(parent: Any) -> Iterator[Any]:
    """The shapes in a tree; of alternatives for older programs, the one that holds a shape."""
    for child in parent:
        if child.tag == _MC + "AlternateContent":
            choices = (list(branch) for branch in child if branch.tag in (_MC + "Choice", _MC + "Fallback"))
            known = {P + "sp", P + "grpSp", P + "graphicFrame", P + "pic"}
            yield from next((branch for branch in choices if any(shape.tag in known for shape in branch)), ())
        else:
            yield child


def _alternative(picture: Any) -> Iterator[str]:
    """What a picture's author says that it shows."""
    described = picture.find(f"{P}nvPicPr/{P}cNvPr")
    words = " ".join((described.get("descr") or "").split()) if described is not None else ""
    if words and not _NO_ALT.fullmatch(words):
        yield words


def _table(element: Any) -> list[str]:
    grid = Grid()
    for row in element.iter(A + "tr"):
        for cell in row.iter(A + "tc"):
            if _number(cell, "hMerge") or _number(cell, "vMerge"):
                continue  # covered by the one before or above
            body = cell.find(A + "txBody")
            words = " ".join(text_of(body).split()) if body is not None else ""
            grid.add(words, _number(cell, "gridSpan"), _number(cell, "rowSpan"))
        grid.end_row()
    return table(grid.rows())


def _number(cell: Any, attribute: str) -> int:
    value = cell.get(attribute, "")
    return int(value) if re.fullmatch("[0-9]{1,4}", value) else int(value == "true")
