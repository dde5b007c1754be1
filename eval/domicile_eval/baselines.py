"""Baselines: what a suite's figures were when somebody last accepted them, question by question, in a file for git."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domicile.errors import StorageError, UsageError
from domicile.files import make_folders, replace_durably
from domicile_eval.comparison import LARGEST, Row, means, rows_of
from domicile_eval.hand_written import parse_json
from domicile_eval.results import Run


@dataclass(frozen=True, slots=True)
class Baseline:
    """An accepted run, reduced to what comparing needs.

    Attributes:
        made: of the run; ISO 8601, UTC.
        reason: why it was accepted.
        figures: metric to its mean, for people: nothing is compared with it.
        rows: by id.
    """

    suite: str
    suite_hash: str
    collection: str
    generation: int
    made: str
    reason: str
    fingerprint: Mapping[str, str]
    settings: Mapping[str, str]
    figures: Mapping[str, float]
    rows: Mapping[str, Row]


def accepted(run: Run, reason: str) -> Baseline:
    """The baseline that a run makes. Wall time stays out: it is the machine's, and differs each time.

    Raises:
        UsageError: there is no reason, no question, none that did not fail, none that found anything, or a value is not a
            number.
    """
    if not reason.strip():
        raise UsageError("a baseline needs a reason: say why these figures are right from now on")
    if not run.results:
        raise UsageError(f"{run.suite}: the run has no questions, and makes no baseline")
    if all(result.failure is not None for result in run.results):
        raise UsageError(f"{run.suite}: every question failed, such as {run.results[0].id!r}: {run.results[0].failure}")
    if found_nothing(run):
        raise UsageError(f"{run.suite}: no question that has an answer found anything: see what the collection holds")
    rows = {
        key: replace(row, values={name: value for name, value in row.values.items() if name != "seconds"})
        for key, row in sorted(rows_of(run).items())
    }
    return Baseline(
        run.suite,
        run.suite_hash,
        run.collection,
        run.generation,
        run.made,
        " ".join(reason.split()),
        run.fingerprint,
        run.settings,
        means(rows.values()),
        rows,
    )


def found_nothing(run: Run) -> bool:
    """Whether there are questions that documents answer, and not one of them found any passage."""
    rankings = [result.ranking for result in run.results if result.gold]
    return bool(rankings) and not any(rankings)


def acceptance(suite: str) -> str:
    """The command that makes a suite's baseline anew."""
    return f"`domicile eval baseline --suite {suite} --accept`"


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Replace the file, all or nothing.

    Raises:
        StorageError: the disk refuses.
    """
    lines = list(_lines(baseline))
    data = "\n".join(["{", *lines, f' "digest": {_json(_digest(lines))}', "}\n"]).encode()
    try:
        make_folders(path.parent)
        replace_durably(path, data)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None


def read_baseline(path: Path, suite: str) -> Baseline:
    """
    Raises:
        UsageError: there is none, it is damaged, or it is not what was accepted; says what to run, or where the damage is.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path}: suite {suite!r} has no baseline yet: make one with {acceptance(suite)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    try:
        read = _File.model_validate(parse_json(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"{path}: {_place(text, first['loc'])}: {first['msg']}; {_mend(suite)}") from None
    except ValueError as error:
        raise UsageError(f"{path}: is not JSON: {error}; {_mend(suite)}") from None
    rows = {one.id: Row(one.id, one.values, tuple(one.kinds), one.ranking, one.failed) for one in read.items}
    if len(rows) != len(read.items):
        raise UsageError(f"{path}: an id stands twice; {_mend(suite)}")
    if read.suite != suite:
        raise UsageError(f"{path}: is the baseline of suite {read.suite!r}, not of {suite!r}")
    baseline = Baseline(
        read.suite,
        read.suite_hash,
        read.collection,
        read.generation,
        read.made,
        read.reason,
        read.fingerprint,
        read.settings,
        read.figures,
        rows,
    )
    if _digest(list(_lines(baseline))) != read.digest:
        raise UsageError(
            f"{path}: digest: is not that of the rest, which was changed or merged by hand; {_mend(suite)}"
        )
    return baseline


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Item(_Strict):
    id: str = Field(min_length=1)
    kinds: list[str] = []
    failed: bool = False
    ranking: str = ""
    values: dict[str, Annotated[float, Field(ge=0, le=LARGEST)]]


class _File(_Strict):
    suite: str
    suite_hash: str
    collection: str
    generation: int
    made: str
    reason: str
    fingerprint: dict[str, str]
    settings: dict[str, str]
    figures: dict[str, float]
    items: list[_Item] = Field(min_length=1)
    digest: str


def _lines(baseline: Baseline) -> Iterator[str]:
    """All but the digest: one name, and one question, a line, so that a diff shows what changed."""
    for name in ("suite", "suite_hash", "collection", "generation", "made", "reason"):
        yield f' "{name}": {_json(getattr(baseline, name))},'
    for name in ("fingerprint", "settings", "figures"):
        entries = [f"  {_json(key)}: {_json(value)}" for key, value in sorted(getattr(baseline, name).items())]
        yield from (f' "{name}": {{', *_separated(entries), " },")
    yield from (' "items": [', *_separated([f"  {_json(_record(row))}" for row in baseline.rows.values()]), " ],")


def _digest(lines: list[str]) -> str:
    """Baselines change by being accepted alone: rows that were cut out would not be missed by a comparison."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _separated(entries: list[str]) -> Iterator[str]:
    for number, entry in enumerate(entries, start=1):
        yield entry if number == len(entries) else f"{entry},"


def _record(row: Row) -> dict[str, Any]:
    record: dict[str, Any] = {"id": row.id}
    if row.kinds:
        record["kinds"] = row.kinds
    if row.failed:
        record["failed"] = True
    return {**record, "ranking": row.ranking, "values": dict(sorted(row.values.items()))}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _place(text: str, keys: tuple[int | str, ...]) -> str:
    """Where the damage is: the keys that lead there, and the line of an item."""
    where = ".".join(str(key) for key in keys)
    if len(keys) > 1 and isinstance(keys[1], int):
        start = next((n for n, line in enumerate(text.split("\n"), start=1) if line.strip() == '"items": ['), None)
        return f"line {start + 1 + keys[1]}: {where}" if start is not None else where
    return where


def _mend(suite: str) -> str:
    return f"take it from git again, or make it anew with {acceptance(suite)}"
