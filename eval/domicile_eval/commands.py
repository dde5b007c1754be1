"""What the commands of ``domicile eval`` do, but those that have a file of their own."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from domicile.bootstrap import Home
from domicile.console import Console
from domicile.domain import OWNER
from domicile.errors import GateFailed, StorageError, UsageError
from domicile.ports import Index
from domicile_eval.baselines import Baseline, acceptance, accepted, read_baseline, write_baseline
from domicile_eval.comparison import Change, compare
from domicile_eval.gate import Verdict, broken, check_comparable
from domicile_eval.gating import decide, open_with_baseline
from domicile_eval.hand_written import parse_json
from domicile_eval.judges import open_judge
from domicile_eval.measuring import Measured, Options, measure, refuse_strangers, summary
from domicile_eval.metrics import figures_of
from domicile_eval.reports import planned, write
from domicile_eval.results import Run, read_run
from domicile_eval.suites import Suite, open_suite

_LONGEST_NUMBER = 18


def run_suite(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    suite = open_suite(parsed.suite, parsed.suites, parsed.split)
    _check_reports(parsed)
    if parsed.repeats < 1:
        raise UsageError("--repeats: at least 1")
    asked = {"--judge": parsed.judge is not None, "--closed-book": parsed.closed_book}
    if not (suite.answers and parsed.mode == "hybrid") and (flags := [flag for flag, given in asked.items() if given]):
        raise UsageError(f"{flags[0]}: this suite, or this --mode, is searched and not answered")
    index = served(home, suite, parsed.collection)
    refuse_strangers(suite, index)
    with nullcontext() if parsed.judge is None else open_judge(home, parsed.judge) as judge:
        options = Options(parsed.full, parsed.mode, judge, parsed.repeats, parsed.closed_book)
        measured = measure(home, suite, index, console, options)
    run = measured.run
    unwritten = _report(parsed, console, suite, run)
    console.result({**_told(run), "mode": parsed.mode, **_judged(measured), **_by_heart(measured)})
    _say(run, console)
    _say_judged(measured, console)
    _say_by_heart(measured, console)
    return unwritten


def gate(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    suite, baseline = open_with_baseline(parsed.suite, parsed.suites)
    check_comparable(baseline, suite.hash, suite.collection_or(parsed.collection))
    _check_reports(parsed)
    run = measure(home, suite, served(home, suite, parsed.collection), console, Options(parsed.full)).run
    verdict = decide(suite, baseline, run)
    unwritten = _report(parsed, console, suite, run, baseline, verdict)
    console.result({**_told(run), "gate": verdict.to_json()})
    _say(run, console)
    _say_verdict(verdict, console)
    return unwritten if verdict.passed else GateFailed.exit_code


def baseline(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    suite = open_suite(parsed.suite, parsed.suites)
    if not parsed.accept:
        shown = read_baseline(suite.baseline, suite.name)
        stale = shown.suite_hash != suite.hash
        console.result(
            {"suite": suite.name, "made": shown.made, "reason": shown.reason, "stale": stale, "figures": shown.figures}
        )
        console.say(f"{suite.name}: accepted from the run of {shown.made}: {shown.reason}")
        _say_figures({name: f"{value:.4f}" for name, value in shown.figures.items()}, console)
        if stale:
            console.note(f"warning: the suite changed since: {acceptance(suite.name)}")
        return 0
    if not parsed.reason:
        raise UsageError('--accept needs --reason "why these figures are right from now on"')
    index = served(home, suite, parsed.collection)
    refuse_strangers(suite, index)
    run = measure(home, suite, index, console, Options(parsed.full)).run
    made = accepted(run, parsed.reason)
    for line in broken(suite.floors, made.figures):
        console.note(f"warning: the gate will not pass with this baseline: {line}")
    write_baseline(suite.baseline, made)
    console.result({**_told(run), "baseline": str(suite.baseline)})
    _say(run, console)
    console.say(f"the baseline is {suite.baseline}")
    return 0


def compare_runs(parsed: argparse.Namespace, console: Console) -> int:
    if parsed.collection is not None:
        return _compare_generations(parsed, console)
    before, after = (_read(Path(name)) for name in (parsed.before, parsed.after))
    found = compare(before, after)
    for target in parsed.report:
        write(after, before, None, target)
    console.result(asdict(found))
    for note in found.notes:
        console.note(note)
    _say_changes(found.changes, console)
    for one in found.moved:
        console.say(f"  {one.id}: {_values(one.before)} -> {_values(one.after)}  {one.question}")
    return 0


def _compare_generations(parsed: argparse.Namespace, console: Console) -> int:
    """What the gates of two generations found; each is in its manifest."""
    home = Home.open(console.home, console.environment)
    generations = home.generations(parsed.collection)
    rows = []
    for text in (parsed.before, parsed.after):
        if not (text.isdecimal() and len(text) <= _LONGEST_NUMBER):
            raise UsageError(f"{text!r} is not a generation of {parsed.collection!r}: give its number")
        report = generations.manifest(int(text)).gate
        if report is None:
            raise UsageError(f"generation {text} was not gated: `domicile ingest run … --gate SUITE` gates one")
        rows.append(report)
    before, after = rows
    names = [name for name in before.figures if name in after.figures]
    moved = {name: {"before": before.figures[name], "after": after.figures[name]} for name in names}
    console.result(
        {
            "collection": parsed.collection,
            "generations": [int(parsed.before), int(parsed.after)],
            "suites": [before.suite, after.suite],
            "same_questions": before.suite_hash == after.suite_hash,
            "figures": moved,
        }
    )
    if before.suite_hash != after.suite_hash:
        console.note("warning: they were asked different questions")
    for name, pair in moved.items():
        step = pair["after"] - pair["before"]
        console.say(f"  {name:<28} {pair['before']:.4f} -> {pair['after']:.4f}   {step:+.4f}")
    return 0


def served(home: Home, suite: Suite, collection: str | None) -> Index:
    """The generation that serves."""
    return home.indexes().pin(suite.collection_or(collection), OWNER)


def _read(path: Path) -> Run:
    try:
        return read_run(parse_json(path.read_text(encoding="utf-8")), str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path}: is not JSON: {error}") from None


def _check_reports(parsed: argparse.Namespace) -> None:
    """Before minutes of work: whether the reports can be written."""
    for target in parsed.report:
        planned(target)


def _report(
    parsed: argparse.Namespace,
    console: Console,
    suite: Suite,
    run: Run,
    before: Baseline | None = None,
    verdict: Verdict | None = None,
) -> int:
    """Write the reports; where the disk refuses one, what was found is told all the same, and this is the exit code."""
    code = 0
    for target in parsed.report:
        try:
            write(run, before, verdict, target, primary=suite.primary, floors=suite.floors)
        except StorageError as error:
            console.note(f"domicile: {error}")
            code = error.exit_code
    return code


def _told(run: Run) -> dict[str, Any]:
    failures = {one.id: one.failure for one in run.results if one.failure is not None}
    return {
        "suite": run.suite,
        "n": len(run.results),
        "generation": run.generation,
        "metrics": {name: asdict(figure) for name, figure in figures_of(run.results).items()},
        "collection": run.collection,
        "suite_hash": run.suite_hash,
        "fingerprint": dict(run.fingerprint),
        "settings": dict(run.settings),
        "seconds": run.seconds,
        "failures": failures,
        "notes": dict(run.notes),
        **summary(run),
    }


def _judged(measured: Measured) -> dict[str, Any]:
    return {} if measured.judged is None else {"judge": measured.judged.to_json()}


def _by_heart(measured: Measured) -> dict[str, Any]:
    closed = measured.closed_book
    return {} if closed is None else {"closed_book": closed.to_json(measured.run.results)}


def _say(run: Run, console: Console) -> None:
    for one in run.results:
        if one.failure is not None:
            console.note(f"failed: {one.id}: {one.failure}")
    for note, count in run.notes.items():
        console.note(f"warning: {note}: {count:,} of {len(run.results):,} questions")
    console.say(
        f"{run.suite}: {len(run.results):,} questions to {run.collection}, generation {run.generation}, "
        f"in {run.seconds:.0f} s"
    )
    _say_figures(
        {
            name: f"{figure.value:.4f}   95 % [{figure.low:.4f}, {figure.high:.4f}]   n = {counted:,}"
            for name, figure in figures_of(run.results).items()
            if (counted := len(run.values(name)))
        },
        console,
    )


def _say_judged(measured: Measured, console: Console) -> None:
    if measured.judged is None:
        return
    console.say(f"judged by {measured.judged.judge} ({measured.judged.version}), {measured.judged.repeats} times each")
    for name, found in measured.judged.figures().items():
        noise = "" if found.sd is None else f"   noise {found.sd:.3f}"
        console.say(f"  {name:<28} {found.value:.4f}   95 % [{found.low:.4f}, {found.high:.4f}]   n = {found.n}{noise}")
        for reason, count in found.reasons.items():
            console.say(f"    failed {count} times: {reason}")


def _say_by_heart(measured: Measured, console: Console) -> None:
    if (closed := measured.closed_book) is None:
        return
    console.say(f"{closed.model} without documents -> with them, and what they add")
    answers = closed.answered(measured.run.results)
    for which, results in ((f"of {len(closed.rows)}", measured.run.results), (f"of {len(answers)} answered", answers)):
        for name, one in closed.gains(results).items():
            console.say(
                f"  {f'{name}, {which}':<28} {one.closed_book.value:.4f} -> {one.with_documents.value:.4f}   "
                f"{one.gain.value:+.4f} [{one.gain.low:+.4f}, {one.gain.high:+.4f}]"
            )
    for reason, count in closed.reasons().items():
        console.say(f"    failed {count} times: {reason}")


def _say_verdict(verdict: Verdict, console: Console) -> None:
    same = "rankings had to be the same" if verdict.lane == "identity" else "rankings may change"
    console.say(f"against the baseline ({same}):")
    _say_changes(verdict.changes, console)
    for note in verdict.notes:
        console.note(note)
    for finding in verdict.findings:
        console.say(f"FELL  {finding}")
    console.say("passed" if verdict.passed else "NOT PASSED: nothing is to be published")


def _say_changes(changes: Sequence[Change], console: Console) -> None:
    for change in changes:
        step = change.difference
        sees = "" if change.detectable is None else f"   sees {change.detectable:.3f}"
        console.say(
            f"  {change.metric:<28} {change.before:.4f} -> {change.after:.4f}   {step.value:+.4f} "
            f"[{step.low:+.4f}, {step.high:+.4f}]{sees}"
        )


def _say_figures(figures: Mapping[str, str], console: Console) -> None:
    for name, text in figures.items():
        console.say(f"  {name:<28} {text}")


def _values(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in values.items())
