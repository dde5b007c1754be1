"""Real, messy files: each gives a text or a reason in time, and what a simple reader finds in them is found."""

from __future__ import annotations

import json
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from domicile.adapters.sentencex import SentencexSplitter
from domicile.errors import DocumentError
from domicile.testing import HashEmbedder
from domicile_ingest.chunking import chunk
from domicile_ingest.parsing import Parsed, parse

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "messy-docs"
FORMATS = ("html", "docx", "md", "txt", "pdf", "csv", "tsv", "xlsx")
SECONDS = 10

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no messy documents beside the checkout ({FOLDER.name} is absent)"
)

# Phrases that no reading of the file holds: an artefact of the reader that collected them, said in a word each.
ARTEFACTS = {
    "docling/docx/equations.docx": "leaves out the formula in the middle of the sentence",
    "docling/pdf/table_mislabeled_as_picture.pdf": "two pages on one sheet, glued together",
    "docling/pdf/right_to_left_01.pdf": "blanks between scripts fall on the other side of the word",
    "unstructured/pdf/invalid-pdf-structure-pdfminer-one-page.pdf": "the footer glued to the title",
    "unstructured/pdf/layout-parser-paper-with-table.pdf": "letters of a code sample set one by one",
}


def documents() -> list[Mapping[str, Any]]:
    if not FOLDER.is_dir():
        return []
    rows = [json.loads(line) for line in (FOLDER / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["format"] in FORMATS]


def fold(text: str) -> str:
    """White space and compatibility forms aside: a ligature is its letters."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def attempt(row: Mapping[str, Any]) -> Parsed | DocumentError:
    try:
        return parse(row["path"], (FOLDER / row["path"]).read_bytes())
    except DocumentError as error:
        return error


@pytest.mark.parametrize("row", documents(), ids=lambda row: row["path"])
def test_every_file_gives_a_text_or_a_reason_in_time(row: Mapping[str, Any]) -> None:
    started = time.monotonic()
    result = attempt(row)
    assert time.monotonic() - started < SECONDS
    if isinstance(result, Parsed):
        drafts = chunk(result, result.title, HashEmbedder(), SentencexSplitter())
        assert all(draft.text == result.text[draft.start : draft.end] for draft in drafts)
    else:
        assert row["probes"] == []
        assert result.kind in {"empty", "encrypted", "no_text", "broken"}


def test_the_phrases_are_found() -> None:
    wanted: Counter[str] = Counter()
    found: Counter[str] = Counter()
    missing = []
    for row in documents():
        result = attempt(row)
        text = fold(result.text) if isinstance(result, Parsed) else ""
        for probe in row["probes"]:
            # Where that reader did not know the encoding, any letter may stand.
            pattern = re.escape(fold(probe)).replace("\ufffd", ".")
            hit = re.search(pattern, text) is not None
            if not hit and row["path"] in ARTEFACTS:
                continue
            wanted[row["format"]] += 1
            found[row["format"]] += hit
            if not hit:
                missing.append((row["path"], probe))
    shares = {name: f"{found[name]}/{wanted[name]}" for name in wanted}
    assert found.total() >= 0.98 * wanted.total(), (shares, missing)
