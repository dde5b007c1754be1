"""Judged questions in BEIR's layout: a folder with queries and qrels, gzipped or not."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from domicile.errors import UsageError
from domicile_eval.hand_written import parse_json
from domicile_eval.items import Item

MAX_GAIN = 1_000
"""Judgements have a handful of grades; the library that scores them never ends with millions."""


def read_beir(folder: Path, split: str | None) -> tuple[Item, ...]:
    """Read a BEIR folder; questions without a positive judgement are left out.

    Args:
        split: the file in ``qrels`` without its suffix; by default ``test``, else the only one there.

    Raises:
        UsageError: a file is missing, or a row is broken; names the line.
    """
    relevant: dict[str, dict[str, int]] = {}
    for query, document, gain in _judgements(_qrels(folder, split)):
        if gain > 0:
            relevant.setdefault(query, {})[document] = gain
    questions = dict(read_queries(folder / "queries.jsonl"))
    if missing := sorted(relevant.keys() - questions.keys()):
        raise UsageError(f"{folder}: qrels judge {missing[0]!r}, which is not among the queries")
    items = tuple(Item.judged(query, questions[query], relevant[query]) for query in questions if query in relevant)
    if not items:
        raise UsageError(f"{folder}: no query has a positive judgement")
    return items


def _qrels(folder: Path, split: str | None) -> Path:
    if split is not None:
        return _either(folder / "qrels" / f"{split}.tsv")
    found = sorted(path for path in (folder / "qrels").glob("*.tsv*"))
    test = [path for path in found if path.name.split(".")[0] == "test"]
    if test or len(found) == 1:
        return (test or found)[0]
    raise UsageError(f"{folder}/qrels: choose one of {len(found)} splits with --split")


def _either(path: Path) -> Path:
    for candidate in (path, path.with_name(f"{path.name}.gz")):
        if candidate.is_file():
            return candidate
    raise UsageError(f"{path}: no such file, nor with .gz")


@contextmanager
def _open(path: Path) -> Iterator[IO[str]]:
    """The text of a file, gzipped or not; what cannot be read on the way is a ``UsageError``."""
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig") as stream
        ):
            yield stream
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None


def _judgements(path: Path) -> Iterator[tuple[str, str, int]]:
    with _open(path) as stream:
        for number, row in enumerate(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
            if number == 1 and row[-1:] == ["score"]:
                continue
            try:
                query, document, gain = row[0], row[-2], int(row[-1])
            except (IndexError, ValueError):
                raise UsageError(
                    f"{path}:{number}: expected query, document and a whole number, separated by tabs"
                ) from None
            if gain > MAX_GAIN:
                raise UsageError(f"{path}:{number}: a judgement is at most {MAX_GAIN:,}")
            yield query, document, gain


def read_queries(path: Path) -> Iterator[tuple[str, str]]:
    """Id and text of every question of a ``queries.jsonl``, gzipped or not.

    Raises:
        UsageError: there is no such file, or a row is broken; names the line.
    """
    with _open(path := _either(path)) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                row = parse_json(line)
                yield str(row["_id"]), str(row["text"])
            except (ValueError, KeyError, TypeError):
                raise UsageError(f'{path}:{number}: expected a JSON object with "_id" and "text"') from None
