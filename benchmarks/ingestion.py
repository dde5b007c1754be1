"""Ingest squad-dev with its distractors (21,086 passages) through the command line, and search it in three modes."""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

DOMICILE = Path(sys.executable).with_name("domicile")


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--data", type=Path, default=Path("../shared/data"))
    flags.add_argument("--models", type=Path, default=Path(".domicile/models"))
    flags.add_argument("--keep", type=Path, help="use this home and keep it")
    given = flags.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = given.keep or Path(temporary) / "home"
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "models").exists():
            (home / "models").symlink_to(given.models.resolve())
        corpus = Path(temporary) / "corpus.jsonl"
        merge(given.data / "squad-dev", corpus)
        print(json.dumps(measure(home, corpus, given.data / "squad-dev")))


def merge(folder: Path, target: Path) -> None:
    with target.open("wb") as out:
        for name in ("corpus.jsonl.gz", "corpus_distractors_train.jsonl.gz"):
            out.write(gzip.decompress((folder / name).read_bytes()))


def measure(home: Path, corpus: Path, suite: Path) -> dict[str, Any]:
    started = time.perf_counter()
    report = run(home, "ingest", "run", corpus, "--collection", "squad")
    wall = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    again_at = time.perf_counter()
    again = run(home, "ingest", "run", corpus, "--collection", "squad")
    again_wall = time.perf_counter() - again_at
    quality = {
        mode: run(home, "eval", "run", "--suite", suite, "--split", "test", "--collection", "squad", "--mode", mode)[
            "metrics"
        ]
        for mode in ("dense", "lexical", "hybrid")
    }
    return {
        "documents": report["documents"]["added"],
        "chunks": report["chunks"],
        "wall_seconds": round(wall, 1),
        "chunks_per_second": round(report["chunks"] / wall, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_rss_mb": round(usage.ru_maxrss / 1024),
        "unchanged_run_seconds": round(again_wall, 1),
        "unchanged_run_embedded": again["embedded"],
        "ndcg@10": {mode: figures["ndcg@10"]["value"] for mode, figures in quality.items()},
        "recall@10": {mode: figures["r@10"]["value"] for mode, figures in quality.items()},
    }


def run(home: Path, *arguments: str | Path) -> dict[str, Any]:
    done = subprocess.run(
        [DOMICILE, "--home", home, "--json", *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    value: dict[str, Any] = json.loads(done.stdout)
    return value


if __name__ == "__main__":
    main()
