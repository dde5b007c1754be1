"""The journal of an unfinished change is believed record by record, and not where it is damaged."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from corpora import EMBEDDER

from domicile.adapters.vector_journal import VectorJournal, text_hash


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "foreign"])
def test_a_damaged_journal_is_not_believed(tmp_path: Path, damage: str) -> None:
    keys = [text_hash(text) for text in ("pump", "valve", "leave")]
    vectors = EMBEDDER.embed(["pump", "valve", "leave"], "document")
    journal = VectorJournal(tmp_path / "c", "f", EMBEDDER.dimensions)
    journal.add(keys, vectors)
    journal.close()
    [path] = (tmp_path / "c").iterdir()
    data = bytearray(path.read_bytes())
    record = len(data) // 3
    if damage == "torn":
        path.write_bytes(data[:-7])
    elif damage == "flipped":
        data[record + 40] ^= 1
        path.write_bytes(data)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(random.Random(3).randbytes(1000))
    again = VectorJournal(tmp_path / "c", "f", EMBEDDER.dimensions)
    expected = {"torn": {0, 1}, "flipped": {0, 2}, "empty": set(), "foreign": set()}[damage]
    assert {keys.index(key) for key in again.known(keys)} == expected
    again.add(keys[2:], vectors[2:])  # and it can be gone on with
    again.close()
    assert keys[2] in VectorJournal(tmp_path / "c", "f", EMBEDDER.dimensions).known(keys)
    assert VectorJournal(tmp_path / "c", "another", 384).known(keys) == {}
