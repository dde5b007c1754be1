"""Plots as inline SVG: narrow enough for a phone, coloured by the page's style, readable to those who do not see them.

The standard library's XML writer escapes what stands in them: names of slices may come from documents.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from xml.etree import ElementTree

import numpy as np

from domicile_eval.reports.abstention import GOAL, Curve
from domicile_eval.reports.figures import Measured, Slice
from domicile_eval.reports.metric_names import name_of, written
from domicile_eval.reports.text import in_a_line

WIDTH = 360
_LABELS = 118
_VALUES = 84
_ROW = 20
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 18, 16, 40
_BINS = 24
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


class _Drawing:
    """An SVG under construction."""

    def __init__(self, height: float, label: str) -> None:
        self._root = ElementTree.Element(
            "svg", {"viewBox": f"0 0 {WIDTH} {height:g}", "role": "img", "aria-label": in_a_line(label, 600)}
        )

    def put(self, tag: str, style: str, title: str | None = None, **attributes: float | str) -> None:
        given = {
            name.replace("_", "-"): value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
            for name, value in attributes.items()
        }
        made = ElementTree.SubElement(self._root, tag, {"class": style, **given})
        if title is not None:
            ElementTree.SubElement(made, "title").text = in_a_line(title, 200)

    def text(self, x: float, y: float, words: str, style: str = "t", anchor: str = "start") -> None:
        self.put("text", style, x=x, y=y, text_anchor=anchor)
        self._root[-1].text = in_a_line(words, 60)

    def line(self, style: str, x1: float, y1: float, x2: float, y2: float) -> None:
        self.put("line", style, x1=x1, y1=y1, x2=x2, y2=y2)

    def __str__(self) -> str:
        return ElementTree.tostring(self._root, encoding="unicode")


def abstention(curves: Sequence[Curve]) -> str:
    """False answers over false abstentions; a ring marks what serves, and a field the goal."""
    height, span = 300, WIDTH - _LEFT - _RIGHT
    floor = height - _BOTTOM
    rise = floor - _TOP
    told = "; ".join(
        f"{_kind(curve.kind)}: {curve.serving[1]:.1%} false answers at {curve.serving[0]:.1%} false abstentions"
        for curve in curves
    )
    drawing = _Drawing(height, f"False answers against false abstentions over all thresholds. What serves: {told}.")
    for share in _SHARES:
        x, y = _LEFT + share * span, floor - share * rise
        drawing.line("grid", _LEFT, y, WIDTH - _RIGHT, y)
        drawing.line("grid", x, _TOP, x, floor)
        drawing.text(_LEFT - 6, y + 4, f"{share:.0%}", "m", "end")
        drawing.text(x, floor + 15, f"{share:.0%}", "m", "middle")
    drawing.put(
        "rect",
        "goal",
        f"at most {GOAL:.0%} of both",
        x=_LEFT,
        y=floor - GOAL * rise,
        width=GOAL * span,
        height=GOAL * rise,
    )
    drawing.text(_LEFT + span / 2, height - 6, "false abstentions, of answerable questions", "m", "middle")
    drawing.text(_LEFT, 9, "false answers, of unanswerable questions", "m")
    for number, curve in enumerate(curves):
        places = [(_LEFT + x * span, floor - y * rise) for x, y in curve.points]
        drawing.put("polyline", f"line c{number}", points=_steps(places))
        x, y = _LEFT + curve.serving[0] * span, floor - curve.serving[1] * rise
        drawing.put("circle", f"ring c{number}", f"{_kind(curve.kind)}, as served", cx=x, cy=y, r=5)
        key = _TOP + 16 + 18 * number
        drawing.line(f"line c{number}", WIDTH - 152, key - 4, WIDTH - 134, key - 4)
        drawing.text(WIDTH - 128, key, f"{_kind(curve.kind)} ({curve.n})")
    return str(drawing)


def bars(slices: Sequence[Slice]) -> str:
    """A bar with its interval for each slice of one metric."""
    metric = slices[0].measured.metric
    top = max(1.0, *(found.measured.now.high for found in slices))
    told = "; ".join(f"{found.name} {written(metric, found.measured.now.value)}" for found in slices)
    drawing, places = _sliced(slices, f"{name_of(metric)} by slice, with 95 % intervals: {told}.", top, (0.0, 0.5, 1.0))
    length = (WIDTH - _LABELS - _VALUES) / top
    for found, y in places:
        now = found.measured.now
        drawing.put("rect", "bar", _told(found), x=_LABELS, y=y - 11, width=max(1.0, now.value * length), height=13)
        drawing.line("whisker", _LABELS + now.low * length, y - 4.5, _LABELS + now.high * length, y - 4.5)
        drawing.text(WIDTH, y, f"{written(metric, now.value)} · {found.measured.n}", "m", "end")
    return str(drawing)


def dots(slices: Sequence[Slice]) -> str:
    """Before (a ring) and now (a dot) of each slice of one metric, the same items in both.

    Args:
        slices: at least one of them was measured before, too.
    """
    pairs = [(found, change) for found in slices if (change := found.measured.change) is not None]
    metric = pairs[0][1].metric
    told = "; ".join(
        f"{found.name} {written(metric, change.before)} to {written(metric, change.after)}" for found, change in pairs
    )
    least = min(min(change.before, change.after) for _, change in pairs)
    bottom = min(0.9, math.floor(least * 10) / 10)
    drawing, places = _sliced(
        [found for found, _ in pairs], f"{name_of(metric)} by slice, before and now: {told}.", 1.0, (bottom, 1.0)
    )
    length = (WIDTH - _LABELS - _VALUES) / (1 - bottom)
    for (found, y), (_, change) in zip(places, pairs, strict=True):
        moved = "worse" if change.worse else "better" if change.better else "same"
        was, now = (_LABELS + (value - bottom) * length for value in (change.before, change.after))
        drawing.line(f"move {moved}", was, y - 4.5, now, y - 4.5)
        drawing.put("circle", "was", cx=was, cy=y - 4.5, r=4)
        drawing.put("circle", f"dot {moved}", _told(found), cx=now, cy=y - 4.5, r=4.5)
        step = written(metric, change.difference.value, signed=True)
        drawing.text(WIDTH, y, f"{step} · {change.n}", f"m {moved}", "end")
    return str(drawing)


def recall(rows: Mapping[str, Measured]) -> str:
    """Recall at each cut-off, of documents and of passages, with intervals; a ring is the run before."""
    height, span = 220, WIDTH - _LEFT - _RIGHT
    floor = height - _BOTTOM
    found = {name: row for name, row in rows.items() if name.removeprefix("span_").startswith("r@")}
    cutoffs = sorted({int(name.partition("@")[2]) for name in found})
    told = "; ".join(f"{name_of(name)} {row.now.value:.3f}" for name, row in found.items())
    drawing = _Drawing(height, f"Recall with 95 % intervals: {told}.")
    for share in _SHARES:
        y = floor - share * (floor - _TOP)
        drawing.line("grid", _LEFT, y, WIDTH - _RIGHT, y)
        drawing.text(_LEFT - 6, y + 4, f"{share:g}", "m", "end")
    for place, cutoff in enumerate(cutoffs):
        middle = _LEFT + (place + 0.5) * span / len(cutoffs)
        drawing.text(middle, floor + 15, f"@{cutoff}", "m", "middle")
        for number, prefix in enumerate(("", "span_")):
            if (row := found.get(f"{prefix}r@{cutoff}")) is None:
                continue
            x = middle + (number - 0.5) * 36
            low, high, y = (floor - at * (floor - _TOP) for at in (row.now.low, row.now.high, row.now.value))
            drawing.line(f"line c{number}", x, low, x, high)
            if row.change is not None:
                drawing.put("circle", "was", cx=x - 9, cy=floor - row.change.before * (floor - _TOP), r=3.5)
            title = f"{name_of(row.metric)}: {row.now.value:.3f} [{row.now.low:.3f}, {row.now.high:.3f}]"
            drawing.put("circle", f"spot c{number}", title, cx=x, cy=y, r=4.5)
            drawing.text(x, min(low + 13, floor - 3), f"{row.now.value:.2f}", "m", "middle")
    for number, name in enumerate(("documents", "passages")):
        drawing.put("circle", f"spot c{number}", cx=_LEFT + 8 + 100 * number, cy=height - 9, r=4.5)
        drawing.text(_LEFT + 18 + 100 * number, height - 5, name)
    return str(drawing)


def latency(seconds: Sequence[float]) -> str:
    """A histogram up to the 99th percentile; what is slower stands in the last bin."""
    height, span = 220, WIDTH - _LEFT - _RIGHT
    floor = height - _BOTTOM
    sample = np.asarray(seconds, dtype=np.float64)
    end = max(float(np.quantile(sample, 0.99)), 1e-3)
    held, _ = np.histogram(np.minimum(sample, end), bins=_BINS, range=(0.0, end))
    marks = {name: float(np.quantile(sample, share)) for name, share in (("p50", 0.5), ("p95", 0.95))}
    told = ", ".join(f"{name} {value:.2f} s" for name, value in marks.items())
    drawing = _Drawing(height, f"Seconds of {len(sample)} answers: {told}, slowest {sample.max():.2f} s.")
    for number, count in enumerate(held.tolist()):
        tall = count / held.max() * (floor - _TOP - 30)
        left, right = number * end / _BINS, (number + 1) * end / _BINS
        beyond = ", and slower" if number == _BINS - 1 else ""
        drawing.put(
            "rect", "bar", f"{left:.2f} to {right:.2f} s{beyond}: {count}",
            x=_LEFT + number * span / _BINS, y=floor - tall, width=span / _BINS - 1, height=tall,
        )  # fmt: skip
    drawing.line("axis", _LEFT, floor, WIDTH - _RIGHT, floor)
    drawing.text(_LEFT - 6, _TOP + 34, f"{held.max()}", "m", "end")
    for share in _SHARES:
        drawing.text(_LEFT + share * span, floor + 15, f"{share * end:.2g}", "m", "middle")
    drawing.text(_LEFT + span / 2, height - 6, "seconds", "m", "middle")
    for number, (name, value) in enumerate(marks.items()):
        x = _LEFT + min(value / end, 1.0) * span
        drawing.line("mark", x, _TOP, x, floor)
        side = -4 if x > WIDTH - 100 else 4
        drawing.text(x + side, _TOP + 8 + 13 * number, f"{name} {value:.2f} s", "t", "end" if side < 0 else "start")
    return str(drawing)


def _sliced(
    slices: Sequence[Slice], label: str, top: float, ticks: Iterable[float]
) -> tuple[_Drawing, list[tuple[Slice, float]]]:
    """The names of the slices under those of their groups, and the height of each."""
    y = 4.0
    groups = [(group, list(members)) for group, members in groupby(slices, key=lambda found: found.group)]
    height = y + sum((_ROW if group != "all" else 0) + _ROW * len(members) for group, members in groups) + 20
    drawing = _Drawing(height, label)
    ticks = list(ticks)
    for tick in ticks:
        x = _LABELS + (tick - ticks[0]) / (top - ticks[0]) * (WIDTH - _LABELS - _VALUES)
        drawing.line("grid", x, 4, x, height - 16)
        drawing.text(x, height - 3, f"{tick:g}", "m", "middle")
    places: list[tuple[Slice, float]] = []
    for group, members in groups:
        if group != "all":
            y += _ROW
            drawing.text(0, y - 4, f"by {group}", "m")
        for found in members:
            y += _ROW
            drawing.text(0 if group == "all" else 8, y - 4, in_a_line(found.name.replace("_", " "), 17))
            places.append((found, y - 4))
    return drawing, places


def _steps(places: Sequence[tuple[float, float]]) -> str:
    corners = [places[0]] if places else []
    for (_, was), (x, y) in pairwise(places):
        corners += [(x, was), (x, y)]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)


def _kind(kind: str) -> str:
    return kind.replace("_", " ")


def _told(found: Slice) -> str:
    one = found.measured
    value, low, high = (written(one.metric, at) for at in (one.now.value, one.now.low, one.now.high))
    told = f"{found.name}: {value} [{low}, {high}], n {one.n}"
    if one.change is None:
        return told
    moved = one.change.difference
    step, least, most = (written(one.metric, at, signed=True) for at in (moved.value, moved.low, moved.high))
    return f"{told}; change {step} [{least}, {most}]"
