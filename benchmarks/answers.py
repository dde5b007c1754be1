"""Time to the first token and to the whole answer over HTTP, generated and extractive, interleaved; memory of the server."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from pathlib import Path
from typing import Any

import httpx
from served import service

QUESTIONS = re.compile(r"^\| \d+[^|]*\| ([^|]+\?) \| `", re.MULTILINE)


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--home", type=Path, default=Path(".domicile"))
    flags.add_argument("--rounds", type=int, default=3)
    given = flags.parse_args()
    questions = QUESTIONS.findall(Path("examples/README.md").read_text(encoding="utf-8"))
    with (
        service(given.home) as served,
        httpx.Client(base_url=served.url, timeout=120, trust_env=False) as client,
    ):
        while client.get("/readyz").json()["models"]["smollm2-135m"]["state"] == "loading":
            time.sleep(0.1)
        ask(client, questions[0], "auto")  # the first one fills caches
        found = [
            ask(client, question, mode)
            for _ in range(given.rounds)
            for question in questions
            for mode in ("auto", "extractive")
        ]
        print(
            json.dumps(
                {
                    "questions": len(questions),
                    "rounds": given.rounds,
                    **summary(found),
                    "server_rss_mb": rss(served.pid),
                }
            )
        )


def ask(client: httpx.Client, question: str, mode: str) -> dict[str, Any]:
    """One streamed answer: milliseconds until the first text and until the end, and what it was."""
    body = {
        "model": "handbook",
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "domicile": {"mode": mode},
    }
    started = time.perf_counter()
    first = 0.0
    given: dict[str, Any] = {}
    with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        for line in reply.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            if chunk["choices"][0]["delta"].get("content"):
                first = first or time.perf_counter() - started
            given = chunk.get("domicile", given)
    whole = time.perf_counter() - started
    kind = "abstained" if given["abstained"] else given["grounded"] if mode == "auto" else "extractive"
    return {"kind": kind, "first": first * 1e3, "whole": whole * 1e3, "stages": given["timings_ms"]}


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for kind in sorted({row["kind"] for row in found}):
        rows = [row for row in found if row["kind"] == kind]
        stages = sorted({stage for row in rows for stage in row["stages"]})
        result[kind] = {
            "n": len(rows),
            "first_ms_p50": median(rows, "first"),
            "whole_ms_p50": median(rows, "whole"),
            "whole_ms_p95": round(sorted(row["whole"] for row in rows)[int(0.95 * (len(rows) - 1))], 1),
            "stages_ms_p50": {
                stage: round(statistics.median(row["stages"].get(stage, 0.0) for row in rows), 1) for stage in stages
            },
        }
    return result


def median(rows: list[dict[str, Any]], key: str) -> float:
    return round(statistics.median(row[key] for row in rows), 1)


def rss(pid: int) -> dict[str, float]:
    """Resident and peak memory of the service and of the language model's process, in MB."""
    tasks = Path(f"/proc/{pid}/task").iterdir()  # a child belongs to the thread that started it
    children = [child for task in tasks for child in (task / "children").read_text(encoding="ascii").split()]
    result = {}
    for name, number in (("service", str(pid)), *(("language_model", child) for child in children)):
        status = Path(f"/proc/{number}/status").read_text(encoding="ascii")
        for field, key in (("VmRSS", "now"), ("VmHWM", "peak")):
            found = re.search(rf"{field}:\s+(\d+)", status)
            result[f"{name}_{key}"] = round(int(found[1]) / 1024) if found else 0
    return result


if __name__ == "__main__":
    main()
