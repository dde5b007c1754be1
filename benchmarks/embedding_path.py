"""The embedding path alone: xquad-en, texts cut at the embedder's window, exact cosine, nDCG@10 against the published .9436.

Source of the published figure: MTEB results, XQuADRetrieval (en), all-MiniLM-L6-v2.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np

from domicile.bootstrap import Home
from domicile_eval.beir import read_beir
from domicile_eval.metrics import score

PUBLISHED = 0.94357


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--data", type=Path, default=Path("../shared/data"))
    flags.add_argument("--home", type=Path, default=Path(".domicile"))
    given = flags.parse_args()
    folder = given.data / "xquad-en"
    items = read_beir(folder, None)
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    embedder = Home.open(given.home, {}).embedder()
    started, cpu = time.perf_counter(), time.process_time()
    documents = embedder.embed([f"{row['title']} {row['text']}".strip() for row in rows], "document")
    questions = embedder.embed([case.question for case in items], "query")
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    order = np.argsort(-(questions @ documents.T), axis=1, kind="stable")[:, :100]
    rankings = {case.id: [rows[i]["_id"] for i in best] for case, best in zip(items, order, strict=True)}
    found = score(items, rankings)["ndcg@10"].value
    print(
        json.dumps(
            {
                "ndcg@10": found,
                "published": PUBLISHED,
                "difference": round(found - PUBLISHED, 5),
                "documents": len(rows),
                "questions": len(items),
                "seconds": round(wall, 1),
                "cpu_seconds": round(cpu, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
