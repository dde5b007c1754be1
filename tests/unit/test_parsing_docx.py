"""Word: paragraphs, lists and tables in reading order."""

from __future__ import annotations

import io

import docx
import pytest
from docx.document import Document
from docx.enum.style import WD_STYLE_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from domicile.errors import DocumentError
from domicile_ingest.parsing import parse


def saved(document: Document) -> bytes:
    target = io.BytesIO()
    document.save(target)
    return target.getvalue()


def sample() -> Document:
    document = docx.Document()
    document.core_properties.title = "Property"
    document.add_heading("Leave policy", 0)
    document.add_heading("Days", 1)
    document.add_paragraph("Everybody has days.")
    document.add_paragraph("one", style="List Bullet")
    document.add_paragraph("nested", style="List Bullet 2")
    document.add_paragraph("two", style="List Bullet")
    document.add_paragraph("first", style="List Number")
    document.add_paragraph("second", style="List Number")
    table = document.add_table(3, 2)
    for row, values in zip(table.rows, (("Site", "Days"), ("Lyon", "25"), ("", "30")), strict=True):
        for cell, value in zip(row.cells, values, strict=True):
            cell.text = value
    table.cell(1, 0).merge(table.cell(2, 0))
    document.add_heading("After", 2)
    document.add_paragraph("The end.")
    document.sections[0].header.paragraphs[0].text = "Printed on every page"
    return document


def test_reading_order() -> None:
    parsed = parse("leave.docx", saved(sample()))
    assert parsed.title == "Leave policy"
    assert parsed.text == (
        "# Leave policy\n\n# Days\n\nEverybody has days.\n\n- one\n    - nested\n- two\n1. first\n2. second\n\n"
        "| Site | Days |\n| --- | --- |\n| Lyon | 25 |\n| Lyon | 30 |\n\n## After\n\nThe end."
    )


def test_tracked_changes_text_boxes_and_controls() -> None:
    document = docx.Document()
    for body in (
        "<w:p %s><w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:ins><w:r><w:t>kept</w:t></w:r></w:ins></w:p>",
        "<w:sdt %s><w:sdtContent><w:p><w:r><w:t>controlled</w:t><w:tab/><w:t>tab</w:t></w:r></w:p>"
        "</w:sdtContent></w:sdt>",
        "<w:p %s><w:r><w:t>host</w:t></w:r><w:r><w:pict><w:txbxContent><w:p><w:r><w:t>boxed</w:t></w:r></w:p>"
        "</w:txbxContent></w:pict></w:r></w:p>",
        "<w:p %s><w:hyperlink><w:r><w:t>linked</w:t></w:r></w:hyperlink><w:r><w:br/><w:t>line</w:t></w:r></w:p>",
    ):
        document.element.body.insert(-1, parse_xml(body % nsdecls("w")))
    assert parse("a.docx", saved(document)).text == "kept\n\ncontrolled tab\n\nhost\n\nboxed\n\nlinked\nline"


def test_hidden_words_are_left_out() -> None:
    document = docx.Document()
    for name, kind in (("Aside", WD_STYLE_TYPE.PARAGRAPH), ("Whisper", WD_STYLE_TYPE.CHARACTER)):
        document.styles.add_style(name, kind).font.hidden = True  # type: ignore[union-attr]
    document.styles.add_style("Loud", WD_STYLE_TYPE.PARAGRAPH).base_style = document.styles["Aside"]  # type: ignore[union-attr]
    paragraph = document.add_paragraph("Seen ")
    paragraph.add_run("unseen ").font.hidden = True
    paragraph.add_run("whispered ", style="Whisper")
    paragraph.add_run("again").font.hidden = False
    document.add_paragraph("aside", style="Aside")
    document.add_paragraph("", style="Loud").add_run("louder").font.hidden = False
    document.add_paragraph("based", style="Loud")
    document.element.body.insert(
        -1,
        parse_xml(
            f"<w:p {nsdecls('w')}><w:pPr><w:rPr><w:vanish/></w:rPr></w:pPr><w:r><w:t>mark only</w:t></w:r>"
            "<w:r><w:rPr><w:vanish/></w:rPr><w:pict><w:txbxContent><w:p><w:r><w:rPr><w:vanish/></w:rPr><w:t>boxed</w:t>"
            "</w:r></w:p></w:txbxContent></w:pict></w:r></w:p>"
        ),
    )
    parsed = parse("a.docx", saved(document))
    assert parsed.text == "Seen again\n\nlouder\n\nmark only"
    left_out = sum(map(len, ("unseen", "whispered", "aside", "based", "boxed")))
    assert parsed.metadata.remarks == (f"{left_out} characters of hidden text were left out",)
    assert not parse("a.docx", saved(sample())).metadata.remarks


def test_the_property_is_the_title_where_no_heading_is() -> None:
    document = docx.Document()
    document.core_properties.title = "Property"
    document.add_paragraph("Words")
    assert parse("a.docx", saved(document)).title == "Property"


def test_broken() -> None:
    data = saved(sample())
    for length in (60, len(data) // 2, len(data) - 30):
        with pytest.raises(DocumentError) as caught:
            parse("a.docx", data[:length])
        assert caught.value.kind == "broken"


def test_notes_stand_behind_their_paragraph() -> None:
    document = docx.Document()
    for name, number in (("footnote", "1"), ("endnote", "2"), ("footnote", "99")):
        run = document.add_paragraph(f"{name} {number}").add_run()._r
        run.append(parse_xml(f'<w:{name}Reference {nsdecls("w")} w:id="{number}"/>'))
    for name, number in (("footnote", 1), ("endnote", 2)):
        notes = f"<w:{name}s {nsdecls('w')}>" + "".join(
            f'<w:{name} w:id="{identity}"><w:p><w:r><w:t>the {name} {identity}</w:t></w:r></w:p></w:{name}>'
            for identity in (0, number)
        )
        part = Part(PackURI(f"/word/{name}s.xml"), "application/xml", f"{notes}</w:{name}s>".encode(), None)
        document.part.relate_to(part, f"http://schemas.openxmlformats.org/officeDocument/2006/relationships/{name}s")
    assert parse("a.docx", saved(document)).text == (
        "footnote 1\n\nthe footnote 1\n\nendnote 2\n\nthe endnote 2\n\nfootnote 99"
    )


def test_the_numbers_behind_a_chart() -> None:
    document = docx.Document()
    chart = (
        b'<c:chartSpace xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart"><c:ser><c:tx><c:v>Ducks</c:v>'
        b'</c:tx><c:cat><c:pt idx="0"><c:v>Q1</c:v></c:pt></c:cat><c:val><c:pt idx="0"><c:v>10</c:v></c:pt></c:val>'
        b"</c:ser></c:chartSpace>"
    )
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/chart"
    for number, content in enumerate((chart, chart[:60])):
        part = Part(PackURI(f"/word/charts/chart{number}.xml"), "application/xml", content, None)
        place = document.part.relate_to(part, kind)
        document.add_paragraph(f"Chart {number}").add_run()._r.append(
            parse_xml(
                f'<w:drawing {nsdecls("w", "r")} xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart">'
                f'<c:chart r:id="{place}"/></w:drawing>'
            )
        )
    assert parse("a.docx", saved(document)).text == ("Chart 0\n\n|  | Ducks |\n| --- | --- |\n| Q1 | 10 |\n\nChart 1")
