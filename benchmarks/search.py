"""Search in process on a large collection: what a search costs, what the approximate index finds, how soon a service is up.

    python benchmarks/search.py passages/ home-200k --count 200000

The first argument is the folder of ``passages.py`` and ``passage_vectors.py``, which says what is real in it. The home is made
where it has no such collection, and kept. One search at a time, all questions different: whole searches and their
stages in turns, so that a noisy minute meets both; then recall@10 of the dense index against the exact scan, as built,
reopened, after 1,000 documents were deleted (that generation is rolled back at the end), and under filters that leave 50, 10
and 1 % of the documents; last, starts of a service. ``cpu_ms`` counts all threads of the process.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import httpx
import numpy as np
from passage_vectors import indexed, load
from questions import asked, titles
from served import DOMICILE, memory_mb, service

from domicile.adapters.snapshot import Snapshot
from domicile.bootstrap import Home
from domicile.domain import OWNER, Condition, Document, Label, Scope, Sensitivity
from domicile.ports import Embedder, NewChunk, Vectors
from domicile.retrieval import DEPTH, Retriever

COLLECTION = "scale"
EVERYTHING = Scope(readers=None)
SHARES = (50, 10, 1)
DELETED = 1_000
LABEL = Label(
    frozenset({"local"}), Sensitivity.INTERNAL, False, 0, frozenset(), purposes=frozenset({"answer"}), groups=None
)
Figures = dict[str, Any]
Cost = tuple[float, float]
"""Milliseconds of the process's CPU time, and of wall time."""
P = ParamSpec("P")
T = TypeVar("T")


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("passages", type=Path)
    flags.add_argument("home", type=Path)
    flags.add_argument("--count", type=int, default=200_000)
    flags.add_argument("--questions", type=int, default=1_000, help="of the timings")
    flags.add_argument("--judged", type=int, default=300, help="questions of each figure of recall")
    flags.add_argument("--data", type=Path, default=Path("../shared/data"))
    flags.add_argument("--models", type=Path, default=Path(".domicile/models"))
    given = flags.parse_args()
    home = opened(given.home, given.models)
    embedder = home.embedder()
    found: Figures = {"chunks": given.count}
    if COLLECTION not in home.indexes().names():
        found["build_seconds"] = build(home, embedder, given.passages, given.count)
    index = pinned(home)
    assert index.manifest.counts.chunks == given.count, "the home holds another number of passages: name a new one"
    half = given.questions // 2
    questions = asked(given.data)[:half] + titles(given.passages / "passages.jsonl", given.count)[:half]
    random.Random(1).shuffle(questions)
    found["search"] = timings(home.retriever(home.indexes(), embedder), index, questions)
    vectors = [embedder.embed([question], "query")[0] for question in questions[: given.judged]]
    found["recall@10"] = recall(index, vectors, EVERYTHING)
    found["reopened"] = recall(pinned(home), vectors, EVERYTHING)
    found["filtered"] = {
        f"{share} %": filtered(home, embedder, vectors, questions[: given.judged], share) for share in SHARES
    }
    found["deleted"] = after_deletes(home, embedder, vectors, index)
    del index
    found["service"] = starts(given.home, questions)
    print(json.dumps(found))


def opened(place: Path, models: Path) -> Home:
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "models").exists():
        (place / "models").symlink_to(models.resolve())
    return Home.open(place, dict(os.environ))


def pinned(home: Home) -> Snapshot:
    """The collection, opened anew."""
    return home.indexes().pin(COLLECTION, OWNER)


def build(home: Home, embedder: Embedder, folder: Path, count: int) -> float:
    """Put the passages with their vectors into a new collection; returns seconds."""
    made_by = json.loads((folder / "vectors.json").read_text())["fingerprint"]
    assert made_by == embedder.fingerprint, "the vectors are of another embedder: make them again"
    vectors = load(folder, count)
    began = time.perf_counter()
    with home.index_writer().change(home.collection(COLLECTION), embedder) as change:
        row = 0
        for document, chunks in documents(folder / "passages.jsonl", count):
            some = vectors[row : row + len(chunks)].astype(np.float32)
            change.put(document, "1", chunks, some / np.linalg.norm(some, axis=1, keepdims=True))
            row += len(chunks)
        change.commit()
    return round(time.perf_counter() - began, 1)


def documents(passages: Path, count: int) -> Iterator[tuple[Document, list[NewChunk]]]:
    """Each document with what was cut from it; ``bucket`` is one of 100 by its URI, for filters of any share."""
    with passages.open(encoding="utf-8") as lines:
        rows = map(json.loads, islice(lines, count))
        for uri, group in groupby(rows, key=lambda row: str(row["uri"])):
            cut = list(group)
            text = "\n\n".join(row["text"] for row in cut)
            digest = hashlib.sha256(text.encode()).hexdigest()
            bucket = float(int.from_bytes(hashlib.sha256(uri.encode()).digest()[:4]) % 100)
            document = Document(uri, cut[0]["title"], text, LABEL, digest, metadata=(("bucket", bucket),))
            yield document, [NewChunk((), None, row["start"], row["end"], row["text"], "", indexed(row)) for row in cut]


