"""Model folders: opened only when every byte in them is the one that was written.

A native reader opens whatever lies beside a graph (external weights, a chat template), so it is not enough that the
named files are right: no other file may be there, and no link through which one could change.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from domicile.errors import ConfigError, ModelDamaged, ModelMissing
from domicile.files import HashMemory, replace_durably, sha256_of, storage_errors
from domicile.models.card import CARD_NAME, FileEntry, Kind, ModelCard, read_card
from domicile.models.discovery import infer_card, possible_kinds

Hasher = Callable[[Path], str]

_UNREAD_FOLDERS = {".git", ".cache"}
_UNREAD_FILES = {".gitattributes", ".gitignore", ".ds_store"}
_REBUILD = "run `domicile models build`"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder whose files were found to be what its card says."""

    path: Path
    card: ModelCard


def open_model(folder: Path, kind: Kind, hashes: HashMemory, pins: Path, *, trust: bool = True) -> ModelFolder:
    """Verify a model folder, with its own ``model.json`` or with the pin made when it was first used.

    Args:
        folder: may be reached through symlinks; nothing in it may be one.
        kind: what it is to be used as.
        hashes: remembers what was hashed before.
        pins: the folder in the home's state where the cards of the user's own models are kept.
        trust: false reads every byte again.

    Raises:
        ModelMissing: there is no such folder, or no model of this kind in it.
        ModelDamaged: a file is missing, changed, not named, or a link; names it.
        ConfigError: a model of another kind.
    """
    folder = folder.resolve()

    def digest(path: Path) -> str:
        return hashes.sha256(path, trust=trust)

    if (folder / CARD_NAME).exists():
        card, advice = read_card(folder / CARD_NAME), _REBUILD
    elif not possible_kinds(folder):
        raise ModelMissing(f"there is no model in {folder}: {_REBUILD}, or name another folder in domicile.toml")
    else:
        pin = pins / f"{folder.name}.json"
        card, advice = _pinned(folder, kind, pin, digest), f"if the change is yours, delete {pin}"
    if card.kind != kind:
        raise ConfigError(f"{folder} holds a model of kind {card.kind}, where one of kind {kind} is configured")
    verify_files(folder, card, digest, advice)
    return ModelFolder(folder, card)


def verify_files(folder: Path, card: ModelCard, digest: Hasher, advice: str = _REBUILD) -> None:
    """Compare a folder with its card.

    Raises:
        ModelDamaged: names the first file that is not as the card says, and what can be done.
    """
    present = {name: path for name, path in _files(folder) if name != CARD_NAME}
    for name, entry in card.files.items():
        path = present.pop(name, None)
        if path is None:
            raise ModelDamaged(f"model {card.name} is damaged: {folder / name} is missing; {advice}")
        size = path.stat().st_size
        if size != entry.size:
            raise ModelDamaged(
                f"model {card.name} is damaged: {path} has {size} bytes instead of {entry.size}; {advice}"
            )
        if _hash(path, digest) != entry.sha256:
            raise ModelDamaged(f"model {card.name} is damaged: {path} has another sha256 than its card says; {advice}")
    for path in present.values():
        raise ModelDamaged(f"model {card.name}: {path} does not belong to it, and could be read: remove it")


def file_entries(folder: Path, digest: Hasher = sha256_of) -> dict[str, FileEntry]:
    """Every file of a folder that could be read by an engine, with size and hash.

    Raises:
        ModelDamaged: one of them is a link or not a plain file.
    """
    found = dict(_files(folder))
    return {
        name: FileEntry(sha256=_hash(path, digest), size=path.stat().st_size)
        for name, path in sorted(found.items())
        if name != CARD_NAME
    }


def _pinned(folder: Path, kind: Kind, pin: Path, digest: Hasher) -> ModelCard:
    if pin.exists():
        return read_card(pin)
    card = infer_card(folder, kind, file_entries(folder, digest))
    with storage_errors("the pin of a model"):
        pin.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(pin, card.to_json().encode(), mode=0o600)
    return card


def _hash(path: Path, digest: Hasher) -> str:
    try:
        return digest(path)
    except OSError as error:
        raise ModelDamaged(f"{path} cannot be read: {error.strerror}") from error


def _files(folder: Path, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """Name and path of every file below ``folder`` that an engine could open, in order of names."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ModelDamaged(f"{folder} cannot be read: {error.strerror}") from error
    for entry in entries:
        path = folder / entry.name
        if entry.is_symlink():
            raise ModelDamaged(f"{path} is a link: no file of a model may be one (copy it with `cp -L`)")
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            if entry.name not in _UNREAD_FOLDERS:
                yield from _files(path, f"{prefix}{entry.name}/")
        elif not stat.S_ISREG(status.st_mode):
            raise ModelDamaged(f"{path} is not a plain file")
        elif status.st_nlink > 1:
            raise ModelDamaged(f"{path} is a hard link: no file of a model may have a second name (copy it)")
        elif not _for_people(entry.name):
            yield f"{prefix}{entry.name}", path


def _for_people(name: str) -> bool:
    lower = name.lower()
    return lower in _UNREAD_FILES or lower.endswith(".md") or lower.split(".")[0] in {"license", "licence", "notice"}
