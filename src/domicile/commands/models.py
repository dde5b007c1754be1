"""``domicile models``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from domicile.bootstrap import Home
from domicile.console import Console, parser, prepare_home, run, subparser
from domicile.errors import Damaged, DomicileError
from domicile.models.artefact import ModelFolder


def main(argv: Sequence[str]) -> int:
    flags = parser("domicile models", "The model artefacts: the same files embed the corpus and answer the questions.")
    actions = flags.add_subparsers(required=True, metavar="build|verify|list")
    build = subparser(
        actions,
        "build",
        _build,
        "build the default embedder and language model where they are missing or damaged",
        "  domicile models build\n  domicile models build all-minilm-l6-v2",
    )
    build.add_argument("names", nargs="*", metavar="NAME", help="which ones (default: all)")
    subparser(
        actions,
        "verify",
        _verify,
        "read every byte of the configured models; exit 6 where one is damaged",
        "  domicile models verify --json",
    )
    subparser(actions, "list", _list, "show the configured models", "  domicile models list")
    return run(flags.parse_args(argv))


def _build(parsed: argparse.Namespace, console: Console) -> int:
    from domicile.models.build import build_models

    prepare_home(console.home)
    home = Home.open(console.home, console.environment)
    built = build_models(home.models_dir, console.home / "cache" / "weights", parsed.names or None, console.note)
    rows = [
        {"name": b.name, "kind": b.kind, "path": str(b.path), "built": b.built, "seconds": round(b.seconds, 1)}
        for b in built
    ]
    console.result({"models": rows})
    for row in rows:
        console.say(
            f"{row['name']:<20} {row['kind']:<9} "
            + (f"built in {row['seconds']} s" if row["built"] else "verified, nothing to do")
        )
    return 0


def _verify(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    rows = [
        _row(home.settings.models.embedder, "embedder", home.embedder_folder, trust=False),
        _row(home.settings.models.llm, "llm", home.llm_folder, trust=False),
    ]
    ok = all(row["sha256_ok"] for row in rows)
    console.result({"ok": ok, "models": rows})
    for row in rows:
        console.say(f"{row['name']:<20} {row['kind']:<9} {'ok' if row['sha256_ok'] else row['reason']}")
    return 0 if ok else Damaged.exit_code


def _list(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    rows = [
        _row(home.settings.models.embedder, "embedder", home.embedder_folder, trust=True),
        _row(home.settings.models.llm, "llm", home.llm_folder, trust=True),
    ]
    console.result({"models": rows})
    for row in rows:
        size = f"{row['bytes'] / 1e6:,.0f} MB" if row["sha256_ok"] else row["reason"]
        console.say(f"{row['name']:<20} {row['kind']:<9} {row['engine'] or '-':<22} {size}")
    return 0


def _row(name: str, kind: str, open_folder: Callable[..., ModelFolder], *, trust: bool) -> dict[str, Any]:
    """One model, read as serving would read it; what is wrong with it is a fact about it and no error here."""
    try:
        folder = open_folder(trust=trust)
    except DomicileError as error:
        return {"name": name, "kind": kind, "engine": None, "sha256_ok": False, "reason": str(error), "bytes": 0}
    size = sum(entry.size for entry in folder.card.files.values())
    return {
        "name": folder.card.name,
        "kind": kind,
        "engine": folder.card.engine,
        "sha256_ok": True,
        "path": str(folder.path),
        "bytes": size,
    }
