"""Baselines on disk, and two runs side by side."""

from __future__ import annotations

import difflib
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from runs import changed, elsewhere, run_of, with_result

from domicile.errors import StorageError, UsageError
from domicile_eval.baselines import Baseline, accepted, read_baseline, write_baseline
from domicile_eval.comparison import compare
from domicile_eval.gate import judge

RUN = run_of(12, {"ndcg@10": 2 / 3, "correct": 1.0, "seconds": 0.7})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "baselines" / "made-up.json"


def written(path: Path, baseline: Baseline) -> str:
    write_baseline(path, baseline)
    return path.read_text(encoding="utf-8")


def test_a_baseline_survives_the_disk(path: Path) -> None:
    failed = with_result(RUN, 3, replace(RUN.results[3], failure="the model did not answer", ranking=()))
    baseline = accepted(failed, "a first\n  figure — ✓")
    write_baseline(path, baseline)
    assert read_baseline(path, "made-up") == baseline
    assert baseline.reason == "a first figure — ✓"
    assert baseline.figures == {
        "correct": pytest.approx(11 / 12, abs=1e-6),
        "ndcg@10": pytest.approx(11 / 18, abs=1e-6),
    }


def test_a_run_passes_against_its_own_baseline_read_from_disk(path: Path) -> None:
    """Values that no decimal holds, such as 2/3, are the same numbers after writing."""
    write_baseline(path, accepted(RUN, "first"))
    found = judge(read_baseline(path, "made-up"), elsewhere(RUN), {"ndcg@10": 0.66})
    assert found.passed
    assert {change.difference.value for change in found.changes} == {0.0}


def test_a_diff_of_two_baselines_shows_what_changed(path: Path) -> None:
    before = written(path, accepted(RUN, "first"))
    worse = changed(RUN, correct=lambda n, value: float(n != 4), seconds=lambda n, value: value + n)
    after = written(path, accepted(replace(worse, results=worse.results[::-1]), "first"))
    diff = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]
    assert [line.split(":")[0] for line in diff] == [
        '-   "correct"', '+   "correct"', '-   {"id"', '+   {"id"', '-  "digest"', '+  "digest"',
    ]  # fmt: skip
    assert '"q04"' in diff[2]


