"""``domicile ingest``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from domicile.bootstrap import Home
from domicile.console import Console, parser, run, subparser
from domicile.errors import UsageError
from domicile_ingest import job_commands
from domicile_ingest.gates import Asked, Gates, OpenGate
from domicile_ingest.ingestion import Ingestion, Options, Plan, Progress, Refused, Report, Watch
from domicile_ingest.plan import PlannedFailure
from domicile_ingest.sources import Failure

EXIT_SOME_FAILED = 3
_SHOWN = 20


def main(argv: Sequence[str], open_gate: OpenGate | None = None) -> int:
    """Run ``domicile ingest``; ``open_gate`` stands in for the gate that is installed."""
    flags = parser("domicile ingest", "Bring documents into a collection.")
    actions = flags.add_subparsers(required=True, metavar="COMMAND")
    made = subparser(
        actions,
        "run",
        partial(_run, open_gate),
        "make the collection what SOURCE holds now, as one new generation",
        "  domicile ingest run ./handbook --collection handbook\n"
        "  domicile ingest run corpus.jsonl.gz --collection tickets --no-delete --json\n"
        "  domicile ingest run ./handbook --collection handbook --gate handbook\n"
        "  domicile ingest run --plan plan.json",
    )
    _source_flags(made, required=False)
    made.add_argument("--plan", type=Path, metavar="FILE", help="do exactly what this plan says, and nothing else")
    _gate_flags(made)
    made = subparser(
        actions,
        "plan",
        _plan,
        "show what `run` would do now, document by document; changes nothing",
        "  domicile ingest plan ./handbook --collection handbook\n"
        "  domicile ingest plan ./handbook --collection handbook --json > plan.json",
    )
    _source_flags(made, required=True)
    made.add_argument("--out", type=Path, metavar="FILE", help="save the plan for `run --plan FILE`")
    made = subparser(
        actions,
        "reindex",
        partial(_reindex, open_gate),
        "cut and embed every stored document anew, for another embedder or engine; the old generation serves meanwhile",
        "  domicile ingest reindex --collection handbook\n"
        "  domicile ingest reindex --collection handbook --gate handbook",
    )
    made.add_argument("--collection", required=True, metavar="C")
    _gate_flags(made)
    made = subparser(
        actions,
        "erase",
        _erase,
        "remove documents for ever: from every generation, cache and queue; no rollback brings them back, and no gate is asked",
        "  domicile ingest erase hr/complaint-17.md --collection handbook",
    )
    made.add_argument("documents", nargs="+", metavar="DOC", help="the URI of a document, with all that lies in it")
    made.add_argument("--collection", required=True, metavar="C")
    job_commands.add_to(actions)
    return run(flags.parse_args(argv))


def _source_flags(made: argparse.ArgumentParser, *, required: bool) -> None:
    made.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        nargs=None if required else "?",
        help="a folder, a file, or a .jsonl[.gz] of rows with _id, title, text",
    )
    made.add_argument("--collection", required=required, metavar="C")
    made.add_argument("--no-delete", action="store_true", help="keep documents that SOURCE does not hold any more")
    made.add_argument("--allow-empty", action="store_true", help="let an empty SOURCE delete every document")
    made.add_argument("--unerase", action="store_true", help="take back documents that were erased")


def _gate_flags(made: argparse.ArgumentParser) -> None:
    which = made.add_mutually_exclusive_group()
    which.add_argument(
        "--gate",
        metavar="SUITE",
        help="ask this suite of the new generation before it serves; exit 5 where it is worse than the baseline, "
        "and the old one serves on (default: the collection's gate in domicile.toml, if it has one)",
    )
    which.add_argument("--no-gate", action="store_true", help="ask nobody, although the collection has a gate")
    made.add_argument(
        "--suites",
        type=Path,
        metavar="DIR",
        help="with a gate: the suites and their baselines (default: the checkout's eval/)",
    )
    made.add_argument("--full", action="store_true", help="with a gate: generate every answer, not a fixed 40")


def _run(open_gate: OpenGate | None, parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    plan = None if parsed.plan is None else _fitting_plan(parsed)
    if plan is None and (parsed.source is None or parsed.collection is None):
        raise UsageError("domicile ingest run: SOURCE and --collection are needed, or --plan FILE")
    gates = _gates(open_gate, home, parsed.collection if plan is None else plan.collection, parsed)
    what = parsed.source.name if plan is None else plan.source
    try:
        with Ingestion(home, gates) as ingestion, watching(console, what) as watch:
            if plan is None:
                report = ingestion.run(parsed.source, parsed.collection, _options(parsed), watch)
            else:
                report = ingestion.apply(plan, watch)
    except Refused as refused:
        return _refused(refused, console)
    if report.commit.gate is None and (suite := gates.suite(report.collection)) is not None:
        console.note(f"nothing changed: {suite} was not asked")
    return _finish(report, console)


def _gates(open_gate: OpenGate | None, home: Home, collection: str, parsed: argparse.Namespace) -> Gates:
    gates = Gates(home, Asked(parsed.gate, parsed.no_gate, parsed.suites, parsed.full), open_gate)
    if gates.suite(collection) is None and (parsed.suites is not None or parsed.full):
        raise UsageError("--suites and --full belong to a gate, and none is to be asked: give --gate SUITE")
    return gates


def _fitting_plan(parsed: argparse.Namespace) -> Plan:
    """The plan, where the other arguments do not speak against it."""
    plan = Plan.read(parsed.plan)
    if parsed.collection not in (None, plan.collection):
        raise UsageError(f"--collection {parsed.collection}: the plan is for {plan.collection}")
    if parsed.source is not None and str(parsed.source.absolute()) != plan.source:
        raise UsageError(f"SOURCE {parsed.source}: the plan is for {plan.source}")
    if parsed.no_delete or parsed.allow_empty or parsed.unerase:
        raise UsageError("--plan: takes no --no-delete, --allow-empty or --unerase: they belong to `ingest plan`")
    return plan


def _options(parsed: argparse.Namespace) -> Options:
    return Options(parsed.no_delete, parsed.allow_empty, parsed.unerase)


def _plan(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    with Ingestion(home) as ingestion, watching(console, parsed.source.name) as watch:
        plan = ingestion.plan(parsed.source, parsed.collection, _options(parsed), watch)
    if parsed.out is not None:
        parsed.out.write_text(plan.model_dump_json(indent=1), encoding="utf-8")
    console.result(json.loads(plan.model_dump_json()))
    for warning in plan.warnings:
        console.note(f"warning: {warning}")
    _note_failures(plan.failures, console)
    for change in plan.changes[:_SHOWN]:
        console.say(f"  {change.action:<7}{change.document}")
    if len(plan.changes) > _SHOWN:
        console.say(f"  and {len(plan.changes) - _SHOWN:,} more (--json or --out shows all)")
    counts = ", ".join(f"{number:,} {what}" for what, number in plan.documents.items())
    console.say(
        f"{plan.collection}: {counts}; {plan.chunks:,} passages to write, {plan.embed:,} of them to embed. Nothing was changed."
    )
    return EXIT_SOME_FAILED if plan.failures else 0


def _reindex(open_gate: OpenGate | None, parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    gates = _gates(open_gate, home, parsed.collection, parsed)
    try:
        with Ingestion(home, gates) as ingestion, watching(console, parsed.collection) as watch:
            report = ingestion.reindex(parsed.collection, watch)
    except Refused as refused:
        return _refused(refused, console)
    return _finish(report, console)


def _erase(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    with Ingestion(home) as ingestion, watching(console, parsed.collection) as watch:
        report = ingestion.erase(parsed.collection, parsed.documents, watch)
    return _finish(report, console)


def _refused(refused: Refused, console: Console) -> int:
    console.result(refused.to_json())
    _note_failures(refused.failures, console)
    console.note(f"domicile: {refused}")
    serving = f"generation {refused.serving} serves on" if refused.serving else "nothing serves yet"
    if refused.narrowed:
        serving = f"generation {refused.serving} has the old texts, with the labels that became narrower"
    console.note(f"nothing was published: {serving}")
    return refused.exit_code


def _finish(report: Report, console: Console) -> int:
    console.result(report.to_json())
    for warning in report.warnings:
        console.note(f"warning: {warning}")
    _note_failures(report.failures, console)
    counts = ", ".join(f"{number:,} {what}" for what, number in report.counts.items())
    console.say(
        f"{report.collection}: generation {report.commit.generation}, {report.commit.chunks:,} chunks, "
        f"{report.embedded:,} embedded and {report.reused:,} known, in {report.seconds:.1f} s ({counts})"
    )
    if (gate := report.commit.gate) is not None:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in gate.figures.items())
        console.say(f"generation {report.commit.generation} passed {gate.suite} ({gate.lane}): {figures}")
    return EXIT_SOME_FAILED if report.failures else 0


def _note_failures(failures: Sequence[Failure | PlannedFailure], console: Console) -> None:
    for failure in failures:
        console.note(f"failed: {failure.document}: {failure.kind}: {failure.reason}")


@contextmanager
def watching(console: Console, what: str) -> Iterator[Watch]:
    """Show a run on the console: a bar for each stage, with rate and ETA."""
    stage: str | None = None
    with console.bars() as show:

        def watch(progress: Progress) -> None:
            nonlocal stage
            stage = progress.stage
            show(f"{stage} {what}", _line(progress), progress.documents, progress.documents_total, progress.eta_seconds)

        yield watch


def _line(progress: Progress) -> str:
    """What a bar says beside its numbers."""
    parts = []
    if progress.bytes_total:
        parts.append(f"{progress.bytes / 1e6:,.1f} of {progress.bytes_total / 1e6:,.1f} MB")
    if progress.embedded or progress.reused:
        parts.append(f"{progress.embedded:,} embedded, {progress.reused:,} known")
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    return ", ".join(parts)
