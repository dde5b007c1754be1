"""Parsing behind walls: the worker's side. What the walls are says ``confinement``, and ADR 7 why."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import secrets
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from domicile.errors import DocumentError, SandboxUnavailable
from domicile_ingest.parsing.detect import refuse_binary
from domicile_ingest.parsing.parse import MAX_BYTES
from domicile_ingest.parsing.parsed import Parsed, one_line
from domicile_ingest.parsing.sandbox_frames import (
    OUT_OF_MEMORY,
    PREFIX_BYTES,
    BadFrame,
    Header,
    frame,
    header_of,
    lengths,
    parsed_of,
)

logger = logging.getLogger(__name__)

CHILD = ("-m", "domicile_ingest.parsing.sandbox_child")
_START_SECONDS = 60.0
_EXIT_SECONDS = 5.0
_CHUNK = 1 << 20
_MAX_COMPLAINT = 1 << 16
"""What a pipe holds; a process that prints more waits for nobody, and is given up."""
_CLOSED = "the parsing sandbox was closed"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may cost.

    Attributes:
        memory: bytes of address space of a parsing process; about 90 MB of it are code.
        cpu_seconds: of one document.
        wall_seconds: from handing it over to having its text.
        output: bytes of text and attachments.
        documents: after how many a process is replaced, so that no document has a say in many others.
    """

    memory: int = 512 * 1024 * 1024
    cpu_seconds: int = 10
    wall_seconds: float = 60.0
    output: int = 120_000_000
    documents: int = 200


class Sandbox:
    """A few confined processes that parse, one document each at a time; started when needed and replaced when dead.

    Args:
        children: how many documents are parsed at once.
        limits: of one document.
        child: the arguments to Python that run such a process.
    """

    def __init__(self, children: int = 2, limits: Limits | None = None, child: Sequence[str] = CHILD) -> None:
        self._limits = limits or Limits()
        self._arguments = tuple(child)
        self._children: list[_Child | None] = [None] * children
        self._free: queue.LifoQueue[int] = queue.LifoQueue()  # the last used first: the others need not be started
        for slot in range(children):
            self._free.put(slot)
        # A process dies with the *thread* that started it (prctl(2), PR_SET_PDEATHSIG), so one thread starts them all.
        self._starter = ThreadPoolExecutor(1, "parser starter")
        self._confinement: Mapping[str, str | None] | None = None
        self._telling = threading.Lock()
        self._closed = False

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def parse(self, name: str, data: bytes) -> Parsed:
        """Turn a file into its text, as ``parse.parse`` does. Safe to call from several threads.

        Raises:
            DocumentError: this file cannot be ingested: as ``parse.parse`` says, or ``too_slow``, ``too_large``, or
                ``broken`` where its parser crashed.
            SandboxUnavailable: no process can be started, or the sandbox was closed.
        """
        if len(data) > MAX_BYTES:
            raise DocumentError("too_large", f"the file has {len(data):,} bytes; {MAX_BYTES:,} are allowed: split it")
        refuse_binary(data)
        slot = self._free.get()
        try:
            return self._child(slot).parse(name, data)
        except DocumentError:
            if self._closed:
                raise SandboxUnavailable(_CLOSED) from None
            raise
        finally:
            self._free.put(slot)

    @property
    def confinement(self) -> Mapping[str, str | None]:
        """Each wall, and why this machine lacks it; ``None`` where it stands. Starts a process if none was yet.

        Raises:
            SandboxUnavailable: none can be started.
        """
        if self._confinement is None:
            slot = self._free.get()
            try:
                self._child(slot)
            finally:
                self._free.put(slot)
        return self._confinement or {}

    def close(self) -> None:
        """End all processes, also those that are at work."""
        self._closed = True
        for child in self._children:
            if child is not None:
                child.kill()
        slots = [self._free.get() for _ in self._children]
        for slot in slots:
            if (ended := self._children[slot]) is not None:
                ended.end()
            self._free.put(slot)  # for those who wait, to see that it is over
        self._starter.shutdown()

    def _child(self, slot: int) -> _Child:
        """The process of a slot that the caller holds, fit for a document."""
        child = self._children[slot]
        if not self._closed and (child is None or not child.is_fit()):
            if child is not None:
                child.end()
            child = self._children[slot] = self._starter.submit(_Child, self._arguments, self._limits).result()
            self._tell(child.confinement)
        if child is None or self._closed:
            raise SandboxUnavailable(_CLOSED)
        return child

    def _tell(self, confinement: Mapping[str, str | None]) -> None:
        with self._telling:
            told, self._confinement = self._confinement is not None, confinement
        if not told:
            for wall, reason in confinement.items():
                if reason is not None:
                    logger.warning("documents are parsed without one wall, %s: %s", wall, reason)


class _Late(Exception):
    """The deadline has passed."""


class _Gone(Exception):
    """The other side has closed its end."""


