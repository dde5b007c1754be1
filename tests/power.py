"""What a power loss may leave of a folder: its real history is recorded, and every state that POSIX allows is made.

The disk that is modelled here promises no more than POSIX does. The bytes of a file are safe once the file was synced;
a name in a folder (made, moved or removed) once the folder was. Everything else may or may not have reached the disk:
of a file's bytes since then nothing, the first half with zeros behind it, or all; of the names any subset.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from faults import intercept

ALL_SUBSETS = 5
"""Up to this many names that are not safe yet, every subset is tried; beyond it none, all, each one missing, each one
alone, and a few at random."""
AT_RANDOM = 6


@dataclass(frozen=True, slots=True)
class Written:
    """These are the bytes of a file now."""

    inode: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Named:
    """``name`` in a folder now means this file or folder (``None``: nothing); ``instead_of`` is its name until now."""

    folder: int
    name: str
    inode: int | None
    instead_of: str | None = None


@dataclass(frozen=True, slots=True)
class Synced:
    """A file or a folder was synced."""

    inode: int
    path: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The caller was told that the commit is durable."""


Event = Written | Named | Synced | Acknowledged
Kept = Literal["nothing", "half"]
Tree = dict[str, bytes | None]
"""The content of every file by its path, and ``None`` for a folder."""


@dataclass(frozen=True, slots=True)
class History:
    """What happened to a folder.

    Attributes:
        root: its inode.
        began: how many of the events, the first ones, only say what lay there before.
    """

    root: int
    began: int
    events: Sequence[Event]

    def disk_after(self, length: int) -> Disk:
        disk = Disk(self.root)
        for event in self.events[:length]:
            disk.take(event)
        return disk

    @property
    def now(self) -> State:
        """The folder as who was running saw it at the end."""
        disk = self.disk_after(len(self.events))
        return disk.state(disk.pending, {})

    def disks(self) -> Iterator[tuple[Disk, bool]]:
        """The disk after each event, the last one first, and whether the change was acknowledged by then."""
        for length in range(len(self.events), self.began - 1, -1):
            yield self.disk_after(length), Acknowledged() in self.events[:length]

    def with_events(self, events: Sequence[Event]) -> History:
        """The same folder, as if its change had gone another way."""
        return replace(self, events=[*self.events[: self.began], *events])

    def without_a_sync(self) -> Iterator[tuple[str, History]]:
        """The history without one of its syncs, for each that has something to make safe; and the path of that one."""
        for at in range(self.began, len(self.events)):
            event = self.events[at]
            if isinstance(event, Synced) and self.disk_after(at) != self.disk_after(at + 1):
                yield event.path, replace(self, events=[*self.events[:at], *self.events[at + 1 :]])


@dataclass(slots=True)
class Recorder:
    """Records the history of a folder in this process, from now on.

    Every file is held open, so that no inode number is used twice.
    """

    root: Path
    events: list[Event] = field(default_factory=list)
    folders: dict[int, dict[str, int]] = field(default_factory=dict)
    files: dict[int, bytes] = field(default_factory=dict)
    held: dict[int, int] = field(default_factory=dict)
    began: int = 0

    @classmethod
    def start(cls, root: Path) -> Recorder:
        """What lies in ``root`` now is taken to be safe."""
        recorder = cls(root)
        recorder.look()
        recorder.events += [Synced(inode, "") for inode in (*recorder.files, *recorder.folders)]
        recorder.began = len(recorder.events)
        intercept(root, lambda _: recorder.look(), recorder._synced)
        return recorder

    def look(self) -> None:
        """Record what changed since the last look."""
        folders: dict[int, dict[str, int]] = {}
        files: dict[int, bytes] = {}
        self._scan(self.root, folders, files)
        for inode, content in files.items():
            if self.files.get(inode) != content:
                self.events.append(Written(inode, content))
        for folder, names in folders.items():
            self._compare(folder, self.folders.get(folder, {}), names)
        self.folders |= folders
        self.files |= files

    def history(self) -> History:
        """All that was recorded, of a change that was acknowledged just now."""
        self.look()
        return History(os.stat(self.root).st_ino, self.began, [*self.events, Acknowledged()])

    def _compare(self, folder: int, before: dict[str, int], now: dict[str, int]) -> None:
        gone = {before[name]: name for name in before.keys() - now.keys()}
        for name in sorted(now):
            if before.get(name) != now[name]:
                self.events.append(Named(folder, name, now[name], gone.pop(now[name], None)))
        self.events.extend(Named(folder, name, None) for name in sorted(gone.values()))

    def _scan(self, path: Path, folders: dict[int, dict[str, int]], files: dict[int, bytes]) -> None:
        names = folders.setdefault(self._hold(path), {})
        for entry in os.scandir(path):
            try:
                inode = self._hold(Path(entry.path))
                if entry.is_dir(follow_symlinks=False):
                    self._scan(Path(entry.path), folders, files)
                else:
                    files[inode] = os.pread(self.held[inode], 1 << 30, 0)
            except FileNotFoundError:  # tantivy's threads go on in the meantime
                continue
            names[entry.name] = inode

    def _hold(self, path: Path) -> int:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        inode = os.fstat(descriptor).st_ino
        if self.held.setdefault(inode, descriptor) != descriptor:
            os.close(descriptor)
        return inode

    def _synced(self, descriptor: int) -> None:
        inode = os.fstat(descriptor).st_ino
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}")).relative_to(self.root.resolve())
        self.events.append(Synced(inode, path.as_posix()))


