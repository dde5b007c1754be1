"""The process that runs the language model: ``python -m domicile.adapters.genai_child FOLDER THREADS``.

A process of its own because onnxruntime-genai keeps Python's global lock while it computes: measured, one prompt
stops every other thread of its process for one to three seconds, and the service must answer meanwhile. A crash in
native code then costs the model and not the service, too.

It talks in lines of JSON and ends with its stdin.

    in   {"job": 1, "messages": [{"role", "content"}, …], "choices": [text, …], "max_tokens": 48}      {"cancel": 1}
    out  {"ready": true} or {"failed": reason}, once
         {"prompt": tokens}, then {"text": piece, "tokens": written so far} …, then one of
         {"done": tokens}, {"refused": reason} (this request), {"broken": reason} (the model: the process ends)
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from domicile.models.runtime import import_onnxruntime_genai

Message = dict[str, str]

_SMALLEST_WINDOW = 1024
_KEPT_WINDOW = 4096
"""Tokens: a generator with a longer window is given back after its job; its cache takes 46 KB a token here."""


class Refused(Exception):
    """This request cannot be answered; the next one may."""


class LanguageModel:
    """A loaded onnxruntime-genai folder, and one generator whose attention cache outlives a prompt.

    The messages before the last one are the same for every question, so their part of the cache is kept. What is
    computed in one go depends on the prompt alone and never on the prompt before it: the same prompt has the same
    answer, to the bit, whatever was asked earlier.

    Raises:
        Exception: of onnxruntime-genai or of reading files; nothing can be done with this folder.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        og = self._og = import_onnxruntime_genai()
        config = og.Config(str(folder))
        # Measured: with other work on the cores, spinning threads cost a third more CPU and win no time.
        options = {"intra_op_num_threads": threads, "inter_op_num_threads": 1, "session.intra_op.allow_spinning": "0"}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        self._model = og.Model(config)
        self._tokenizer = og.Tokenizer(self._model)
        described = json.loads((folder / "genai_config.json").read_bytes())
        self._context = int(described["model"]["context_length"])
        specials = special_tokens(json.loads((folder / "tokenizer.json").read_bytes()))
        self._marks = marks_pattern(specials)
        self._ends = {*specials.values(), *(int(number) for number in self._tokenizer.eos_token_ids)}
        self._generator: Any = None
        self._window = 0
        self._kept: list[int] = []

    def encode(self, messages: Sequence[Message]) -> tuple[list[int], int]:
        """The token numbers of a prompt, and how many of them come from the messages before the last.

        Raises:
            Refused: the model's chat template or tokenizer does not take these messages.
        """
        plain = [message | {"content": neutralise(message["content"], self._marks)} for message in messages]
        try:
            ids = self._encode(plain, True)
            before = self._encode(plain[:-1], False) if len(plain) > 1 else []
        except Exception as error:
            raise Refused(f"the model's chat template does not take them ({error})") from error
        return ids, min(_common(ids, before), len(ids) - 1)

    def write(
        self, ids: list[int], constant: int, max_tokens: int, stopped: Callable[[], bool]
    ) -> Iterator[tuple[str, int]]:
        """Greedy text after a prompt, as pieces with the number of tokens written so far.

        Args:
            ids: the prompt.
            constant: how many of them are kept for the next prompt.
            max_tokens: after which it stops, as it does at any special token.
            stopped: asked between tokens.
        """
        if not self._read(ids, constant, max_tokens, stopped):
            return
        decoder = self._tokenizer.create_stream()
        for count in range(1, max_tokens + 1):
            if stopped() or self._generator.is_done():
                break
            self._generator.generate_next_token()
            token = int(self._generator.get_next_tokens()[0])
            if token in self._ends:
                break
            yield decoder.decode(token), count
        self._give_back()

    def choose(
        self, ids: list[int], constant: int, choices: Sequence[str], max_tokens: int, stopped: Callable[[], bool]
    ) -> Iterator[tuple[str, int]]:
        """One of the choices after a prompt, with the number of its tokens: the greedy way through all of them.

        Where there is but one way on, the model is not asked.

        Args:
            choices: longer ones than ``max_tokens`` are left out; where none is short enough the model writes freely.
        """
        end = min(self._ends)
        paths = {(*map(int, self._tokenizer.encode(text)), end): text for text in choices}
        live = [path for path in paths if len(path) <= max_tokens + 1]
        if not live:
            yield from self.write(ids, constant, max_tokens, stopped)
            return
        if not self._read(ids, constant, max_tokens, stopped):
            return
        place, due = 0, list[int]()
        while len(live) > 1 and not stopped():
            ways = {path[place] for path in live}
            if len(ways) > 1:
                self._append(due)
                due = []
                scores = self._generator.get_logits().reshape(-1)
                ways = {max(ways, key=lambda way: (scores[way], -way))}
            due += ways
            live = [path for path in live if path[place] in ways]
            place += 1
        self._give_back()
        if len(live) == 1 and not stopped():
            yield paths[live[0]], len(live[0]) - 1

    def check_length(self, prompt: int, max_tokens: int) -> None:
        """
        Raises:
            Refused: the prompt and its answer do not fit into the model's context.
        """
        if prompt + max_tokens > self._context:
            raise Refused(f"{prompt} tokens, where the model takes {self._context - max_tokens} before an answer")

    def _encode(self, messages: Sequence[Message], answer_next: bool) -> list[int]:
        text = self._tokenizer.apply_chat_template(json.dumps(messages), add_generation_prompt=answer_next)
        return [int(number) for number in self._tokenizer.encode(text)]

    def _prepare(self, needed: int) -> None:
        if needed <= self._window:
            return
        self._drop()
        self._window = _SMALLEST_WINDOW
        while self._window < needed:
            self._window *= 2
        self._window = min(self._window, self._context)
        params = self._og.GeneratorParams(self._model)
        params.set_search_options(max_length=self._window, do_sample=False, num_beams=1, batch_size=1)
        self._generator = self._og.Generator(self._model, params)

    def _read(self, ids: list[int], constant: int, max_tokens: int, stopped: Callable[[], bool]) -> bool:
        """Read a prompt; ``False`` where nobody wants its answer any more."""
        self._prepare(len(ids) + max_tokens)
        if self._kept and self._kept == ids[:constant]:
            self._generator.rewind_to(constant)
        else:
            self._generator.rewind_to(0)
            self._append(ids[:constant])
            self._kept = ids[:constant]
        if stopped():
            return False
        self._append(ids[constant:])
        return True

    def _give_back(self) -> None:
        if self._window > _KEPT_WINDOW:
            self._drop()

    def _append(self, ids: list[int]) -> None:
        import numpy as np

        if ids:
            self._generator.append_tokens(np.array(ids, dtype=np.int32))

    def _drop(self) -> None:
        self._generator, self._window, self._kept = None, 0, []


