"""Embeddings by OpenVINO, from the same ONNX file: faster where the CPU computes in bf16."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domicile.adapters.encoding import GraphEmbedder
from domicile.errors import ConfigError
from domicile.models.artefact import ModelFolder
from domicile.models.card import Precision, fingerprint
from domicile.models.runtime import import_openvino


class OpenVinoEmbedder(GraphEmbedder):
    """``ports.Embedder`` on a verified folder; see ``GraphEmbedder``.

    Args:
        precision: of the computation; the vectors are float32 in any case.

    Raises:
        MissingExtra: the ``openvino`` extra is not installed.
        ConfigError: this CPU has no instructions for the precision.
        ModelDamaged: OpenVINO cannot use the graph or the tokenizer; names the folder.
    """

    def __init__(self, folder: ModelFolder, threads: int, precision: Precision = "f32") -> None:
        if precision not in cpu_precisions():
            raise ConfigError(f'models.precision: this CPU does not compute in {precision}: set "f32"')
        path = folder.path / folder.card.graph
        # f32 leaves the numbers as the graph has them, whatever the card calls that.
        identity = fingerprint(folder.card, engine="openvino", precision=None if precision == "f32" else precision)
        super().__init__(folder, lambda: _Compiled(path, threads, precision), threads, identity)


def cpu_precisions() -> tuple[Precision, ...]:
    """What this CPU computes in natively: ``f32``, and ``bf16`` on newer ones.

    Raises:
        MissingExtra: the ``openvino`` extra is not installed.
    """
    found = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("f32", "bf16") if "BF16" in found else ("f32",)


class _Compiled:
    def __init__(self, path: Path, threads: int, precision: Precision) -> None:
        core = import_openvino().Core()
        # Mapped files could change after they were hashed; compiled models are kept in no cache on disk.
        core.set_property({"ENABLE_MMAP": False, "CACHE_DIR": ""})
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            # Pinned threads of two processes would meet on the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        self._model = core.compile_model(core.read_model(str(path)), "CPU", options)
        self._idle: deque[Any] = deque()
        self.inputs: Mapping[str, str] = {
            port.get_any_name(): np.dtype(port.get_element_type().to_dtype()).name for port in self._model.inputs
        }
        self.outputs: Mapping[str, int] = {port.get_any_name(): _rank(port) for port in self._model.outputs}

    def run(self, output: str, feed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        # A request belongs to one run at a time; there are never more of them than there were runs at once.
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._model.create_infer_request()
        found: NDArray[Any] = request.infer(dict(feed), share_inputs=True)[output]
        self._idle.append(request)
        return found


def _rank(port: Any) -> int:
    rank = port.get_partial_shape().rank
    return int(rank.get_length()) if rank.is_static else 0
