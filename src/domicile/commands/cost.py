"""``domicile cost``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime

from domicile.bootstrap import Home
from domicile.console import Console, parser, run, subparser
from domicile.costs import GROUPS, Projection, Spending, grouped, project
from domicile.errors import UsageError

MAX_VOLUME = 1_000_000_000


def main(argv: Sequence[str]) -> int:
    flags = parser("domicile cost", "What answers cost: tokens and money.")
    actions = flags.add_subparsers(required=True, metavar="report")
    made = subparser(
        actions,
        "report",
        _report,
        "sum what was booked, and project what a month would cost here and with each sink",
        "  domicile cost report --from 2026-02-01 --by tenant\n  domicile cost report --volume 100000",
    )
    made.add_argument(
        "--from", dest="since", metavar="DAY", help="the first day, UTC (default: the first of the month)"
    )
    made.add_argument("--to", dest="until", metavar="DAY", help="the last day, UTC (default: today)")
    made.add_argument("--tenant", metavar="T", help="of this tenant alone")
    made.add_argument("--by", choices=sorted(GROUPS), default="sink", help="a row for each (default: sink)")
    made.add_argument("--volume", type=int, metavar="N", help="answers of a month, for the projection")
    return run(flags.parse_args(argv))


def _report(parsed: argparse.Namespace, console: Console) -> int:
    now = datetime.now(UTC)
    until = _day("--to", parsed.until, now.date())
    since = _day("--from", parsed.since, until.replace(day=1))
    if since > until:
        raise UsageError(f"--from {since}: is after --to {until}")
    if parsed.volume is not None and not 1 <= parsed.volume <= MAX_VOLUME:
        raise UsageError(f"--volume {parsed.volume}: from 1 to {MAX_VOLUME:,}")
    home = Home.open(console.home, console.environment)
    ledger, costs = home.ledger(), home.settings.costs
    totals = [total for total in ledger.totals(since, until) if parsed.tenant in (None, total.tenant)]
    rows = grouped(totals, parsed.by)
    unsettled = ledger.unsettled(since, until, now)
    sinks = [sink for sink in home.sinks() if sink.kind == "llm"]
    projection = (
        None if parsed.volume is None else project(totals, sinks, parsed.volume, costs.currency, costs.cpu_hour)
    )
    console.result(
        {
            "from": since.isoformat(),
            "to": until.isoformat(),
            "by": parsed.by,
            "rows": [{parsed.by: name, **spending.to_json()} for name, spending in rows],
            "unsettled": unsettled,
            "projection": None if projection is None else asdict(projection),
        }
    )
    _show(console, rows, since, until)
    if unsettled:
        console.say(
            f"{unsettled:.6f} {costs.currency} were set aside for calls of which nothing was heard again, in all tenants; "
            "budgets count them as spent."
        )
    if projection is not None:
        _show_projection(console, projection, costs.cpu_hour)
    return 0


def _show(console: Console, rows: Sequence[tuple[str, Spending]], since: date, until: date) -> None:
    if not rows:
        console.say(f"Nothing was booked from {since} to {until}.")
    for name, sums in rows:
        mean = "" if (each := sums.per_answer(sums.amount)) is None else f", {each:.6f} an answer"
        console.say(
            f"{name:<24} {sums.answers:,} answers  {sums.prompt_tokens:,} + {sums.completion_tokens:,} tokens  "
            f"{sums.amount:.6f} {sums.currency}{mean} (at most {sums.highest:.6f})"
            + (f", {sums.estimated:,} estimated" if sums.estimated else "")
        )


def _show_projection(console: Console, projection: Projection, cpu_hour: float) -> None:
    console.say(f"A month of {projection.volume:,} answers, estimated from the mean of those above:")
    if projection.measured == "local":
        console.say("  (the local model counted the tokens; a provider counts otherwise)")
    for place in projection.places:
        if place.each is None:
            console.say(f"  {place.name:<22} not known: no such answer was booked")
            continue
        line = f"  {place.name:<22} {place.month:,.2f} {projection.currency} ({place.each:.6f} an answer)"
        if place.cpu_hour is not None:
            line += f"; here it costs as much where a core costs {place.cpu_hour:.4f} an hour (now {cpu_hour:.4f})"
        if place.answers is not None:
            line += f"; a core that is paid all month is cheaper from {place.answers:,.0f} answers on"
        console.say(line)


def _day(flag: str, text: str | None, otherwise: date) -> date:
    if text is None:
        return otherwise
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{flag} {text}: a day such as 2026-02-28") from None
