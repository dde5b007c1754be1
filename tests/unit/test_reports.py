from __future__ import annotations

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from judged_runs import plausible
from selectolax.lexbor import LexborHTMLParser

from domicile.errors import StorageError, UsageError
from domicile_eval.baselines import accepted
from domicile_eval.gate import Verdict, judge
from domicile_eval.metrics import AMOUNTS, figures_of
from domicile_eval.reports import FORMATS, NAMES, write
from domicile_eval.reports.abstention import curves, refusals
from domicile_eval.reports.checks import checks
from domicile_eval.reports.faults import counts, faults_of, faulty, worst
from domicile_eval.reports.figures import OTHER_FOLDERS, measured, row_of, rows_before, slices
from domicile_eval.reports.html import WORST, html
from domicile_eval.reports.junit import MAX_FAILED, junit
from domicile_eval.reports.markdown import MAX_LINES, markdown
from domicile_eval.reports.text import in_a_line, shown
from domicile_eval.results import Result, Run, read_run
from domicile_eval.suites import PRIMARY

FLOORS = {"r@5": 0.9, "no_leak": 0.9}
VOID = {"meta", "br"}
HOSTILE = (
    "</title></style></summary><script>alert(1)</script><img src=http://evil.test/x onerror=alert(1)>"
    "\"' onload=alert(1) ]]>--> | `code` [a](http://evil.test) @all {{ 7 * 7 }} {% raw %} \x00\x1b[31m \u202egnp.exe \ud800 &amp;"
)


GOOD = plausible(quality=0.93, generation=6)
BAD = plausible(quality=0.75, chunking="4")


@cache
def good_verdict() -> Verdict:
    return verdict(GOOD, GOOD)


@cache
def bad_verdict() -> Verdict:
    return verdict(GOOD, BAD)


def verdict(before: Run, run: Run) -> Verdict:
    return judge(accepted(before, "it was so"), run, FLOORS, resamples=3_000)


def item(values: Mapping[str, float], **fields: object) -> Result:
    return replace(Result("a-1", "Who?", (), None, values), **fields)


def run_of(*results: Result) -> Run:
    return Run("s", "00", "c", 1, {}, {}, results)


def hostile() -> Run:
    one = Result(
        id=HOSTILE,
        question=HOSTILE,
        kinds=(HOSTILE,),
        split=HOSTILE,
        values={"correct": 0.0, "decided": 1.0, "ndcg@10": 0.1, "r@10": 0.0, "seconds": 1.0, HOSTILE: 0.5},
        ranking=("c1",),
        documents=(HOSTILE, f"{HOSTILE}/x"),
        answer=HOSTILE,
        reference=HOSTILE,
        gold=(f"{HOSTILE}/x",),
        cited=(HOSTILE,),
        quotes=(HOSTILE,),
        route=HOSTILE,
        sink=HOSTILE,
        abstained=False,
        confidence=0.5,
    )
    results = (one, replace(one, id=f"{HOSTILE}2", failure=HOSTILE), item({"correct": 1.0, "ndcg@10": 1.0}))
    return Run(
        HOSTILE, HOSTILE, HOSTILE, 1, {HOSTILE: HOSTILE}, {HOSTILE: HOSTILE}, results, HOSTILE, 1.0, {HOSTILE: 1}
    )


