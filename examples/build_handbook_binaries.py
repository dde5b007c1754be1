"""Build the PDF, DOCX and XLSX files of the sample handbook from their text sources.

Every source under ``handbook_sources/`` is named after the file that it becomes plus ``.md``:
``board/2025-q3-minutes.docx.md`` becomes ``handbook/board/2025-q3-minutes.docx``.

    python examples/build_handbook_binaries.py            # build all
    python examples/build_handbook_binaries.py --check    # compare with what is there

The output depends on the sources only: dates and identifiers are fixed, so that two runs give
the same bytes (with the same versions of reportlab, python-docx and openpyxl).

A source begins with ``key: value`` lines (title, subtitle, header, footer), then an empty line,
then a small subset of Markdown: headings, paragraphs, bullet and numbered lists with one
nested level, tables, ``**bold**`` and ``*italic*``. In a spreadsheet each ``#`` heading is a sheet.
"""

from __future__ import annotations

import argparse
import datetime as dt
import io
import re
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape

import docx
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Pt
from openpyxl import Workbook
from openpyxl.styles import Alignment, Font
from openpyxl.utils import get_column_letter
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    KeepTogether,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)
from reportlab.platypus.tableofcontents import TableOfContents

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "handbook_sources"
HANDBOOK = HERE / "handbook"
FIXED_TIME = dt.datetime(2026, 1, 5, 9, 0, 0)
COMPANY = "Orrevik Controls B.V."

Kind = Literal["h1", "h2", "h3", "paragraph", "bullet", "number", "table"]


@dataclass(frozen=True)
class Block:
    """One paragraph, heading, list item or table of a source."""

    kind: Kind
    text: str = ""
    level: int = 0
    first: bool = False  # the first item of a new numbered list
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Source:
    """A parsed source: its heading fields and its blocks in order."""

    fields: dict[str, str]
    blocks: list[Block] = field(default_factory=list)


def parse(text: str) -> Source:
    """Parse the small Markdown subset described at the top of this file."""
    head, _, body = text.partition("\n\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    blocks: list[Block] = []
    table: list[tuple[str, ...]] = []
    in_numbers = False

    def end_table() -> None:
        if table:
            blocks.append(Block("table", rows=tuple(table)))
            table.clear()

    for line in body.splitlines():
        if line.startswith("|"):
            cells = tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
            if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                table.append(cells)
            in_numbers = False
            continue
        end_table()
        if not line.strip():
            continue
        if heading := re.match(r"(#{1,3}) (.+)", line):
            level = len(heading[1])
            kinds: tuple[Kind, ...] = ("h1", "h2", "h3")
            blocks.append(Block(kinds[level - 1], heading[2]))
            in_numbers = False
        elif item := re.match(r"( *)- (.+)", line):
            nested = len(item[1]) >= 2
            blocks.append(Block("bullet", item[2], level=int(nested)))
            in_numbers = in_numbers and nested
        elif item := re.match(r"\d+\. (.+)", line):
            blocks.append(Block("number", item[1], first=not in_numbers))
            in_numbers = True
        else:
            blocks.append(Block("paragraph", line.strip()))
            in_numbers = False
    end_table()
    return Source(fields, blocks)


# --- PDF ---------------------------------------------------------------------------------------

BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=10, leading=14, spaceAfter=6)
CELL = ParagraphStyle("cell", parent=BODY, fontSize=9, leading=11.5, spaceAfter=0)
CELL_HEAD = ParagraphStyle("cell_head", parent=CELL, fontName="Helvetica-Bold")
TITLE = ParagraphStyle("title", fontName="Helvetica-Bold", fontSize=20, leading=25, spaceAfter=8)
H1 = ParagraphStyle("h1", fontName="Helvetica-Bold", fontSize=16, leading=20, spaceBefore=14, spaceAfter=8)
H2 = ParagraphStyle("h2", fontName="Helvetica-Bold", fontSize=13, leading=17, spaceBefore=10, spaceAfter=5)
H3 = ParagraphStyle("h3", fontName="Helvetica-Bold", fontSize=11, leading=14, spaceBefore=8, spaceAfter=4)
TOC_LINE = ParagraphStyle("toc", parent=BODY, spaceAfter=2)


