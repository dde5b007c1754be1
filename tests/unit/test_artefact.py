"""Model folders: what is opened is what was written, and everything else is refused by name."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models

from domicile.errors import ConfigError, ModelDamaged, ModelMissing
from domicile.files import HashMemory
from domicile.models.artefact import ModelFolder, file_entries, open_model
from domicile.models.card import FileEntry, Kind, ModelCard, fingerprint


class Shelf:
    """A place with one built embedder, and the state that remembers it."""

    def __init__(self, root: Path) -> None:
        self.models = root / "models"
        self.folder = tiny_models.write_embedder(self.models / "tiny")
        self.pins = root / "state" / "models"
        self.hashes = HashMemory(root / "cache" / "hashes.json")
        card = ModelCard(
            name="tiny", kind="embedder", files=file_entries(self.folder), engine="onnxruntime", precision="fp32"
        )
        self.write_card(card)

    def write_card(self, card: ModelCard) -> None:
        (self.folder / "model.json").write_text(card.to_json())

    def rewrite(self, **changes: Any) -> None:
        data = json.loads((self.folder / "model.json").read_text())
        (self.folder / "model.json").write_text(json.dumps(data | changes))

    def open(self, folder: Path | None = None, kind: Kind = "embedder", *, trust: bool = True) -> ModelFolder:
        return open_model(folder or self.folder, kind, self.hashes, self.pins, trust=trust)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_an_intact_folder_opens_with_its_card(shelf: Shelf) -> None:
    opened = shelf.open()
    assert opened.path == shelf.folder
    assert opened.card.name == "tiny"
    assert set(opened.card.files) == {
        "model.onnx",
        "tokenizer.json",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
    }
    assert opened.card.bytes == sum(f.stat().st_size for f in map(shelf.folder.joinpath, opened.card.files))
    assert shelf.open(trust=False) == opened
    assert not shelf.pins.exists()


def test_unknown_keys_of_a_newer_card_are_no_damage(shelf: Shelf) -> None:
    shelf.rewrite(colour="blue")
    assert shelf.open().card.name == "tiny"


def test_what_only_people_read_may_lie_there(shelf: Shelf) -> None:
    (shelf.folder / "LICENSE.txt").write_text("Apache")
    (shelf.folder / ".gitattributes").write_text("*")
    shelf.open()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def elsewhere(path: Path) -> Path:
    """A place on the same disk, outside the model folder."""
    return next(parent for parent in path.parents if parent.name == "models") / f"moved-{path.name}"


def link(path: Path) -> None:
    path.rename(elsewhere(path))
    path.symlink_to(elsewhere(path))


def hard_link(path: Path) -> None:
    os.link(path, elsewhere(path))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink, link, hard_link, pipe])
@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "1_Pooling/config.json"])
def test_a_file_that_is_not_the_one_written_is_named(shelf: Shelf, name: str, damage: Callable[[Path], None]) -> None:
    shelf.open()
    damage(shelf.folder / name)
    with pytest.raises(ModelDamaged, match=name):
        shelf.open()
    with pytest.raises(ModelDamaged, match=name):
        shelf.open(trust=False)


@pytest.mark.parametrize(
    "name", ["model.onnx.data", "other.onnx", "config.json", "vocab.txt", "custom.so", "weights", "sub/special.json"]
)
def test_a_file_that_nobody_named_is_refused(shelf: Shelf, name: str) -> None:
    (shelf.folder / name).parent.mkdir(exist_ok=True)
    (shelf.folder / name).write_text("{}")
    with pytest.raises(ModelDamaged, match=name):
        shelf.open()


def test_a_linked_folder_inside_is_refused(shelf: Shelf) -> None:
    (shelf.folder / "1_Pooling").rename(shelf.models / "moved")
    (shelf.folder / "1_Pooling").symlink_to(shelf.models / "moved")
    with pytest.raises(ModelDamaged, match="1_Pooling is a link"):
        shelf.open()


def test_a_linked_card_is_refused(shelf: Shelf) -> None:
    (shelf.folder / "model.json").rename(shelf.models / "card")
    (shelf.folder / "model.json").symlink_to(shelf.models / "card")
    with pytest.raises(ModelDamaged, match=r"model\.json is a link"):
        shelf.open()


def test_the_models_folder_itself_may_be_a_link(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(shelf.models)
    assert shelf.open(tmp_path / "linked" / "tiny").path == shelf.folder


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../../b", "a\\b", "", "./model.onnx", "a\x00b"])
def test_a_card_names_nothing_outside_its_folder(shelf: Shelf, name: str) -> None:
    (shelf.models / "outside").write_text("x")
    entry = FileEntry(sha256="0" * 64, size=1).model_dump()
    shelf.rewrite(files={name: entry})
    with pytest.raises(ModelDamaged, match=r"model\.json"):
        shelf.open()
    shelf.rewrite(files={"model.onnx": entry}, graph=name)
    with pytest.raises(ModelDamaged, match=r"model\.json"):
        shelf.open()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"name":"tiny"}', '{"name":"t","kind":"embedder","files":{}}', "\x00"]
)
def test_a_card_that_cannot_be_read_is_damage(shelf: Shelf, text: str) -> None:
    (shelf.folder / "model.json").write_text(text)
    with pytest.raises(ModelDamaged, match=r"model\.json"):
        shelf.open()


def test_an_absent_model_says_how_to_make_it(shelf: Shelf) -> None:
    with pytest.raises(ModelMissing, match="domicile models build"):
        shelf.open(shelf.models / "absent")
    (shelf.models / "empty").mkdir()
    with pytest.raises(ModelMissing, match="domicile models build"):
        shelf.open(shelf.models / "empty")


def test_a_model_of_the_other_kind_is_a_mistake_in_the_settings(shelf: Shelf) -> None:
    with pytest.raises(ConfigError, match="embedder"):
        shelf.open(kind="llm")


class TestUsersFolder:
    """A folder without a card is described and pinned when it is first used."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tiny_models.write_embedder(tmp_path / "own", pooling="cls", max_pieces=99, nested=True)

    def test_it_is_described_from_what_lies_there(self, shelf: Shelf, folder: Path) -> None:
        card = shelf.open(folder).card
        assert (card.name, card.kind, card.graph) == ("own", "embedder", "onnx/model.onnx")
        assert (card.pooling, card.max_pieces, card.engine) == ("cls", 99, "onnxruntime")

    def test_the_pin_is_private_and_stays(self, shelf: Shelf, folder: Path) -> None:
        shelf.open(folder)
        pin = shelf.pins / "own.json"
        assert stat.S_IMODE(pin.stat().st_mode) == 0o600
        before = pin.read_bytes()
        shelf.open(folder)
        assert pin.read_bytes() == before
        assert not (folder / "model.json").exists()

    @pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
    def test_a_later_change_is_damage_until_the_pin_goes(
        self, shelf: Shelf, folder: Path, damage: Callable[[Path], None]
    ) -> None:
        shelf.open(folder)
        damage(folder / "sentence_bert_config.json")
        with pytest.raises(ModelDamaged, match=r"sentence_bert_config\.json.*delete .*own\.json"):
            shelf.open(folder)

    def test_a_file_added_later_is_refused(self, shelf: Shelf, folder: Path) -> None:
        shelf.open(folder)
        (folder / "onnx" / "model.onnx.data").write_bytes(b"x")
        with pytest.raises(ModelDamaged, match=r"model\.onnx\.data"):
            shelf.open(folder)

    def test_links_are_refused_from_the_start(self, shelf: Shelf, folder: Path, tmp_path: Path) -> None:
        (folder / "tokenizer.json").rename(tmp_path / "blob")
        (folder / "tokenizer.json").symlink_to(tmp_path / "blob")
        with pytest.raises(ModelDamaged, match="link"):
            shelf.open(folder)
        assert not shelf.pins.exists()

    def test_a_language_model_is_known_by_its_configuration(self, shelf: Shelf, tmp_path: Path) -> None:
        folder = write_llm(tmp_path / "own-llm", "model.onnx")
        card = shelf.open(folder, "llm").card
        assert (card.kind, card.engine, card.context_length) == ("llm", "onnxruntime-genai", 512)
        with pytest.raises(ConfigError, match="llm"):
            shelf.open(folder, "embedder")

    def test_a_language_model_reads_nothing_outside_its_folder(self, shelf: Shelf, tmp_path: Path) -> None:
        with pytest.raises(ModelDamaged, match=r"genai_config\.json.*\.\./model\.onnx"):
            shelf.open(write_llm(tmp_path / "own-llm", "../model.onnx"), "llm")

    def test_pooling_that_we_cannot_do_is_refused(self, shelf: Shelf, folder: Path) -> None:
        (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
        with pytest.raises(ModelDamaged, match="pooling_mode_max_tokens"):
            shelf.open(folder)


def write_llm(folder: Path, filename: str) -> Path:
    folder.mkdir()
    config = {"model": {"context_length": 512, "decoder": {"filename": filename}}}
    (folder / "genai_config.json").write_text(json.dumps(config))
    (folder / "model.onnx").write_bytes(b"graph")
    return folder


class TestFingerprint:
    def card(self, shelf: Shelf, **changes: Any) -> ModelCard:
        return ModelCard.model_validate(shelf.open().card.model_dump() | changes)

    def other(self, shelf: Shelf, name: str) -> dict[str, Any]:
        files = shelf.open().card.model_dump()["files"]
        return {"files": files | {name: {"sha256": "1" * 64, "size": 1}}}

    def test_is_short_and_the_same_each_time(self, shelf: Shelf) -> None:
        assert fingerprint(shelf.open().card) == fingerprint(shelf.open().card)
        assert len(fingerprint(shelf.open().card)) == 16

    @pytest.mark.parametrize(
        "changes",
        [
            {"pooling": "cls"},
            {"prefixes": {"query": "q: "}},
            {"engine": "other"},
            {"precision": "bf16"},
            {"max_pieces": 8},
        ],
    )
    def test_changes_with_what_changes_vectors(self, shelf: Shelf, changes: dict[str, Any]) -> None:
        assert fingerprint(self.card(shelf, **changes)) != fingerprint(self.card(shelf))

    @pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "tokenizer.json"])
    def test_changes_with_the_bytes_that_are_run(self, shelf: Shelf, name: str) -> None:
        assert fingerprint(self.card(shelf, **self.other(shelf, name))) != fingerprint(self.card(shelf))

    @pytest.mark.parametrize("name", ["model_int8.onnx", "config.json", "onnx/model.onnx.data"])
    def test_stays_where_other_files_change(self, shelf: Shelf, name: str) -> None:
        assert fingerprint(self.card(shelf, **self.other(shelf, name))) == fingerprint(self.card(shelf))

    def test_names_do_not_count(self, shelf: Shelf) -> None:
        assert fingerprint(self.card(shelf, name="renamed", licence="MIT")) == fingerprint(self.card(shelf))

    def test_a_setting_may_name_another_engine(self, shelf: Shelf) -> None:
        card = shelf.open().card
        assert fingerprint(card, engine="openvino", precision="bf16") != fingerprint(card)
