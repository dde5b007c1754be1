"""Real ONNX embedders and rerankers of a few numbers, written in milliseconds: the folders that a user brings along."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

DIMENSIONS = 6
WORDS = "the pump valve is checked every week by leave salary board contract engine office audit safety".split()
VOCABULARY = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}


def write_tokenizer(path: Path) -> None:
    """A word a piece, lower-cased, ``[CLS] … [SEP]`` around, and the padding and cutting that published files have."""
    tokenizer = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(mark, VOCABULARY[mark]) for mark in ("[CLS]", "[SEP]")],
    )
    tokenizer.enable_padding(length=12)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(path))


def table() -> np.ndarray:
    """The embedding table: one row a word."""
    rows = np.random.default_rng(7).normal(size=(len(VOCABULARY), DIMENSIONS))
    return rows.astype(np.float32)


def write_graph(path: Path, rows: np.ndarray, *, integers: str = "int64", rank: int = 3) -> None:
    """``input_ids`` → rows of the table as ``last_hidden_state`` (rank 3), or their sum as ``embedding`` (rank 2).

    The graph takes ``token_type_ids``, and would give other numbers where they are not zero.
    """
    kind = TensorProto.INT64 if integers == "int64" else TensorProto.INT32
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = [helper.make_tensor_value_info(name, kind, ["batch", "pieces"]) for name in names]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Cast", ["token_type_ids"], ["types"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["types", "last"], ["types3"]),
        helper.make_node("Add", ["words", "types3"], ["last_hidden_state"]),
    ]
    shape: list[str | int] = ["batch", "pieces", DIMENSIONS]
    output = "last_hidden_state"
    if rank == 2:
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
            helper.make_node("Mul", ["last_hidden_state", "mask3"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "middle"], ["embedding"], keepdims=0),
        ]
        shape, output = ["batch", DIMENSIONS], "embedding"
    constants = {"table": rows, "last": np.array([2], dtype=np.int64), "middle": np.array([1], dtype=np.int64)}
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))


def write_embedder(
    folder: Path,
    *,
    pooling: str = "mean",
    integers: str = "int64",
    rank: int = 3,
    max_pieces: int = 32,
    rows: np.ndarray | None = None,
    nested: bool = False,
) -> Path:
    """An embedder as sentence-transformers lays it out, without ``model.json``.

    Args:
        pooling: ``mean`` or ``cls``.
        integers: ``int64`` or ``int32``, of the inputs.
        rank: of the output.
        nested: put the graph into ``onnx/``.
        rows: instead of ``table()``.
    """
    graph = folder / ("onnx/model.onnx" if nested else "model.onnx")
    graph.parent.mkdir(parents=True)
    write_graph(graph, table() if rows is None else rows, integers=integers, rank=rank)
    write_tokenizer(folder / "tokenizer.json")
    (folder / "1_Pooling").mkdir()
    modes = {"pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean"}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": DIMENSIONS, **modes}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": max_pieces}))
    (folder / "README.md").write_text("# A model for tests\n")
    return folder


def write_cross_encoder(path: Path, *, logits: int = 1, scale: float = 8.0) -> None:
    """The pair → ``scale`` times the share of the second text's pieces that are words of the first, less half of it.

    Only words of ``WORDS`` count, and which text a piece belongs to is told by ``token_type_ids`` alone.

    Args:
        logits: 1, or 2 that differ by as much.
        scale: not a number for a model that gives none.
    """
    words = np.eye(len(VOCABULARY), dtype=np.float32)
    words[: len(VOCABULARY) - len(WORDS)] = 0
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "pieces"]) for name in names]
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["token_type_ids"], ["types"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["types", "mask"], ["in_second"]),
        helper.make_node("Sub", ["mask", "in_second"], ["in_first"]),
        *(
            node
            for text in ("first", "second")
            for node in (
                helper.make_node("Unsqueeze", [f"in_{text}", "last"], [f"keep_{text}"]),
                helper.make_node("Mul", ["rows", f"keep_{text}"], [f"kept_{text}"]),
                helper.make_node("ReduceSum", [f"kept_{text}", "middle"], [f"bag_{text}"], keepdims=0),
            )
        ),
        helper.make_node("Min", ["bag_first", "one"], ["asked"]),
        helper.make_node("Mul", ["asked", "bag_second"], ["both"]),
        helper.make_node("ReduceSum", ["both", "middle"], ["shared"], keepdims=1),
        helper.make_node("ReduceSum", ["in_second", "middle"], ["length"], keepdims=1),
        helper.make_node("Div", ["shared", "length"], ["share"]),
        helper.make_node("Sub", ["share", "half"], ["centred"]),
        helper.make_node("Mul", ["centred", "head"], ["logits"]),
    ]
    head = [[scale]] if logits == 1 else [[-scale / 2, scale / 2]]
    constants = {
        "words": words,
        "last": np.array([2], dtype=np.int64),
        "middle": np.array([1], dtype=np.int64),
        "one": np.array([1], dtype=np.float32),
        "half": np.array([0.5], dtype=np.float32),
        "head": np.array(head, dtype=np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", logits])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


def write_reranker(folder: Path, *, logits: int = 1, scale: float = 8.0, max_pieces: int = 32) -> Path:
    """A cross-encoder as transformers lays it out, without ``model.json``; see ``write_cross_encoder``."""
    folder.mkdir(parents=True)
    write_cross_encoder(folder / "model.onnx", logits=logits, scale=scale)
    write_tokenizer(folder / "tokenizer.json")
    config = {"architectures": ["BertForSequenceClassification"], "max_position_embeddings": max_pieces}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
