"""Batches and threads of an embedder, on a graph whose every run can be watched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from domicile.adapters.encoding import GraphEmbedder
from domicile.adapters.graph import batch_rows
from domicile.errors import ModelDamaged
from domicile.files import HashMemory
from domicile.models.artefact import open_model


class WatchedGraph:
    """Gives ones; calls ``watch`` with the ids of each run, in the thread that runs it."""

    def __init__(self) -> None:
        self.inputs: Mapping[str, str] = {"input_ids": "int64"}
        self.outputs: Mapping[str, int] = {"embedding": 2}
        self.watch: Callable[[NDArray[Any]], None] = lambda ids: None

    def run(self, output: str, feed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        self.watch(feed["input_ids"])
        return np.ones((len(feed["input_ids"]), 2), np.float32)


@pytest.fixture
def graph() -> WatchedGraph:
    return WatchedGraph()


@pytest.fixture
def embedder(tmp_path: Path, graph: WatchedGraph) -> GraphEmbedder:
    folder = tiny_models.write_embedder(tmp_path / "own", max_pieces=256)
    opened = open_model(folder, "embedder", HashMemory(tmp_path / "hashes"), tmp_path)
    return GraphEmbedder(opened, lambda: graph, 2, "print")


LONG = "pump " * 300
"""As long as a text can be: a few of them are more than one run takes."""


@given(st.lists(st.integers(2, 300), max_size=80), st.integers(1, 8))
def test_every_row_is_in_one_batch_that_is_bounded(lengths: list[int], threads: int) -> None:
    batches = list(batch_rows(lengths, threads))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    widths = [max(lengths[row] for row in batch) for batch in batches]
    assert widths == sorted(widths, reverse=True)
    for batch, width in zip(batches, widths, strict=True):
        assert len(batch) == 1 or len(batch) * width <= 1024
        assert len(batch) * width - sum(lengths[row] for row in batch) <= 16


@pytest.mark.parametrize(
    ("lengths", "threads", "sizes"),
    [
        pytest.param([14], 2, [1], id="a question"),
        pytest.param([8] * 16, 2, [16], id="too little to share"),
        pytest.param([32] * 20, 2, [10, 10], id="a share for each thread"),
        pytest.param([32] * 20, 1, [20], id="one thread, one run"),
        pytest.param([128] * 16, 2, [8, 8], id="full runs"),
        pytest.param([256, 20, 20], 2, [1, 2], id="little padding"),
    ],
)
def test_sizes_of_batches(lengths: list[int], threads: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in batch_rows(lengths, threads)] == sizes


def test_two_runs_of_a_call_are_under_way_at_once(embedder: GraphEmbedder, graph: WatchedGraph) -> None:
    meeting = threading.Barrier(2, timeout=10)
    graph.watch = lambda ids: meeting.wait() and None
    assert embedder.embed([LONG] * 8, "document").shape == (8, 2)


def test_a_question_runs_in_the_callers_thread(embedder: GraphEmbedder, graph: WatchedGraph) -> None:
    seen: list[threading.Thread] = []
    graph.watch = lambda ids: seen.append(threading.current_thread())
    embedder.embed(["the pump is checked"], "query")
    assert seen == [threading.current_thread()]
    embedder.embed([LONG] * 8, "document")
    assert len(seen) > 2
    assert threading.current_thread() not in seen[1:]


def test_a_small_call_does_not_wait_for_all_of_a_large_one(embedder: GraphEmbedder, graph: WatchedGraph) -> None:
    started, go, small = threading.Event(), threading.Event(), threading.Event()
    runs_before_small = 0

    def watch(ids: NDArray[Any]) -> None:
        nonlocal runs_before_small
        started.set()
        go.wait(10)
        if tiny_models.VOCABULARY["board"] in ids:
            small.set()
        elif not small.is_set():
            runs_before_small += 1

    graph.watch = watch
    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(embedder.embed, [LONG] * 400, "document")
        assert started.wait(10)
        other = pool.submit(embedder.embed, ["board " * 300] * 8, "document")
        threading.Timer(0.2, go.set).start()
        assert other.result(30).shape == (8, 2)
        assert large.result(30).shape == (400, 2)
    assert runs_before_small < 20  # of a hundred


def test_a_run_that_fails_ends_the_call_and_no_other(embedder: GraphEmbedder, graph: WatchedGraph) -> None:
    runs = 0

    def fail(ids: NDArray[Any]) -> None:
        nonlocal runs
        runs += 1
        raise RuntimeError("no luck\nat all")

    graph.watch = fail
    with pytest.raises(ModelDamaged, match=r"cannot be run: no luck$"):
        embedder.embed([LONG] * 400, "document")
    assert 1 <= runs < 10
    graph.watch = lambda ids: None
    assert np.isfinite(embedder.embed([LONG] * 8, "document")).all()
