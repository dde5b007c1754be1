"""A text encoder's graph in batches and threads, whichever engine runs it.

Cores are filled by running several batches at once, each on one core: measured, that is faster than one batch on
several cores, and a call of one short text wakes nobody.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from domicile.errors import DomicileError, ModelDamaged
from domicile.models.artefact import ModelFolder

_BATCH_PIECES = 1024
"""Rows times longest row of one run at most: beyond it the activations leave the caches. Measured, see ``docs/adr``."""

_SHARE_PIECES = 128
"""A call is not cut finer than this for the sake of idle cores."""

_WASTE_PIECES = 16
"""Padding of one run at most: as many pieces more cost what another run costs."""

_KNOWN_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_INTEGERS: dict[str, type[np.integer[Any]]] = {"int64": np.int64, "int32": np.int32}


class Graph(Protocol):
    """A graph as an engine has loaded it.

    Attributes:
        inputs: name to kind of number, such as ``int64``.
        outputs: name to number of axes, 0 where it is not known.
    """

    @property
    def inputs(self) -> Mapping[str, str]: ...

    @property
    def outputs(self) -> Mapping[str, int]: ...

    def run(self, output: str, feed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """One output; called from several threads at once, each run keeps one core busy."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """One text, or a pair of them, as the graph reads it.

    Attributes:
        ids: numbers of the word pieces, specials included.
        types: for each of them the text of a pair that it belongs to; ``None`` is the first.
    """

    ids: list[int]
    types: list[int] | None = None


Finish = Callable[[NDArray[Any], NDArray[np.int64]], NDArray[np.float32]]
"""Makes of a run's output and its attention mask what is wanted of each row."""

Part = tuple[list[int], NDArray[np.float32]]
"""Positions of the rows of one run, and what became of them."""


class GraphRunner:
    """Runs a graph over texts of any number. Safe to call from several threads.

    Args:
        folder: of the model, for what errors say.
        load: loads its graph into the engine.
        pad: the number of the piece that fills up rows.
        threads: cores that all calls together may use; a call that makes only one run stays in the caller's thread.

    Raises:
        ModelDamaged: the engine cannot use the graph, or it is no text encoder; names the folder.
    """

    def __init__(self, folder: ModelFolder, load: Callable[[], Graph], pad: int, threads: int) -> None:
        self._folder = folder
        self._pad = pad
        self._threads = threads
        self._lanes = ThreadPoolExecutor(threads, thread_name_prefix="encode")
        with vendor_errors(folder):
            self._graph = load()
        self.outputs = self._graph.outputs
        self._inputs = self._known_inputs()

    def run(self, output: str, rows: Sequence[Row], finish: Finish) -> Iterable[Part]:
        """Every row once, a run at a time, the longest rows first.

        Raises:
            ModelDamaged: the engine failed.
        """
        batches = list(batch_rows([len(row.ids) for row in rows], self._threads))

        def run(batch: list[int]) -> Part:
            return batch, self._run(output, [rows[at] for at in batch], finish)

        if len(batches) < 2 or self._threads < 2:
            return map(run, batches)
        return self._side_by_side(run, batches)

    def _side_by_side(self, run: Callable[[list[int]], Part], batches: Sequence[list[int]]) -> Iterator[Part]:
        # A call has few runs under way, so that a question does not wait until a whole corpus is embedded.
        waiting: deque[Future[Part]] = deque()
        try:
            for batch in batches:
                waiting.append(self._lanes.submit(run, batch))
                if len(waiting) > self._threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _run(self, output: str, rows: Sequence[Row], finish: Finish) -> NDArray[np.float32]:
        ids = np.full((len(rows), max(len(row.ids) for row in rows)), self._pad, dtype=np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row.ids)] = row.ids
            mask[number, : len(row.ids)] = 1
            if row.types is not None:
                types[number, : len(row.ids)] = row.types
        values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        feed = {name: values[name].astype(kind, copy=False) for name, kind in self._inputs.items()}
        with vendor_errors(self._folder):
            found = self._graph.run(output, feed)
        return finish(np.asarray(found), mask)

    def _known_inputs(self) -> dict[str, type[np.integer[Any]]]:
        inputs = self._graph.inputs
        odd = [name for name, kind in inputs.items() if name not in _KNOWN_INPUTS or kind not in _INTEGERS]
        if odd or "input_ids" not in inputs:
            raise ModelDamaged(
                f"model {self._folder.card.name} ({self._folder.path}) is no text encoder: it takes {sorted(inputs)}, "
                f"known are {sorted(_KNOWN_INPUTS)} as int64 or int32"
            )
        return {name: _INTEGERS[kind] for name, kind in inputs.items()}


@contextlib.contextmanager
def vendor_errors(folder: ModelFolder) -> Iterator[None]:
    """``ModelDamaged`` for whatever an engine or a tokenizer raises: bare Exception, and a dozen classes of their own."""
    try:
        yield
    except DomicileError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise ModelDamaged(
            f"model {folder.card.name} ({folder.path}) cannot be run: {reason[0] if reason else repr(error)}"
        ) from error


def batch_rows(lengths: Sequence[int], threads: int) -> Iterator[list[int]]:
    """Rows of each run, longest first, so that the last ones are short and all cores end together.

    A run has little padding, stays below the budget (one row always fits), and leaves a share to each thread.
    """
    budget = min(_BATCH_PIECES, max(_SHARE_PIECES, -(-sum(lengths) // threads)))
    batch: list[int] = []
    longest = padding = 0
    for row in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        padding += longest - lengths[row]
        if batch and (padding > _WASTE_PIECES or (len(batch) + 1) * longest > budget):
            yield batch
            batch = []
        if not batch:
            longest, padding = lengths[row], 0
        batch.append(row)
    if batch:
        yield batch