def timings(retriever: Retriever, index: Snapshot, questions: list[str]) -> Figures:
    """Whole searches and their stages, one by one, in turns."""
    spent: dict[str, list[Cost]] = {name: [] for name in ("whole", "embed", "dense", "lexical", "fetch")}
    laps: dict[str, list[float]] = {}
    for question in questions[:20]:
        retriever.search(question, COLLECTION, OWNER)
    for whole, parts in zip(questions[20::2], questions[21::2], strict=False):
        result, cost = timed(retriever.search, whole, COLLECTION, OWNER)
        spent["whole"].append(cost)
        for stage, milliseconds in result.timings_ms.items():
            laps.setdefault(stage, []).append(milliseconds)
        question, cost = timed(retriever.ask, parts)
        spent["embed"].append(cost)
        near, cost = timed(index.dense, question.vector, DEPTH, EVERYTHING)
        spent["dense"].append(cost)
        _, cost = timed(index.lexical, question.text, DEPTH, EVERYTHING)
        spent["lexical"].append(cost)
        _, cost = timed(index.chunks, [candidate.ref for candidate in near[:10]])
        spent["fetch"].append(cost)
    return {name: summary(costs) for name, costs in spent.items()} | {
        "stages_wall_ms_p50": {stage: round(statistics.median(times), 2) for stage, times in laps.items()}
    }


def timed(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, Cost]:
    cpu, wall = time.process_time(), time.perf_counter()
    result = work(*args, **kwargs)
    return result, ((time.process_time() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3)


def summary(costs: Sequence[Cost]) -> Figures:
    cpu, wall = np.array(costs).T
    return {
        "n": len(costs),
        "cpu_ms_p50": round(float(np.median(cpu)), 2),
        "wall_ms": {f"p{share}": round(float(np.percentile(wall, share)), 2) for share in (50, 95, 99)},
    }


def recall(index: Snapshot, vectors: list[Vectors], scope: Scope) -> float:
    """The mean share of the ten nearest chunks that the search finds among its first ten.

    A chunk as near as the tenth is as good as it: real collections hold the same words twice.
    """
    shares = []
    for vector in vectors:
        exact = index.exact(vector, 10, scope)
        if exact:
            good = sum(found.score >= exact[-1].score - 1e-5 for found in index.dense(vector, DEPTH, scope)[:10])
            shares.append(min(good, len(exact)) / len(exact))
    return round(statistics.fmean(shares), 4)


def filtered(home: Home, embedder: Embedder, vectors: list[Vectors], questions: list[str], share: int) -> Figures:
    """Recall and whole searches of a share of the documents; the first one finds out which they are."""
    conditions = (Condition("bucket", "lte", (float(share - 1),)),)
    retriever = home.retriever(home.indexes(), embedder)  # a fresh one: it remembers no question
    retriever.search("warm", COLLECTION, OWNER)
    costs = [timed(retriever.search, text, COLLECTION, OWNER, conditions=conditions)[1] for text in questions]
    scope = Scope(readers=None, conditions=conditions)
    return {"recall@10": recall(pinned(home), vectors, scope), "first_ms": round(costs[0][1], 1), **summary(costs[1:])}


def after_deletes(home: Home, embedder: Embedder, vectors: list[Vectors], before: Snapshot) -> Figures:
    """Recall without some documents, those that the questions find first among them; then everything as it was."""
    found = [before.dense(vector, 3, EVERYTHING) for vector in vectors]
    near = {chunk.document for candidates in found for chunk in before.chunks([c.ref for c in candidates])}
    others = sorted(before.states().keys() - near)
    wanted = min(DELETED, (len(near) + len(others)) // 10)
    gone = [*sorted(near), *random.Random(1).sample(others, len(others))][:wanted]
    began = time.perf_counter()
    with home.index_writer().change(home.collection(COLLECTION), embedder) as change:
        for uri in gone:
            change.delete(uri)
        change.commit()
    seconds = time.perf_counter() - began
    index = pinned(home)
    measured = {
        "documents": len(gone),
        "chunks": before.manifest.counts.chunks - index.manifest.counts.chunks,
        "commit_seconds": round(seconds, 2),
        "recall@10": recall(index, vectors, EVERYTHING),
    }
    back = [DOMICILE, "--home", home.path, "generations", "rollback", "--collection", COLLECTION]
    subprocess.run([*back, "--to", str(before.generation)], check=True, stdout=subprocess.DEVNULL)
    return measured


def starts(home: Path, questions: list[str]) -> Figures:
    ready = []
    for _ in range(3):
        with service(home) as served:
            ready.append(round(served.ready_seconds, 2))
            at_first = memory_mb(served.pid)
            with httpx.Client(base_url=served.url, timeout=60, trust_env=False) as client:
                for question in questions[:300]:
                    reply = client.post("/v1/search", json={"collection": COLLECTION, "query": question})
                    assert reply.status_code == 200, reply.text
                    assert reply.json()["hits"], question
            after = memory_mb(served.pid)
    return {"ready_seconds": ready, "rss_mb": at_first, "rss_mb_after_300_searches": after}


if __name__ == "__main__":
    main()
