"""``domicile receipts``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from domicile.bootstrap import Home
from domicile.commands.audit import report_damage, verified
from domicile.console import Console, parser, run, subparser
from domicile.errors import AuditDamaged, UsageError


def main(argv: Sequence[str]) -> int:
    flags = parser("domicile receipts", "The signed record of an answer, or of what was sent for one.")
    actions = flags.add_subparsers(required=True, metavar="show|verify")
    show = subparser(actions, "show", _show, "print a receipt", "  domicile receipts show r_… --json > receipt.json")
    show.add_argument("id", metavar="ID")
    check = subparser(
        actions,
        "verify",
        _verify,
        "check a receipt's hash and signature, and that the log holds it; exit 6 where one does not fit",
        "  domicile receipts verify r_… --json\n"
        "  domicile receipts verify --file receipt.json --key 3b6a…    # without the log: hash and signature",
    )
    check.add_argument("id", metavar="ID", nargs="?")
    check.add_argument("--file", type=Path, metavar="FILE", help="what `receipts show --json` printed")
    check.add_argument("--key", metavar="KEY", help="the public key that it has to be signed with")
    return run(flags.parse_args(argv))


def _show(parsed: argparse.Namespace, console: Console) -> int:
    log = Home.open(console.home, console.environment).audit()
    receipt = log.receipt(parsed.id)
    console.result(receipt)
    console.say(json.dumps(receipt, indent=1, ensure_ascii=False))
    return 0


def _verify(parsed: argparse.Namespace, console: Console) -> int:
    if (parsed.id is None) == (parsed.file is None):
        raise UsageError("domicile receipts verify: name a receipt, or --file with one")
    try:
        if parsed.file is not None:
            return _say_intact(console, _read(parsed.file, parsed.key), in_log=None)
        home = Home.open(console.home, console.environment)
        log = home.audit()
        entry = log.entry(parsed.id)
    except AuditDamaged as error:
        console.note(f"domicile: {error}")
        console.result({"ok": False, "error": {"type": type(error).__name__, "message": str(error)}})
        return error.exit_code
    found = verified(home.path, log, parsed.key or log.own_key(), [entry.record.hash])
    if not found.ok:
        return report_damage(console, found)
    return _say_intact(console, entry.receipt(found.key or ""), in_log=True)


def _say_intact(console: Console, receipt: dict[str, object], *, in_log: bool | None) -> int:
    shown = {name: receipt[name] for name in ("id", "at", "seq", "kind", "hash", "key")}
    console.result({"ok": True, **shown, "checks": {"hash": True, "signature": True, "log": in_log}})
    console.say(f"intact: {receipt['id']}, entry {receipt['seq']} of {receipt['at']}, signed by {receipt['key']}")
    if in_log is None:
        console.say("Whether the log holds it was not checked: that needs the log.")
    return 0


def _read(path: Path, key: str | None) -> dict[str, object]:
    """The receipt in a file.

    Raises:
        AuditDamaged: a byte of it was changed, or another key signed it.
        UsageError: there is no such file.
    """
    from domicile.adapters.audit_lines import MAX_LINE, BadLine, Seal, read_entry

    try:
        if path.stat().st_size > 4 * MAX_LINE:
            raise ValueError("too large")
        receipt: dict[str, object] = json.loads(path.read_bytes())
        seal = Seal.of_public(str(receipt["key"]))
        if read_entry(seal, f"{receipt['line']}\n".encode()).receipt(seal.key) != receipt:
            raise ValueError("its fields are not those of its line")
    except OSError as error:
        raise UsageError(f"--file {path}: {error.strerror}") from None
    except (BadLine, ValueError, KeyError, TypeError, RecursionError) as error:
        raise AuditDamaged(f"{path}: not a receipt as it was shown ({error})") from None
    if key is not None and key != seal.key:
        raise AuditDamaged(f"{path}: signed by {seal.key}, and not by {key}")
    return receipt
