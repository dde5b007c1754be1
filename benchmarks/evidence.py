"""How often the best sentence answers, what each part of choosing it is worth, and how well the confidence tells questions
that a collection answers from those of other collections and from near misses.

Uses those of its collections that the home holds: squad-small (squad-dev's corpus.jsonl.gz), scifact, pubmedqa, cranfield,
medquad, handbook (examples/handbook) and manuals (HTML of postgresql-doc and git-doc: the pages that gold/manuals.jsonl names,
and any others). The handbook is a set once more with the golden questions of its suite's tune split, which ask in words of
their own; nothing answers gold/off_corpus.jsonl there, which a colleague might well ask.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domicile import definitions, editions, evidence
from domicile.bootstrap import Home
from domicile.confidence import Features, confidence, fit
from domicile.domain import OWNER, EvidenceCurve, Scope
from domicile.evidence import EvidenceSelector, Selection
from domicile.packing import Packer
from domicile.ports import Index
from domicile.retrieval import Question, Ranking, Retriever, Stopwatch
from domicile_eval.suites import open_suite

JUDGED = {"scifact": "scifact-train", "pubmedqa": "pubmedqa-l", "cranfield": "cranfield", "medquad": "medquad"}
OTHERS = 22
"""Questions of each other collection."""
GOLD = Path(__file__).parent / "gold"
_EXAMPLE = re.compile(r"^\| \d+[^|]*\| ([^|]+\?) \| `([^`]+)` \| (.*?) \|$", re.MULTILINE)

Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A question and what retrieval gave for it; ``kind`` is ``yes``, ``near`` or the collection that it was meant for."""

    kind: str
    row: Row
    question: Question
    ranking: Ranking


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--data", type=Path, default=Path("../shared/data"))
    flags.add_argument("--home", type=Path, default=Path(".domicile"))
    flags.add_argument("--questions", type=int, default=300, help="of each kind")
    given = flags.parse_args()
    home = Home.open(given.home, {})
    embedder = home.embedder()
    indexes = home.indexes()
    retriever = home.retriever(indexes, embedder)
    rows = questions(given.data, given.questions)
    found = {name: rows[name] for name in rows if name in indexes.names()}
    served = {name: retriever.pin(name, OWNER) for name in found}
    asked = {name: list(ask(retriever, served[name], name, found)) for name in found}
    selector = EvidenceSelector(embedder, home.splitter())
    chosen = {name: choose(selector, served[name], asked[name]) for name in found}
    if "handbook" in found:
        asked["golden"], chosen["golden"] = golden(selector, retriever, served["handbook"])
        for kept in (asked, chosen):
            kept["golden"] += [
                one for one, of in zip(kept["handbook"], asked["handbook"], strict=True) if of.kind in found
            ]
    quoted = [name for name in ("squad-small", "manuals", "handbook") if name in found]
    print(
        json.dumps(
            {
                "ablation": {name: ablation(selector, served[name], asked[name]) for name in quoted},
                "milliseconds": {name: speed(home, embedder, served[name], asked[name]) for name in quoted},
                **(report_confidence(asked, chosen) if len(found) > 1 else {}),
            }
        )
    )


def questions(data: Path, count: int) -> dict[str, list[Row]]:
    """By collection. A row may have answers, a document and a term; ``near`` marks what only looks answerable."""
    squad = read(data / "squad-dev" / "qa.jsonl.gz")
    random.Random(1).shuffle(squad)
    answerable = [row for row in squad if row["answers"]][:count]
    near = [{**row, "near": True} for row in squad if not row["answers"]][:count]
    rows: dict[str, list[Row]] = {"squad-small": answerable + near}
    for name, folder in JUDGED.items():
        judged = read(data / folder / "queries.jsonl.gz")
        random.Random(2).shuffle(judged)
        rows[name] = [{"question": row["text"]} for row in judged[:count]]
    examples = _EXAMPLE.findall(Path("examples/README.md").read_text(encoding="utf-8"))
    rows["handbook"] = [
        *({"question": q, "document": uri, "answer": answer} for q, uri, answer in examples),
        *lines(GOLD / "editions.jsonl"),
    ]
    rows["manuals"] = lines(GOLD / "manuals.jsonl")
    return rows