class NumberedCanvas(Canvas):
    """A canvas that knows the number of pages when it draws "Page 3 of 14"."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pages: list[dict[str, Any]] = []

    def showPage(self) -> None:
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        total = len(self._pages)
        for state in self._pages:
            self.__dict__.update(state)
            self.setFont("Helvetica", 8)
            self.drawRightString(A4[0] - 20 * mm, 12 * mm, f"Page {self._pageNumber} of {total}")
            super().showPage()
        super().save()


class Document(BaseDocTemplate):
    """A document with the same header and footer on each page, and a table of contents."""

    def __init__(self, target: io.BytesIO, fields: dict[str, str]) -> None:
        super().__init__(
            target,
            pagesize=A4,
            leftMargin=20 * mm,
            rightMargin=20 * mm,
            topMargin=25 * mm,
            bottomMargin=22 * mm,
            title=fields["title"],
            author=COMPANY,
            creator=COMPANY,
            producer=COMPANY,
            subject=fields.get("subtitle", ""),
            invariant=1,
        )
        self._fields = fields
        frame = Frame(
            self.leftMargin,
            self.bottomMargin,
            self.width,
            self.height,
            leftPadding=0,
            rightPadding=0,
            id="body",
        )
        self.addPageTemplates(PageTemplate("page", [frame], onPage=self._decorate))

    def _decorate(self, canvas: Canvas, _: BaseDocTemplate) -> None:
        canvas.saveState()
        canvas.setFont("Helvetica", 8)
        canvas.drawString(20 * mm, A4[1] - 15 * mm, self._fields["header"])
        canvas.line(20 * mm, A4[1] - 17 * mm, A4[0] - 20 * mm, A4[1] - 17 * mm)
        canvas.drawString(20 * mm, 12 * mm, self._fields["footer"])
        canvas.restoreState()

    def afterFlowable(self, flowable: Flowable) -> None:
        if isinstance(flowable, Paragraph) and flowable.style.name == "h1":
            self.notify("TOCEntry", (0, flowable.getPlainText(), self.page))


def inline(text: str) -> str:
    """Turn ``**bold**`` and ``*italic*`` into reportlab's markup."""
    text = escape(text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text)
    return re.sub(r"\*(.+?)\*", r"<i>\1</i>", text)


def pdf_table(rows: tuple[tuple[str, ...], ...], width: float) -> Table:
    """Lay out a table whose column widths follow the length of the text."""
    longest = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    weights = [min(max(length, 7), 42) for length in longest]
    widths = [width * weight / sum(weights) for weight in weights]
    data = [[Paragraph(inline(cell), CELL_HEAD if n == 0 else CELL) for cell in row] for n, row in enumerate(rows)]
    table = Table(data, colWidths=widths, repeatRows=1, spaceBefore=4, spaceAfter=10)
    table.setStyle(
        TableStyle(
            [
                ("GRID", (0, 0), (-1, -1), 0.5, colors.grey),
                ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor("#e4ecf2")),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("TOPPADDING", (0, 0), (-1, -1), 3),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
            ]
        )
    )
    return table


