"""The rerankers: the fake, and a user's own folder with one logit and with two."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from contract.reranker_contract import PASSAGES, QUESTION, RerankerContract

from domicile.adapters.onnx import OnnxReranker
from domicile.errors import ConfigError, ModelDamaged, ModelMissing
from domicile.files import HashMemory
from domicile.models.artefact import ModelFolder, file_entries, open_model
from domicile.models.card import Kind, ModelCard
from domicile.ports import Reranker
from domicile.testing import WordReranker


def opened(folder: Path, kind: Kind = "reranker") -> ModelFolder:
    state = folder.parent / "state"
    return open_model(folder, kind, HashMemory(state / "hashes"), state / "pins")


class TestWordReranker(RerankerContract):
    @pytest.fixture
    def reranker(self) -> Reranker:
        return WordReranker()


class TestUsersRerankerWithOneLogit(RerankerContract):
    @pytest.fixture
    def reranker(self, tmp_path: Path) -> Reranker:
        return OnnxReranker(opened(tiny_models.write_reranker(tmp_path / "own")), 1)


class TestUsersRerankerWithTwoLogitsOnTwoThreads(RerankerContract):
    @pytest.fixture
    def reranker(self, tmp_path: Path) -> Reranker:
        return OnnxReranker(opened(tiny_models.write_reranker(tmp_path / "own", logits=2)), 2)


def test_a_logit_becomes_its_sigmoid_and_two_their_softmax(tmp_path: Path) -> None:
    one = OnnxReranker(opened(tiny_models.write_reranker(tmp_path / "one")), 1)
    two = OnnxReranker(opened(tiny_models.write_reranker(tmp_path / "two", logits=2)), 1)
    # a word that is shared and a [SEP]: half of the second text
    share = 1 / 2
    assert one.score("pump", ["pump"]) == pytest.approx([1 / (1 + math.exp(-8 * (share - 0.5)))], abs=1e-6)
    assert one.score("pump", ["leave"]) == pytest.approx([1 / (1 + math.exp(4))], abs=1e-6)
    assert two.score(QUESTION, PASSAGES) == pytest.approx(one.score(QUESTION, PASSAGES), abs=1e-6)


def test_extreme_logits_stay_probabilities(tmp_path: Path) -> None:
    model = OnnxReranker(opened(tiny_models.write_reranker(tmp_path / "own", scale=1e6)), 1)
    assert model.score("pump", ["pump pump pump", "leave"]) == [1.0, 0.0]


def test_what_is_too_long_is_cut_at_the_end_of_the_passage(tmp_path: Path) -> None:
    model = OnnxReranker(opened(tiny_models.write_reranker(tmp_path / "own", max_pieces=16)), 1)
    # [CLS] pump valve [SEP] and [SEP] leave eleven pieces for the passage
    passages = ["leave " * 10 + "pump", "leave " * 10 + "pump " * 90, "leave " * 11 + "pump"]
    last_word, cut_behind, cut_before = model.score("pump valve", passages)
    assert last_word == cut_behind
    assert cut_before < last_word
    # half of the window for a question that is too long itself
    assert model.score("leave " * 6 + "pump", ["pump"]) == model.score("leave " * 6 + "valve", ["pump"])
    assert model.score("leave " * 5 + "pump", ["pump"]) > model.score("leave " * 5 + "valve", ["pump"])


def test_scores_that_are_not_numbers_are_damage(tmp_path: Path) -> None:
    folder = tiny_models.write_reranker(tmp_path / "own", scale=math.nan)
    with pytest.raises(ModelDamaged, match="not numbers"):
        OnnxReranker(opened(folder), 1)


@pytest.mark.parametrize("rank", [2, 3])
def test_an_embedder_is_no_reranker(tmp_path: Path, rank: int) -> None:
    folder = tiny_models.write_embedder(tmp_path / "own", rank=rank)
    with pytest.raises(ModelDamaged, match="no reranker"):
        OnnxReranker(opened(folder), 1)


def test_a_window_without_room_for_a_pair_is_damage(tmp_path: Path) -> None:
    folder = tiny_models.write_reranker(tmp_path / "own", max_pieces=4)
    with pytest.raises(ModelDamaged, match="max_pieces is 4"):
        OnnxReranker(opened(folder), 1)


class TestFolder:
    def test_a_card_says_what_it_is_and_where_to_cut(self, tmp_path: Path) -> None:
        folder = tiny_models.write_reranker(tmp_path / "own")
        given: dict[str, Any] = {"name": "mine", "kind": "reranker", "engine": "onnxruntime", "precision": "f32"}
        card = ModelCard(**given, files=file_entries(folder), max_pieces=16)
        (folder / "model.json").write_text(card.to_json())
        assert json.loads(card.to_json()).keys() == given.keys() | {"files", "graph", "max_pieces", "source", "licence"}
        assert (opened(folder).card, OnnxReranker(opened(folder), 1).name) == (card, "mine")

    def test_without_a_card_it_is_what_the_settings_use_it_as(self, tmp_path: Path) -> None:
        card = opened(tiny_models.write_reranker(tmp_path / "own")).card
        assert (card.name, card.kind, card.max_pieces) == ("own", "reranker", 32)

    def test_a_classifier_is_no_embedder(self, tmp_path: Path) -> None:
        folder = tiny_models.write_reranker(tmp_path / "own")
        with pytest.raises(ConfigError, match=r"classifier.*where an embedder"):
            opened(folder, "embedder")

    def test_an_empty_folder_is_a_missing_model(self, tmp_path: Path) -> None:
        (tmp_path / "own").mkdir()
        with pytest.raises(ModelMissing):
            opened(tmp_path / "own")
