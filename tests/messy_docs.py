"""The messy documents and what parsing makes of them. ``python tests/messy_docs.py`` prints the table of docs/formats.md."""

from __future__ import annotations

import functools
import json
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domicile.errors import DocumentError
from domicile_ingest.parsing import Parsed, parse

FOLDER = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "messy-docs"

NOT_IN_THE_TEXT = {
    (
        "docling/docx/equations.docx",
        "Second item with equations: and are",
    ): "formulas stand in the sentence; the reader left them out",
    (
        "docling/html/html_code_snippets.html",
        "Code snippets in HTML",
    ): "the title of the window; the page shows another",
    (
        "docling/pdf/table_mislabeled_as_picture.pdf",
        "y The elderly",
    ): "a row of a table; ours has bars between its cells",
    (
        "docling/pdf/table_mislabeled_as_picture.pdf",
        "208 209Global Study",
    ): "the heads of two pages on one sheet, glued together",
    (
        "unstructured/fake-email.txt",
        '<div dir="ltr">',
    ): "a mail under the name of a text: its plain body is read, not its HTML",
    (
        "unstructured/pdf/invalid-pdf-structure-pdfminer-one-page.pdf",
        "GAO-23-106826",
    ): "the footer, glued to the next page's",
    (
        "unstructured/pdf/layout-parser-paper-with-table.pdf",
        '4 " lp',
    ): "a code sample whose letters the reader set apart",
}
"""Phrases that are rightly missed: the beginning of each, and why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file.

    Attributes:
        text: folded; with the texts of its attachments.
    """

    row: Mapping[str, Any]
    result: Parsed | DocumentError
    text: str
    seconds: float

    def missed(self) -> Iterator[str]:
        """The phrases that were not found."""
        for probe in self.row["probes"]:
            # Where the reader that collected them did not know the encoding, any letter may stand.
            pattern = re.escape(fold(probe)).replace("\ufffd", ".")
            if re.search(pattern, self.text) is None:
                yield probe


def documents() -> list[Mapping[str, Any]]:
    """The rows of the manifest; none where the files are absent."""
    if not FOLDER.is_dir():
        return []
    return [json.loads(line) for line in (FOLDER / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


@functools.cache
def outcomes() -> Mapping[str, Outcome]:
    """Every file, parsed once."""
    return {row["path"]: _outcome(row) for row in documents()}


def _outcome(row: Mapping[str, Any]) -> Outcome:
    started = time.monotonic()
    result = attempt(row["path"], (FOLDER / row["path"]).read_bytes())
    seconds = time.monotonic() - started
    return Outcome(row, result, fold("\n".join(_texts(result))), seconds)


def attempt(name: str, data: bytes) -> Parsed | DocumentError:
    try:
        return parse(name, data)
    except DocumentError as error:
        return error


def _texts(result: Parsed | DocumentError) -> Iterator[str]:
    if isinstance(result, Parsed):
        yield result.text
        for attachment in result.attachments:
            yield from _texts(attempt(attachment.name, attachment.data))


def fold(text: str) -> str:
    """White space and compatibility forms aside: a ligature is its letters."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def table() -> str:
    """The figures by format, as docs/formats.md shows them."""
    lines = ["| Format | Files | Read | Failures | Phrases found |", "| --- | ---: | ---: | --- | ---: |"]
    formats = Counter(outcome.row["format"] for outcome in outcomes().values())
    for name in [*sorted(formats), None]:
        chosen = [outcome for outcome in outcomes().values() if name in (outcome.row["format"], None)]
        kinds = Counter(outcome.result.kind for outcome in chosen if isinstance(outcome.result, DocumentError))
        failures = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "–"
        wanted = sum(len(outcome.row["probes"]) for outcome in chosen)
        found = wanted - sum(len(list(outcome.missed())) for outcome in chosen)
        share = f"{found}/{wanted}" if wanted else "–"
        lines.append(f"| {name or 'all'} | {len(chosen)} | {len(chosen) - kinds.total()} | {failures} | {share} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