def build_pdf(source: Source) -> bytes:
    """Render a source as a PDF."""
    buffer = io.BytesIO()
    document = Document(buffer, source.fields)
    story: list[Flowable] = [
        Paragraph(inline(source.fields["title"]), TITLE),
        Paragraph(inline(source.fields["subtitle"]), BODY),
    ]
    chapters = [block for block in source.blocks if block.kind == "h1"]
    if len(chapters) > 5:
        contents = TableOfContents(levelStyles=[TOC_LINE], dotsMinLevel=0)
        story += [Spacer(1, 10), Paragraph("Contents", H2), contents, PageBreak()]
    number = 0
    for block in source.blocks:
        if block.kind in ("h1", "h2", "h3"):
            style = {"h1": H1, "h2": H2, "h3": H3}[block.kind]
            heading = Paragraph(inline(block.text), style)
            heading.keepWithNext = 1
            story.append(heading)
        elif block.kind == "table":
            table = pdf_table(block.rows, document.width)
            story.append(KeepTogether(table) if len(block.rows) < 9 else table)
        elif block.kind == "paragraph":
            text = re.sub(r"^(DANGER|WARNING|CAUTION):", r"**\1:**", block.text)
            story.append(Paragraph(inline(text), BODY))
        else:
            number = 1 if block.first else number + 1
            mark = f"{number}." if block.kind == "number" else "-"
            indent = 16 + 14 * block.level
            style = ParagraphStyle("item", parent=BODY, leftIndent=indent, bulletIndent=indent - 14, spaceAfter=3)
            story.append(Paragraph(inline(block.text), style, bulletText=mark))
    document.multiBuild(story, canvasmaker=NumberedCanvas)
    return buffer.getvalue()


# --- DOCX --------------------------------------------------------------------------------------


def add_runs(paragraph: Any, text: str) -> None:
    """Add text to a paragraph with its bold and italic parts as separate runs."""
    for part in re.split(r"(\*\*.+?\*\*|\*.+?\*)", text):
        if part.startswith("**"):
            paragraph.add_run(part[2:-2]).bold = True
        elif part.startswith("*") and len(part) > 2:
            paragraph.add_run(part[1:-1]).italic = True
        elif part:
            paragraph.add_run(part)


def new_numbering(document: Any) -> int:
    """Create a numbering instance that starts at 1 and return its id."""
    numbering = document.part.numbering_part.element
    style_num = document.styles["List Number"].element.pPr.numPr.numId.val
    abstract = numbering.num_having_numId(style_num).abstractNumId.val
    num = numbering.add_num(abstract)
    num.add_lvlOverride(0).add_startOverride(1)
    return int(num.numId)


def set_numbering(paragraph: Any, num_id: int) -> None:
    """Attach a paragraph to a numbering instance."""
    properties = paragraph._p.get_or_add_pPr().get_or_add_numPr()
    properties.get_or_add_ilvl().val = 0
    properties.get_or_add_numId().val = num_id


def add_page_number(paragraph: Any) -> None:
    """Add a PAGE field to a footer paragraph."""
    for kind, text in (("begin", ""), ("", "PAGE"), ("end", "")):
        run = paragraph.add_run()
        if kind:
            element = OxmlElement("w:fldChar")
            element.set(qn("w:fldCharType"), kind)
        else:
            element = OxmlElement("w:instrText")
            element.text = text
        run._r.append(element)


def build_docx(source: Source) -> bytes:
    """Render a source as a Word document."""
    document = docx.Document()
    document.styles["Normal"].font.name = "Calibri"
    document.styles["Normal"].font.size = Pt(11)
    properties = document.core_properties
    properties.title, properties.author = source.fields["title"], COMPANY
    properties.last_modified_by, properties.comments = COMPANY, ""
    properties.created = properties.modified = FIXED_TIME
    properties.revision = 1
    section = document.sections[0]
    section.header.paragraphs[0].text = f"{COMPANY} - {source.fields['title']}"
    footer = section.footer.paragraphs[0]
    footer.add_run("Page ")
    add_page_number(footer)

    document.add_heading(source.fields["title"], level=0)
    document.add_paragraph(source.fields["subtitle"], style="Subtitle")
    num_id = 0
    for block in source.blocks:
        if block.kind in ("h1", "h2", "h3"):
            document.add_heading(block.text, level=int(block.kind[1]))
        elif block.kind == "table":
            table = document.add_table(rows=0, cols=len(block.rows[0]), style="Table Grid")
            for n, row in enumerate(block.rows):
                for cell, text in zip(table.add_row().cells, row, strict=True):
                    add_runs(cell.paragraphs[0], f"**{text}**" if n == 0 else text)
            document.add_paragraph()
        elif block.kind == "bullet":
            style = "List Bullet 2" if block.level else "List Bullet"
            add_runs(document.add_paragraph(style=style), block.text)
        elif block.kind == "number":
            if block.first:
                num_id = new_numbering(document)
            paragraph = document.add_paragraph(style="List Number")
            set_numbering(paragraph, num_id)
            add_runs(paragraph, block.text)
        else:
            add_runs(document.add_paragraph(), block.text)
    buffer = io.BytesIO()
    document.save(buffer)
    return normalise_zip(buffer.getvalue())


