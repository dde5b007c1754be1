"""The gate's rules, each with a case that breaks it and one that does not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from runs import FLOORED, changed, elsewhere, run_of, with_result

from domicile.errors import UsageError
from domicile_eval.baselines import accepted
from domicile_eval.gate import Verdict, judge
from domicile_eval.results import Run
from domicile_eval.statistics import NormalDist

RUN = run_of()
BASELINE = accepted(RUN, "the first one")


def verdict(run: Run, floors: Mapping[str, float] | None = None) -> Verdict:
    return judge(BASELINE, run, floors or {})


@pytest.mark.parametrize("run", [RUN, elsewhere(RUN)], ids=["identity", "change"])
def test_the_same_run_passes(run: Run) -> None:
    found = verdict(run, FLOORED)
    assert (found.passed, found.findings) == (True, ())
    assert found.lane == ("identity" if run is RUN else "change")
    assert [change.difference.value for change in found.changes] == [0.0] * len(FLOORED)
    assert found.report().detectable == {}


def test_one_swapped_hit_is_caught_where_nothing_changed() -> None:
    first, second, *rest = RUN.results[17].ranking
    run = with_result(RUN, 17, replace(RUN.results[17], ranking=(second, first, *rest)))
    found = verdict(run)
    assert found.findings == (
        "1 of 60 rankings differ, although nothing that they depend on changed (first q17): where the search was changed on "
        "purpose, accept it with `domicile eval baseline --suite made-up --accept`",
    )
    assert verdict(elsewhere(run)).passed  # control: where the index changed, rankings may
    assert "1 question has other chunks among the first ten" in verdict(elsewhere(run)).notes


def test_a_ranking_that_is_gone_or_moved_to_another_question_is_caught_where_nothing_changed() -> None:
    one, other = RUN.results[3], RUN.results[4]
    swapped = with_result(
        with_result(RUN, 3, replace(one, ranking=other.ranking)), 4, replace(other, ranking=one.ranking)
    )
    assert "2 of 60 rankings differ" in verdict(swapped).findings[0]
    assert "1 of 60 rankings differ" in verdict(with_result(RUN, 3, replace(one, ranking=()))).findings[0]


def test_a_drop_over_all_questions_is_said_with_its_interval() -> None:
    run = elsewhere(changed(RUN, ndcgat10=lambda n, value: value - 0.1 * (n % 3)))
    found = verdict(run)
    change = found.changes[0]
    assert not found.passed
    assert (change.metric, change.n, change.before, change.after) == ("ndcg@10", 60, 1.0, 0.9)
    assert change.difference.value == -0.1
    assert change.difference.low < -0.1 < change.difference.high < 0
    assert found.findings[0] == (
        f"ndcg@10 fell by 0.1000 [{change.difference.low:+.4f}, {change.difference.high:+.4f}] over 60 questions: "
        "1.0000 -> 0.9000"
    )
    assert found.report().detectable["ndcg@10"] == change.detectable
    assert found.report().figures["ndcg@10"] == 0.9


def test_a_drop_within_chance_and_a_gain_pass() -> None:
    assert verdict(elsewhere(changed(RUN, ndcgat10=lambda n, value: value - 0.5 * (n in (3, 30))))).passed
    poor = accepted(changed(RUN, ndcgat10=lambda n, value: 0.5), "the first one")
    found = judge(poor, elsewhere(RUN), {})
    assert found.passed
    assert found.changes[0].better


def test_a_metric_that_is_not_primary_may_fall() -> None:
    run = elsewhere(changed(RUN, route=lambda n, value: 0.0))
    found = verdict(run)
    assert found.passed
    assert {change.metric: change.worse for change in found.changes}["route"]
    assert judge(BASELINE, run, {}, metrics=("route",)).findings[0].startswith("route fell by 1.0000")


def test_a_primary_metric_may_be_one_where_less_is_better() -> None:
    run = elsewhere(changed(RUN, false_answer=lambda n, value: float(n % 2)))
    [first, *_] = judge(BASELINE, run, {}, metrics=("false_answer",)).findings
    assert first.startswith("false_answer rose by 0.5000 [")
    assert judge(accepted(run, "was worse"), RUN, {}, metrics=("false_answer",)).passed


def test_the_intervals_of_the_primary_metrics_hold_together() -> None:
    run = elsewhere(changed(RUN, ndcgat10=lambda n, value: 0.5 + 0.01 * (n * 7 % 30)))
    [alone, *_] = judge(BASELINE, run, {}, metrics=("ndcg@10",)).changes
    both = {change.metric: change for change in judge(BASELINE, run, {}).changes}
    assert (alone.confidence, both["ndcg@10"].confidence, both["route"].confidence) == pytest.approx(
        (0.95, 0.975, 0.95)
    )
    assert both["ndcg@10"].difference.low < alone.difference.low
    assert both["ndcg@10"].difference.high > alone.difference.high
    errors = [NormalDist().inv_cdf(1 - tail) + NormalDist().inv_cdf(0.8) for tail in (0.025, 0.0125)]
    assert alone.detectable is not None
    assert both["ndcg@10"].detectable == pytest.approx(alone.detectable * errors[1] / errors[0], abs=1e-5)


def test_a_slice_that_falls_is_caught_though_the_whole_is_not_worse() -> None:
    """All of one folder's questions lose as much as the others win."""
    half = accepted(changed(RUN, correct=lambda n, value: float(n >= 40)), "the first one")
    run = elsewhere(changed(RUN, correct=lambda n, value: float(n < 40)))
    found = judge(half, run, {})
    assert not {change.metric: change.worse for change in found.changes}["correct"]
    [finding] = found.findings
    assert finding.startswith("slice folder legal: correct fell by 1.0000 over 20 questions (p = 0.0")
    assert {one.slice for one in found.slices} == {"kind table", "folder hr", "folder it", "folder legal"}
    assert len(found.slices) == 8
    assert judge(half, elsewhere(changed(RUN, correct=lambda n, value: 1.0)), {}).passed  # control: nobody lost


