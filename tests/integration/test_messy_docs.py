"""Real, messy files: each gives a text or a reason in time, and what a simple reader finds in them is found."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from messy_docs import FOLDER, NOT_IN_THE_TEXT, attempt, documents, outcomes, table

from domicile.adapters.sentencex import SentencexSplitter
from domicile.testing import HashEmbedder
from domicile_ingest.chunking import chunk
from domicile_ingest.parsing import Parsed, clean

FORMATS = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
FAILURES = {"empty", "encrypted", "no_text", "broken"}
SECONDS = 10

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no messy documents beside the checkout ({FOLDER.name} is absent)"
)


@pytest.mark.parametrize("row", documents(), ids=lambda row: row["path"])
def test_every_file_gives_a_text_or_a_reason_in_time(row: Mapping[str, Any]) -> None:
    outcome = outcomes()[row["path"]]
    assert outcome.seconds < SECONDS
    if isinstance(outcome.result, Parsed):
        parsed = outcome.result
        assert parsed.text == clean(parsed.text)
        drafts = chunk(parsed, parsed.title, HashEmbedder(), SentencexSplitter())
        assert all(draft.text == parsed.text[draft.start : draft.end] for draft in drafts)
    else:
        assert row["probes"] == []
        assert outcome.result.kind in FAILURES


def test_the_phrases_are_found() -> None:
    missing = [(path, probe) for path, outcome in outcomes().items() for probe in outcome.missed()]
    unexpected = [
        (path, probe)
        for path, probe in missing
        if not any(path == file and probe.startswith(start) for file, start in NOT_IN_THE_TEXT)
    ]
    assert unexpected == []
    assert len(missing) == len(NOT_IN_THE_TEXT)
    wanted = sum(len(row["probes"]) for row in documents())
    assert len(missing) <= 0.02 * wanted


def test_the_documented_figures_are_the_measured_ones() -> None:
    assert table() in FORMATS.read_text(encoding="utf-8")


def test_damaged_copies_give_a_text_or_a_reason() -> None:
    """Cut off, or with a few bytes changed; whatever is no ``DocumentError`` fails this test."""
    chance = random.Random(7)
    results = []
    for row in documents():
        data = bytearray((FOLDER / row["path"]).read_bytes())
        if len(data) < 100_000 and chance.random() < 0.5:
            for _ in range(5):
                data[chance.randrange(len(data))] = chance.randrange(256)
            results.append(attempt(row["path"], bytes(data)))
            results.append(attempt(row["path"], bytes(data[: chance.randrange(len(data))])))
    read = sum(isinstance(result, Parsed) for result in results)
    assert 0 < read < len(results)
