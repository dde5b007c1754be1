"""What making follow-up questions self-contained gains, and what it costs where nothing had to be done.

The rules of ``domicile.conversation`` against the last turn alone, all turns joined, the earlier question's content words always
added, and a vector mixed half of the earlier question's; the oracle is the question before its name was taken out (natural
ones: with the article's title). Gold is the paragraph that a question was written for. Rules and word lists were chosen on
16 articles; ``--articles held-out`` are 32 others.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from follow_ups import FollowUp, follow_ups, turns
from numpy.typing import NDArray

from domicile.bootstrap import Home
from domicile.conversation import standalone
from domicile.domain import OWNER, Scope
from domicile.evidence import EvidenceSelector
from domicile.ports import Index
from domicile.retrieval import Question, Ranking, Retriever, Stopwatch

OTHERS = ("medquad", "scifact-train", "cranfield", "pubmedqa-l")
RESAMPLES = 5_000
Scores = dict[str, tuple[float, float, float]]


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--data", type=Path, default=Path("../shared/data"))
    flags.add_argument("--home", type=Path, default=Path(".domicile"))
    flags.add_argument("--collection", default="squad-small", help="squad-dev's corpus.jsonl.gz, ingested")
    flags.add_argument("--articles", choices=("tuned-on", "held-out"), default="held-out")
    flags.add_argument("--questions", type=int, default=150, help="of each kind, at most")
    given = flags.parse_args()
    home = Home.open(given.home, {})
    embedder = home.embedder()
    asking = Asking(
        home.retriever(home.indexes(), embedder), EvidenceSelector(embedder, home.splitter()), given.collection
    )
    chosen = [turn for turn in turns(given.data) if turn.held_out == (given.articles == "held-out")]
    report: dict[str, Any] = {"articles": given.articles, "collection": given.collection}
    for kind, made in sorted(follow_ups(chosen).items()):
        rows = random.Random(7).sample(made, min(given.questions, len(made)))
        report[kind] = compared(rows, [asking.scores(row) for row in rows])
    report["changed_among_questions_that_stand_alone"] = {name: changed(given.data, name) for name in OTHERS}
    print(json.dumps(report))


class Asking:
    """Asks one collection, each method its own way."""

    def __init__(self, retriever: Retriever, selector: EvidenceSelector, collection: str) -> None:
        self._retriever = retriever
        self._selector = selector
        self._index: Index = retriever.pin(collection, OWNER)

    def scores(self, row: FollowUp) -> Scores:
        """nDCG@10 and recall@10 of the paragraph, and whether the best sentence holds the answer."""
        made = standalone(row.text, row.history)
        earlier = row.history[-1]
        asked = {
            "last turn": (row.text, row.text),
            "all turns": (joined := " ".join((*row.history, row.text)), joined),
            "content words always": (always := f"{row.text} ({' '.join(_content(earlier))})", always),
            "domicile, one text for both": (made.text, made.text),
            "domicile": (made.text, made.wanted),
            "oracle": (row.oracle, row.oracle),
        }
        found = {name: self._scored(row, self._question(text), wanted) for name, (text, wanted) in asked.items()}
        found["mixed vectors"] = self._scored(row, self._mixed(row.text, earlier), row.text)
        return found

    def _question(self, text: str) -> Question:
        return self._retriever.ask(text)

    def _mixed(self, text: str, earlier: str) -> Question:
        vector = self._question(text).vector + 0.5 * self._question(earlier).vector
        return Question(f"{text} ({' '.join(_content(earlier))})", vector / np.linalg.norm(vector))

    def _scored(self, row: FollowUp, question: Question, wanted: str) -> tuple[float, float, float]:
        ranking = self._rank(question)
        documents = list(dict.fromkeys(hit.chunk.document for hit in ranking.hits))[:10]
        rank = documents.index(row.turn.paragraph) + 1 if row.turn.paragraph in documents else 0
        evidence = self._selector.select(self._question(wanted), ranking, self._index).evidence
        answered = bool(evidence) and any(answer in evidence[0].text for answer in row.turn.answers)
        return 1 / math.log2(rank + 1) if rank else 0.0, float(rank > 0), float(answered)

    def _rank(self, question: Question) -> Ranking:
        return self._retriever.rank(question, self._index, Scope(None), "hybrid", 20, Stopwatch(time.perf_counter))


def _content(text: str) -> list[str]:
    """Words of four letters or more, and what is written with a capital: enough for a method that knows no rules."""
    return [word for word in text.rstrip("?").split() if len(word) > 3 or word[0].isupper()]


def compared(rows: Sequence[FollowUp], scores: Sequence[Scores]) -> dict[str, Any]:
    """Each method's means, and its difference to the last turn alone with a paired 95 % interval."""
    report: dict[str, Any] = {
        "n": len(rows),
        "changed": round(sum(bool(standalone(row.text, row.history).turns) for row in rows) / len(rows), 3),
    }
    alone = np.array([row["last turn"] for row in scores])
    for method in scores[0]:
        values = np.array([row[method] for row in scores])
        report[method] = {
            name: [round(float(values[:, i].mean()), 3), *interval(values[:, i] - alone[:, i])]
            for i, name in enumerate(("ndcg@10", "recall@10", "answer_in_best_sentence"))
        }
    return report


def interval(differences: NDArray[np.float64]) -> list[float]:
    """The mean difference and its 95 % interval, bootstrapped over questions."""
    picked = np.random.default_rng(0).integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.percentile(differences[picked].mean(axis=1), [2.5, 97.5])
    return [round(float(value), 3) for value in (differences.mean(), low, high)]


def changed(data: Path, name: str) -> float:
    """The share of a set's questions, none of which is a follow-up, that would be changed after another question."""
    with gzip.open(data / name / "queries.jsonl.gz", "rt", encoding="utf-8") as lines:
        asked = [json.loads(line)["text"] for line in lines]
    return round(sum(bool(standalone(asked[i], asked[i - 1 : i]).turns) for i in range(1, len(asked))) / len(asked), 4)


if __name__ == "__main__":
    main()