def read(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ask(retriever: Retriever, index: Index, name: str, rows: dict[str, list[Row]]) -> Iterator[Asked]:
    """Its own questions, and some of each other collection."""
    own = [("near" if row.get("near") else "yes", row) for row in rows[name]]
    others = [
        (other, row)
        for other in rows
        if other != name
        for row in random.Random(name + other).sample(rows[other], min(OTHERS, len(rows[other])))
    ]
    for kind, row in own + others:
        question = retriever.ask(row["question"])
        ranking = retriever.rank(question, index, Scope(None), "hybrid", 10, Stopwatch(time.perf_counter))
        yield Asked(kind, row, question, ranking)


def golden(selector: EvidenceSelector, retriever: Retriever, index: Index) -> tuple[list[Asked], list[Selection]]:
    """The tune split of the handbook's suite, and what a colleague might ask and nothing answers; as ``Packer`` asks."""
    suite, packer = open_suite("handbook", None, "tune"), Packer(retriever, selector)
    asked, chosen = [], []
    items = [
        (
            "yes" if item.gold else "off corpus" if "off_corpus" in item.kinds else "near",
            item.question,
            tuple(turn.text for turn in item.history if turn.role == "user"),
            suite.principal(item).groups,
        )
        for item in suite.items
        if "residency" not in item.kinds
    ]
    items += [("off corpus", row["question"], (), None) for row in lines(GOLD / "off_corpus.jsonl")]
    for kind, text, history, groups in items:
        made = packer.ask(text, history, index)
        ranking = retriever.rank(made.question, index, Scope(groups), "hybrid", 10, Stopwatch(time.perf_counter))
        asked.append(Asked(kind, {}, made.question, ranking))
        chosen.append(selector.select(made.wanted, ranking, index, (text, made.question.text)))
    return asked, chosen


def choose(selector: EvidenceSelector, index: Index, asked: Sequence[Asked]) -> list[Selection]:
    return [selector.select(item.question, item.ranking, index) for item in asked]


def is_right(index: Index, row: Row, item: evidence.Evidence) -> bool:
    """Whether a sentence holds the answer, of the right document and of the right term where the row names them."""
    if "answers" in row:
        return any(answer in item.text for answer in row["answers"])
    if not item.chunk.document.endswith(row["document"]):
        return False
    answer = row["answer"]
    if "term" in row:
        document = index.document(item.chunk.document, None)
        term = re.search(rf"^{re.escape(row['term'])}$", document.text if document else "", re.MULTILINE)
        return answer in item.text and term is not None and term.start() <= item.start < term.start() + 1500
    if " / " in answer:
        return all(cell in item.text for cell in answer.split(" / ")[:2])
    return answer in item.text or plain(item.text) in plain(answer)


def plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text))


# Ablation


def ablation(selector: EvidenceSelector, index: Index, asked: Sequence[Asked]) -> dict[str, Any]:
    """The share of questions whose best sentence answers, with each part left out; the loss with its 95 % interval."""
    own = [item for item in asked if item.kind == "yes"]
    outcome: dict[str, NDArray[np.float64]] = {}
    for name, changes in PARTS.items():
        with changed(*changes):
            picked = choose(selector, index, own)
        outcome[name] = np.array([float(holds(index, item, chosen)) for item, chosen in zip(own, picked, strict=True)])
    full = outcome["all"]
    return {
        name: {"right": round(float(values.mean()), 3), "loss": interval(full - values)}
        for name, values in outcome.items()
    } | {"questions": len(own)}


def holds(index: Index, item: Asked, chosen: Selection) -> bool:
    return bool(chosen.evidence) and is_right(index, item.row, chosen.evidence[0])


PARTS: dict[str, tuple[tuple[Any, str, Any], ...]] = {
    "all": (),
    "without the wording": ((evidence, "WORDING_WEIGHT", 0.0),),
    "without terms": ((definitions, "terms", lambda text: []),),
    "without editions": ((editions, "preferences", lambda question, chunks: []),),
    "near-duplicates in": ((evidence, "_distinct", list),),
    "8 embedded": ((evidence, "MAX_EMBEDDED", 8),),
    "64 embedded": ((evidence, "MAX_EMBEDDED", 64),),
    "none of them": (
        (evidence, "WORDING_WEIGHT", 0.0),
        (definitions, "terms", lambda text: []),
        (editions, "preferences", lambda question, chunks: []),
        (evidence, "_distinct", list),
        (evidence, "MAX_EMBEDDED", 64),
    ),
}


