"""A run as JUnit XML, which CI systems show: a test case for each check of the gate, and for each item that failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from domicile_eval.gate import Verdict
from domicile_eval.reports.checks import checks
from domicile_eval.reports.text import in_a_line, shown
from domicile_eval.results import Run

MAX_FAILED = 1_000
"""Failed items that are written; beyond it one case says how many there are."""
_NAME = 200
_TEXT = 2_000


def junit(run: Run, verdict: Verdict | None, primary: Sequence[str], floors: Mapping[str, float]) -> bytes:
    """The file, in UTF-8."""
    root = ElementTree.Element("testsuites", {"name": "domicile eval"})
    if verdict is not None:
        suite = _suite(root, run, "gate")
        for check in checks(verdict, primary, floors):
            _case(suite, f"{check.kind} {check.name}", "\n".join(check.findings), check.told)
    suite = _suite(root, run, "items")
    failed = [result for result in run.results if result.failure is not None]
    for result in failed[:MAX_FAILED]:
        _case(suite, result.id, result.failure or "failed")
    if len(failed) > MAX_FAILED:
        _case(suite, "further items", f"{len(failed) - MAX_FAILED:,} further items failed")
    if not failed:
        _case(suite, "every item was judged", "", f"{len(run.results):,} items")
    for suite in root:
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(len(suite.findall("testcase/failure"))))
        suite.set("errors", "0")
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _suite(root: ElementTree.Element, run: Run, part: str) -> ElementTree.Element:
    name = in_a_line(f"{run.suite} {part}", _NAME)
    made = ElementTree.SubElement(root, "testsuite", {"name": name})
    if run.made:
        made.set("timestamp", in_a_line(run.made, 40))
    return made


def _case(suite: ElementTree.Element, name: str, failure: str, told: str = "") -> None:
    case = ElementTree.SubElement(
        suite, "testcase", {"classname": suite.get("name", ""), "name": in_a_line(name, _NAME)}
    )
    if failure:
        made = ElementTree.SubElement(case, "failure", {"message": in_a_line(failure, _NAME)})
        made.text = shown(failure, _TEXT)
    elif told:
        ElementTree.SubElement(case, "system-out").text = shown(told, _TEXT)
