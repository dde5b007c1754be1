"""``domicile eval import``: a table of questions, or collected feedback, as a suite."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from domicile.console import Console
from domicile.errors import UsageError
from domicile.files import replace_durably
from domicile_eval.items import parse_item, read_items, rows_of

COLUMNS = {
    "id": "id",
    "question": "question",
    "query": "question",
    "user_input": "question",
    "document": "documents",
    "documents": "documents",
    "answer": "answer",
    "reference": "answer",
    "abstain": "abstain",
    "split": "split",
    "principal": "principal",
}
"""What a column may be called, and the field that it becomes."""
_YES = frozenset({"1", "true", "yes", "y", "x"})
_MAX_CELL = 1_000_000


def import_command(parsed: argparse.Namespace, console: Console) -> int:
    if parsed.out.exists():
        raise UsageError(f"--out {parsed.out}: is there already: name a new file, or remove it")
    rows = list(_rows(parsed.source))
    if not rows:
        raise UsageError(f"{parsed.source}: holds no questions")
    for where, row in rows:
        parse_item(row, where)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for _, row in rows)
    try:
        replace_durably(parsed.out, lines.encode())
    except OSError as error:
        raise UsageError(f"--out {parsed.out}: {error.strerror}") from None
    items = read_items(parsed.out)
    declined = sum(item.abstain is True for item in items)
    console.result({"source": str(parsed.source), "out": str(parsed.out), "n": len(items), "unanswerable": declined})
    console.say(f"{parsed.out}: {len(items):,} questions, {declined:,} of them unanswerable")
    console.say(f"next: domicile eval lint --suite {parsed.out} --collection C")
    return 0


def _rows(source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if source.suffix.lower() in (".csv", ".tsv"):
        yield from _table(source, "\t" if source.suffix.lower() == ".tsv" else ",")
        return
    for where, data in rows_of(source):
        if not isinstance(data, dict):
            raise UsageError(f"{where}: expected a JSON object")
        yield where, _feedback(data, where) if "rating" in data else data


def _table(source: Path, delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a table; cells of several documents are separated by ``;``."""
    csv.field_size_limit(_MAX_CELL)
    try:
        with source.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, delimiter=delimiter, strict=True)
            names = _columns(reader.fieldnames, source)
            for cells in reader:
                where = f"{source}:{reader.line_num}"
                if None in cells:
                    raise UsageError(f"{where}: has more cells than the header line has columns")
                yield where, _row({names[name]: cell for name, cell in cells.items() if name in names and cell})
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{source}: cannot be read as a table: {error}") from None


def _columns(header: object, source: Path) -> dict[str, str]:
    found = {name: COLUMNS[name.strip().lower()] for name in header or () if name.strip().lower() in COLUMNS}  # type: ignore[attr-defined]
    if "question" not in found.values():
        raise UsageError(f"{source}:1: no column is called question: the header line names {', '.join(COLUMNS)}")
    return found


def _row(cells: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {name: cell.strip() for name, cell in cells.items()}
    if "documents" in row:
        row["documents"] = [uri.strip() for uri in row["documents"].split(";") if uri.strip()]
    if "abstain" in row:
        row["abstain"] = row["abstain"].lower() in _YES
    return row


def _feedback(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Feedback on an answer: a question, ``rating`` (1 good, 0 bad), and the ``citations`` of the answer or what a person
    named instead in ``documents``. Of a bad answer nobody knows what is right unless a person said so."""
    question, rating = data.get("question"), data.get("rating")
    if not isinstance(question, str) or rating not in (0, 1, True, False):
        raise UsageError(f'{where}: feedback needs "question" and a "rating" of 0 or 1')
    named = data.get("documents") or (_cited(data) if rating else [])
    if not isinstance(named, list) or not all(isinstance(uri, str) for uri in named):
        raise UsageError(f'{where}: "documents" is a list of names, and "citations" one of objects with a "document"')
    if not named and not data.get("abstain"):
        raise UsageError(
            f'{where}: a bad answer needs "documents" that a person named, or "abstain": true where nothing answers'
        )
    row: dict[str, Any] = {"question": question, "documents": list(dict.fromkeys(named))}
    return row | {name: data[name] for name in ("id", "answer", "abstain", "history", "principal") if name in data}


def _cited(data: Mapping[str, Any]) -> Any:
    """The documents of the citations of an answer; what is no list of citations is given back, to be refused."""
    citations = data.get("citations") or []
    if not isinstance(citations, list) or not all(isinstance(one, dict) for one in citations):
        return None
    return [one.get("document") for one in citations]
