"""CSV and TSV: the rows as the file writes them, one a line, so that a quoted row is found in the file."""

from __future__ import annotations

import csv
import re
from collections import Counter
from itertools import islice

from domicile_ingest.parsing.parsed import Parsed, clean, stem
from domicile_ingest.parsing.text import decode

_DELIMITERS = ",;\t|"
_SAMPLE_ROWS = 100
# A cell that runs on over more lines than this is an apostrophe or an inch mark that was taken for a quotation mark.
_MAX_LINES_IN_CELL = 40


def parse_csv(name: str, data: bytes) -> Parsed:
    """A table whose columns are divided by commas, semicolons, tabs or bars."""
    return _rows(name, data, None)


def parse_tsv(name: str, data: bytes) -> Parsed:
    """A table whose columns are divided by tabs."""
    return _rows(name, data, "\t")


def _rows(name: str, data: bytes, delimiter: str | None) -> Parsed:
    text = clean(decode(data))
    if match := re.match(r"sep=(.)\n", text):  # what Excel writes to tell itself
        delimiter, text = match[1], clean(text[match.end() :])
    lines = [line for line in text.split("\n") if line.strip()]
    if text.count('"') > 1:
        lines = _joined(lines, delimiter or sniff(lines))
    return Parsed(stem(name), "\n".join(lines), markdown=False, table=True)


def sniff(lines: list[str]) -> str:
    """The delimiter that cuts the most rows into the same number of columns, at least two."""
    best, best_score = ",", (0.0, 0)
    for delimiter in _DELIMITERS:
        try:
            counts = Counter(len(row) for row in islice(csv.reader(lines, delimiter=delimiter), _SAMPLE_ROWS) if row)
        except csv.Error:
            continue
        columns, rows = max(counts.items(), key=lambda item: (item[1], item[0]), default=(0, 0))
        score = (rows / max(1, counts.total()), columns)
        if columns > 1 and score > best_score:
            best, best_score = delimiter, score
    return best


def _joined(lines: list[str], delimiter: str) -> list[str]:
    """Rows whose cells contain line ends become one line each; nothing else is touched."""
    reader = csv.reader(lines, delimiter=delimiter)
    rows: list[str] = []
    first = 0
    try:
        for _ in reader:
            if reader.line_num - first > _MAX_LINES_IN_CELL:
                return lines
            rows.append(
                " ".join(line.strip() if number else line for number, line in enumerate(lines[first : reader.line_num]))
            )
            first = reader.line_num
    except csv.Error:
        return lines
    return rows
