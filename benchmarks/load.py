"""Searches and answers over HTTP by 1, 4 and 16 clients at once: p50, p95, p99, requests a second, and what each side costs.

    python benchmarks/load.py home-200k --collection scale --passages passages/passages.jsonl

Starts ``domicile serve`` on the home and sends it questions that are all different, each client the next as soon as it has
an answer: with Locust (``locustfile.py``; its own process, on the same cores), and searches also with a bare client on raw
sockets, since a load generator takes a share of two cores. ``cpu_ms`` says what a request costs the service (without the
process of its language model) and what it costs the generator (without its start). An answer counts as failed unless its
status is 200 and it has hits (or words).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from questions import asked, shuffled, titles
from served import Served, cpu_seconds, service

LOCUST = Path(sys.executable).with_name("locust")
LOCUSTFILE = Path(__file__).with_name("locustfile.py")
WARM_UP = 5.0
Figures = dict[str, Any]


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("home", type=Path)
    flags.add_argument("--collection", default="scale")
    flags.add_argument("--passages", type=Path, help="of passages.py: titles of its documents are questions, too")
    flags.add_argument("--data", type=Path, default=Path("../shared/data"))
    flags.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    flags.add_argument("--seconds", type=float, default=20)
    flags.add_argument("--kinds", nargs="+", default=["searches", "answers", "bare"])
    flags.add_argument("--locust", type=Path, default=LOCUST)
    given = flags.parse_args()
    questions = asked(given.data) + (titles(given.passages, 200_000) if given.passages else [])
    runs = [(kind, clients) for clients in given.clients for kind in given.kinds]
    found: Figures = {kind: {} for kind in given.kinds}
    with service(given.home) as served:
        bare(served, given.collection, questions[-500:], max(given.clients), WARM_UP)
        for number, (kind, clients) in enumerate(runs):
            some = shuffled(questions)[number :: len(runs)]
            if kind == "bare":
                found[kind][clients] = bare(served, given.collection, some, clients, given.seconds)
            else:
                user = {"searches": "Searcher", "answers": "Asker"}[kind]
                found[kind][clients] = locust(
                    given.locust, user, served, given.collection, some, clients, given.seconds
                )
            print(kind, clients, json.dumps(found[kind][clients]), file=sys.stderr, flush=True)
    print(json.dumps({"questions": len(questions), "seconds": given.seconds} | found))


def locust(
    program: Path, user: str, served: Served, collection: str, questions: Sequence[str], clients: int, seconds: float
) -> Figures:
    with tempfile.TemporaryDirectory() as temporary:
        asks = Path(temporary) / "questions.txt"
        asks.write_text("".join(f"{' '.join(question.split())}\n" for question in questions), encoding="utf-8")
        command: list[str | Path] = [program, "--locustfile", LOCUSTFILE, "--host", served.url, "--headless"]
        command += ["--users", str(clients), "--spawn-rate", str(clients), "--run-time", f"{seconds:.0f}s"]
        command += ["--json", "--skip-log", "--exit-code-on-error", "0"]
        command += ["--collection", collection, "--questions", asks, user]
        began = cpu_seconds(served.pid)
        own_cpu, told = cost_of(command)
        start_cpu, _ = cost_of([program, "--version"])
        service_cpu, own_cpu = cpu_seconds(served.pid) - began, max(0.0, own_cpu - start_cpu)
    [total] = json.loads(told)
    walls = [float(rounded) for rounded, times in total["response_times"].items() for _ in range(times)]
    return figures(walls, total["num_failures"], total["last_request_timestamp"] - total["start_time"]) | {
        "cpu_ms": {"service": each(service_cpu, len(walls)), "generator": each(own_cpu, len(walls))}
    }


def bare(served: Served, collection: str, questions: Sequence[str], clients: int, seconds: float) -> Figures:
    """Searches as cheap for the client as can be: one connection a client, bytes made before, little read of the answer."""
    address = urlsplit(served.url)
    asks = cycle(
        [search_request(address.netloc, {"collection": collection, "query": question}) for question in questions]
    )
    began, spent, started = cpu_seconds(served.pid), time.process_time(), time.perf_counter()
    walls, failed = asyncio.run(hammer(address.hostname or "", address.port or 80, asks, clients, seconds, has_hits))
    wall = time.perf_counter() - started
    service_cpu, own_cpu = cpu_seconds(served.pid) - began, time.process_time() - spent
    return figures(walls, failed, wall) | {
        "cpu_ms": {"service": each(service_cpu, len(walls)), "generator": each(own_cpu, len(walls))}
    }


def figures(milliseconds: Sequence[float], failed: int, seconds: float) -> Figures:
    return {
        "requests": len(milliseconds),
        "failed": failed,
        "per_second": round(len(milliseconds) / seconds, 1),
        "ms": {f"p{share}": round(float(np.percentile(milliseconds, share)), 1) for share in (50, 95, 99)},
    }


def search_request(host: str, body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST /v1/search HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(content) + content


def has_hits(head: bytes, body: bytes) -> bool:
    return head.startswith(b"HTTP/1.1 200") and b'"rank":1,' in body


async def hammer(
    host: str, port: int, asks: Iterator[bytes], clients: int, seconds: float, good: Callable[[bytes, bytes], bool]
) -> tuple[list[float], int]:
    """Milliseconds of every answer, and how many answers were none."""
    until = time.perf_counter() + seconds
    walls: list[float] = []
    failed = 0

    async def client() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection(host, port)
        while (began := time.perf_counter()) < until:
            writer.write(next(asks))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            walls.append((time.perf_counter() - began) * 1e3)
            failed += not good(head, body)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return walls, failed


def cost_of(command: Sequence[str | Path]) -> tuple[float, str]:
    """CPU seconds of a program, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def each(seconds: float, requests: int) -> float:
    return round(seconds * 1e3 / max(1, requests), 2)


if __name__ == "__main__":
    main()
