"""What a hosted answer costs on our side: litellm behind the egress broker, the broker alone and plain httpx, interleaved."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from provider import RecordingProvider, declared, recording_provider

from domicile.adapters.egress import Egress
from domicile.adapters.hosted import HostedProvider
from domicile.domain import Message, Prompt, Usage

PROMPT = Prompt("", (), (Message("system", "Answer from the sources."), Message("user", "How long is leave? " * 150)))


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--rounds", type=int, default=100)
    flags.add_argument("--words", type=int, default=60, help="of an answer, each an event of the stream")
    given = flags.parse_args()
    with recording_provider(" ".join(["word"] * given.words)) as server:
        hosted = HostedProvider(declared(server.url), lambda: "sk-benchmark")
        began = time.perf_counter()
        ask(hosted)
        first = time.perf_counter() - began
        ways = {"httpx": plain(server), "broker": brokered(server), "hosted": lambda: ask(hosted)}
        costs = measured(ways, given.rounds)
        hosted.close()
    report = {"rounds": given.rounds, "words": given.words, "first_call_seconds": round(first, 1), **costs}
    print(json.dumps(report))


def ask(hosted: HostedProvider) -> None:
    *_, usage = hosted.generate(
        PROMPT, max_tokens=400, seconds=120, cancelled=lambda: False, authorize=lambda body: None
    )
    assert isinstance(usage, Usage)
    assert usage.completion_tokens


def body() -> bytes:
    messages = [{"role": message.role, "content": message.content} for message in PROMPT.messages]
    return json.dumps({"model": "gpt-x", "messages": messages, "stream": True}).encode()


def read(client: httpx.Client, url: str) -> None:
    with client.stream("POST", url, content=body()) as response:
        events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {")]
    assert events


def plain(server: RecordingProvider) -> Callable[[], None]:
    client = httpx.Client(trust_env=False)
    return lambda: read(client, server.url + "/chat/completions")


def brokered(server: RecordingProvider) -> Callable[[], None]:
    egress = Egress("acme-eu", server.url)
    return lambda: read(egress.exchange(lambda body: None, 60.0).client(), str(egress.url))


def measured(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, dict[str, float]]:
    """CPU of the calling thread and wall time in milliseconds, one way after the other in turns."""
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    for lap in range(rounds + 3):
        for name, way in ways.items():
            spent, began = time.thread_time(), time.perf_counter()
            way()
            if lap >= 3:
                cpu[name].append((time.thread_time() - spent) * 1e3)
                wall[name].append((time.perf_counter() - began) * 1e3)
    return {
        name: {
            "cpu_ms_p50": round(statistics.median(cpu[name]), 2),
            "wall_ms_p50": round(statistics.median(wall[name]), 2),
            "wall_ms_p95": round(statistics.quantiles(wall[name], n=20)[-1], 2),
        }
        for name in ways
    }


if __name__ == "__main__":
    main()
