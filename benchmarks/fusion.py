"""Is hybrid search better than both of its parents, and is lexical search the BM25 that it should be? On five sets, with paired
intervals; the weight is also chosen on four sets and measured on the fifth. The collections must be there: each set's corpus
as one JSONL file, squad with its distractors."""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from domicile.adapters.tantivy import LexicalFolder, LexicalWriter
from domicile.bootstrap import Home
from domicile.domain import OWNER, FusionWeights
from domicile.fusion import SHIPPED
from domicile.retrieval import Retriever
from domicile_eval.beir import read_beir
from domicile_eval.fusion_fit import GRID, MEASURE, rank_with_each
from domicile_eval.items import Item
from domicile_eval.metrics import per_question
from domicile_eval.runner import TOP_K, rank_documents
from domicile_eval.statistics import paired_gain


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """A set of ``--data`` and the collection that holds it.

    Attributes:
        corpus: its files of documents.
        bm25: nDCG@10 of BM25 over whole documents, from the set's README.
    """

    collection: str
    folder: str
    bm25: tuple[float, ...]
    corpus: tuple[str, ...] = ("corpus.jsonl.gz",)
    split: str | None = None


SETS = (
    JudgedSet("scifact", "scifact-train", (0.6945, 0.6964)),
    JudgedSet("cranfield", "cranfield", (0.3580, 0.3825), split="test"),
    JudgedSet("squad", "squad-dev", (0.8272,), ("corpus.jsonl.gz", "corpus_distractors_train.jsonl.gz")),
    JudgedSet("medquad", "medquad", (0.6180,)),
    JudgedSet("pubmedqa", "pubmedqa-l", (0.9762,)),
)
Values = dict[str, list[float]]
"""nDCG@10 of each question by the way of searching."""


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--data", type=Path, default=Path("../shared/data"))
    flags.add_argument("--home", type=Path, default=Path(".domicile"))
    flags.add_argument("--sets", nargs="+", choices=[each.collection for each in SETS], help="default: all")
    flags.add_argument("--questions", type=int, help="take only so many of each set")
    given = flags.parse_args()
    chosen = [each for each in SETS if given.sets is None or each.collection in given.sets]
    home = Home.open(given.home, {})
    embedder = home.embedder()
    retriever = home.retriever(home.indexes(), embedder)
    measured = {each.collection: measure(retriever, each, given.data, given.questions) for each in chosen}
    report = {name: compared(values) for name, values in measured.items()}
    for each in chosen:
        report[each.collection]["lexical_whole_documents"]["readme"] = each.bm25
    shipped = SHIPPED[embedder.name]
    print(json.dumps({"shipped": shipped.dense, "sets": report, "chosen_on_the_others": left_out(measured)}))


def measure(retriever: Retriever, each: JudgedSet, data: Path, limit: int | None) -> Values:
    cases = read_beir(data / each.folder, each.split)[:limit]

    def ndcg(rankings: Mapping[str, Sequence[str]]) -> list[float]:
        return per_question(cases, rankings, [MEASURE])[MEASURE]

    values = {
        mode: ndcg(rank_documents(retriever, each.collection, cases, mode)[1])
        for mode in ("hybrid", "dense", "lexical")
    }
    values["whole"] = ndcg(ranked_whole([data / each.folder / name for name in each.corpus], cases))
    for weights, rankings in rank_with_each(
        retriever, retriever.pin(each.collection, OWNER), cases, [None, *GRID]
    ).items():
        values[option(weights)] = ndcg(rankings)
    return values


def ranked_whole(corpus: Sequence[Path], cases: Sequence[Item]) -> dict[str, list[str]]:
    """Rank documents that were not cut into chunks, by words alone."""
    ids: list[str] = []
    with TemporaryDirectory() as folder:
        writer = LexicalWriter(Path(folder, "words"), None, "en")
        for row in rows(corpus):
            if text := f"{row['title']}\n{row['text']}".strip():
                writer.add(len(ids), row["_id"], None, text)
                ids.append(row["_id"])
        writer.commit(len(ids))
        found = LexicalFolder(Path(folder, "words"), "en")
        return {case.id: [ids[ref] for ref, _ in found.search(case.question, TOP_K, None)] for case in cases}


def rows(corpus: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for path in corpus:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            yield from map(json.loads, stream)


def option(weights: FusionWeights | None) -> str:
    return "ranks" if weights is None else f"{weights.dense:.2f}"


def compared(values: Values) -> dict[str, Any]:
    better = max("dense", "lexical", key=lambda name: mean(values[name]))
    return {
        "n": len(values["hybrid"]),
        **{name: round(mean(values[name]), 4) for name in ("dense", "lexical", "ranks", "hybrid")},
        "better_parent": better,
        "hybrid_against_dense": asdict(paired_gain(values["dense"], values["hybrid"])),
        "hybrid_against_lexical": asdict(paired_gain(values["lexical"], values["hybrid"])),
        "ranks_against_better_parent": asdict(paired_gain(values[better], values["ranks"])),
        "lexical_whole_documents": {"here": round(mean(values["whole"]), 4)},
        "by_weight": {option(weights): round(mean(values[option(weights)]), 4) for weights in GRID},
    }


def left_out(measured: Mapping[str, Values]) -> dict[str, Any]:
    """For each set the weight with the largest mean gain over the better parent on the other sets, and its gain on this one."""
    found: dict[str, Any] = {}
    for name, values in measured.items():
        others = [each for other, each in measured.items() if other != name]
        if not others:
            break
        best = max(GRID, key=lambda weights: np.mean([gain(each, weights) for each in others]))
        parent = max(values["dense"], values["lexical"], key=mean)
        found[name] = {"weight": best.dense, **asdict(paired_gain(parent, values[option(best)]))}
    return found


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def gain(values: Values, weights: FusionWeights) -> float:
    return mean(values[option(weights)]) - max(mean(values["dense"]), mean(values["lexical"]))


if __name__ == "__main__":
    main()
