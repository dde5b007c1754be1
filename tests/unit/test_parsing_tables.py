"""CSV, TSV and Excel: rows stay rows."""

from __future__ import annotations

import datetime
import io

import pytest
from openpyxl import Workbook

from domicile.errors import DocumentError
from domicile_ingest.parsing import parse
from domicile_ingest.parsing.markdown_table import Grid, fence, table
from domicile_ingest.parsing.table import sniff


def test_rows_stay_as_the_file_writes_them() -> None:
    parsed = parse("a.csv", b'Name;Note\r\nA;"x;y"\r\n\r\nB;1;ragged\r\n')
    assert parsed.text == 'Name;Note\nA;"x;y"\nB;1;ragged'
    assert parsed.table
    assert not parsed.markdown
    assert parsed.title == "a"


def test_a_cell_with_line_ends_is_one_row() -> None:
    assert parse("a.csv", b'a,b\n1,"x\n  y"\n2,z').text == 'a,b\n1,"x y"\n2,z'


def test_a_stray_quotation_mark_does_not_swallow_the_file() -> None:
    source = 'a,b\n1,"open\n' + "\n".join(f"{number},2" for number in range(100)) + '\n3,"'
    assert parse("a.csv", source.encode()).text == source


def test_the_line_that_excel_writes_for_itself_is_dropped() -> None:
    assert parse("a.csv", b"sep=;\na;b").text == "a;b"


@pytest.mark.parametrize(
    ("lines", "delimiter"),
    [
        (["a,b", "1,2"], ","),
        (["a;b,c", "1;2"], ";"),
        (["a\tb", "1\t2,3"], "\t"),
        (["a|b|c", "1|2|3"], "|"),
        (["a", "b"], ","),
    ],
)
def test_sniff(lines: list[str], delimiter: str) -> None:
    assert sniff(lines) == delimiter


def test_markdown_tables() -> None:
    assert table([["a", "b", ""], [" ", ""], ["1\n2", "x|y"], ["3", "", ""]]) == [
        "| a | b |\n| --- | --- |\n| 1 2 | x\\|y |\n| 3 |"
    ]
    assert table([["", ""]]) == []
    assert fence("a\n``` b") == ["````\na\n``` b\n````"]


def test_spans() -> None:
    grid = Grid()
    grid.add("a", rows=3)
    grid.add("b", columns=2)
    grid.end_row()
    grid.add("c")
    grid.add("d", rows=2)
    grid.end_row()
    grid.add("e")
    grid.end_row()
    assert grid.rows() == [["a", "b", ""], ["a", "c", "d"], ["a", "e", "d"]]


def workbook() -> bytes:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Rates"
    for row in (
        ["Rates of 2024"],
        ["Item", "Share", "From"],
        ["VAT", 0.19, datetime.date(2024, 1, 2)],
        [],
        [],
        ["Total", 3.0, True],
    ):
        sheet.append(row)
    sheet["B3"].number_format = "0%"
    hidden = book.create_sheet("Secret")
    hidden.append(["not shown"])
    hidden.sheet_state = "hidden"
    book.create_sheet("Empty")
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def test_workbooks() -> None:
    parsed = parse("rates.xlsx", workbook())
    assert parsed.text == (
        "## Rates\n\nRates of 2024\n\n| Item | Share | From |\n| --- | --- | --- |\n| VAT | 19% | 2024-01-02 |\n\n"
        "| Total | 3 | TRUE |\n| --- | --- | --- |"
    )
    assert parsed.title == "rates"
    assert parsed.markdown


def test_broken_workbooks() -> None:
    data = workbook()
    with pytest.raises(DocumentError) as caught:
        parse("a.xlsx", data[: len(data) // 2])
    assert caught.value.kind == "broken"


def test_workbooks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domicile_ingest.parsing.xlsx._MAX_CELLS", 3)
    with pytest.raises(DocumentError) as caught:
        parse("a.xlsx", workbook())
    assert caught.value.kind == "too_large"


def test_a_long_value_is_not_repeated_down_its_rows() -> None:
    grid = Grid()
    for length in (500, 501):
        grid.add("x" * length, rows=3)
    for _ in range(3):
        grid.end_row()
    assert [[len(cell) for cell in row] for row in grid.rows()] == [[500, 501], [500, 0], [500, 0]]
