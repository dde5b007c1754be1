"""A healthy system on a part of the sample handbook, its baselines, and what it takes to damage a copy of it."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from domicile.adapters.onnx import OnnxEmbedder
from domicile.adapters.snapshot import Snapshot
from domicile.bootstrap import Home
from domicile.console import Console
from domicile.domain import OWNER, Collection, Document, ModelStatus, Prompt, Usage
from domicile.errors import GateFailed
from domicile.models.artefact import ModelFolder
from domicile.models.card import fingerprint
from domicile.ports import Embedder, GateReport, Generator, Index, NewChunk, Offsets, Vectors
from domicile.reranking import Reranking
from domicile_eval.baselines import accepted, write_baseline
from domicile_eval.gate import Verdict
from domicile_eval.gating import decide, open_with_baseline
from domicile_eval.items import Item
from domicile_eval.measuring import Options, measure
from domicile_eval.suites import open_suite
from domicile_ingest.ingestion import Ingestion
from domicile_ingest.ingestion import Options as IngestionOptions

CHECKOUT = Path(__file__).resolve().parents[2]
HANDBOOK = CHECKOUT / "examples" / "handbook"
FOLDERS = ("board", "finance", "product", "support")
"""Of the handbook: 42 documents that 190 questions are about, a third of them with readers or sinks of their own."""
COLLECTION = "handbook"
EACH = 14
"""Questions of a kind that are answered: a slice of fewer than about twelve cannot fail alone."""
ANSWERED = (None, "close_miss", "follow_up", "off_corpus", "superseded", "two_documents")
SUITES = ("found", "answered", "guarded", "spoken")
FLOORS = {"no_leak": 1.0, "quote_validity": 1.0, "route": 1.0}

Role = Literal["query", "document"]


def with_token_outputs(shipped: ModelFolder, path: Path) -> ModelFolder:
    """The shipped model with the vectors of its pieces as the output, which it pools itself otherwise."""
    path.mkdir()
    model = onnx.load(shipped.path / shipped.card.graph)
    states = [node.output[0] for node in model.graph.node if node.op_type == "LayerNormalization"]
    del model.graph.output[:]
    shape = ["batch", "pieces", shipped.card.dimensions]
    model.graph.output.append(onnx.helper.make_tensor_value_info(states[-1], onnx.TensorProto.FLOAT, shape))
    onnx.save(model, path / shipped.card.graph)
    shutil.copy(shipped.path / "tokenizer.json", path)
    return ModelFolder(path, shipped.card.model_copy(update={"pooling": "mean", "dimensions": None}))


class TokenOutputs(OnnxEmbedder):
    """Of each text the mean over its pieces and the first piece, neither of unit length, side by side; remembered."""

    def __init__(self, folder: ModelFolder, threads: int) -> None:
        super().__init__(folder, threads)
        self._seen: dict[str, NDArray[np.float32]] = {}

    def _finish(self, output: NDArray[Any], mask: NDArray[np.int64]) -> Vectors:
        return np.concatenate([self._pool(output, mask), output[:, 0]], axis=1)

    def both(self, texts: Sequence[str]) -> tuple[Vectors, Vectors]:
        """Means and first pieces, each float32 of shape (texts, dimensions) and of the length that it has."""
        new = [text for text in dict.fromkeys(texts) if text not in self._seen]
        if new:
            self._seen |= zip(new, self.embed(new, "document"), strict=True)
        found = np.stack([self._seen[text] for text in texts])
        half = found.shape[1] // 2
        return found[:, :half], found[:, half:]


@dataclass(frozen=True, slots=True)
class PooledEmbedder:
    """``ports.Embedder``: the shipped model, pooled in one way or another. As it stands it does what ships.

    Attributes:
        pool: from means and first pieces to vectors.
        read: the text that is read instead of a text.
    """

    outputs: TokenOutputs
    fingerprint: str
    pool: Callable[[Vectors, Vectors], Vectors]
    read: Callable[[str, Role], str] = lambda text, role: text
    name: str = "all-minilm-l6-v2"
    dimensions: int = 384

    @property
    def max_pieces(self) -> int:
        return self.outputs.max_pieces

    def pieces(self, text: str) -> Offsets:
        return self.outputs.pieces(text)

    def embed(self, texts: Sequence[str], role: Role) -> Vectors:
        return self.pool(*self.outputs.both([self.read(text, role) for text in texts]))


def unit(vectors: Vectors) -> Vectors:
    made: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return made


def mean(means: Vectors, firsts: Vectors) -> Vectors:
    """What ships."""
    return unit(means)


class Obedient:
    """``ports.Generator`` that repeats the fact of its prompt: what a model that does as it is told would be kept for.

    The one that ships is no measure here: of twelve of these answers one is kept.
    """

    name = "obedient"
    status = ModelStatus(name, "llm", "ready")

    def generate(self, prompt: Prompt, *, max_tokens: int, cancelled: Callable[[], bool]) -> Iterator[str | Usage]:
        fact = prompt.messages[-1].content.removeprefix("Fact: ").split("\n\nQuestion:")[0].rsplit(": ", 1)[-1]
        yield fact if fact.endswith((".", "!", "?")) else f"{fact}."
        yield Usage()

    def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a home is made of instead of what it would load.

    Attributes:
        vectors: where evaluations remember what they embedded: each embedder has a file of its own.
    """

    embedder: Embedder
    vectors: Path
    llm: Generator = field(default_factory=Obedient)
    reranking: Callable[[], Reranking | None] = lambda: None


