"""What answers cost, summed and projected; the command over a home."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from corpora import OPEN

from domicile.bootstrap import Home
from domicile.cli import main
from domicile.costs import GROUPS, HOURS_OF_A_MONTH, grouped, project
from domicile.domain import Cost, Sensitivity, Usage
from domicile.policy import Price, Sink
from domicile.ports import Account, Booking, Total

DAY = date(2026, 2, 15)
HOSTED = Total(DAY, "t", "k", "c", "acme", "m", "USD", 5, 4, 1, 4_000, 400, 0.0, 0.002, 0.001)
LOCAL = Total(DAY, "t", "l", "c", "local", "smollm2", "USD", 2, 2, 0, 900, 100, 72.0, 0.001, 0.0006)
CACHED = replace(LOCAL, model="cache", calls=100, answers=100, prompt_tokens=0, cpu_seconds=0.1)
SINK = Sink(
    "acme", "llm", "openai/m", "http://127.0.0.1:1/v1", frozenset({"de"}), frozenset({"de"}), 0, False, False,
    Sensitivity.INTERNAL, frozenset(), OPEN.purposes, price=Price(1.0, 10.0),
)  # fmt: skip


def test_totals_are_summed_by_what_is_asked_for_and_each_currency_apart() -> None:
    totals = [HOSTED, replace(HOSTED, day=DAY + timedelta(days=1), highest=0.5), LOCAL, replace(LOCAL, currency="EUR")]
    rows = grouped(totals, "sink")
    assert [(name, sums.currency) for name, sums in rows] == [("acme", "USD"), ("local", "EUR"), ("local", "USD")]
    assert (rows[0][1].calls, rows[0][1].answers, rows[0][1].prompt_tokens) == (10, 8, 8_000)
    assert (rows[0][1].amount, rows[0][1].highest) == (0.004, 0.5)
    assert rows[0][1].to_json()["mean"] == 0.0005
    names = {by: [name for name, _ in grouped(totals, by)] for by in GROUPS}
    assert names["day"] == ["2026-02-15", "2026-02-15", "2026-02-16"]
    assert names["key"] == ["t/k", "t/l", "t/l"]
    assert grouped([], "sink") == []
    assert grouped([replace(HOSTED, answers=0)], "sink")[0][1].to_json()["mean"] is None


def test_a_projection_takes_hosted_tokens_and_the_cpu_time_of_local_answers() -> None:
    found = project([HOSTED, LOCAL, CACHED, replace(HOSTED, currency="EUR")], [SINK], 1_000, "USD", cpu_hour=0.05)
    assert (found.measured, found.prompt_tokens, found.completion_tokens, found.cpu_seconds) == (
        "hosted",
        1_000,
        100,
        36,
    )
    local, acme = found.places
    assert (local.name, local.each, local.month) == ("local", pytest.approx(0.0005), pytest.approx(0.5))
    assert (acme.each, acme.month) == (pytest.approx(0.002), pytest.approx(2.0))  # 1,000 at 1 and 100 at 10 a million
    assert acme.cpu_hour == pytest.approx(0.2)
    assert 36 / 3600 * 0.2 == pytest.approx(acme.each), "control: at that rate both cost the same"
    assert acme.answers == pytest.approx(HOURS_OF_A_MONTH * 0.05 / 0.002)


def test_what_was_not_measured_is_not_made_up() -> None:
    nothing = project([CACHED, replace(HOSTED, answers=0)], [SINK], 10, "USD", 0.05)
    assert (nothing.measured, [place.each for place in nothing.places]) == ("nothing", [None, None])
    local = project([LOCAL], [SINK, replace(SINK, name="judge", price=None)], 10, "USD", 0.05)
    assert (local.measured, local.prompt_tokens, len(local.places)) == ("local", 450, 2)
    hosted = project([HOSTED], [SINK], 10, "USD", 0.05)
    assert (hosted.places[0].each, hosted.places[1].cpu_hour) == (None, None)
    free = project([HOSTED, LOCAL], [replace(SINK, price=Price(0, 0))], 10, "USD", 0.05)
    assert (free.places[1].month, free.places[1].answers) == (0, None)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    (path / "domicile.toml").write_text(
        '[[sinks]]\nname = "acme"\nmodel = "openai/m"\napi_base = "http://127.0.0.1:9/v1"\napi_key = { env = "K" }\n'
        'processing_regions = ["eu"]\nstorage_regions = ["eu"]\nretention_days = 0\ntraining = false\n'
        'human_review = false\nmax_sensitivity = "internal"\ncategories = []\npurposes = ["answer"]\n'
        "price = { input_per_million = 1.0, output_per_million = 10.0 }\n"
    )
    return path


def run(home: Path, *words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["cost", "report", "--home", str(home), *words])
    return code, out.getvalue(), err.getvalue()


def as_json(home: Path, *words: str) -> dict[str, Any]:
    code, out, _ = run(home, "--json", *words)
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_home_without_answers_has_an_empty_report_and_no_file(home: Path) -> None:
    report = as_json(home, "--volume", "1000")
    assert (report["rows"], report["unsettled"], report["projection"]["measured"]) == ([], 0, "nothing")
    assert not (home / "state").exists()
    assert "Nothing was booked" in run(home)[1]


def test_the_report_of_a_home(home: Path) -> None:
    ledger, now = Home.open(home, {}).ledger(), datetime.now(UTC)
    entry = Booking("t", "k", "c", "acme", "openai/m", Usage(1_000, 100), Cost(0.002))
    ledger.book(None, entry, now)
    ledger.book(None, replace(entry, tenant="u", cost=Cost(0.004, estimated=True)), now)
    ledger.book(None, replace(entry, sink="local", model="x", usage=Usage(900, 9, 36.0), cost=Cost(0.0005)), now)
    ledger.book(None, replace(entry, cost=Cost(9.0)), now - timedelta(days=40))
    assert ledger.reserve(Account("t", "k"), 0.5, now - timedelta(hours=1)) is not None
    day, before = now.date(), now.date() - timedelta(days=1)
    of_now = ("--from", str(before), "--to", str(day))
    report = as_json(home, *of_now, "--volume", "1000")
    assert [(row["sink"], row["answers"], row["estimated"]) for row in report["rows"]] == [
        ("acme", 2, 1),
        ("local", 1, 0),
    ]
    assert report["rows"][0]["amount"] == pytest.approx(0.006)
    assert report["unsettled"] == pytest.approx(0.5)
    assert [place["month"] for place in report["projection"]["places"]] == pytest.approx([0.5, 2.0])
    assert [row["sink"] for row in as_json(home, *of_now, "--tenant", "u")["rows"]] == ["acme"]
    assert [row["tenant"] for row in as_json(home, *of_now, "--by", "tenant")["rows"]] == ["t", "u"]
    assert as_json(home, "--from", "2020-01-01")["rows"][0]["amount"] == pytest.approx(9.006)
    shown = run(home, *of_now, "--volume", "1000")[1]
    for words in (
        "0.006000 USD",
        "0.003000 an answer",
        "1 estimated",
        "set aside",
        "estimated from the mean",
        "2.00 USD",
    ):
        assert words in shown


@pytest.mark.parametrize(
    "words",
    [("--from", "yesterday"), ("--to", "2026-02-30"), ("--from", "2026-02-02", "--to", "2026-02-01"),
     ("--volume", "0"), ("--volume", "-5"), ("--by", "colour")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_its_name(home: Path, words: tuple[str, ...]) -> None:
    code, out, err = run(home, *words)
    assert (code, out) == (2, "")
    assert words[0] in err


def test_a_damaged_ledger_is_named(home: Path) -> None:
    (home / "state").mkdir()
    (home / "state" / "ledger.sqlite").write_bytes(b"no database" * 100)
    code, _, err = run(home)
    assert code == 1
    assert "ledger.sqlite" in err
    assert "restore the file" in err
