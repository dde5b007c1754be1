"""``domicile audit``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from domicile.bootstrap import Home
from domicile.console import Console, parser, run, subparser
from domicile.errors import AuditDamaged, UsageError

if TYPE_CHECKING:
    from domicile.adapters.audit import FileAuditLog
    from domicile.audit_verifier import Extent, Verdict


def main(argv: Sequence[str]) -> int:
    flags = parser("domicile audit", "The signed log of every answer and of everything that left.")
    actions = flags.add_subparsers(required=True, metavar="verify|export")
    checked = subparser(
        actions,
        "verify",
        _verify,
        "read every byte of the log; exit 6 and the first bad entry where one was changed",
        "  domicile audit verify --json\n"
        "  domicile audit verify --key 3b6a… --head 9c1f…    # noted down earlier, elsewhere",
    )
    checked.add_argument("--key", metavar="KEY", help="the public key that it has to be (default: that of this home)")
    checked.add_argument("--head", metavar="HASH", action="append", default=[], help="an entry that has to be in it")
    export = subparser(
        actions,
        "export",
        _export,
        "write an evidence pack: the records of a period, policy, counts, samples, and what verifies them",
        "  domicile audit export --from 2026-10-01 --to 2026-12-31 --out evidence-2026-q4",
    )
    export.add_argument("--from", dest="first", required=True, metavar="DATE", help="the first day, UTC")
    export.add_argument("--to", dest="last", required=True, metavar="DATE", help="the last day, UTC")
    export.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="is made")
    return run(flags.parse_args(argv))


def _verify(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    log = home.audit()
    found = verified(home.path, log, parsed.key or log.own_key(), parsed.head)
    if not found.ok:
        return report_damage(console, found)
    console.result({"ok": True, "entries": found.entries, "head": found.head, "key": found.key})
    console.say(f"intact: {found.entries:,} entries, head {found.head}, key {found.key}")
    return 0


def _export(parsed: argparse.Namespace, console: Console) -> int:
    from domicile.commands.evidence_pack import Period, write_pack

    period = Period(_day("--from", parsed.first), _day("--to", parsed.last))
    if period.last < period.first:
        raise UsageError(f"--to {parsed.last}: is before --from {parsed.first}")
    out: Path = parsed.out.absolute()
    if out.exists():
        raise UsageError(f"--out {parsed.out}: is there already: name a folder that is not")
    home = Home.open(console.home, console.environment)
    log = home.audit()
    found = verified(home.path, log, log.own_key(), ())
    if not found.ok:
        return report_damage(console, found)
    summary = write_pack(out, log, period, home.settings.model_dump(mode="json"), found.head)
    console.result({"out": str(out), **summary})
    console.say(f"{out}: {summary['entries']:,} entries; README.txt there says how to verify them")
    return 0


def verified(home: Path, log: FileAuditLog, key: str | None, anchors: Sequence[str]) -> Verdict:
    """What the separate verifier says of the home's log, up to what stands in it now."""
    from domicile.audit_verifier import extent, verify

    def standing_still(folder: Path) -> Extent:
        with log.standing_still():
            return extent(folder)

    # without its lock nobody here writes the log: a copy of a home, or a read-only disk
    look: Callable[[Path], Extent] = standing_still if (home / "state" / "audit.lock").exists() else extent
    return verify(home / "audit", key, anchors, look=look)


def report_damage(console: Console, found: Verdict) -> int:
    """Say which entry is the first bad one; the exit code."""
    entry = "" if found.entry is None else f", entry {found.entry}"
    message = f"audit/{found.file}{entry}: {found.reason}"
    console.note(f"domicile: {message}")
    console.result(
        {
            "ok": False,
            "entries": found.entries,
            "head": found.head,
            "key": found.key,
            "error": {
                "type": AuditDamaged.__name__,
                "message": message,
                "file": found.file,
                "entry": found.entry,
            },
        }
    )
    console.say(f"damaged after {found.entries:,} intact entries")
    return AuditDamaged.exit_code


def _day(flag: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{flag} {text}: must be a day such as 2026-11-23") from None
