"""``domicile eval``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from domicile.console import parser, run, subparser
from domicile_eval import commands
from domicile_eval.importing import import_command
from domicile_eval.judging import REPEATS
from domicile_eval.linting import lint_command
from domicile_eval.tune import EXAMPLES, SUMMARY, tune


def main(argv: Sequence[str]) -> int:
    flags = parser(
        "domicile eval",
        "Measure search and answers through the production use cases, and gate what serves.",
        "  domicile eval run --suite handbook --report report.html\n"
        "  domicile eval gate --suite handbook --json\n"
        "  domicile eval run --suite questions.jsonl --collection contracts",
    )
    actions = flags.add_subparsers(required=True, metavar="run|gate|baseline|compare|lint|import|tune")
    _run(actions)
    _gate(actions)
    _baseline(actions)
    _compare(actions)
    _lint(actions)
    _import(actions)
    _tune(actions)
    return run(flags.parse_args(argv))


def _run(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = subparser(
        actions,
        "run",
        commands.run_suite,
        "score a collection on a suite of judged questions",
        "  domicile eval run --suite handbook --split test --report report.html\n"
        "  domicile eval run --suite ./scifact --collection scifact --json\n"
        "  domicile eval run --suite questions.jsonl --collection contracts --judge local",
    )
    _suite_flags(made)
    _split_flag(made)
    _report_flags(made)
    made.add_argument(
        "--mode", choices=("hybrid", "dense", "lexical"), default="hybrid", help="dense, lexical: searches alone"
    )
    made.add_argument("--full", action="store_true", help="the language model writes every answer, not some of them")
    made.add_argument(
        "--judge", metavar="NAME", help="a sink of kind `judge`, or `local`: judges the answers that were written"
    )
    made.add_argument("--repeats", type=int, default=REPEATS, metavar="N", help="judgements of each (default: 3)")
    made.add_argument(
        "--closed-book",
        action="store_true",
        help="also ask the language model without any document: what these add to what it knows by heart",
    )


def _gate(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = subparser(
        actions,
        "gate",
        commands.gate,
        "compare what serves with the suite's baseline; exit 5 where it fell",
        "  domicile eval gate --suite handbook --json\n"
        "  domicile eval gate --suite handbook --report gate.html --report gate.xml",
    )
    _suite_flags(made)
    _report_flags(made)
    made.add_argument("--full", action="store_true", help="the language model writes every answer, not some of them")


def _baseline(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = subparser(
        actions,
        "baseline",
        commands.baseline,
        "show the figures that a suite is compared with; --accept takes those of what serves now",
        "  domicile eval baseline --suite handbook\n"
        '  domicile eval baseline --suite handbook --accept --reason "chunks of 200 words, see ADR 7"',
    )
    _suite_flags(made)
    made.add_argument("--accept", action="store_true", help="run the suite and make its figures the baseline")
    made.add_argument("--reason", metavar="WHY", help="kept in the baseline; --accept needs it")
    made.add_argument("--full", action="store_true", help="the language model writes every answer, not some of them")


def _compare(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = subparser(
        actions,
        "compare",
        commands.compare_runs,
        "put two runs, or the gates of two generations, side by side",
        "  domicile eval compare before.json after.json --report compared.html\n"
        "  domicile eval compare --collection handbook 3 4",
    )
    made.add_argument("before", help="a run as `eval run --report FILE.json` wrote it, or a generation")
    made.add_argument("after")
    made.add_argument("--collection", metavar="C", help="compare generations of this collection")
    _report_flags(made)


def _lint(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = subparser(
        actions,
        "lint",
        lint_command,
        "check the questions of a suite: spans that are there, splits that share no document, templates, wording",
        "  domicile eval lint --suite handbook\n"
        "  domicile eval lint --suite questions.jsonl --collection contracts --json",
    )
    _suite_flags(made)


def _import(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = subparser(
        actions,
        "import",
        import_command,
        "turn a table of questions, or collected feedback, into a suite",
        "  domicile eval import questions.csv --out questions.jsonl\n"
        "  domicile eval import feedback.jsonl --out eval/golden/feedback.jsonl",
    )
    made.add_argument("source", type=Path, help="CSV with a header line, or JSONL")
    made.add_argument("--out", type=Path, required=True, metavar="FILE", help="the JSONL to write; must not be there")


def _tune(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = subparser(actions, "tune", tune, SUMMARY, EXAMPLES)
    _suite_flags(made)
    _split_flag(made)
    made.add_argument(
        "--unanswerable",
        type=Path,
        metavar="FILE",
        help="queries.jsonl of questions that the collection does not answer; without it, and without such items in the "
        "suite, only the fusion is fitted",
    )
    made.add_argument("--folds", type=int, default=5, metavar="N", help="parts of the cross-validation (default: 5)")
    writing = made.add_mutually_exclusive_group()
    writing.add_argument("--dry-run", action="store_true", help="fit and report, write nothing")
    writing.add_argument("--force", action="store_true", help="write what is fitted even if its gain is not certain")


def _suite_flags(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--suite",
        required=True,
        metavar="NAME|PATH",
        help="a shipped suite, a folder in BEIR's layout (queries, qrels), or a JSONL of questions",
    )
    made.add_argument("--suites", type=Path, metavar="DIR", help="where golden/ and baselines/ lie (default: eval/)")
    made.add_argument("--collection", metavar="C", help="default: the one that the suite names")


def _split_flag(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--split",
        metavar="NAME",
        help="of the items; of a BEIR folder the qrels to use (default: test, else the only one)",
    )


def _report_flags(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--report",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="write a report; what its suffix says: .html, .md, .json, .xml (JUnit); may be given several times",
    )
