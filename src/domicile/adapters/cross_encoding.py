"""From a question and passages to probabilities, by a cross-encoder, whichever engine runs the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domicile.adapters.graph import Graph, GraphRunner, Row, vendor_errors
from domicile.adapters.tokenizing import Pairs
from domicile.errors import ModelDamaged
from domicile.models.artefact import ModelFolder

Probabilities = NDArray[np.float32]
"""float32 of shape (pairs,)."""


class GraphReranker:
    """``ports.Reranker`` on a verified folder. Safe to call from several threads.

    The graph gives one logit a pair, of which the sigmoid is taken, or two, of which the second is the one for yes.

    Args:
        folder: a reranker; its card says where to cut.
        load: loads its graph into the engine.
        threads: cores that all calls together may use; a call that makes only one run stays in the caller's thread.

    Raises:
        ModelDamaged: the engine cannot use the graph or the tokenizer, or it gives no logits; names the folder.
    """

    def __init__(self, folder: ModelFolder, load: Callable[[], Graph], threads: int) -> None:
        self._folder = folder
        with vendor_errors(folder):
            self._pairs = Pairs(folder.path / "tokenizer.json", folder.card.max_pieces)
        self._runner = GraphRunner(folder, load, self._pairs.pad, threads)
        self._output = _choose_output(self._runner.outputs)
        self.score("probe", ["probe"])

    @property
    def name(self) -> str:
        return self._folder.card.name

    def score(self, question: str, passages: Sequence[str]) -> list[float]:
        """The probability for each passage.

        Raises:
            ModelDamaged: the engine failed, or gave something that is not a number.
        """
        with vendor_errors(self._folder):
            rows = [Row(ids, types) for ids, types in self._pairs.encode(question, passages)]
        found = np.zeros(len(passages), dtype=np.float32)
        for positions, probabilities in self._runner.run(self._output, rows, self._finish):
            found[positions] = probabilities
        scores: list[float] = found.tolist()
        return scores

    def _finish(self, output: NDArray[Any], mask: NDArray[np.int64]) -> Probabilities:
        if output.ndim != 2 or output.shape[1] not in (1, 2):
            raise ModelDamaged(
                f"model {self.name} ({self._folder.path}) is no reranker: its graph gives an output of shape "
                f"{output.shape}, where one or two logits a pair are read"
            )
        logits = output.astype(np.float64)
        if not np.isfinite(logits).all():
            raise ModelDamaged(
                f"model {self.name} ({self._folder.path}) gives scores that are not numbers: "
                "run `domicile models verify`"
            )
        # the softmax of two logits is the sigmoid of their difference
        yes = logits[:, -1] - (logits[:, 0] if logits.shape[1] == 2 else 0.0)
        return _sigmoid(yes)


def _choose_output(ranks: Mapping[str, int]) -> str:
    """The logits by name where the graph offers them, else the first output of two axes."""
    fitting = [name for name, rank in ranks.items() if rank == 2]
    return next(iter([*(name for name in ranks if name == "logits"), *fitting, *ranks]))


def _sigmoid(logits: NDArray[np.float64]) -> Probabilities:
    # exp() of a negative number cannot overflow
    shrunk = np.exp(-np.abs(logits))
    return (np.where(logits >= 0, 1.0, shrunk) / (1.0 + shrunk)).astype(np.float32)
