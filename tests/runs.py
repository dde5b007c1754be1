"""Runs of a made-up suite, for what compares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from domicile_eval.results import Result, Run

FLOORED = {
    "ndcg@10": 1.0,
    "correct": 1.0,
    "quote_validity": 1.0,
    "no_leak": 1.0,
    "route": 1.0,
    "unharmed": 1.0,
    "false_answer": 0.0,
    "cost": 0.01,
}
FOLDERS = ("hr", "it", "legal")


def run_of(questions: int = 60, values: Mapping[str, float] = FLOORED) -> Run:
    """A run in which every question has these values; of each third of them the documents lie in a folder of its own,
    and every second one is of kind ``table``."""
    return Run(
        suite="made-up",
        suite_hash="h",
        collection="c",
        generation=3,
        fingerprint={"index": "1", "embedder": "e"},
        settings={"model": "m"},
        made="2026-11-23T12:00:00+00:00",
        results=tuple(
            Result(
                id=f"q{n:02}",
                question=f"Question {n}?",
                kinds=("table",) if n % 2 else (),
                split="test",
                values=dict(values),
                ranking=tuple(f"doc-{n}-{rank}" for rank in range(10)),
                gold=(f"{FOLDERS[n * len(FOLDERS) // questions]}/doc-{n}.md",),
            )
            for n in range(questions)
        ),
    )


def changed(run: Run, **values: Callable[[int, float], float]) -> Run:
    """The run with other values: of the metric of each name (``at`` stands for ``@``) a function of number and value."""
    functions = {name.replace("at", "@"): function for name, function in values.items()}
    results = tuple(
        replace(
            result,
            values={
                name: functions[name](n, value) if name in functions else value for name, value in result.values.items()
            },
        )
        for n, result in enumerate(run.results)
    )
    return replace(run, results=results)


def elsewhere(run: Run) -> Run:
    """The same run, of another index."""
    return replace(run, fingerprint={**run.fingerprint, "index": "2"})


def with_result(run: Run, at: int, result: Result) -> Run:
    return replace(run, results=(*run.results[:at], result, *run.results[at + 1 :]))
