"""Embeddings by ONNX Runtime: the only place that runs an embedder's graph."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domicile.errors import ModelDamaged
from domicile.models.artefact import ModelFolder
from domicile.models.card import ModelCard, fingerprint
from domicile.models.runtime import import_onnxruntime
from domicile.ports import Vectors

_BATCH_PIECES = 2048
"""Rows times longest row of one run: about 25 MB of attention scores for MiniLM, whatever the texts are."""

_BLOCK = 50_000
"""Code points that are tokenised at once: an encoding costs 100 bytes and more a piece."""

_KNOWN_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_INTEGERS: dict[str, type[np.integer[Any]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_POOLED_NAMES = ("sentence_embedding", "embedding", "embeddings")
_PADS = ("[PAD]", "<pad>", "<|endoftext|>")


class OnnxEmbedder:
    """``ports.Embedder`` on a verified folder: encoder, pooling and unit length. Safe to call from several threads.

    Args:
        folder: an embedder; its card says how to pool and where to cut.
        threads: cores that one call may use.

    Raises:
        ModelDamaged: the engine cannot use the graph or the tokenizer; names the folder.
    """

    def __init__(self, folder: ModelFolder, threads: int) -> None:
        self._folder = folder
        self._card = folder.card
        with self._vendor():
            # Two tokenizers, since cutting is a state of the object and states are not for threads to share.
            self._whole, self._cut = (_open_tokenizer(folder) for _ in range(2))
            self._cut.enable_truncation(self._card.max_pieces)
            self._pad = _pad_id(self._whole)
            self._session = _open_session(folder, threads)
        self._inputs = self._known_inputs()
        self._output = _choose_output(self._session.get_outputs(), self._card)
        self._dimensions = self._measure_dimensions()

    @property
    def name(self) -> str:
        return self._card.name

    @property
    def fingerprint(self) -> str:
        return fingerprint(self._card, engine="onnxruntime")

    @property
    def dimensions(self) -> int:
        return self._dimensions

    @property
    def max_pieces(self) -> int:
        return self._card.max_pieces

    def embed(self, texts: Sequence[str], role: Literal["query", "document"]) -> Vectors:
        """Unit vectors, float32 of shape (len(texts), dimensions), in the order of the texts.

        Raises:
            ModelDamaged: the engine failed, or gave something that is not a number.
        """
        prefix = getattr(self._card.prefixes, role)
        with self._vendor():
            encoded = [self._ids(_encodable(prefix + text)) for text in texts]
        vectors = np.zeros((len(texts), self._dimensions), dtype=np.float32)
        for rows in _batches([len(ids) for ids in encoded]):
            vectors[rows] = self._run([encoded[row] for row in rows])
        return vectors

    def pieces(self, text: str) -> list[tuple[int, int]]:
        """Offsets of the word pieces of ``text`` in code points, without specials, never truncated."""
        text = _encodable(text)
        found: list[tuple[int, int]] = []
        with self._vendor():
            for start, end in _blocks(text):
                offsets = self._whole.encode(text[start:end], add_special_tokens=False).offsets
                found.extend((start + left, start + right) for left, right in offsets)
        return found

    def _ids(self, text: str) -> list[int]:
        # encode(), not encode_batch(): that one starts a pool of threads of its own beside `threads`, and warns
        # after a fork. A text far too long is not tokenised to its end only to be cut.
        for head in (text[:_BLOCK], text):
            ids: list[int] = self._cut.encode(head).ids
            if len(ids) == self._card.max_pieces or len(head) == len(text):
                break
        return ids

    def _run(self, rows: Sequence[Sequence[int]]) -> Vectors:
        longest = max(len(row) for row in rows)
        ids = np.full((len(rows), longest), self._pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        feed = {name: values[name].astype(kind, copy=False) for name, kind in self._inputs.items()}
        with self._vendor():
            output = self._session.run([self._output], feed)[0]
        return self._unit(self._pool(np.asarray(output), mask))

    def _pool(self, output: NDArray[Any], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        if output.ndim == 2:
            return output.astype(np.float32, copy=False)
        if output.ndim != 3 or self._card.pooling == "in_graph":
            raise ModelDamaged(
                f"model {self.name} ({self._folder.path}): its graph gives {output.ndim}-D output, "
                f"which does not go with pooling {self._card.pooling!r}"
            )
        hidden = output.astype(np.float32, copy=False)
        if self._card.pooling == "cls":
            return hidden[:, 0]
        keep = mask[:, :, None].astype(np.float32)
        pooled: NDArray[np.float32] = (hidden * keep).sum(axis=1) / np.maximum(keep.sum(axis=1), 1.0)
        return pooled

    def _unit(self, vectors: NDArray[np.float32]) -> Vectors:
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(vectors).all() or not lengths.all():
            raise ModelDamaged(
                f"model {self.name} ({self._folder.path}) gives vectors that are zero or not numbers: "
                "run `domicile models verify`"
            )
        unit: Vectors = vectors / lengths
        return unit

    def _known_inputs(self) -> dict[str, type[np.integer[Any]]]:
        inputs = {value.name: value.type for value in self._session.get_inputs()}
        odd = [name for name, kind in inputs.items() if name not in _KNOWN_INPUTS or kind not in _INTEGERS]
        if odd or "input_ids" not in inputs:
            raise ModelDamaged(
                f"model {self.name} ({self._folder.path}) is no text encoder: it takes {sorted(inputs)}, "
                f"known are {sorted(_KNOWN_INPUTS)} as int64 or int32"
            )
        return {name: _INTEGERS[kind] for name, kind in inputs.items()}

    def _measure_dimensions(self) -> int:
        # Also the first run, which is the slowest: not a user's question but this one waits for it.
        with self._vendor():
            probe = self._ids("probe")
        found = self._run([probe]).shape[1]
        if self._card.dimensions not in (None, found):
            raise ModelDamaged(
                f"model {self.name} ({self._folder.path}) gives {found} dimensions, "
                f"its card says {self._card.dimensions}"
            )
        return int(found)

    @contextlib.contextmanager
    def _vendor(self) -> Iterator[None]:
        # onnxruntime and tokenizers raise bare Exception and a dozen unrelated classes of their own.
        try:
            yield
        except ModelDamaged:
            raise
        except Exception as error:
            reason = str(error).strip().splitlines()
            raise ModelDamaged(
                f"model {self._card.name} ({self._folder.path}) cannot be run: {reason[0] if reason else error!r}"
            ) from error


def _open_tokenizer(folder: ModelFolder) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder.path / "tokenizer.json"))
    # Published files often pad and cut to lengths of their own.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _pad_id(tokenizer: Any) -> int:
    known = (tokenizer.token_to_id(token) for token in _PADS)
    return next((int(number) for number in known if number is not None), 0)


def _open_session(folder: ModelFolder, threads: int) -> Any:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Spinning threads would take the cores from the language model and from other requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The arena stays: measured, RSS is flat with it (272 MB after long batches, the pieces of a run being bounded),
    # and swings between 200 and 400 MB without. Memory patterns are kept per shape, and every batch has another.
    options.enable_cpu_mem_arena = True
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    path = str(folder.path / folder.card.graph)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _choose_output(outputs: Sequence[Any], card: ModelCard) -> str:
    """A vector a text where the graph offers one by name, else the hidden states; never a pooler's output."""
    ranks = {value.name: len(value.shape or ()) for value in outputs}
    named = [name for name in _POOLED_NAMES if ranks.get(name) == 2]
    wanted = 2 if card.pooling == "in_graph" else 3
    fitting = [name for name, rank in ranks.items() if rank == wanted]
    return str(next(iter([*named, *fitting, *ranks])))


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows, short ones together, so that padded rows times the longest stay below the budget (one row always fits)."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[row] > _BATCH_PIECES:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


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
