"""Whatever happens to a file is noticed before a native reader opens it, and the newest intact generation serves."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from corpora import Shelf
from faults import SCALE, native_opens, scratch
from victims import holding, move_to

from domicile.domain import OWNER
from domicile.errors import NoIntactGeneration

GENERATIONS = 5
CASES = 2_000 * min(SCALE, 5)
PAGE = 4096
OPENED = 10
"""Of so many cases one is opened and read; the others are judged by what decides which generation is opened."""

Rng = random.Random
Damage = Callable[[bytes, Rng], bytes]


def flip(data: bytes, rng: Rng) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def truncate(data: bytes, rng: Rng) -> bytes:
    """At a page, or within the last one."""
    return data[: rng.choice([*range(0, len(data), PAGE), rng.randrange(len(data))])]


def zero_a_page(data: bytes, rng: Rng) -> bytes:
    at = rng.randrange(0, len(data), PAGE)
    return data[:at] + bytes(len(data[at : at + PAGE])) + data[at + PAGE :]


def zero_the_end(data: bytes, rng: Rng) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes(len(data) - at)


def append(data: bytes, rng: Rng) -> bytes:
    return data + rng.randbytes(rng.randint(1, PAGE))


@dataclass(frozen=True, slots=True)
class Library:
    """A shelf of some generations whose files are damaged, one after the other, and made whole again."""

    shelf: Shelf
    manifests: dict[int, frozenset[str]]

    @classmethod
    def at(cls, folder: Path) -> Library:
        shelf = Shelf.at(folder)
        for step in range(1, GENERATIONS + 1):
            move_to(shelf, step)
        manifests = {number: shelf.generations.manifest(number) for number in range(1, GENERATIONS + 1)}
        return cls(shelf, {n: frozenset([*m.files, f"generations/{n:06d}.json"]) for n, m in manifests.items()})

    @property
    def files(self) -> list[str]:
        """Of the newest generation."""
        return sorted(self.manifests[GENERATIONS])

    def intact_without(self, damaged: set[str]) -> int | None:
        """The newest generation that none of these files belongs to."""
        return max((number for number, files in self.manifests.items() if not files & damaged), default=None)

    def path(self, name: str) -> Path:
        return self.shelf.folder / name

    def others_like(self, name: str) -> list[str]:
        """Files of the same kind in any generation."""
        kind, suffix = name.split("/")[0], Path(name).suffix
        every = set().union(*self.manifests.values())
        return sorted(o for o in every if o.split("/")[0] == kind and Path(o).suffix == suffix and o != name)

    @contextmanager
    def replaced(self, name: str, data: bytes | None) -> Iterator[None]:
        """Another file in its place (``None``: no file), so that what is linked to it elsewhere stays whole."""
        path = self.path(name)
        aside = self.shelf.root / name.replace("/", " ")
        if path.exists():
            path.rename(aside)
        try:
            if data is not None:
                path.write_bytes(data)
            yield
        finally:
            path.unlink(missing_ok=True)
            if aside.exists():
                aside.rename(path)

    @contextmanager
    def overwritten(self, name: str, data: bytes) -> Iterator[set[str]]:
        """The same file with other bytes: every generation that shares it is damaged."""
        path = self.path(name)
        whole, inode = path.read_bytes(), path.stat().st_ino
        every = set().union(*self.manifests.values())
        path.write_bytes(data)
        try:
            yield {other for other in every if self.path(other).stat().st_ino == inode}
        finally:
            path.write_bytes(whole)

    def judge(self, damaged: set[str], expected: int | None, *, read: bool) -> None:
        """Nothing damaged is opened, trouble is reported, and this generation serves."""
        reader = self.shelf.reader()
        with native_opens() as opened:
            if expected is None:
                with pytest.raises(NoIntactGeneration):
                    reader.pin("c", OWNER)
            elif read:
                assert (reader.generation("c"), reader.trouble("c") is not None) == (expected, True)
            else:
                manifest, trouble = self.shelf.generations.newest_intact()
                assert (manifest.generation, trouble is not None) == (expected, True)
        if opened:
            index = reader.pin("c", OWNER)
            documents = {uri: index.document(uri, None) for uri in index.states()}
            assert {uri: document.text for uri, document in documents.items() if document} == holding(index.generation)
        bad = {self.path(name) for name in damaged}
        assert not bad & {*opened, *(file for path in opened if path.is_dir() for file in path.iterdir())}
        assert bool(opened) == (read and expected is not None)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with scratch(tmp_path_factory.mktemp("library")) as folder:
        yield Library.at(folder)


def test_without_damage_everything_of_the_newest_generation_is_opened(library: Library) -> None:
    with native_opens() as opened:
        reader = library.shelf.reader()
        assert (reader.generation("c"), reader.trouble("c")) == (GENERATIONS, None)
    native = [name for name in library.files if name.startswith("segments/")]
    assert {library.path(name) for name in native} < set(opened)
    assert library.path(f"lexical/{GENERATIONS:06d}") in opened
    assert library.intact_without(set()) == GENERATIONS


def test_every_damage_to_every_kind_of_file_is_noticed(library: Library) -> None:
    rng, seen = Rng(17), Counter[str]()
    damages: list[Damage | None] = [flip, flip, truncate, zero_a_page, zero_the_end, append, None]
    while seen.total() < 2 * CASES // 5:
        for name, damage in ((name, damage) for name in library.files for damage in damages):
            whole = library.path(name).read_bytes()
            data = None if damage is None else damage(whole, rng)
            if data == whole:  # there was nothing but zeros
                continue
            with library.replaced(name, data):
                library.judge({name}, library.intact_without({name}), read=rng.random() < 1 / OPENED)
            seen[name.split("/")[0]] += 1
    assert seen.keys() == {"generations", "segments", "lexical", "tombstones"}


def test_a_file_of_another_generation_in_its_place_is_noticed(library: Library) -> None:
    rng, cases = Rng(18), 0
    while cases < CASES // 10:
        for name in library.files:
            for other in library.others_like(name):
                data = library.path(other).read_bytes()
                if data != library.path(name).read_bytes():
                    with library.replaced(name, data):
                        library.judge({name}, library.intact_without({name}), read=rng.random() < 1 / OPENED)
                    cases += 1
    assert cases


def test_damage_to_a_shared_file_takes_down_all_that_share_it_and_no_more(library: Library) -> None:
    rng, cases, lost = Rng(19), 0, 0
    while cases < CASES // 10:
        name = rng.choice(library.files)
        data = flip(library.path(name).read_bytes(), rng)
        with library.overwritten(name, data) as damaged:
            expected = library.intact_without(damaged)
            library.judge(damaged, expected, read=rng.random() < 1 / OPENED)
        cases, lost = cases + 1, lost + (expected is None)
    assert lost < cases, "every file is shared by all: nothing is proved"


def test_a_file_that_nobody_named_is_noticed_where_a_reader_would_open_it(library: Library) -> None:
    for number in range(CASES // 100):
        name = f"lexical/{GENERATIONS:06d}/planted{number}.term"
        with library.replaced(name, b"?" * number):
            library.judge({name}, GENERATIONS - 1, read=number % OPENED == 0)


def test_every_flipped_bit_of_the_manifest_is_noticed(library: Library) -> None:
    name = f"generations/{GENERATIONS:06d}.json"
    whole = library.path(name).read_bytes()
    bits = range(8 * len(whole))
    for bit in bits if SCALE > 1 else Rng(20).sample(bits, CASES // 5):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        with library.replaced(name, bytes(data)):
            manifest, trouble = library.shelf.generations.newest_intact()
            assert trouble is not None
            # a space that became another kind of space leaves a manifest whose own hash is right
            assert manifest.generation == GENERATIONS - 1 or bytes(data).split() == whole.split()


def test_every_damaged_byte_of_current_is_noticed_and_the_newest_generation_still_serves(library: Library) -> None:
    whole = library.path("CURRENT").read_bytes()
    cut = [whole[:length] for length in range(len(whole))]
    flipped = [
        whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :] for at in range(len(whole)) for bit in range(8)
    ]
    for data in [*cut, *flipped]:
        with library.replaced("CURRENT", data):
            manifest, trouble = library.shelf.generations.newest_intact()
            assert manifest.generation == GENERATIONS, data
            assert trouble is not None or data.split() == whole.split(), data


@pytest.mark.parametrize("damage", [flip, truncate, zero_the_end, None])
def test_three_damaged_generations_in_a_row_leave_the_fourth(library: Library, damage: Damage | None) -> None:
    names = [f"lexical/{number:06d}/meta.json" for number in range(GENERATIONS, GENERATIONS - 3, -1)]
    with ExitStack() as stack:
        for name in names:
            data = None if damage is None else damage(library.path(name).read_bytes(), Rng(21))
            stack.enter_context(library.replaced(name, data))
        library.judge(set(names), GENERATIONS - 3, read=True)
