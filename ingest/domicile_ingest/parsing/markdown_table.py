"""Rows and code as Markdown, for every format that has them."""

from __future__ import annotations

import re
from collections.abc import Sequence

_MAX_COLUMNS = 1000
_MAX_SPAN = 200
_MAX_REPEATED = 500
"""Characters: a longer value names no group, and repeating it would blow up the text."""


class Grid:
    """Cells that span rows and columns, laid out: a value is repeated down its rows and not across its columns.

    A row is quoted and embedded on its own, so it needs the value of the group that it belongs to.
    """

    def __init__(self) -> None:
        self._rows: list[list[str]] = []
        self._row: list[str] = []
        self._from_above: dict[int, tuple[str, int]] = {}
        self._to_below: dict[int, tuple[str, int]] = {}

    def add(self, text: str, columns: int = 1, rows: int = 1) -> None:
        """Put the next cell of the current row."""
        self._place_from_above()
        for offset in range(max(1, min(columns, _MAX_SPAN))):
            self._put(text if offset == 0 else "", max(1, min(rows, _MAX_SPAN)))

    def above(self) -> str:
        """What stands above the next cell."""
        self._place_from_above()
        row = self._rows[-1] if self._rows else []
        return _repeatable(row[len(self._row)]) if len(self._row) < len(row) else ""

    def end_row(self) -> None:
        """Close the current row."""
        self._place_from_above()
        self._rows.append(self._row)
        self._row = []
        self._from_above, self._to_below = self._to_below, {}

    def rows(self) -> list[list[str]]:
        return self._rows

    def _put(self, text: str, rows: int) -> None:
        if len(self._row) < _MAX_COLUMNS:
            if rows > 1:
                self._to_below[len(self._row)] = (_repeatable(text), rows - 1)
            self._row.append(text)

    def _place_from_above(self) -> None:
        while (hanging := self._from_above.pop(len(self._row), None)) is not None:
            self._put(*hanging)


def _repeatable(text: str) -> str:
    return text if len(text) <= _MAX_REPEATED else ""


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, its first row the header; empty rows and columns at the end are left out."""
    full = [row for row in rows if any(cell.strip() for cell in row)]
    if not full:
        return []
    width = max(max(number for number, cell in enumerate(row, 1) if cell.strip()) for row in full)
    # A short row is closed early rather than filled up: one long row must not blow up thousands of short ones.
    lines = [_row([*full[0], *[""] * (width - len(full[0]))][:width]), "|" + " --- |" * width]
    return ["\n".join([*lines, *(_row(_shortened(row[:width])) for row in full[1:])])]


def _shortened(row: Sequence[str]) -> Sequence[str]:
    last = max((number for number, cell in enumerate(row, 1) if cell.strip()), default=0)
    return row[:last]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def fence(code: str, language: str = "") -> list[str]:
    """A code block whose fence is longer than any inside it."""
    if not code.strip():
        return []
    longest = max((len(mark) for mark in re.findall("`{3,}", code)), default=2)
    mark = "`" * (longest + 1)
    return [f"{mark}{language}\n{code.strip(chr(10)).rstrip()}\n{mark}"]
