"""What a repeated question costs over HTTP: served from the cache, with a receipt of its own.

    python benchmarks/cache_hit.py HOME COLLECTION "QUESTION" [--requests 500]

The first answer is made by the language model; the others are hits, each with a record that is on disk before it is sent.
Beside it, in the same run and interleaved, ``/livez``: the same way through HTTP without an answer.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from served import service


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("home", type=Path)
    flags.add_argument("collection")
    flags.add_argument("question")
    flags.add_argument("--requests", type=int, default=500)
    given = flags.parse_args()
    body = {"model": given.collection, "messages": [{"role": "user", "content": given.question}]}
    with service(given.home) as served, httpx.Client(base_url=served.url, timeout=120, trust_env=False) as client:
        until = time.monotonic() + 60
        while (first := asked(client, body))["degraded"] is not None and time.monotonic() < until:
            time.sleep(0.5)  # the model is still loading
        times: dict[str, list[float]] = {"hit": [], "livez": []}
        stages: dict[str, list[float]] = {}
        for _ in range(given.requests):
            times["livez"].append(timed(lambda: client.get("/livez")))
            told: list[dict[str, Any]] = []
            times["hit"].append(timed(lambda told=told: told.append(asked(client, body))))
            assert told[0]["cached"] is True, told[0]
            for stage, spent in dict(told[0]["timings_ms"]).items():
                stages.setdefault(stage, []).append(spent)
    print(json.dumps({"first": first["decision"]["route"], "requests": given.requests} | {
        name: {"p50_ms": round(float(np.percentile(of, 50)), 2), "p99_ms": round(float(np.percentile(of, 99)), 2)}
        for name, of in {**times, **stages}.items()
    }, indent=1))  # fmt: skip


def asked(client: httpx.Client, body: dict[str, object]) -> dict[str, Any]:
    response = client.post("/v1/chat/completions", json=body)
    response.raise_for_status()
    told: dict[str, Any] = response.json()["domicile"]
    return told


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


if __name__ == "__main__":
    main()
