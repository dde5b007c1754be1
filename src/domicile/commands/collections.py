"""``domicile collections``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from domicile.bootstrap import Home
from domicile.console import Console, parser, run
from domicile.errors import Damaged


def main(argv: Sequence[str]) -> int:
    flags = parser(
        "domicile collections",
        "List the collections of this home and what serves of each.",
        "  domicile collections --json",
    )
    flags.set_defaults(handler=_list)
    return run(flags.parse_args(argv))


def _list(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    rows = [_row(home, name) for name in home.indexes().names()]
    console.result({"collections": rows})
    for row in rows:
        console.say(
            f"{row['name']:<24} generation {row['generation'] or 'none'}"
            f"  {row['documents']:,} documents  {row['chunks']:,} chunks"
            + (f"  ({row['trouble']})" if row["trouble"] else "")
        )
    if not rows:
        console.say("No collections yet: `domicile ingest run SOURCE --collection NAME` makes one.")
    return 0


def _row(home: Home, name: str) -> dict[str, object]:
    try:
        manifest, trouble = home.generations(name).newest_intact()
    except Damaged as error:
        return {"name": name, "generation": None, "documents": 0, "chunks": 0, "embedder": None, "trouble": str(error)}
    return {
        "name": name,
        "generation": manifest.generation,
        "documents": manifest.counts.documents,
        "chunks": manifest.counts.chunks,
        "embedder": manifest.embedder.name,
        "trouble": trouble,
    }