def test_a_kind_that_falls_is_named() -> None:
    before = accepted(changed(RUN, correct=lambda n, value: float(n % 2)), "the first one")
    found = judge(before, elsewhere(changed(RUN, correct=lambda n, value: float(n % 2 == 0))), {})
    assert [finding.split(" (p")[0] for finding in found.findings] == [
        "slice kind table: correct fell by 1.0000 over 30 questions"
    ]


def test_slices_of_few_questions_and_folders_within_a_name_are_none() -> None:
    results = [
        replace(
            result, kinds=("table",) if n < 9 else ("follow_up",), gold=("mail.eml!/a/b.pdf", "rows.jsonl#a/b", "x.md")
        )
        for n, result in enumerate(RUN.results)
    ]
    run = replace(RUN, results=tuple(results))
    assert {one.slice for one in judge(accepted(run, "the first one"), run, {}).slices} == {"kind follow_up"}


@pytest.mark.parametrize("lane", ["identity", "change"])
@pytest.mark.parametrize("metric", sorted(FLOORED.keys() - {"false_answer", "cost"}))
def test_every_floor_is_held_in_both_lanes(metric: str, lane: str) -> None:
    # one question of sixty is within chance
    name = metric.replace("@", "at")
    run = changed(RUN, **{name: lambda n, value: float(n != 5)})
    run = run if lane == "identity" else elsewhere(run)
    found = verdict(run, FLOORED)
    assert found.lane == lane
    assert found.findings == (f"floor {metric}: 0.9833 is below 1",)
    assert verdict(run).passed  # control: without floors


@pytest.mark.parametrize(("metric", "value"), [("false_answer", 1.0), ("cost", 0.7)])
def test_where_less_is_better_a_floor_is_the_largest_value(metric: str, value: float) -> None:
    run = changed(RUN, **{metric: lambda n, old: value if n == 5 else old})
    [finding] = verdict(run, FLOORED).findings
    assert finding.startswith(f"floor {metric}: 0.0")
    assert f" is above {FLOORED[metric]:g}" in finding


