"""``domicile ask``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from domicile import labels, wire
from domicile.bootstrap import Home
from domicile.commands.filtering import add_filter_flags, conditions_of
from domicile.commands.principal import add_principal_flags, principal_of
from domicile.console import Console, parser, run
from domicile.domain import Answer, Turn
from domicile.inquiry import AnswerRequest

LOAD_SECONDS = 60.0
"""How long a single question waits for the language model to load."""


def main(argv: Sequence[str]) -> int:
    flags = parser(
        "domicile ask",
        "Ask a collection. The answer comes with quotes that were checked against the source.",
        '  domicile ask "How many days of parental leave?" --collection handbook\n'
        '  domicile ask "Who may see the minutes?" --collection handbook --mode extractive --groups board --json',
    )
    flags.add_argument("question")
    flags.add_argument("--collection", required=True, metavar="C")
    flags.add_argument(
        "--mode", choices=("auto", "extractive", "generate"), default="auto", help="extractive runs no language model"
    )
    flags.add_argument("--regions", metavar="R,S", help="allow only these regions for this question; flags only narrow")
    flags.add_argument(
        "--sensitivity", metavar="S", help="treat this question as public, internal, confidential or restricted"
    )
    flags.add_argument("--no-hosted", action="store_true", help="send this question to no hosted provider")
    flags.add_argument(
        "--after",
        action="append",
        default=[],
        metavar="QUESTION",
        help="what was asked before, which this question may refer to; repeatable, oldest first",
    )
    add_filter_flags(flags)
    add_principal_flags(flags)
    flags.set_defaults(handler=_ask)
    return run(flags.parse_args(argv))


def _ask(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    request = AnswerRequest(
        parsed.question,
        parsed.collection,
        principal_of(parsed),
        parsed.mode,
        labels.parse(_flags(parsed), home.regions),
        conditions_of(parsed, home.regions),
        tuple(Turn("user", text) for text in parsed.after),
    )
    routing = home.routing()
    indexes = home.indexes()
    indexes.pin(request.collection, request.principal)  # an unknown collection is said before a model is loaded
    embedder = home.embedder()
    llm = home.llm(wait_seconds=LOAD_SECONDS)
    try:
        answering = home.answering(home.retriever(indexes, embedder), embedder, llm, routing, home.answer_cache())
        for piece in answering.answer(request):
            if isinstance(piece, Answer):
                _show(piece, home, console)
                if (trouble := indexes.trouble(request.collection)) is not None:
                    console.note(f"warning: serving generation {piece.generation}: {trouble}")
                for note in piece.notes:
                    console.note(f"warning: {note}")
                if piece.degraded == "audit":
                    console.note(f"warning: no receipt, and nothing may leave: {answering.audit_trouble()}")
                if piece.degraded == "model":
                    console.note(f"warning: answered without the language model: {answering.model_status().reason}")
    finally:
        llm.close()
        routing.close()
    return 0


def _flags(parsed: argparse.Namespace) -> dict[str, object]:
    """The residency flags as the contract names them; one that was not given says nothing."""
    given = {
        "regions": None if parsed.regions is None else parsed.regions.split(","),
        "sensitivity": parsed.sensitivity,
        "hosted": False if parsed.no_hosted else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _show(given: Answer, home: Home, console: Console) -> None:
    console.result(wire.answer(given, home.regions))
    if given.asked is not None:
        console.note(f"asked: {given.asked}")
    console.say(given.answer)
    for citation in given.citations:
        page = f", p. {citation.page}" if citation.page else ""
        console.say(
            f"\n[{citation.n}] {citation.title} ({citation.document}{page}, characters {citation.start} to {citation.end})"
        )