@dataclass(frozen=True, slots=True)
class PlantedHome(Home):
    """A home of which some parts can be replaced; the use cases are made as always."""

    parts: Parts | None = None

    def embedder(self, threads: int | None = None) -> Embedder:
        return Home.embedder(self, threads) if self.parts is None else self.parts.embedder

    def evaluation_cache(self, collection: str) -> Path:
        return Home.evaluation_cache(self, collection) if self.parts is None else self.parts.vectors

    def llm(self, wait_seconds: float = 0.0) -> Any:
        return Home.llm(self, wait_seconds) if self.parts is None else self.parts.llm

    def reranking(self) -> Reranking | None:
        return Home.reranking(self) if self.parts is None else self.parts.reranking()

    def having(self, **parts: Any) -> PlantedHome:
        """This home with other parts."""
        assert self.parts is not None
        return replace(self, parts=replace(self.parts, **parts))


@dataclass(frozen=True, slots=True)
class Put:
    """A document as it is put into a generation."""

    document: Document
    state: str
    chunks: list[NewChunk]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Variant:
    """A system that is to be gated.

    Attributes:
        index: what serves in it.
        candidate: the documents of a generation that is to take its place; ``None`` where the index is as it was.
        collection: of the candidate.
    """

    home: PlantedHome
    index: Index
    candidate: Sequence[Put] | None = None
    collection: Collection = field(default_factory=lambda: Collection(COLLECTION))


@dataclass(frozen=True, slots=True)
class Trial:
    """What the gate said, and whether the candidate serves: ``None`` where there was none."""

    verdict: Verdict
    published: bool | None = None

    @property
    def figures(self) -> list[str]:
        """The findings but the one that rankings are not the same: what the change lane would find as well."""
        return [finding for finding in self.verdict.findings if "rankings differ" not in finding]


@dataclass(frozen=True, slots=True)
class Healthy:
    """The system as it should be. Its generation 1 is never changed.

    Attributes:
        suites: with the baselines that it made.
        source: of the collection.
    """

    home: PlantedHome
    index: Snapshot
    suites: Path
    source: Path
    outputs: TokenOutputs

    @property
    def variant(self) -> Variant:
        return Variant(self.home, self.index)

    def puts(self) -> list[Put]:
        """Every document of generation 1, by URI."""
        found = []
        for uri, (state, segment, first) in sorted(self.index.states().items()):
            document = self.index.document(uri, None)
            assert document is not None
            chunks, vectors = self.index.stored(segment, range(first, first + state.chunks))
            found.append(Put(document, state.state, chunks, vectors))
        return found

    def embedder(self, fingerprint: str = "", **changes: Any) -> PooledEmbedder:
        """The embedder with something else in it; an empty fingerprint is that of what ships."""
        own = self.home.embedder()
        assert isinstance(own, PooledEmbedder)
        return replace(own, **changes, **({"fingerprint": fingerprint} if fingerprint else {}))

    def copied(self, path: Path) -> Healthy:
        """The same home at another place, for what may be published; opened as a new process would."""
        shutil.copytree(self.home.path, path, symlinks=True)
        home = replace(PlantedHome.open(path, {}), parts=self.home.parts)
        return replace(self, home=home, index=home.indexes().pin(COLLECTION, OWNER))

    def ask(self, variant: Variant, suite: str) -> Trial:
        """Gate a variant: what serves in it, or its candidate on its way to become current."""
        opened, baseline = open_with_baseline(suite, self.suites)
        console = Console(variant.home.path, False, {})
        verdicts: list[Verdict] = []

        def gate(asked: Index) -> GateReport:
            run = measure(variant.home, opened, asked, console, Options()).run
            verdicts.append(decide(opened, baseline, run))
            return verdicts[-1].report()

        if variant.candidate is None:
            gate(variant.index)
            return Trial(verdicts[0])
        serving = variant.home.indexes().generation(COLLECTION)
        with suppress(GateFailed):
            self._commit(variant, gate)
        return Trial(verdicts[0], variant.home.indexes().generation(COLLECTION) != serving)

    def _commit(self, variant: Variant, gate: Callable[[Index], GateReport]) -> None:
        assert variant.candidate is not None
        writer, embedder = variant.home.index_writer(), variant.home.embedder()
        with writer.change(variant.collection, embedder, rebuild=True) as change:
            for put in variant.candidate:
                change.put(put.document, put.state, put.chunks, put.vectors)
            for uri in change.states().keys() - {put.document.uri for put in variant.candidate}:
                change.delete(uri)
            change.commit(gate)


