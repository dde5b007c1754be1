"""``domicile models``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from domicile.bootstrap import Home
from domicile.console import Console, parser, prepare_home, run, subparser
from domicile.errors import Damaged, DomicileError
from domicile.files import replace_durably, storage_errors
from domicile.models.artefact import ModelFolder


def main(argv: Sequence[str]) -> int:
    flags = parser("domicile models", "The model artefacts: the same files embed the corpus and answer the questions.")
    actions = flags.add_subparsers(required=True, metavar="build|verify|list")
    build = subparser(
        actions,
        "build",
        _build,
        "build the default embedder and language model where they are missing or damaged",
        "  domicile models build\n  domicile models build all-minilm-l6-v2\n  domicile models build --measure",
    )
    build.add_argument("names", nargs="*", metavar="NAME", help="which ones (default: all)")
    build.add_argument(
        "--measure",
        action="store_true",
        help="then compare the engines and precisions that this machine has for the embedder, and propose one",
    )
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
    for row in rows:
        console.say(
            f"{row['name']:<20} {row['kind']:<9} "
            + (f"built in {row['seconds']} s" if row["built"] else "verified, nothing to do")
        )
    console.result({"models": rows} | (_measure(home, console) if parsed.measure else {}))
    return 0


def _measure(home: Home, console: Console) -> dict[str, Any]:
    """Compare the engines, show it, keep it in ``state/engine-measurements.json``."""
    from domicile.models.measure import measure, propose

    found = measure(home.embedders(), progress=console.note)
    chosen = home.settings.models
    better = propose(found, (chosen.engine, chosen.precision))
    lines = [] if better is None else [f'engine = "{better.engine}"', f'precision = "{better.precision}"']
    record: dict[str, Any] = {
        "embedder": chosen.embedder,
        "threads": home.threads(),
        "measurements": [asdict(one) for one in found],
        "proposal": lines,
    }
    with storage_errors("the measurements"):
        path = home.path / "state" / "engine-measurements.json"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_durably(path, f"{json.dumps(record, indent=1)}\n".encode(), mode=0o600)
    console.say(f"\n{'engine':<12} {'precision':<9} {'texts/s':>8} {'query ms':>9} {'least cosine':>13} {'overlap':>8}")
    for one in found:
        figures = f"{one.texts_per_second:>8} {one.query_ms:>9} {one.cosine_min:>13} {one.overlap:>8}"
        console.say(f"{one.engine:<12} {one.precision:<9} {figures}")
    if better is None:
        console.say("\nNothing to gain: the engine that is set now is as good as any that this machine has.")
    else:
        console.say("\nPut this into domicile.toml, then run `domicile ingest reindex` for each collection:")
        console.say("\n".join(["", "[models]", *lines]))
    return record


def _verify(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    rows = _rows(home, trust=False)
    ok = all(row["sha256_ok"] for row in rows)
    console.result({"ok": ok, "models": rows})
    for row in rows:
        console.say(f"{row['name']:<20} {row['kind']:<9} {'ok' if row['sha256_ok'] else row['reason']}")
    return 0 if ok else Damaged.exit_code


def _list(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    rows = _rows(home, trust=True)
    console.result({"models": rows})
    for row in rows:
        size = f"{row['bytes'] / 1e6:,.0f} MB" if row["sha256_ok"] else row["reason"]
        console.say(f"{row['name']:<20} {row['kind']:<9} {row['engine'] or '-':<22} {size}")
    return 0


def _rows(home: Home, *, trust: bool) -> list[dict[str, Any]]:
    """The configured models; a reranker is none unless one is named."""
    chosen = home.settings.models
    rows = [_embedder_row(home, trust=trust), _row(chosen.llm, "llm", home.llm_folder, trust=trust)]
    if chosen.reranker:
        rows.append(_row(chosen.reranker, "reranker", home.reranker_folder, trust=trust))
    return rows


def _embedder_row(home: Home, *, trust: bool) -> dict[str, Any]:
    chosen = home.settings.models
    row = _row(chosen.embedder, "embedder", home.embedder_folder, trust=trust)
    return row | ({"engine": chosen.engine, "precision": chosen.precision} if row["sha256_ok"] else {})


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