def test_a_floor_without_a_value_or_that_is_no_number_is_broken() -> None:
    assert verdict(RUN, {"ragas_id_recall": 0.5}).findings == (
        "floor ragas_id_recall: no question has a value, at least 0.5 is asked for",
    )
    assert len(verdict(RUN, {"ndcg@10": math.nan, "cost": math.nan}).findings) == 2


def test_a_question_that_failed_counts_as_wrong_and_is_named() -> None:
    values = {"ndcg@10": 1.0, "no_leak": 1.0, "seconds": 3.0}  # of what came before it failed
    failed = replace(RUN.results[8], values=values, failure="the model did not answer")
    found = verdict(
        elsewhere(with_result(RUN, 8, failed)), {"ndcg@10": 1.0, "quote_validity": 1.0, "false_answer": 0.0}
    )
    assert found.findings == (
        "1 question failed: q08",
        "floor false_answer: 0.0167 is above 0",
        "floor ndcg@10: 0.9833 is below 1",
        "floor quote_validity: 0.9833 is below 1",
    )
    assert found.figures["seconds"] == 3.0


def test_a_question_that_fails_as_before_is_counted_and_passes() -> None:
    failed = with_result(RUN, 8, replace(RUN.results[8], failure="the model did not answer"))
    found = judge(accepted(failed, "known"), failed, {})
    assert found.passed
    assert found.notes == ("1 question failed as in the baseline, and was counted as wrong: q08",)
    assert found.figures["correct"] == pytest.approx(59 / 60, abs=1e-6)


def test_what_was_not_asked_or_not_judged_is_no_pass() -> None:
    fewer = replace(RUN, results=RUN.results[7:])
    assert verdict(fewer).findings == ("7 questions of the baseline were not asked: q00, q01, q02, q03, q04, ...",)
    unjudged = with_result(RUN, 2, replace(RUN.results[2], values={"ndcg@10": 1.0}))
    assert verdict(unjudged).findings == ("1 question had a value of correct in the baseline and has none now: q02",)


def test_one_question_that_lost_its_document_is_caught() -> None:
    whole = changed(elsewhere(run_of(values={**FLOORED, "held": 1.0})), held=lambda n, value: value)
    baseline = accepted(whole, "whole")
    lost = changed(whole, held=lambda n, value: 0.5 if n == 4 else value)
    assert judge(baseline, whole, {}).passed
    assert judge(baseline, lost, {}).findings == ("1 question lost a document that answers: q04",)


def test_a_baseline_of_a_part_of_the_suite_is_no_pass() -> None:
    """A suite that has other questions has another hash: here it is the same."""
    baseline = accepted(replace(RUN, results=RUN.results[:-2]), "a part")
    assert judge(baseline, RUN, {}).findings == (
        "2 questions were not in the baseline, which is of a part of the suite: q58, q59; make it anew with "
        "`domicile eval baseline --suite made-up --accept`",
    )


def test_where_nothing_is_found_nothing_is_measured_whatever_the_baseline_says() -> None:
    blind = replace(RUN, results=tuple(replace(result, ranking=()) for result in RUN.results))
    baseline = replace(BASELINE, rows={key: replace(row, ranking="") for key, row in BASELINE.rows.items()})
    assert judge(baseline, blind, {}).findings == ("no question that has an answer found anything",)
    one = with_result(blind, 7, RUN.results[7])
    assert judge(accepted(one, "one"), one, {}).passed
    unanswerable = replace(blind, results=tuple(replace(result, gold=()) for result in blind.results))
    assert judge(accepted(unanswerable, "they see nothing, as is right"), unanswerable, {}).passed


