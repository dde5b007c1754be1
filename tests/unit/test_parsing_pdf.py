"""PDF: headings by size, paragraphs from lines, pages, and nothing that is printed on every page."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from domicile.errors import DocumentError
from domicile_ingest.parsing import parse
from domicile_ingest.parsing.pdf import _tidy
from domicile_ingest.parsing.pdf_layout import HYPHEN, Cell, Line, lay_out


def pdf(*pages: Callable[[Canvas], None], encrypt: StandardEncryption | None = None, title: str | None = None) -> bytes:
    target = io.BytesIO()
    canvas = Canvas(target, pagesize=A4, encrypt=encrypt)
    if title:
        canvas.setTitle(title)
    for page in pages:
        page(canvas)
        canvas.showPage()
    canvas.save()
    return target.getvalue()


def lines(*texts: str, top: float = 700, size: float = 11, font: str = "Helvetica") -> Callable[[Canvas], None]:
    def draw(canvas: Canvas) -> None:
        canvas.setFont(font, size)
        for number, text in enumerate(texts):
            canvas.drawString(72, top - number * 1.2 * size, text)

    return draw


def together(*parts: Callable[[Canvas], None]) -> Callable[[Canvas], None]:
    def draw(canvas: Canvas) -> None:
        for part in parts:
            part(canvas)

    return draw


BODY = (
    "Everybody who works here for a whole year is entitled to five and twenty days of",
    "leave, which lapse in March of the next year.",
)


def test_headings_and_paragraphs() -> None:
    page = together(
        lines("Leave policy", top=760, size=20),
        lines("Days", top=730, size=14),
        lines(*BODY),
        lines("Sick leave", top=650, font="Helvetica-Bold"),
        lines("Call before nine.", top=630),
    )
    parsed = parse("a.pdf", pdf(page))
    assert parsed.title == "Leave policy"
    assert parsed.text == f"# Leave policy\n\n## Days\n\n{BODY[0]} {BODY[1]}\n\n### Sick leave\n\nCall before nine."
    assert parsed.markdown


def test_pages_and_furniture() -> None:
    def page(number: int) -> Callable[[Canvas], None]:
        return together(
            lines("Orrevik handbook, edition 9", top=800, size=9),
            lines(
                f"On page {'abc'[number - 1]} we say:",
                "something else that fills the line up to the margin",
                "and ends.",
            ),
            lines(f"Page {number} of 3", top=40, size=9),
        )

    parsed = parse("a.pdf", pdf(page(1), page(2), page(3)))
    assert "Orrevik" not in parsed.text
    assert "of 3" not in parsed.text
    assert [parsed.text[span.start : span.start + 9] for span in parsed.pages] == [
        "On page a",
        "On page b",
        "On page c",
    ]
    assert [span.number for span in parsed.pages] == [1, 2, 3]
    assert parsed.pages[-1].end == len(parsed.text)


def test_tables_row_by_row() -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 11)
        for number, row in enumerate((("Site", "Days", "Note"), ("Lyon", "25", "fixed"), ("Zwolle", "28", "flexible"))):
            for column, cell in enumerate(row):
                canvas.drawString(72 + 120 * column, 700 - 16 * number, cell)

    text = parse("a.pdf", pdf(draw)).text
    assert text == "| Site | Days | Note |\n| --- | --- | --- |\n| Lyon | 25 | fixed |\n| Zwolle | 28 | flexible |"


def test_a_paragraph_crosses_pages() -> None:
    first = lines("This sentence begins at the end of one page and goes on over to")
    second = lines("the next one, where it ends after quite some more words of this", "kind. It ends here.")
    parsed = parse("a.pdf", pdf(first, second))
    assert (
        "goes on over to the next one, where it ends after quite some more words of this kind. It ends" in parsed.text
    )
    assert parsed.text[parsed.pages[1].start :].startswith("the next one")


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        (f"infor{HYPHEN}", "mation here", "information here"),
        ("a long-", "term plan and long-term plan", "a long-term plan and long-term plan"),
        ("infor-", "mation", "information"),
        ("the North-", "South divide", "the North-South divide"),
        ("a range -", "of things", "a range - of things"),
    ],
)
def test_divided_words(first: str, second: str, joined: str) -> None:
    page = [Line((Cell(first, 0, 100),), 110, 100), Line((Cell(second, 0, 100),), 98, 88)]
    assert lay_out([page])[0] == joined


def test_bullets() -> None:
    text = parse("a.pdf", pdf(lines("Bring along:", "\u2022 a pen that writes", "\u2022 some paper"))).text
    assert text == "Bring along:\n\n\u2022 a pen that writes\n\u2022 some paper"


def test_titles() -> None:
    assert parse("a.pdf", pdf(lines(*BODY), title="Leave")).title == "Leave"
    assert parse("hr/leave.pdf", pdf(lines(*BODY), title="Microsoft Word - x.doc")).title == "leave"


def test_protected_files() -> None:
    with pytest.raises(DocumentError) as caught:
        parse("a.pdf", pdf(lines("x"), encrypt=StandardEncryption("secret")))
    assert caught.value.kind == "encrypted"
    assert parse("a.pdf", pdf(lines("readable"), encrypt=StandardEncryption("", "owner"))).text == "readable"


def test_scans_say_so() -> None:
    with pytest.raises(DocumentError) as caught:
        parse("a.pdf", pdf(lambda canvas: canvas.rect(10, 10, 50, 50)))
    assert caught.value.kind == "no_text"


@pytest.mark.parametrize(
    ("printed", "read"),
    [
        ("بلغة R و Pythonمن الأدوات", "بلغة R وPython من الأدوات"),
        ("بلغة Python من الأدوات", "بلغة Python من الأدوات"),
        ("في عام 2020م كان", "في عام 2020م كان"),
        ("أي ًضا", "أيضًا"),
        ("a Python b", "a Python b"),
    ],
)
def test_where_scripts_meet(printed: str, read: str) -> None:
    assert _tidy(printed) == read


def test_pages_without_words_among_others_are_empty_ranges() -> None:
    target = io.BytesIO()
    canvas = Canvas(target, pagesize=A4)
    for words in ("", "Twenty days.", ""):
        canvas.drawString(100, 700, words)
        canvas.showPage()
    canvas.save()
    parsed = parse("a.pdf", target.getvalue())
    assert parsed.text == "Twenty days."
    assert [(page.number, parsed.text[page.start : page.end]) for page in parsed.pages] == [
        (1, ""), (2, "Twenty days."), (3, ""),
    ]  # fmt: skip