class _Child:
    """A confined process, its pipes and its deadlines.

    Raises:
        SandboxUnavailable: it does not start, or says nothing sensible.
    """

    def __init__(self, arguments: Sequence[str], limits: Limits) -> None:
        self._limits = limits
        self._documents = 0
        numbers = (limits.memory, limits.cpu_seconds, limits.output, os.getpid())
        # -P: the working directory is no place to import from. -B: there is no place to write to.
        command = [sys.executable, "-P", "-B", "-X", "utf8", *arguments, *map(str, numbers)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                env={},
                start_new_session=True,  # Ctrl-C is for the worker
            )
        except OSError as error:
            raise SandboxUnavailable(f"no process can be started to parse documents in: {error.strerror}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        for pipe in (self._to, self._from):
            os.set_blocking(pipe, False)
        self.confinement = self._greet()

    def parse(self, name: str, data: bytes) -> Parsed:
        """One document. After whatever is not an answer the process is dead, and not fit any more.

        Raises:
            DocumentError: see ``Sandbox.parse``.
        """
        until = time.monotonic() + self._limits.wall_seconds
        self._documents += 1
        ticket = secrets.token_hex(8)
        answer = None
        try:
            self._send(frame({"ticket": ticket, "name": name}, [data]), until)
            answer = _answer(ticket, *self._receive(self._limits.output, until))
        except _Late:
            seconds = self._limits.wall_seconds
            raise DocumentError("too_slow", f"reading it took more than {seconds:g} s: split it") from None
        except _Gone:
            raise self._obituary() from None
        except BadFrame as error:
            raise DocumentError("broken", f"its parser gave no proper answer ({error}): save it anew") from error
        finally:
            if answer is None:
                self.end()
        if isinstance(answer, DocumentError):
            raise answer
        return answer

    def is_fit(self) -> bool:
        """Whether it is alive, silent, not worn, and as slim as a new one, so that no document suffers from others."""
        if self._documents >= self._limits.documents or self._process.returncode is not None:
            return False
        return not self._wait(self._from, select.POLLIN, 0) and self._size() < self._limits.memory // 2

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """Make sure that it is gone and that the pipes are closed."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _greet(self) -> Mapping[str, str | None]:
        try:
            header, _ = self._receive(0, time.monotonic() + _START_SECONDS)
            walls = header.get("ready")
            if not isinstance(walls, dict) or not all(
                reason is None or isinstance(reason, str) for reason in walls.values()
            ):
                raise BadFrame("no greeting")
            return walls
        except (_Late, _Gone, BadFrame) as error:
            raise SandboxUnavailable(
                f"a process to parse documents in does not start: {self._complaint() or type(error).__name__}"
            ) from error
        except BaseException:
            self.end()
            raise

    def _complaint(self) -> str:
        """The last thing that it printed. Before its greeting it has seen no document."""
        assert self._process.stderr is not None
        self._process.kill()
        self._process.wait()
        printed = (self._process.stderr.read(_MAX_COMPLAINT) or b"").strip()
        self.end()
        return one_line(printed.rpartition(b"\n")[2].decode("utf-8", "replace"))

    def _obituary(self) -> DocumentError:
        """What it died of."""
        try:
            status = self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:  # it closed its pipe, and lives
            return DocumentError("broken", "its parser went silent: save it anew")
        if status == -signal.SIGXCPU:
            seconds = self._limits.cpu_seconds
            return DocumentError("too_slow", f"reading it took more than {seconds} s of computing: split it")
        if status == OUT_OF_MEMORY:
            allowed = self._limits.memory // 1_000_000
            return DocumentError("too_large", f"reading it takes more than {allowed:,} MB of memory: split it")
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return DocumentError("broken", f"its parser crashed ({how}): split it, or save it in another format")

    def _size(self) -> int:
        """Bytes of address space; 0 where the system does not tell."""
        try:
            with open(f"/proc/{self._process.pid}/statm", "rb") as statm:
                return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            return 0

    def _send(self, pieces: Sequence[bytes], until: float) -> None:
        for piece in pieces:
            left = memoryview(piece)
            while left:
                self._await(self._to, select.POLLOUT, until)
                try:
                    left = left[os.write(self._to, left[:_CHUNK]) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    raise _Gone from None

    def _receive(self, max_body: int, until: float) -> tuple[Header, bytes]:
        header, body = lengths(self._read(PREFIX_BYTES, until), max_body)
        return header_of(self._read(header, until)), self._read(body, until)

    def _read(self, size: int, until: float) -> bytes:
        pieces = []
        while size:
            self._await(self._from, select.POLLIN, until)
            piece = os.read(self._from, min(size, _CHUNK))
            if not piece:
                raise _Gone
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _await(self, descriptor: int, event: int, until: float) -> None:
        if not self._wait(descriptor, event, max(0.0, until - time.monotonic())):
            raise _Late

    def _wait(self, descriptor: int, event: int, seconds: float) -> bool:
        poll = select.poll()  # select() takes no descriptor above 1023
        poll.register(descriptor, event)
        return bool(poll.poll(seconds * 1000))


def _answer(ticket: str, header: Header, body: bytes) -> Parsed | DocumentError:
    try:
        return parsed_of(ticket, header, body)
    except DocumentError as refusal:
        return refusal
