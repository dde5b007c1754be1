"""A run as one HTML file that needs nothing else: no script, no network, no other file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from domicile.errors import MissingExtra
from domicile_eval.baselines import Baseline
from domicile_eval.comparison import Change
from domicile_eval.gate import Verdict
from domicile_eval.reports import plots
from domicile_eval.reports.abstention import GOAL, curves, refusals
from domicile_eval.reports.checks import checks
from domicile_eval.reports.faults import FAULTS, counts, faulty, worst
from domicile_eval.reports.figures import Measured, Slice, measured, moved, row_of, rows_before, slices
from domicile_eval.reports.metric_names import GROUP_ORDER, HEADLINES, SLICED, group_of, name_of, words_of, written
from domicile_eval.reports.text import in_a_line, shown
from domicile_eval.results import Run

WORST = 25
_TEXT = 2_000
_LISTED = 10
_TEMPLATE = "report.html.jinja"
_AT = (0.05, GOAL, 0.20)
"""False abstentions at which the curve is also told in words."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure of the page.

    Attributes:
        told: how to read it.
        drawing: SVG.
    """

    title: str
    told: str
    drawing: str


def html(
    run: Run,
    before: Run | Baseline | None,
    verdict: Verdict | None,
    primary: Sequence[str],
    floors: Mapping[str, float],
) -> str:
    """The page.

    Raises:
        MissingExtra: the ``eval`` extra is not installed.
    """
    try:
        import jinja2
    except ModuleNotFoundError as error:
        if error.name != "jinja2":
            raise
        raise MissingExtra("eval", "jinja2") from None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("domicile_eval.reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    return environment.get_template(_TEMPLATE).render(_told(run, before, verdict, primary, floors))


def _told(
    run: Run,
    before: Run | Baseline | None,
    verdict: Verdict | None,
    primary: Sequence[str],
    floors: Mapping[str, float],
) -> dict[str, object]:
    earlier = rows_before(before)
    figures = measured(run, earlier, verdict)
    by_metric = {one.metric: one for one in figures}
    items = faulty(run, earlier)
    sliced = {metric: slices(run, earlier, metric) for metric in SLICED if metric in by_metric}
    return {
        "run": run,
        "before": before,
        "shared": sum(result.id in earlier for result in run.results),
        "verdict": verdict,
        "checks": checks(verdict, primary, floors) if verdict else [],
        "detectable": _detectable(verdict, primary),
        "failed": sum(result.failure is not None for result in run.results),
        "headlines": [by_metric[metric] for metric in HEADLINES if metric in by_metric],
        "groups": _grouped(figures),
        "moved": moved([one for found in sliced.values() for one in found if one.group != "all"]),
        "faulty": len(items),
        "faults": counts(items, earlier),
        "meanings": FAULTS,
        "refusals": refusals(run),
        "plots": list(_plots(run, by_metric, sliced)),
        "worst": worst(items, WORST),
        "listed": _LISTED,
    }


def _plots(run: Run, figures: Mapping[str, Measured], sliced: Mapping[str, list[Slice]]) -> Iterator[Plot]:
    if found := curves(run):
        told = "; ".join(
            f"{curve.kind.replace('_', ' ')}: "
            + ", ".join(f"{curve.false_answers_at(at):.0%} at {at:.0%}" for at in _AT)
            for curve in found
        )
        yield Plot(
            "When to abstain",
            f"False answers over false abstentions, for every threshold; a ring is what serves. Reachable: {told}.",
            plots.abstention(found),
        )
    for metric, members in sliced.items():
        if any(one.measured.change for one in members):
            yield Plot(
                f"{name_of(metric)}, before and now",
                "Ring: before. Dot: now, coloured where the change is beyond chance. At the right: change and questions.",
                plots.dots(members),
            )
    for metric, members in sliced.items():
        yield Plot(
            f"{name_of(metric)} by slice", "With 95 % intervals. At the right: mean and questions.", plots.bars(members)
        )
    if any(name.removeprefix("span_").startswith("r@") for name in figures):
        yield Plot("Recall", "With 95 % intervals; a ring is the run before.", plots.recall(figures))
    seconds = [row.values["seconds"] for result in run.results if "seconds" in (row := row_of(result)).values]
    if seconds:
        yield Plot(
            "Seconds for an answer",
            "Up to the 99th percentile; the last bin holds what is slower.",
            plots.latency(seconds),
        )


def _detectable(verdict: Verdict | None, primary: Sequence[str]) -> list[Change]:
    found = verdict.changes if verdict else ()
    return [change for change in found if change.metric in primary and change.detectable is not None]


def _grouped(figures: Sequence[Measured]) -> list[tuple[str, list[Measured]]]:
    groups = ((group, [one for one in figures if group_of(one.metric) == group]) for group in GROUP_ORDER)
    return [(group, members) for group, members in groups if members]


def _interval(metric: str, low: float, high: float, signed: bool = False) -> str:
    return f"[{written(metric, low, signed=signed)}, {written(metric, high, signed=signed)}]"


_FILTERS: dict[str, Callable[..., str]] = {
    "shown": lambda text: shown(text, _TEXT),
    "line": lambda text, limit=200: in_a_line(text, limit),
    "named": lambda metric: in_a_line(name_of(metric), 60),
    "words": words_of,
    "value": lambda value, metric: written(metric, value),
    "signed": lambda value, metric: written(metric, value, signed=True),
    "interval": lambda figure, metric: _interval(metric, figure.low, figure.high),
    "signed_interval": lambda figure, metric: _interval(metric, figure.low, figure.high, signed=True),
    "direction": lambda change: "worse" if change.worse else "better" if change.better else "same",
}
