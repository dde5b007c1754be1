"""``domicile keys``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from domicile.bootstrap import Home
from domicile.commands.principal import split_groups
from domicile.console import Console, parser, prepare_home, run, subparser
from domicile.declarations import WORD
from domicile.errors import UsageError


def main(argv: Sequence[str]) -> int:
    flags = parser("domicile keys", "API keys: created once, shown once, stored as a hash.")
    actions = flags.add_subparsers(required=True, metavar="create|revoke")
    create = subparser(
        actions,
        "create",
        _create,
        "make a key; it is shown only now",
        "  domicile keys create --tenant default --groups hr,board --json\n"
        "  domicile keys create --groups hr --ingest     # may also write documents",
    )
    create.add_argument("--tenant", default="default", metavar="T")
    create.add_argument("--groups", default="", metavar="A,B", help="the groups that the bearer belongs to")
    create.add_argument(
        "--budget",
        type=float,
        metavar="MONEY",
        help="that hosted answers may cost in a day (UTC); when it is spent, answers are made here",
    )
    create.add_argument("--budget-month", type=float, metavar="MONEY", help="the same for a calendar month")
    create.add_argument("--ingest", action="store_true", help="may submit ingestions, and put and delete documents")
    revoke = subparser(actions, "revoke", _revoke, "end a key at once", "  domicile keys revoke 3f2a9c41b7d0")
    revoke.add_argument("id", metavar="ID")
    return run(flags.parse_args(argv))


def _create(parsed: argparse.Namespace, console: Console) -> int:
    for flag, money in (("--budget", parsed.budget), ("--budget-month", parsed.budget_month)):
        if money is not None and not 0 <= money < 1e9:
            raise UsageError(f"{flag}: must be a number from 0 to 999,999,999")
    if not re.fullmatch(WORD, parsed.tenant):
        raise UsageError("--tenant: must be a lower-case word, such as `default`")
    prepare_home(console.home)
    home = Home.open(console.home, console.environment)
    made = home.keys().create(
        parsed.tenant,
        split_groups(parsed.groups),
        parsed.budget,
        budget_month=parsed.budget_month,
        may_ingest=parsed.ingest,
    )
    console.result({"id": made.id, "key": made.key})
    console.say(
        f"id   {made.id}\nkey  {made.key}\n\nSend it as `Authorization: Bearer …`. It is not stored and cannot be shown again."
    )
    return 0


def _revoke(parsed: argparse.Namespace, console: Console) -> int:
    Home.open(console.home, console.environment).keys().revoke(parsed.id)
    console.result({"id": parsed.id, "revoked": True})
    console.say(f"{parsed.id} is revoked.")
    return 0