# --- XLSX --------------------------------------------------------------------------------------


def cell_value(text: str) -> tuple[Any, str | None]:
    """Turn the text of a cell into a value and, where needed, a number format."""
    if re.fullmatch(r"-?\d+", text):
        return int(text), "#,##0"
    if re.fullmatch(r"-?\d+\.\d+", text):
        return float(text), "0.0"
    if match := re.fullmatch(r"(\d+(?:\.\d+)?) %", text):
        return round(float(match[1]) / 100, 6), "0.0%"
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return dt.date.fromisoformat(text), "yyyy-mm-dd"
    return text, None


def build_xlsx(source: Source) -> bytes:
    """Render a source as a workbook with one sheet for each heading."""
    workbook = Workbook()
    workbook.remove(workbook.active)
    workbook.properties.title = source.fields["title"]
    workbook.properties.creator = workbook.properties.lastModifiedBy = COMPANY
    workbook.properties.created = workbook.properties.modified = FIXED_TIME
    sheet: Any = None
    for block in source.blocks:
        if block.kind == "h1":
            sheet = workbook.create_sheet(block.text)
        elif block.kind == "table":
            for r, row in enumerate(block.rows, start=1):
                for c, text in enumerate(row, start=1):
                    value, number_format = cell_value(text)
                    cell = sheet.cell(row=r, column=c, value=value)
                    if r == 1:
                        cell.font = Font(bold=True)
                        cell.alignment = Alignment(wrap_text=True, vertical="top")
                    elif number_format:
                        cell.number_format = number_format
            for c in range(len(block.rows[0])):
                width = max(len(row[c]) for row in block.rows[1:]) + 3
                letter = get_column_letter(c + 1)
                sheet.column_dimensions[letter].width = min(max(width, 12), 48)
            sheet.freeze_panes = "B2"
    buffer = io.BytesIO()
    workbook.save(buffer)
    return normalise_zip(buffer.getvalue())


# --- common ------------------------------------------------------------------------------------


def normalise_zip(data: bytes) -> bytes:
    """Rewrite an Office file with fixed time stamps."""
    stamp = FIXED_TIME.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    result = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            if name == "docProps/core.xml":
                pattern = rb"(<dcterms:(created|modified)[^>]*>)[^<]*"
                content = re.sub(pattern, rb"\g<1>" + stamp, content)
            info = zipfile.ZipInfo(name, date_time=FIXED_TIME.timetuple()[:6])
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            new.writestr(info, content)
    return result.getvalue()


BUILDERS = {".pdf": build_pdf, ".docx": build_docx, ".xlsx": build_xlsx}


def main() -> int:
    """Build every file, or compare with what is there."""
    parser = argparse.ArgumentParser(description="Build the binary files of the sample handbook.")
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    arguments = parser.parse_args()
    differing = 0
    for path in sorted(SOURCES.rglob("*.md")):
        target = HANDBOOK / path.relative_to(SOURCES).with_suffix("")
        data = BUILDERS[target.suffix](parse(path.read_text(encoding="utf-8")))
        name = target.relative_to(HANDBOOK)
        if arguments.check:
            same = target.is_file() and target.read_bytes() == data
            differing += not same
            print(f"{'same     ' if same else 'DIFFERENT'}  {name}")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
            file.write(data)
        Path(file.name).chmod(0o644)
        Path(file.name).replace(target)
        print(f"{len(data):>8} bytes  {name}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
