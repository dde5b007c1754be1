"""Text by onnxruntime-genai: the queue before the one process that runs the language model, and its supervision."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from domicile.domain import Message, ModelState, ModelStatus, Prompt, Usage
from domicile.errors import DomicileError, InvalidRequest, ModelDamaged, ModelMissing, Overloaded
from domicile.models.artefact import ModelFolder
from domicile.models.runtime import MUTE

_POLL_SECONDS = 0.02
_WATCH_SECONDS = 0.5
"""How soon it is noticed that an idle process died."""
_EXIT_SECONDS = 5.0
_CLOSED = "the language model was closed"


@dataclass(eq=False, slots=True)
class _Job:
    """A prompt on its way. ``items`` gets the pieces, then the usage or what went wrong."""

    number: int
    messages: Sequence[Message]
    choices: Sequence[str]
    max_tokens: int
    cancelled: Callable[[], bool]
    items: queue.SimpleQueue[str | Usage | DomicileError] = field(default_factory=queue.SimpleQueue)
    usage: Usage = field(default_factory=Usage)
    stopped: bool = False

    def unwanted(self) -> bool:
        try:
            return self.stopped or self.cancelled()
        except Exception:  # the caller's trouble, and its own thread will tell it; not the model's
            return True


class GenaiGenerator:
    """``ports.Generator`` on an onnxruntime-genai folder.

    One thread looks after one child process (``genai_child`` says why), which loads in the background and works off
    one prompt after the other. Whatever breaks there shows in ``status``, and the prompt is never retried here; a
    process that died after it had been ready is started again.

    Args:
        open_folder: verifies the model folder; called in the background.
        name: shown in answers and in ``/readyz``.
        threads: cores that a generation may use.
        queue_size: prompts that may wait while one is worked on.
        wait_seconds: how long ``generate`` waits for a model that is still loading.
        restart_seconds: from one start of a process to the next, at least.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        open_folder: Callable[[], ModelFolder],
        name: str,
        threads: int,
        queue_size: int = 8,
        wait_seconds: float = 0.0,
        restart_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_folder = open_folder
        self._name = name
        self._threads = threads
        self._queue_size = queue_size
        self._wait_seconds = wait_seconds
        self._restart_seconds = restart_seconds
        self._clock = clock
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()  # guards everything below
        self._status = ModelStatus(name, "llm", "loading")
        self._waiting: deque[_Job] = deque()
        self._running: tuple[_Job, float] | None = None
        self._job_seconds: float | None = None
        self._child: _Child | None = None
        self._closed = False
        self._was_ready = False
        self._thread = threading.Thread(target=self._work, name=f"llm {name}", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        return self._name

    @property
    def status(self) -> ModelStatus:
        with self._changed:
            return self._status

    def generate(self, prompt: Prompt, *, max_tokens: int, cancelled: Callable[[], bool]) -> Iterator[str | Usage]:
        """Greedy text, piece by piece, or one of the choices, then the usage. Nothing happens before the first is asked for.

        Closing the iterator frees the model at its next token, as ``cancelled`` does, which is called from two threads.

        Raises:
            Overloaded: too many prompts wait.
            ModelMissing: there is no model, it is still loading, or it was closed.
            ModelDamaged: it cannot be loaded or run.
            InvalidRequest: the prompt is too long for the model.
        """
        if max_tokens < 1:
            raise InvalidRequest("max_tokens", "at least 1")
        self._await_ready(cancelled)
        job = self._admit(_Job(next(self._numbers), prompt.messages, prompt.choices, max_tokens, cancelled))
        try:
            while not cancelled():
                with contextlib.suppress(queue.Empty):
                    item = job.items.get(timeout=_POLL_SECONDS)
                    if isinstance(item, DomicileError):
                        raise item
                    yield item
                    if isinstance(item, Usage):
                        return
            yield job.usage
        finally:
            self._leave(job)

    def close(self) -> None:
        """End the process, and whatever was under way in it."""
        with self._changed:
            self._closed = True
            child = self._child
            self._changed.notify_all()
        if child is not None:
            child.kill()
        self._thread.join()

    def _await_ready(self, cancelled: Callable[[], bool]) -> None:
        until = self._clock() + self._wait_seconds
        with self._changed:
            while self._status.state == "loading" and self._clock() < until and not cancelled():
                self._changed.wait(_POLL_SECONDS)

    def _admit(self, job: _Job) -> _Job:
        with self._changed:
            if self._status.state == "loading":
                raise ModelMissing(f"the language model {self._name} is still loading: try again in a moment")
            if self._status.state != "ready":
                raise self._trouble()
            live = [waiting for waiting in self._waiting if not waiting.stopped]
            ahead = len(live) + (self._running is not None)
            if ahead > self._queue_size:
                raise Overloaded("the language model", self._retry_after(ahead))
            self._waiting = deque([*live, job])
            self._changed.notify_all()
            return job

    def _leave(self, job: _Job) -> None:
        with self._changed:
            job.stopped = True
            if self._running is not None and self._running[0] is job and self._child is not None:
                self._child.send({"cancel": job.number})

    def _retry_after(self, ahead: int) -> int:
        """Whole seconds until the queue has been worked off, from how long prompts took lately."""
        running = self._clock() - self._running[1] if self._running else 0.0
        return max(1, math.ceil(ahead * max(self._job_seconds or 0.0, running)))

    def _trouble(self) -> DomicileError:
        kind = ModelMissing if self._status.state == "missing" else ModelDamaged
        return kind(self._status.reason or f"the language model {self._name} is {self._status.state}")

    def _work(self) -> None:
        """The thread: load, serve, and tell everybody who waits when it is over; again, where it worked once."""
        while True:
            began = self._clock()
            try:
                self._serve(self._load())
                self._end("missing", _CLOSED)
            except ModelMissing as error:
                self._end("missing", str(error))
            except Exception as error:
                self._end("damaged", str(error) or type(error).__name__)
            if not self._was_ready or not self._rest(began + self._restart_seconds):
                return

    def _rest(self, until: float) -> bool:
        """Wait before the next start; ``False`` where there is to be none."""
        with self._changed:
            while not self._closed and (left := until - self._clock()) > 0:
                self._changed.wait(left)
            if not self._closed:
                self._status = ModelStatus(self._name, "llm", "loading")
            return not self._closed

    def _load(self) -> _Child:
        folder = self._open_folder()
        child = _Child(folder.path, self._threads)
        with self._changed:
            self._child = child
            if self._closed:
                child.kill()
        first = next(child.messages(), {})
        if "ready" not in first:
            raise self._broken(folder.path, first.get("failed"), child)
        with self._changed:
            self._status = ModelStatus(self._name, "llm", "ready")
            self._was_ready = True
            self._changed.notify_all()
        return child

    def _serve(self, child: _Child) -> None:
        while (job := self._next(child)) is not None:
            self._run(child, job)
            with self._changed:
                took = self._clock() - self._running[1] if self._running else 0.0
                self._job_seconds = took if self._job_seconds is None else (self._job_seconds + took) / 2
                self._running = None

    def _next(self, child: _Child) -> _Job | None:
        with self._changed:
            while not self._closed:
                while self._waiting:
                    job = self._waiting.popleft()
                    if not job.stopped:
                        self._running = job, self._clock()
                        return job
                if child.has_ended():
                    raise self._broken(child.folder, None, child)
                self._changed.wait(_WATCH_SECONDS)
            return None

    def _run(self, child: _Child, job: _Job) -> None:
        """Let the child work on one job and pass on what it says."""
        messages = [{"role": message.role, "content": message.content} for message in job.messages]
        order = {"messages": messages, "choices": list(job.choices), "max_tokens": job.max_tokens}
        child.send({"job": job.number, **order})
        told = False
        for said in child.messages():
            if "prompt" in said:
                job.usage = Usage(int(said["prompt"]), 0, float(said["cpu"]))
            elif "text" in said:
                job.usage = Usage(job.usage.prompt_tokens, int(said["tokens"]), float(said["cpu"]))
                if said["text"]:
                    job.items.put(str(said["text"]))
            elif "done" in said:
                job.items.put(replace(job.usage, cpu_seconds=float(said["cpu"])))
                return
            elif "refused" in said:
                job.items.put(InvalidRequest("messages", str(said["refused"])))
                return
            else:
                raise self._broken(child.folder, said.get("broken"), child)
            if not told and job.unwanted():
                told = True
                child.send({"cancel": job.number})
        raise self._broken(child.folder, None, child)

    def _broken(self, folder: Path, reason: str | None, child: _Child) -> DomicileError:
        if self._closed:
            return ModelMissing(_CLOSED)
        what = reason or child.epitaph()
        return ModelDamaged(f"the language model {self._name} ({folder}) cannot be run: {what}")

    def _end(self, state: ModelState, reason: str) -> None:
        with self._changed:
            self._status = ModelStatus(self._name, "llm", state, reason)
            left = [*([self._running[0]] if self._running else []), *self._waiting]
            self._waiting.clear()
            self._running = None
            child, self._child = self._child, None
            self._changed.notify_all()
        for job in left:
            job.items.put(self._trouble())
        if child is not None:
            child.end()


class _Child:
    """The process of the language model and the two pipes to it."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder = folder
        self._writing = threading.Lock()
        # -P: the working directory is no place to import from.
        command = [sys.executable, "-P", "-m", "domicile.adapters.genai_child", str(folder), str(threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | MUTE)

    def send(self, message: dict[str, Any]) -> None:
        """Write one line; where nobody reads any more, the end of ``messages`` tells."""
        assert self._process.stdin is not None
        with self._writing, contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def messages(self) -> Iterator[dict[str, Any]]:
        """What it says from now on, until it ends."""
        assert self._process.stdout is not None
        for line in iter(self._process.stdout.readline, b""):
            yield json.loads(line)

    def kill(self) -> None:
        self._process.kill()

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def epitaph(self) -> str:
        """How it ended, now that it says nothing any more."""
        try:
            status = self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            return "its process says nothing any more"
        return f"its process was ended by signal {-status}" if status < 0 else f"its process ended with status {status}"

    def end(self) -> None:
        """Make sure that it is gone and that the pipes are closed."""
        self._process.kill()
        self._process.wait()
        with self._writing:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
