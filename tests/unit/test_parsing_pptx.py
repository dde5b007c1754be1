"""PowerPoint: titles, lists, tables, charts and notes, a page a slide."""

from __future__ import annotations

import io
import zipfile

import pptx
import pytest
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.oxml import parse_xml
from pptx.presentation import Presentation
from pptx.slide import Slide
from pptx.util import Inches

from domicile.errors import DocumentError
from domicile_ingest.parsing import parse

BOX = (Inches(1), Inches(1), Inches(3), Inches(1))
NAMESPACES = (
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
)


def saved(presentation: Presentation) -> bytes:
    target = io.BytesIO()
    presentation.save(target)
    return target.getvalue()


def titled(presentation: Presentation, title: str, layout: int = 1) -> Slide:
    slide = presentation.slides.add_slide(presentation.slide_layouts[layout])
    slide.shapes.title.text = title
    return slide


def boxed(slide: Slide, words: str) -> None:
    slide.shapes.add_textbox(*BOX).text_frame.text = words


def edited(data: bytes, member: str, old: bytes, new: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            if name == member:
                assert old in content
                content = content.replace(old, new)
            copy.writestr(name, content)
    return target.getvalue()


def test_reading_order_lists_and_notes() -> None:
    presentation = pptx.Presentation()
    slide = titled(presentation, "Leave policy")
    frame = slide.placeholders[1].text_frame
    frame.text = "Everybody has days"
    for level, words in ((1, "Lyon"), (3, "deep"), (0, "Ask\vearly")):
        paragraph = frame.add_paragraph()
        paragraph.text, paragraph.level = words, level
    boxed(slide, "A box\nof words")
    slide.notes_slide.notes_text_frame.text = "Say it slowly."
    boxed(presentation.slides.add_slide(presentation.slide_layouts[6]), "Untitled")
    presentation.slides.add_slide(presentation.slide_layouts[6])
    titled(presentation, "End", 5)
    parsed = parse("leave.pptx", saved(presentation))
    assert parsed.title == "Leave policy"
    assert parsed.text == (
        "# Leave policy\n\n- Everybody has days\n    - Lyon\n        - deep\n- Ask early\n\nA box\n\nof words\n\n"
        "## Notes\n\nSay it slowly.\n\n# Slide 2\n\nUntitled\n\n# End"
    )
    assert [parsed.text[page.start : page.end][-9:] for page in parsed.pages] == [
        "t slowly.",
        "\nUntitled",
        "",
        "# End",
    ]
    assert [page.number for page in parsed.pages] == [1, 2, 3, 4]


def test_numbers_and_switched_off_bullets() -> None:
    presentation = pptx.Presentation()
    frame = titled(presentation, "Steps").placeholders[1].text_frame
    frame.text = "First"
    for words in ("Second", "No item", "Third"):
        frame.add_paragraph().text = words
    for number, paragraph in enumerate(frame.paragraphs):
        mark = "<a:buNone %s/>" if number == 2 else '<a:buAutoNum type="arabicPeriod" startAt="4" %s/>'
        paragraph._p.get_or_add_pPr().append(parse_xml(mark % NAMESPACES))
    assert parse("a.pptx", saved(presentation)).text == "# Steps\n\n4. First\n5. Second\n\nNo item\n\n4. Third"


def test_tables_charts_groups_and_pictures() -> None:
    presentation = pptx.Presentation()
    slide = titled(presentation, "Numbers", 5)
    table = slide.shapes.add_table(3, 2, *BOX).table
    for row, values in enumerate((("Site", "Days"), ("Lyon", "25"), ("", "30"))):
        for column, value in enumerate(values):
            table.cell(row, column).text = value
    table.cell(1, 0).merge(table.cell(2, 0))
    data = CategoryChartData()
    data.categories = ["Q1", "Q2"]
    data.add_series("Ducks", (10, None))
    data.add_series("Geese", (4.4000000000000004, 2))
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, *BOX, data)
    outer = slide.shapes.add_group_shape()
    outer.shapes.add_group_shape().shapes.add_textbox(*BOX).text_frame.text = "grouped"
    for alt in ("The site in spring", "image.png", "A duck Description automatically generated"):
        slide.shapes._spTree.append(
            parse_xml(f'<p:pic {NAMESPACES}><p:nvPicPr><p:cNvPr id="9" name="p" descr="{alt}"/></p:nvPicPr></p:pic>')
        )
    assert parse("a.pptx", saved(presentation)).text == (
        "# Numbers\n\n| Site | Days |\n| --- | --- |\n| Lyon | 25 |\n| Lyon | 30 |\n\n"
        "|  | Ducks | Geese |\n| --- | --- | --- |\n| Q1 | 10 | 4.4 |\n| Q2 |  | 2 |\n\ngrouped\n\nThe site in spring"
    )


def test_what_is_wrapped_for_older_programs_is_read_once() -> None:
    presentation = pptx.Presentation()
    slide = titled(presentation, "Formula", 5)
    shape = "<p:sp><p:nvSpPr><p:nvPr/></p:nvSpPr><p:txBody><a:p><a:r><a:t>{}</a:t></a:r></a:p></p:txBody></p:sp>"
    slide.shapes._spTree.append(
        parse_xml(
            f"<mc:AlternateContent {NAMESPACES}><mc:Choice>{shape.format('new')}</mc:Choice>"
            f"<mc:Fallback>{shape.format('old')}</mc:Fallback></mc:AlternateContent>"
        )
    )
    assert parse("a.pptx", saved(presentation)).text == "# Formula\n\nnew"


def test_a_damaged_chart_does_not_cost_the_words_around_it() -> None:
    presentation = pptx.Presentation()
    slide = titled(presentation, "Numbers", 5)
    data = CategoryChartData()
    data.categories = ["Q1"]
    data.add_series("Ducks", (10,))
    slide.shapes.add_chart(XL_CHART_TYPE.PIE, *BOX, data)
    whole = saved(presentation)
    assert "Ducks" in parse("a.pptx", whole).text
    dangling = edited(whole, "ppt/slides/slide1.xml", b'r:id="rId2"', b'r:id="rId99"')
    assert parse("a.pptx", dangling).text == "# Numbers"


def test_entities_are_not_resolved() -> None:
    presentation = pptx.Presentation()
    titled(presentation, "SECRET-HERE", 5)
    data = saved(presentation)
    assert "SECRET-HERE" in parse("a.pptx", data).text
    entity = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    hostile = edited(data, "ppt/slides/slide1.xml", b"?>", b"?>" + entity)
    hostile = edited(hostile, "ppt/slides/slide1.xml", b"SECRET-HERE", b"before &e; after")
    assert parse("a.pptx", hostile).text == "# before"


def test_broken() -> None:
    presentation = pptx.Presentation()
    titled(presentation, "Title")
    data = saved(presentation)
    for length in (60, len(data) // 2, len(data) - 30):
        with pytest.raises(DocumentError) as caught:
            parse("a.pptx", data[:length])
        assert caught.value.kind == "broken"


def test_no_words() -> None:
    presentation = pptx.Presentation()
    presentation.slides.add_slide(presentation.slide_layouts[6])
    with pytest.raises(DocumentError) as caught:
        parse("a.pptx", saved(presentation))
    assert caught.value.kind == "empty"
