"""Excel workbooks: each visible sheet a heading, each run of rows a table. The only home of ``openpyxl``."""

from __future__ import annotations

import datetime
import io
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from domicile.errors import DocumentError
from domicile_ingest.parsing.markdown_table import table
from domicile_ingest.parsing.parsed import Parsed, clean, one_line, stem

if TYPE_CHECKING:
    from openpyxl.workbook import Workbook

_MAX_CELLS = 2_000_000
_MAX_EMPTY = 20_000_000


def parse_xlsx(name: str, data: bytes) -> Parsed:
    """A workbook, with the values that its formulas had when it was saved."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            title, parts = _read(data)
    except (DocumentError, MemoryError, RecursionError):
        raise
    except Exception as error:  # openpyxl lets out whatever zipfile, the XML parser and its own types raise
        raise DocumentError("broken", f"the workbook cannot be read: {type(error).__name__}") from error
    return Parsed(title or stem(name), clean("\n\n".join(parts)), markdown=True)


def _read(data: bytes) -> tuple[str, list[str]]:
    from openpyxl import load_workbook

    book: Workbook = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
    try:
        budget = _Budget()
        parts: list[str] = []
        sheets: list[Any] = list(book.worksheets)
        shown = [sheet for sheet in sheets if sheet.sheet_state == "visible"] or sheets
        for sheet in shown:
            sheet.reset_dimensions()  # the declared size may be a million empty rows
            blocks = list(_blocks(budget.counted(sheet.iter_rows())))
            if blocks:
                parts.extend((f"## {one_line(sheet.title)}", *blocks))
        return one_line(book.properties.title or ""), parts
    finally:
        book.close()


class _Budget:
    """Counts cells over all sheets, so that a small file cannot unfold without end."""

    def __init__(self) -> None:
        self._cells = 0
        self._places = 0

    def counted(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[list[str]]:
        for row in rows:
            values = [_words(cell) for cell in row] if any(cell.value is not None for cell in row) else []
            self._places += len(row) + 1
            self._cells += sum(map(bool, values))
            if self._cells > _MAX_CELLS or self._places > _MAX_EMPTY:
                raise DocumentError("too_large", f"the workbook has more than {_MAX_CELLS:,} cells: split it")
            yield values


def _blocks(rows: Iterable[list[str]]) -> Iterator[str]:
    """Runs of rows between empty ones; a row with a single cell above a table is its caption."""
    run: list[list[str]] = []
    for row in rows:
        if any(row):
            run.append(row)
        elif run:  # a workbook may pad its sheets with a million empty rows
            yield from _run(run)
            run = []
    yield from _run(run)


def _run(run: list[list[str]]) -> Iterator[str]:
    first = 0
    while first < len(run) and sum(map(bool, run[first])) == 1:
        first += 1
    if first == len(run) and first > 2:  # a table of one column
        first = 0
    yield from (next(cell for cell in row if cell) for row in run[:first])
    rest = run[first:]
    empty = min((next((number for number, cell in enumerate(row) if cell), 0) for row in rest), default=0)
    yield from table([row[empty:] for row in rest])


def _words(cell: Any) -> str:
    """A cell as Excel would show it, as far as that is cheap to know."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        if "%" in (cell.number_format or ""):
            return f"{value * 100:.10g}%"
        return f"{value:.15g}" if isinstance(value, float) else str(value)
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ", "minutes")
    return " ".join(str(value).split())
