"""A folder that the user made: which kind of model it is, and the card that it would have had."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domicile.errors import ConfigError, ModelDamaged, ModelMissing
from domicile.models.card import FileEntry, Kind, ModelCard, Pooling, Prefixes

GRAPHS = ("model.onnx", "onnx/model.onnx")
GENAI_CONFIG = "genai_config.json"
TOKENIZER = "tokenizer.json"
CONFIG = "config.json"
_LONGEST = 8192


def possible_kinds(folder: Path) -> frozenset[Kind]:
    """What the folder may hold, by its files' names; empty where it is no model.

    Embedders and rerankers have the same files, and the settings say which of them is meant.
    """
    if (folder / GENAI_CONFIG).is_file():
        return frozenset({"llm"})
    if (folder / TOKENIZER).is_file() and any((folder / graph).is_file() for graph in GRAPHS):
        return frozenset({"embedder", "reranker"})
    return frozenset()


def infer_card(folder: Path, kind: Kind, files: Mapping[str, FileEntry]) -> ModelCard:
    """The card of a folder without ``model.json``.

    Args:
        folder: as ``possible_kinds`` accepted it.
        kind: what it is to be used as.
        files: every file of it, with its hash.

    Raises:
        ModelMissing: the files of this kind are not there.
        ModelDamaged: a file that says how to run the model is not what it should be.
        ConfigError: it is to embed, and was trained to classify, as rerankers are.
    """
    if kind not in possible_kinds(folder):
        wanted = GENAI_CONFIG if kind == "llm" else f"{' or '.join(GRAPHS)}, and {TOKENIZER}"
        raise ModelMissing(f"{folder} holds no {kind}: it should have {wanted}")
    common: dict[str, Any] = {"name": folder.name, "kind": kind, "files": dict(files), "source": "user"}
    if kind == "llm":
        config = _read(folder, GENAI_CONFIG)
        _require_named(folder, config, files)
        context = config.get("model", {}).get("context_length")
        return ModelCard(**common, engine="onnxruntime-genai", precision="as_built", context_length=context)
    common |= {
        "engine": "onnxruntime",
        "precision": "as_built",
        "graph": next(graph for graph in GRAPHS if (folder / graph).is_file()),
        "max_pieces": _max_pieces(folder),
    }
    if kind == "reranker":
        return ModelCard(**common)
    if _classifies(folder):
        raise ConfigError(f"{folder} holds a classifier, as rerankers are ({CONFIG}), where an embedder is configured")
    return ModelCard(**common, pooling=_pooling(folder), prefixes=_prefixes(folder))


def _read(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelDamaged(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ModelDamaged(f"{path} is not a JSON object")
    return data


def _require_named(folder: Path, config: Any, files: Mapping[str, FileEntry]) -> None:
    """Every graph that the configuration names must be a file of the folder, or its bytes would go unverified."""
    values = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    for value in values:
        _require_named(folder, value, files)
    name = config.get("filename") if isinstance(config, dict) else None
    if name is not None and name not in files:
        raise ModelDamaged(f"{folder / GENAI_CONFIG} names the file {name!r}, which is not in the folder")


def _max_pieces(folder: Path) -> int:
    """What sentence-transformers would use, else the positions that the encoder has, else 256."""
    declared = (
        _read(folder, "sentence_bert_config.json").get("max_seq_length"),
        _read(folder, "tokenizer_config.json").get("model_max_length"),
        _read(folder, CONFIG).get("max_position_embeddings"),
    )
    # transformers writes 1e30 for "no limit"
    return next((int(n) for n in declared if isinstance(n, (int, float)) and 2 < n <= _LONGEST), 256)


def _classifies(folder: Path) -> bool:
    """Whether transformers would load it with a classification head; its logits would pass for vectors."""
    architectures = _read(folder, CONFIG).get("architectures")
    names = architectures if isinstance(architectures, list) else []
    return any(str(name).endswith("ForSequenceClassification") for name in names)


def _pooling(folder: Path) -> Pooling:
    config = _read(folder, "1_Pooling/config.json")
    modes = {name for name, on in config.items() if name.startswith("pooling_mode_") and on is True}
    modes |= {f"pooling_mode_{config['pooling_mode']}_tokens"} if isinstance(config.get("pooling_mode"), str) else set()
    if not modes or modes == {"pooling_mode_mean_tokens"}:
        return "mean"
    if modes <= {"pooling_mode_cls_token", "pooling_mode_cls_tokens"}:
        return "cls"
    raise ModelDamaged(f"{folder / '1_Pooling/config.json'}: only mean and cls pooling are known, not {sorted(modes)}")


def _prefixes(folder: Path) -> Prefixes:
    prompts = _read(folder, "config_sentence_transformers.json").get("prompts")
    known = prompts if isinstance(prompts, dict) else {}
    document = known.get("document", known.get("passage", ""))
    return Prefixes(query=str(known.get("query", "")), document=str(document))
