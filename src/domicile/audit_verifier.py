"""Checks every byte of an audit log, with nothing but Python and the package `cryptography`: it shares no code with the writer.

    python audit_verifier.py AUDIT_DIR [--key PUBLIC_KEY] [--head HASH] [--part] [--json]

The log is a folder: `key.pub` (the Ed25519 key in hexadecimal), `000000000001.log` and so on, each named by the first entry in
it, and `HEAD`, which names the newest. Every line is `<sha256> <signature> <JSON>`: the sha256 of the JSON's bytes, the signature
of that. `prev` in the JSON is the sha256 of the entry before. Take a copy first where somebody writes the log.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

GENESIS = "0" * 64
MAX_LINE = 2 << 20
LINE = re.compile(rb"([0-9a-f]{64}) ([0-9a-f]{128}) (\{[^\n]*\})\n")
Extent = tuple[bytes, dict[str, int]]
Look = Callable[[Path], Extent]
NAME = re.compile(r"[0-9]{12}\.log")


@dataclass
class Verdict:
    """`entries` were found intact, the newest with the hash `head`; `file` and `entry` say where that ended."""

    ok: bool = False
    entries: int = 0
    head: str = GENESIS
    key: str | None = None
    file: str | None = None
    entry: int | None = None
    reason: str | None = None


class Bad(Exception):
    """The file, and what is wrong with it."""


def opened(key: Ed25519PublicKey, file: str, raw: bytes, purpose: bytes) -> tuple[str, dict[str, object]]:
    """Hash and JSON of a line, once both its hash and its signature fit."""
    if (parts := LINE.fullmatch(raw)) is None:
        raise Bad(file, "this is no complete line of a log")
    digest = hashlib.sha256(parts[3]).digest()
    if digest.hex().encode() != parts[1]:
        raise Bad(file, "the bytes do not have this hash")
    try:
        key.verify(bytes.fromhex(parts[2].decode()), purpose + digest)
        return digest.hex(), json.loads(parts[3])
    except InvalidSignature:
        raise Bad(file, "the signature is not by this key") from None
    except (ValueError, RecursionError):
        raise Bad(file, "this is no JSON") from None


def extent(folder: Path) -> Extent:
    """`HEAD` and the size of each file now: whatever is appended after that is not looked at."""
    head, sizes = (folder / "HEAD").read_bytes(), {}
    for name in os.listdir(folder):
        path = folder / name
        if path.is_symlink() or not path.is_file() or not (NAME.fullmatch(name) or name in ("HEAD", "key.pub")):
            raise Bad(name, "this is no file of a log")
        sizes[name] = path.stat().st_size
    return head, sizes


def read(folder: Path, found: Extent, verdict: Verdict, wanted: str | None, anchors: set[str], part: bool) -> None:
    """Read everything, and keep the verdict up to date."""
    head_line, sizes = found
    text = (folder / "key.pub").read_bytes()
    if re.fullmatch(rb"[0-9a-f]{64}\n", text) is None or wanted not in (None, text[:64].decode()):
        raise Bad("key.pub", f"this is not {'a' if wanted is None else 'that'} public key")
    verdict.key = text[:64].decode()
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(verdict.key))
    head = opened(key, "HEAD", head_line, b"domicile audit head\n")[1]
    names = sorted(filter(NAME.fullmatch, sizes))
    seq, at, newest = int(names[0][:12]) - 1 if part and names else 0, "", (0, GENESIS, "", 0)
    for name in names:
        verdict.entry = seq + 1
        if name != f"{seq + 1:012d}.log" or not sizes[name]:
            raise Bad(name, f"this is empty, or not the file that begins with entry {seq + 1}")
        for digest, entry, end in lines(key, folder / name, sizes[name]):
            linked = entry.get("prev") == verdict.head or (part and not verdict.entries)
            if not linked or entry.get("seq") != seq + 1 or str(entry.get("at") or "") < at:
                raise Bad(name, "this does not follow the entry before it")
            seq, at = seq + 1, str(entry.get("at"))
            verdict.entries, verdict.head, verdict.entry = verdict.entries + 1, digest, seq + 1
            anchors.discard(digest)
            newest = (seq, digest, name, end) if seq == head.get("seq") else newest
    verdict.entry = None
    if newest != tuple(map(head.get, ("seq", "hash", "file", "size"))):
        raise Bad("HEAD", f"entry {head.get('seq')}, the newest by this, is missing or another")
    if anchors:
        raise Bad("HEAD", f"no entry has the hash {min(anchors)}")


def lines(key: Ed25519PublicKey, path: Path, size: int) -> Iterator[tuple[str, dict[str, object], int]]:
    """Hash and JSON of each entry of a file, and where it ends."""
    with path.open("rb") as stream:
        while stream.tell() < size:
            raw = stream.readline(min(MAX_LINE, size - stream.tell()))
            yield *opened(key, path.name, raw, b"domicile audit record\n"), stream.tell()


def verify(
    folder: Path, key: str | None = None, anchors: Iterable[str] = (), part: bool = False, look: Look = extent
) -> Verdict:
    """Check a log; `look` finds its extent while nobody writes. Without key and anchors an empty folder is a log."""
    verdict, wanted = Verdict(), set(anchors)
    try:
        if folder.is_dir() and os.listdir(folder):
            read(folder, look(folder), verdict, key, wanted, part)
        elif key or wanted:
            raise Bad(".", "there is no log here")
        verdict.ok = True
    except Bad as error:
        verdict.file, verdict.reason = error.args
    except OSError as error:
        verdict.file, verdict.reason = Path(str(error.filename)).name, f"cannot be read: {error.strerror}"
    return verdict


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("folder", type=Path, metavar="AUDIT_DIR")
    flags.add_argument("--key", help="the public key that it has to be, as noted down earlier")
    flags.add_argument("--head", nargs="*", default=[], metavar="HASH", help="of an entry that has to be in it")
    flags.add_argument("--part", action="store_true", help="of a log, as in an evidence pack: begins with any entry")
    flags.add_argument("--json", action="store_true", help="print the verdict as JSON")
    given = flags.parse_args()
    found = verify(given.folder, given.key, given.head, given.part)
    bad = "" if found.ok else f"DAMAGED: {found.file}, entry {found.entry}: {found.reason}; before that "
    text = f"{bad}{found.entries} entries, head {found.head}, key {found.key}"
    sys.stdout.write(f"{json.dumps(asdict(found)) if given.json else text}\n")
    return 0 if found.ok else 6


if __name__ == "__main__":
    sys.exit(main())