@pytest.mark.parametrize("metric", ["ndcg@10", "correct", "false_answer"])
@pytest.mark.parametrize("questions", [1, 2, 5])
def test_a_small_suite_of_which_nothing_is_left_falls(metric: str, questions: int) -> None:
    """Five of five could be chance one time in 32, which is no proof by the pooled rule; no slice is that small."""
    whole = elsewhere(run_of(questions))
    worst = 1.0 if metric == "false_answer" else 0.0
    gone = changed(whole, **{metric.replace("@", "at"): lambda n, value: worst})
    primary = ("ndcg@10", "correct", "false_answer")
    found = judge(accepted(whole, "whole"), gone, {}, metrics=primary)
    assert found.findings == (f"{metric} has nothing left: {1 - worst:.4f} -> {worst:.4f} over {questions} questions",)
    assert judge(accepted(gone, "it was so"), gone, {}, metrics=primary).passed


def test_a_small_suite_of_which_something_is_left_or_that_had_little_passes() -> None:
    five = elsewhere(run_of(5))
    broken = [changed(five, correct=lambda n, value, kept=kept: float(n < kept)) for kept in (0, 1, 2, 3)]
    assert judge(accepted(five, "whole"), broken[1], {}).passed
    assert judge(accepted(broken[2], "two of five"), broken[0], {}).passed
    assert not judge(accepted(broken[3], "three of five"), broken[0], {}).passed


def test_another_judge_is_no_comparison() -> None:
    baseline = accepted(replace(RUN, settings={"judge": "acme-1"}), "the first one")
    assert judge(baseline, replace(RUN, settings={"judge": "acme-1"}), {}).passed
    assert judge(baseline, RUN, {}).passed  # no judge was asked
    [finding] = judge(baseline, replace(RUN, settings={"judge": "acme-2"}), {}).findings
    assert finding.startswith("the judge is acme-2, and was acme-1")


def test_what_else_differs_is_noted() -> None:
    run = replace(elsewhere(RUN), settings={"model": "n", "prompt": "2"})
    assert verdict(run).notes == ("fingerprint index: 1 -> 2", "setting model: m -> n", "setting prompt: none -> 2")


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (
            replace(RUN, suite_hash="other"),
            "changed since the baseline: look at the run, then accept a new one with `domicile",
        ),
        (replace(RUN, collection="d"), "is of collection 'c', the run of 'd'"),
        (replace(RUN, results=(*RUN.results, RUN.results[4])), "question 'q04' stands in the run twice"),
        (run_of(values={"route": 1.0}), "no question has ndcg@10 or correct in both"),
        (
            changed(RUN, kept=lambda n, value: value, route=lambda n, value: math.nan if n == 9 else value),
            "'q09': route is nan",
        ),
        (changed(RUN, ndcgat10=lambda n, value: math.inf), "'q00': ndcg@10 is inf"),
    ],
)
def test_what_cannot_be_compared_is_refused(run: Run, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        verdict(run)


def test_a_verdict_can_be_written_and_is_the_same_each_time() -> None:
    run = elsewhere(changed(RUN, ndcgat10=lambda n, value: value - 0.1 * (n % 3)))
    found = verdict(run, FLOORED)
    written = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (written["passed"], written["lane"], written["questions"]) == (False, "change", 60)
    assert written["changes"][0]["difference"]["value"] == -0.1
    assert written["slices"][0]["slice"] == "folder hr"
    assert verdict(run, FLOORED) == found


def test_a_handful_of_questions_is_no_proof() -> None:
    """Three questions that all fell could do so by chance, one time in eight; eight of eight cannot."""
    few, enough = ([elsewhere(run_of(n)), accepted(elsewhere(run_of(n)), "whole")] for n in (3, 8))
    for (run, baseline), passes in ((few, True), (enough, False)):
        fell = changed(run, ndcgat10=lambda n, value: value - 0.4 - n / 100)
        assert judge(baseline, fell, {}, metrics=["ndcg@10"]).passed is passes  # type: ignore[arg-type]
