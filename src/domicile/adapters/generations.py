"""The generations of one collection on disk: which is current, whether it is intact, and how it becomes current.

    CURRENT                 "7 <sha256 of the manifest file>"
    generations/000007.json the manifest
    segments/ lexical/ tombstones/   what manifests name

A generation exists once its manifest is in place, and serves once ``CURRENT`` names it. See ``docs/adr/0003``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Collection as Some
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from math import inf
from pathlib import Path

from domicile.adapters.manifest import FileEntry, Manifest
from domicile.errors import IndexDamaged, NoIntactGeneration, UnknownGeneration
from domicile.files import FileInUse, HashMemory, fsync_path, hold, make_folders, replace_durably, retire

logger = logging.getLogger(__name__)


KINDS = ("segments", "dense", "lexical", "tombstones")
"""The folders of what manifests name."""

PATIENCE = 5
"""How often a reader that was overtaken by commits starts over."""

MAX_GENERATION = 999_999
"""Numbers have six digits in names of files; ten commits an hour reach this after eleven years."""


@dataclass(frozen=True, slots=True)
class Current:
    """What the file ``CURRENT`` says."""

    generation: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Pinned:
    """A generation that is held: while it is, nobody collects it.

    Attributes:
        trouble: what is wrong with the one that should serve, where this is an older one.
        held: the open manifest with the lock, for ``os.close``.
    """

    manifest: Manifest
    trouble: str | None
    held: int

    def release(self) -> None:
        os.close(self.held)


class Generations:
    """The commit points in the folder of one collection.

    Args:
        folder: ``data/collections/NAME`` of the home.
        hashes: remembered file hashes.
    """

    def __init__(self, folder: Path, hashes: HashMemory) -> None:
        self.folder = folder
        self._hashes = hashes

    def current(self) -> Current | None:
        """``None`` where nothing was ever committed.

        Raises:
            IndexDamaged: ``CURRENT`` is unreadable.
        """
        path = self.folder / "CURRENT"
        try:
            number, digest = path.read_text(encoding="ascii").split()
            return Current(int(number), digest)
        except FileNotFoundError:
            if self.numbers():
                raise IndexDamaged(f"{path}: missing, though generations exist") from None
            return None
        except (OSError, ValueError):
            raise IndexDamaged(f"{path}: unreadable") from None

    def numbers(self) -> list[int]:
        """The generations that have a manifest, ascending."""
        return sorted(int(path.stem) for path in (self.folder / "generations").glob("[0-9]" * 6 + ".json"))

    def next_number(self) -> int:
        """Never one that was used, also where the manifest that ``CURRENT`` names is lost."""
        try:
            current = self.current()
        except IndexDamaged:
            current = None
        lost = [current.generation] if current is not None and current.generation < MAX_GENERATION else []
        return max([0, *self.numbers(), *lost]) + 1

    def manifest_path(self, number: int) -> Path:
        return self.folder / "generations" / f"{number:06d}.json"

    def manifest(self, number: int) -> Manifest:
        """Read one manifest.

        Raises:
            UnknownGeneration: there is none of this number.
            IndexDamaged: unreadable, or of another generation or collection.
        """
        path = self.manifest_path(number)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise UnknownGeneration(
                f"{self.folder.name}: no generation {number}: `domicile generations list` shows them"
            ) from None
        manifest = Manifest.decode(data, str(path))
        if (manifest.generation, manifest.collection) != (number, self.folder.name):
            raise IndexDamaged(f"{path}: is generation {manifest.generation} of {manifest.collection!r}")
        return manifest

    def sha256_of_manifest(self, number: int) -> str:
        return hashlib.sha256(self.manifest_path(number).read_bytes()).hexdigest()

    def hash_of(self, path: Path) -> str:
        """The sha256 of a file, remembered so that the first reader need not compute it again."""
        return self._hashes.sha256(path)

    def check(self, manifest: Manifest, *, trust: bool = True, read: dict[str, FileEntry] | None = None) -> None:
        """Compare every file with the manifest, before a native reader opens any.

        Args:
            trust: accept remembered hashes of unchanged files; ``False`` reads every byte.
            read: files that were read already, with what they were found to be; what is read here is added.

        Raises:
            IndexDamaged: names the first file that is missing, torn, edited or unexpected.
        """
        for name, entry in manifest.files.items():
            path = self.folder / name
            if read is not None and read.get(name) == entry:
                continue
            try:
                if path.stat().st_size != entry.size or self._hashes.sha256(path, trust=trust) != entry.sha256:
                    raise IndexDamaged(f"{path}: its bytes are not those of generation {manifest.generation}")
            except OSError as error:
                raise IndexDamaged(f"{path}: unreadable: {error.strerror}") from None
            if read is not None:
                read[name] = entry
        # tantivy opens what lies in its folder, so nothing may lie there that was not hashed
        for path in (self.folder / manifest.lexical).iterdir():
            if path.relative_to(self.folder).as_posix() not in manifest.files:
                raise IndexDamaged(f"{path}: not part of generation {manifest.generation}")

    def newest_intact(self) -> tuple[Manifest, str | None]:
        """The current generation, or where it is damaged the nearest intact ancestor; and what is wrong, if anything.

        Raises:
            NoIntactGeneration: nothing intact is left.
        """
        pinned = self.pin()
        pinned.release()
        return pinned.manifest, pinned.trouble

    def pin(self) -> Pinned:
        """As ``newest_intact``, and nobody collects that generation until it is released.

        Raises:
            NoIntactGeneration: nothing intact is left.
        """
        for _ in range(PATIENCE):
            before = self._current_bytes()
            with suppress(NoIntactGeneration, FileNotFoundError):
                return self._pin()
            if self._current_bytes() == before:
                break  # else commits and collections overtook us: what was looked at is not what there is
        return self._pin()

    def _pin(self) -> Pinned:
        newest, trouble = self._newest()
        for number in self._and_older(newest):
            held = None
            try:
                held = hold(self.manifest_path(number))
                manifest = self.manifest(number)
                self.check(manifest)
            except (IndexDamaged, UnknownGeneration, OSError) as error:
                if held is not None:
                    os.close(held)
                logger.warning("generation %d of %s is not usable: %s", number, self.folder.name, error)
                trouble = trouble or str(error)
            else:
                return Pinned(manifest, trouble, held)
        raise NoIntactGeneration(
            f"collection {self.folder.name!r} has no intact generation left: {trouble or 'CURRENT is missing'}: "
            "ingest it again into a new collection, or restore a backup"
        )

    def trouble_with_current(self) -> str | None:
        """What is wrong with ``CURRENT`` itself, if anything."""
        return self._newest()[1]

    def _newest(self) -> tuple[int | None, str | None]:
        """The generation that ``CURRENT`` names, else the newest one; and what is wrong with ``CURRENT``."""
        numbers = self.numbers()
        path = self.folder / "CURRENT"
        try:
            current = self.current()
        except IndexDamaged as error:
            return max(numbers, default=None), str(error)
        if current is None:
            return None, None
        if current.generation not in numbers:
            trouble = f"{self.manifest_path(current.generation)}: missing, though CURRENT names it"
            older = [number for number in numbers if number < current.generation]
            return max(older or numbers, default=None), trouble
        if self.sha256_of_manifest(current.generation) == current.sha256:
            return current.generation, None
        trouble = f"{path}: its hash is not that of {self.manifest_path(current.generation)}"
        # a hash is never another's by chance, as a number may be: where both are there, it is the hash that is meant
        meant = (number for number in reversed(numbers) if self.sha256_of_manifest(number) == current.sha256)
        return next(meant, current.generation), trouble

    def _current_bytes(self) -> bytes | None:
        try:
            return (self.folder / "CURRENT").read_bytes()
        except OSError:
            return None

    def floor(self) -> int:
        """The oldest generation that may serve: an erasure withdraws all before its own."""
        floor = 1
        for number in self.numbers():
            with suppress(IndexDamaged, UnknownGeneration, OSError):
                floor = max(floor, self.manifest(number).floor)
        return floor

    def withdrawn(self) -> list[int]:
        """The generations that are there still, though an erasure withdrew them."""
        floor = self.floor()
        return [number for number in self.numbers() if number < floor]

    def _and_older(self, number: int | None) -> Iterator[int]:
        """A generation and its ancestors; by number where a manifest on the way is unreadable."""
        first, floor = number, None
        while number is not None:
            if number != first:
                floor = floor or self.floor()
                if number < floor:
                    return
            yield number
            try:
                number = self.manifest(number).parent
            except (IndexDamaged, UnknownGeneration, OSError):
                number = max((older for older in self.numbers() if older < (number or 0)), default=None)

    def point_to(self, manifest: Manifest, data: bytes) -> None:
        """Make a generation current; ``data`` is its manifest file."""
        line = f"{manifest.generation} {hashlib.sha256(data).hexdigest()}\n"
        replace_durably(self.folder / "CURRENT", line.encode("ascii"))

    def restore_current(self, manifest: Manifest) -> None:
        """Make ``CURRENT`` name this generation where it is missing, damaged or names a damaged one."""
        data = self.manifest_path(manifest.generation).read_bytes()
        try:
            intact = self.current() == Current(manifest.generation, hashlib.sha256(data).hexdigest())
        except IndexDamaged:
            intact = False
        if not intact:
            self.point_to(manifest, data)

    def publish(self, manifest: Manifest) -> None:
        """The last two steps of a commit: the manifest, then ``CURRENT``. Every file it names is durable already."""
        data = manifest.encode()
        replace_durably(self.manifest_path(manifest.generation), data)
        self.point_to(manifest, data)

    def rollback(self, number: int) -> Manifest:
        """Make an earlier (or later) retained generation current.

        Raises:
            UnknownGeneration, IndexDamaged: it is not there, or not intact.
        """
        manifest = self.manifest(number)
        if number < self.floor():
            raise UnknownGeneration(f"{self.folder.name}: generation {number} was withdrawn by an erasure")
        self.check(manifest, trust=False)
        self.point_to(manifest, self.manifest_path(number).read_bytes())
        return manifest

    def superfluous(self, keep: int) -> list[int]:
        """The generations beyond the newest ``keep``. What serves, and what would if that were damaged, always stays."""
        try:
            current = self.current()
        except IndexDamaged:
            return []  # what serves is not known: nothing is superfluous
        serving = list(islice(self._and_older(None if current is None else current.generation), 2))
        return [number for number in self.numbers()[:-keep] if number not in serving]

    def collect(self, numbers: Some[int], *, force: bool = False) -> list[int]:
        """Remove these generations, but none that a reader holds, and what nothing names any more.

        Only under the writer's lock. The manifest goes first, and durably: no generation is ever listed without its files.

        Args:
            force: also those that are held; who reads one then goes on with what it has open, and fails at the next file.

        Returns:
            What was removed.
        """
        removed = []
        for number in numbers:
            with suppress(FileInUse, FileNotFoundError):
                path = self.manifest_path(number)
                path.unlink() if force else retire(path)
                removed.append(number)
        if removed:
            fsync_path(self.folder / "generations")
            self.sweep()
        return removed

    def sweep(self) -> None:
        """Remove what no manifest names: the leftovers of a writer that died. Only under the writer's lock."""
        named: set[str] = set()
        unknown = 0
        for number in self.numbers():
            try:
                manifest = self.manifest(number)
            except (IndexDamaged, UnknownGeneration, OSError):
                unknown = number  # it may have named anything that was written up to it
                continue
            named |= {segment.folder for segment in manifest.segments} | {manifest.lexical}
            named |= {segment.tombstones for segment in manifest.segments if segment.tombstones}
            if manifest.approximate is not None and manifest.approximate.file is not None:
                named.add(manifest.approximate.file)
        for kind in KINDS:
            if not (self.folder / kind).exists():  # a backup may leave out what is empty
                continue
            unnamed = [
                path
                for path in (self.folder / kind).iterdir()
                if f"{kind}/{path.name}" not in named and not _written_by(path.name) <= unknown
            ]
            for path in unnamed:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            if unnamed:  # or a power loss would bring back what was erased
                fsync_path(self.folder / kind)
        for path in [*self.folder.glob(".*.tmp"), *(self.folder / "generations").glob(".*.tmp")]:
            path.unlink()

    def prepare(self) -> None:
        """Make the folders of a new collection."""
        for kind in ("generations", *KINDS):
            make_folders(self.folder / kind)


def _written_by(name: str) -> float:
    """The number of the change that wrote a thing; every name begins with it."""
    return int(name[:6]) if re.match("[0-9]{6}", name) else inf
