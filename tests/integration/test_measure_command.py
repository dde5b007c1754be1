"""``domicile models build --measure``: every engine of this machine, on a user's small embedder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models

from domicile.commands.models import main


def test_engines_are_measured_and_recorded(
    tmp_path: Path, models_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, own = tmp_path / "home", tiny_models.write_embedder(tmp_path / "own")
    home.mkdir()
    (home / "models").symlink_to(models_dir)
    (home / "domicile.toml").write_text(f'[models]\nembedder = "{own}"\n', encoding="utf-8")
    arguments = ["build", "all-minilm-l6-v2", "--measure", "--home", str(home)]
    assert main([*arguments, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    engines = [(row["engine"], row["precision"]) for row in said["measurements"]]
    assert engines[:2] == [("onnxruntime", "f32"), ("openvino", "f32")]
    assert all(row["overlap"] > 0.99 and row["texts_per_second"] > 0 for row in said["measurements"][:2])
    record = json.loads((home / "state" / "engine-measurements.json").read_text(encoding="utf-8"))
    assert record["measurements"] == said["measurements"]
    assert main(arguments) == 0
    table = capsys.readouterr().out
    assert "openvino     f32" in table
    assert "Nothing to gain" in table or "[models]\nengine = " in table
