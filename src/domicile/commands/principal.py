"""Who asks on the command line: the home's owner, whom flags may narrow."""

from __future__ import annotations

import argparse

from domicile.domain import OWNER, Principal


def add_principal_flags(flags: argparse.ArgumentParser) -> None:
    """``--tenant`` and ``--groups``."""
    flags.add_argument(
        "--tenant", metavar="T", help="ask as a member of this tenant only (default: the owner, who sees all)"
    )
    flags.add_argument("--groups", metavar="A,B", help="ask as a member of these groups only; empty for none")


def principal_of(parsed: argparse.Namespace) -> Principal:
    """The owner, narrowed by the flags that were given."""
    return Principal(OWNER.name, parsed.tenant, None if parsed.groups is None else split_groups(parsed.groups))


def split_groups(text: str) -> frozenset[str]:
    """``a,b`` as a set; an empty text is no group."""
    return frozenset(filter(None, (name.strip() for name in text.split(","))))
