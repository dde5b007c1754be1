"""The generations of one collection on disk: which is current, whether it is intact, and how it becomes current.

    CURRENT                 "7 <sha256 of the manifest file>"
    generations/000007.json the manifest
    segments/ lexical/ tombstones/   what manifests name

A generation exists once its manifest is in place, and serves once ``CURRENT`` names it. See ``docs/adr/0003``.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from domicile.adapters.manifest import Manifest
from domicile.errors import IndexDamaged, NoIntactGeneration, UnknownGeneration
from domicile.files import HashMemory, fsync_path, replace_durably

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Current:
    """What the file ``CURRENT`` says."""

    generation: int
    sha256: str


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
        except ValueError:
            raise IndexDamaged(f"{path}: unreadable") from None

    def numbers(self) -> list[int]:
        """The generations that have a manifest, ascending."""
        return sorted(int(path.stem) for path in (self.folder / "generations").glob("[0-9]*.json"))

    def manifest_path(self, number: int) -> Path:
        return self.folder / "generations" / f"{number:06d}.json"

    def manifest(self, number: int, sha256: str | None = None) -> Manifest:
        """Read one manifest.

        Raises:
            UnknownGeneration: there is none of this number.
            IndexDamaged: unreadable, or not the one that ``sha256`` names.
        """
        path = self.manifest_path(number)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise UnknownGeneration(f"{self.folder.name}: no generation {number}: `domicile generations list` shows them") from None
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise IndexDamaged(f"{path}: not the manifest that CURRENT names")
        manifest = Manifest.decode(data, str(path))
        if (manifest.generation, manifest.collection) != (number, self.folder.name):
            raise IndexDamaged(f"{path}: is generation {manifest.generation} of {manifest.collection!r}")
        return manifest

    def sha256_of_manifest(self, number: int) -> str:
        return hashlib.sha256(self.manifest_path(number).read_bytes()).hexdigest()

    def hash_of(self, path: Path) -> str:
        """The sha256 of a file, remembered so that the first reader need not compute it again."""
        return self._hashes.sha256(path)

    def check(self, manifest: Manifest, *, trust: bool = True) -> None:
        """Compare every file with the manifest, before a native reader opens any.

        Args:
            trust: accept remembered hashes of unchanged files; ``False`` reads every byte.

        Raises:
            IndexDamaged: names the first file that is missing, torn, edited or unexpected.
        """
        for name, entry in manifest.files.items():
            path = self.folder / name
            try:
                if path.stat().st_size != entry.size or self._hashes.sha256(path, trust=trust) != entry.sha256:
                    raise IndexDamaged(f"{path}: its bytes are not those of generation {manifest.generation}")
            except FileNotFoundError:
                raise IndexDamaged(f"{path}: missing") from None
        # tantivy opens what lies in its folder, so nothing may lie there that was not hashed
        for path in (self.folder / manifest.lexical).iterdir():
            if path.suffix != ".lock" and path.relative_to(self.folder).as_posix() not in manifest.files:
                raise IndexDamaged(f"{path}: not part of generation {manifest.generation}")

    def newest_intact(self) -> tuple[Manifest, str | None]:
        """The current generation, or where it is damaged the nearest intact ancestor; and what is wrong, if anything.

        Raises:
            NoIntactGeneration: nothing intact is left.
        """
        trouble: str | None = None
        for number, sha256 in self._candidates():
            try:
                manifest = self.manifest(number, sha256)
                self.check(manifest)
                return manifest, trouble
            except (IndexDamaged, UnknownGeneration, OSError) as error:
                logger.warning("generation %d of %s is not usable: %s", number, self.folder.name, error)
                trouble = trouble or str(error)
        raise NoIntactGeneration(f"collection {self.folder.name!r} has no intact generation left: {trouble or 'CURRENT is missing'}: "
                                 "ingest it again into a new collection, or restore a backup")

    def _candidates(self) -> Iterator[tuple[int, str | None]]:
        """The current generation, then its ancestors; by number where a manifest on the way is unreadable."""
        numbers = self.numbers()
        try:
            current = self.current()
            following, sha256 = (current.generation, current.sha256) if current else (None, None)
        except IndexDamaged as error:
            logger.warning("%s", error)
            following, sha256 = (numbers[-1] if numbers else None), None
        while following is not None:
            yield following, sha256
            sha256 = None
            try:
                following = self.manifest(following).parent
            except (IndexDamaged, UnknownGeneration):
                following = max((number for number in numbers if following is not None and number < following), default=None)

    def point_to(self, manifest: Manifest, data: bytes) -> None:
        """Make a generation current; ``data`` is its manifest file."""
        line = f"{manifest.generation} {hashlib.sha256(data).hexdigest()}\n"
        replace_durably(self.folder / "CURRENT", line.encode("ascii"))

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
        self.check(manifest, trust=False)
        self.point_to(manifest, self.manifest_path(number).read_bytes())
        return manifest

    def sweep(self) -> None:
        """Remove what no manifest names: the leftovers of a writer that died. Only under the writer's lock."""
        named: set[str] = set()
        for number in self.numbers():
            try:
                manifest = self.manifest(number)
            except IndexDamaged:
                return  # what a damaged manifest named is unknown, so nothing may be called a leftover
            named |= {segment.folder for segment in manifest.segments} | {manifest.lexical}
            named |= {segment.tombstones for segment in manifest.segments if segment.tombstones}
        for kind in ("segments", "lexical", "tombstones"):
            for path in (self.folder / kind).glob("*"):
                if f"{kind}/{path.name}" not in named:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in [*self.folder.glob(".*.tmp"), *(self.folder / "generations").glob(".*.tmp")]:
            path.unlink()

    def prepare(self) -> None:
        """Make the folders of a new collection."""
        for kind in ("generations", "segments", "lexical", "tombstones"):
            (self.folder / kind).mkdir(parents=True, exist_ok=True)
        fsync_path(self.folder.parent)
