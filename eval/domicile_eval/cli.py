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
from domicile_eval.tune import EXAMPLES, SUMMARY, tune


def main(argv: Sequence[str]) -> int:
    flags = parser("domicile eval", "Measure retrieval through the production search, and fit it to a collection.")
    actions = flags.add_subparsers(required=True, metavar="run|tune")
    made = subparser(
        actions,
        "run",
        _run,
        "score a collection on a suite of judged questions",
        "  domicile eval run --suite ./scifact --collection scifact --json\n"
        "  domicile eval run --suite ./scifact --collection scifact --mode lexical",
    )
    _suite_flags(made)
    made.add_argument("--mode", choices=("hybrid", "dense", "lexical"), default="hybrid")
    made = subparser(actions, "tune", tune, SUMMARY, EXAMPLES)
    _suite_flags(made)
    made.add_argument(
        "--unanswerable",
        type=Path,
        metavar="FILE",
        help="queries.jsonl of questions that the collection does not answer; without it only the fusion is fitted",
    )
    made.add_argument("--folds", type=int, default=5, metavar="N", help="parts of the cross-validation (default: 5)")
    writing = made.add_mutually_exclusive_group()
    writing.add_argument("--dry-run", action="store_true", help="fit and report, write nothing")
    writing.add_argument("--force", action="store_true", help="write what is fitted even if its gain is not certain")
    return run(flags.parse_args(argv))


def _suite_flags(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--suite", required=True, type=Path, metavar="PATH", help="a folder in BEIR's layout: corpus, queries, qrels"
    )
    made.add_argument("--collection", required=True, metavar="C")
    made.add_argument("--split", metavar="NAME", help="the qrels to use (default: test, else the only one)")


def _run(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    suite = read_beir(parsed.suite, parsed.split)
    retriever = home.retriever(home.indexes(), home.embedder())
    with console.progress(f"asking {suite.name}", len(suite.cases)) as advance:
        generation, rankings, notes = rank_documents(retriever, parsed.collection, suite.cases, parsed.mode, advance)
    figures = score(suite.cases, rankings)
    for note, count in notes.items():
        console.note(f"warning: {note}: {count:,} of {len(suite.cases):,} questions")
    console.result(
        {
            "suite": suite.name,
            "n": len(suite.cases),
            "generation": generation,
            "mode": parsed.mode,
            "metrics": {name: asdict(figure) for name, figure in figures.items()},
            "notes": notes,
        }
    )
    console.say(f"{suite.name}: {len(suite.cases):,} questions, generation {generation}, {parsed.mode}")
    for name, figure in figures.items():
        console.say(f"  {name:<8} {figure.value:.4f}   95 % [{figure.low:.4f}, {figure.high:.4f}]")
    return 0
