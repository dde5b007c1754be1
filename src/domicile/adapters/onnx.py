"""Embedders and rerankers by ONNX Runtime: the engine that runs everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from domicile.adapters.cross_encoding import GraphReranker
from domicile.adapters.encoding import GraphEmbedder
from domicile.models.artefact import ModelFolder
from domicile.models.card import fingerprint
from domicile.models.runtime import import_onnxruntime


class OnnxEmbedder(GraphEmbedder):
    """``ports.Embedder`` on a verified folder; see ``GraphEmbedder``."""

    def __init__(self, folder: ModelFolder, threads: int) -> None:
        path = folder.path / folder.card.graph
        super().__init__(folder, lambda: _Session(path), threads, fingerprint(folder.card, engine="onnxruntime"))


class OnnxReranker(GraphReranker):
    """``ports.Reranker`` on a verified folder; see ``GraphReranker``."""

    def __init__(self, folder: ModelFolder, threads: int) -> None:
        super().__init__(folder, lambda: _Session(folder.path / folder.card.graph), threads)


class _Session:
    def __init__(self, path: Path) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        # The arena stays: measured, RSS is flat with it (272 MB after long batches, the pieces of a run being bounded),
        # and swings between 200 and 400 MB without. Memory patterns are kept per shape, and every batch has another.
        options.enable_cpu_mem_arena = True
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs: Mapping[str, str] = {
            value.name: value.type.removeprefix("tensor(").removesuffix(")") for value in self._session.get_inputs()
        }
        self.outputs: Mapping[str, int] = {value.name: len(value.shape or ()) for value in self._session.get_outputs()}

    def run(self, output: str, feed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        found: NDArray[Any] = self._session.run([output], feed)[0]
        return found
