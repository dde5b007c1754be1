"""Questions that people asked, and titles of documents, for the benchmarks that need many different ones."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

SETS = ("squad-dev", "medquad", "scifact-train")


def asked(data: Path) -> list[str]:
    """The questions of the sets, each once, in a fixed pseudo-random order."""
    found: list[str] = []
    for name in SETS:
        with gzip.open(data / name / "queries.jsonl.gz", "rt", encoding="utf-8") as lines:
            found += [json.loads(line)["text"].strip() for line in lines]
    return shuffled(found)


def titles(passages: Path, count: int) -> list[str]:
    """Titles of three words or more of the documents among the first passages, which look like what is typed into a search."""
    with passages.open(encoding="utf-8") as lines:
        rows = (json.loads(line) for line, _ in zip(lines, range(count), strict=False))
        return shuffled([row["title"] for row in rows if row["ordinal"] == 0 and len(row["title"].split()) >= 3])


def shuffled(texts: list[str]) -> list[str]:
    different = sorted(set(texts))
    random.Random(1).shuffle(different)
    return different
