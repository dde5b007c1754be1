"""``domicile search``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from domicile import wire
from domicile.bootstrap import Home
from domicile.commands.filtering import add_filter_flags, conditions_of
from domicile.commands.principal import add_principal_flags, principal_of
from domicile.console import Console, parser, run


def main(argv: Sequence[str]) -> int:
    flags = parser(
        "domicile search",
        "Find the passages of a collection that fit a question.",
        '  domicile search "parental leave" --collection handbook\n'
        '  domicile search "invoice 4711" --collection handbook --mode lexical --top 3 --json\n'
        '  domicile search "pump" --collection handbook --filter source=wiki --filter "date>=2024-01-01"',
    )
    flags.add_argument("query", help="the question; nothing in it is query syntax")
    flags.add_argument("--collection", required=True, metavar="C")
    flags.add_argument("--mode", choices=("hybrid", "dense", "lexical"), default="hybrid")
    flags.add_argument("--top", type=int, default=10, metavar="N", help="how many passages, 1 to 200 (default: 10)")
    add_filter_flags(flags)
    add_principal_flags(flags)
    flags.set_defaults(handler=_search)
    return run(flags.parse_args(argv))


def _search(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    conditions = conditions_of(parsed, home.regions)
    indexes = home.indexes()
    principal = principal_of(parsed)
    indexes.pin(parsed.collection, principal)  # an unknown collection is said before a model is loaded
    retriever = home.retriever(indexes, home.embedder())
    result = retriever.search(parsed.query, parsed.collection, principal, parsed.mode, parsed.top, conditions)
    if (trouble := indexes.trouble(parsed.collection)) is not None:
        console.note(f"warning: serving generation {result.generation}: {trouble}")
    for note in result.notes:
        console.note(f"warning: {note}")
    console.result(wire.search_result(result, home.regions))
    for hit in result.hits:
        page = f", p. {hit.chunk.page}" if hit.chunk.page else ""
        heading = f" · {' › '.join(hit.chunk.heading)}" if hit.chunk.heading else ""
        console.say(f"{hit.rank:>3}. {hit.chunk.document}{page}{heading}  ({hit.score:.4f})")
        console.say(f"     {' '.join(hit.chunk.text.split())[:240]}\n")
    if not result.hits:
        console.say("Nothing found.")
    return 0
