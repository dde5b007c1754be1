"""``domicile generations``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from domicile.adapters.manifest import Manifest
from domicile.bootstrap import Home
from domicile.console import Console, parser, run, subparser
from domicile.errors import IndexDamaged, UnknownCollection, UsageError
from domicile.files import hold, writer_lock


def main(argv: Sequence[str]) -> int:
    flags = parser("domicile generations", "The committed states of a collection's index.")
    actions = flags.add_subparsers(required=True, metavar="list|verify|rollback|gc")
    for name, handler, help_text in (
        ("list", _list, "show every retained generation"),
        (
            "verify",
            _verify,
            "read every byte of every retained generation and compare its sides; exit 6 where one is damaged",
        ),
        ("rollback", _rollback, "make another retained generation current"),
        ("gc", _gc, "remove old generations, but none in use; every commit does so on its own"),
    ):
        made = subparser(
            actions,
            name,
            handler,
            help_text,
            f"  domicile generations {name} --collection handbook" + _EXAMPLE_FLAGS.get(name, ""),
        )
        made.add_argument("--collection", required=True, metavar="C")
        if name == "rollback":
            made.add_argument("--to", type=int, required=True, metavar="N")
        if name == "gc":
            made.add_argument(
                "--keep", type=int, metavar="K", help="of the newest (default: ingestion.keep_generations; at least 1)"
            )
    return run(flags.parse_args(argv))


_EXAMPLE_FLAGS = {"rollback": " --to 3", "gc": " --keep 3"}


def _list(parsed: argparse.Namespace, console: Console) -> int:
    generations = Home.open(console.home, console.environment).generations(parsed.collection)
    if not generations.numbers():
        raise UnknownCollection(parsed.collection)
    trouble = generations.trouble_with_current()
    current = generations.current() if trouble is None else None
    rows = []
    for number in generations.numbers():
        try:
            manifest = generations.manifest(number)
            rows.append(
                {
                    "generation": number,
                    "parent": manifest.parent,
                    "created": manifest.created,
                    "documents": manifest.counts.documents,
                    "chunks": manifest.counts.chunks,
                    "current": current is not None and current.generation == number,
                    "search": _search_of(manifest),
                    "gate": manifest.model_dump(mode="json", include={"gate"})["gate"],
                }
            )
        except IndexDamaged as error:
            rows.append({"generation": number, "damaged": str(error)})
    console.result({"collection": parsed.collection, "generations": rows, "reason": trouble})
    if trouble:
        console.note(f"warning: {trouble}")
    for row in rows:
        console.say(
            f"{'*' if row.get('current') else ' '} {row['generation']:>6}  "
            + str(row.get("damaged") or f"{row['created']}  {row['documents']:,} documents  {row['chunks']:,} chunks")
            + _recall(row)
            + _verdict(row)
        )
    return 0


def _search_of(manifest: Manifest) -> dict[str, Any]:
    """How its vectors are searched, and what was fitted to it."""
    fitted = manifest.tuning.model_dump(mode="json", include={"dense", "evidence"}, exclude_none=True)
    if (found := manifest.approximate) is None or found.file is None:
        return {"kind": "exact", "tuned": fitted}
    measured = found.model_dump(mode="json", include={"target", "probes", "recall", "filtered", "near"})
    return {"kind": "approximate", **measured, "tuned": fitted}


def _recall(row: dict[str, Any]) -> str:
    search = row.get("search", {})
    found = f"  recall@10 {search['recall']:.3f}" if search.get("kind") == "approximate" else ""
    return found + ("  tuned" if search.get("tuned") else "")


def _verdict(row: dict[str, Any]) -> str:
    """The suite that was asked of it, and the first of its figures."""
    if (gate := row.get("gate")) is None:
        return ""
    figures = [f" {name} {value:.3f}" for name, value in gate["figures"].items()]
    return f"  passed {gate['suite']}" + "".join(figures[:1])


def _verify(parsed: argparse.Namespace, console: Console) -> int:
    home = Home.open(console.home, console.environment)
    generations = home.generations(parsed.collection)
    if not generations.numbers():
        raise UnknownCollection(parsed.collection)
    verify = home.verifier(parsed.collection)
    rows: list[dict[str, Any]] = []
    for number in generations.numbers():
        try:
            held = hold(generations.manifest_path(number))  # or a run would collect it while it is read
        except (FileNotFoundError, BlockingIOError):
            continue  # it was collected since
        try:
            verify(number)
            rows.append({"generation": number, "ok": True})
        except IndexDamaged as error:
            rows.append({"generation": number, "ok": False, "reason": str(error)})
        finally:
            os.close(held)
    trouble = generations.trouble_with_current()
    ok = trouble is None and all(row["ok"] for row in rows)
    console.result({"collection": parsed.collection, "ok": ok, "generations": rows, "reason": trouble})
    for row in rows:
        console.say(f"{row['generation']:>6}  {'intact' if row['ok'] else row['reason']}")
    if trouble:
        console.say(trouble)
    return 0 if ok else IndexDamaged.exit_code


def _rollback(parsed: argparse.Namespace, console: Console) -> int:
    generations = Home.open(console.home, console.environment).generations(parsed.collection)
    if not generations.numbers():
        raise UnknownCollection(parsed.collection)
    with writer_lock(generations.folder / "lock", f"collection {parsed.collection!r}"):
        manifest = generations.rollback(parsed.to)
    console.result({"collection": parsed.collection, "generation": manifest.generation})
    console.say(f"{parsed.collection} is at generation {manifest.generation}.")
    return 0


def _gc(parsed: argparse.Namespace, console: Console) -> int:
    if parsed.keep is not None and parsed.keep < 1:
        raise UsageError(f"--keep {parsed.keep}: at least 1")
    home = Home.open(console.home, console.environment)
    collection = home.collection(parsed.collection)
    removed, in_use = home.index_writer().collect(collection, parsed.keep)
    kept = home.generations(collection.name).numbers()
    console.result({"collection": collection.name, "removed": removed, "kept": kept, "in_use": in_use})
    console.say(f"{collection.name}: removed {_listed(removed)}; kept {_listed(kept)}")
    if in_use:
        console.say(f"in use, and left for the next time: {_listed(in_use)}")
    return 0


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "nothing"
