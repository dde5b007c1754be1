"""Reports of a run: HTML for people, Markdown for a pull request, JSON for programs, JUnit XML for CI."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from domicile.errors import StorageError, UsageError
from domicile.files import make_folders, replace_durably
from domicile_eval.baselines import Baseline
from domicile_eval.gate import Verdict
from domicile_eval.reports.figures import rows_before
from domicile_eval.reports.html import html
from domicile_eval.reports.junit import junit
from domicile_eval.reports.markdown import markdown
from domicile_eval.results import Run
from domicile_eval.suites import PRIMARY

Format = Literal["html", "markdown", "json", "junit"]
FORMATS: tuple[Format, ...] = get_args(Format)
NAMES: dict[Format, str] = {"html": "report.html", "markdown": "summary.md", "json": "run.json", "junit": "junit.xml"}
"""In a folder."""
_MODE = 0o600
"""Reports quote documents: they are as restricted as the most restricted of these."""


def write(
    run: Run,
    before: Run | Baseline | None,
    verdict: Verdict | None,
    target: Path,
    formats: Sequence[Format] | None = None,
    *,
    primary: Sequence[str] = PRIMARY,
    floors: Mapping[str, float] | None = None,
) -> tuple[Path, ...]:
    """Write reports, each all or nothing, readable to their owner alone.

    Args:
        before: what the run is shown beside.
        verdict: of the gate, where it was asked.
        target: a file whose suffix is that of a format, or a folder, which is made where there is none.
        formats: by default all of them in a folder, and for a file the one of its suffix.
        primary, floors: of the suite: what the gate decides on.

    Returns:
        The files.

    Raises:
        UsageError: the target is a folder where a file is asked for, or a file where a folder is; nothing was written.
        StorageError: the disk refuses.
        MissingExtra: the ``eval`` extra is not installed.
    """
    files = planned(target, formats)
    made = {path: _made(format_, run, before, verdict, primary, floors or {}) for format_, path in files.items()}
    try:
        for path, data in made.items():
            make_folders(path.parent)
            replace_durably(path, data, mode=_MODE)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror}") from None
    return tuple(made)


def planned(target: Path, formats: Sequence[Format] | None = None) -> dict[Format, Path]:
    """The files that ``write`` would write, so that a wrong name is told before a run of minutes.

    Raises:
        UsageError: see ``write``.
    """
    by_suffix: dict[str, Format] = {Path(name).suffix: format_ for format_, name in NAMES.items()}
    if (only := by_suffix.get(target.suffix)) is not None and not target.is_dir():
        if set(formats or [only]) != {only}:
            raise UsageError(f"{target}: a {target.suffix} file holds {only} alone: name a folder for several formats")
        return {only: target}
    if target.suffix in by_suffix:
        raise UsageError(f"{target} is a folder, and its name is that of a file: name a file in it, or another folder")
    if (target.exists() or target.suffix) and not target.is_dir():
        raise UsageError(f"{target}: name a folder, or a file that ends in {', '.join(by_suffix)}")
    files = {format_: target / NAMES[format_] for format_ in formats or FORMATS}
    for path in files.values():
        if path.is_dir():
            raise UsageError(f"{path} is a folder: name another folder for the reports")
    return files


def _made(
    format_: Format,
    run: Run,
    before: Run | Baseline | None,
    verdict: Verdict | None,
    primary: Sequence[str],
    floors: Mapping[str, float],
) -> bytes:
    if format_ == "html":
        return html(run, before, verdict, primary, floors).encode()
    if format_ == "markdown":
        return markdown(run, rows_before(before), verdict).encode()
    if format_ == "junit":
        return junit(run, verdict, primary, floors)
    return json.dumps(_numbered(run.to_json()), indent=1, allow_nan=False).encode()


def _numbered(written: dict[str, Any]) -> dict[str, Any]:
    """JSON has no word for what is no number."""
    for result in written["results"]:
        result["values"] = {name: value if math.isfinite(value) else None for name, value in result["values"].items()}
    return written
