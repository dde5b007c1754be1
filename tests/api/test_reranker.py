"""A service with a reranker of one's own: what it changes, and what is left where it is missing or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from services import home_with, served, service_over

from domicile.answering import Limits
from domicile.bootstrap import Home
from domicile.commands.models import main as models_command
from domicile.testing import HashEmbedder
from domicile_eval.items import Item
from domicile_eval.runner import Ranked, rank_documents

QUERY = "is the pump checked every week"
# The first holds all words of the question among many others; the model prefers the second, whose share is larger.
DOCUMENTS = {
    "long.md": f"# Long\n\n{QUERY} by the board of the office audit contract salary leave safety engine valve by the board.\n",
    "short.md": "# Short\n\nThe pump is checked.\n",
    "other.md": "# Other\n\nSalary and contract, leave and board.\n",
}
FUSED = ["long.md", "short.md", "other.md"]
RERANKED = ["short.md", "long.md", "other.md"]
ANSWER_ANYTHING = Limits(evidence_threshold=0.0)


def home_of(tmp_path: Path, reranker: Path | None, settings: str = "") -> Home:
    named = "" if reranker is None else f'[models]\nreranker = "{reranker}"\n{settings}'
    return home_with(tmp_path, DOCUMENTS, settings=named)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tiny_models.write_reranker(tmp_path / "own")


def damage(home: Home, folder: Path) -> None:
    """Change a byte of the graph after the folder was found to be whole."""
    assert home.reranker_folder().card.kind == "reranker"
    graph = folder / "model.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)


def ask(
    home: Home, mode: str = "hybrid", limits: Limits = ANSWER_ANYTHING
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]:
    """A search, the ``domicile`` object of an answer, readiness and metrics of a service over this home."""
    service = service_over(home, limits=limits)
    with served(service) as running, running.client() as client:
        search = client.post("/v1/search", json={"collection": "handbook", "query": QUERY, "mode": mode})
        body = {"model": "handbook", "messages": [{"role": "user", "content": QUERY}]}
        answer = client.post("/v1/chat/completions", json=body | {"domicile": {"mode": "extractive"}})
        ready = client.get("/readyz")
        assert [reply.status_code for reply in (search, answer, ready)] == [200, 200, 200]
        return search.json(), answer.json()["domicile"], ready.json(), client.get("/metrics").text


def order(found: dict[str, Any]) -> list[str]:
    return [hit["document"] for hit in found["hits"]]


def test_without_one_nothing_is_said_of_it(tmp_path: Path) -> None:
    found, answer, ready, _ = ask(home_of(tmp_path, None))
    assert order(found) == FUSED
    assert found["notes"] == []
    assert "rerank" not in found["timings_ms"]
    assert "notes" not in answer
    assert set(ready["models"]) == {"hash", "scripted"}


def test_search_and_answers_have_the_models_order(tmp_path: Path, own: Path) -> None:
    found, answer, ready, metrics = ask(home_of(tmp_path, own))
    assert order(found) == RERANKED
    scores = [hit["score"] for hit in found["hits"]]
    assert 2 >= scores[0] > scores[1] > scores[2] >= 1
    assert [hit["rank"] for hit in found["hits"]] == [1, 2, 3]
    assert found["notes"] == []
    assert "notes" not in answer
    assert {"rerank"} <= found["timings_ms"].keys() & answer["timings_ms"].keys()
    assert ready["models"]["own"] == {"kind": "reranker", "state": "ready"}
    assert "domicile_notes_total{" not in metrics


def test_what_it_does_not_read_stays_below(tmp_path: Path, own: Path) -> None:
    found, *_ = ask(home_of(tmp_path, own, "rerank_depth = 2\n"))
    assert order(found) == RERANKED
    assert [hit["score"] > 1 for hit in found["hits"]] == [True, True, False]


@pytest.mark.parametrize("mode", ["dense", "lexical"])
def test_one_index_alone_shows_what_it_found(tmp_path: Path, own: Path, mode: str) -> None:
    found, *_ = ask(home_of(tmp_path, own), mode)
    assert "rerank" not in found["timings_ms"]
    assert all(hit["score"] <= 1 for hit in found["hits"])


def test_an_answer_has_no_more_time_for_it_than_its_deadline(tmp_path: Path, own: Path) -> None:
    home = home_of(tmp_path, own)
    late = Limits(deadline=1e-9, evidence_threshold=0.0)
    found, answer, *_ = ask(home, limits=late)
    assert answer["notes"] == ["reranker skipped: no time"]
    assert found["notes"] == []  # a search has its own


def test_a_damaged_one_is_shown_and_gone_without(tmp_path: Path, own: Path) -> None:
    home = home_of(tmp_path, own)
    damage(home, own)
    found, answer, ready, metrics = ask(home)
    assert order(found) == FUSED
    assert found["notes"] == answer["notes"] == ["reranker skipped: damaged"]
    assert ready["ready"] is True
    assert ready["models"]["own"]["state"] == "damaged"
    assert "model.onnx" in ready["models"]["own"]["reason"]
    assert 'domicile_notes_total{note="reranker skipped: damaged"} 2.0' in metrics


def test_a_missing_one_is_shown_and_gone_without(tmp_path: Path) -> None:
    found, answer, ready, _ = ask(home_of(tmp_path, tmp_path / "nowhere"))
    assert order(found) == FUSED
    assert found["notes"] == answer["notes"] == ["reranker skipped: missing"]
    assert (ready["ready"], ready["models"]["nowhere"]["state"]) == (True, "missing")


def test_an_evaluation_ranks_with_it_and_counts_what_went_without(tmp_path: Path, own: Path) -> None:
    home = home_of(tmp_path, own)
    cases = [Item.judged("q", QUERY, {"short.md": 1})]

    def ranked() -> Ranked:
        return rank_documents(home.retriever(home.indexes(), HashEmbedder()), "handbook", cases, "hybrid")

    assert ranked()[:3] == (1, {"q": RERANKED}, {})
    damage(home, own)
    assert ranked()[:3] == (1, {"q": FUSED}, {"reranker skipped: damaged": 1})


def test_the_models_command_lists_and_verifies_it(
    tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = home_of(tmp_path, own)

    def row(action: str) -> dict[str, Any]:
        models_command([action, "--home", str(home.path), "--json"])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)["models"][2]
        return found

    for action in ("list", "verify"):
        assert {"name": "own", "kind": "reranker", "engine": "onnxruntime", "sha256_ok": True}.items() <= row(
            action
        ).items()
    damage(home, own)
    assert (row("verify")["kind"], row("verify")["sha256_ok"]) == ("reranker", False)
