"""``domicile ingest``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from domicile.bootstrap import Home
from domicile.console import Console, parser, prepare_home, run, subparser
from domicile_ingest.labelling import Labeller
from domicile_ingest.pipeline import Options, Pipeline, Report
from domicile_ingest.sources import open_source

EXIT_SOME_FAILED = 3


def main(argv: Sequence[str]) -> int:
    flags = parser("domicile ingest", "Bring documents into a collection.")
    actions = flags.add_subparsers(required=True, metavar="run")
    made = subparser(
        actions,
        "run",
        _run,
        "make the collection what SOURCE holds now, as one new generation",
        "  domicile ingest run ./handbook --collection handbook\n"
        "  domicile ingest run corpus.jsonl.gz --collection tickets --no-delete --json",
    )
    made.add_argument(
        "source", type=Path, metavar="SOURCE", help="a folder, a file, or a .jsonl[.gz] of rows with _id, title, text"
    )
    made.add_argument("--collection", required=True, metavar="C")
    made.add_argument("--no-delete", action="store_true", help="keep documents that SOURCE does not hold any more")
    made.add_argument("--allow-empty", action="store_true", help="let an empty SOURCE delete every document")
    return run(flags.parse_args(argv))


def _run(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    collection = home.collection(parsed.collection)
    source = open_source(parsed.source, home.settings.ingestion.max_file_bytes)
    own, rules = home.label_sources(collection.name)
    prepare_home(console.home)
    labeller = Labeller(collection, home.regions, own, rules, source.sidecars)
    pipeline = Pipeline(home.index_writer(), home.embedder(), home.splitter(), collection, labeller)
    with console.progress(f"ingesting {parsed.source.name}", len(source)) as advance:
        report = pipeline.run(source, Options(parsed.no_delete, parsed.allow_empty), advance)
    console.result(report.to_json())
    _show(report, console)
    return EXIT_SOME_FAILED if report.failures else 0


def _show(report: Report, console: Console) -> None:
    for warning in report.warnings:
        console.note(f"warning: {warning}")
    for failure in report.failures:
        console.note(f"failed: {failure.document}: {failure.kind}: {failure.reason}")
    counts = ", ".join(f"{number:,} {what}" for what, number in report.counts.items())
    console.say(
        f"{report.collection}: generation {report.commit.generation}, {report.commit.chunks:,} chunks, "
        f"{report.embedded:,} embedded in {report.seconds:.1f} s ({counts})"
    )