class Strict(HTMLParser):
    """Refuses what a browser would have to repair, and notes what a browser would load or run."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len({name for name, _ in attrs}), (tag, attrs)
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> Strict:
    strict = Strict()
    strict.feed(page)
    strict.close()
    assert strict.open == []
    return strict


def page(run: Run, before: Run | None = None, judged: Verdict | None = None) -> str:
    return html(run, before, judged, PRIMARY, FLOORS)


def text_of(page: str) -> str:
    body = LexborHTMLParser(page).body
    assert body is not None
    return " ".join(body.text(separator=" ").split())


def xml(run: Run, judged: Verdict | None = None) -> ElementTree.Element:
    return ElementTree.fromstring(junit(run, judged, PRIMARY, FLOORS))


HOSTILE_RUN = hostile()
CASES = {
    "gated": (BAD, GOOD, bad_verdict()),
    "before": (BAD, GOOD, None),
    "alone": (GOOD, None, None),
    "hostile": (HOSTILE_RUN, HOSTILE_RUN, verdict(HOSTILE_RUN, HOSTILE_RUN)),
    "empty": (run_of(), None, None),
    "one item": (run_of(item({"correct": 1.0})), None, None),
    "strangers": (run_of(item({"correct": 1.0})), GOOD, None),
    "no value": (run_of(item({})), run_of(item({})), None),
    "not a number": (run_of(item({"ndcg@10": float("nan"), "seconds": float("inf"), "false_answer": float("nan")})), None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_page_is_well_formed_and_loads_and_runs_nothing(name: str) -> None:
    made = page(*CASES[name])
    for tag, attributes in parsed(made).seen:
        assert tag not in {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image", "use", "a"}, (
            tag
        )
        assert not attributes.keys() & {"src", "href", "srcset", "xlink:href", "action", "style"}
        assert not any(attribute.startswith("on") for attribute in attributes)
    style = made[made.index("<style>") : made.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    assert f'http-equiv="Content-Security-Policy" content="{policy}"' in made


@pytest.mark.parametrize("name", CASES)
def test_xml_parses_and_counts_its_cases(name: str) -> None:
    run, _, judged = CASES[name]
    root = xml(run, judged)
    for suite in root:
        assert int(suite.get("tests", "")) == len(suite) > 0
        assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure"))


@pytest.mark.parametrize("name", CASES)
def test_a_summary_is_short(name: str) -> None:
    run, before, judged = CASES[name]
    assert 3 <= len(markdown(run, rows_before(before), judged).splitlines()) <= MAX_LINES


def test_hostile_text_is_shown_as_text_and_nothing_is_lost_silently() -> None:
    made = page(*CASES["hostile"])
    parser = LexborHTMLParser(made)
    for place in ("h1", "summary bdi", "blockquote .text", "dd li bdi"):
        found = parser.css_first(place)
        assert found is not None, place
        assert (
            found.text(deep=True).removeprefix("Evaluation: ").startswith("</title></style></summary><script>alert(1)")
        ), place
    assert "{{ 7 * 7 }}" in text_of(made)
    assert not re.search("[\x00\x1b\u202e\ud800]", made)
    assert "\ufffd" in made


def test_hostile_text_in_a_summary_stands_in_code_spans() -> None:
    run, before, judged = CASES["hostile"]
    for line in markdown(run, rows_before(before), judged).splitlines():
        outside = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", line)
        assert not re.search(r"[<>{}]|\[a\]|@all|http", outside), line
        assert line.count("|") in (0, 6)


def test_every_drawing_tells_those_who_do_not_see_it() -> None:
    drawings = [attributes for tag, attributes in parsed(page(*CASES["gated"])).seen if tag == "svg"]
    assert len(drawings) == 7
    for attributes in drawings:
        assert attributes["role"] == "img"
        assert len(attributes["aria-label"] or "") > 20


def test_the_verdict_is_said_first_and_by_what_fell() -> None:
    run, before, judged = CASES["gated"]
    assert judged is not None
    shown_first = text_of(page(run, before, judged))[:1_000]
    assert "✗ Failed" in shown_first
    assert all(in_a_line(finding, 400) in shown_first for finding in judged.findings[:2])
    assert "1 of 350 questions failed" in text_of(page(run, before, judged))
    assert markdown(run, rows_before(before), judged).startswith("### Evaluation `handbook`: **failed**")


def test_a_passed_gate_and_none_are_told_apart() -> None:
    assert "✓ Passed" in text_of(page(GOOD, GOOD, good_verdict()))
    assert "Not gated" in text_of(page(GOOD))
    assert "**passed**" in markdown(GOOD, rows_before(GOOD), good_verdict())
    assert "not gated" in markdown(GOOD, {}, None)


def test_a_baseline_serves_as_what_was_before() -> None:
    before = accepted(GOOD, "it was so")
    assert "Ring: before" in html(BAD, before, bad_verdict(), PRIMARY, {})
    assert rows_before(before)["close_miss-001"].values["decided"] == row_of(GOOD.results[1]).values["decided"]


def test_figures_are_means_with_intervals_and_paired_changes() -> None:
    now = run_of(*(item({"correct": float(n > 1), "false_answer": float(n < 1)}, id=f"{n}") for n in range(10)))
    before = run_of(*(item({"correct": 1.0, "false_answer": 0.0}, id=f"{n}") for n in range(5)))
    found = {one.metric: one for one in measured(now, rows_before(before), None)}
    assert (found["correct"].now.value, found["correct"].n) == (0.8, 10)
    change = found["correct"].change
    assert change is not None
    assert (change.before, change.after, change.n) == (1.0, 0.6, 5)
    assert found["correct"].now.low < 0.8 < found["correct"].now.high


def test_a_report_and_the_command_line_show_the_same_intervals() -> None:
    shown = {one.metric: one.now for one in measured(BAD, {}, None)}
    told = figures_of([replace(result, values=row_of(result).values) for result in BAD.results])
    assert shown == told
    assert all(figure.low < figure.high for metric, figure in told.items() if metric not in AMOUNTS)


def test_items_about_one_document_count_together() -> None:
    alone, together = (
        measured(run_of(*(item({"correct": float(n % 8 < 6)}, id=f"{n}", gold=gold(n)) for n in range(80))), {}, None)[
            0
        ].now
        for gold in (lambda n: (f"{n}.md",), lambda n: (f"{n % 8}.md", f"{n}.md"))
    )
    assert alone.value == together.value == 0.75
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_items_that_agree_still_have_an_interval() -> None:
    (right,) = measured(run_of(*(item({"no_leak": 1.0}, id=f"{n}") for n in range(30))), {}, None)
    assert (right.now.value, right.now.high) == (1.0, 1.0)
    assert right.now.low == pytest.approx(0.8843, abs=1e-3)  # Clopper and Pearson's, of 30 in 30


def test_what_is_no_number_counts_as_wrong_and_is_named() -> None:
    nan = float("nan")
    run = run_of(
        item({"ndcg@10": nan, "false_answer": nan, "seconds": nan}), item({"ndcg@10": 1.0, "seconds": 2.0}, id="b")
    )
    found = {one.metric: one for one in measured(run, {}, None)}
    assert (found["ndcg@10"].now.value, found["ndcg@10"].unknown) == (0.5, 1)
    assert found["false_answer"].now.value == 1.0
    assert (found["seconds"].now.value, found["seconds"].n) == (2.0, 1)
    assert "1 no number" in text_of(page(run))


def test_slices_are_kinds_splits_and_a_bounded_number_of_folders() -> None:
    results = (
        item({"correct": 1.0}, id=f"{n}", kinds=("table",) if n % 2 else (), gold=(f"f{n % 40}/a.md",))
        for n in range(80)
    )
    found = slices(run_of(*results, item({"correct": 0.0}, id="x", gold=("mail.eml!/a/b.pdf",))), {}, "correct")
    assert [(one.group, one.measured.n) for one in found][:2] == [("all", 81), ("kind", 40)]
    folders = {one.name: one.measured.n for one in found if one.group == "folder"}
    assert len(folders) == 13
    assert folders[OTHER_FOLDERS] == 56
    assert sum(folders.values()) == 80


def test_the_curve_counts_what_each_threshold_would_do() -> None:
    def asked(id_: str, confidence: float | None, right: bool, kinds: tuple[str, ...] = ()) -> Result:
        metric = "false_answer" if kinds else "false_abstention"
        return item({metric: float(not right)}, id=id_, kinds=kinds, confidence=confidence)

    run = run_of(
        asked("a", 0.9, True), asked("b", 0.3, False),
        asked("c", 0.1, True, ("off_corpus",)), asked("d", 0.5, False, ("off_corpus",)),
        asked("e", 0.8, False, ("close_miss",)),
    )  # fmt: skip
    off, near = curves(run)
    assert (off.kind, off.n, off.serving) == ("off_corpus", 2, (0.5, 0.5))
    # thresholds .1, .3, .5, .9 and one above all: answered below, abstained above
    assert off.points == ((0.0, 1.0), (0.0, 0.5), (0.5, 0.5), (0.5, 0.0), (1.0, 0.0))
    assert off.false_answers_at(0.1) == 0.5
    assert (near.kind, near.serving) == ("close_miss", (0.5, 1.0))
    told = refusals(run)
    assert (told.precision, told.recall, told.answerable, told.unanswerable) == (0.5, pytest.approx(1 / 3), 2, 3)


def test_an_item_without_confidence_stays_what_it_was_at_every_threshold() -> None:
    failed = item({"false_answer": 1.0}, id="f", kinds=("off_corpus",), failure="TimeoutError")
    (curve,) = curves(run_of(item({"false_abstention": 0.0}, confidence=0.5), failed))
    assert {answers for _, answers in curve.points} == {1.0}


@pytest.mark.parametrize(
    ("values", "faults"),
    [
        ({"correct": 1.0, "decided": 1.0, "r@10": 1.0, "no_leak": 1.0}, ()),
        ({"no_leak": 0.0, "r@10": 0.5}, ("leaked", "not found")),
        ({"decided": 0.0, "correct": 0.0, "false_answer": 1.0}, ("false answer",)),
        ({"decided": 0.0, "correct": 0.0, "false_abstention": 1.0}, ("false abstention",)),
        ({"decided": 1.0, "correct": 0.0}, ("not cited",)),
        ({"unharmed": 0.0, "route": 0.0}, ("harmed", "wrong route")),
        ({"quote_validity": 0.5, "current": 0.0}, ("invalid quote", "outdated")),
        ({"no_leak": float("nan")}, ("leaked",)),
    ],
)  # fmt: skip
def test_faults_are_named_the_gravest_first(values: dict[str, float], faults: tuple[str, ...]) -> None:
    assert faults_of(row_of(item(values))) == faults


def test_the_worst_are_some_of_each_fault_and_the_new_ones_first() -> None:
    missed = [item({"r@10": 0.0, "ndcg@10": 0.0}, id=f"missed-{n:02}") for n in range(40)]
    run = run_of(*missed, item({"no_leak": 0.0}, id="leak"), item({}, id="broken", failure="TimeoutError"))
    before = rows_before(run_of(*missed[:-1], item({"r@10": 1.0, "ndcg@10": 1.0}, id="missed-39")))
    items = faulty(run, before)
    chosen = [one.result.id for one in worst(items, 5)]
    assert chosen == ["broken", "leak", "missed-39", "missed-00", "missed-01"]
    found = {one.fault: (one.now, one.before, one.new) for one in counts(items, before)}
    assert found == {"failed": (1, 0, 0), "leaked": (1, 0, 0), "not found": (40, 39, 1)}
    assert page(run).count("<details>") == WORST


def test_checks_are_named_alike_whether_they_pass_or_fail() -> None:
    passed = checks(good_verdict(), PRIMARY, FLOORS)
    failed = checks(bad_verdict(), PRIMARY, FLOORS)
    assert [(one.kind, one.name) for one in passed] == [(one.kind, one.name) for one in failed]
    assert not any(one.findings for one in passed)
    found = bad_verdict().findings
    assert sorted(finding for one in failed for finding in one.findings) == sorted(found)
    assert len(found) >= 2


def test_a_metric_of_which_nothing_is_left_fails_its_own_check() -> None:
    whole, gone = (
        run_of(*(item({"correct": value}, id=f"{n}", ranking=("c",)) for n in range(5))) for value in (1.0, 0.0)
    )
    found = checks(judge(accepted(whole, "whole"), gone, {}, metrics=("correct",)), ("correct",), {})
    assert [(one.kind, one.name) for one in found if one.findings] == [("pooled", "correct")]


def test_a_finding_that_no_check_knows_fails_all_the_same() -> None:
    odd = replace(good_verdict(), findings=("the moon fell by 0.2",))
    root = xml(GOOD, odd)
    assert [failure.get("message") for failure in root[0].iterfind("testcase/failure")] == ["the moon fell by 0.2"]


def test_failed_items_are_test_cases_and_bounded() -> None:
    results = tuple(item({}, id=f"{n}", failure="TimeoutError: \x00 no answer") for n in range(MAX_FAILED + 5))
    (suite,) = xml(run_of(*results))
    assert len(suite) == MAX_FAILED + 1
    assert suite[0].findtext("failure") == "TimeoutError: \ufffd no answer"
    assert suite[-1].findtext("failure") == "5 further items failed"
    (clean,) = xml(run_of(item({"correct": 1.0})))
    assert clean.get("failures") == "0"


def test_a_large_run_makes_a_small_page() -> None:
    run = plausible(10_000)
    long = replace(run.results[0], question="q" * 100_000, answer="a" * 1_000_000, quotes=("x" * 100_000,) * 100)
    made = page(replace(run, results=(long, *run.results[1:])))
    assert len(made.encode()) < 1_000_000


@pytest.mark.parametrize("name", CASES)
def test_all_formats_are_written_for_their_owner_alone(name: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "reports"
    files = write(*CASES[name], target)
    assert [path.name for path in files] == [NAMES[one] for one in FORMATS]
    assert sorted(path.name for path in target.iterdir()) == sorted(NAMES.values())
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    json.loads((target / "run.json").read_text(), parse_constant=pytest.fail)


def test_json_reads_back_as_the_run(tmp_path: Path) -> None:
    (path,) = write(GOOD, None, None, tmp_path / "run.json")
    assert read_run(json.loads(path.read_text()), "run.json") == GOOD


def test_a_file_is_replaced_and_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    path.chmod(0o644)
    assert write(GOOD, None, None, path) == (path,)
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("target", "formats", "said"),
    [
        ("folder.html", None, "is a folder, and its name is that of a file"),
        ("blocked", None, "report.html is a folder"),
        ("file", None, "name a folder, or a file that ends in"),
        ("run.docx", None, "name a folder, or a file that ends in"),
        ("a.html", ("html", "junit"), "holds html alone"),
    ],
)
def test_a_target_that_cannot_be_is_refused_and_nothing_is_written(
    target: str, formats: tuple[str, ...] | None, said: str, tmp_path: Path
) -> None:
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "blocked" / "report.html").mkdir(parents=True)
    (tmp_path / "file").write_text("kept")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=said):
        write(GOOD, None, None, tmp_path / target, formats)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "kept"


def test_a_disk_that_refuses_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(StorageError, match="cannot write"):
        write(GOOD, None, None, tmp_path / "file" / "reports")


def test_text_is_cut_and_cleaned() -> None:
    assert shown("a\r\nb\tc\x07\u2066", 20) == "a\nb\tc\ufffd\ufffd"
    assert shown("abcdef", 4) == "abc…"
    assert in_a_line("  a\n\n b  ", 10) == "a b"