def make_healthy(root: Path, models: Path) -> Healthy:
    """Ingest, ask, and accept what is found as the baseline."""
    source, suites = root / "source", root / "suites"
    for folder in FOLDERS:
        shutil.copytree(HANDBOOK / folder, source / folder)
    _write_suites(suites)
    (root / "home").mkdir()
    (root / "home" / "models").symlink_to(models)
    home = PlantedHome.open(root / "home", {})
    shipped = home.embedder_folder()
    outputs = TokenOutputs(with_token_outputs(shipped, root / "token-outputs"), home.threads())
    embedder = PooledEmbedder(outputs, fingerprint(shipped.card, engine="onnxruntime"), mean)
    home = replace(home, parts=Parts(embedder, root / "vectors.npz"))
    with Ingestion(home) as ingestion:
        report = ingestion.run(source, COLLECTION, IngestionOptions())
    assert not report.failures
    index = home.indexes().pin(COLLECTION, OWNER)
    for name in SUITES:
        suite = open_suite(name, suites)
        run = measure(home, suite, index, Console(home.path, False, {}), Options()).run
        write_baseline(suite.baseline, accepted(run, "the system before anything was planted"))
    return Healthy(home, index, suites, source, outputs)


def _write_suites(root: Path) -> None:
    """Questions of the handbook's suite that these folders answer: to be found, to be answered, and to be guarded."""
    whole = open_suite("handbook", None)
    golden = CHECKOUT / "eval" / "golden" / "handbook"
    held = [one for one in whole.items if all(uri.split("/")[0] in FOLDERS for uri in one.documents)]
    guarded = [one for one in held if {"access", "residency"}.intersection(one.kinds)]
    answered = _some_of_each([one for one in held if one not in guarded and _kind(one) in ANSWERED])
    found = [one for one in held if one.gold]
    shipped = (golden / "suite.toml").read_text()
    definition = re.sub(r"^primary = .*\n|^\[floors\]\n(?:.+\n)*", "", shipped, flags=re.MULTILINE)
    floors = "".join(f'"{name}" = {value}\n' for name, value in FLOORS.items())
    for name, items, head, tail in (
        ("found", found, 'answers = false\nprimary = ["ndcg@10"]\n', ""),
        ("answered", answered, 'primary = ["ndcg@10", "correct", "current"]\n', floors),
        ("guarded", guarded, 'primary = ["ndcg@10", "correct"]\n', floors),
        ("spoken", [one for one in answered if one.gold], 'primary = ["kept"]\n', ""),
    ):
        folder = root / "golden" / name
        (folder / "items").mkdir(parents=True)
        shutil.copy(golden / "documents.jsonl", folder)
        said = definition.replace("generated = 40", f"generated = {len(items) if name == 'spoken' else 0}")
        (folder / "suite.toml").write_text(f"{head}{said}\n[floors]\n{tail}")
        (folder / "items" / "items.jsonl").write_text("".join(_rows(items)))


def _kind(item: Item) -> str | None:
    return item.kinds[0] if item.kinds else None


def _some_of_each(items: Iterable[Item]) -> list[Item]:
    """All of those that editions decide, since few of them are answered."""
    counts: Counter[str | None] = Counter()
    kept = []
    for item in items:
        counts[_kind(item)] += 1
        if counts[_kind(item)] <= EACH or _kind(item) == "superseded":
            kept.append(item)
    return kept


def _rows(items: Iterable[Item]) -> Iterator[str]:
    """The rows of the shipped suite."""
    for item in items:
        file, _, number = item.line.rpartition(":")
        row: Mapping[str, Any] = json.loads(Path(file).read_text().split("\n")[int(number) - 1])
        yield json.dumps(row) + "\n"