@contextmanager
def changed(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    for module, name, value in changes:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def interval(values: NDArray[np.float64], of: Callable[[NDArray[np.float64]], float] = np.mean) -> list[float]:
    draws = np.random.default_rng(0).integers(0, len(values), (4000, len(values)))
    means = [of(values[draw]) for draw in draws]
    return [round(float(x), 3) for x in (of(values), *np.quantile(means, (0.025, 0.975)))]


def speed(home: Home, embedder: Any, index: Index, asked: Sequence[Asked]) -> dict[str, float]:
    """CPU time of one selection, its sentences new and met before."""
    own = [item for item in asked if item.kind == "yes"][:40]
    result = {}
    for name, warm in (("new", False), ("met before", True)):
        selector = EvidenceSelector(embedder, home.splitter())
        if warm:
            choose(selector, index, own)
        taken = []
        for item in own:
            if not warm:
                selector = EvidenceSelector(embedder, home.splitter())
            started = time.process_time()
            selector.select(item.question, item.ranking, index)
            taken.append(time.process_time() - started)
        result[name] = round(float(np.median(taken)) * 1e3, 1)
    return result


# Confidence


def report_confidence(asked: dict[str, list[Asked]], chosen: dict[str, list[Selection]]) -> dict[str, Any]:
    """Each collection predicted by a fit to all others; then the coefficients that fit them all."""
    kinds = {
        name: {
            "yes": [pick.features for item, pick in zip(asked[name], picks, strict=True) if item.kind == "yes"],
            "near": [pick.features for item, pick in zip(asked[name], picks, strict=True) if item.kind == "near"],
            "other": [
                pick.features for item, pick in zip(asked[name], picks, strict=True) if item.kind not in ("yes", "near")
            ],
        }
        for name, picks in chosen.items()
    }
    values = {}
    for name in kinds:
        curve = fit_sets([kinds[other] for other in kinds if other != name])
        values[name] = {
            kind: np.array([confidence(item, curve) for item in found]) for kind, found in kinds[name].items()
        }
    near = {name: auroc(v["yes"], v["near"]) for name, v in values.items() if len(v["near"])}
    return {
        "auroc_other": {name: round(auroc(v["yes"], v["other"]), 3) for name, v in values.items()},
        "false_answers_at_10_percent_false_abstentions": {
            name: round(float((v["other"] >= np.quantile(v["yes"], 0.1)).mean()), 3) for name, v in values.items()
        },
        "at_0.4": {
            name: {kind: round(float((found >= 0.4).mean()), 3) for kind, found in v.items() if len(found)}
            for name, v in values.items()
        },
        "auroc_near": {name: round(value, 3) for name, value in near.items()},
        "calibration_error": round(calibration_error(values), 3),
        "answered": {
            f"{threshold:.1f}": {
                kind: round(float(np.mean(shares)), 3)
                for kind in ("yes", "other", "near")
                if (shares := [(v[kind] >= threshold).mean() for v in values.values() if len(v[kind])])
            }
            for threshold in np.arange(0.1, 1.0, 0.1)
        },
        "coefficients": fit_sets(list(kinds.values())).coefficients,
    }


def fit_sets(sets: Sequence[dict[str, list[Features]]]) -> EvidenceCurve:
    """Every collection counts the same, however many questions it has."""
    size = max(len(found) for kinds in sets for found in kinds.values())
    table = [
        (kinds[kind][i % len(kinds[kind])], kind == "yes")
        for kinds in sets
        for kind in ("yes", "other")
        for i in range(size)
    ]
    return fit([item for item, _ in table], [answered for _, answered in table])


def auroc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    above = positive[:, None] > negative[None]
    return float((above + 0.5 * (positive[:, None] == negative[None])).mean())


def calibration_error(values: dict[str, dict[str, NDArray[np.float64]]]) -> float:
    """Expected, over ten bins, every collection and kind weighing the same."""
    rows = [
        (p, float(kind == "yes"), 1 / len(v[kind]))
        for v in values.values()
        for kind in ("yes", "other")
        for p in v[kind]
    ]
    chance, truth, weight = np.array(rows).T
    bins = np.minimum((chance * 10).astype(int), 9)
    gaps = [abs(float(((chance - truth) * weight)[bins == number].sum())) for number in range(10)]
    return float(sum(gaps) / weight.sum())


if __name__ == "__main__":
    main()
