"""Word pieces of a model's own ``tokenizer.json``, of one text or of two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from domicile.ports import Offsets

_BLOCK = 50_000
"""Code points that are tokenised at once: an encoding costs 100 bytes and more a piece."""

_PADS = ("[PAD]", "<pad>", "<|endoftext|>")


class Pieces:
    """A tokenizer as an embedder needs it. Safe to use from several threads.

    Args:
        path: a ``tokenizer.json``.
        max_pieces: where ``ids`` cuts, specials included.
    """

    def __init__(self, path: Path, max_pieces: int) -> None:
        # Two tokenizers, since cutting is a state of the object and states are not for threads to share.
        self._whole, self._cut = _open(path), _open(path)
        self._cut.enable_truncation(max_pieces)
        self._max_pieces = max_pieces
        self.pad = _pad_of(self._whole)

    def ids(self, text: str) -> list[int]:
        """The numbers of the pieces, specials included, cut at ``max_pieces``."""
        # encode(), not encode_batch(): that one starts a pool of threads of its own beside ours, and warns after a
        # fork. A text far too long is not tokenised to its end only to be cut.
        text = _encodable(text)
        for head in (text[:_BLOCK], text):
            ids = self._cut.encode(head).ids
            if len(ids) == self._max_pieces or len(head) == len(text):
                break
        return ids

    def offsets(self, text: str) -> Offsets:
        """``[start, end)`` of every piece in code points, without specials, never cut."""
        text = _encodable(text)
        found = [np.empty((0, 2), dtype=np.int32)]
        for start, end in _blocks(text):
            offsets = self._whole.encode(text[start:end], add_special_tokens=False).offsets
            found.append(np.array(offsets, dtype=np.int32).reshape(-1, 2) + np.int32(start))
        return np.concatenate(found)


class Pairs:
    """A tokenizer as a reranker needs it. Safe to use from several threads.

    Args:
        path: a ``tokenizer.json``.
        max_pieces: of a question and a passage together, specials included.

    Raises:
        ValueError: so few that nothing of a question and a passage fits.
    """

    def __init__(self, path: Path, max_pieces: int) -> None:
        self._whole, self._cut = _open(path), _open(path)
        # What is too long is cut at the end of the passage: a question that is not whole is another question.
        self._cut.enable_truncation(max_pieces, strategy="only_second")
        self._for_question = (max_pieces - self._whole.num_special_tokens_to_add(True)) // 2
        if self._for_question < 1:
            raise ValueError(f"max_pieces is {max_pieces}: no question and passage fit")
        self.pad = _pad_of(self._whole)

    def encode(self, question: str, passages: Sequence[str]) -> Iterator[tuple[list[int], list[int]]]:
        """For each passage the numbers of the pieces of both, specials included, and which text each belongs to.

        A question may take half of the window, and is cut there; a passage is cut where the window ends.
        """
        question = _encodable(question)
        asked = self._whole.encode(question, add_special_tokens=False).offsets
        if len(asked) > self._for_question:
            question = question[: asked[self._for_question - 1][1]]
        for passage in passages:
            pair = self._cut.encode(question, _encodable(passage[:_BLOCK]))
            yield pair.ids, pair.type_ids


def _open(path: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(path))
    # Published files often pad and cut to lengths of their own.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _pad_of(tokenizer: Tokenizer) -> int:
    known = (tokenizer.token_to_id(token) for token in _PADS)
    return next((number for number in known if number is not None), 0)


def _encodable(text: str) -> str:
    """The text, with a question mark for a lone surrogate, which no tokenizer takes; offsets stay as they are."""
    return text.encode("utf-8", "replace").decode()


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """``[start, end)`` of blocks that end before a blank, where no tokenizer joins what stands on both sides."""
    start = 0
    while start < len(text):
        end = start + _BLOCK
        if end < len(text):
            end = next((at for at in range(end, start + _BLOCK // 2, -1) if _breaks(text, at)), end)
        yield start, min(end, len(text))
        start = end


def _breaks(text: str, at: int) -> bool:
    return text[at].isspace() and at + 1 < len(text) and not text[at + 1].isspace()
