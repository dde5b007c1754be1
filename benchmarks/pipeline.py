"""A whole ingestion against the bare embedding of the same passages: what reading, parsing, cutting and writing cost.

Rounds are interleaved in one process: a fresh collection of JSONL rows and of Markdown files from squad-dev, then the texts
that were embedded, once more, without a pipeline around.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import time
from pathlib import Path

from scale import ingest

DATA = Path("../shared/data/squad-dev/corpus.jsonl.gz")


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--corpus", type=Path, default=DATA)
    flags.add_argument("--models", type=Path, default=Path(".domicile/models"))
    flags.add_argument("--passages", type=int, default=500, help="of each round")
    flags.add_argument("--rounds", type=int, default=4)
    given = flags.parse_args()
    with gzip.open(given.corpus, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    figures: dict[str, list[float]] = {"rows": [], "files": [], "bare": [], "ratio rows": [], "ratio files": []}
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(given.rounds):
            some = rows[number * given.passages : (number + 1) * given.passages]
            for kind in ("rows", "files"):
                home = Path(temporary) / f"{kind}{number}"
                home.mkdir()
                (home / "models").symlink_to(given.models.resolve())
                source = write(some, Path(temporary) / f"source-{kind}{number}", kind)
                report, _, sparing = ingest(home, source, 1.0, keep=True)
                texts = [text for batch in sparing.kept or [] for text in batch]
                began = time.perf_counter()
                sparing.embed(texts, "document")
                bare = len(texts) / (time.perf_counter() - began)
                whole = report.embedded / report.seconds
                figures[kind].append(whole)
                figures["bare"].append(bare)
                figures[f"ratio {kind}"].append(whole / bare)
                print(json.dumps({kind: round(whole, 1), "bare": round(bare, 1)}), flush=True)
    print(json.dumps({name: round(statistics.median(values), 3) for name, values in figures.items()}))


def write(rows: list[dict[str, str]], place: Path, kind: str) -> Path:
    if kind == "rows":
        path = place.with_suffix(".jsonl")
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path
    place.mkdir()
    for number, row in enumerate(rows):
        (place / f"{number}.md").write_text(f"# {row['title']}\n\n{row['text']}\n", encoding="utf-8")
    return place


if __name__ == "__main__":
    main()
