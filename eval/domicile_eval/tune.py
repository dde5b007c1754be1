"""``domicile eval tune``: what can be fitted to a collection, written as a generation where it is worth it."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from domicile.bootstrap import Home
from domicile.console import Console
from domicile.domain import OWNER, FusionWeights
from domicile.errors import UsageError
from domicile.evidence import EvidenceSelector
from domicile.fusion import weights_for
from domicile_eval.beir import read_queries
from domicile_eval.evidence_fit import MAX_QUESTIONS, MIN_QUESTIONS, EvidenceFit, fit_evidence, read_evidence
from domicile_eval.fusion_fit import GRID, MEASURE, FusionFit, fit_fusion, rank_with_each
from domicile_eval.items import Item
from domicile_eval.suites import Suite, open_suite

SUMMARY = "fit a collection's hybrid search, and its sense of what it can answer, to judged questions"
EXAMPLES = """\
  domicile eval tune --suite handbook --split tune --dry-run
  domicile eval tune --suite ./scifact --collection scifact --dry-run
  domicile eval tune --suite ./scifact --collection scifact --unanswerable ./medquad/queries.jsonl.gz --json

Each fit is measured by cross-validation, on questions that it has not seen. Where that is better than what serves now, with
95 % confidence, the fit to all questions becomes a new generation over the same segments, and later ingestion keeps it.
`domicile generations rollback` takes it back."""

_LOOKED_FOR = 50
"""Questions whose documents are looked for in the collection."""


def tune(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    suite = open_suite(parsed.suite, parsed.suites, parsed.split)
    judged, unanswerable = _questions(suite, parsed.unanswerable)
    collection = suite.collection_or(parsed.collection)
    embedder = home.embedder()
    retriever = home.retriever(home.indexes(), embedder)
    index = retriever.pin(collection, OWNER)
    if not any(index.document(uri, None) for case in judged[:_LOOKED_FOR] for uri in case.relevant):
        raise UsageError(f"{parsed.suite}: its documents are not in collection {collection!r}: name their collection")
    serving = weights_for(index.tuning, embedder.name)
    with console.progress(f"asking {suite.name}", len(judged)) as advance:
        rankings = rank_with_each(retriever, index, judged, [serving, *GRID], advance)
    fusion, evidence = fit_fusion(judged, rankings, serving, parsed.folds), None
    if unanswerable:
        selector = EvidenceSelector(embedder, home.splitter())
        count = min(len(judged), MAX_QUESTIONS) + min(len(unanswerable), MAX_QUESTIONS)
        with console.progress("reading evidence", count) as advance:
            read = read_evidence(retriever, selector, index, judged, unanswerable, advance)
        evidence = fit_evidence(read, index.tuning.evidence, parsed.folds)
    tuning = index.tuning
    if fusion.certain or parsed.force:
        tuning = replace(tuning, fusion=fusion.fitted)
    if evidence is not None and (evidence.certain or parsed.force):
        tuning = replace(tuning, evidence=evidence.fitted)
    generation = index.generation
    if tuning != index.tuning and not parsed.dry_run:
        with home.index_writer().change(home.collection(collection), None) as change:
            if change.current is None or change.current.generation != index.generation:
                raise UsageError(f"collection {collection!r} changed meanwhile: run again")
            change.tune(tuning)
            generation = change.commit().generation
    console.result(
        {
            "collection": collection,
            "suite": suite.name,
            "n": len(judged),
            "folds": parsed.folds,
            "previous": index.generation,
            "generation": generation,
            "fusion": _fusion_record(fusion),
            "evidence": _evidence_record(evidence) if evidence is not None else None,
        }
    )
    console.say(f"{suite.name}: {len(judged):,} questions, {parsed.folds} folds, generation {index.generation}")
    _say_fusion(fusion, console)
    if evidence is not None:
        _say_evidence(evidence, console)
    if generation != index.generation:
        console.say(f"generation {generation} uses what is fitted")
    else:
        why = "a dry run" if tuning != index.tuning else "no gain is certain"
        console.say(f"nothing written: {why}")
    return 0


def _questions(suite: Suite, unanswerable: Path | None) -> tuple[list[Item], list[str]]:
    """Those that the collection answers, and others where there are enough; a follow-up says too little alone."""
    alone = [item for item in suite.items if not item.history]
    others = [item.question for item in alone if "off_corpus" in item.kinds]
    if unanswerable is not None:
        others += [text for _, text in read_queries(unanswerable)]
    elif len(others) < MIN_QUESTIONS:
        others = []
    return [item for item in alone if item.gold], others


def _fusion_record(fit: FusionFit) -> dict[str, object]:
    return {
        "serving": fit.serving.dense if fit.serving is not None else None,
        "fitted": fit.fitted.dense,
        MEASURE.lower(): {"serving": round(fit.before, 6), "cross_validated": round(fit.held_out, 6)},
        "gain": asdict(fit.gain),
        "certain": fit.certain,
    }


def _evidence_record(fit: EvidenceFit) -> dict[str, object]:
    return {
        "answerable": fit.answered,
        "unanswerable": fit.unanswered,
        "fitted": fit.fitted.coefficients,
        "log_loss": {"serving": round(fit.before, 6), "cross_validated": round(fit.held_out, 6)},
        "gain": asdict(fit.gain),
        "certain": fit.certain,
        "curve": fit.fitted.curve,
    }


def _say_fusion(fit: FusionFit, console: Console) -> None:
    console.say(f"  fusion    {_named(fit.serving)}: {MEASURE} {fit.before:.4f}")
    console.say(f"            {_named(fit.fitted)}: {fit.held_out:.4f} on questions that it was not fitted to")
    console.say(f"            gain {fit.gain.value:+.4f}   95 % [{fit.gain.low:+.4f}, {fit.gain.high:+.4f}]")


def _say_evidence(fit: EvidenceFit, console: Console) -> None:
    console.say(
        f"  evidence  {fit.answered} answerable, {fit.unanswered} other questions: log loss {fit.before:.4f} now"
    )
    console.say(f"            {fit.held_out:.4f} on questions that it was not fitted to")
    console.say(f"            gain {fit.gain.value:+.4f}   95 % [{fit.gain.low:+.4f}, {fit.gain.high:+.4f}]")


def _named(weights: FusionWeights | None) -> str:
    return "reciprocal ranks" if weights is None else f"weight of meaning {weights.dense:.2f}"
