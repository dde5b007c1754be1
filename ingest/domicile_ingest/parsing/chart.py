"""Charts in slides and Word documents: their title and the numbers that they draw, as the file keeps them beside the drawing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from domicile_ingest.parsing.markdown_table import table

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_MAX_POINTS = 5000
_MAX_SERIES = 200


def chart_blocks(chart: Any) -> Iterator[str]:
    """A chart as its title and a table: categories down, series across."""
    title = chart.find(f"{_C}chart/{_C}title")
    paragraphs = title.iter(_A + "p") if title is not None else ()
    words = " ".join("".join(run.text or "" for run in paragraph.iter(_A + "t")) for paragraph in paragraphs)
    if words := " ".join(words.split()):
        yield words
    columns: dict[str, dict[int, str]] = {}
    categories: dict[int, str] = {}
    for number, series in enumerate(chart.iter(_C + "ser")):
        if number >= _MAX_SERIES:
            break
        name = " ".join(_points(series.find(_C + "tx")).values()) or f"{number + 1}"
        for across in ("cat", "xVal"):
            categories = _points(series.find(_C + across)) | categories
        values = _points(series.find(_C + "val")) or _points(series.find(_C + "yVal"))
        columns[name if name not in columns else f"{name} ({number + 1})"] = values
    places = sorted({place for values in (categories, *columns.values()) for place in values})
    rows = [[categories.get(place, ""), *(values.get(place, "") for values in columns.values())] for place in places]
    yield from table([["", *columns], *rows]) if rows else []


def _points(holder: Any) -> dict[int, str]:
    """The stored values by their place; of names on several levels, those of the innermost."""
    points: dict[int, str] = {}
    if holder is None:
        return points
    level = holder.find(f".//{_C}lvl")
    for point in (holder if level is None else level).iter(_C + "pt"):
        place, value = point.get("idx", ""), point.find(_C + "v")
        if place.isascii() and place.isdigit() and value is not None and len(points) < _MAX_POINTS:
            points.setdefault(int(place[:9]), _shown(value.text or ""))
    if not points:
        words = holder.find(_C + "v")
        return {0: words.text or ""} if words is not None else {}
    return points


def _shown(value: str) -> str:
    """A value as a reader knows it: numbers are stored with the digits that computing added."""
    if re.fullmatch(r"-?[0-9]{1,15}\.[0-9]{12,20}", value):
        return f"{float(value):.15g}"
    return " ".join(value.split())