def special_tokens(tokenizer: dict[str, Any]) -> dict[str, int]:
    """The special tokens of a ``tokenizer.json`` and their numbers."""
    added = tokenizer.get("added_tokens", ())
    return {str(token["content"]): int(token["id"]) for token in added if token.get("special")}


def marks_pattern(specials: Iterable[str]) -> re.Pattern[str] | None:
    """What finds special tokens in a text, ``None`` where there are none."""
    known = sorted((mark for mark in specials if len(mark) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, known))) if known else None


def neutralise(text: str, marks: re.Pattern[str] | None) -> str:
    """A text that the tokenizer reads as text throughout.

    A document that says ``<|im_end|>`` would end its message and could go on as the system. A blank after the first
    character keeps it readable and makes it no token. NUL would end the whole prompt, and a lone surrogate is no text.
    """
    text = text.encode("utf-8", "replace").decode().replace("\x00", " ")
    # Again, because marks may overlap. Each round splits at least one for good.
    while marks is not None and marks.search(text):
        text = marks.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
    return text


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    same = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        same += 1
    return same


class _Inbox:
    """Lines of JSON from a descriptor, awaited or only looked for."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = b""
        self.cancelled: set[int] = set()

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Each job as it comes; ends with the stream."""
        while True:
            while b"\n" not in self._buffer:
                if not self._fill():
                    return
            line, self._buffer = self._buffer.split(b"\n", 1)
            message = json.loads(line)
            if "job" in message:
                self.cancelled.clear()  # a job is sent when the one before has ended, so these are of the past
                yield message

    def look(self) -> None:
        """Take note of what has been cancelled; the end of the stream ends the process."""
        while select.select([self._descriptor], [], [], 0)[0]:
            if not self._fill():
                raise SystemExit(0)
        *lines, self._buffer = self._buffer.split(b"\n")
        self.cancelled |= {int(message["cancel"]) for message in map(json.loads, lines) if "cancel" in message}

    def _fill(self) -> bool:
        received = os.read(self._descriptor, 1 << 16)
        self._buffer += received
        return bool(received)


def _serve(model: LanguageModel, inbox: _Inbox, send: Callable[[dict[str, Any]], None]) -> int:
    for job in inbox.jobs():
        number, max_tokens, choices, written = int(job["job"]), int(job["max_tokens"]), job["choices"], 0
        began = time.process_time()

        def stopped(number: int = number) -> bool:
            inbox.look()
            return number in inbox.cancelled

        try:
            ids, constant = model.encode(job["messages"])
            model.check_length(len(ids), max_tokens)
            send({"prompt": len(ids), "cpu": time.process_time() - began})
            pieces = (
                model.choose(ids, constant, choices, max_tokens, stopped)
                if choices
                else model.write(ids, constant, max_tokens, stopped)
            )
            for piece, written in pieces:
                send({"text": piece, "tokens": written, "cpu": time.process_time() - began})
            send({"done": written, "cpu": time.process_time() - began})
        except Refused as refusal:
            send({"refused": str(refusal)})
        except (OSError, MemoryError):
            raise
        except Exception as error:
            send({"broken": _first_line(error)})
            return 1
    return 0


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def main() -> int:
    """Serve jobs until stdin ends."""
    # Whoever stops the service stops the parent, and the parent then closes our stdin, after what is under way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Native code may print: what it prints goes to stderr, and only lines of ours to the parent.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(message: dict[str, Any]) -> None:
        lines.write(json.dumps(message) + "\n")
        lines.flush()

    with contextlib.suppress(BrokenPipeError):  # the parent is gone, which is how this process ends
        try:
            model = LanguageModel(Path(sys.argv[1]), int(sys.argv[2]))
            # The first run is the slowest, and shows whether the template takes a system message.
            hello = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "Hello"}]
            list(model.write(*model.encode(hello), 1, lambda: False))
        except Exception as error:
            send({"failed": _first_line(error)})
            return 1
        send({"ready": True})
        return _serve(model, _Inbox(0), send)
    return 0


if __name__ == "__main__":
    sys.exit(main())