@dataclass(frozen=True, slots=True)
class State:
    """The folder as it may be found."""

    root: int
    names: Mapping[int, Mapping[str, int]]
    contents: Mapping[int, bytes]

    def tree(self) -> Tree:
        tree: Tree = {}
        self._grow(tree, "", self.root, lambda _: True)
        return tree

    def relevant(self) -> Tree:
        """Without what no manifest speaks of: states that differ in such leftovers alone are one to a reader."""
        tree: Tree = {}
        self._grow(tree, "", self.root, lambda path: _part(path) is None)
        said = b"".join(content or b"" for path, content in tree.items() if "/generations/" in path)
        self._grow(tree, "", self.root, lambda path: (part := _part(path)) is None or part.encode() in said)
        return tree

    def _grow(self, tree: Tree, path: str, folder: int, wanted: Callable[[str], bool]) -> None:
        for name, inode in self.names.get(folder, {}).items():
            below = path + name
            if not wanted(below):
                continue
            if inode in self.contents:
                tree[below] = self.contents[inode]
            else:
                tree[below] = None
                self._grow(tree, below + "/", inode, wanted)


@lru_cache(maxsize=4096)
def _part(path: str) -> str | None:
    """Of ``collections/c/segments/000001/chunks.sqlite`` what a manifest would name: ``segments/000001``."""
    parts = path.split("/")
    return "/".join(parts[2:4]) if len(parts) > 3 and parts[2] in ("segments", "lexical", "tombstones") else None


@dataclass(slots=True)
class Disk:
    """What is safe on the modelled disk, and what is not yet."""

    root: int
    names: dict[int, dict[str, int]] = field(default_factory=dict)
    pending: list[Named] = field(default_factory=list)
    safe: dict[int, bytes] = field(default_factory=dict)
    now: dict[int, bytes] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        match event:
            case Written(inode, content):
                self.now[inode] = content
            case Named():
                self.pending.append(event)
            case Synced(inode) if inode in self.now:
                self.safe[inode] = self.now[inode]
            case Synced(inode):
                for change in self.pending:
                    if change.folder == inode:
                        _apply(self.names.setdefault(inode, {}), change)
                self.pending = [change for change in self.pending if change.folder != inode]
                self._forget()

    def _forget(self) -> None:
        """Drop the changes in folders that nothing leads to any more, such as a draft that was durably removed."""
        led_to = self._led_to()
        self.pending = [change for change in self.pending if change.folder in led_to]

    def _led_to(self) -> set[int | None]:
        named = {inode for names in self.names.values() for inode in names.values()}
        return {self.root, *named, *(change.inode for change in self.pending)}

    def state(self, changes: Iterable[Named], kept: Mapping[int, Kept]) -> State:
        """These of the names that are not safe reached the disk, and of the files' bytes so much."""
        names: dict[int, dict[str, int]] = dict(self.names)
        own: set[int] = set()
        for change in changes:
            if change.folder not in own:
                own.add(change.folder)
                names[change.folder] = dict(names.get(change.folder, {}))
            _apply(names[change.folder], change)
        contents = dict(self.now)
        for inode, part in kept.items():
            contents[inode] = _half(self.now[inode]) if part == "half" else self.safe.get(inode, b"")
        return State(self.root, names, contents)

    def states(self, rng: random.Random) -> Iterator[State]:
        """The folder as it may be found after a power loss now."""
        unsafe = [inode for inode in self._led_to() & self.now.keys() if self.now[inode] != self.safe.get(inode)]
        together: list[dict[int, Kept]] = [dict.fromkeys(unsafe, "nothing"), dict.fromkeys(unsafe, "half"), {}]
        alone: list[dict[int, Kept]] = [{inode: kept} for inode in unsafe for kept in ("nothing", "half")]
        for changes in self._subsets(rng):
            for kept in together + (alone if len(changes) == len(self.pending) else []) if unsafe else [{}]:
                yield self.state(changes, kept)

    def _subsets(self, rng: random.Random) -> Iterator[Sequence[Named]]:
        changes = self.pending
        if len(changes) <= ALL_SUBSETS:
            for size in range(len(changes) + 1):
                yield from itertools.combinations(changes, size)
            return
        yield from ([], changes)
        for i in range(len(changes)):
            yield [*changes[:i], *changes[i + 1 :]]
            yield [changes[i]]
        for _ in range(AT_RANDOM):
            yield [change for change in changes if rng.random() < 0.5]


@lru_cache(maxsize=256)
def _half(content: bytes) -> bytes:
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2)


def _apply(names: dict[str, int], change: Named) -> None:
    if change.instead_of is not None:
        names.pop(change.instead_of, None)
    if change.inode is None:
        names.pop(change.name, None)
    else:
        names[change.name] = change.inode


def make(tree: Tree, folder: Path) -> None:
    """Make the tree on disk; ``folder`` is empty."""
    for path, content in tree.items():  # a folder comes before what it holds
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)
