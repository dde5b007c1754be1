"""``domicile eval``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from domicile.bootstrap import Home
from domicile.console import Console, parser, run, subparser
from domicile.domain import OWNER, FusionWeights
from domicile.fusion import weights_for
from domicile_eval.metrics import score
from domicile_eval.runner import rank_documents
from domicile_eval.suites import read_beir
from domicile_eval.tune import GRID, MEASURE, FusionFit, fit_fusion, rank_with_each


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
    made = subparser(
        actions,
        "tune",
        _tune,
        "fit to judged questions how much meaning and words count in a collection's hybrid search\n\n"
        "The fit is measured by cross-validation: each question is ranked with a weight that was fitted to others, none of\n"
        "which shares a relevant document with its fold. Where these gain over what serves now with 95 % confidence, the\n"
        "weight fitted to all questions is written as a new generation over the same segments, and later ingestion keeps\n"
        "it; otherwise nothing changes. `domicile generations rollback` takes it back.",
        "  domicile eval tune --suite ./scifact --collection scifact --dry-run\n"
        "  domicile eval tune --suite ./scifact --collection scifact --folds 10 --json",
    )
    _suite_flags(made)
    made.add_argument("--folds", type=int, default=5, metavar="N", help="parts of the cross-validation (default: 5)")
    writing = made.add_mutually_exclusive_group()
    writing.add_argument("--dry-run", action="store_true", help="fit and report, write nothing")
    writing.add_argument("--force", action="store_true", help="write the fitted weight even if its gain is not certain")
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


def _tune(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    suite = read_beir(parsed.suite, parsed.split)
    embedder = home.embedder()
    retriever = home.retriever(home.indexes(), embedder)
    index = retriever.pin(parsed.collection, OWNER)
    serving = weights_for(index.tuning, embedder.name)
    with console.progress(f"asking {suite.name}", len(suite.cases)) as advance:
        rankings = rank_with_each(retriever, index, suite.cases, [serving, *GRID], advance)
    fit = fit_fusion(suite.cases, rankings, serving, parsed.folds)
    generation = index.generation
    if (fit.certain or parsed.force) and not parsed.dry_run:
        with home.index_writer().change(home.collection(parsed.collection), None) as change:
            change.tune(replace(index.tuning, fusion=fit.fitted))
            generation = change.commit().generation
    console.result(
        {
            "collection": parsed.collection,
            "suite": suite.name,
            "n": len(suite.cases),
            "folds": parsed.folds,
            "previous": index.generation,
            "generation": generation,
            "fusion": _fusion_record(fit),
        }
    )
    console.say(f"{suite.name}: {len(suite.cases):,} questions, {parsed.folds} folds, generation {index.generation}")
    console.say(f"  now     {_named(fit.serving):<22} {MEASURE} {fit.before:.4f}")
    console.say(f"  fitted  {_named(fit.fitted):<22} {MEASURE} {fit.held_out:.4f} on questions it was not fitted to")
    console.say(f"  gain    {fit.gain.value:+.4f}   95 % [{fit.gain.low:+.4f}, {fit.gain.high:+.4f}]")
    console.say(_outcome(fit, index.generation, generation, parsed.dry_run))
    return 0


def _fusion_record(fit: FusionFit) -> dict[str, object]:
    return {
        "serving": fit.serving.dense if fit.serving is not None else None,
        "fitted": fit.fitted.dense,
        MEASURE.lower(): {"serving": round(fit.before, 6), "cross_validated": round(fit.held_out, 6)},
        "gain": asdict(fit.gain),
        "certain": fit.certain,
    }


def _named(weights: FusionWeights | None) -> str:
    return "reciprocal ranks" if weights is None else f"weight of dense {weights.dense:.2f}"


def _outcome(fit: FusionFit, previous: int, generation: int, dry: bool) -> str:
    if generation != previous:
        return f"generation {generation} uses the fitted weight"
    if fit.fitted == fit.serving:
        return "nothing written: it is the weight that serves already"
    if dry and fit.certain:
        return "nothing written: a dry run"
    return "nothing written: the gain is not certain"
