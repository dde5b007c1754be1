"""``domicile eval``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from domicile.bootstrap import Home
from domicile.console import Console, parser, run, subparser
from domicile_eval.metrics import score
from domicile_eval.runner import rank_documents
from domicile_eval.suites import read_beir


def main(argv: Sequence[str]) -> int:
    flags = parser("domicile eval", "Measure retrieval through the production search.")
    actions = flags.add_subparsers(required=True, metavar="run")
    made = subparser(
        actions,
        "run",
        _run,
        "score a collection on a suite of judged questions",
        "  domicile eval run --suite ./scifact --collection scifact --json\n"
        "  domicile eval run --suite ./scifact --collection scifact --mode lexical",
    )
    made.add_argument(
        "--suite", required=True, type=Path, metavar="PATH", help="a folder in BEIR's layout: corpus, queries, qrels"
    )
    made.add_argument("--collection", required=True, metavar="C")
    made.add_argument("--split", metavar="NAME", help="the qrels to use (default: test, else the only one)")
    made.add_argument("--mode", choices=("hybrid", "dense", "lexical"), default="hybrid")
    return run(flags.parse_args(argv))


def _run(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    suite = read_beir(parsed.suite, parsed.split)
    retriever = home.retriever(home.indexes(), home.embedder())
    with console.progress(f"asking {suite.name}", len(suite.cases)) as advance:
        generation, rankings = rank_documents(retriever, parsed.collection, suite.cases, parsed.mode, advance)
    figures = score(suite.cases, rankings)
    console.result(
        {
            "suite": suite.name,
            "n": len(suite.cases),
            "generation": generation,
            "mode": parsed.mode,
            "metrics": {name: asdict(figure) for name, figure in figures.items()},
        }
    )
    console.say(f"{suite.name}: {len(suite.cases):,} questions, generation {generation}, {parsed.mode}")
    for name, figure in figures.items():
        console.say(f"  {name:<8} {figure.value:.4f}   95 % [{figure.low:.4f}, {figure.high:.4f}]")
    return 0