def test_a_baseline_that_is_not_there_says_how_to_make_one(path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"has no baseline yet: .*`domicile eval baseline --suite made-up --accept`"
    ) as error:
        read_baseline(path, "made-up")
    assert str(path) in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '"ndcg@10": 0.666667}',
            '"ndcg@10": NaN}',
            r"line 20: items\.0\.values\.ndcg@10: Input should be a finite number",
        ),
        ('"id": "q05"', '"id": 5', r"line 25: items\.5\.id: Input should be a valid string"),
        ('"id": "q05"', '"id": "q06"', "an id stands twice"),
        ('"suite_hash": "h",', "", "suite_hash: Field required"),
        ('"generation": 3', '"generation": 3, "more": 1', "more: Extra inputs are not permitted"),
        ('"items": [', '"items": ', "is not JSON: .*line 2"),
        ('"suite": "made-up"', '"suite": "other"', "is the baseline of suite 'other', not of 'made-up'"),
        (
            '"digest": "',
            '"digest": "0',
            "digest: is not that of the rest, which was changed or merged by hand; take it",
        ),
        ('"ndcg@10": 0.666667}', '"ndcg@10": 0.5}', "digest: is not that of the rest"),
        ('"index": "1"', '"index": "2"', "digest: is not that of the rest"),
        ('"reason": "first"', '"reason": "second"', "digest: is not that of the rest"),
    ],
)
def test_a_damaged_baseline_is_refused_with_the_place(path: Path, old: str, new: str, said: str) -> None:
    text = written(path, accepted(RUN, "first"))
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UsageError, match=said) as error:
        read_baseline(path, "made-up")
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rows", [slice(20, 21), slice(22, 27)], ids=["the first", "some"])
def test_rows_that_were_cut_out_are_missed(path: Path, rows: slice) -> None:
    lines = written(path, accepted(RUN, "first")).split("\n")
    assert all(line.startswith('  {"id": ') for line in lines[rows])
    del lines[rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(
        UsageError, match=r"digest: is not .* anew with `domicile eval baseline --suite made-up --accept`"
    ):
        read_baseline(path, "made-up")


def test_a_baseline_may_be_laid_out_otherwise(path: Path) -> None:
    """What it says is what counts: a formatter may have been at it."""
    baseline = accepted(RUN, "first")
    path.parent.mkdir()
    text = written(path, baseline)
    path.write_text(json.dumps(json.loads(text), indent=4, sort_keys=True), encoding="utf-8")
    assert read_baseline(path, "made-up") == baseline


def test_the_line_that_is_named_is_the_line(path: Path) -> None:
    lines = written(path, accepted(RUN, "first")).split("\n")
    assert json.loads(lines[25 - 1].rstrip(","))["id"] == "q05"


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff\xfe{}", b"{" * 2_000])
def test_what_is_no_baseline_is_refused(path: Path, data: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"made-up\.json"):
        read_baseline(path, "made-up")


def test_a_baseline_needs_a_reason_questions_and_numbers() -> None:
    with pytest.raises(UsageError, match="needs a reason"):
        accepted(RUN, " \n")
    with pytest.raises(UsageError, match="has no questions"):
        accepted(replace(RUN, results=()), "first")
    with pytest.raises(UsageError, match="no question that has an answer found anything"):
        accepted(replace(RUN, results=tuple(replace(result, ranking=()) for result in RUN.results)), "first")
    with pytest.raises(UsageError, match="'q00': correct is nan"):
        accepted(changed(RUN, correct=lambda n, value: math.nan), "first")


def test_a_disk_that_refuses_leaves_the_old_baseline(path: Path) -> None:
    before = written(path, accepted(RUN, "first"))
    blocked = path.with_name("file")
    blocked.write_text("not a folder")
    with pytest.raises(StorageError, match=r"cannot write .*made-up"):
        write_baseline(blocked / "made-up.json", accepted(RUN, "second"))
    assert path.read_text(encoding="utf-8") == before


def test_two_runs_side_by_side() -> None:
    after = changed(RUN, ndcgat10=lambda n, value: {2: 0.0, 5: 1.0, 7: 0.5}.get(n, value))
    after = with_result(after, 9, replace(after.results[9], ranking=("other",)))
    found = compare(RUN, elsewhere(after))
    figures = {change.metric: change for change in found.changes}
    assert set(figures) == {"ndcg@10", "correct", "seconds"}
    assert figures["ndcg@10"].difference.value == pytest.approx((-2 / 3 + 1 / 3 - 1 / 6) / 12, abs=1e-6)
    assert not figures["ndcg@10"].worse
    assert figures["correct"].detectable is None
    assert [moved.id for moved in found.moved] == ["q02", "q07", "q05"]  # worst first
    assert found.moved[0].question == "Question 2?"
    assert (found.moved[0].before["ndcg@10"], found.moved[0].after["ndcg@10"]) == (0.666667, 0.0)
    assert (found.rankings, found.notes) == (1, ("fingerprint index: 1 -> 2",))


def test_questions_about_one_document_are_compared_together() -> None:
    """All that fell are about one document: that it fell beyond chance elsewhere too is not known."""
    before = run_of(60)
    about = [replace(result, gold=(f"{max(0, n - 11)}.md",)) for n, result in enumerate(before.results)]
    after = changed(replace(before, results=tuple(about)), ndcgat10=lambda n, value: value - 0.5 * (n < 12))
    [together] = [change for change in compare(before, after).changes if change.metric == "ndcg@10"]
    [alone] = [change for change in compare(before, replace(after, results=tuple(
        replace(result, gold=()) for result in after.results))).changes if change.metric == "ndcg@10"]  # fmt: skip
    assert together.difference.value == alone.difference.value == -0.1
    assert (alone.worse, together.worse) == (True, False)
    assert together.detectable > 2 * alone.detectable  # type: ignore[operator]


def test_runs_of_a_suite_that_changed_are_compared_where_they_can_be() -> None:
    after = replace(RUN, suite_hash="other", results=RUN.results[1:])
    renamed = with_result(after, 0, replace(after.results[0], id="new"))
    found = compare(RUN, renamed)
    assert (found.only_before, found.only_after) == (("q00", "q01"), ("new",))
    assert found.notes[0].startswith("the suite changed in between")
    assert {change.n for change in found.changes} == {10}
    with pytest.raises(UsageError, match="no question in common"):
        compare(RUN, replace(RUN, results=renamed.results[:1]))
