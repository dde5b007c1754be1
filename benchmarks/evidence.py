"""How often the best sentence holds the answer (squad-dev), and how well the confidence tells questions that the collection
answers from those of other corpora and from near misses. Also refits the coefficients of ``evidence.confidence``."""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from domicile.bootstrap import Home
from domicile.domain import OWNER
from domicile.evidence import EvidenceSelector
from domicile.retrieval import Retriever, Stopwatch

OTHERS = ("medquad", "scifact-train", "cranfield", "pubmedqa-l")
RIDGE = 0.001


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--data", type=Path, default=Path("../shared/data"))
    flags.add_argument("--home", type=Path, default=Path(".domicile"))
    flags.add_argument("--collection", default="squad-small", help="squad-dev's corpus.jsonl.gz, ingested")
    flags.add_argument("--questions", type=int, default=300)
    given = flags.parse_args()
    home = Home.open(given.home, {})
    embedder = home.embedder()
    retriever = home.retriever(home.indexes(), embedder)
    selector = EvidenceSelector(embedder, home.splitter())
    answerable, unanswerable, other = questions(given.data, given.questions)
    kinds = {
        name: [features(retriever, selector, given.collection, row) for row in rows]
        for name, rows in (("answerable", answerable), ("near_miss", unanswerable), ("other", other))
    }
    print(json.dumps(report(kinds)))


def questions(data: Path, count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    rows = read(data / "squad-dev" / "qa.jsonl.gz")
    random.Random(1).shuffle(rows)
    other = [
        {"question": row["text"], "answers": []}
        for name in OTHERS
        for row in read(data / name / "queries.jsonl.gz")[: count // len(OTHERS)]
    ]
    return [r for r in rows if r["answers"]][:count], [r for r in rows if not r["answers"]][:count], other


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def features(retriever: Retriever, selector: EvidenceSelector, collection: str, row: dict[str, Any]) -> dict[str, Any]:
    index = retriever.pin(collection, OWNER)
    question = retriever.ask(row["question"])
    ranking = retriever.rank(question, index, OWNER, "hybrid", 10, Stopwatch(time.perf_counter))
    chosen = selector.select(question, ranking.hits, ranking.nearest)
    holds = [any(answer in item.text for answer in row["answers"]) for item in chosen.evidence[:3]]
    return {
        "confidence": chosen.confidence,
        "scores": [*chosen.scores, ranking.nearest],
        "top1": holds[:1] == [True],
        "top3": any(holds),
    }


def report(kinds: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    confidence = {kind: np.array([row["confidence"] for row in rows]) for kind, rows in kinds.items()}
    curve = {
        f"{threshold:.1f}": {kind: round(float((values >= threshold).mean()), 3) for kind, values in confidence.items()}
        for threshold in np.arange(0.1, 1.0, 0.1)
    }
    x = np.array([row["scores"] for kind in ("answerable", "other") for row in kinds[kind]])
    y = np.array([1.0] * len(kinds["answerable"]) + [0.0] * len(kinds["other"]))
    return {
        "n": {kind: len(rows) for kind, rows in kinds.items()},
        "best_sentence_holds_the_answer": round(float(np.mean([row["top1"] for row in kinds["answerable"]])), 3),
        "one_of_three_does": round(float(np.mean([row["top3"] for row in kinds["answerable"]])), 3),
        "auroc": {kind: round(auroc(confidence["answerable"], confidence[kind]), 4) for kind in ("other", "near_miss")},
        "answered_share_by_threshold": curve,
        "refitted_coefficients": [round(float(value), 2) for value in fit(x, y)],
    }


def auroc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    above = positive[:, None] > negative[None]
    return float((above + 0.5 * (positive[:, None] == negative[None])).mean())


def fit(x: NDArray[np.float64], y: NDArray[np.float64]) -> Sequence[float]:
    design = np.c_[np.ones(len(x)), x]

    def loss(weights: NDArray[np.float64]) -> float:
        z = design @ weights
        return float(np.mean(np.logaddexp(0, z) - y * z) + RIDGE * np.sum(weights[1:] ** 2))

    found: Sequence[float] = minimize(loss, np.zeros(design.shape[1])).x
    return found


if __name__ == "__main__":
    main()
